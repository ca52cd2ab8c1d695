"""From exact fractions, and square roots of them, to the numbers that people read: rounded once, at the very end.

Every function here returns the number nearest to the exact value, ties to even; no digit is lost before.
"""

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

SIGNIFICANT_DIGITS = 28
"""Digits of a Decimal that cannot be exact; rounded once, half to even."""

_ROUNDING = Context(prec=SIGNIFICANT_DIGITS, rounding=ROUND_HALF_EVEN)


def to_decimal(exact: Fraction) -> Decimal:
    """Return the fraction as a Decimal: exact where 28 significant digits suffice, else rounded half to even to 28."""
    return _ROUNDING.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def root_to_decimal(square: Fraction) -> Decimal:
    """Return the square root of a fraction >= 0 as a Decimal, exact or rounded as `to_decimal` does."""
    return to_decimal(_root(square, base=10, digits=SIGNIFICANT_DIGITS + 2))


def to_float(exact: Fraction) -> float:
    """Return the nearest float64; an infinity beyond the largest, as IEEE 754 rounds."""
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def root_to_float(square: Fraction) -> float:
    """Return the float64 nearest to the square root of a fraction >= 0."""
    return to_float(_root(square, base=2, digits=56))


def _root(square: Fraction, base: int, digits: int) -> Fraction:
    """Return a fraction that rounds as the root does, to any number of places in `base` below `digits`.

    The root is cut off after `digits` places or a few more; where it does not end there, a further place, 1, tells so.
    No tie between two rounded numbers has that many places, so that the cut root with its mark and the root itself lie
    on the same side of every tie (rounding to odd: Boldo and Melquiond 2008).
    """
    numerator, denominator = square.numerator, square.denominator
    magnitude = (numerator.bit_length() - denominator.bit_length()) / math.log2(base)
    places = digits + 1 - math.floor(magnitude / 2)
    scale = base ** (2 * abs(places))
    over, under = (numerator * scale, denominator) if places >= 0 else (numerator, denominator * scale)
    root = math.isqrt(over // under)
    mark = 0 if root * root * under == over else 1
    return Fraction(base * root + mark) / Fraction(base) ** (places + 1)
