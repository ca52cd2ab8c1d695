"""Reconciliation: two parties' ledgers hold the same receipts, or here is which they do not.

After reading each ledger once, a pair of parties is compared through a radix tree over (hour of the provider's clock,
receipt identifier) whose nodes carry counts and unit sums: equal hours and subtrees are passed over, so that the
comparison costs the differences, not the ledgers. What differs is walked down to the receipt, and only there signatures
are checked. That the ledgers themselves are sound is for `audit.verify` to say.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from audit.canonical import JsonObject
from audit.directory import Directory
from audit.discrepancy import DiscrepancyKind, Finding, Sighting, SignatureState, Standing
from audit.entry import decode_entry
from audit.errors import AuditError, MalformedError
from audit.ledger_view import LedgerView, SeenReceipt, units_of
from audit.radix_tree import RadixLeaf, RadixNode, difference, radix_tree
from audit.tariff import Units, format_micro
from audit.verify_receipts import ReceiptCheck

BUCKET_MS: Final = 3_600_000
"""Receipts are bucketed by the hour of the provider's clock in them."""

_STANDING_TAG: Final = {Standing.OPEN: b"o", Standing.ACKNOWLEDGED: b"a", Standing.ABORTED: b"x"}


@dataclass(frozen=True, slots=True)
class BookTotals:
    """Sums over the receipts that one ledger holds of a pair: as the receipts say, whatever their standing."""

    receipts: int
    units: Units
    price_micro: int

    def to_json(self) -> JsonObject:
        """For `--json`."""
        return {"receipts": self.receipts, "units": self.units.to_json(), "amount": format_micro(self.price_micro)}


@dataclass(frozen=True, slots=True)
class PairResult:
    """A provider and a merchant, both of whose ledgers were compared.

    Attributes:
        at_provider, at_merchant: what each ledger holds.
        findings: every discrepancy, by call.
        unsettled: receipts that are not acknowledged in one of the ledgers, so not charged there yet, or newer than the
            copy of the other ledger; no discrepancy.
        comparisons: of subtrees, as a measure of the work.
    """

    provider: str
    merchant: str
    at_provider: BookTotals
    at_merchant: BookTotals
    findings: tuple[Finding, ...]
    unsettled: tuple[str, ...]
    comparisons: int

    def to_json(self) -> JsonObject:
        """For `--json`."""
        return {
            "provider": self.provider,
            "merchant": self.merchant,
            "at_provider": self.at_provider.to_json(),
            "at_merchant": self.at_merchant.to_json(),
            "discrepancies": [finding.to_json() for finding in self.findings],
            "unsettled": self.unsettled,
            "comparisons": self.comparisons,
        }


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result over all ledgers given.

    Attributes:
        pairs: those of which both ledgers are here, by provider and merchant.
        uncompared: (provider, merchant, receipts) where the other side's ledger is not here.
    """

    pairs: tuple[PairResult, ...]
    uncompared: tuple[tuple[str, str, int], ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every discrepancy."""
        return tuple(finding for pair in self.pairs for finding in pair.findings)

    def to_json(self) -> JsonObject:
        """For `--json`."""
        return {
            "reconciled": not self.findings,
            "pairs": [pair.to_json() for pair in self.pairs],
            "uncompared": [
                {"provider": provider, "merchant": merchant, "receipts": count}
                for provider, merchant, count in self.uncompared
            ],
        }


SignatureJudge = Callable[[str, int, int | None], SignatureState]
"""(whose ledger, index of the OUTCOME, index of its ACK) -> what is known of the receipt's signatures."""


def unchecked(party: str, index: int, ack: int | None) -> SignatureState:  # noqa: ARG001  (a SignatureJudge)
    """The judge where there is no directory."""
    return SignatureState.UNCHECKED


def judge_by(directory: Directory, entry: Callable[[str, int], bytes]) -> SignatureJudge:
    """A judge that reads an entry again, strictly, and checks its receipt's signatures.

    Args:
        directory: the regulator's, verified.
        entry: (whose ledger, index) -> the stored bytes.
    """

    def judge(party: str, index: int, ack: int | None) -> SignatureState:
        check = ReceiptCheck(directory)
        try:
            for each in (index, ack):
                if each is not None:
                    check.check(each, decode_entry(entry(party, each)))
        except AuditError:
            return SignatureState.BAD
        return SignatureState.VERIFIED

    return judge


def reconcile(views: Sequence[LedgerView], judge: SignatureJudge = unchecked) -> Reconciliation:
    """Compares every provider with every merchant of whom both ledgers are given.

    Args:
        views: one of each party; a party without receipts is allowed.
        judge: says whether the signatures of a receipt that is part of a finding hold.

    Raises:
        MalformedError: two ledgers of one party.
    """
    by_party = {view.party: view for view in views}
    if len(by_party) != len(views):
        raise MalformedError("two ledgers of one party were given: reconcile each party's with the others', once")
    results: list[PairResult] = []
    uncompared: list[tuple[str, str, int]] = []
    for provider, merchant in sorted({pair for view in views for pair in view.receipts}):
        at_provider, at_merchant = by_party.get(provider), by_party.get(merchant)
        if at_provider is not None and at_merchant is not None:
            results.append(_PairComparison(provider, merchant, at_provider, at_merchant, judge).run())
        else:
            count = sum(len(view.receipts.get((provider, merchant), {})) for view in views)
            uncompared.append((provider, merchant, count))
    return Reconciliation(tuple(results), tuple(uncompared))


class _PairComparison:
    """One provider and one merchant."""

    def __init__(
        self, provider: str, merchant: str, at_provider: LedgerView, at_merchant: LedgerView, judge: SignatureJudge
    ) -> None:
        self._pair = (provider, merchant)
        self._views = (at_provider, at_merchant)
        self._books = tuple(view.receipts.get(self._pair, {}) for view in self._views)
        self._judge = judge
        self._findings: dict[str, Finding] = {}
        self._named: set[tuple[int, int]] = set()
        self._unsettled: list[str] = []

    def run(self) -> PairResult:
        """Trees, walk, and the judgement of what differs."""
        trees = [_tree(view, book.values()) for view, book in zip(self._views, self._books, strict=True)]
        walked = difference(trees[0], trees[1])
        only = [
            {book[leaf.key[4:].hex()].receipt_id: book[leaf.key[4:].hex()] for leaf in leaves}
            for book, leaves in zip(self._books, (walked.left, walked.right), strict=True)
        ]
        for receipt_id in sorted(only[0].keys() & only[1].keys()):
            self._add_standing(only[0].pop(receipt_id), only[1].pop(receipt_id))
        self._match_by_call(list(only[0].values()), list(only[1].values()))
        for side, view in enumerate(self._views):
            for again in view.repeats:
                if (again.provider, again.merchant) == self._pair:
                    self._add_duplicate(side, self._books[side][again.receipt_id], again)
            self._add_contradictions(side)
        findings = sorted(self._findings.values(), key=lambda each: (each.call, each.kind.value, each.ledger))
        return PairResult(
            *self._pair,
            _totals(trees[0]),
            _totals(trees[1]),
            tuple(findings),
            tuple(sorted(self._unsettled)),
            walked.comparisons,
        )

    def _add_standing(self, at_provider: SeenReceipt, at_merchant: SeenReceipt) -> None:
        """Both hold the receipt, not in one standing: charged in one only, or on its way there."""
        standings = {self._views[0].standing(at_provider), self._views[1].standing(at_merchant)}
        if standings == {Standing.ACKNOWLEDGED, Standing.ABORTED}:
            self._add(DiscrepancyKind.DIFFERENTLY_PRICED, "", at_provider, at_merchant)
        else:
            self._unsettled.append(at_provider.receipt_id)

    def _match_by_call(self, at_provider: list[SeenReceipt], at_merchant: list[SeenReceipt]) -> None:
        """Receipts that only one ledger holds: another for the same call, a second one, or one that the other lacks."""
        waiting: defaultdict[str, list[SeenReceipt]] = defaultdict(list)
        for seen in sorted(at_merchant):
            waiting[seen.call].append(seen)
        lone: list[tuple[int, SeenReceipt]] = []
        for seen in sorted(at_provider):
            if waiting[seen.call]:
                other = waiting[seen.call].pop(0)
                same = (seen.contract, seen.units) == (other.contract, other.units)
                priced = same and (seen.price_micro, seen.currency) != (other.price_micro, other.currency)
                kind = DiscrepancyKind.DIFFERENTLY_PRICED if priced else DiscrepancyKind.ALTERED
                self._add(kind, "", seen, other)
            else:
                lone.append((0, seen))
        lone += [(1, seen) for left in waiting.values() for seen in left]
        calls = {seen.call for _, seen in lone}
        matched = [_by_call(book.values(), calls) for book in self._books]
        for side, seen in lone:
            first = next((each for each in matched[side][seen.call] if each.receipt_id in self._books[1 - side]), None)
            if first is not None:
                self._add_duplicate(side, first, seen)
            elif self._views[1 - side].is_older_than(seen):
                self._unsettled.append(seen.receipt_id)
            elif side == 1 or self._views[0].standing(seen) is Standing.ACKNOWLEDGED:
                lacking = self._pair[1 - side]
                self._add(DiscrepancyKind.MISSING, lacking, *((seen, None) if side == 0 else (None, seen)))
            else:
                self._unsettled.append(seen.receipt_id)

    def _add_duplicate(self, side: int, first: SeenReceipt, again: SeenReceipt) -> None:
        other = self._books[1 - side].get(first.receipt_id)
        shown = (first, other) if side == 0 else (other, first)
        self._add(DiscrepancyKind.DUPLICATED, self._pair[side], shown[0], shown[1], again)

    def _add_contradictions(self, side: int) -> None:
        for seen in self._books[side].values():
            if seen.contradiction is not None and (side, seen.at) not in self._named:
                other = self._books[1 - side].get(seen.receipt_id)
                shown = (seen, other) if side == 0 else (other, seen)
                self._add(seen.contradiction, self._pair[side], *shown)

    def _add(
        self,
        kind: DiscrepancyKind,
        ledger: str,
        at_provider: SeenReceipt | None,
        at_merchant: SeenReceipt | None,
        again: SeenReceipt | None = None,
    ) -> None:
        seen = again or at_provider or at_merchant
        assert seen is not None
        finding = Finding(
            kind=kind,
            provider=self._pair[0],
            merchant=self._pair[1],
            ledger=ledger,
            call=seen.call,
            contract=seen.contract,
            at_provider=self._sighting(0, at_provider),
            at_merchant=self._sighting(1, at_merchant),
            again=self._sighting(self._pair.index(ledger), again) if again is not None else None,
        )
        self._findings.setdefault(finding.unique_key, finding)

    def _sighting(self, side: int, seen: SeenReceipt | None) -> Sighting | None:
        if seen is None:
            return None
        view = self._views[side]
        self._named.add((side, seen.at))
        return Sighting(
            receipt_id=seen.receipt_id,
            index=seen.at,
            standing=view.standing(seen),
            units=units_of(seen.recorded_units),
            price_micro=seen.recorded_price_micro,
            currency=seen.recorded_currency,
            signatures=self._judge(view.party, seen.at, view.acknowledgements.get(seen.receipt_id)),
        )


def _tree(view: LedgerView, book: Iterable[SeenReceipt]) -> RadixNode:
    standing = view.standing
    return radix_tree(
        RadixLeaf(
            (seen.clock_ms // BUCKET_MS).to_bytes(4, "big") + bytes.fromhex(seen.receipt_id),
            _STANDING_TAG[standing(seen)],
            (*seen.units, seen.price_micro),
        )
        for seen in book
    )


def _totals(tree: RadixNode) -> BookTotals:
    calls, rows, ciphertexts, epsilon, price = tree.weights or (0, 0, 0, 0, 0)
    return BookTotals(tree.count, Units(calls, rows, ciphertexts, epsilon), price)


def _by_call(book: Iterable[SeenReceipt], calls: set[str]) -> defaultdict[str, list[SeenReceipt]]:
    found: defaultdict[str, list[SeenReceipt]] = defaultdict(list)
    if calls:
        for seen in book:
            if seen.call in calls:
                found[seen.call].append(seen)
    return found
