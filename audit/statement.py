"""A contract's statement: what is owed, recomputed by anyone from ledger entries and the contract's tariff.

A receipt is charged once it is acknowledged and its call was not aborted. Its units are those of the signed receipt;
its price is computed anew, and where a recorded price differs, the difference is named. A merchant's ledger and the
providers' ledgers give the same lines for the same receipts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audit.canonical import JsonObject
from audit.entry import Aborted, Ack, Entry, Outcome
from audit.receipt import ReceiptPayload, read_receipt
from audit.tariff import NO_UNITS, Price, Tariff, Units, format_micro, price

__all__ = [
    "AbortedCall",
    "Difference",
    "ProviderSubtotal",
    "Statement",
    "StatementLine",
    "format_micro",
    "statement",
]


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One receipt: whose, when (by the provider's clock in the receipt), what it used, what it costs."""

    receipt_id: str
    call: str
    provider: str
    merchant: str
    dataset: str
    provider_clock_ms: int
    units: Units
    price: Price

    def to_json(self) -> JsonObject:
        """Amounts are decimal strings in currency units."""
        return {
            "receipt_id": self.receipt_id,
            "call": self.call,
            "provider": self.provider,
            "merchant": self.merchant,
            "dataset": self.dataset,
            "provider_clock_ms": self.provider_clock_ms,
            "units": self.units.to_json(),
            "lines": [
                {"unit": line.unit.value, "quantity": str(line.quantity), "amount": format_micro(line.amount_micro)}
                for line in self.price.lines
            ],
            "amount": format_micro(self.price.total_micro),
        }


@dataclass(frozen=True, slots=True)
class AbortedCall:
    """A call that ended without a result and costs nothing; `released` says whether parts may have left."""

    call: str
    reason: str
    released: bool

    def to_json(self) -> JsonObject:
        """As it stands in the statement."""
        return {"call": self.call, "reason": self.reason, "released": self.released}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something recorded that is not what follows from the receipt and the tariff.

    Args:
        receipt_id: of the receipt in question.
        field: what differs, such as receipt.price_micro or entry.units.
        recorded: as the ledger or the receipt says.
        recomputed: as it follows.
    """

    receipt_id: str
    field: str
    recorded: str
    recomputed: str

    def to_json(self) -> JsonObject:
        """As it stands in the statement."""
        return {
            "receipt_id": self.receipt_id,
            "field": self.field,
            "recorded": self.recorded,
            "recomputed": self.recomputed,
        }


@dataclass(frozen=True, slots=True)
class ProviderSubtotal:
    """What one provider is owed: number of receipts charged, their units and their prices' sum."""

    provider: str
    receipts: int
    units: Units
    total_micro: int

    def to_json(self) -> JsonObject:
        """Amounts are decimal strings in currency units."""
        return {
            "provider": self.provider,
            "receipts": self.receipts,
            "units": self.units.to_json(),
            "total": format_micro(self.total_micro),
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """What is owed under one contract.

    Args:
        charged: the receipts that count, by the provider's clock, then by identifier.
        outstanding: receipts not yet acknowledged, in the same order; not in the total.
        aborted: calls ended without a result, by identifier.
        subtotals: per provider with a charged receipt, by name.
        differences: every recorded figure that is not the recomputed one; empty in an honest ledger.
        total_micro: sum of the charged receipts' recomputed prices.
    """

    contract: str
    currency: str
    charged: tuple[StatementLine, ...]
    outstanding: tuple[StatementLine, ...]
    aborted: tuple[AbortedCall, ...]
    subtotals: tuple[ProviderSubtotal, ...]
    differences: tuple[Difference, ...]
    total_micro: int

    def subtotal(self, provider: str) -> ProviderSubtotal:
        """That provider's subtotal; zero where nothing of it is charged."""
        for item in self.subtotals:
            if item.provider == provider:
                return item
        return ProviderSubtotal(provider, 0, NO_UNITS, 0)

    def to_json(self) -> JsonObject:
        """Amounts are decimal strings in currency units, six decimals."""
        return {
            "contract": self.contract,
            "currency": self.currency,
            "charged": [line.to_json() for line in self.charged],
            "outstanding": [line.to_json() for line in self.outstanding],
            "aborted": [call.to_json() for call in self.aborted],
            "providers": [item.to_json() for item in self.subtotals],
            "differences": [item.to_json() for item in self.differences],
            "total": format_micro(self.total_micro),
        }


def statement(entries: Iterable[Entry], *, contract: str, tariff: Tariff) -> Statement:
    """The statement of one contract from one ledger's entries, in any order.

    Signatures are not looked at here: verify the ledger first (`audit.verify`).

    Args:
        entries: decoded entries of a merchant's or a provider's ledger, other contracts' included.
        contract: the contract's identifier.
        tariff: the contract's.

    Raises:
        MalformedError: an outcome carries something that is no receipt.
        LimitExceededError: a price beyond 2^63 - 1 micro-units.
    """
    outcomes: dict[str, Outcome] = {}
    acknowledged: set[str] = set()
    aborted: dict[str, AbortedCall] = {}
    for entry in entries:
        match entry:
            case Outcome(contract=own) if own == contract:
                outcomes[entry.receipt_id] = entry
            case Ack(contract=own) if own == contract:
                acknowledged.add(entry.receipt_id)
            case Aborted(contract=own) if own == contract:
                before = aborted.get(entry.call)
                released = entry.released or (before is not None and before.released)
                aborted[entry.call] = AbortedCall(entry.call, before.reason if before else entry.reason, released)
            case _:
                pass
    charged: list[StatementLine] = []
    outstanding: list[StatementLine] = []
    differences: list[Difference] = []
    for identifier in sorted(outcomes):
        outcome = outcomes[identifier]
        payload = read_receipt(outcome.receipt)
        line = _line(identifier, payload, tariff)
        differences += _differences(outcome, payload, line, tariff)
        if outcome.call not in aborted:
            (charged if identifier in acknowledged else outstanding).append(line)
    charged.sort(key=_when)
    outstanding.sort(key=_when)
    subtotals = _subtotals(charged)
    return Statement(
        contract=contract,
        currency=tariff.currency,
        charged=tuple(charged),
        outstanding=tuple(outstanding),
        aborted=tuple(aborted[call] for call in sorted(aborted)),
        subtotals=subtotals,
        differences=tuple(differences),
        total_micro=sum(item.total_micro for item in subtotals),
    )


def _line(identifier: str, payload: ReceiptPayload, tariff: Tariff) -> StatementLine:
    return StatementLine(
        receipt_id=identifier,
        call=payload.call,
        provider=payload.provider,
        merchant=payload.merchant,
        dataset=payload.dataset,
        provider_clock_ms=payload.provider_clock_ms,
        units=payload.units,
        price=price(payload.units, tariff),
    )


def _differences(outcome: Outcome, payload: ReceiptPayload, line: StatementLine, tariff: Tariff) -> list[Difference]:
    """The receipt against tariff and request, then the entry's clear fields against the receipt."""
    compared: list[tuple[str, object, object]] = [
        ("receipt.price_micro", payload.price_micro, line.price.total_micro),
        ("receipt.currency", payload.currency, tariff.currency),
        ("receipt.call", payload.call, outcome.call),
        ("receipt.contract", payload.contract, outcome.contract),
        ("entry.units", outcome.units, payload.units),
        ("entry.price_micro", outcome.price_micro, payload.price_micro),
        ("entry.currency", outcome.currency, payload.currency),
    ]
    return [
        Difference(line.receipt_id, field, str(recorded), str(follows))
        for field, recorded, follows in compared
        if recorded != follows
    ]


def _subtotals(charged: list[StatementLine]) -> tuple[ProviderSubtotal, ...]:
    totals: dict[str, ProviderSubtotal] = {}
    for line in charged:
        before = totals.get(line.provider, ProviderSubtotal(line.provider, 0, NO_UNITS, 0))
        totals[line.provider] = ProviderSubtotal(
            line.provider,
            before.receipts + 1,
            before.units + line.units,
            before.total_micro + line.price.total_micro,
        )
    return tuple(totals[name] for name in sorted(totals))


def _when(line: StatementLine) -> tuple[int, str]:
    return line.provider_clock_ms, line.receipt_id
