"""What a ledger says, entry by entry: whether its owner could have come to write it honestly.

Bytes, chain and signatures can be in order and the content a lie of whoever holds the keys. The rules are those of
`audit.verify_rules`; each is a fold in constant memory apart from open calls and contracts.
"""

from collections.abc import Iterable

from audit.contract_terms import ContractTerms
from audit.entry import Aborted, Ack, Denied, Entry, Genesis, Intent, Outcome
from audit.errors import Rule
from audit.names import Role
from audit.receipt import ReceiptPayload
from audit.verify_calls import Calls, OnlyOnce
from audit.verify_contracts import Contracts
from audit.verify_references import References
from audit.verify_rules import broken


class Semantics:
    """Is shown every entry in order.

    Args:
        genesis: the first one.
        once: knows the requests taken so far.
        terms: of the contracts whose documents are at hand.
    """

    __slots__ = ("_calls", "_contracts", "_references", "_role")

    def __init__(self, genesis: Genesis, once: OnlyOnce, terms: Iterable[ContractTerms]) -> None:
        self._role = genesis.role
        self._calls = Calls(once)
        self._contracts = Contracts(terms)
        self._references = References()

    @property
    def contracts_unchecked(self) -> int:
        """Contracts with calls here whose document was not at hand."""
        return self._contracts.unchecked

    def check(self, index: int, entry: Entry, receipt: ReceiptPayload | None) -> None:
        """Checks one entry.

        Args:
            index: where it stands.
            receipt: an OUTCOME's; None for every other kind.

        Raises:
            VerificationFailedError: `altered`, with the rule that it breaks.
        """
        if isinstance(entry, Intent | Outcome | Ack | Aborted | Denied):
            self._check_side(index, entry)
        if isinstance(entry, Intent):
            self._references.check_call(index, entry)
            self._calls.take(index, entry, ended=self._references.has_ended(entry.contract))
            self._contracts.take(index, entry)
        elif isinstance(entry, Outcome):
            assert receipt is not None
            self._answer(index, entry, receipt)
        elif isinstance(entry, Ack):
            self._calls.acknowledge(index, entry)
        elif isinstance(entry, Aborted):
            call = self._calls.end(index, entry)
            self._contracts.end(call.intent, released=entry.released)
        else:
            self._references.check(index, entry)

    def _answer(self, index: int, outcome: Outcome, receipt: ReceiptPayload) -> None:
        call = self._calls.answer(index, outcome, receipt)
        if call.ended and self._role is Role.MERCHANT:
            raise broken(Rule.STATE, index, "an answer to a call that was sent after its contract had ended")
        self._contracts.answer(index, call.intent, receipt)

    def _check_side(self, index: int, entry: Intent | Outcome | Ack | Aborted | Denied) -> None:
        """Rule 1. The regulator takes no calls, and refuses some."""
        takes_none = self._role is Role.REGULATOR and not isinstance(entry, Denied)
        if takes_none or entry.side.value != self._role.value:
            raise broken(
                Rule.SIDE, index, f"an entry of the {entry.side.value}'s side in a {self._role.value}'s ledger"
            )
        if isinstance(entry, Intent) and entry.party != (entry.provider or entry.merchant):
            raise broken(
                Rule.SIDE, index, f"a call of {entry.provider or entry.merchant} in the ledger of {entry.party}"
            )
