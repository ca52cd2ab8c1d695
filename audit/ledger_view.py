"""What one ledger says about receipts, read fast for reconciliation.

Entries about calls are recognised by their canonical form alone, by patterns that know every field's place; the full
schema check would take most of a reconciliation's time. Whatever is not of exactly that form is decoded strictly, so
that a later form costs time and nothing else. A receipt's identifier is recomputed from its payload's bytes and
everything signed is taken from there; what the entry records beside it is compared with it.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from audit.discrepancy import DiscrepancyKind, Standing
from audit.entry import Aborted, Ack, Outcome, Side, decode_entry
from audit.errors import AuditError, Damage, MalformedError, VerificationFailedError
from audit.hashes import hex_sha256
from audit.receipt import read_receipt
from audit.tariff import Units

# In canonical JSON a text's quotation marks are escaped, so these bytes occur as the entry's own fields only.
_OUTCOME_MARK: Final = b'"kind":"outcome"'
_ACK_MARK: Final = b'"kind":"ack"'
_ABORTED_MARK: Final = b'"kind":"aborted"'

_HEX: Final = "[0-9a-f]{64}"
_NAME: Final = "[a-z][a-z0-9-]{0,30}"
# One digit less than the largest: a larger number is left to the strict decoder.
_INTEGER: Final = "(?:0|[1-9][0-9]{0,14})"
_BIG: Final = "(?:0|[1-9][0-9]{0,17})"
_UNITS: Final = (
    rf'\{{"calls":({_INTEGER}),"ciphertexts":({_INTEGER}),"declared_rows":({_INTEGER}),"micro_epsilon":"({_BIG})"\}}'
)
_ENVELOPE: Final = r'"payloadType":"[^"]*","signatures":\[[^\]]*\]\}'
_OUTCOME: Final = re.compile(
    rf'\{{"at_ms":{_INTEGER},"call":"({_HEX})","contract":"({_HEX})","currency":"([A-Z]{{3}})","hash":"sha256",'
    rf'"kind":"outcome","party":"({_NAME})","price_micro":"({_BIG})","receipt":\{{"payload":"([^"]*)",{_ENVELOPE},'
    rf'"receipt_id":"({_HEX})","request":\{{"payload":"[^"]*",{_ENVELOPE},"side":"([a-z]+)","units":{_UNITS},"v":1\}}'.encode()
)
_RECEIPT: Final = re.compile(
    rf'\{{"call":"({_HEX})","computing_party":"[^"]*","contract":"({_HEX})","currency":"([A-Z]{{3}})","dataset":"[^"]*",'
    rf'"dataset_content":"{_HEX}","hash":"sha256","key_fingerprint":"{_HEX}","merchant":"({_NAME})",'
    rf'"merchant_clock_ms":{_INTEGER},"merchant_nonce":"[^"]*","participants_digest":"{_HEX}",'
    rf'"price_micro":"({_BIG})","provider":"({_NAME})","provider_clock_ms":({_INTEGER}),"provider_nonce":"[^"]*",'
    rf'"released_statistic":"{_HEX}","response":"{_HEX}","scheme":"[^"]*","type":"receipt","units":{_UNITS},"v":1\}}'.encode()
)
_ACK: Final = re.compile(
    rf'\{{"at_ms":[^"]*,"call":"{_HEX}",.*,"receipt_id":"({_HEX})","side":"[^"]*","signature":'.encode()
)
_ABORTED: Final = re.compile(rf'\{{"at_ms":[^"]*,"call":"({_HEX})",'.encode())

_E = TypeVar("_E", Outcome, Ack, Aborted)


class SeenReceipt(NamedTuple):
    """One OUTCOME entry. Prices in micro-units of the currency; units are calls, rows, ciphertexts, micro-epsilon.

    Attributes:
        receipt_id: recomputed from the payload.
        at: index of the entry.
        provider, merchant, call, contract, clock_ms: as signed; the clock is the provider's.
        owner: whose ledger it belongs in, by the side that the entry gives.
        units, price_micro, currency: as signed.
        recorded_units, recorded_price_micro, recorded_currency: as the entry records them.
        contradiction: how the entry contradicts the receipt in it, None where it does not.
    """

    receipt_id: str
    at: int
    provider: str
    merchant: str
    owner: str
    call: str
    contract: str
    clock_ms: int
    units: tuple[int, int, int, int]
    price_micro: int
    currency: str
    recorded_units: tuple[int, int, int, int]
    recorded_price_micro: int
    recorded_currency: str
    contradiction: DiscrepancyKind | None


@dataclass(slots=True)
class LedgerView:
    """The receipts of one party's ledger.

    Attributes:
        party: whose ledger.
        receipts: by (provider, merchant), then by receipt identifier: the first entry of each.
        repeats: further entries of a receipt already seen.
        acknowledgements: receipt identifier -> index of its ACK entry.
        aborted: calls with an ABORTED entry.
        as_of_ms: the ledger is as it was then, in milliseconds since the Unix epoch: a copy may be older than another
            party's receipts. None: it is as of now.
    """

    party: str
    receipts: dict[tuple[str, str], dict[str, SeenReceipt]] = field(default_factory=dict)
    repeats: list[SeenReceipt] = field(default_factory=list)
    acknowledgements: dict[str, int] = field(default_factory=dict)
    aborted: set[str] = field(default_factory=set)
    as_of_ms: int | None = None

    def is_older_than(self, seen: SeenReceipt) -> bool:
        """Whether the receipt was issued after the state in which this ledger is seen, so that it cannot hold it."""
        return self.as_of_ms is not None and seen.clock_ms > self.as_of_ms

    def standing(self, seen: SeenReceipt) -> Standing:
        """How this ledger holds the receipt."""
        if seen.call in self.aborted:
            return Standing.ABORTED
        return Standing.ACKNOWLEDGED if seen.receipt_id in self.acknowledgements else Standing.OPEN


def read_view(party: str, entries: Iterable[bytes], as_of_ms: int | None = None) -> LedgerView:
    """Reads a ledger's entries, in order from the first.

    Args:
        party: the ledger's owner.
        entries: the stored bytes.
        as_of_ms: as `LedgerView`.

    Raises:
        VerificationFailedError: an entry about a call cannot be read, or holds other parties' receipt; verify the
            ledger.
    """
    view = LedgerView(party, as_of_ms=as_of_ms)
    for index, data in enumerate(entries):
        try:
            if _OUTCOME_MARK in data:
                _add(view, _seen_fast(index, data) or _seen_strictly(index, data))
            elif _ACK_MARK in data:
                match = _ACK.match(data)
                receipt_id = match[1].decode() if match else _expect(data, Ack).receipt_id
                view.acknowledgements.setdefault(receipt_id, index)
            elif _ABORTED_MARK in data:
                match = _ABORTED.match(data)
                view.aborted.add(match[1].decode() if match else _expect(data, Aborted).call)
        except AuditError as error:
            raise VerificationFailedError(
                Damage.ALTERED, index, f"the ledger of {party} cannot be read ({error}): verify it"
            ) from error
    return view


def _add(view: LedgerView, seen: SeenReceipt) -> None:
    pair = (seen.provider, seen.merchant)
    if view.party not in pair:
        raise MalformedError("a receipt between other parties")
    if view.party != seen.owner:
        seen = seen._replace(contradiction=DiscrepancyKind.ALTERED)
    book = view.receipts.setdefault(pair, {})
    if book.setdefault(seen.receipt_id, seen) is not seen:
        view.repeats.append(seen)


def _seen_fast(at: int, data: bytes) -> SeenReceipt | None:
    """The entry, if it is of the form that the patterns know."""
    entry = _OUTCOME.fullmatch(data)
    if entry is None:
        return None
    try:
        payload = base64.b64decode(entry[6])
    except ValueError:
        return None
    signed = _RECEIPT.fullmatch(payload)
    if signed is None:
        return None
    receipt_id = hex_sha256(payload)
    call, contract, currency, merchant, provider = map(bytes.decode, signed.group(1, 2, 3, 4, 6))
    price, clock_ms, calls, ciphertexts, rows, epsilon = map(int, signed.group(5, 7, 8, 9, 10, 11))
    units = recorded_units = (calls, rows, ciphertexts, epsilon)
    if entry.group(9, 10, 11, 12) != signed.group(8, 9, 10, 11):
        calls, ciphertexts, rows, epsilon = map(int, entry.group(9, 10, 11, 12))
        recorded_units = (calls, rows, ciphertexts, epsilon)
    recorded_price, recorded_currency = int(entry[5]), entry[3].decode()
    contradiction = None
    if (recorded_price, recorded_currency) != (price, currency):
        contradiction = DiscrepancyKind.DIFFERENTLY_PRICED
    if entry.group(1, 2) != signed.group(1, 2) or entry[7].decode() != receipt_id or units != recorded_units:
        contradiction = DiscrepancyKind.ALTERED
    owner = merchant if entry[8] == b"merchant" else provider
    return SeenReceipt(
        receipt_id,
        at,
        provider,
        merchant,
        owner,
        call,
        contract,
        clock_ms,
        units,
        price,
        currency,
        recorded_units,
        recorded_price,
        recorded_currency,
        contradiction,
    )


def _seen_strictly(at: int, data: bytes) -> SeenReceipt:
    entry = _expect(data, Outcome)
    signed = read_receipt(entry.receipt)
    contradiction = None
    if (entry.price_micro, entry.currency) != (signed.price_micro, signed.currency):
        contradiction = DiscrepancyKind.DIFFERENTLY_PRICED
    if (entry.call, entry.contract, entry.units) != (signed.call, signed.contract, signed.units):
        contradiction = DiscrepancyKind.ALTERED
    return SeenReceipt(
        entry.receipt_id,
        at,
        signed.provider,
        signed.merchant,
        signed.merchant if entry.side is Side.MERCHANT else signed.provider,
        signed.call,
        signed.contract,
        signed.provider_clock_ms,
        _numbers(signed.units),
        signed.price_micro,
        signed.currency,
        _numbers(entry.units),
        entry.price_micro,
        entry.currency,
        contradiction,
    )


def _expect(data: bytes, kind: type[_E]) -> _E:
    entry = decode_entry(data)
    if not isinstance(entry, kind):
        raise MalformedError("an entry of two kinds")
    return entry


def _numbers(units: Units) -> tuple[int, int, int, int]:
    return units.calls, units.declared_rows, units.ciphertexts, units.micro_epsilon


def units_of(numbers: tuple[int, int, int, int]) -> Units:
    """The units of a `SeenReceipt`."""
    return Units(*numbers)
