"""What the demo does to copies of a bureau's ledger, and what the regulator's verifier says of each.

The first four attacks need the file alone. The others are those of a dishonest owner: it has its log key, and leaves a
ledger behind that agrees with itself. What finds them is a checkpoint that the regulator keeps.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.backup import copy_database
from audit.canonical import JsonObject
from audit.chain import Chain
from audit.entry import Entry, Genesis, Seal, decode_entry
from audit.ledger import Draft, Ledger, LedgerConfig, LedgerIdentity, open_reader
from audit.names import KeyPurpose
from audit.tiles import TileEdge
from audit.tree import leaf_hash
from parties.errors import WorkerError
from parties.home import Home

QUIET: Final = LedgerConfig(checkpoint_entries=10**9, checkpoint_idle_ms=10**9)
"""Signs at the end alone."""
THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What a verification said: the kind of damage and the first bad entry, None where none can be named."""

    damage: str
    index: int | None

    def to_json(self) -> JsonObject:
        """For `--json`; without an index where there is none."""
        return {"damage": self.damage} if self.index is None else {"damage": self.damage, "index": self.index}


@dataclass(frozen=True, slots=True)
class _Then:
    """A clock that stands still: a rewritten ledger gives its first entry the time that the true one had."""

    at_ms: int

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return self.at_ms


class LedgerCopies:
    """Copies of one party's ledger in a folder of their own, each with one thing wrong.

    Args:
        home: the party's home, whose log key a dishonest owner has.
        folder: where the copies are made.
    """

    def __init__(self, home: Home, folder: Path) -> None:
        self._home = home
        self._folder = folder
        folder.mkdir()

    def edited(self, index: int) -> Path:
        """One byte of an entry changed."""
        data = bytearray(self._entry(index))
        data[len(data) // 2] ^= 0x01
        return self._changed("edit", ("UPDATE entries SET bytes = ? WHERE idx = ?", (bytes(data), index)))

    def without(self, index: int) -> Path:
        """An entry deleted, and the later ones moved up to close the gap."""
        return self._changed(
            "delete",
            ("DELETE FROM entries WHERE idx = ?", (index,)),
            ("UPDATE entries SET idx = -idx WHERE idx > ?", (index,)),
            ("UPDATE entries SET idx = -idx - 1 WHERE idx < 0", ()),
        )

    def with_another(self, index: int) -> Path:
        """An entry inserted: an earlier one, once more."""
        return self._changed(
            "insert",
            ("UPDATE entries SET idx = -idx WHERE idx >= ?", (index,)),
            ("UPDATE entries SET idx = -idx + 1 WHERE idx < 0", ()),
            ("INSERT INTO entries (idx, bytes) VALUES (?, ?)", (index, self._entry(index - 1))),
        )

    def swapped(self, index: int) -> Path:
        """An entry and its successor in each other's place."""
        return self._changed(
            "reorder",
            ("UPDATE entries SET bytes = ? WHERE idx = ?", (self._entry(index + 1), index)),
            ("UPDATE entries SET bytes = ? WHERE idx = ?", (self._entry(index), index + 1)),
        )

    def cut(self, size: int) -> Path:
        """The tail cut off after `size` entries, with all that would tell: tiles, head, later checkpoints."""
        path = self._copy("truncate")
        chain, edge = Chain(), TileEdge()
        for data in self._read(size):
            chain.append(leaf_hash(data))
            edge.append(leaf_hash(data))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM entries WHERE idx >= ?", (size,))
            connection.execute("DELETE FROM keys WHERE idx >= ?", (size,))
            connection.execute("DELETE FROM checkpoints WHERE size > ?", (size,))
            connection.execute("DELETE FROM tiles")
            connection.executemany("INSERT INTO tiles (level, idx, hashes) VALUES (?, ?, ?)", edge.take_changed())
            connection.execute("UPDATE meta SET value = ? WHERE name = 'size'", (str(size),))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'chain'", (chain.head.hex(),))
        return path

    def rewritten(self, instead: Callable[[Entry], Entry | None], name: str = "rewrite") -> Path:
        """The whole ledger written anew and signed with the owner's log key, of what `instead` makes of each entry."""
        path = self._folder / f"{name}.db"
        entries = [decode_entry(data) for data in self._read()]
        genesis = entries[0]
        assert isinstance(genesis, Genesis)
        with self._open(path, _Then(genesis.at_ms)) as ledger:
            for entry in map(instead, entries[1:]):
                if entry is not None and not isinstance(entry, Seal):
                    ledger.append(Draft(entry))
        return path

    def forked(self, size: int, entry: Entry) -> bytes:
        """The checkpoint that the owner's log key signs over the first `size` entries and another one after them."""
        path = self.cut(size).replace(self._folder / "fork.db")
        with self._open(path, _Then(entry.at_ms)) as ledger:
            ledger.append(Draft(entry))
            return ledger.checkpoint()

    def _open(self, path: Path, clock: _Then) -> Ledger:
        home = self._home
        identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
        return Ledger.open(path, identity=identity, key=home.signing_key(KeyPurpose.LOG), clock=clock, config=QUIET)

    def _changed(self, name: str, *statements: tuple[str, tuple[object, ...]]) -> Path:
        path = self._copy(name)
        with closing(sqlite3.connect(path)) as connection, connection:
            for sql, parameters in statements:
                connection.execute(sql, parameters)
        return path

    def _copy(self, name: str) -> Path:
        path = self._folder / f"{name}.db"
        copy_database(self._home.ledger_path, path)
        return path

    def _entry(self, index: int) -> bytes:
        return next(iter(self._read(index + 1, index)))

    def _read(self, end: int = 2**62, start: int = 0) -> Iterator[bytes]:
        reader = open_reader(self._home.ledger_path)
        try:
            yield from reader.read(start, end)
        finally:
            reader.close()


@dataclass(frozen=True, slots=True)
class Auditor:
    """The regulator's verifier, as a process of its own, with the directory and what the regulator kept."""

    directory: Path
    regulator_vkey: str

    def verify(self, ledger: Path, checkpoints: Sequence[Path] = ()) -> JsonObject:
        """The verifier's report on a ledger file."""
        command = [sys.executable, "-m", "audit", "verify", str(ledger), "--json", "--directory", str(self.directory)]
        command += ["--regulator-vkey", self.regulator_vkey]
        for checkpoint in checkpoints:
            command += ["--witness-checkpoint", str(checkpoint)]
        return _report(command)

    def find(self, cases: Mapping[str, tuple[Path, Sequence[Path]]]) -> dict[str, Found]:
        """What is wrong with each ledger, by name, given the outside checkpoints beside it.

        Raises:
            WorkerError: one of them passed.
        """
        with ThreadPoolExecutor(THREADS) as threads:
            reports = dict(zip(cases, threads.map(lambda case: self.verify(*case), cases.values()), strict=True))
        for name, report in reports.items():
            if report["verified"]:
                raise WorkerError(f"the verifier found nothing wrong with the ledger after: {name}")
        return {name: _found(report) for name, report in reports.items()}

    def check_proof(self, proof: Path) -> bool:
        """Whether a receipt's proof holds for a stranger who has the regulator's key and nothing else."""
        command = [sys.executable, "-m", "audit", "check-proof", str(proof), "--json"]
        return bool(_report([*command, "--regulator-vkey", self.regulator_vkey])["verified"])


def _report(command: list[str]) -> JsonObject:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    if not done.stdout:
        raise WorkerError(f"the verifier said nothing: {done.stderr.strip()[-400:]}")
    report: JsonObject = json.loads(done.stdout)
    return report


def _found(report: JsonObject) -> Found:
    index = report.get("index")
    return Found(str(report["damage"]), index if isinstance(index, int) else None)
