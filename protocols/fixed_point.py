"""Decimal numbers as scaled integers, exactly: 12.5 at two decimals is 1250.

One public number of decimals a column, never one a value, which would tell the value's magnitude. Nothing is rounded
here: a number that is not exact at its column's decimals is refused.
"""

import re
from decimal import Decimal

from protocols.errors import FixedPointError

MAXIMUM_DECIMALS = 18
MAXIMUM_DIGITS = 60
"""Digits of a number, leading zeros of the fraction included; longer ones are refused before they are computed with."""

_PLAIN_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


def to_scaled(value: str | int | Decimal, decimals: int) -> int:
    """Return value x 10^decimals, exactly.

    Args:
        value: plain decimal text ("-12.50"; no exponent, no blanks, no digit groups), an int, or a finite Decimal; at
            most 60 digits on either side of the point. Floats are refused: 0.1 is none of them.
        decimals: 0 to 18.

    Raises:
        FixedPointError: anything else, or a value with more decimals than `decimals` that are not zero. The message
            does not repeat the value, which may be private.

    """
    _check_decimals(decimals)
    number = _decimal(value)
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # _decimal refuses infinities and NaN
    if not number:
        return 0
    if max(len(digits), abs(exponent), abs(number.adjusted())) > MAXIMUM_DIGITS:
        raise FixedPointError(f"a number has more than {MAXIMUM_DIGITS} digits; narrow the declared bounds")
    coefficient = int("".join(map(str, digits)))
    shift = exponent + decimals
    factor: int = 10 ** abs(shift)
    scaled, rest = (coefficient * factor, 0) if shift >= 0 else divmod(coefficient, factor)
    if rest:
        raise FixedPointError(f"a number is not exact at {decimals} decimals; declare more decimals or round the data")
    return -scaled if sign else scaled


def from_scaled(scaled: int, decimals: int) -> Decimal:
    """Return scaled / 10^decimals with exactly `decimals` decimals (0 to 18), whatever the decimal context."""
    _check_decimals(decimals)
    sign, digits, _ = Decimal(scaled).as_tuple()
    return Decimal((sign, digits, -decimals))


def _decimal(value: str | int | Decimal) -> Decimal:
    if isinstance(value, str):
        if len(value) > 2 * MAXIMUM_DIGITS + 2 or not _PLAIN_DECIMAL.fullmatch(value):
            raise FixedPointError("a text is no plain decimal number such as -12.50")
        return Decimal(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise FixedPointError("a Decimal is no finite number")
        return value
    if type(value) is int:
        if value.bit_length() > 4 * MAXIMUM_DIGITS:
            raise FixedPointError(f"a number has more than {MAXIMUM_DIGITS} digits; narrow the declared bounds")
        return Decimal(value)
    raise FixedPointError(f"a {type(value).__name__} is no exact decimal number; give text, an int or a Decimal")


def _check_decimals(decimals: int) -> None:
    if not 0 <= decimals <= MAXIMUM_DECIMALS:
        raise FixedPointError(f"{decimals} decimals are not within 0 to {MAXIMUM_DECIMALS}")
