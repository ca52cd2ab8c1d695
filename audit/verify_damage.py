"""Tells kinds of damage apart, where an entry is not the one its stored leaf hash names.

From the first difference on two sequences are compared: the leaf hashes of the stored entries, and those in the tiles.
"""

from collections.abc import Iterator

from audit.errors import Damage, VerificationFailedError
from audit.store import StoreReader
from audit.tiles import TILE_WIDTH, split_hashes
from audit.tree import HASH_BYTES, leaf_hash

_FAR = 2**62


class StoredLeaves:
    """The leaf hashes in a store's level 0 tiles, one tile in memory."""

    __slots__ = ("_index", "_reader", "_tile")

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._index = -1
        self._tile = b""

    def __call__(self, index: int) -> bytes:
        """The stored leaf hash of entry `index`, empty where there is none."""
        tile_index, offset = divmod(index, TILE_WIDTH)
        if tile_index != self._index:
            self._index, self._tile = tile_index, self._reader.tile(0, tile_index)
        return self._tile[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]


def missing_entry(reader: StoreReader, index: int) -> VerificationFailedError:
    """Why there is no entry at `index` although there are later ones, or the ledger says that it is longer."""
    later = next(reader.entries(index + 1, _FAR), None)
    if later is None:
        return VerificationFailedError(Damage.TRUNCATED, index, "the entries end here, the ledger recorded more")
    return VerificationFailedError(Damage.DELETED, index, f"the entry is missing; the next one has index {later[0]}")


def wrong_entry(reader: StoreReader, index: int, leaf: bytes, stored: bytes) -> VerificationFailedError:
    """Why the entry at `index` hashes to `leaf` instead of `stored`, the leaf hash in its tile."""
    moved_from = _position(leaf, _tile_leaves(reader, index + 1))
    moved_to = _position(stored, _entry_leaves(reader, index + 1))
    if moved_from is not None and moved_to is not None:
        return VerificationFailedError(
            Damage.REORDERED, index, f"entry {moved_from} stands here, and this one stands at {moved_to}"
        )
    if moved_from is not None and not _stands(reader, moved_from, leaf):
        return VerificationFailedError(
            Damage.DELETED, index, f"the entry is gone; the one recorded as {moved_from} stands in its place"
        )
    if moved_to is not None:
        return VerificationFailedError(
            Damage.INSERTED, index, f"an entry was put in here; the one recorded here stands at {moved_to}"
        )
    return VerificationFailedError(
        Damage.ALTERED, index, "the entry's bytes do not hash to the leaf that its tile records"
    )


def _stands(reader: StoreReader, index: int, leaf: bytes) -> bool:
    return any(leaf_hash(data) == leaf for _, data in reader.entries(index, index + 1))


def _position(wanted: bytes, leaves: Iterator[tuple[int, bytes]]) -> int | None:
    return next((index for index, leaf in leaves if leaf == wanted), None)


def _entry_leaves(reader: StoreReader, start: int) -> Iterator[tuple[int, bytes]]:
    return ((index, leaf_hash(data)) for index, data in reader.entries(start, _FAR))


def _tile_leaves(reader: StoreReader, start: int) -> Iterator[tuple[int, bytes]]:
    tile_index = start // TILE_WIDTH
    while tile := reader.tile(0, tile_index):
        for offset, leaf in enumerate(split_hashes(tile)):
            index = tile_index * TILE_WIDTH + offset
            if index >= start:
                yield index, leaf
        tile_index += 1
