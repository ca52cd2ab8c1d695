"""Means from sufficient statistics: exact fractions inside, decimals at the end.

What is released is the sufficient statistic itself (a sum and a count); these functions add nothing to it. Variances,
covariances and correlations are in `moments`, medians and other quantiles in `quantiles`.
"""

from decimal import Decimal
from fractions import Fraction

from protocols.errors import FixedPointError
from protocols.rounding import to_decimal


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
    return None if fraction is None else to_decimal(fraction)


def weighted_mean(sum_of_products: int, sum_of_weights: int, decimals: int) -> Decimal | None:
    """Return sum(w x) / sum(w) in the column's unit, rounded as `mean` is, or None where the weights sum to 0.

    Args:
        sum_of_products: the sum of weight times value, both as scaled integers.
        sum_of_weights: the sum of the same scaled weights; their own decimals cancel. Weights that may be negative
            give the quotient all the same, as numpy.average does, which then need not lie among the values.
        decimals: decimals of the values, >= 0.

    Raises:
        FixedPointError: negative decimals.

    """
    if decimals < 0:
        raise FixedPointError(f"a weighted mean at {decimals} decimals: they cannot be negative")
    return to_decimal(Fraction(sum_of_products, sum_of_weights * 10**decimals)) if sum_of_weights else None
