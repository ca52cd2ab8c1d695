"""Tiles: addressing by c2sp.org/tlog-tiles, and the hashes read back out of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, LimitExceededError, MalformedError
from audit.tiles import (
    TileAddress,
    TileEdge,
    TileNodes,
    entry_bundle,
    parse_entry_bundle,
    parse_path,
    tiles_of,
)
from audit.tree import Frontier, leaf_hash


@pytest.mark.parametrize(
    ("address", "path"),
    [
        # The three examples of c2sp.org/tlog-tiles, "Merkle Tree".
        (TileAddress(0, 1234067), "tile/0/x001/x234/067"),
        (TileAddress(1, 273 // 256), "tile/1/001"),
        (TileAddress(0, 273, 112), "tile/0/273.p/112"),
        (TileAddress(2, 0, 1), "tile/2/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(address: TileAddress, path: str) -> None:
    assert address.path() == path
    assert parse_path(path) == (address, False)


def test_the_tiles_of_a_tree_of_70000_leaves_are_those_of_the_specification() -> None:
    tiles = list(tiles_of(70_000))
    assert len([tile for tile in tiles if tile.level == 0 and tile.width == 256]) == 273
    assert [tile.path() for tile in tiles if tile.width < 256] == [
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]


@given(st.integers(0, 63), st.integers(0, 10**15), st.integers(1, 256), st.booleans())
def test_every_path_reads_back(level: int, index: int, width: int, entries: bool) -> None:
    address = TileAddress(0 if entries else level, index, width)
    assert parse_path(address.entries_path() if entries else address.path()) == (address, entries)


@pytest.mark.parametrize(
    "path",
    ["tile/00/000", "tile/64/000", "tile/0/00", "tile/0/x000/001", "tile/0/001.p/256", "tile/0/001.p/257",
     "tile/0/001.p/0", "tile/0/001/", "/tile/0/001", "tile/0/../001", "tile/0/0٠1", "tile/data/000", ""],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(MalformedError):
        parse_path(path)


def test_nodes_read_from_tiles_are_those_of_the_tree() -> None:
    size = 256 * 256 + 300
    leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
    edge, frontier = TileEdge(), Frontier()
    stored: dict[tuple[int, int], bytes] = {}
    for count, leaf in enumerate(leaves, 1):
        edge.append(leaf)
        frontier.append(leaf)
        if count % 1000 == 0 or count == size:
            stored.update({(level, index): data for level, index, data in edge.take_changed()})

    def read(level: int, index: int) -> bytes:
        return stored.get((level, index), b"")

    assert {(tile.level, tile.index, tile.width * 32) for tile in tiles_of(size)} == {
        (level, index, len(data)) for (level, index), data in stored.items()
    }
    assert Frontier.load(size, TileNodes(read)).root() == frontier.root()
    resumed = TileEdge.load(size, read)
    for each in (resumed, edge):
        each.append(leaves[0])
    assert resumed.take_changed() == edge.take_changed()


def test_a_missing_tile_is_an_error_of_ours() -> None:
    with pytest.raises(MalformedError):
        TileNodes(lambda _level, _index: b"")(3, 0)
    with pytest.raises(MalformedError):
        TileEdge.load(3, lambda _level, _index: bytes(64))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_read_back(entries: list[bytes]) -> None:
    assert parse_entry_bundle(entry_bundle(entries)) == entries


@given(st.binary(max_size=200))
def test_a_bundle_is_accepted_or_refused_with_our_error(data: bytes) -> None:
    try:
        entries = parse_entry_bundle(data)
    except AuditError:
        return
    assert entry_bundle(entries) == data


def test_bundles_hold_at_most_256_entries_of_at_most_65535_bytes() -> None:
    for entries in ([b""] * 257, [bytes(65536)]):
        with pytest.raises(LimitExceededError):
            entry_bundle(entries)
    with pytest.raises(LimitExceededError):
        parse_entry_bundle(bytes(2 * 257))
