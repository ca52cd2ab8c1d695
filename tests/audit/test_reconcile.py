"""Two ledgers of one trade: what differs is found and named, each difference once, and nothing else is."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import ledger_view
from audit.directory import Directory
from audit.discrepancy import DiscrepancyKind, SignatureState, Standing
from audit.entry import Entry, Side, Units, encode_entry
from audit.errors import AuditError, MalformedError, VerificationFailedError
from audit.ledger import open_reader
from audit.ledger_view import LedgerView, read_view
from audit.reconcile import Reconciliation, judge_by, reconcile
from tests.audit.many_receipts import Writer, payload, write_ledger
from tests.audit.samples import UNITS, aborted, ack, digest, directory, intent, outcome

EAST, SHOP = Writer(Side.PROVIDER), Writer(Side.MERCHANT)
MISSING, ALTERED = DiscrepancyKind.MISSING, DiscrepancyKind.ALTERED
DUPLICATED, PRICED = DiscrepancyKind.DUPLICATED, DiscrepancyKind.DIFFERENTLY_PRICED


def views(east: list[bytes], shop: list[bytes]) -> list[LedgerView]:
    return [read_view("east", east), read_view("shop", shop)]


def named(result: Reconciliation) -> list[tuple[str, DiscrepancyKind, str]]:
    return sorted(((each.call, each.kind, each.ledger) for each in result.findings), key=str)


def aborting(side: Side, number: int) -> bytes:
    party = "east" if side is Side.PROVIDER else "shop"
    sample = aborted(party, side)
    return encode_entry(sample).replace(sample.call.encode(), payload(number).call.encode())


def recorded(data: bytes, **fields: object) -> bytes:
    """The OUTCOME with its clear fields changed, the receipt in it not."""
    return json.dumps(json.loads(data) | fields, separators=(",", ":"), sort_keys=True).encode()


Made = tuple[list[bytes], list[bytes], DiscrepancyKind | None, str]
UNSETTLED = "unsettled"

SCENARIOS: dict[str, Callable[[int], Made]] = {
    "both have it": lambda n: ([*EAST.call(n)], [*SHOP.call(n)], None, ""),
    "its acknowledgement is on its way": lambda n: ([EAST.call(n)[0]], [*SHOP.call(n)], None, UNSETTLED),
    "the answer is on its way": lambda n: ([EAST.call(n)[0]], [], None, UNSETTLED),
    "the merchant gave up": lambda n: ([EAST.call(n)[0]], [aborting(Side.MERCHANT, n)], None, UNSETTLED),
    "both gave up": lambda n: (
        [EAST.call(n)[0], aborting(Side.PROVIDER, n)],
        [aborting(Side.MERCHANT, n)],
        None,
        UNSETTLED,
    ),
    "the provider left it out": lambda n: ([], [*SHOP.call(n)], MISSING, "east"),
    "the provider left it out before it was acknowledged": lambda n: ([], [SHOP.call(n)[0]], MISSING, "east"),
    "the merchant left it out": lambda n: ([*EAST.call(n)], [], MISSING, "shop"),
    "the merchant says it was aborted": lambda n: ([*EAST.call(n)], [aborting(Side.MERCHANT, n)], MISSING, "shop"),
    "the merchant aborted what it acknowledged": lambda n: (
        [*EAST.call(n)],
        [*SHOP.call(n), aborting(Side.MERCHANT, n)],
        PRICED,
        "",
    ),
    "the provider's receipt is dearer": lambda n: (
        [*EAST.changed(n, price_micro=9_000_000)],
        [*SHOP.call(n)],
        PRICED,
        "",
    ),
    "the merchant's is in another currency": lambda n: (
        [*EAST.call(n)],
        [*SHOP.changed(n, currency="EUR")],
        PRICED,
        "",
    ),
    "the provider's has other units": lambda n: (
        [*EAST.changed(n, units=replace(UNITS, ciphertexts=13), price_micro=9_000_000)],
        [*SHOP.call(n)],
        ALTERED,
        "",
    ),
    "the merchant's was signed at another time": lambda n: (
        [*EAST.call(n)],
        [*SHOP.changed(n, provider_clock_ms=1)],
        ALTERED,
        "",
    ),
    "the merchant enters it twice": lambda n: (
        [*EAST.call(n)],
        [SHOP.call(n)[0], *SHOP.call(n)],
        DUPLICATED,
        "shop",
    ),
    "the provider has a second receipt for the call": lambda n: (
        [*EAST.changed(n, response=digest("other")), *EAST.call(n)],
        [*SHOP.call(n)],
        DUPLICATED,
        "east",
    ),
    "the provider records another price than it signed": lambda n: (
        [recorded(EAST.call(n)[0], price_micro="1"), EAST.call(n)[1]],
        [*SHOP.call(n)],
        PRICED,
        "east",
    ),
    "the merchant records other units than it signed": lambda n: (
        [*EAST.call(n)],
        [recorded(SHOP.call(n)[0], units=replace(UNITS, calls=2).to_json()), SHOP.call(n)[1]],
        ALTERED,
        "shop",
    ),
    "the provider records it as a merchant": lambda n: (
        [recorded(EAST.call(n)[0], side="merchant"), EAST.call(n)[1]],
        [*SHOP.call(n)],
        ALTERED,
        "east",
    ),
}


@given(st.lists(st.sampled_from(sorted(SCENARIOS)), max_size=40), st.randoms(use_true_random=False))
def test_every_difference_is_found_and_named_once(scenarios: list[str], shuffle: random.Random) -> None:
    east: list[list[bytes]] = []
    shop: list[list[bytes]] = []
    expected: list[tuple[str, DiscrepancyKind, str]] = []
    unsettled = 0
    for number, scenario in enumerate(scenarios):
        at_east, at_shop, kind, ledger = SCENARIOS[scenario](number)
        east.append(at_east)
        shop.append(at_shop)
        unsettled += ledger == UNSETTLED
        if kind is not None:
            expected.append((payload(number).call, kind, ledger))
    shuffle.shuffle(east)
    result = reconcile(views([data for call in east for data in call], [data for call in shop for data in call]))
    assert named(result) == sorted(expected, key=str)
    assert sum(len(pair.unsettled) for pair in result.pairs) == unsettled


def test_100_000_calls_with_10_differences_are_exactly_those_10_in_less_than_10_seconds(tmp_path: Path) -> None:
    calls = 100_000
    scenarios = {
        17: "the provider left it out",
        12_345: "the provider left it out",
        23_456: "the merchant left it out",
        34_567: "the merchant left it out",
        45_678: "the provider's has other units",
        56_789: "the merchant's was signed at another time",
        67_890: "the provider's receipt is dearer",
        78_901: "the merchant's is in another currency",
        89_012: "the merchant enters it twice",
        99_999: "the provider has a second receipt for the call",
    }
    seeded = {number: SCENARIOS[scenario](number) for number, scenario in scenarios.items()}
    for party, writer in (("east", EAST), ("shop", SHOP)):
        differing = {number: made[0] if writer is EAST else made[1] for number, made in seeded.items()}
        entries = (
            data
            for number in range(calls)
            for data in (differing[number] if number in differing else writer.call(number))
        )
        write_ledger(tmp_path / f"{party}.db", party, entries)

    started = time.process_time()  # this process's own work, however busy the machine is
    read: list[LedgerView] = []
    for party in ("east", "shop"):
        reader = open_reader(tmp_path / f"{party}.db")
        read.append(read_view(party, reader.read(0, reader.size)))
        reader.close()
    result = reconcile(read)
    took = time.process_time() - started

    assert took < 10
    assert named(result) == sorted(
        ((payload(number).call, kind, ledger) for number, (_, _, kind, ledger) in seeded.items()), key=str
    )
    (pair,) = result.pairs
    assert (pair.at_provider.receipts, pair.at_merchant.receipts) == (calls - 2 + 1, calls - 2)
    assert pair.comparisons < 14 * 16 * 12  # trees that differ in 14 leaves, 12 levels deep
    assert not pair.unsettled


def test_the_patterns_and_the_strict_decoder_see_the_same_receipt() -> None:
    for side, party in ((Side.PROVIDER, "east"), (Side.MERCHANT, "shop")):
        data = encode_entry(outcome(side))
        fast = read_view(party, [data])
        (seen,) = fast.receipts["east", "shop"].values()
        assert ledger_view._seen_strictly(0, data) == ledger_view._seen_fast(0, data) == seen


def test_numbers_that_the_patterns_do_not_take_are_read_all_the_same() -> None:
    large = Units(1, 2**53 - 1, 0, 2**63 - 1)
    data = encode_entry(outcome(Side.PROVIDER, units=large, price_micro=2**63 - 1))
    assert ledger_view._seen_fast(0, data) is None
    (seen,) = read_view("east", [data]).receipts["east", "shop"].values()
    assert (seen.units, seen.price_micro, seen.contradiction) == ((1, 2**53 - 1, 0, 2**63 - 1), 2**63 - 1, None)


def test_entries_of_other_kinds_change_nothing() -> None:
    east = [encode_entry(intent(Side.PROVIDER)), *EAST.call(1)]
    assert not reconcile(views(east, [*SHOP.call(1)])).findings


def test_ledgers_that_cannot_be_read_or_of_others_are_refused() -> None:
    good = EAST.call(1)[0]
    for bad in (
        good[:-1],
        good + b" ",
        good.replace(b'"price_micro":"', b'"price_micro":"0'),
        good.replace(b'"v":1}', b'"v":2}'),
        good.replace(b'"kind":"outcome"', b'"kind":"outcome","kind":"outcome"'),
    ):
        assert bad != good
        with pytest.raises(VerificationFailedError):
            read_view("east", [bad])
    with pytest.raises(VerificationFailedError, match="other parties"):
        read_view("north", [encode_entry(outcome(Side.PROVIDER))])


@given(st.data())
def test_any_entry_is_read_or_refused_with_our_own_error(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([*EAST.call(1), aborting(Side.PROVIDER, 1)])))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_view("east", [bytes(raw)])
    except AuditError:
        return


def test_a_pair_with_one_ledger_is_told_and_not_judged() -> None:
    result = reconcile([read_view("east", [*EAST.call(1), *EAST.call(2)])])
    assert (result.pairs, result.uncompared) == ((), (("east", "shop", 2),))
    with pytest.raises(MalformedError, match="two ledgers"):
        reconcile([read_view("east", []), read_view("east", [])])


def test_several_providers_are_compared_pair_by_pair() -> None:
    def encoded(*entries: Entry) -> list[bytes]:
        return [encode_entry(entry) for entry in entries]

    east = encoded(outcome(Side.PROVIDER, "east", 1), ack(Side.PROVIDER, "east", 1))
    north = encoded(outcome(Side.PROVIDER, "north", 1), ack(Side.PROVIDER, "north", 1))
    shop = encoded(
        outcome(Side.MERCHANT, "east", 1),
        ack(Side.MERCHANT, "east", 1),
        outcome(Side.MERCHANT, "north", 1),
        ack(Side.MERCHANT, "north", 1),
    )
    parties = {"east": east, "north": north, "shop": shop, "watch": []}
    result = reconcile([read_view(party, entries) for party, entries in parties.items()])
    assert not result.findings
    assert [(pair.provider, pair.merchant) for pair in result.pairs] == [("east", "shop"), ("north", "shop")]
    parties["north"] = []
    result = reconcile([read_view(party, entries) for party, entries in parties.items()])
    assert [(each.kind, each.ledger, each.provider) for each in result.findings] == [(MISSING, "north", "north")]


def test_signatures_are_checked_where_something_differs() -> None:
    known: Directory = directory()
    real = [encode_entry(outcome(Side.PROVIDER, number=5)), encode_entry(ack(Side.PROVIDER, number=5))]
    east = [*real, *EAST.call(6)]
    entries = {"east": east}
    judged: list[int] = []

    def entry(party: str, index: int) -> bytes:
        judged.append(index)
        return entries[party][index]

    result = reconcile(views(east, []), judge_by(known, entry))
    by_call = {each.call: each.at_provider for each in result.findings}
    assert {each.standing for each in by_call.values() if each} == {Standing.ACKNOWLEDGED}
    states = {call: each.signatures for call, each in by_call.items() if each}
    assert states == {
        outcome(Side.PROVIDER, number=5).call: SignatureState.VERIFIED,
        payload(6).call: SignatureState.BAD,
    }
    judged.clear()
    reconcile(views([*EAST.call(1)], [*SHOP.call(1)]), judge_by(known, entry))
    assert judged == []


def test_what_is_newer_than_a_copy_is_not_missing_in_it() -> None:
    """Copies grow second by second: one that is older than a receipt says nothing about it. A later one that lacks it
    does, and so does one that has entries after it.
    """
    clock_ms = payload(7).provider_clock_ms
    merchant = read_view("shop", SHOP.call(7))
    receipts = tuple(merchant.receipts["east", "shop"])
    older, newer = (read_view("east", (), as_of_ms=clock_ms + ms) for ms in (-1, 0))
    (pair,) = reconcile([older, merchant]).pairs
    assert (pair.findings, pair.unsettled) == ((), receipts)
    (finding,) = reconcile([newer, merchant]).findings
    assert (finding.kind, finding.ledger) == (MISSING, "east")
    provider = read_view("east", EAST.call(7))
    (pair,) = reconcile([provider, read_view("shop", (), as_of_ms=clock_ms - 1)]).pairs
    assert (pair.findings, pair.unsettled) == ((), receipts)
