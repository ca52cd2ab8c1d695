import dataclasses
import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_accountant import cost_of
from protocols.dp_events import (
    MAX_DEPTH,
    Composed,
    CostEvent,
    NoisedBlock,
    NoisedVector,
    PoissonSampled,
    Repeated,
    event_from_plain,
    event_to_plain,
)
from protocols.errors import PrivacyCostError
from tests.protocols.dp_events_strategy import events

BLOCK = NoisedBlock(1, Fraction(25, 3), Fraction(1))
VECTOR = NoisedVector(3, (BLOCK,))
GOLDEN = {
    "event": {
        "event": {
            "blocks": [{"changed": 1, "share_variance": "25/3", "squared_sensitivity": "1/1"}],
            "distance": "0/1",
            "honest_shares": 3,
            "kind": "noised_vector",
        },
        "kind": "poisson_sampled",
        "rate": "1/100",
    },
    "kind": "repeated",
    "times": 20,
}


@given(events)
@settings(max_examples=60)
def test_an_event_comes_back_from_its_plain_form(event: CostEvent) -> None:
    assert event_from_plain(json.loads(json.dumps(event_to_plain(event)))) == event


def test_the_plain_form_stays_as_it_is_written_in_ledgers() -> None:
    event = Repeated(PoissonSampled(VECTOR, Fraction(1, 100)), 20)
    assert event_to_plain(event) == GOLDEN
    assert event_from_plain(GOLDEN) == event


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "laplace"},
        {"kind": None},
        {"times": 0},
        {"times": True},
        {"times": 1.0},
        {"times": 1 << 41},
        {"more": 1},
        {"event": []},
    ],
)
def test_another_plain_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PrivacyCostError):
        event_from_plain(GOLDEN | change)


@pytest.mark.parametrize(
    "rate", ["0/1", "1/1", "2/200", "01/100", "1/0", "-1/100", "nan", "0.01", 0.01, "1/100 ", "２/9"]
)
def test_a_rate_that_is_no_fraction_between_0_and_1_in_lowest_terms_is_refused(rate: object) -> None:
    with pytest.raises(PrivacyCostError):
        event_from_plain({"event": event_to_plain(VECTOR), "kind": "poisson_sampled", "rate": rate})


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["repeated", "composed", "1/3", "9/4", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "event", "events", "times", "rate", "blocks"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(anything)
def test_any_plain_form_gives_an_event_or_our_error(plain: object) -> None:
    try:
        event = event_from_plain(plain)
    except PrivacyCostError:
        return
    assert event_to_plain(event) == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"changed": 0},
        {"changed": -1},
        {"changed": True},
        {"changed": 1.0},
        {"share_variance": Fraction(24, 100)},
        {"share_variance": 25},
        {"share_variance": 25.0},
        {"share_variance": float("nan")},
        {"share_variance": Fraction(1 << 513)},
        {"squared_sensitivity": Fraction(0)},
        {"squared_sensitivity": Fraction(-1)},
        {"squared_sensitivity": Fraction(1, 1 << 513)},
    ],
)
def test_a_block_out_of_its_limits_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(PrivacyCostError):
        dataclasses.replace(BLOCK, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"honest_shares": 0},
        {"honest_shares": 1025},
        {"blocks": ()},
        {"blocks": [BLOCK]},
        {"blocks": (VECTOR,)},
        {"distance": Fraction(1)},
        {"distance": Fraction(-1, 9)},
        {"distance": 1e-30},
    ],
)
def test_a_vector_out_of_its_limits_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(PrivacyCostError):
        dataclasses.replace(VECTOR, **fields)


def test_nesting_has_an_end() -> None:
    event: CostEvent = VECTOR
    for _ in range(MAX_DEPTH - 1):
        event = Repeated(event, 2)
    with pytest.raises(PrivacyCostError, match="nests"):
        Repeated(event, 2)
    with pytest.raises(PrivacyCostError, match="nests"):
        event_from_plain({"event": event_to_plain(event), "kind": "repeated", "times": 2})


def test_sampling_within_sampling_is_refused() -> None:
    inner = Composed((VECTOR, PoissonSampled(VECTOR, Fraction(1, 2))))
    with pytest.raises(PrivacyCostError, match="sampling within sampling"):
        PoissonSampled(inner, Fraction(1, 2))


def test_an_unknown_event_is_refused_before_anything_is_summed() -> None:
    class Laplace:
        pass

    for make in (lambda: Composed((VECTOR, Laplace())), lambda: Repeated(Laplace(), 2), lambda: cost_of(Laplace())):
        with pytest.raises(PrivacyCostError, match="Laplace is no privacy cost"):
            make()
