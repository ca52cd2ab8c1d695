"""Ledgers of the party `east` whose checkpoints witnesses cosign at times of the test's choice, and their directory."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from audit.checkpoint import Note
from audit.cosignature import add_lines, cosign
from audit.directory import Directory, KeyRecord, KeyStatus
from audit.entry import Entry
from audit.keys import SigningKey
from audit.ledger import Draft, Ledger
from audit.names import KeyPurpose
from tests.audit.ledgers import IDENTITY, LOG_KEY, QUIET, SteppingClock
from tests.audit.samples import AT_MS, directory, party_record, signing_key

AT_S = AT_MS // 1000
WATCH = signing_key("watch", KeyPurpose.WITNESS)
NORTH = signing_key("north", KeyPurpose.WITNESS)


class CosignedLedger(AbstractContextManager["CosignedLedger"]):
    """A real ledger, written entry by entry; `seen` has its checkpoint signed and cosigned."""

    def __init__(self, path: Path, key: SigningKey = LOG_KEY) -> None:
        self.ledger = Ledger.open(path, identity=IDENTITY, key=key, clock=SteppingClock(), config=QUIET)

    def write(self, *entries: Entry) -> "CosignedLedger":
        for entry in entries:
            self.ledger.append(Draft(entry))
        return self

    def seen(self, at_s: int, *witnesses: SigningKey) -> bytes:
        """Signs a checkpoint now, has it cosigned by the regulator or these; gives the note."""
        note = Note.decode(self.ledger.checkpoint())
        lines = [cosign(note.text, key, at_s) for key in witnesses or (WATCH,)]
        self.ledger.add_cosignatures(self.ledger.size, lines)
        return add_lines(note, lines).encode()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()


def record(
    party: str, purpose: KeyPurpose, status: KeyStatus = KeyStatus.ACTIVE, generation: int = 0, until_ms: int = AT_MS
) -> KeyRecord:
    key = signing_key(party, purpose, generation).verifying_key
    return KeyRecord(purpose, key, status, AT_MS - 10**9, None if status is KeyStatus.ACTIVE else until_ms)


def listing(*changed: tuple[str, KeyRecord], without: Iterable[str] = ()) -> Directory:
    """The sample directory, every party with a witness key; with the records changed or added that are given."""
    parties = []
    for name in ("east", "north", "shop", "watch"):
        records = {
            each.key: each
            for each in (
                *party_record(name).keys,
                *(() if name in without else (record(name, KeyPurpose.WITNESS),)),
                *(each for party, each in changed if party == name),
            )
        }
        parties.append(party_record(name, tuple(records.values())))
    return replace(directory(version=9), parties=tuple(parties))


def indices_of(entries: Sequence[Entry], kind: type[Entry]) -> list[int]:
    """Where entries of a kind stand in a ledger of a genesis entry and these."""
    return [index for index, entry in enumerate(entries, start=1) if isinstance(entry, kind)]
