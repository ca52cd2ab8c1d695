"""A provider's contract desk: applications in, its officials' decisions out, and the regulator's word heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.envelope import Envelope
from audit.keys import SigningKey
from audit.names import Role
from parties.client.contracts import ContractClient
from parties.directory_feed import DirectoryFeed
from parties.errors import PartyError
from parties.identity import require_role
from parties.lasting_trouble import LastingTrouble
from parties.provider_datasets import ServedDatasets
from parties.telemetry import Logger
from sandbox.authorise import PeerIdentity
from sandbox.contract import MAX_CONTRACT_BYTES, Contract, parse_contract
from sandbox.contract_actions import MAX_ACTION_BYTES, parse_action
from sandbox.contract_book import ContractBook, ContractRecord
from sandbox.contract_checks import check_fit
from sandbox.contract_states import ContractAction
from sandbox.errors import DenialReason, DeniedError, SandboxError
from sandbox.vault import Vault, VaultKind

_ACTION: Final = "action/"


@dataclass(frozen=True, slots=True)
class DeskPlace:
    """Whose desk it is and what it works with."""

    party: str
    regulator: str
    key: SigningKey
    vault: Vault
    logger: Logger


class ProviderDesk:
    """Implements `ContractDesk`. Threads may share one."""

    def __init__(
        self,
        place: DeskPlace,
        book: ContractBook,
        datasets: ServedDatasets,
        feed: DirectoryFeed,
        contracts: ContractClient,
    ) -> None:
        self._place = place
        self._book = book
        self._datasets = datasets
        self._feed = feed
        self._contracts = contracts
        self._trouble = LastingTrouble()

    def apply(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in a contract that `peer`, its merchant, has signed."""
        signed = self._from_merchant(envelope, peer)
        contract = parse_contract(signed)
        self._meet(contract.parties)
        self._verify_fit(contract)
        return self._book.receive(signed, self._feed.current())

    def get(self, contract_id: str, peer: PeerIdentity) -> ContractRecord:
        """Return one contract that `peer` is a party of."""
        record = self._book.get(contract_id)
        if not self._concerns(record, peer):
            detail = f"{self._place.party} holds no contract {contract_id[:16]} of {peer.party}"
            raise DeniedError(DenialReason.CONTRACT_UNKNOWN, "contract", detail)
        return record

    def list(self, peer: PeerIdentity) -> tuple[ContractRecord, ...]:
        """Return the contracts that `peer` is a party of; this party's own identity sees all of them."""
        return tuple(record for record in self._book.all() if self._concerns(record, peer))

    def activate(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in the contract with all its signatures, and ask the regulator at once, which starts the lease."""
        record = self._book.activate(self._from_merchant(envelope, peer), self._feed.current())
        try:
            return self.hear(record.contract_id)
        except (SandboxError, PartyError) as error:
            self._place.logger.warning("the regulator was not heard", contract=record.contract_id, error=str(error))
            return record

    def decide(self, contract_id: str, action: ContractAction, reason: str) -> ContractRecord:
        """Carry out the officials' decision: sign, log, keep, and tell the regulator of whatever ends a contract."""
        if action is ContractAction.APPROVE:
            self._verify_fit(self._book.get(contract_id).contract)
            return self._book.approve(contract_id, self._place.key, self._feed.current(), reason=reason)
        record = self._book.decide(contract_id, action, reason, self._place.key)
        action_envelope = record.actions[-1]
        self._place.vault.put(VaultKind.OUTBOX, f"{_ACTION}{action_envelope.digest}", action_envelope.encode())
        self.deliver()
        return record

    def submit_action(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in another party's signed action, brought by itself or by the regulator."""
        action = Envelope.decode(envelope, limit=MAX_ACTION_BYTES)
        actor = parse_action(action).actor
        if peer.party != actor and peer.role is not Role.REGULATOR:
            detail = f"{peer.party} brings an action of {actor}; its actor or the regulator brings it"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "actor", detail)
        return self._book.act(action, self._feed.current())

    def status(self, contract_id: str, peer: PeerIdentity) -> bytes:
        """Deny: the regulator alone states a contract's status."""
        del peer
        return self._book.status(contract_id, self._place.key).encode()

    def hear(self, contract_id: str) -> ContractRecord:
        """Ask the regulator for a contract's state and follow it: ACTIVE renews the lease."""
        status = self._contracts.status(self._place.regulator, contract_id)
        return self._book.hear_status(status, self._feed.current())

    def deliver(self) -> None:
        """Bring the officials' decisions that the regulator has not got yet; what cannot be brought now stays."""
        for key, value in self._place.vault.items(VaultKind.OUTBOX, _ACTION):
            try:
                self._contracts.submit(self._place.regulator, Envelope.decode(value, limit=MAX_ACTION_BYTES))
            except DeniedError as error:  # a contract that never came to the regulator needs no ending there
                self._place.logger.info("the regulator took no action", reason=error.reason.value, clause=error.clause)
            except (SandboxError, PartyError) as error:
                if self._trouble.is_news(key, type(error).__name__):
                    self._place.logger.warning("a decision waits for the regulator", error=str(error))
                continue
            self._trouble.ended(key)
            self._place.vault.delete(VaultKind.OUTBOX, key)

    def _from_merchant(self, envelope: bytes, peer: PeerIdentity) -> Envelope:
        require_role(peer, Role.MERCHANT)
        decoded = Envelope.decode(envelope, limit=MAX_CONTRACT_BYTES)
        merchant = parse_contract(decoded).merchant
        if merchant != peer.party:
            detail = f"{peer.party} brings a contract of {merchant}; its merchant brings it"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "merchant", detail)
        return decoded

    def _verify_fit(self, contract: Contract) -> None:
        """Refuse what this provider's declarations do not allow: when applied for, so that the merchant hears it at
        once, and again when approved, since declarations may have changed in between.
        """
        binding = contract.datasets.get(self._place.party)
        if binding is None:
            detail = f"{self._place.party} is no provider of this contract"
            raise DeniedError(DenialReason.PARTICIPANT_SET_MISMATCH, "providers", detail)
        check_fit(contract, self._datasets.describe(binding.dataset), self._place.party)

    def _meet(self, parties: frozenset[str]) -> None:
        """Look for a newer directory if the one at hand does not list somebody."""
        known = {record.name for record in self._feed.current().parties}
        if parties - known:
            self._feed.look_again()

    def _concerns(self, record: ContractRecord, peer: PeerIdentity) -> bool:
        return peer.party == self._place.party or peer.party in record.contract.parties
