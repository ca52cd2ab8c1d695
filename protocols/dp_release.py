"""The private release of a query's totals: how much noise each of them gets, what that costs, what a provider sends.

All totals of all tables of a query are one vector and one cost event. **The rule by which the noise is chosen**: with
s_b^2 the squared sensitivity of block b (one measure over the cells of one table; see `dp_sensitivity`) and v_b the
variance that the honest shares have together, the release costs rho = sum_b s_b^2 / (2 v_b) in zero-concentrated
privacy. Block b gets the part k_b / sum(k) of it, k being the measures' weights:

    v_b = s_b^2 sum(k) / (2 rho k_b).

This is the choice that minimises sum_b k_b^2 v_b / s_b^2, the noise relative to what one unit can change (Lagrange).
With equal weights, the default, the noise of every total is the same multiple of what one unit can change. Variances
of shares are rounded up to multiples of 2^-20, at least 1/4, so that a release costs rho at most: less than 4e-6 of it
less, unless the least variance of 1/4 is reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import isqrt
from typing import Final

from protocols.aggregate import MeasureBound, TableShape
from protocols.dp_events import MIN_SHARE_VARIANCE, NoisedBlock, NoisedVector
from protocols.dp_noise import NoiseSampler, NoiseShare
from protocols.dp_sensitivity import ROW, CentredMeasure, ProtectedUnit, ReleaseTable
from protocols.errors import LayoutError, PrivacyCostError, StatisticError

TAIL: Final = 20
"""No noise is sent beyond so many standard deviations of a share: slots have room for that."""

TAIL_DISTANCE: Final = Fraction(1, 1 << 280)
"""What that adds to the distance of one draw: P(|N_Z(0, v)| >= 20 sqrt v) <= 2 exp(-200) (subgaussian, as N(0, v))."""

_STEP: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ReleaseShape:
    """What is public about a release before its noise is chosen.

    Args:
        tables: at least one; all tables of the query.
        unit: whose presence is hidden.
        providers: K, at least 1, who add up and add noise.
        tolerated: D: shares that may be missing or known to whoever looks; 1 to K - 1, or 0 where K is 1.

    Raises:
        StatisticError: no table, or a unit that may be present at more providers than there are.
        NoiseError: another K or D.

    """

    tables: tuple[ReleaseTable, ...]
    unit: ProtectedUnit = ROW
    providers: int = 1
    tolerated: int = 0

    def __post_init__(self) -> None:
        NoiseShare(Fraction(self.providers), self.providers, self.tolerated)
        if not self.tables or self.unit.providers > self.providers:
            raise StatisticError(
                f"{len(self.tables)} tables, a unit at {self.unit.providers} of {self.providers} providers: a release "
                "has a table, and a unit is at no more providers than take part"
            )

    @property
    def honest(self) -> int:
        """K - D."""
        return self.providers - self.tolerated

    @property
    def weights(self) -> int:
        """The weights of all measures of all tables together."""
        return sum(measure.weight for table in self.tables for measure in table.measures)


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """One measure over the cells of one table, with its noise; in granules of the measure throughout.

    Args:
        measure: what is added up.
        cells: of the table.
        changed: cells that one unit can change.
        squared_sensitivity: of the joint total.
        share: one provider's share of the noise.

    """

    measure: CentredMeasure
    cells: int
    changed: int
    squared_sensitivity: int
    share: NoiseShare

    @property
    def reach(self) -> int:
        """Beyond this, in absolute terms, no share's noise is sent."""
        return TAIL * (isqrt(int(self.share.variance)) + 1)

    def bound(self, rows: int) -> MeasureBound:
        """Return the bounds of what one provider sends for a cell in which it has `rows` rows at most."""
        most = rows * self.measure.row_granules + self.reach
        return MeasureBound(-most, most)

    def noised(self, exact: Sequence[int], rows: int, sampler: NoiseSampler) -> list[int]:
        """Return one provider's totals of this block with its noise, within `bound(rows)` whatever its rows are.

        Nothing here tells of rows but through the result: totals beyond the bounds are moved there, which lets no unit
        change more.

        Args:
            exact: one centred total a cell, not rounded to granules yet.
            rows: as for `bound`; not less than what a provider can have.
            sampler: of this block's share; its variance is checked.

        Raises:
            LayoutError: another number of cells.
            PrivacyCostError: a sampler of another variance than was planned.

        """
        if len(exact) != self.cells:
            raise LayoutError(f"{len(exact)} totals where the table has {self.cells} cells")
        if sampler.variance < self.share.variance:
            raise PrivacyCostError("the sampler's variance is below what the release was planned with")
        most = rows * self.measure.row_granules
        return [
            _within(self.measure.granules(total), most) + _within(noise, self.reach)
            for total, noise in zip(exact, sampler.draw(self.cells).tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """A release with its noise: a pure function of public declarations, the same at every party.

    Args:
        shape: what was planned for.
        blocks: for each table, one for each of its measures.

    """

    shape: ReleaseShape
    blocks: tuple[tuple[PlannedBlock, ...], ...]

    @property
    def rho(self) -> Fraction:
        """What the release costs in zero-concentrated privacy, but for the sums' distance from one Gaussian."""
        return sum(
            (block.squared_sensitivity / block.share.total_variance / 2 for block in chain(*self.blocks)), Fraction(0)
        )

    @property
    def draws(self) -> int:
        """Draws of noise of all providers together."""
        return self.shape.providers * sum(block.cells for block in chain(*self.blocks))

    def event(self, distance: Fraction = Fraction(0)) -> NoisedVector:
        """Return the release's cost.

        Args:
            distance: the samplers' largest distance of one draw from its law; that of the cut tails is added.

        Raises:
            PrivacyCostError: more than 4096 measures, or distances that bound nothing.

        """
        blocks = tuple(
            NoisedBlock(block.changed, block.share.variance, Fraction(block.squared_sensitivity))
            for block in chain(*self.blocks)
        )
        return NoisedVector(self.shape.honest, blocks, self.draws * (distance + TAIL_DISTANCE))

    def table_shapes(self, rows: int) -> list[TableShape]:
        """Return the tables as `aggregate.plan` lays them out, for `rows` rows a cell and provider at most."""
        return [TableShape(table[0].cells, tuple(block.bound(rows) for block in table)) for table in self.blocks]


def plan_noise(shape: ReleaseShape, rho: Fraction) -> NoisePlan:
    """Return the release of cost `rho`, in zero-concentrated privacy.

    Raises:
        PrivacyCostError: rho is not positive.
        NoiseError: noise so large that no sampler draws it (a share's variance above 2^64).

    """
    if rho <= 0:
        raise PrivacyCostError("the cost of a release is positive: nothing can be told for nothing")
    return NoisePlan(
        shape, tuple(tuple(_planned(shape, table, each, rho) for each in table.measures) for table in shape.tables)
    )


def _planned(shape: ReleaseShape, table: ReleaseTable, measure: CentredMeasure, rho: Fraction) -> PlannedBlock:
    noise = NoiseShare(share_variance(shape, table, measure, rho) * shape.honest, shape.providers, shape.tolerated)
    squared = shape.unit.squared_sensitivity(table, measure)
    return PlannedBlock(measure, table.cells, shape.unit.changed_cells(table), squared, noise)


def share_variance(shape: ReleaseShape, table: ReleaseTable, measure: CentredMeasure, rho: Fraction) -> Fraction:
    """Return the variance of one share of a measure's noise in a release of cost `rho`."""
    squared = shape.unit.squared_sensitivity(table, measure)
    exact = Fraction(squared * shape.weights, measure.weight * shape.honest) / (2 * rho)
    return max(MIN_SHARE_VARIANCE, round_up(exact, _STEP))


def round_up(value: Fraction, step: int) -> Fraction:
    """Round up to a multiple of 1 / step."""
    return Fraction(-(-value * step // 1), step)


def _within(value: int, most: int) -> int:
    return max(-most, min(most, value))
