"""Pseudorandom bytes at memory speed: the keystream of AES-256 in counter mode (NIST SP 800-38A, section 6.5).

Nobody without the key tells 2^40 bytes of it from random ones with an advantage above 2^-55 beyond that against AES
itself (blocks of one key never repeat, as truly random ones would).
"""

import os
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Returns so many fresh, uniformly random bytes; `os.urandom` is one."""


class Keystream:
    """The bytes of one key's stream, each of them once, in order; as `RandomBytes`, call it.

    The counter starts at zero: a key serves one stream. Never pickled or copied, since a stream that goes on in two
    places repeats itself; not thread-safe.
    """

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        """Start the stream of a secret key of 32 bytes that is used for nothing else."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a keystream's key has {KEY_BYTES} bytes, not {len(key)}")
        self._encryptor = Cipher(AES(key), CTR(bytes(_BLOCK_BYTES))).encryptor()

    def __call__(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._encryptor.update(bytes(count))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keystream stays where it is: its bytes must not be used twice")


def fresh_keystream() -> Keystream:
    """Return the keystream of a new key from the operating system."""
    return Keystream(os.urandom(KEY_BYTES))
