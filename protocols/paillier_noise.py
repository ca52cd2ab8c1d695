"""Fresh n-th residues modulo n^2, which make a ciphertext unlike any other.

Three ways: r^n by anyone (Paillier 1999; ISO/IEC 18033-6:2019); h_s^a by anyone, for keys that declare the DJN scheme
(Damgard, Jurik and Nielsen 2010, the section on faster encryption); and by the Chinese remainder theorem for the key's
owner. Every value is drawn from the operating system when it is asked for and used once; `noise_pool` alone keeps some.
"""

import secrets
from dataclasses import dataclass
from typing import Final, Protocol

import gmpy2
from gmpy2 import mpz

from protocols.errors import BadKeyError
from protocols.executor import workers_for
from protocols.fixed_base import CombShape, CombTable, cheapest_shape, textbook_cost
from protocols.paillier_key import PrivateKey, PublicKey, Scheme

SHARE: Final = 32
"""Ciphertexts that pay for one more worker's table: at 3072 bits they take as long as the least table."""


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


class DjnNoise:
    """h_s^a mod n^2 with a uniform below 2^bits, bits at least half the length of n, through a table of powers of h_s.

    h = -x^2 mod n for a random x, and h_s = h^n mod n^2, are derived here, by the encryptor for itself: an h that
    the key's owner hands over could lie in a small subgroup. Each object has its own h. Under the decisional composite
    residuosity assumption and that of the short exponent the noise is indistinguishable from r^n.

    Raises BadKeyError where the key does not declare the DJN scheme, or the comb covers less than half of its length.
    """

    def __init__(self, key: PublicKey, shape: CombShape) -> None:
        if key.scheme is not Scheme.DJN:
            raise BadKeyError("the key does not declare the DJN scheme; use TextbookNoise for it")
        if shape.teeth * shape.columns < _exponent_bits(key):
            raise BadKeyError(
                f"a comb for exponents of {shape.teeth * shape.columns} bits is too short for a key of {key.bits} "
                "bits; take the one that noise_plan chooses"
            )
        self._key = key
        h = -(_unit(key) ** 2) % key.n
        self._powers = CombTable(gmpy2.powmod(h, key.n, key.n_squared), key.n, shape)

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        return self._key

    def noise(self) -> int:
        """Return h_s^a mod n^2 for a fresh a."""
        return int(self._powers.random_power())


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """Which source to use under `key`, before it is built: a value that travels to workers, and builds when called."""

    key: PublicKey
    comb: CombShape | None
    """Of the DJN table; None: textbook noise."""

    @property
    def share(self) -> int:
        """Ciphertexts that pay for building the source in one more worker."""
        return 1 if self.comb is None else SHARE

    def __call__(self) -> NoiseSource:
        """Build the source."""
        return TextbookNoise(self.key) if self.comb is None else DjnNoise(self.key, self.comb)


def noise_plan(key: PublicKey, count: int, workers: int = 1) -> NoisePlan:
    """Choose the cheapest source for about `count` ciphertexts under another party's key, made by so many workers.

    The rule counts products of a full and a half-size number modulo n^2 (`fixed_base` has the measured ratios): r^n for
    each ciphertext, or h_s and its table once a worker and a power for each ciphertext. Every shape of table within
    `TABLE_BYTES` is considered, for the count rounded up to a power of two: so few different tables serve all counts,
    and the one that a worker has is often the right one for its next batch. Keys that do not declare DJN always get
    textbook noise.
    """
    if key.scheme is not Scheme.DJN:
        return NoisePlan(key, None)
    each = -(-count // workers_for(count, workers, SHARE))
    shape = cheapest_shape(_exponent_bits(key), key.bits, 1 << max(0, each - 1).bit_length())
    table_cost = shape.build_cost(key.bits) + each * shape.use_cost
    return NoisePlan(key, None if each * textbook_cost(key.bits) <= table_cost else shape)


def noise_source(key: PublicKey, count: int) -> NoiseSource:
    """Return the source that `noise_plan` chooses for one worker, built."""
    return noise_plan(key, count)()


def _exponent_bits(key: PublicKey) -> int:
    """Half the modulus' length, rounded up."""
    return (key.bits + 1) // 2


def _unit(key: PublicKey) -> mpz:
    """A uniform element of Z_n*."""
    while True:
        candidate = mpz(1 + secrets.randbelow(key.n - 1))
        if gmpy2.gcd(candidate, key.n) == 1:
            return candidate
