"""The hash chain: the cheap local check of order, beside the tree.

chain_i = SHA-256(0x02, chain_{i-1}, leaf_i), with leaf_i the RFC 6962 leaf hash and chain_{-1} 32 zero bytes. Seal
entries record its head, so that a check may start from any sealed head instead of the beginning.
"""

import hashlib
from typing import Final

from audit.errors import Damage, VerificationFailedError
from audit.tree import HASH_BYTES

CHAIN_START: Final = bytes(HASH_BYTES)
"""The head over no entries."""


class Chain:
    """The head of the chain over the first `size` leaves."""

    __slots__ = ("_head", "_size")

    def __init__(self, size: int = 0, head: bytes = CHAIN_START) -> None:
        self._size = size
        self._head = head

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def head(self) -> bytes:
        """chain_{size-1}, 32 bytes."""
        return self._head

    def append(self, leaf: bytes) -> None:
        """Links one leaf hash (32 bytes)."""
        self._head = hashlib.sha256(b"\x02" + self._head + leaf).digest()
        self._size += 1

    def copy(self) -> "Chain":
        """An independent chain with the same head."""
        return Chain(self._size, self._head)


def verify_seal(size: int, sealed: str, chain: Chain) -> None:
    """Checks a seal entry, found at index `chain.size`, against the recomputed chain.

    Args:
        size: the number of entries that the seal says it covers; all those before it.
        sealed: the head it records, lowercase hexadecimal.
        chain: the chain over all entries before the seal.

    Raises:
        VerificationFailedError: the seal covers other entries (damage `rewritten`).
    """
    if size != chain.size or sealed != chain.head.hex():
        raise VerificationFailedError(
            Damage.REWRITTEN, chain.size, "the sealed chain head is not that of the entries before the seal"
        )
