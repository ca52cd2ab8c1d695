"""Paillier keys: making them, naming them, and decrypting with them.

Paillier 1999, "Public-Key Cryptosystems Based on Composite Degree Residuosity Classes", with g = n + 1, as in ISO/IEC
18033-6:2019; decryption by the Chinese remainder theorem (section 7 of the paper). Keys made here suit the noise of
Damgard, Jurik and Nielsen (2010): p = q = 3 mod 4 and gcd(p-1, q-1) = 2. They declare it by their scheme, since an
encryptor cannot see it in the modulus.
"""

import hashlib
import secrets
import threading
from dataclasses import dataclass, field
from enum import Enum

import gmpy2
from gmpy2 import mpz

from protocols.errors import BadCiphertextError, BadKeyError, BadModulusError

DEFAULT_BITS = 3072
MINIMUM_BITS = 2048
MAXIMUM_BITS = 8192
"""A longer foreign modulus is refused: one operation's cost grows with the cube of the length."""

_WITNESSES = 64
"""Miller-Rabin rounds with random bases: error at most 4^-64 = 2^-128 for any candidate."""

_EXPONENT_BLIND_BITS = 64
"""Of the exponent's random factor: 4 % of an exponentiation at 3072 bits."""

_BLINDED = 4096
"""Decryptions between two secrets of the base's blinding."""

_FINGERPRINT_TAG = b"unseen:paillier-key:v1"


class Scheme(Enum):
    """How encryptors randomise under a key; part of its fingerprint."""

    TEXTBOOK = "paillier/v1"
    """r^n mod n^2 with r uniform in Z_n*. Right for every Paillier key."""

    DJN = "paillier-djn/v1"
    """h_s^a mod n^2 with short a. Only for keys with p = q = 3 mod 4 and gcd(p-1, q-1) = 2."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A Paillier modulus and the scheme its owner declares. A foreign one goes through `check_public_key` before use.

    Raises BadModulusError where `n` is no positive integer of at most `MAXIMUM_BITS` bits.
    """

    n: int
    scheme: Scheme
    n_squared: int = field(init=False, repr=False, compare=False)
    """The modulus of ciphertexts."""

    def __post_init__(self) -> None:
        if type(self.n) is not int or self.n < 6:
            raise BadModulusError("the modulus is no integer above 5; hand over n as a positive Python int")
        if self.n.bit_length() > MAXIMUM_BITS:
            raise BadModulusError(
                f"the modulus has {self.n.bit_length()} bits, more than the {MAXIMUM_BITS} allowed; use a shorter key"
            )
        object.__setattr__(self, "n_squared", self.n * self.n)

    @classmethod
    def from_modulus_bytes(cls, data: bytes, scheme: Scheme) -> "PublicKey":
        """Decode `modulus_bytes`; a leading zero byte or more than `MAXIMUM_BITS` bits raise BadModulusError."""
        if len(data) > MAXIMUM_BITS // 8:
            raise BadModulusError(f"the modulus has {len(data)} bytes, more than the {MAXIMUM_BITS // 8} allowed")
        if not data or data[0] == 0:
            raise BadModulusError(
                "the modulus is empty or starts with a zero byte; send it big-endian, without padding"
            )
        return cls(int.from_bytes(data, "big"), scheme)

    @property
    def bits(self) -> int:
        """Length of n in bits."""
        return self.n.bit_length()

    @property
    def modulus_bytes(self) -> bytes:
        """n, big-endian, without leading zeros."""
        return self.n.to_bytes((self.bits + 7) // 8, "big")

    @property
    def ciphertext_width(self) -> int:
        """Bytes of one encoded ciphertext: twice the modulus' bytes."""
        return 2 * ((self.bits + 7) // 8)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over tag, scheme and modulus, each preceded by its length as u64: what signed requests bind."""
        digest = hashlib.sha256()
        for part in (_FINGERPRINT_TAG, self.scheme.value.encode(), self.modulus_bytes):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Remainders:
    """What the Chinese remainder theorem needs, once a key. All values are secret."""

    p: mpz
    q: mpz
    p_squared: mpz
    q_squared: mpz
    lambda_p: mpz
    """((n+1)^(p-1) mod p^2 - 1) / p, inverted mod p; that is -1/q mod p."""
    lambda_q: mpz
    p_inverse: mpz
    """1/p mod q."""
    p_squared_inverse: mpz
    """1/p^2 mod q^2."""

    @classmethod
    def of(cls, p: int, q: int) -> "_Remainders":
        big_p, big_q = mpz(p), mpz(q)
        return cls(
            p=big_p,
            q=big_q,
            p_squared=big_p * big_p,
            q_squared=big_q * big_q,
            lambda_p=gmpy2.invert(-big_q, big_p),
            lambda_q=gmpy2.invert(-big_p, big_q),
            p_inverse=gmpy2.invert(big_p, big_q),
            p_squared_inverse=gmpy2.invert(big_p * big_p, big_q * big_q),
        )


class _Blinding:
    """c^(p-1) mod p^2 for one secret prime p, by an exponentiation that never meets c or p - 1 as they are.

    The base is multiplied by a secret s^p, whose (p-1)-th power is 1: a fresh one each time, by squaring the last, and
    from a new s after `_BLINDED` uses (Kocher 1996, section 10). The exponent is r (p-1) with a fresh r of
    `_EXPONENT_BLIND_BITS` bits, and r is divided out of the result. So whoever times decryptions, of ciphertexts of its
    own choice, averages over bases and exponents that it does not know. What blinding does not hide is what a single
    exponentiation does: who shares the processor and watches caches or power during one, or reads the memory, may
    learn its exponent, and p from it. `gmpy2.powmod_sec` would be constant in time and access; it takes 1.4 times as
    long.

    Thread-safe. A copy, in this process or another, starts with an s of its own.
    """

    __slots__ = ("_factor", "_left", "_lock", "_p", "_p_squared")

    def __init__(self, p: int) -> None:
        self._p = mpz(p)
        self._p_squared = self._p * self._p
        self._lock = threading.Lock()
        self._left = 0
        self._factor = mpz(1)

    def __reduce__(self) -> tuple[type["_Blinding"], tuple[int]]:
        return _Blinding, (int(self._p),)

    def logarithm(self, c: mpz) -> mpz:
        """Return (c^(p-1) mod p^2 - 1) / p mod p, for a unit c modulo p^2."""
        p = self._p
        blind = mpz(1 + secrets.randbelow(min(1 << _EXPONENT_BLIND_BITS, int(p)) - 1))
        power = gmpy2.powmod(c * self._next_factor() % self._p_squared, blind * (p - 1), self._p_squared)
        return (power - 1) // p * gmpy2.invert(blind, p) % p

    def _next_factor(self) -> mpz:
        with self._lock:
            if self._left == 0:
                s = mpz(1 + secrets.randbelow(int(self._p) - 1))
                self._factor = gmpy2.powmod_sec(s, self._p, self._p_squared)
                self._left = _BLINDED
            self._left -= 1
            self._factor = self._factor * self._factor % self._p_squared
            return self._factor


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The two primes, p < q (exchanged where given otherwise). Its repr shows no secret.

    The constructor checks what costs nothing and raises BadKeyError: distinct, odd, gcd(n, (p-1)(q-1)) = 1, and for
    the DJN scheme p = q = 3 mod 4 and gcd(p-1, q-1) = 2. Keys from outside go through `check_private_key` as well.
    """

    p: int = field(repr=False)
    q: int = field(repr=False)
    scheme: Scheme
    public_key: PublicKey = field(init=False, compare=False)
    _remainders: _Remainders = field(init=False, repr=False, compare=False)
    _blinding_p: _Blinding = field(init=False, repr=False, compare=False)
    _blinding_q: _Blinding = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.p) is not int or type(self.q) is not int or min(self.p, self.q) < 3:
            raise BadKeyError("the primes are no integers above 2; hand over p and q as Python ints")
        if self.p > self.q:
            p, q = self.q, self.p
            object.__setattr__(self, "p", p)
            object.__setattr__(self, "q", q)
        n, totient = self.p * self.q, (self.p - 1) * (self.q - 1)
        if self.p == self.q or n % 2 == 0 or gmpy2.gcd(n, totient) != 1:
            raise BadKeyError("p and q make no Paillier key: they must be distinct, odd, and n coprime to (p-1)(q-1)")
        if self.scheme is Scheme.DJN and not _suits_djn(self.p, self.q):
            raise BadKeyError(
                "p and q do not suit the DJN scheme (p = q = 3 mod 4, gcd(p-1, q-1) = 2); load the key as textbook"
            )
        object.__setattr__(self, "public_key", PublicKey(n, self.scheme))
        object.__setattr__(self, "_remainders", _Remainders.of(self.p, self.q))
        object.__setattr__(self, "_blinding_p", _Blinding(self.p))
        object.__setattr__(self, "_blinding_q", _Blinding(self.q))

    def decrypt_raw(self, ciphertext: int) -> int:
        """Return the plaintext in [0, n), by the Chinese remainder theorem. Safe to call from several threads.

        Both exponentiations are blinded (`_Blinding`). Raises BadCiphertextError unless the ciphertext lies in (0, n^2)
        and is coprime to n.
        """
        if not 0 < ciphertext < self.public_key.n_squared:
            raise BadCiphertextError("range: the ciphertext is out of (0, n^2); nothing to decrypt")
        parts = self._remainders
        c_p, c_q = mpz(ciphertext) % parts.p_squared, mpz(ciphertext) % parts.q_squared
        if c_p % parts.p == 0 or c_q % parts.q == 0:  # whoever knows the primes needs no gcd
            raise BadCiphertextError("not coprime: the ciphertext shares a factor with n; nothing to decrypt")
        m_p = self._blinding_p.logarithm(c_p) * parts.lambda_p % parts.p
        m_q = self._blinding_q.logarithm(c_q) * parts.lambda_q % parts.q
        return int(m_p + parts.p * ((m_q - m_p) * parts.p_inverse % parts.q))

    def noise(self) -> int:
        """Return a uniform n-th residue mod n^2, several times faster than r^n can be computed without p and q.

        Modulo p^2 the n-th residues are the subgroup of order p-1, which is what x^p gives for uniform x; likewise q.
        """
        parts = self._remainders
        x_p = gmpy2.powmod_sec(mpz(1 + secrets.randbelow(self.p - 1)), parts.p, parts.p_squared)
        x_q = gmpy2.powmod_sec(mpz(1 + secrets.randbelow(self.q - 1)), parts.q, parts.q_squared)
        return int(x_p + parts.p_squared * ((x_q - x_p) * parts.p_squared_inverse % parts.q_squared))


def generate_key(
    bits: int = DEFAULT_BITS, *, scheme: Scheme = Scheme.DJN, minimum_bits: int = MINIMUM_BITS
) -> PrivateKey:
    """Make a key whose modulus has exactly `bits` bits, from the operating system's randomness.

    p and q have `bits/2` bits each, differ by more than 2^(bits/2 - 100) (FIPS 186-5, A.1.3), and suit DJN whatever
    scheme is declared. Raises BadKeyError where `bits` is under `minimum_bits`, above `MAXIMUM_BITS`, or no multiple of
    16. 3072 bits take about a second.
    """
    if not minimum_bits <= bits <= MAXIMUM_BITS or bits % 16 != 0 or bits < 256:
        raise BadKeyError(
            f"{bits} bits: a modulus has {max(minimum_bits, 256)} to {MAXIMUM_BITS} bits, a multiple of 16; "
            f"{DEFAULT_BITS} is the default"
        )
    half = bits // 2
    while True:
        p, q = _random_prime(half), _random_prime(half)
        if primes_are_apart(p, q) and _suits_djn(p, q):
            return PrivateKey(p, q, scheme)


def is_prime(candidate: int) -> bool:
    """Whether `candidate` is prime: Baillie-PSW, then Miller-Rabin with 64 bases from `secrets`.

    A composite passes with probability at most 2^-128, also one that was chosen to pass (Albrecht et al. 2018, "Prime
    and Prejudice": a library's fixed bases give no such bound).
    """
    if candidate < 2 or not gmpy2.is_prime(mpz(candidate)):
        return False
    if candidate < 1 << 32:
        return True  # Baillie-PSW has no counterexample below 2^64
    return all(
        gmpy2.is_strong_prp(mpz(candidate), mpz(2 + secrets.randbelow(candidate - 3))) for _ in range(_WITNESSES)
    )


def primes_are_apart(p: int, q: int) -> bool:
    """Whether p and q have one length and differ by more than 2^(length - 100), so that Fermat's method fails."""
    length = p.bit_length()
    return length == q.bit_length() and abs(p - q) > 1 << max(length - 100, length // 2)


def _suits_djn(p: int, q: int) -> bool:
    return p % 4 == 3 and q % 4 == 3 and gmpy2.gcd(p - 1, q - 1) == 2


def _random_prime(bits: int) -> int:
    """A random prime = 3 mod 4 of exactly `bits` bits, its two top bits set (products then have exactly 2 x bits)."""
    while True:
        candidate = secrets.randbits(bits) | (0b11 << (bits - 2)) | 0b11
        if is_prime(candidate):
            return candidate
