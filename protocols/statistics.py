"""Statistics from sufficient statistics: exact fractions inside, decimals at the end.

What is released is the sufficient statistic itself (a sum and a count); these functions add nothing to it.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from protocols.errors import FixedPointError

SIGNIFICANT_DIGITS = 28
"""Digits of a Decimal that cannot be exact; rounded once, half to even."""

_ROUNDING = Context(prec=SIGNIFICANT_DIGITS, rounding=ROUND_HALF_EVEN)


def exact_mean(sum_scaled: int, count: int, decimals: int) -> Fraction | None:
    """Return the exact mean in the column's unit, or None where `count` is 0.

    Args:
        sum_scaled: the sum of the values x 10^decimals.
        count: how many values it sums, >= 0.
        decimals: the column's decimals, >= 0.

    Raises:
        FixedPointError: a negative count or negative decimals.

    """
    if count < 0 or decimals < 0:
        raise FixedPointError(f"a mean over {count} values at {decimals} decimals: neither can be negative")
    return Fraction(sum_scaled, count * 10**decimals) if count else None


def mean(sum_scaled: int, count: int, decimals: int) -> Decimal | None:
    """Return `exact_mean` as a Decimal: exact where 28 significant digits suffice, else rounded half to even to 28."""
    fraction = exact_mean(sum_scaled, count, decimals)
    if fraction is None:
        return None
    return _ROUNDING.divide(Decimal(fraction.numerator), Decimal(fraction.denominator))
