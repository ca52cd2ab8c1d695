"""Follows every call of a ledger from its INTENT to its end; remembers those that are open, and no other.

A provider's call ends with its ACK or ABORTED, a merchant's when every participant's receipt is acknowledged, or with
ABORTED. Rules 2, 3, 4 and 7 of `audit.verify_rules`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from audit.entry import NO_UNITS, Aborted, Ack, Intent, Outcome, Side, Units, decode_entry
from audit.entry_keys import call_key, nonce_key
from audit.errors import AuditError, Rule
from audit.receipt import ReceiptPayload, participants_digest
from audit.verify_rules import broken

OUTSTANDING_LIMIT: Final = 16
"""Outcomes that a merchant may leave unacknowledged at one provider; at that many its calls are suspended."""


@dataclass(slots=True)
class OpenCall:
    """A call that was taken and has not ended.

    Attributes:
        intent: its INTENT.
        ended: whether its contract had ended when it was taken.
        waiting: receipts that await their ACK.
        answered: the providers whose OUTCOME is there; `units` and `price_micro` are their sums.
        acknowledged: how many are.
    """

    intent: Intent
    ended: bool = False
    waiting: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    units: Units = NO_UNITS
    price_micro: int = 0
    acknowledged: int = 0

    @property
    def answers(self) -> int:
        """How many providers answer it."""
        return 1 if self.intent.side is Side.PROVIDER else len(self.intent.participants)


class OnlyOnce:
    """Finds an INTENT whose nonce or call an earlier one had, in constant memory.

    The ledger's index of unique keys names one entry for a key. It is no evidence, but cannot name two: of two entries
    with the same key one at least is not the one that it names, and is looked at. What the index lacks is remembered.

    Args:
        find: the index: key -> where it says that the key stands.
        entry: the stored bytes of an entry, None where there is none.
    """

    __slots__ = ("_entry", "_find", "_unlisted")

    def __init__(self, find: Callable[[str], int | None], entry: Callable[[int], bytes | None]) -> None:
        self._find = find
        self._entry = entry
        self._unlisted: set[str] = set()

    def check(self, index: int, intent: Intent) -> None:
        """Checks the INTENT at `index`; raises `VerificationFailedError` where it is not the first of its keys."""
        for key in _keys(intent):
            listed = self._find(key)
            if listed == index:
                continue
            if key in self._unlisted or (listed is not None and self._holds(listed, key)):
                raise broken(Rule.ONCE, max(index, listed or 0), f"{key} was taken before")
            self._unlisted.add(key)

    def _holds(self, index: int, key: str) -> bool:
        data = self._entry(index)
        try:
            entry = None if data is None else decode_entry(data)
        except AuditError:
            return False
        return isinstance(entry, Intent) and key in _keys(entry)


class Calls:
    """The calls of one side, in the order of the ledger.

    Args:
        once: knows the requests taken so far.
    """

    __slots__ = ("_once", "_open", "_outstanding")

    def __init__(self, once: OnlyOnce) -> None:
        self._once = once
        self._open: dict[str, OpenCall] = {}
        self._outstanding: Counter[str] = Counter()

    def take(self, index: int, intent: Intent, *, ended: bool) -> None:
        """An INTENT, under a contract that may have ended.

        Raises:
            VerificationFailedError: by the rules call, once and acknowledgements.
        """
        self._once.check(index, intent)
        if (intent.privacy is not None) != (intent.side is Side.PROVIDER and intent.units.micro_epsilon > 0):
            raise broken(Rule.CALL, index, "epsilon is taken without a release that costs it, or the reverse")
        if intent.side is Side.PROVIDER and self._outstanding[intent.merchant] >= OUTSTANDING_LIMIT:
            raise broken(
                Rule.ACKNOWLEDGEMENTS,
                index,
                f"{intent.merchant} had {self._outstanding[intent.merchant]} receipts to countersign",
            )
        self._open[intent.call] = OpenCall(intent, ended)

    def answer(self, index: int, outcome: Outcome, receipt: ReceiptPayload) -> OpenCall:
        """An OUTCOME with its receipt; raises `VerificationFailedError` by the rules order and call."""
        call = self._the_open(index, outcome)
        if receipt.provider in call.answered:
            raise broken(Rule.ORDER, index, f"the call was answered by {receipt.provider} before")
        _check_answer(index, call.intent, receipt)
        call.waiting.add(outcome.receipt_id)
        call.answered.add(receipt.provider)
        call.units += receipt.units
        call.price_micro += receipt.price_micro
        if len(call.answered) == call.answers:
            wanted = (call.intent.units, call.intent.price_micro)
            if (call.units, call.price_micro) != wanted:
                raise broken(Rule.CALL, index, "its receipts' units or prices do not add up to those that were taken")
        if outcome.side is Side.PROVIDER:
            self._outstanding[call.intent.merchant] += 1
        return call

    def acknowledge(self, index: int, ack: Ack) -> None:
        """An ACK; raises `VerificationFailedError` by the rule order."""
        call = self._the_open(index, ack)
        if ack.receipt_id not in call.waiting:
            raise broken(Rule.ORDER, index, "it acknowledges a receipt that awaits no acknowledgement")
        call.waiting.remove(ack.receipt_id)
        call.acknowledged += 1
        if call.acknowledged == call.answers:
            self._close(call)

    def end(self, index: int, aborted: Aborted) -> OpenCall:
        """An ABORTED; raises `VerificationFailedError` by the rule order."""
        call = self._the_open(index, aborted)
        if call.answered and not aborted.released:
            raise broken(Rule.ORDER, index, "it says that nothing was released, after an answer was")
        self._close(call)
        return call

    def _close(self, call: OpenCall) -> None:
        del self._open[call.intent.call]
        if call.intent.side is Side.PROVIDER and call.answered:
            self._outstanding[call.intent.merchant] -= 1

    def _the_open(self, index: int, entry: Outcome | Ack | Aborted) -> OpenCall:
        call = self._open.get(entry.call)
        if call is None:
            raise broken(Rule.ORDER, index, f"call {entry.call[:16]} was not taken, or has ended")
        if entry.contract != call.intent.contract:
            raise broken(Rule.CALL, index, "it names another contract than the call was taken under")
        return call


def _check_answer(index: int, intent: Intent, receipt: ReceiptPayload) -> None:
    """Whether a receipt answers the call that was taken."""
    same: list[tuple[str, object, object]] = [
        ("merchant", receipt.merchant, intent.merchant),
        ("computing party", receipt.computing_party, intent.computing_party),
        ("participants", receipt.participants_digest, participants_digest(intent.participants)),
        ("merchant's nonce", receipt.merchant_nonce, intent.nonce),
        ("currency", receipt.currency, intent.currency),
    ]
    if intent.side is Side.PROVIDER:
        same += [
            ("provider", receipt.provider, intent.provider),
            ("provider's nonce", receipt.provider_nonce, intent.provider_nonce),
            ("dataset", receipt.dataset, intent.dataset),
            ("units", receipt.units, intent.units),
            ("price", receipt.price_micro, intent.price_micro),
        ]
    elif receipt.provider not in intent.participants:
        raise broken(Rule.CALL, index, f"{receipt.provider} answers a call that it was not asked in")
    for what, answered, taken in same:
        if answered != taken:
            raise broken(Rule.CALL, index, f"the receipt's {what} is not that of the call that was taken")


def _keys(intent: Intent) -> tuple[str, str]:
    return nonce_key(intent.merchant, intent.nonce), call_key(intent.side, intent.call)
