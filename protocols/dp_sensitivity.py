"""How far one unit moves the totals of a private release: from public declarations alone, in integers.

Neighbours: data sets that differ by adding or removing one unit, which is a row, or a person with all its rows.

**Values around the middle of their bounds.** A column's scaled value x with lo <= x <= hi enters as u = 2x - (lo +
hi): an integer, whatever the parity of lo + hi, with |u| <= w, w = hi - lo. A row adds to the totals of its cell

    1 to a count,    u to a sum,    u u' to a sum of products of two columns,    2u^2 - w^2 to a sum of squares,

of which none exceeds 1, w, w w', w^2 in absolute terms (0 <= u^2 <= w^2 in the last), and a row at the corner of its
bounds reaches all of them at once, so no smaller bound holds. In the same units the plain sums of x, x x' and x^2
would reach 2 max(|lo|, |hi|), 4 max(|x x'|) and 8 max(x^2), which is never less, and with lo = 0 is 2, 4 and 8 times
as much. With the number of rows, which every table has, the plain sums follow, as sum(x) = (sum(u) + (lo + hi) n) /
2.

**Granules.** Where one row may change a total by more than 2^17, the release counts in granules g = 2^j, every
provider rounding its own total T to floor(T / g + 1/2). Since |floor(s) - floor(t)| <= ceil(|s - t|), r rows move
that by at most ceil(r B / g) <= r ceil(B / g), B being the bound of one row; ceil(B / g) > 2^16, so rounding costs
less than 2^-16 of the sensitivity, and what it adds to the error is far below the noise.

**One unit, one table.** Cells of a table are disjoint: a row lies in at most one. A person has, at one provider, R
rows at most, in at most L0 cells of a table and at most Linf in each of them. With r_j rows in cell j, a measure
changes by a vector of squared length at most b^2 sum(r_j^2), b = ceil(B / g). That sum is largest where as many cells
as possible are full, since moving a row to a cell that has no fewer never lessens it. A person present at P providers
changes the sum of their totals by P times that length at most (triangle inequality), in P L0 cells at most. These
bounds hold for every measure at once; a release's squared sensitivity, each total measured in its own noise, is their
sum over all measures of all tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from protocols.errors import StatisticError

MAX_TERMS: Final = 2
MAX_CELLS: Final = 1 << 24
MAX_WEIGHT: Final = 1 << 16
MAX_UNIT: Final = 1 << 20
_GRANULE_BITS: Final = 17
"""One row changes no total by more than 2^17 granules: noise for it can be drawn, and rounding costs little."""


@dataclass(frozen=True, slots=True, order=True)
class BoundedColumn:
    """A column of numbers with public bounds; values beyond are moved to the bounds before they are added up.

    Args:
        name: its name, by which columns are told apart.
        lo: least scaled value, an integer x standing for x / 10^decimals.
        hi: largest, above `lo`.
        decimals: 0 or more.

    Raises:
        StatisticError: bounds that hold one value or none, or negative decimals.

    """

    name: str
    lo: int
    hi: int
    decimals: int = 0

    def __post_init__(self) -> None:
        if self.lo >= self.hi or self.decimals < 0:
            raise StatisticError(
                f"{self.name}: a private total needs bounds lo < hi and decimals of 0 or more; a column that is the "
                "same everywhere by declaration has nothing to tell"
            )

    @property
    def width(self) -> int:
        """How far hi lies from lo: w."""
        return self.hi - self.lo

    @property
    def twice_centre(self) -> int:
        """lo + hi."""
        return self.lo + self.hi


@dataclass(frozen=True, slots=True)
class CentredMeasure:
    """A total over the rows of a cell in which no column of `present` is null, of what the module's text says.

    Args:
        terms: no column (rows are counted), one, or two, sorted by name; twice the same for the sum of squares.
        present: names of columns, sorted, with all terms that may be null.
        weight: 1 to 2^16; the cost of a release is divided in proportion to the weights (see `dp_release`).

    Raises:
        StatisticError: more or unsorted terms, or a weight out of range.

    """

    terms: tuple[BoundedColumn, ...]
    present: tuple[str, ...] = ()
    weight: int = 1

    def __post_init__(self) -> None:
        if len(self.terms) > MAX_TERMS or list(self.terms) != sorted(self.terms):
            raise StatisticError(f"a measure has at most {MAX_TERMS} columns, sorted by name")
        if list(self.present) != sorted(set(self.present)) or not 1 <= self.weight <= MAX_WEIGHT:
            raise StatisticError(f"a measure's columns are sorted, each once, and its weight is 1 to {MAX_WEIGHT}")
        if len({term.name for term in self.terms}) != len(set(self.terms)):
            raise StatisticError("one column stands in a measure with two declarations")

    @property
    def is_square(self) -> bool:
        """Whether it is a sum of squares."""
        return len(self.terms) == 2 and self.terms[0] == self.terms[1]

    @property
    def row_change(self) -> int:
        """The most that one row changes it by: B of the module's text."""
        return prod(term.width for term in self.terms)

    @property
    def granule(self) -> int:
        """g of the module's text: 1 unless a row may change the total by more than 2^17."""
        return 1 << max(0, (self.row_change - 1).bit_length() - _GRANULE_BITS)

    @property
    def row_granules(self) -> int:
        """The most that one row counts for in the released total, in granules: b of the module's text."""
        return -(-self.row_change // self.granule)

    @property
    def parts(self) -> Mapping[tuple[str, ...], int]:
        """The plain totals it is made of, over the same rows: names of their columns to integer factors."""
        match self.terms:
            case ():
                return {(): 1}
            case (x,):
                return {(x.name,): 2, (): -x.twice_centre}
            case (x, y):
                shift = {(x.name,): -2 * y.twice_centre, (): x.twice_centre * y.twice_centre}
                if not self.is_square:
                    return {(x.name, y.name): 4, (y.name,): -2 * x.twice_centre, **shift}
                # 2 (2x - m)^2 - w^2
                return {
                    (x.name, x.name): 8,
                    (x.name,): 4 * shift[(x.name,)],
                    (): 2 * shift[()] - x.width**2,
                }
        raise AssertionError("a measure has at most two terms")

    def centred(self, plain: Mapping[tuple[str, ...], int]) -> int:
        """Return its exact total from one cell's plain totals of scaled values, by the names of `parts`.

        Raises:
            StatisticError: one of them is missing.

        """
        try:
            return sum(factor * plain[names] for names, factor in self.parts.items())
        except KeyError as error:
            raise StatisticError(f"the plain total of {error.args[0]} is missing; add it up too") from error

    def granules(self, centred: int) -> int:
        """Return the exact total rounded to granules, half up, as one provider releases it with its noise."""
        return (2 * centred + self.granule) // (2 * self.granule)


@dataclass(frozen=True, slots=True)
class ReleaseTable:
    """A table of disjoint cells, with the same totals in each.

    Args:
        cells: 1 to 2^24.
        measures: at least one, each once.

    Raises:
        StatisticError: another number of cells, or measures that repeat.

    """

    cells: int
    measures: tuple[CentredMeasure, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.cells <= MAX_CELLS:
            raise StatisticError(f"a private table has 1 to {MAX_CELLS} cells, not {self.cells}")
        if not self.measures or len({(each.terms, each.present) for each in self.measures}) < len(self.measures):
            raise StatisticError("a private table has one measure or more, each once: twice would cost twice")


@dataclass(frozen=True, slots=True)
class ProtectedUnit:
    """The unit whose presence is hidden, and the limits that every provider enforces before it adds up.

    Args:
        rows: R: rows of one unit that one provider uses in a table, at most.
        rows_per_cell: Linf: those in one cell of a table, at most; no more than `rows`.
        cells: L0: cells of each table that they lie in, at most.
        providers: P: providers at which one unit is present, at most.

    All are 1 to 2^20; the defaults are a row.

    Raises:
        StatisticError: a limit out of range, or `rows_per_cell` above `rows`.

    """

    rows: int = 1
    rows_per_cell: int = 1
    cells: int = 1
    providers: int = 1

    def __post_init__(self) -> None:
        limits = (self.rows, self.rows_per_cell, self.cells, self.providers)
        if not all(1 <= limit <= MAX_UNIT for limit in limits) or self.rows_per_cell > self.rows:
            raise StatisticError(
                f"limits of a protected unit are 1 to {MAX_UNIT}, and no cell has more of its rows than a provider uses"
            )

    def changed_cells(self, table: ReleaseTable) -> int:
        """Return in how many cells of the table one unit can be, over all providers."""
        return min(table.cells, self.providers * min(self.cells, self.rows))

    def squared_rows(self, table: ReleaseTable) -> int:
        """Return the largest sum of squares of one unit's rows per cell of the table, at one provider."""
        cells = min(self.cells, table.cells)
        full = min(cells, self.rows // self.rows_per_cell)
        rest = self.rows - full * self.rows_per_cell if full < cells else 0
        return full * self.rows_per_cell**2 + rest**2

    def squared_sensitivity(self, table: ReleaseTable, measure: CentredMeasure) -> int:
        """Return the squared L2 sensitivity of one measure over all cells, in squared granules of the joint total."""
        return (self.providers * measure.row_granules) ** 2 * self.squared_rows(table)


ROW: Final = ProtectedUnit()
"""One row, which lies in one cell of every table at one provider."""
