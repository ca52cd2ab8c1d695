"""A quick look at a ledger file: the ends that everything else hangs from, and the newest entries, from a seal on.

It reads a thousand entries or two however long the ledger is, and so finds a torn, cut or mixed-up file at once. What
it does not do is verify: entries before that seal are believed. `audit.verify` derives everything anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.chain import Chain
from audit.checkpoint import Checkpoint, Note
from audit.entry import Entry, Genesis, Seal, decode_entry
from audit.errors import AuditError, LedgerDamagedError, MalformedError
from audit.store import StoreReader
from audit.store_sqlite import open_sqlite_reader
from audit.tiles import TILE_WIDTH, TileNodes
from audit.tree import HASH_BYTES, Frontier, leaf_hash

MIN_TAIL: Final = 256
"""So many of the newest entries are read in any case: the very last one may be a seal."""
MAX_TAIL: Final = 8192
"""Entries read back in search of a seal; writers seal every thousand."""
_CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """Where a ledger stands.

    Attributes:
        genesis: its first entry.
        size, root: committed entries, and the RFC 6962 root over them (32 bytes) as the tiles give it.
        since: the first entry that was read and held against chain and tiles.
        signed: the checkpoint of the largest size, None before the first. Its signature was not checked.
        note: that checkpoint's bytes, signature lines included; empty before the first.
        last_at_ms: the last entry's time.
    """

    genesis: Genesis
    size: int
    root: bytes
    since: int
    signed: Checkpoint | None
    note: bytes
    last_at_ms: int


def spot_check(path: Path) -> SpotCheck:
    """Look at the ledger in `path`, also while its party writes it.

    Raises:
        LedgerUnavailableError: no such ledger, or it cannot be read.
        LedgerDamagedError: the file is corrupt, is empty, or its parts do not belong together.
    """
    reader = open_sqlite_reader(Path(path))
    try:
        with reader.snapshot():
            return _look(reader)
    finally:
        reader.close()


def _look(reader: StoreReader) -> SpotCheck:
    head = reader.head()
    if head.size == 0:
        raise LedgerDamagedError("the ledger has no entry, not even its genesis: restore it from a backup")
    bounds = reader.bounds()
    if bounds != (0, head.size - 1):
        raise LedgerDamagedError(f"{head.size} entries are recorded, but those stored run over {bounds}: verify it")
    genesis = _decode(0, next(iter(reader.entries(0, 1)))[1])
    if not isinstance(genesis, Genesis):
        raise LedgerDamagedError("the ledger does not begin with a genesis entry: verify it")
    start = _seal_before(reader, head.size)
    chain, last = _follow(reader, start.copy(), head.size)
    if chain.head != head.chain:
        raise LedgerDamagedError("the last entries are not those that the recorded chain was computed over: verify it")
    root = _root(reader, head.size)
    stored = reader.latest_checkpoint()
    signed = None
    if stored is not None:
        signed = _read_checkpoint(stored.note)
        if (signed.origin, signed.size) != (genesis.origin, stored.size) or signed.size > head.size:
            raise LedgerDamagedError(
                f"the last checkpoint is over {signed.size} entries of {signed.origin}; the ledger has {head.size} of"
                f" {genesis.origin}: it was cut, or restored from an older backup"
            )
        if _root(reader, signed.size) != signed.root:
            raise LedgerDamagedError("the entries do not lead to the root of the last checkpoint: verify the ledger")
    note = b"" if stored is None else stored.note
    return SpotCheck(genesis, head.size, root, start.size, signed, note, last.at_ms)


def _seal_before(reader: StoreReader, size: int) -> Chain:
    """The chain as a seal before the newest entries recorded it; from the beginning where the ledger is short."""
    end = max(0, size - MIN_TAIL)
    while end > 0:
        if size - end > MAX_TAIL:
            raise LedgerDamagedError(f"the last {MAX_TAIL} entries hold no seal, so they cannot be held against one")
        start = max(0, end - _CHUNK)
        for index, data in reversed(list(reader.entries(start, end))):
            entry = _decode(index, data)
            if isinstance(entry, Seal) and entry.size == index:
                return Chain(index, bytes.fromhex(entry.chain))
        end = start
    return Chain()


def _follow(reader: StoreReader, chain: Chain, size: int) -> tuple[Chain, Entry]:
    """The chain over all entries, and the last of them; each is held against the stored leaf hash."""
    tile, tile_index, last = b"", -1, b""
    for index, data in reader.entries(chain.size, size):
        leaf = leaf_hash(data)
        if index // TILE_WIDTH != tile_index:
            tile_index = index // TILE_WIDTH
            tile = reader.tile(0, tile_index)
        offset = index % TILE_WIDTH * HASH_BYTES
        if index != chain.size or tile[offset : offset + HASH_BYTES] != leaf:
            raise LedgerDamagedError(f"entry {chain.size} is not the one that was recorded: verify the ledger")
        chain.append(leaf)
        last = data
    return chain, _decode(size - 1, last)


def _root(reader: StoreReader, size: int) -> bytes:
    try:
        return Frontier.load(size, TileNodes(reader.tile)).root()
    except MalformedError as error:
        raise LedgerDamagedError(f"the stored tiles are damaged ({error}): verify the ledger") from error


def _read_checkpoint(note: bytes) -> Checkpoint:
    try:
        return Checkpoint.from_body(Note.decode(note).text)
    except MalformedError as error:
        raise LedgerDamagedError(f"the last checkpoint cannot be read ({error}): verify the ledger") from error


def _decode(index: int, data: bytes) -> Entry:
    try:
        return decode_entry(data)
    except AuditError as error:
        raise LedgerDamagedError(f"entry {index} cannot be read ({error}): verify the ledger") from error
