"""Named hash algorithms. Every record names its own, so that another (SM3) can come beside this one."""

import hashlib
from enum import Enum
from typing import Final

SHA256_BYTES: Final = 32


class HashAlgorithm(Enum):
    """The hash algorithms a record may name."""

    SHA256 = "sha256"


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data`, 32 bytes (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def hex_sha256(data: bytes) -> str:
    """SHA-256 of `data`, 64 lowercase hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
