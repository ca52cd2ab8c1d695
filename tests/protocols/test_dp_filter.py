import math
import time
from fractions import Fraction
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_accountant import NOTHING, ORDERS, Cost, conversion_units, cost_of, from_micro, micro_epsilon
from protocols.dp_events import NoisedBlock, NoisedVector, PoissonSampled
from protocols.dp_filter import Budget, PrivacyFilter
from protocols.errors import BudgetExhaustedError, PrivacyCostError

DELTA = Fraction(1, 10**6)
ONE = PrivacyFilter.for_budget(Budget(1_000_000, DELTA))
TWO_ORDERS = PrivacyFilter.for_budget(Budget(1_000_000, DELTA, (Fraction(16), Fraction(64))))


def count(variance: int, shares: int = 3) -> Cost:
    return cost_of(NoisedVector(shares, (NoisedBlock(1, Fraction(variance, shares), Fraction(1)),)))


PALETTE = (
    count(25),
    count(100),
    count(4000),
    count(60, 1),
    cost_of(PoissonSampled(NoisedVector(1, (NoisedBlock(5, Fraction(9), Fraction(9)),)), Fraction(1, 50))),
)
spends = st.lists(st.sampled_from(PALETTE), min_size=1, max_size=60)
filters = st.sampled_from([ONE, TWO_ORDERS])


@given(filters, spends)
@settings(deadline=None)
def test_it_never_admits_what_direct_composition_forbids(privacy_filter: PrivacyFilter, costs: list[Cost]) -> None:
    spent = NOTHING
    for cost in costs:
        try:
            spent = privacy_filter.take(spent, cost)
        except BudgetExhaustedError:
            continue
    assert micro_epsilon(spent, DELTA) <= 1_000_000


@given(filters, spends, st.sampled_from(PALETTE))
@settings(deadline=None)
def test_a_spend_is_admitted_exactly_if_the_epsilon_after_it_is_within_the_budget(
    privacy_filter: PrivacyFilter, costs: list[Cost], last: Cost
) -> None:
    spent = NOTHING
    for cost in costs:
        spent = spent.plus(cost)
    within = privacy_filter.micro_epsilon(spent.plus(last)) <= privacy_filter.budget.micro_epsilon
    try:
        assert privacy_filter.take(spent, last) == spent.plus(last)
        admitted = True
    except BudgetExhaustedError:
        admitted = False
    assert admitted == within


@given(filters, spends, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_spends_is_irrelevant(privacy_filter: PrivacyFilter, costs: list[Cost], order: object) -> None:
    shuffled = list(costs)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one = other = NOTHING
    for cost, shuffled_cost in zip(costs, shuffled, strict=True):
        one, other = one.plus(cost), other.plus(shuffled_cost)
    assert one == other
    assert privacy_filter.remaining(one) == privacy_filter.remaining(other)


@given(filters, spends)
@settings(deadline=None)
def test_marginals_are_never_negative_and_add_up_to_what_was_spent(
    privacy_filter: PrivacyFilter, costs: list[Cost]
) -> None:
    spent, total = NOTHING, 0
    for cost in costs:
        marginal = privacy_filter.marginal(spent, cost)
        assert marginal >= 0
        total, spent = total + marginal, spent.plus(cost)
    assert total == privacy_filter.micro_epsilon(spent)
    assert privacy_filter.remaining(spent) == max(0, 1_000_000 - total)


def test_what_is_left_is_less_than_a_call_takes_when_the_budget_is_gone() -> None:
    cost, spent = count(4000), NOTHING
    while ONE.marginal(spent, cost) <= ONE.remaining(spent):
        spent = ONE.take(spent, cost)
    with pytest.raises(BudgetExhaustedError, match="of 1000000 millionths of epsilon left"):
        ONE.take(spent, cost)
    assert ONE.micro_epsilon(spent) <= 1_000_000


def test_one_order_admits_as_many_gaussian_spends_as_all_orders_together_would() -> None:
    for micro, variance in ((1_000_000, 3000), (300_000, 30_000), (5_000_000, 200)):
        privacy_filter, cost = PrivacyFilter.for_budget(Budget(micro, DELTA)), count(variance)
        admitted = max(times for times in range(1000) if privacy_filter.micro_epsilon(cost.times(times)) <= micro)
        assert admitted > 10
        assert micro_epsilon(cost.times(admitted), DELTA) <= micro
        assert micro_epsilon(cost.times(admitted + 1), DELTA) > micro


def test_the_last_unit_is_admitted_and_not_one_more() -> None:
    room = from_micro(1_000_000) - ONE.conversions[0]
    whole = Cost((room,) * len(ORDERS))
    assert ONE.micro_epsilon(ONE.take(NOTHING, whole)) == 1_000_000
    with pytest.raises(BudgetExhaustedError):
        ONE.check(NOTHING, Cost((room + 1,) * len(ORDERS)))
    with pytest.raises(BudgetExhaustedError):
        ONE.check(whole, Cost((1,) * len(ORDERS)))


def test_a_filter_at_several_orders_admits_what_stays_within_one_of_them() -> None:
    at_16 = ORDERS.index(Fraction(16))
    at_16_alone = Cost(tuple(0 if place == at_16 else 1 << 80 for place in range(len(ORDERS))))
    assert TWO_ORDERS.take(NOTHING, at_16_alone) == at_16_alone
    with pytest.raises(BudgetExhaustedError):
        TWO_ORDERS.check(NOTHING, Cost((1 << 80,) * len(ORDERS)))


def test_spending_nothing_costs_nothing_and_a_spent_budget_stays_spent() -> None:
    assert ONE.marginal(NOTHING, NOTHING) == 0
    assert ONE.take(NOTHING, NOTHING) == NOTHING
    spent = count(25).times(1000)
    assert ONE.remaining(spent) == 0
    with pytest.raises(BudgetExhaustedError, match="0 of 1000000"):
        ONE.check(spent, count(10**6))


def test_distances_of_samplers_are_part_of_the_budget() -> None:
    limit = ONE.distance
    step = Cost(count(10**6).units, limit // 2)
    spent = ONE.take(ONE.take(NOTHING, step), step)
    with pytest.raises(BudgetExhaustedError, match="distances"):
        ONE.check(spent, step)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, 0.5, True, None, 100_000_001])
def test_an_epsilon_that_is_none_is_refused(epsilon: int) -> None:
    with pytest.raises(PrivacyCostError, match="epsilon"):
        Budget(epsilon, DELTA)


@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1), Fraction(-1, 2), math.nan, 1e-6])
def test_a_delta_that_is_none_is_refused(delta: Fraction) -> None:
    with pytest.raises(PrivacyCostError, match="delta"):
        Budget(1_000_000, delta)


@pytest.mark.parametrize(
    "orders", [(), (Fraction(1),), (Fraction(3), Fraction(2)), (Fraction(2), Fraction(2)), ORDERS[:17]]
)
def test_orders_that_no_filter_watches_are_refused(orders: tuple[Fraction, ...]) -> None:
    with pytest.raises(PrivacyCostError, match="orders"):
        Budget(1_000_000, DELTA, orders)


def test_a_budget_that_could_admit_nothing_is_refused() -> None:
    with pytest.raises(PrivacyCostError, match="too small"):
        PrivacyFilter.for_budget(Budget(100, DELTA))


def test_a_check_takes_less_than_100_microseconds() -> None:
    cost, spent, seconds = count(4000), count(60), []
    for _ in range(200):
        start = time.perf_counter()
        ONE.check(spent, cost)
        ONE.marginal(spent, cost)
        seconds.append(time.perf_counter() - start)
    assert median(seconds) < 100e-6


# An analyst who looks at a first result and then spends at the order that it favours. Every mechanism is a table of
# probabilities (with the unit, without it); the second is chosen by the first's outcome.

FIRST = {"usual": (1 - 1.4e-4, 1 - 1e-4), "telling": (1.4e-4, 1e-4)}
LIMIT_16, LIMIT_64 = (
    from_micro(1_000_000) - constant for constant in conversion_units((Fraction(16), Fraction(64)), DELTA)
)


def table_cost(table: dict[str, tuple[float, float]]) -> Cost:
    def divergence(order: float) -> float:
        def moment(one: int) -> float:
            logs = [order * math.log(p[one]) + (1 - order) * math.log(p[1 - one]) for p in table.values()]
            return max(logs) + math.log(math.fsum(math.exp(one - max(logs)) for one in logs))

        return max(moment(0), moment(1)) / (order - 1)

    return Cost(tuple(math.ceil(max(0, divergence(float(order))) * 2**40) + 1 for order in ORDERS))


def event_with_ratio(ratio: float, order: int, room: float) -> dict[str, tuple[float, float]]:
    """The likeliest event of that likelihood ratio for which the divergence of the order stays within the room."""
    least, most = 1e-12, 0.999 / ratio
    for _ in range(200):
        middle = (least + most) / 2
        table = {"yes": (middle * ratio, middle), "no": (1 - middle * ratio, 1 - middle)}
        fits = table_cost(table).units[ORDERS.index(Fraction(order))] <= room
        least, most = (middle, most) if fits else (least, middle)
    return {"yes": (least * ratio, least), "no": (1 - least * ratio, 1 - least)}


def interaction() -> tuple[Cost, Cost, Cost, float]:
    """The first mechanism's cost, the second's after each outcome, and the true delta at epsilon 1 of all of it."""
    first = table_cost(FIRST)
    at_16, at_64 = ORDERS.index(Fraction(16)), ORDERS.index(Fraction(64))
    after_usual = event_with_ratio(math.e * 16 / 15, 16, LIMIT_16 - first.units[at_16])
    after_telling = event_with_ratio(math.e * 64 / 63 / 1.4, 64, LIMIT_64 - first.units[at_64])
    delta = 0.0
    for outcome, second in (("usual", after_usual), ("telling", after_telling)):
        p, q = FIRST[outcome]
        delta += sum(max(0.0, p * p2 - math.e * q * q2) for p2, q2 in second.values())
    return first, table_cost(after_usual), table_cost(after_telling), delta


def test_an_analyst_who_may_use_whichever_order_still_fits_reaches_nearly_twice_delta() -> None:
    """The attack without the defence: at either end some order is within its bound for the full delta."""
    first, usual, telling, delta = interaction()
    at_16, at_64 = ORDERS.index(Fraction(16)), ORDERS.index(Fraction(64))
    assert first.plus(usual).units[at_16] <= LIMIT_16
    assert first.plus(telling).units[at_64] <= LIMIT_64
    assert delta > 1.8 * float(DELTA)


def test_that_analyst_is_stopped_by_a_filter_at_orders_that_share_delta() -> None:
    first, usual, telling, _ = interaction()
    for privacy_filter in (ONE, TWO_ORDERS):
        spent = privacy_filter.take(NOTHING, first)
        refused = 0
        for second in (usual, telling):
            try:
                privacy_filter.check(spent, second)
            except BudgetExhaustedError:
                refused += 1
        assert refused >= 1
