"""Tiles of the tree: C2SP tlog-tiles addressing (c2sp.org/tlog-tiles).

A tile holds up to 256 consecutive hashes of one tree level that is a multiple of 8; level 0 holds leaf hashes. Every
hash in a tile is that of a *complete* subtree; whatever lies between tile levels is recomputed. A full tile never
changes; the one at the right edge is partial and grows.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from audit.errors import LimitExceededError, MalformedError
from audit.tree import HASH_BYTES, node_hash

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a full tile."""
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
MAX_LEVEL: Final = 63
MAX_BUNDLE_ENTRY_BYTES: Final = 0xFFFF
"""An entry's length is two bytes in an entry bundle."""

_PATH: Final = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True, order=True)
class TileAddress:
    """Where a tile lies: its level, its number along the level, how many hashes it holds (1 to 256)."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """`tile/<level>/<index>[.p/<width>]`, the index in groups of three digits."""
        return f"tile/{self.level}/{_index_path(self.index)}{_partial(self.width)}"

    def entries_path(self) -> str:
        """`tile/entries/<index>[.p/<width>]`, the bundle of the entries under a level 0 tile."""
        return f"tile/entries/{_index_path(self.index)}{_partial(self.width)}"


def parse_path(path: str) -> tuple[TileAddress, bool]:
    """The address in a path, and whether it names entries instead of hashes.

    Raises:
        MalformedError: not a path that `TileAddress.path` or `entries_path` writes.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise MalformedError(
            f"{path[:80]!r} is no tile path: tile/<level>/<index>[.p/<width>] is (c2sp.org/tlog-tiles)"
        )
    level_text, index_text, width_text = match.groups()
    entries = level_text == "entries"
    address = TileAddress(
        level=0 if entries else int(level_text),
        index=int(index_text.replace("x", "").replace("/", "")),
        width=int(width_text) if width_text else TILE_WIDTH,
    )
    written = address.entries_path() if entries else address.path()
    if address.level > MAX_LEVEL or address.width > TILE_WIDTH or written != path:
        raise MalformedError(f"{path[:80]!r} is not the canonical path of a tile; that would be {written}")
    return address, entries


def tiles_of(size: int) -> Iterator[TileAddress]:
    """Every tile of a tree of `size` leaves, partial ones included, level by level."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, TILE_WIDTH)
        for index in range(full):
            yield TileAddress(level, index)
        if rest:
            yield TileAddress(level, full, rest)
        level, count = level + 1, full


def entry_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each behind its length in two big-endian bytes; at most 256 of them.

    Raises:
        LimitExceededError: more than 256 entries, or one longer than 65,535 bytes.
    """
    if len(entries) > TILE_WIDTH or any(len(entry) > MAX_BUNDLE_ENTRY_BYTES for entry in entries):
        raise LimitExceededError(
            f"an entry bundle holds {TILE_WIDTH} entries of at most {MAX_BUNDLE_ENTRY_BYTES} bytes"
        )
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entry_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        MalformedError: an entry is cut off.
        LimitExceededError: more than 256 entries.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if position + 2 > len(data) or end > len(data):
            raise MalformedError(f"entry {len(entries)} of the bundle is cut off: fetch the bundle again")
        if len(entries) == TILE_WIDTH:
            raise LimitExceededError(f"an entry bundle of more than {TILE_WIDTH} entries")
        entries.append(data[position + 2 : end])
        position = end
    return entries


class TileNodes:
    """Hashes of complete subtrees at any level, out of stored tiles: the `NodeReader` of `audit.tree`.

    Args:
        read_tile: (tile level, index) -> its hashes so far, empty where there is none.
    """

    __slots__ = ("_read_tile",)

    def __init__(self, read_tile: Callable[[int, int], bytes]) -> None:
        self._read_tile = read_tile

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of subtree (level, index).

        Raises:
            MalformedError: the stored tiles do not hold it.
        """
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        tile_index, offset = divmod(first, TILE_WIDTH)
        data = self._read_tile(tile_level, tile_index)[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES]
        if len(data) != HASH_BYTES << height:
            raise MalformedError(f"tile {TileAddress(tile_level, tile_index).path()} is missing or too short")
        hashes = split_hashes(data)
        while len(hashes) > 1:
            hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]


class TileEdge:
    """The partial tile at the right edge of each level, and those that changed since they were last taken."""

    __slots__ = ("_changed", "_edges", "_size")

    def __init__(self, size: int = 0, edges: Sequence[bytes] = ()) -> None:
        self._size = size
        self._edges = [bytearray(edge) for edge in edges]
        self._changed: dict[tuple[int, int], bytes] = {}

    @classmethod
    def load(cls, size: int, read_tile: Callable[[int, int], bytes]) -> "TileEdge":
        """The edge of a tree of `size` leaves, read from stored tiles.

        Raises:
            MalformedError: a stored edge tile is too short.
        """
        edges: list[bytes] = []
        level, count = 0, size
        while count:
            index, width = divmod(count, TILE_WIDTH)
            data = read_tile(level, index)[: width * HASH_BYTES] if width else b""
            if len(data) != width * HASH_BYTES:
                raise MalformedError(f"tile {TileAddress(level, index, width).path()} is missing or too short")
            edges.append(data)
            level, count = level + 1, index
        return cls(size, edges)

    def append(self, leaf: bytes) -> None:
        """Adds one leaf hash (32 bytes) and, where it fills tiles, their roots on the levels above."""
        self._size += 1
        node, level, count = leaf, 0, self._size
        while True:
            if level == len(self._edges):
                self._edges.append(bytearray())
            edge = self._edges[level]
            edge += node
            index = (count - 1) // TILE_WIDTH
            if len(edge) < TILE_BYTES:
                return
            full = bytes(edge)
            self._changed[level, index] = full
            edge.clear()
            node = _root_of_full(full)
            level, count = level + 1, count // TILE_WIDTH

    def take_changed(self) -> list[tuple[int, int, bytes]]:
        """(level, index, hashes) of the tiles filled since the last call and of the whole edge as it stands."""
        tiles = [(level, index, data) for (level, index), data in self._changed.items()]
        self._changed.clear()
        count = self._size
        for level, edge in enumerate(self._edges):
            if edge:
                tiles.append((level, count // TILE_WIDTH, bytes(edge)))
            count //= TILE_WIDTH
        return tiles


def split_hashes(data: bytes) -> list[bytes]:
    """The 32-byte hashes of a tile."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def _root_of_full(data: bytes) -> bytes:
    hashes = split_hashes(data)
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def _index_path(index: int) -> str:
    digits = f"{index % 1000:03d}"
    index //= 1000
    while index:
        digits = f"x{index % 1000:03d}/{digits}"
        index //= 1000
    return digits


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
