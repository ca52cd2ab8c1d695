"""The contract desk: what `service/contract.py` needs of the party behind it, be it a provider or the regulator."""

from typing import Protocol

from sandbox.authorise import PeerIdentity
from sandbox.contract_book import ContractRecord
from sandbox.contract_states import ContractAction


class ContractDesk(Protocol):
    """Takes signed bytes as they came in and answers with what this party then holds.

    Every `envelope` is the encoded DSSE envelope as received: it is decoded, verified and stored behind the desk. All
    methods may raise `DeniedError`, `ContractError`, `StateTransitionError` and the audit room's errors; none returns a
    verdict. They are called from the server's threads, several at a time.
    """

    def apply(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in a contract that `peer`, its merchant, has signed (at the regulator: that all providers signed)."""
        ...

    def get(self, contract_id: str, peer: PeerIdentity) -> ContractRecord:
        """Return one contract that `peer` is a party of; a contract it is no party of is unknown to it."""
        ...

    def list(self, peer: PeerIdentity) -> tuple[ContractRecord, ...]:
        """Return the contracts that `peer` is a party of, by id; the party's own identity sees all of them."""
        ...

    def activate(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in the contract with the complete set of signatures."""
        ...

    def decide(self, contract_id: str, action: ContractAction, reason: str) -> ContractRecord:
        """Carry out the decision of this party's officials: sign it, log it, keep it.

        The service calls it for the party's own certificate only.
        """
        ...

    def submit_action(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in a signed action of another party of the contract."""
        ...

    def status(self, contract_id: str, peer: PeerIdentity) -> bytes:
        """Return the signed status (an encoded envelope); a provider, which signs none, denies."""
        ...
