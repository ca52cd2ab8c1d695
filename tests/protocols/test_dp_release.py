"""How noise is divided, what it costs, and what a provider sends."""

from fractions import Fraction
from itertools import chain

import numpy as np
import pytest

from protocols import aggregate
from protocols.dp_accountant import cost_of, micro_epsilon
from protocols.dp_estimates import count, mean, open_totals
from protocols.dp_events import NoisedBlock
from protocols.dp_gaussian import run_micro_epsilon
from protocols.dp_noise_sampler import TableSampler
from protocols.dp_release import TAIL_DISTANCE, ReleaseShape, plan_noise
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure, ProtectedUnit, ReleaseTable
from protocols.dp_target import plan_for_epsilon
from protocols.errors import LayoutError, NoiseError, PrivacyCostError, StatisticError
from tests.protocols.noise_laws import seeded

X = BoundedColumn("x", 0, 90)
Y = BoundedColumn("y", -10, 10**7, 2)
COUNT = CentredMeasure(())
MEASURES = (COUNT, CentredMeasure((X,)), CentredMeasure((X, X)), CentredMeasure((Y,)), CentredMeasure((Y, Y)))
DELTA = Fraction(1, 10**6)
SHAPE = ReleaseShape((ReleaseTable(10, MEASURES), ReleaseTable(4, (COUNT,))), providers=4, tolerated=1)


def by_renyi(event, delta):
    return micro_epsilon(cost_of(event), delta)


class Fixed:
    """Noise of one's choice, for what does not depend on its law."""

    distance = Fraction(0)

    def __init__(self, variance, value):
        self.variance, self.value = variance, value

    def draw(self, count):
        return np.full(count, self.value, np.int64)


def joint(plan, table, exact, rows, name):
    """The joint totals of a table, cell by cell: provider 0 has all the rows, every provider its noise."""
    columns = []
    for place, block in enumerate(plan.blocks[table]):
        sampler = TableSampler(block.share.variance, stream=seeded(f"{name} {place}"))
        parts = [
            block.noised(exact[place] if provider == 0 else [0] * block.cells, rows, sampler)
            for provider in range(plan.shape.providers)
        ]
        columns.append([sum(part) for part in zip(*parts, strict=True)])
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("rho", [Fraction(1, 10_000), Fraction(1, 7), Fraction(1)], ids=str)
def test_a_release_costs_what_was_asked_and_no_more(rho):
    plan = plan_noise(SHAPE, rho)
    assert rho * (1 - Fraction(4, 10**6)) < plan.rho <= rho


def test_with_equal_weights_the_noise_of_every_total_is_the_same_multiple_of_its_sensitivity():
    plan = plan_noise(SHAPE, Fraction(1, 100))
    ratios = [block.share.total_variance / block.squared_sensitivity for block in chain(*plan.blocks)]
    assert max(ratios) / min(ratios) < 1 + Fraction(1, 10**5)


def test_no_other_division_of_the_cost_has_less_weighted_relative_noise():
    weighted = ReleaseShape(
        (ReleaseTable(10, (CentredMeasure((), weight=3), CentredMeasure((X,), weight=2), CentredMeasure((X, X)))),)
    )
    rho = Fraction(1, 50)
    blocks = plan_noise(weighted, rho).blocks[0]

    def relative_noise(shares):
        return sum(block.measure.weight**2 / (2 * rho * share) for block, share in zip(blocks, shares, strict=True))

    own = [block.squared_sensitivity / (2 * rho * block.share.total_variance) for block in blocks]
    for first, second in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]:
        moved = [*own]
        moved[first] += Fraction(1, 100)
        moved[second] -= Fraction(1, 100)
        assert relative_noise(moved) > relative_noise(own)


@pytest.mark.parametrize("epsilon_of", [by_renyi, run_micro_epsilon])
@pytest.mark.parametrize("epsilon", [100_000, 1_000_000, 8_000_000])
def test_an_epsilon_is_met_and_never_exceeded(epsilon, epsilon_of):
    plan = plan_for_epsilon(SHAPE, epsilon, DELTA, epsilon_of)
    assert epsilon * (1 - 1e-4) <= epsilon_of(plan.event(), DELTA) <= epsilon


def test_noise_for_persons_grows_with_the_providers_at_which_they_may_be():
    tables = (ReleaseTable(10, (COUNT,)),)
    plans = [
        plan_noise(ReleaseShape(tables, ProtectedUnit(3, 2, 2, providers), 4, 1), Fraction(1, 10))
        for providers in (1, 4)
    ]
    ratio = plans[1].blocks[0][0].share.variance / plans[0].blocks[0][0].share.variance
    assert float(ratio) == pytest.approx(16, rel=1e-6)


def test_the_event_says_what_one_unit_changes_and_what_the_cut_tails_add():
    plan = plan_noise(SHAPE, Fraction(1, 10))
    event = plan.event(Fraction(1, 1 << 120))
    assert event.honest_shares == 3
    assert len(event.blocks) == 6
    block = plan.blocks[0][2]
    assert event.blocks[2] == NoisedBlock(1, block.share.variance, Fraction(90**4))
    assert event.distance == 4 * (10 * 5 + 4) * (Fraction(1, 1 << 120) + TAIL_DISTANCE)


def test_what_a_provider_sends_stays_within_its_slots_whatever_its_rows_and_noise_are():
    plan = plan_noise(SHAPE, Fraction(1, 10))
    for block in plan.blocks[0]:
        bound = block.bound(1000)
        for total in (-(10**40), 0, 10**40):
            for noise in (-(1 << 62), 0, 1 << 62):
                sent = block.noised([total] * 10, 1000, Fixed(block.share.variance, noise))
                assert all(bound.lo <= each <= bound.hi for each in sent)
        sent = block.noised([321] * 10, 1000, Fixed(block.share.variance, 5))
        assert sent == [block.measure.granules(321) + 5] * 10


def test_noise_of_less_than_the_planned_variance_is_refused():
    block = plan_noise(SHAPE, Fraction(1, 10)).blocks[0][0]
    with pytest.raises(PrivacyCostError, match="variance"):
        block.noised([0] * 10, 1000, Fixed(block.share.variance / 2, 0))
    with pytest.raises(LayoutError):
        block.noised([0] * 9, 1000, Fixed(block.share.variance, 0))


def test_a_noised_release_goes_through_encryption_as_the_sum_of_its_parts(small_key):
    shape = ReleaseShape((ReleaseTable(3, MEASURES[:3]),), providers=2, tolerated=1)
    plan = plan_noise(shape, Fraction(1, 20))
    layout = aggregate.plan(plan.table_shapes(1 << 20), parties=2, modulus_bits=small_key.public_key.bits)
    parts, sent = [], []
    for provider in range(2):
        columns = [
            block.noised(
                [40 * (cell + 1) * block.measure.row_change for cell in range(3)],
                1 << 20,
                TableSampler(block.share.variance, stream=seeded(f"encrypted {provider}")),
            )
            for block in plan.blocks[0]
        ]
        rows = [list(row) for row in zip(*columns, strict=True)]
        sent.append(rows)
        parts.append(aggregate.encrypt_part(rows, layout, small_key.public_key, secrets={}, own=str(provider)))
    totals = aggregate.decrypt_totals(aggregate.combine(parts, small_key.public_key), small_key, layout)
    assert totals == [[sum(pair) for pair in zip(*rows, strict=True)] for rows in zip(*sent, strict=True)]


def test_joint_counts_and_means_over_four_providers_lose_a_third_of_variance_to_the_pooled_rows_at_most():
    cells, n, sums = 15_000, 400, 400 * 7
    tables = (ReleaseTable(cells, (COUNT, CentredMeasure((X,)))),)
    spread = {}
    for name, providers, tolerated in (("joint", 4, 1), ("pooled", 1, 0)):
        shape = ReleaseShape(tables, providers=providers, tolerated=tolerated)
        plan = plan_for_epsilon(shape, 1_000_000, DELTA, run_micro_epsilon)
        rows = joint(plan, 0, [[n] * cells, [sums] * cells], 1 << 32, name)
        opened = open_totals(plan, 0, rows, providers)
        counts = np.array([count(cell).value for cell in opened])
        means = np.array([mean(cell, X).value for cell in opened])
        spread[name] = counts.var(), means.var()
        assert counts.std() == pytest.approx(count(opened[0]).error, rel=0.02)
        assert means.std() == pytest.approx(mean(opened[0], X).error, rel=0.05)
    for joint_variance, pooled in zip(spread["joint"], spread["pooled"], strict=True):
        assert 4 / 3 / 1.05 < joint_variance / pooled <= 4 / 3 * 1.05


@pytest.mark.parametrize("epsilon", [0, -1])
def test_an_epsilon_that_is_not_positive_is_refused(epsilon):
    with pytest.raises(PrivacyCostError):
        plan_for_epsilon(SHAPE, epsilon, DELTA, by_renyi)


@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1), Fraction(-1), 1e-6, float("nan")])
def test_a_delta_out_of_range_is_refused(delta):
    with pytest.raises(PrivacyCostError):
        plan_for_epsilon(SHAPE, 1_000_000, delta, by_renyi)


def test_a_cost_that_is_not_positive_and_noise_that_no_sampler_draws_are_refused():
    with pytest.raises(PrivacyCostError):
        plan_noise(SHAPE, Fraction(0))
    with pytest.raises(NoiseError):
        plan_noise(SHAPE, Fraction(1, 10**12))


def test_totals_of_another_shape_and_too_few_contributors_are_refused():
    plan = plan_noise(SHAPE, Fraction(1))
    for rows in ([[0]] * 3, [[0, 0]] * 4):
        with pytest.raises(StatisticError):
            open_totals(plan, 1, rows, 4)
    with pytest.raises(NoiseError):
        open_totals(plan, 1, [[0]] * 4, 2)
