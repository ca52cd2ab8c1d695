"""An old backup in the ledger's place: the calls since are forgotten, and the log's own key signs a second history."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.backup import copy_database
from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.entry_keys import EntryKeys
from audit.errors import DuplicateKeyError, LedgerClosedError, MalformedError, SigningHeldError, VerificationFailedError
from audit.ledger import Draft, Ledger, LedgerConfig
from audit.tree import verify_consistency
from audit.verify import verify_database
from tests.audit.ledgers import IDENTITY, LOG_KEY, ORIGIN, SteppingClock, entry
from tests.audit.samples import entries

EAGER = LedgerConfig(checkpoint_entries=1, checkpoint_idle_ms=1)
ENTRY = entries()["entry_directory"]
ONCE = Draft(ENTRY, EntryKeys().keys_of(ENTRY))
"""What a ledger may hold once only, be it a directory's version or a call."""


def opened(path: Path, *, hold: bool) -> Ledger:
    return Ledger.open(path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), config=EAGER, hold=hold)


def read(note: bytes) -> Checkpoint:
    return verify_checkpoint(note, LOG_KEY.verifying_key, origin=ORIGIN)


class Witnessed:
    """A ledger set back to a backup, and what a witness has of it: its last checkpoint and a copy of its entries."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        backup = folder / "backup.db"
        with opened(self.path, hold=False) as ledger:
            for number in range(10):
                ledger.append(Draft(entry(number)))
            copy_database(self.path, backup)
            ledger.append(ONCE)
            for number in range(101, 110):
                ledger.append(Draft(entry(number)))
            self.note = ledger.checkpoint()
            self.entries = list(ledger.read(0, ledger.size))
        self.checkpoint = read(self.note)
        backup.replace(self.path)


@pytest.fixture
def witnessed(tmp_path: Path) -> Witnessed:
    return Witnessed(tmp_path)


def go_on(ledger: Ledger, size: int) -> None:
    while ledger.size < size:
        ledger.append(Draft(entry(500 + ledger.size)))


def test_without_the_hold_the_log_signs_two_histories_and_takes_twice_what_it_may_take_once(
    witnessed: Witnessed,
) -> None:
    with opened(witnessed.path, hold=False) as ledger:
        ledger.append(ONCE)
        go_on(ledger, witnessed.checkpoint.size)
        second = read(ledger.checkpoint())
    assert second.size == witnessed.checkpoint.size
    assert second.root != witnessed.checkpoint.root
    report = verify_database(witnessed.path, anchors=[witnessed.note])
    assert not report.verified


def test_with_the_hold_nothing_is_signed_whatever_is_appended(witnessed: Witnessed) -> None:
    ledger = opened(witnessed.path, hold=True)
    before = list(ledger.checkpoints())
    go_on(ledger, witnessed.checkpoint.size)
    with pytest.raises(SigningHeldError):
        ledger.checkpoint()
    assert list(ledger.checkpoints()) == before
    ledger.close()
    with pytest.raises(LedgerClosedError):
        ledger.release()
    with opened(witnessed.path, hold=True) as again:
        assert list(again.checkpoints()) == before
        # It has gone its own way: what the witness has does not fit any more.
        with pytest.raises(VerificationFailedError):
            again.adopt([], witnessed.note)


def test_after_its_entries_came_back_the_history_is_the_witnessed_one(witnessed: Witnessed) -> None:
    with opened(witnessed.path, hold=True) as ledger:
        ledger.adopt(witnessed.entries[ledger.size :], witnessed.note)
        ledger.release()
        with pytest.raises(DuplicateKeyError):
            ledger.append(ONCE)
        go_on(ledger, 40)
        now = read(ledger.checkpoint())
        proof = ledger.consistency_proof(witnessed.checkpoint.size, now.size)
        verify_consistency(witnessed.checkpoint.size, now.size, witnessed.checkpoint.root, now.root, proof)
    report = verify_database(witnessed.path, anchors=[witnessed.note])
    assert (report.verified, report.anchored) == (True, True)


def test_no_batch_leads_a_held_ledger_off_the_witnessed_history(witnessed: Witnessed) -> None:
    """The attack: the witness's copy hands out other entries than it was given."""
    with opened(witnessed.path, hold=True) as ledger:
        start = ledger.size
        forged = [*witnessed.entries[start:-1], witnessed.entries[-2]]
        for batch in (forged, forged[:5], witnessed.entries[start - 1 :], list(reversed(witnessed.entries[start:]))):
            with pytest.raises((VerificationFailedError, MalformedError)):
                ledger.adopt(batch, witnessed.note)
        assert ledger.size == start
