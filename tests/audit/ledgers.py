"""Real ledgers to test with: the party `east` of `samples`, on disk."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audit.entry import ContractTransition, Denied, Entry, Side
from audit.errors import Damage
from audit.ledger import Draft, Fold, Ledger, LedgerConfig, LedgerIdentity
from audit.names import KeyPurpose, Role
from audit.verify import Report
from tests.audit.samples import AT_MS, CONTRACT, ack, intent, outcome, signing_key

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
    """A fold: the numbers of the entries seen (see `entry`), each one higher, in order."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def reset(self) -> None:
        self.seen = []

    def apply(self, index: int, entry: Entry) -> None:
        if isinstance(entry, Denied):
            self.seen.append(entry.count)


def entry(number: int, party: str = "east") -> Denied:
    """A refusal, of all kinds the one that may stand anywhere: `number` + 1 requests without a readable sender."""
    return Denied(
        party=party,
        at_ms=AT_MS + number,
        side=Side.PROVIDER,
        identity="",
        merchant="",
        call="",
        contract="",
        reason="MALFORMED",
        clause="",
        check=0,
        count=number + 1,
    )


def in_force(party: str = "east", contract: str = CONTRACT) -> list[Entry]:
    """The entries that bring a contract into force."""
    return [
        ContractTransition(
            party=party, at_ms=AT_MS, contract=contract, state=state, actor="shop", digest=contract, reason=""
        )
        for state in ("signed", "approved", "active")
    ]


def one_call(side: Side, number: int = 0) -> list[Entry]:
    """A call from its INTENT to its last ACK: answered by `east`, and in a merchant's ledger by `north` too."""
    providers = ("east",) if side is Side.PROVIDER else ("east", "north")
    answers: list[Entry] = [part(side, provider, number) for provider in providers for part in (outcome, ack)]
    taken = intent(side, number)
    if side is Side.MERCHANT:
        taken = replace(taken, units=taken.units + taken.units, price_micro=2 * taken.price_micro)
    return [taken, *answers]


def calls(side: Side, count: int) -> list[Entry]:
    """A contract in force, and that many calls under it."""
    party = "east" if side is Side.PROVIDER else "shop"
    return [*in_force(party), *(entry for number in range(count) for entry in one_call(side, number))]


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


def make_with_receipts(path: Path, count: int) -> None:
    """A closed ledger of a genesis entry, a contract in force and, for each call, INTENT, OUTCOME and ACK."""
    with open_ledger(path) as ledger:
        for each in calls(Side.PROVIDER, count):
            ledger.append(Draft(each))


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
