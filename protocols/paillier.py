"""Paillier's encryption and what can be computed under it, on plain integers.

Plaintexts are residues in [0, n); signed values are the caller's to encode (`packing` does it by offsets). Ciphertexts
are integers in (0, n^2). Functions trust that foreign keys and ciphertexts passed `paillier_checks`, and stay correct
for any ciphertext that did.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import gmpy2
from gmpy2 import mpz

from protocols.errors import BadKeyError, OverflowRefusedError
from protocols.executor import Advance, Cancelled, Executor
from protocols.fixed_base import times_one_plus
from protocols.paillier_key import PrivateKey, PublicKey
from protocols.paillier_noise import NoiseSource, noise_plan


def encrypt(plaintext: int, key: PublicKey, noise: NoiseSource) -> int:
    """Return a fresh encryption of `plaintext` in [0, n): (1 + plaintext n) x noise mod n^2.

    Raises OverflowRefusedError for a plaintext out of range, BadKeyError where the noise is for another key.
    """
    _check_plaintext(plaintext, key)
    _check_noise(noise, key)
    return add_plain(noise.noise(), plaintext, key)


def rerandomise(ciphertext: int, key: PublicKey, noise: NoiseSource) -> int:
    """Return another encryption of the same plaintext, which only the key's owner can link to the first.

    Whoever forwards or combines only stored ciphertexts does this. Raises BadKeyError as `encrypt`.
    """
    _check_noise(noise, key)
    return add(ciphertext, noise.noise(), key)


def add(left: int, right: int, key: PublicKey) -> int:
    """Return an encryption of the sum of both plaintexts, modulo n."""
    return int(mpz(left) * right % key.n_squared)


def add_plain(ciphertext: int, value: int, key: PublicKey) -> int:
    """Return an encryption of the plaintext plus `value` (any integer), modulo n; not re-randomised."""
    return int(times_one_plus(mpz(ciphertext), mpz(value), mpz(key.n), mpz(key.n_squared)))


def mul_plain(ciphertext: int, factor: int, key: PublicKey) -> int:
    """Return an encryption of the plaintext times `factor` (any integer), modulo n; not re-randomised.

    A negative factor inverts the ciphertext and takes a short exponent, rather than one as long as n.
    """
    return int(gmpy2.powmod(ciphertext, factor, key.n_squared))


def sum_ciphertexts(ciphertexts: Iterable[int], key: PublicKey) -> int:
    """Return an encryption of the sum of all plaintexts, modulo n; 1 (a fixed encryption of 0) where there are none."""
    n_squared = mpz(key.n_squared)
    product = mpz(1)
    for ciphertext in ciphertexts:
        product = product * ciphertext % n_squared
    return int(product)


def decrypt(ciphertext: int, key: PrivateKey) -> int:
    """Return the plaintext in [0, n); BadCiphertextError as `PrivateKey.decrypt_raw`."""
    return key.decrypt_raw(ciphertext)


def encrypt_batch(
    plaintexts: Sequence[int],
    key: PublicKey,
    *,
    executor: Executor,
    progress: Advance | None = None,
    cancelled: Cancelled | None = None,
) -> list[int]:
    """Encrypt a batch through the executor, in order, with the noise that `noise_plan` chooses for its length.

    Raises OverflowRefusedError for a plaintext out of [0, n), before anything is encrypted; BatchCancelledError.
    """
    for plaintext in plaintexts:
        _check_plaintext(plaintext, key)
    plan = noise_plan(key, len(plaintexts), executor.workers)
    return executor.map_prepared(
        plan, _encrypt_prepared, plaintexts, share=plan.share, progress=progress, cancelled=cancelled
    )


def decrypt_batch(
    ciphertexts: Sequence[int],
    key: PrivateKey,
    *,
    executor: Executor,
    progress: Advance | None = None,
    cancelled: Cancelled | None = None,
) -> list[int]:
    """Decrypt a batch through the executor, in order; raises as `decrypt`, and BatchCancelledError."""
    return executor.map_prepared(_Held(key), _decrypt_prepared, ciphertexts, progress=progress, cancelled=cancelled)


@dataclass(frozen=True, slots=True)
class _Held:
    """A key that a worker of its owner keeps, so that its blinding goes on from one chunk to the next."""

    key: PrivateKey

    def __call__(self) -> PrivateKey:
        return self.key


def _decrypt_prepared(key: PrivateKey, ciphertext: int) -> int:
    return key.decrypt_raw(ciphertext)


def _encrypt_prepared(noise: NoiseSource, plaintext: int) -> int:
    return encrypt(plaintext, noise.key, noise)


def _check_plaintext(plaintext: int, key: PublicKey) -> None:
    if not 0 <= plaintext < key.n:
        raise OverflowRefusedError("the plaintext is not in [0, n); encode it (packing) before encryption")


def _check_noise(noise: NoiseSource, key: PublicKey) -> None:
    if noise.key != key:
        raise BadKeyError("the noise was made for another key; make a source with noise_source(key, count)")
