"""First and second moments of columns, and what follows from them: variance, covariance, correlation.

The sums are integers and so is everything up to the last division: n sum(xy) - sum(x) sum(y) loses no digit, however
far the values lie from zero - the formula that is notorious in floating point (Chan, Golub and LeVeque 1983).
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from protocols.errors import InconsistentTotalsError, StatisticError
from protocols.rounding import root_to_decimal, to_decimal


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums of k columns, and of their products two by two, over the rows in which all k have a value.

    Attributes:
        rows: the number of those rows, >= 0.
        sums: per column, the sum of its values x 10^decimals.
        products: the sums of products of these scaled values, the upper triangle row by row: (0, 0), (0, 1), ...,
            (0, k-1), (1, 1), ..., (k-1, k-1).
        decimals: per column, >= 0.

    Raises:
        StatisticError: lengths that do not fit together, a negative number of rows or of decimals.
        InconsistentTotalsError: no rows have these sums: sums over no rows, a negative variance, or a correlation
            beyond 1.

    """

    rows: int
    sums: tuple[int, ...]
    products: tuple[int, ...]
    decimals: tuple[int, ...]

    def __post_init__(self) -> None:
        columns = len(self.sums)
        if not columns or len(self.decimals) != columns or len(self.products) != columns * (columns + 1) // 2:
            raise StatisticError(
                f"{columns} sums, {len(self.products)} sums of products and {len(self.decimals)} decimals do not fit"
                " together: k columns have k, k (k + 1) / 2 and k"
            )
        if self.rows < 0 or min(self.decimals) < 0:
            raise StatisticError("a number of rows or of decimals is negative")
        if self.rows == 0 and any((*self.sums, *self.products)):
            raise InconsistentTotalsError("there are sums over no rows; the totals are no sums of the parties' parts")
        for first in range(columns):
            for second in range(first, columns):
                self._check_possible(first, second)

    def product(self, first: int, second: int) -> int:
        """Return the sum of products of two columns, scaled by 10^(sum of their decimals), by their positions."""
        low, high = sorted((self._checked(first), self._checked(second)))
        return self.products[low * len(self.sums) - low * (low - 1) // 2 + high - low]

    def scatter(self, first: int, second: int) -> int:
        """Return rows^2 times the population covariance of two columns: n sum(xy) - sum(x) sum(y), scaled alike."""
        return self.rows * self.product(first, second) - self.sums[first] * self.sums[second]

    def _checked(self, column: int) -> int:
        if not 0 <= column < len(self.sums):
            raise StatisticError(f"there is no column at position {column}; the moments are of {len(self.sums)}")
        return column

    def _check_possible(self, first: int, second: int) -> None:
        if first == second:
            possible = self.scatter(first, first) >= 0
        else:
            possible = self.scatter(first, second) ** 2 <= self.scatter(first, first) * self.scatter(second, second)
        if not possible:
            raise InconsistentTotalsError(
                f"no rows have these moments of columns {first} and {second}; they are no sums of the parties' parts"
            )


def exact_covariance(moments: Moments, first: int = 0, second: int = 1) -> Fraction | None:
    """Return the exact sample covariance (divisor n - 1) in the product of the columns' units; None under two rows.

    Raises:
        StatisticError: no column at a position.

    """
    scatter, rows = moments.scatter(first, second), moments.rows
    if rows < 2:
        return None
    return Fraction(scatter, rows * (rows - 1) * 10 ** (moments.decimals[first] + moments.decimals[second]))


def covariance(moments: Moments, first: int = 0, second: int = 1) -> Decimal | None:
    """Return `exact_covariance` as a Decimal: exact where 28 significant digits suffice, else rounded to 28."""
    exact = exact_covariance(moments, first, second)
    return None if exact is None else to_decimal(exact)


def variance(moments: Moments, column: int = 0) -> Decimal | None:
    """Return the sample variance (divisor n - 1) in the column's unit squared, rounded as `covariance` is.

    None under two rows.
    """
    return covariance(moments, column, column)


def standard_deviation(moments: Moments, column: int = 0) -> Decimal | None:
    """Return the square root of the sample variance in the column's unit, rounded once to 28 significant digits.

    None under two rows.
    """
    exact = exact_covariance(moments, column, column)
    return None if exact is None else root_to_decimal(exact)


def correlation(moments: Moments, first: int = 0, second: int = 1) -> Decimal | None:
    """Return Pearson's coefficient, within -1 and 1, rounded once to 28 significant digits.

    None where it is undefined: under two rows, or one of the columns has the same value in all of them.

    Raises:
        StatisticError: no column at a position.

    """
    joint = moments.scatter(first, second)
    own = moments.scatter(first, first) * moments.scatter(second, second)
    if not own:
        return None
    magnitude = root_to_decimal(Fraction(joint * joint, own))
    return magnitude.copy_negate() if joint < 0 else magnitude
