"""The unique keys under which each kind of entry stands in its ledger, derived from the entries alone.

Writers take their keys from the functions here, so that entries that come back from a witness's copy are found under
the keys that they were first written with.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from audit.discrepancy import read_discrepancy
from audit.entry import (
    Ack,
    ContractTransition,
    DirectoryAccepted,
    DiscrepancyFound,
    Enrolled,
    Entry,
    Intent,
    LogKeyChanged,
    LogRefused,
    Outcome,
    Side,
    decode_entry,
)
from audit.keys import VerifyingKey
from audit.log_keys import log_key_key
from audit.receipt import read_receipt

_CONTRACT_MARK: Final = b'"kind":"contract"'  # in canonical JSON these bytes occur as the entry's own field only


def nonce_key(merchant: str, nonce: str) -> str:
    """Of an INTENT: a merchant's nonce serves once."""
    return f"nonce:{merchant}:{nonce}"


def call_key(side: Side, call: str) -> str:
    """Of an INTENT: a call is taken, or sent, once."""
    return f"call:{side.value}:{call}"


def receipt_key(receipt_id: str) -> str:
    """Of an OUTCOME: a receipt is recorded once."""
    return f"receipt:{receipt_id}"


def provider_outcome_key(call: str) -> str:
    """Of a provider's OUTCOME: a call is answered once."""
    return f"outcome:{Side.PROVIDER.value}:{call}"


def merchant_outcome_key(call: str, provider: str) -> str:
    """Of a merchant's OUTCOME: once from each provider."""
    return f"outcome:{Side.MERCHANT.value}:{call}:{provider}"


def ack_key(receipt_id: str) -> str:
    """Of an ACK: a receipt is acknowledged once."""
    return f"ack:{receipt_id}"


def directory_key(version: int) -> str:
    """Of a DIRECTORY entry: a version is accepted once."""
    return f"directory:{version}"


def enrolled_key(version: int) -> str:
    """Of an ENROLLED entry: a version of the directory lists one enrolment first."""
    return f"enrolled:{version}"


def contract_key(contract: str, number: int) -> str:
    """Of a CONTRACT entry: the contract's `number`-th transition in this ledger, from 1 on."""
    return f"contract:{contract}:{number}"


def log_refused_key(evidence: str) -> str:
    """Of a LOG_REFUSED entry: one evidence is recorded once."""
    return f"log_refused:{evidence}"


class EntryKeys:
    """Gives each entry of one ledger its keys; hand it every entry once, in order."""

    __slots__ = ("_transitions",)

    def __init__(self) -> None:
        self._transitions: Counter[str] = Counter()

    @classmethod
    def after(cls, entries: Iterable[bytes]) -> "EntryKeys":
        """As if each of the `entries`, a ledger's first ones, had been handed in.

        Raises:
            MalformedError: a contract's entry cannot be read.
        """
        keys = cls()
        for data in entries:
            if _CONTRACT_MARK in data:  # the others leave nothing behind
                keys.keys_of(decode_entry(data))
        return keys

    def keys_of(self, entry: Entry) -> tuple[str, ...]:
        """The entry's keys, none for a kind that may repeat.

        Raises:
            MalformedError: it carries a receipt or a discrepancy that cannot be read.
        """
        match entry:
            case Intent():
                return nonce_key(entry.merchant, entry.nonce), call_key(entry.side, entry.call)
            case Outcome(side=Side.PROVIDER):
                return receipt_key(entry.receipt_id), provider_outcome_key(entry.call)
            case Outcome():
                provider = read_receipt(entry.receipt).provider
                return receipt_key(entry.receipt_id), merchant_outcome_key(entry.call, provider)
            case ContractTransition():
                self._transitions[entry.contract] += 1
                return (contract_key(entry.contract, self._transitions[entry.contract]),)
            case _:
                return _only_key(entry)


def _only_key(entry: Entry) -> tuple[str, ...]:
    match entry:
        case Ack():
            return (ack_key(entry.receipt_id),)
        case DirectoryAccepted():
            return (directory_key(entry.version),)
        case Enrolled():
            return (enrolled_key(entry.version),)
        case DiscrepancyFound():
            return (read_discrepancy(entry.discrepancy).finding.unique_key,)
        case LogKeyChanged():
            return (log_key_key(VerifyingKey.parse(entry.new)),)
        case LogRefused():
            return (log_refused_key(entry.evidence),)
        case _:
            return ()
