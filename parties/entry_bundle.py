"""Entries on their way to a replica and back: bundles of bounded size, each provable by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

BUNDLE_BYTES: Final = 1024 * 1024
"""Bytes of entries after which a bundle is full; one entry has at most 8 KiB."""
BUNDLE_ENTRIES: Final = 4096
"""Entries of one bundle, at most."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Consecutive entries of a log. Nothing in one is verified.

    Attributes:
        start: index of the first.
        entries: their bytes.
        proof: RFC 6962 consistency proof from the size that they reach to the note's; empty where that is the same.
        note: a checkpoint of the log.
    """

    start: int
    entries: Sequence[bytes]
    proof: Sequence[bytes]
    note: bytes


class ProvableEntries(Protocol):
    """What bundles are made of: a ledger, or a replica of one."""

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The entries from `start` to `end` - 1."""
        ...

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The RFC 6962 proof that `new` entries extend `old`."""
        ...


def bundles(log: ProvableEntries, start: int, size: int, note: bytes, limit: int = BUNDLE_BYTES) -> Iterator[Bundle]:
    """Yield the entries from `start` up to `size`, that of `note`, in order; `limit` is the bytes of a full bundle."""
    first, batch, length = start, list[bytes](), 0
    for data in log.read(start, size):
        batch.append(data)
        length += len(data)
        if len(batch) == BUNDLE_ENTRIES or length >= limit:
            end = first + len(batch)
            yield Bundle(first, batch, log.consistency_proof(end, size), note)
            first, batch, length = end, [], 0
    if batch:
        yield Bundle(first, batch, log.consistency_proof(first + len(batch), size), note)
