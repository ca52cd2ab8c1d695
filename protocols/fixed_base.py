"""Powers of one fixed base modulo n^2, from a table: what a DJN ciphertext costs.

Two ideas meet here. The comb of Lim and Lee (1994, "More flexible exponentiation with precomputation") cuts the
exponent into `teeth` rows and reads a column of them at a time: as many products as the exponent has columns, and a
handful of squarings. And an entry g of the table is kept as the pair (a, c) with g = a (1 + c n) mod n^2: since
(1 + c n)(1 + d n) = 1 + (c + d) n, a product of entries is the product of the a, which are half as long as g, times
1 + n times the sum of the c. A product of a full and a half-size number modulo n^2 takes little more than half the
time of two full ones (4.1 against 7.6 microseconds at 3072 bits).

What was measured and gained nothing from Python: multiplying two or three entries before reducing, keeping the product
as two digits in base n, and going through the table for 16 or 64 powers at once. Reducing by Barrett's or Montgomery's
products costs as much as a division, by the measured times of their parts.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import gmpy2
from gmpy2 import mpz

TABLE_BYTES: Final = 64_000_000
"""What a table may take of memory, its objects and lists included."""

MAXIMUM_TEETH: Final = 16
"""A digit of so many bits fits the 16-bit words that digits are drawn in."""

MAXIMUM_STEPS: Final = 64
"""Powers of two that one comb's digits are used at."""

_SQUARING: Final = 1.7
_ENTRY: Final = 2.1
_EXPONENTIATION: Final = 1.9
"""Measured costs in products of a full by a half-size number modulo n^2: a squaring of a full number, an entry of the
table, and, for each bit of n, an exponentiation by n."""

_OBJECT_BYTES: Final = 96
"""A number's object, its allocation's header and its place in a list, beside its digits."""


@dataclass(frozen=True, slots=True)
class CombShape:
    """`combs` tables of 2^teeth entries, each used `steps` times for a power of teeth x combs x steps bits."""

    teeth: int
    combs: int
    steps: int

    @property
    def entries(self) -> int:
        """Entries of all tables."""
        return self.combs << self.teeth

    @property
    def columns(self) -> int:
        """Digits of an exponent, hence products a power."""
        return self.combs * self.steps

    def table_bytes(self, modulus_bits: int) -> int:
        """Memory of the table for an n of `modulus_bits` bits."""
        return self.entries * 2 * _number_bytes(modulus_bits)

    def build_cost(self, modulus_bits: int) -> float:
        """Cost of the base h^n and of its table, in half-size products."""
        squarings = self.teeth * self.columns
        return _EXPONENTIATION * modulus_bits + _SQUARING * squarings + _ENTRY * self.entries

    @property
    def use_cost(self) -> float:
        """Cost of one power, in half-size products."""
        return self.columns + _SQUARING * (self.steps - 1)


def _number_bytes(modulus_bits: int) -> int:
    """Memory of one residue modulo n, an upper bound that was measured from 512 to 8192 bits.

    gmpy2 keeps freed numbers of up to 64 words for reuse, so that short residues come to sit where a product was, at
    twice their length; malloc leaves gaps between the allocations of more than a kilobyte that long ones need.
    """
    digits = 8 * -(-modulus_bits // 64)
    if modulus_bits <= 2048:
        return 2 * digits + _OBJECT_BYTES
    return (digits if modulus_bits <= 4096 else digits * 3 // 2) + _OBJECT_BYTES


def textbook_cost(modulus_bits: int) -> float:
    """Cost of one r^n, in half-size products."""
    return _EXPONENTIATION * modulus_bits


def cheapest_shape(exponent_bits: int, modulus_bits: int, count: int) -> CombShape:
    """Return the shape that makes `count` powers at the least cost, building included, within `TABLE_BYTES`.

    Exponents have `exponent_bits` bits or, rounded up to the comb, a few more.
    """
    shapes = []
    for teeth in range(1, MAXIMUM_TEETH + 1):
        columns = -(-exponent_bits // teeth)
        # Still more squarings would save entries that are too few to cost anything beside h^n.
        for steps in range(1, min(columns, MAXIMUM_STEPS) + 1):
            shape = CombShape(teeth, -(-columns // steps), steps)
            if shape.table_bytes(modulus_bits) <= TABLE_BYTES:
                shapes.append(shape)
    return min(shapes, key=lambda shape: (shape.build_cost(modulus_bits) + count * shape.use_cost, shape.entries))


class _Entry(NamedTuple):
    """g = unit (1 + slope n) mod n^2, and 1/unit mod n, which only building needs."""

    unit: mpz
    slope: mpz
    inverse: mpz


class CombTable:
    """Powers of `base`, a unit modulo n^2, by one comb shape.

    An exponent is a sequence of `shape.columns` digits of `shape.teeth` bits. With s steps and v combs, bit i of digit
    k v + j counts 2^(i v s + j s + s - 1 - k), so that uniform digits make a uniform exponent below
    2^(teeth x columns).

    Table look-ups depend on the exponent: who shares a processor's caches with the encryptor could learn about it. An
    exponent serves one ciphertext only; nothing but that ciphertext hangs on it.
    """

    def __init__(self, base: int, n: int, shape: CombShape) -> None:
        self._n = mpz(n)
        self._n_squared = self._n * self._n
        self._shape = shape
        # For each comb its entries' units and slopes, by digit: two flat lists take less memory than pairs.
        self._rows = [self._row(teeth) for teeth in self._teeth(mpz(base))]

    def random_power(self) -> mpz:
        """Return base^e mod n^2 for a fresh uniform e below 2^(teeth x columns), from the operating system."""
        mask = (1 << self._shape.teeth) - 1
        words = memoryview(secrets.token_bytes(2 * self._shape.columns)).cast("H")
        return self.power([word & mask for word in words])

    def power(self, digits: Sequence[int]) -> mpz:
        """Return base to the exponent that `digits` make, in [0, n^2)."""
        n, n_squared, combs = self._n, self._n_squared, self._shape.combs
        product, total = mpz(1), mpz(0)
        for start in range(0, len(digits), combs):
            if start:
                product = product * product % n_squared
                total += total
            for (units, slopes), digit in zip(self._rows, digits[start : start + combs], strict=True):
                product = product * units[digit] % n_squared
                total += slopes[digit]
        return times_one_plus(product, total, n, n_squared)

    def _teeth(self, base: mpz) -> list[list[_Entry]]:
        """For each comb, what its single bits stand for: base^(2^(i v s + j s)) for tooth i of comb j."""
        shape = self._shape
        teeth: list[list[_Entry]] = [[] for _ in range(shape.combs)]
        power = base
        for _ in range(shape.teeth):
            for comb in teeth:
                comb.append(self._split(power))
                for _ in range(shape.steps):
                    power = power * power % self._n_squared
        return teeth

    def _split(self, power: mpz) -> _Entry:
        multiple, unit = divmod(power, self._n)
        inverse = gmpy2.invert(unit, self._n)
        return _Entry(unit, multiple * inverse % self._n, inverse)

    def _row(self, teeth: Sequence[_Entry]) -> tuple[list[mpz], list[mpz]]:
        """All products of some of the teeth, by the digit that names them.

        With unit x unit' = r + q n: (unit, c)(unit', d) = (r, c + d + q/r), and 1/r is the product of the inverses.
        """
        n = self._n
        units, slopes, inverses = [mpz(1)], [mpz(0)], [mpz(1)]
        for tooth in teeth:
            for position in range(len(units)):
                quotient, unit = divmod(units[position] * tooth.unit, n)
                inverse = inverses[position] * tooth.inverse % n
                units.append(unit)
                slopes.append((slopes[position] + tooth.slope + quotient * inverse) % n)
                inverses.append(inverse)
        return units, slopes


def times_one_plus(number: mpz, factor: mpz, n: mpz, n_squared: mpz) -> mpz:
    """Return number (1 + factor n) mod n^2 for number in [0, n^2), by products of half the size."""
    product = number + number % n * factor % n * n
    return product if product < n_squared else product - n_squared
