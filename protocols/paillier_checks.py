"""What a foreign Paillier key and foreign ciphertexts must pass before anything is computed with them.

A check raises or returns None. What these checks cannot show is that n has exactly two prime factors: a merchant that
builds a malformed modulus harms the secrecy of its own ciphertexts, while single parts stay hidden from the key's owner
by masks (`masks`), not by the key.
"""

from collections.abc import Sequence

import gmpy2
from gmpy2 import mpz

from protocols.errors import BadCiphertextError, BadKeyError, BadModulusError
from protocols.paillier_key import MINIMUM_BITS, PrivateKey, PublicKey, Scheme, is_prime, primes_are_apart

SMALL_FACTOR_BITS = 20
"""A modulus with a prime factor under 2^20 is refused."""

MAXIMUM_CIPHERTEXTS = 1 << 20
"""More than this in one encoded vector is refused before it is parsed."""


def check_public_key(key: PublicKey, *, minimum_bits: int = MINIMUM_BITS, exact_bits: int | None = None) -> None:
    """Refuse a foreign modulus that no honest key generation yields.

    Args:
        key: the foreign key (its constructor already bounds the length from above: a huge one would stall the party).
        minimum_bits: shortest modulus accepted; under 2048 only in tests.
        exact_bits: the length that the signed request states, where it states one.

    Raises:
        BadModulusError: naming the first check that failed, in this order.

    """
    n = mpz(key.n)
    # 1. Exact length. Blocks keys that can be factored, and a layout computed for another length.
    if key.bits < minimum_bits:
        raise BadModulusError(f"length: the modulus has {key.bits} bits, fewer than the {minimum_bits} required")
    if exact_bits is not None and key.bits != exact_bits:
        raise BadModulusError(f"length: the modulus has {key.bits} bits where {exact_bits} are declared")
    if key.bits % 8 != 0:
        raise BadModulusError(f"length: the modulus has {key.bits} bits, not whole bytes; two equal primes give that")
    # 2. Odd. Blocks a factor two, under which one bit of every plaintext is open to all.
    if n % 2 == 0:
        raise BadModulusError("even: the modulus is even; it must be the product of two large odd primes")
    # 3. n = 1 mod 4, which p = q = 3 mod 4 implies. Blocks a DJN declaration for a key not built for it.
    if key.scheme is Scheme.DJN and n % 4 != 1:
        raise BadModulusError("not DJN: the modulus is not 1 mod 4; declare the key as textbook Paillier")
    # 4. No factor under 2^20. Blocks smooth moduli, which anyone can factor.
    if gmpy2.gcd(n, gmpy2.primorial(1 << SMALL_FACTOR_BITS)) != 1:
        raise BadModulusError(f"small factor: the modulus has a prime factor under 2^{SMALL_FACTOR_BITS}")
    # 5. No perfect power. Blocks n = p^k, where Paillier's group is another one.
    if gmpy2.is_power(n):
        raise BadModulusError("perfect power: the modulus is a power of a smaller number; it needs two distinct primes")
    # 6. Composite. Blocks a prime modulus, under which anyone decrypts.
    if gmpy2.is_prime(n):
        raise BadModulusError("prime: the modulus is prime; it must be the product of two large primes")


def check_private_key(key: PrivateKey, *, minimum_bits: int = MINIMUM_BITS) -> None:
    """Refuse an own key that was damaged or made badly elsewhere: BadKeyError unless p and q are primes fit for use."""
    if key.public_key.bits < minimum_bits:
        raise BadKeyError(
            f"the key has {key.public_key.bits} bits, fewer than the {minimum_bits} required; make a new one"
        )
    if not primes_are_apart(key.p, key.q):
        raise BadKeyError("the primes differ in length or lie close together (n could be factored); make a new key")
    if not (is_prime(key.p) and is_prime(key.q)):
        raise BadKeyError("p or q is not prime: the key is damaged; restore it from a backup or make a new one")


def check_ciphertexts(values: Sequence[int], key: PublicKey) -> None:
    """Raise BadCiphertextError, naming the position, unless each value lies in (0, n^2) and is coprime to n.

    One product modulo n and one greatest common divisor serve the whole batch; the culprit is looked for only when that
    one fails.
    """
    n, n_squared = mpz(key.n), mpz(key.n_squared)
    product = mpz(1)
    for position, value in enumerate(values):
        if not 0 < value < n_squared:
            raise BadCiphertextError(f"range: ciphertext {position} is not in (0, n^2) of this key")
        product = product * value % n
    if gmpy2.gcd(product, n) == 1:
        return
    culprit = next(position for position, value in enumerate(values) if gmpy2.gcd(value, n) != 1)
    raise BadCiphertextError(f"not coprime: ciphertext {culprit} shares a factor with the modulus")


def encode_ciphertexts(values: Sequence[int], key: PublicKey) -> bytes:
    """Concatenate ciphertexts, each big-endian in `key.ciphertext_width` bytes; BadCiphertextError if out of range."""
    for position, value in enumerate(values):
        if not 0 < value < key.n_squared:
            raise BadCiphertextError(f"range: ciphertext {position} is not in (0, n^2) of this key")
    return b"".join(int(value).to_bytes(key.ciphertext_width, "big") for value in values)


def decode_ciphertexts(data: bytes, width: int, key: PublicKey, *, count: int) -> list[int]:
    """Return the `count` checked ciphertexts that `encode_ciphertexts` wrote.

    Args:
        data: the bytes received.
        width: bytes a ciphertext as the sender states it; must be `key.ciphertext_width`.
        key: the key they are under.
        count: how many the layout demands, 0 to 2^20.

    Raises:
        BadCiphertextError: another width, length or number than agreed, or a value that fails `check_ciphertexts`.

    """
    if not 0 <= count <= MAXIMUM_CIPHERTEXTS:
        raise BadCiphertextError(f"count: {count} ciphertexts are not within 0 to {MAXIMUM_CIPHERTEXTS}")
    if width != key.ciphertext_width:
        raise BadCiphertextError(f"width: {width} bytes a ciphertext where this key has {key.ciphertext_width}")
    if len(data) != count * width:
        raise BadCiphertextError(f"length: {len(data)} bytes where {count} ciphertexts take {count * width}")
    values = [int.from_bytes(data[start : start + width], "big") for start in range(0, len(data), width)]
    check_ciphertexts(values, key)
    return values
