"""Ledgers rewritten by someone who makes everything fit that he can: without the log's key, or with it."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from audit.chain import Chain
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.keys import SigningKey
from audit.ledger import open_reader
from audit.tiles import TileEdge
from audit.tree import leaf_hash, root_of
from tests.audit.ledgers import ORIGIN


def all_entries(path: Path) -> list[bytes]:
    reader = open_reader(path)
    entries = list(reader.read(0, reader.size))
    reader.close()
    return entries


def rederive(path: Path, *, entries: Sequence[bytes], key: SigningKey | None = None) -> None:
    """Other entries, with tiles, chain and size made to fit. Without the log's key the checkpoints stay; with it there
    is one, over all of them.
    """
    chain, edge = Chain(), TileEdge()
    for data in entries:
        chain.append(leaf_hash(data))
        edge.append(leaf_hash(data))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM entries")
        connection.execute("DELETE FROM tiles")
        connection.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(entries))
        connection.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", edge.take_changed())
        connection.execute("UPDATE meta SET value = ? WHERE name = 'size'", (str(len(entries)),))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'chain'", (chain.head.hex(),))
        if key is not None:
            root = root_of([leaf_hash(data) for data in entries])
            note = sign_checkpoint(Checkpoint(ORIGIN, len(entries), root), key)
            connection.execute("DELETE FROM checkpoints")
            connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (len(entries), note))
    connection.close()


def rewrite(path: Path, change: Callable[[list[bytes]], None], key: SigningKey | None = None) -> None:
    """As `rederive`, from the entries as they are, changed."""
    entries = all_entries(path)
    change(entries)
    rederive(path, entries=entries, key=key)
