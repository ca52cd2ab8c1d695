"""The private release that a request buys with its epsilon: its noise, its layout and its cost.

Pure functions of the signed contract, the query and the epsilon asked for, so that every party derives the same. The
epsilon is the release's own, at the contract's delta, had nothing else ever been released (`dp_gaussian`); what it
takes of a budget, together with all that was spent before, is the filter's to say (`sandbox.budget`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Final

from protocols.aggregate import AggregateLayout, plan
from protocols.dp_events import NoisedBlock, NoisedVector
from protocols.dp_gaussian import run_micro_epsilon
from protocols.dp_noise import EXACT_AT_MOST
from protocols.dp_release import NoisePlan, ReleaseShape, round_up
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure, ReleaseTable
from protocols.dp_target import plan_for_epsilon
from sandbox.contract import Contract
from sandbox.errors import ContractError
from sandbox.frame import Frame
from sandbox.layout import ROWS_LIMIT
from sandbox.query import AggregateQuery
from sandbox.statistic import Measure, StatisticKind

PRIVATE_KINDS: Final = frozenset(
    {
        StatisticKind.COUNT,
        StatisticKind.SUM,
        StatisticKind.MEAN,
        StatisticKind.VARIANCE,
        StatisticKind.STD,
        StatisticKind.REGRESSION,
        StatisticKind.HISTOGRAM,
        StatisticKind.QUANTILE,
    }
)
"""What has estimates, with their errors, from noised totals."""

TABLE_DISTANCE: Final = Fraction(1, 1 << 112)
"""No draw by tables is farther from its law (`dp_noise_sampler`)."""

_PLAIN_VARIANCE: Final = Fraction(64)
_MAX_BLOCKS: Final = 24
"""An INTENT has 8 KiB; a block takes up to 150 bytes of it."""


def release_plan(contract: Contract, query: AggregateQuery, micro_epsilon: int) -> NoisePlan:
    """Return the release of least noise that costs at most `micro_epsilon` (millionths) at the contract's delta.

    Its tables are the query's, in order, each with the measures that its statistics need: the number of rows is among
    them only where it is asked for, since it would cost as much as any other. A third of a second of work the first
    time.

    Raises:
        ContractError: the contract is exact, or a statistic has no private estimate.
        StatisticError: a column cannot be added up within public bounds.
        PrivacyCostError: the epsilon is not positive, or too small for the contract's delta.
        NoiseError: so much noise that no sampler draws it.
    """
    privacy = contract.privacy
    if privacy is None:
        raise ContractError("a contract in release mode exact has no private releases")
    shape = ReleaseShape(
        release_tables(query, contract.frame), privacy.unit, len(contract.providers), privacy.tolerated
    )
    return _planned(shape, micro_epsilon, privacy.delta)


def release_tables(query: AggregateQuery, frame: Frame) -> tuple[ReleaseTable, ...]:
    """Return what is added up for a query, around the middle of the frame's bounds.

    Raises:
        ContractError: a statistic has no private estimate, or a column is not in the frame.
        StatisticError: a column without bounds, or with one value between them.
    """
    for statistic in query.statistics:
        if statistic.kind not in PRIVATE_KINDS:
            known = ", ".join(sorted(kind.value for kind in PRIVATE_KINDS))
            raise ContractError(f"{statistic.kind.value} has no private estimate; there are {known}")
    refined = dict.fromkeys(statistic.refined_by for statistic in query.statistics)
    order = sorted(refined, key=lambda name: name is not None)
    tables = []
    for table, name in zip(query.tables(frame), order, strict=True):
        asked = [statistic for statistic in query.statistics if statistic.refined_by == name]
        needed = {measure for statistic in asked for measure in statistic.measures(frame)}
        measures = tuple(_centred(measure, frame) for measure in table.measures if measure in needed)
        tables.append(ReleaseTable(table.grid.size, measures))
    return tuple(tables)


def private_layout(release: NoisePlan, modulus_bits: int) -> AggregateLayout:
    """Return the layout of a release's parts under a key of so many bits.

    Raises:
        LayoutError: a slot is wider than the modulus.
    """
    shapes = release.table_shapes(ROWS_LIMIT)
    return plan(shapes, parties=release.shape.providers, modulus_bits=modulus_bits)


def privacy_cost(release: NoisePlan) -> NoisedVector:
    """Return the cost event of a release, short enough for a ledger's entry.

    Totals whose shares of noise have a variance of 64 or more are taken together at 64, their sensitivities scaled
    alike: the part of the cost that depends on the variance itself, a sum's distance from one Gaussian, only falls as
    the variance grows, and is below e^-300 there. Smaller variances stay apart unless there are many; then they are
    rounded down to powers of two, which charges a little more.
    """
    whole = release.event(draw_distance(release))
    blocks = _together(whole.blocks, lambda variance: min(variance, _PLAIN_VARIANCE))
    if len(blocks) > _MAX_BLOCKS:
        blocks = _together(whole.blocks, lambda variance: min(_power_of_two(variance), _PLAIN_VARIANCE))
    return NoisedVector(whole.honest_shares, blocks, whole.distance)


def draw_distance(release: NoisePlan) -> Fraction:
    """Return how far a draw of the release's noise is from its law at most.

    It is 0 where `dp_noise.sampler_for(share.variance, cells)` is exact for every block, as it is for all but large
    tables: what is charged to delta grows with e^epsilon, and a large budget has no room for it.
    """
    exact = all(block.cells <= EXACT_AT_MOST for block in chain(*release.blocks))
    return Fraction(0) if exact else TABLE_DISTANCE


@lru_cache(maxsize=256)
def _planned(shape: ReleaseShape, micro_epsilon: int, delta: Fraction) -> NoisePlan:
    return plan_for_epsilon(shape, micro_epsilon, delta, run_micro_epsilon)


def _centred(measure: Measure, frame: Frame) -> CentredMeasure:
    return CentredMeasure(tuple(sorted(_bounded(name, frame) for name in measure.terms)), measure.present)


def _bounded(name: str, frame: Frame) -> BoundedColumn:
    column = frame.column(name)
    if column.lo is None or column.hi is None:
        raise ContractError(f"{name} is a category: it can be counted, not added up")
    return BoundedColumn(name, column.lo, column.hi, column.decimals)


def _together(blocks: tuple[NoisedBlock, ...], common: Callable[[Fraction], Fraction]) -> tuple[NoisedBlock, ...]:
    merged: dict[Fraction, tuple[int, Fraction]] = {}
    for block in blocks:
        variance = common(block.share_variance)
        changed, squared = merged.get(variance, (0, Fraction(0)))
        scaled = round_up(block.squared_sensitivity * variance / block.share_variance, 1 << 64)
        merged[variance] = (changed + block.changed, squared + scaled)
    return tuple(NoisedBlock(changed, variance, squared) for variance, (changed, squared) in sorted(merged.items()))


def _power_of_two(variance: Fraction) -> Fraction:
    """The largest power of two that is not above it, 1/4 at least."""
    power = Fraction(1, 4)
    while 2 * power <= min(variance, _PLAIN_VARIANCE):
        power *= 2
    return power
