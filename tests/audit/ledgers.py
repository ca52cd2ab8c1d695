"""Real ledgers to test with: the party `east` of `samples`, on disk."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from audit.entry import DirectoryAccepted, Entry, Side
from audit.errors import Damage
from audit.ledger import Draft, Fold, Ledger, LedgerConfig, LedgerIdentity
from audit.names import KeyPurpose, Role
from audit.verify import Report
from tests.audit.samples import AT_MS, ack, digest, outcome, signing_key

LOG_KEY = signing_key("east", KeyPurpose.LOG)
ORIGIN = LOG_KEY.name
IDENTITY = LedgerIdentity("east", Role.PROVIDER, "LEGAL-EAST", ORIGIN)
QUIET = LedgerConfig(checkpoint_entries=10**9, checkpoint_idle_ms=10**9)
"""Signs at `checkpoint` and `close` only."""


class SteppingClock:
    """A millisecond later each time."""

    def __init__(self) -> None:
        self._now_ms = AT_MS

    def now_ms(self) -> int:
        self._now_ms += 1
        return self._now_ms


class Versions:
    """A fold: the directory versions seen, in order."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def reset(self) -> None:
        self.seen = []

    def apply(self, index: int, entry: Entry) -> None:
        if isinstance(entry, DirectoryAccepted):
            self.seen.append(entry.version)


def entry(number: int, party: str = "east") -> DirectoryAccepted:
    return DirectoryAccepted(
        party=party, at_ms=AT_MS + number, version=number + 1, digest=digest(f"directory {number}")
    )


def open_ledger(path: Path, *, folds: Sequence[Fold] = (), config: LedgerConfig = QUIET) -> Ledger:
    return Ledger.open(path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), folds=folds, config=config)


def append_many(ledger: Ledger, numbers: range) -> None:
    for number in numbers:
        ledger.append(Draft(entry(number)))


def make(path: Path, count: int, *, config: LedgerConfig = QUIET, first: int = 0) -> bytes:
    """A closed ledger of a genesis entry and `count` others; gives its last checkpoint."""
    with open_ledger(path, config=config) as ledger:
        append_many(ledger, range(first, first + count))
        return ledger.checkpoint()


def make_with_receipts(path: Path, calls: int) -> None:
    """A closed ledger of a genesis entry and, for each call, OUTCOME and ACK."""
    with open_ledger(path) as ledger:
        for number in range(calls):
            ledger.append(Draft(outcome(Side.PROVIDER, number=number)))
            ledger.append(Draft(ack(Side.PROVIDER, number=number)))


def edit(path: Path, *statements: str, parameters: Sequence[object] = ()) -> None:
    """What someone with the file and no keys can do."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement, tuple(parameters))
    connection.close()


def entry_bytes(path: Path, index: int) -> bytes:
    connection = sqlite3.connect(path)
    (data,) = connection.execute("SELECT bytes FROM entries WHERE idx = ?", (index,)).fetchone()
    connection.close()
    return bytes(data)


def finding(report: Report) -> tuple[Damage | None, int | None]:
    assert report.verified == (report.damage is None)
    return report.damage, report.index
