"""Fresh n-th residues modulo n^2, which make a ciphertext unlike any other.

Three ways: r^n by anyone (Paillier 1999; ISO/IEC 18033-6:2019); h_s^a by anyone, for keys that declare the DJN scheme
(Damgard, Jurik and Nielsen 2010, the section on faster encryption); and by the Chinese remainder theorem for the key's
owner. Every value is drawn from the operating system when it is asked for and used once: there is no pool that a fork
could inherit.
"""

import secrets
from dataclasses import dataclass
from typing import Protocol

import gmpy2
from gmpy2 import mpz

from protocols.errors import BadKeyError
from protocols.paillier_key import PrivateKey, PublicKey, Scheme

MAXIMUM_WINDOW_BITS = 6
"""Largest window of a fixed-base table: 12.6 MB at 3072 bits. One more bit doubles it for a seventh of speed."""

_STEPS_PER_BIT = 1.2
"""Multiplications that a sliding-window exponentiation takes for each bit of the exponent, squarings included."""


class NoiseSource(Protocol):
    """Makes fresh noise under one key."""

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        ...

    def noise(self) -> int:
        """Return a fresh n-th residue in (0, n^2); no two calls are related."""
        ...


class TextbookNoise:
    """r^n mod n^2 with r uniform in Z_n*: right for every key, one full exponentiation each."""

    def __init__(self, key: PublicKey) -> None:
        self._key = key

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        return self._key

    def noise(self) -> int:
        """Return r^n mod n^2."""
        return int(gmpy2.powmod(_unit(self._key), self._key.n, self._key.n_squared))


class OwnerNoise:
    """Uniform n-th residues, for whoever holds the private key; whatever scheme the key declares."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        return self._private_key.public_key

    def noise(self) -> int:
        """Return a uniform n-th residue mod n^2."""
        return self._private_key.noise()


class FixedBaseTable:
    """Powers of one base, by windows of the exponent: a power then costs one multiplication a window.

    Brickell, Gordon, McCurley and Wilson 1992, in its plainest form: row i holds base^(d 2^(i w)) for each digit d of w
    bits.
    """

    def __init__(self, base: int, modulus: int, *, exponent_bits: int, window_bits: int) -> None:
        self._modulus = mpz(modulus)
        self._window_bits = window_bits
        self._exponent_bits = exponent_bits
        self._rows: list[list[mpz]] = []
        first = mpz(base)
        for _ in range(-(-exponent_bits // window_bits)):
            row = [mpz(1)]
            for _ in range((1 << window_bits) - 1):
                row.append(row[-1] * first % self._modulus)
            first = row[-1] * first % self._modulus
            self._rows.append(row)

    def power(self, exponent: int) -> int:
        """Return base^exponent mod modulus, for an exponent in [0, 2^exponent_bits)."""
        assert 0 <= exponent < 1 << self._exponent_bits
        digit_mask = (1 << self._window_bits) - 1
        product = mpz(1)
        for row in self._rows:
            product = product * row[exponent & digit_mask] % self._modulus
            exponent >>= self._window_bits
        return int(product)


class DjnNoise:
    """h_s^a mod n^2 with a uniform below 2^ceil(bits/2), through a table of powers of h_s.

    h = -x^2 mod n for a random x, and h_s = h^n mod n^2, are derived here, by the encryptor for itself: an h that
    the key's owner hands over could lie in a small subgroup. Each object has its own h. Under the decisional composite
    residuosity assumption and that of the short exponent the noise is indistinguishable from r^n.

    Raises BadKeyError where the key does not declare the DJN scheme, or the window is not within 1 to 6 bits.
    """

    def __init__(self, key: PublicKey, *, window_bits: int) -> None:
        if key.scheme is not Scheme.DJN:
            raise BadKeyError("the key does not declare the DJN scheme; use TextbookNoise for it")
        if not 1 <= window_bits <= MAXIMUM_WINDOW_BITS:
            raise BadKeyError(f"a window of {window_bits} bits is not within 1 to {MAXIMUM_WINDOW_BITS}")
        self._key = key
        h = -(_unit(key) ** 2) % key.n
        h_s = int(gmpy2.powmod(h, key.n, key.n_squared))
        self._powers = FixedBaseTable(h_s, key.n_squared, exponent_bits=_exponent_bits(key), window_bits=window_bits)

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        return self._key

    def noise(self) -> int:
        """Return h_s^a mod n^2 for a fresh a."""
        return self._powers.power(secrets.randbits(_exponent_bits(self._key)))


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """Which source to use under `key`, before it is built: a value that travels to workers, and builds when called."""

    key: PublicKey
    window_bits: int | None
    """Of the DJN table; None: textbook noise."""

    def __call__(self) -> NoiseSource:
        """Build the source."""
        if self.window_bits is None:
            return TextbookNoise(self.key)
        return DjnNoise(self.key, window_bits=self.window_bits)


def noise_plan(key: PublicKey, count: int) -> NoisePlan:
    """Choose the cheapest source for about `count` ciphertexts that one worker makes under another party's key.

    The rule counts multiplications modulo n^2, which all ways consist of. With b the bits of n:

        textbook           1.2 b  a ciphertext
        DJN, window of w   1.2 b + (b/2 / w) 2^w  once, and  b/2 / w  a ciphertext

    and takes the least, the window being at most 6 bits wide. At 3072 bits: textbook up to two ciphertexts, from three
    a table (of 2 bits; 4 bits from 17; 6 bits from 126). Keys that do not declare DJN always get textbook.
    """
    textbook_steps = _STEPS_PER_BIT * key.bits * count
    if key.scheme is not Scheme.DJN:
        return NoisePlan(key, None)
    steps, window_bits = min((_table_steps(key, w, count), w) for w in range(1, MAXIMUM_WINDOW_BITS + 1))
    return NoisePlan(key, None if textbook_steps <= steps else window_bits)


def noise_source(key: PublicKey, count: int) -> NoiseSource:
    """Return the source that `noise_plan` chooses, built in this thread."""
    return noise_plan(key, count)()


def _table_steps(key: PublicKey, window_bits: int, count: int) -> float:
    windows = -(-_exponent_bits(key) // window_bits)
    return _STEPS_PER_BIT * key.bits + windows * (1 << window_bits) + windows * count


def _exponent_bits(key: PublicKey) -> int:
    """Half the modulus' length, rounded up."""
    return (key.bits + 1) // 2


def _unit(key: PublicKey) -> mpz:
    """A uniform element of Z_n*."""
    while True:
        candidate = mpz(1 + secrets.randbelow(key.n - 1))
        if gmpy2.gcd(candidate, key.n) == 1:
            return candidate
