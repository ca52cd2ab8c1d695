"""The privacy that an INTENT takes: its form, and what the verifier and the fast reader make of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.canonical import canonicalise
from audit.entry import Side, decode_entry, encode_entry
from audit.errors import MalformedError, Rule
from audit.ledger import Draft, Ledger
from audit.ledger_view import read_view
from audit.tariff import price
from audit.verify import Report, verify_database

from .ledgers import QUIET, SteppingClock, in_force
from .samples import TARIFF, aborted, directory, intent, outcome, private_intent
from .test_verify_semantics import OWNERS

VECTOR: dict[str, Any] = json.loads(encode_entry(private_intent()))["privacy"]["event"]


def with_event(event: object) -> bytes:
    document = json.loads(encode_entry(private_intent()))
    document["privacy"]["event"] = event
    return canonicalise(document)


@pytest.mark.parametrize(
    "event",
    [
        VECTOR,
        {"kind": "repeated", "times": 3, "event": VECTOR},
        {"kind": "poisson_sampled", "rate": "1/100", "event": VECTOR},
        {"kind": "composed", "events": [VECTOR, {"kind": "repeated", "times": 3, "event": VECTOR}]},
    ],
)
def test_a_release_of_a_known_kind_is_read_back(event: object) -> None:
    data = with_event(event)
    assert encode_entry(decode_entry(data)) == data


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "outcome"},
        {"kind": "laplace", "scale": "1/1"},
        VECTOR | {"note": "row 17"},
        VECTOR | {"honest_shares": 0},
        VECTOR | {"distance": 0.5},
        VECTOR | {"distance": "a/1"},
        VECTOR | {"distance": "1/0"},
        VECTOR | {"blocks": [VECTOR["blocks"][0] | {"kind": "outcome"}]},
        {"kind": "repeated", "times": 1, "event": {"kind": "repeated", "times": 1, "event": {}}},
        [VECTOR],
        "noised_vector",
    ],
)
def test_nothing_else_stands_in_a_ledger_in_its_place(event: object) -> None:
    with pytest.raises(MalformedError):
        decode_entry(with_event(event))


def test_an_event_nested_too_deep_is_refused() -> None:
    event = VECTOR
    for _ in range(4):
        event = {"kind": "repeated", "times": 1, "event": event}
    with pytest.raises(MalformedError, match="deep"):
        decode_entry(with_event(event))


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Report]:
    def tell(*written: object) -> Report:
        identity, key = OWNERS[Side.PROVIDER]
        with Ledger.open(
            tmp_path / "ledger.db", identity=identity, key=key, clock=SteppingClock(), config=QUIET
        ) as ledger:
            for entry in (*in_force("east"), *written):
                ledger.append(Draft(entry))  # type: ignore[arg-type]
        return verify_database(tmp_path / "ledger.db", directory=directory())

    return tell


def test_a_private_call_that_ends_in_any_way_verifies(told: Callable[..., Report]) -> None:
    units = private_intent().units
    answered = outcome(Side.PROVIDER, units=units, price_micro=price(units, TARIFF).total_micro)
    assert told(private_intent(1), aborted("east", Side.PROVIDER, 1), private_intent(), answered).verified


def test_epsilon_that_no_release_costs_and_a_release_that_costs_none_are_found(told: Callable[..., Report]) -> None:
    report = told(replace(private_intent(), privacy=None))
    assert (report.rule, report.index) == (Rule.CALL, 4)


def test_a_release_in_a_call_that_takes_no_epsilon_is_found(told: Callable[..., Report]) -> None:
    report = told(replace(intent(Side.PROVIDER), privacy=private_intent().privacy))
    assert (report.rule, report.index) == (Rule.CALL, 4)


def test_the_fast_reader_of_receipts_takes_a_private_call_for_what_it_is() -> None:
    units = private_intent().units
    answered = outcome(Side.PROVIDER, units=units, price_micro=price(units, TARIFF).total_micro)
    view = read_view("east", [encode_entry(private_intent()), encode_entry(answered)])
    (seen,) = view.receipts["east", "shop"].values()
    assert (seen.receipt_id, seen.units[3], seen.contradiction) == (answered.receipt_id, 500_000, None)
