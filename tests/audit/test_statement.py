from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Entry, Outcome, Side, Units
from audit.jcs import canonicalise
from audit.statement import Statement, statement
from audit.tariff import price

from . import samples

CONTRACT = samples.digest("contract")
LARGE = Units(1, 12_345, 67, 0)


def _statement(entries: list[Entry]) -> Statement:
    return statement(entries, contract=CONTRACT, tariff=samples.TARIFF)


def _answered(side: Side, provider: str, number: int, units: Units = samples.UNITS) -> list[Entry]:
    return [samples.outcome(side, provider, number, units=units), samples.ack(side, provider, number, units=units)]


def test_a_merchants_statement_and_its_providers_agree_to_the_micro_unit() -> None:
    merchant: list[Entry] = [samples.intent(Side.MERCHANT)]
    own: dict[str, list[Entry]] = {"east": [samples.intent(Side.PROVIDER)], "north": []}
    for number in range(3):
        for provider, units in (("east", samples.UNITS), ("north", LARGE)):
            merchant += _answered(Side.MERCHANT, provider, number, units)
            own[provider] += _answered(Side.PROVIDER, provider, number, units)
    theirs = _statement(merchant)
    east, north = _statement(own["east"]), _statement(own["north"])
    assert theirs.subtotal("east") == east.subtotal("east")
    assert theirs.subtotal("north") == north.subtotal("north")
    assert theirs.total_micro == east.total_micro + north.total_micro
    assert set(theirs.charged) == set(east.charged) | set(north.charged)
    assert [line.provider_clock_ms for line in theirs.charged] == sorted(
        line.provider_clock_ms for line in theirs.charged
    )
    assert not theirs.differences
    expected = 3 * (price(samples.UNITS, samples.TARIFF).total_micro + price(LARGE, samples.TARIFF).total_micro)
    assert theirs.total_micro == expected


def test_the_two_sides_write_the_same_statement_of_the_same_calls() -> None:
    sides = [[*_answered(side, "east", 0), *_answered(side, "east", 1)] for side in (Side.PROVIDER, Side.MERCHANT)]
    provider, merchant = (canonicalise(_statement(entries).to_json()) for entries in sides)
    assert provider == merchant


def test_an_unacknowledged_receipt_is_outstanding_and_not_charged() -> None:
    made = _statement([samples.outcome(Side.PROVIDER), *_answered(Side.PROVIDER, "east", 1)])
    assert [line.call for line in made.outstanding] == [samples.request(0).digest]
    assert [line.call for line in made.charged] == [samples.request(1).digest]
    assert made.total_micro == price(samples.UNITS, samples.TARIFF).total_micro


def test_an_acknowledgement_of_another_receipt_charges_nothing() -> None:
    made = _statement([samples.outcome(Side.PROVIDER), samples.ack(Side.PROVIDER, number=1)])
    assert (made.charged, made.total_micro) == ((), 0)


def test_an_aborted_call_costs_nothing_even_when_its_parts_left() -> None:
    made = _statement(
        [
            *_answered(Side.PROVIDER, "east", 0),
            samples.outcome(Side.PROVIDER, "east", 1),
            samples.aborted("east", Side.PROVIDER, 0, released=True),
            samples.aborted("east", Side.PROVIDER, 1),
            samples.aborted("east", Side.PROVIDER, 2),
        ]
    )
    assert (made.charged, made.outstanding, made.total_micro) == ((), (), 0)
    assert {(call.call, call.released) for call in made.aborted} == {
        (samples.request(0).digest, True),
        (samples.request(1).digest, False),
        (samples.request(2).digest, False),
    }


def test_a_call_aborted_twice_is_listed_once_and_once_released_stays_so() -> None:
    made = _statement(
        [
            samples.aborted("east", Side.PROVIDER, released=True),
            samples.aborted("east", Side.PROVIDER, released=False),
        ]
    )
    assert [call.released for call in made.aborted] == [True]


def test_another_contracts_entries_do_not_count() -> None:
    other = [*_answered(Side.PROVIDER, "east", 0), samples.aborted("east", Side.PROVIDER, 1)]
    made = statement(other, contract=samples.digest("another contract"), tariff=samples.TARIFF)
    assert (made.charged, made.outstanding, made.aborted, made.total_micro) == ((), (), (), 0)


def test_a_price_that_does_not_follow_from_the_tariff_is_named_and_not_believed() -> None:
    true = price(samples.UNITS, samples.TARIFF).total_micro
    made = _statement(
        [
            samples.outcome(Side.PROVIDER, price_micro=true + 1),
            samples.ack(Side.PROVIDER, price_micro=true + 1),
        ]
    )
    assert made.total_micro == true
    assert [(item.field, item.recorded, item.recomputed) for item in made.differences] == [
        ("receipt.price_micro", str(true + 1), str(true))
    ]


def test_an_entry_that_says_otherwise_than_its_receipt_is_named() -> None:
    honest = samples.outcome(Side.PROVIDER)
    lying: list[tuple[Outcome, str]] = [
        (replace(honest, units=LARGE), "entry.units"),
        (replace(honest, price_micro=1), "entry.price_micro"),
        (replace(honest, currency="EUR"), "entry.currency"),
        (replace(honest, request=samples.request(5), call=samples.request(5).digest), "receipt.call"),
        (samples.outcome(Side.PROVIDER, currency="EUR"), "receipt.currency"),
    ]
    for entry, field in lying:
        made = _statement([entry, samples.ack(Side.PROVIDER)])
        assert [item.field for item in made.differences] == [field]
    other = replace(samples.outcome(Side.PROVIDER, contract=samples.digest("x")), contract=CONTRACT)
    assert [item.field for item in _statement([other]).differences] == ["receipt.contract"]


@given(st.permutations([*_answered(Side.PROVIDER, "east", 0), *_answered(Side.PROVIDER, "east", 1)]))
def test_the_order_of_entries_does_not_matter(entries: list[Entry]) -> None:
    expected = _statement([*_answered(Side.PROVIDER, "east", 0), *_answered(Side.PROVIDER, "east", 1)])
    assert _statement(entries) == expected


def test_amounts_are_decimal_strings() -> None:
    document = _statement(_answered(Side.PROVIDER, "east", 0)).to_json()
    assert document["total"] == "2.790000"
    assert document["providers"] == [
        {"provider": "east", "receipts": 1, "units": samples.UNITS.to_json(), "total": "2.790000"}
    ]
