"""What a ledger checks when it is opened, and again after its storage failed.

The entries are the truth. Tiles are derived from them and are built anew when they disagree; entries that disagree with
the recorded chain or with the last signed checkpoint are damage, and nothing is written on top of damage.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.chain import Chain
from audit.checkpoint import Checkpoint, Note
from audit.entry import Entry, Seal, decode_entry
from audit.errors import (
    AuditError,
    BadSignatureError,
    LedgerDamagedError,
    LedgerUnavailableError,
    MalformedError,
)
from audit.keys import VerifyingKey
from audit.log_keys import KeySchedule, recorded_schedule, scanned_schedule, schedule_after
from audit.store import Store, StoredCheckpoint, StoreReader
from audit.tiles import TILE_WIDTH, TileEdge, TileNodes
from audit.tree import HASH_BYTES, Frontier, leaf_hash

_LOG = logging.getLogger(__name__)


class Fold(Protocol):
    """A state computed from a ledger's entries. Only the sequencer thread changes it (and `Ledger.open`, before)."""

    def reset(self) -> None:
        """Back to the state over no entries."""
        ...

    def apply(self, index: int, entry: Entry) -> None:
        """Takes in the entry at `index`; called for each entry in order."""
        ...


@dataclass(slots=True)
class Tail:
    """Where a ledger's growing structures stand.

    Attributes:
        frontier: the tree over all entries.
        edge: the tiles at its right edge.
        chain: the hash chain over all entries.
        schedule: the log's keys; None over no entries.
        signed: the tree over the entries under the last signed checkpoint, each read back from the store.
        checkpoint: that checkpoint.
    """

    frontier: Frontier
    edge: TileEdge
    chain: Chain
    schedule: KeySchedule | None
    signed: Frontier
    checkpoint: StoredCheckpoint | None


def recover(
    store: Store, folds: Sequence[Fold], *, keys: Collection[VerifyingKey], origin: str, any_key: bool = False
) -> Tail:
    """Checks a store, repairs its tiles, replays the folds, and says where everything stands.

    With folds all entries are read and checked; without, those since the last seal.

    Args:
        store: the ledger's.
        folds: states to compute anew.
        keys: the log keys that the owner holds; the one that the entries name last is among them.
        origin: the log's name.
        any_key: it need not be, since another key is about to take over.

    Raises:
        LedgerDamagedError: the entries are not those that were recorded.
        LedgerUnavailableError: the storage fails, or another key signs this ledger's checkpoints.
    """
    head = store.head()
    bounds = store.bounds()
    if bounds is not None and (bounds[0] < 0 or bounds[1] >= head.size):
        raise LedgerDamagedError(f"entries from {bounds[0]} to {bounds[1]} are stored, {head.size} recorded: verify it")
    for fold in folds:
        fold.reset()
    start = Chain() if folds else _last_seal(store, head.size)
    log_keys = _LogKeys()
    chain, tiles_agree = _read(store, start, head.size, (*folds, log_keys) if folds else ())
    if chain.head != head.chain:
        raise LedgerDamagedError("the entries are not those that the ledger's chain was computed over: verify it")
    checkpoint = store.latest_checkpoint()
    schedule = log_keys.schedule if folds else _stored_schedule(store, keys, checkpoint, origin)
    if schedule is not None and not any_key:
        check_key(schedule, keys)
    signed = _signed(checkpoint, head.size, schedule, origin)
    tail = _from_tiles(store, chain, signed) if tiles_agree else None
    if tail is None:
        _rebuild_tiles(store, head.size)
        tail = _from_tiles(store, chain, signed)
    if tail is None:
        raise LedgerDamagedError("the entries do not lead to the root of the last signed checkpoint: verify the ledger")
    tail.schedule, tail.checkpoint = schedule, checkpoint
    return tail


def check_key(schedule: KeySchedule, keys: Collection[VerifyingKey]) -> None:
    """Checks that the key which the entries name last is among those that the owner holds.

    Raises:
        LedgerUnavailableError: it is not; the message names it.
    """
    if schedule.current not in keys:
        raise LedgerUnavailableError(
            f"this ledger's checkpoints are signed by {schedule.current.keyid} since entry {schedule.since},"
            f" not by {', '.join(key.keyid for key in keys)}: use that key"
        )


class _LogKeys:
    """The key schedule as a fold, for a ledger of which all entries are read."""

    def __init__(self) -> None:
        self.schedule: KeySchedule | None = None

    def reset(self) -> None:
        self.schedule = None

    def apply(self, index: int, entry: Entry) -> None:
        self.schedule = schedule_after(self.schedule, index, entry)


def _stored_schedule(
    store: StoreReader, keys: Collection[VerifyingKey], checkpoint: StoredCheckpoint | None, origin: str
) -> KeySchedule | None:
    """By the unique keys; from the entries themselves where anything is odd about what those lead to."""
    size = store.head().size
    if size == 0:
        return None
    try:
        schedule = recorded_schedule(store)
        if checkpoint is not None:
            schedule.verify(Note.decode(checkpoint.note), origin=origin)
    except (MalformedError, BadSignatureError):
        return scanned_schedule(store, size)
    return schedule if schedule.current in keys else scanned_schedule(store, size)


def _last_seal(store: StoreReader, size: int) -> Chain:
    """The chain as the last seal recorded it, from which to go on reading."""
    end = size
    while end > 0:
        start = max(0, end - 256)
        for index, data in reversed(list(store.entries(start, end))):
            entry = _decode(index, data)
            if isinstance(entry, Seal) and entry.size == index:
                return Chain(index, bytes.fromhex(entry.chain))
        end = start
    return Chain()


def _read(store: StoreReader, start: Chain, size: int, folds: Sequence[Fold]) -> tuple[Chain, bool]:
    """The chain over all entries, and whether the stored leaf hashes are those of the entries read."""
    chain = start.copy()
    tile, tile_index, agree = b"", -1, True
    for index, data in store.entries(start.size, size):
        if index != chain.size:
            raise LedgerDamagedError(f"entry {chain.size} is missing: verify the ledger")
        leaf = leaf_hash(data)
        chain.append(leaf)
        if index // TILE_WIDTH != tile_index:
            tile_index = index // TILE_WIDTH
            tile = store.tile(0, tile_index)
        offset = index % TILE_WIDTH * HASH_BYTES
        agree = agree and tile[offset : offset + HASH_BYTES] == leaf
        if folds:
            entry = _decode(index, data)
            for fold in folds:
                fold.apply(index, entry)
    if chain.size != size:
        raise LedgerDamagedError(f"entries are missing from index {chain.size} on, of {size}: verify the ledger")
    return chain, agree


def _decode(index: int, data: bytes) -> Entry:
    try:
        return decode_entry(data)
    except AuditError as error:
        raise LedgerDamagedError(f"entry {index} cannot be read ({error}): verify the ledger") from error


def _signed(
    checkpoint: StoredCheckpoint | None, size: int, schedule: KeySchedule | None, origin: str
) -> Checkpoint | None:
    """The last signed checkpoint, verified, and not ahead of the entries."""
    if checkpoint is None:
        return None
    try:
        if schedule is None:
            raise MalformedError("there are no entries")
        signed = schedule.verify(Note.decode(checkpoint.note), origin=origin)
    except (MalformedError, BadSignatureError) as error:
        raise LedgerDamagedError(
            f"the last stored checkpoint is not this log's ({error}): verify the ledger"
        ) from error
    if signed.size != checkpoint.size:
        raise LedgerDamagedError(
            f"the checkpoint over {signed.size} entries is stored as one over {checkpoint.size}: verify the ledger"
        )
    if signed.size > size:
        raise LedgerDamagedError(
            f"a checkpoint over {signed.size} entries was signed, but {size} are here: the ledger was cut or restored"
            " from an older backup; restore the newest one"
        )
    return signed


def _from_tiles(store: StoreReader, chain: Chain, signed: Checkpoint | None) -> Tail | None:
    """The tail as the tiles give it; None when they are incomplete or miss the signed root."""
    nodes = TileNodes(store.tile)
    try:
        frontier = Frontier.load(chain.size, nodes)
        edge = TileEdge.load(chain.size, store.tile)
        below = Frontier.load(signed.size, nodes) if signed else Frontier()
    except MalformedError:
        return None
    if signed and below.root() != signed.root:
        return None
    return Tail(frontier, edge, chain, None, below, None)


def _rebuild_tiles(store: Store, size: int) -> None:
    _LOG.warning("the ledger's stored tiles disagree with its %d entries and are built anew", size)
    with store.transaction():
        store.replace_tiles(_derived_tiles(store, size))


def _derived_tiles(store: StoreReader, size: int) -> Iterator[tuple[int, int, bytes]]:
    edge = TileEdge()
    for index, data in store.entries(0, size):
        edge.append(leaf_hash(data))
        if (index + 1) % TILE_WIDTH == 0:
            yield from edge.take_changed()
    yield from edge.take_changed()
