"""Which key signs which sizes, and what becomes of a ledger when its key changes."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note, sign_checkpoint
from audit.entry import Genesis, LogKeyChanged, decode_entry
from audit.errors import (
    BadSignatureError,
    LedgerDamagedError,
    LedgerUnavailableError,
    MalformedError,
    SigningHeldError,
)
from audit.keys import SigningKey
from audit.ledger import Draft, Fold, Ledger, LedgerConfig, open_reader
from audit.log_keys import KeySchedule, recorded_schedule, scanned_schedule
from audit.names import KeyPurpose, Role
from audit.store_sqlite import SqliteReader, SqliteStore
from tests.audit.ledgers import IDENTITY, LOG_KEY, ORIGIN, QUIET, SteppingClock, Versions, append_many, edit, entry
from tests.audit.samples import AT_MS, signing_key

KEYS = [signing_key("east", KeyPurpose.LOG, generation) for generation in range(4)]
SEALING = replace(QUIET, seal_entries=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def genesis() -> Genesis:
    vkey = LOG_KEY.verifying_key.vkey()
    return Genesis(
        party="east", at_ms=AT_MS, origin=ORIGIN, role=Role.PROVIDER, legal_entity="LEGAL-EAST", log_key=vkey
    )


def change(old: int, new: int) -> LogKeyChanged:
    vkeys = [key.verifying_key.vkey() for key in KEYS]
    return LogKeyChanged(party="east", at_ms=AT_MS, old=vkeys[old], new=vkeys[new], version=2)


def open_with(path: Path, generation: int, *folds: Fold, config: LedgerConfig = SEALING, hold: bool = False) -> Ledger:
    return Ledger.open(
        path, identity=IDENTITY, key=KEYS[generation], clock=SteppingClock(), folds=folds, config=config, hold=hold
    )


def signers(note: bytes | None) -> list[int]:
    """Which of the keys have signed a note, by generation."""
    assert note is not None
    decoded, found = Note.decode(note), []
    for generation, key in enumerate(KEYS):
        try:
            decoded.verify(key.verifying_key)
        except BadSignatureError:
            continue
        found.append(generation)
    return found


def size_of(note: bytes) -> int:
    return Checkpoint.from_body(Note.decode(note).text).size


# The schedule


def test_a_schedule_gives_the_size_of_the_change_to_both_keys_and_every_other_to_one() -> None:
    schedule = KeySchedule.of(genesis())
    schedule.change(5, change(0, 1))
    schedule.change(6, change(1, 2))
    schedule.change(20, change(2, 3))
    allowed = {
        size: [KEYS.index(key) for key in by_size(schedule, size)] for size in (0, 1, 5, 6, 7, 8, 20, 21, 22, 99)
    }
    assert allowed == {
        0: [0], 1: [0], 5: [0], 6: [0, 1], 7: [1, 2], 8: [2], 20: [2], 21: [2, 3], 22: [3], 99: [3],
    }  # fmt: skip
    assert schedule.current == KEYS[3].verifying_key
    assert schedule.since == 20
    assert schedule.keys == tuple(key.verifying_key for key in KEYS)


def by_size(schedule: KeySchedule, size: int) -> list[SigningKey]:
    return [next(key for key in KEYS if key.verifying_key == allowed) for allowed in schedule.keys_for(size)]


def test_a_change_by_another_key_back_to_an_old_one_or_out_of_order_is_refused() -> None:
    schedule = KeySchedule.of(genesis())
    schedule.change(5, change(0, 1))
    for index, entry_ in (
        (6, change(0, 2)),
        (6, change(2, 3)),
        (6, change(1, 0)),
        (5, change(1, 2)),
        (4, change(1, 2)),
    ):
        with pytest.raises(MalformedError):
            schedule.change(index, entry_)
    assert schedule.current == KEYS[1].verifying_key
    with pytest.raises(MalformedError):
        KeySchedule.of(genesis()).change(0, change(0, 1))


def test_a_copy_goes_its_own_way() -> None:
    schedule = KeySchedule.of(genesis())
    copy = schedule.copy()
    copy.change(5, change(0, 1))
    assert (schedule.current, copy.current) == (KEYS[0].verifying_key, KEYS[1].verifying_key)


def test_a_checkpoint_counts_under_the_key_for_its_size_alone() -> None:
    schedule = KeySchedule.of(genesis())
    schedule.change(5, change(0, 1))
    for size, generation, counts in (
        (5, 0, True),
        (5, 1, False),
        (6, 0, True),
        (6, 1, True),
        (7, 0, False),
        (7, 1, True),
    ):
        note = Note.decode(sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), KEYS[generation]))
        if counts:
            assert schedule.verify(note, origin=ORIGIN).size == size
        else:
            with pytest.raises(BadSignatureError):
                schedule.verify(note, origin=ORIGIN)
    other = Note.decode(sign_checkpoint(Checkpoint("another log", 7, bytes(32)), KEYS[1]))
    with pytest.raises(BadSignatureError, match="another"):
        schedule.verify(other, origin=ORIGIN)


# Rotation


@pytest.mark.parametrize("folds", [[], [Versions()]])
def test_after_a_rotation_the_new_key_signs_and_opens(path: Path, folds: list[Fold]) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(25))
        ledger.rotate(KEYS[1], 7)
        size = ledger.size
        index = ledger.find(f"log_key:{KEYS[1].verifying_key.keyid}")
        assert index == size - 1
        named = decode_entry(next(ledger.read(index, size)))
        assert isinstance(named, LogKeyChanged)
        assert (named.old, named.new, named.version) == (*(key.verifying_key.vkey() for key in KEYS[:2]), 7)
        vouched = ledger.checkpoint()
        assert (size_of(vouched), signers(vouched)) == (size, [0, 1])
        append_many(ledger, range(25, 27))
        assert signers(ledger.checkpoint()) == [1]
        written = ledger.size
    with open_with(path, 1, *folds) as ledger:
        assert ledger.size == written
        ledger.append(Draft(entry(30)))
        ledger.rotate(KEYS[2], 8)
        ledger.rotate(KEYS[3], 9)
    with open_with(path, 3, *folds) as ledger:
        ledger.append(Draft(entry(31)))
        ledger.checkpoint()
        assert [signers(note) for note in ledger.checkpoints()] == [[0, 1], [1], [1, 2], [2, 3], [3]]
    for generation in range(3):
        with pytest.raises(
            LedgerUnavailableError, match=f"signed by {KEYS[3].verifying_key.keyid}".replace("+", r"\+")
        ):
            open_with(path, generation, *folds)


def test_without_a_vouching_old_key_the_new_one_signs_the_size_of_the_change(path: Path) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(4))
        ledger.rotate(KEYS[1], 7, vouch=False)
        assert signers(ledger.checkpoint()) == [1]
        assert size_of(ledger.checkpoint()) == ledger.size == 6
    with open_with(path, 1) as ledger:
        assert signers(ledger.checkpoint()) == [1]


def test_a_rotation_counts_for_the_seals(path: Path) -> None:
    with open_with(path, 0, config=replace(QUIET, seal_entries=5)) as ledger:
        append_many(ledger, range(4))
        ledger.rotate(KEYS[1], 7)
        kinds = [type(decode_entry(data)).__name__ for data in ledger.read(0, ledger.size)]
        assert kinds[-2:] == ["Seal", "LogKeyChanged"]


def test_a_rotation_to_a_foreign_or_used_key_is_refused(path: Path) -> None:
    with open_with(path, 0) as ledger:
        ledger.rotate(KEYS[1], 7)
        for key in (KEYS[0], KEYS[1], signing_key("north", KeyPurpose.LOG)):
            with pytest.raises(MalformedError):
                ledger.rotate(key, 8)
        assert ledger.size == 2
        append_many(ledger, range(2))
        assert signers(ledger.checkpoint()) == [1]


def test_a_held_ledger_changes_no_key(path: Path) -> None:
    open_with(path, 0).close()
    with open_with(path, 0, hold=True) as ledger:
        for vouch in (True, False):
            with pytest.raises(SigningHeldError):
                ledger.rotate(KEYS[1], 7, vouch=vouch)
        assert ledger.size == 1


def test_a_log_key_entry_is_no_draft(path: Path) -> None:
    """It would hand the log to a key that nobody has shown."""
    with open_with(path, 0) as ledger, pytest.raises(MalformedError, match="rotate"):
        ledger.append(Draft(change(0, 1)))


@pytest.mark.parametrize("folds", [[], [Versions()]])
@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM keys WHERE key LIKE 'log_key:%'",
        "UPDATE keys SET idx = 3 WHERE key LIKE 'log_key:%'",
        "UPDATE keys SET idx = 9999 WHERE key LIKE 'log_key:%'",
        "INSERT INTO keys VALUES ('log_key:another', 2)",
    ],
)
def test_the_entries_decide_which_key_opens_a_ledger(path: Path, harm: str, folds: list[Fold]) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(12))
        ledger.rotate(KEYS[1], 7)
        append_many(ledger, range(12, 14))
    edit(path, harm)
    with pytest.raises(LedgerUnavailableError, match="use that key"):
        open_with(path, 0, *folds)
    open_with(path, 1, *folds).close()


@pytest.mark.parametrize("folds", [[], [Versions()]])
def test_the_new_key_opens_a_ledger_that_lost_the_record_of_it_before_anything_else_was_signed(
    path: Path, folds: list[Fold]
) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(12))
        ledger.rotate(KEYS[1], 7)
    edit(path, "DELETE FROM keys")
    with open_with(path, 1, *folds) as ledger:
        append_many(ledger, range(12, 14))
        assert signers(ledger.checkpoint()) == [1]


def test_a_schedule_is_found_by_keys_and_by_entries_alike(path: Path) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(12))
        ledger.rotate(KEYS[1], 7)
        append_many(ledger, range(12, 30))
        ledger.rotate(KEYS[2], 8)
    reader = SqliteReader(path)
    fast, slow = recorded_schedule(reader), scanned_schedule(reader, reader.head().size)
    assert [fast.keys_for(size) for size in range(50)] == [slow.keys_for(size) for size in range(50)]
    assert fast.keys == tuple(key.verifying_key for key in KEYS[:3])
    reader.close()


def test_a_later_checkpoint_by_the_old_key_is_damage(path: Path) -> None:
    with open_with(path, 0) as ledger:
        ledger.rotate(KEYS[1], 7)
        append_many(ledger, range(3))
        root = ledger.root(5)
        ledger.checkpoint()
    forged = sign_checkpoint(Checkpoint(ORIGIN, 5, root), KEYS[0])
    edit(path, "UPDATE checkpoints SET note = ? WHERE size = 5", parameters=[forged])
    with pytest.raises(LedgerDamagedError, match="checkpoint"):
        open_with(path, 1)


# A rotation that fails in the midst


class DiesAt:
    """A store that fails at one step: before or after it has taken effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool) -> None:
        self.armed = False
        original: Callable[..., object] = getattr(SqliteStore, step)

        def run(store: SqliteStore, *arguments: object) -> object:
            dying = self.armed and (step != "_run" or arguments[0] == "COMMIT")
            if dying and not after:
                raise LedgerUnavailableError("the disk is gone")
            result = original(store, *arguments)
            if dying:
                raise LedgerUnavailableError("the disk is gone")
            return result

        monkeypatch.setattr(SqliteStore, step, run)


STEPS = [(step, after) for step in ("add", "add_checkpoint", "_run") for after in (False, True)]


@pytest.mark.parametrize("vouch", [True, False])
@pytest.mark.parametrize(("step", "after"), STEPS)
def test_a_rotation_that_dies_leaves_one_key_or_the_other(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool, vouch: bool
) -> None:
    """And what the file says at that moment, as a kill would leave it, opens with that key only."""
    disk = DiesAt(monkeypatch, step, after=after)
    killed = path.with_name("killed.db")
    ledger = open_with(path, 0)
    append_many(ledger, range(3))
    signed = ledger.checkpoint()
    disk.armed = True
    with pytest.raises(LedgerUnavailableError):
        ledger.rotate(KEYS[1], 7, vouch=vouch)
    disk.armed = False
    for name in ("", "-wal"):
        shutil.copy(f"{path}{name}", f"{killed}{name}")
    committed = step == "_run" and after
    ledger.append(Draft(entry(9)))
    assert signers(ledger.checkpoint()) == [1 if committed else 0]
    ledger.close()
    for at in (path, killed):
        right, wrong = (1, 0) if committed else (0, 1)
        with pytest.raises(LedgerUnavailableError, match="use that key"):
            open_with(at, wrong)
        with open_with(at, right) as again:
            assert signed in again.checkpoints()
            again.append(Draft(entry(10)))
            assert signers(again.checkpoint()) == [right]
    if committed:
        with open_reader(killed) as reader:
            assert signers(list(reader.checkpoints())[1]) == ([0, 1] if vouch else [1])


def test_an_entry_without_its_checkpoint_is_signed_by_the_new_key(path: Path) -> None:
    """A copy of the file that lost the vouching checkpoint."""
    with open_with(path, 0) as ledger:
        append_many(ledger, range(3))
        ledger.rotate(KEYS[1], 7)
    edit(path, "DELETE FROM checkpoints")
    with open_with(path, 1) as ledger:
        assert signers(ledger.checkpoint()) == [1]
    open_with(path, 1).close()


# A key that is lost, or revoked while the party was away


def take_over(path: Path, generation: int, *, hold: bool = False) -> Ledger:
    return Ledger.open(
        path,
        identity=IDENTITY,
        key=KEYS[generation],
        clock=SteppingClock(),
        config=SEALING,
        hold=hold,
        takes_over=7,
    )


def test_a_new_key_takes_over_from_one_that_is_lost(path: Path) -> None:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(3))
    with take_over(path, 1) as ledger:
        named = decode_entry(next(ledger.read(4, 5)))
        assert isinstance(named, LogKeyChanged)
        assert (named.new, named.version) == (KEYS[1].verifying_key.vkey(), 7)
        assert (size_of(ledger.checkpoint()), signers(ledger.checkpoint())) == (5, [1])
    with take_over(path, 1) as ledger:
        assert ledger.size == 5
    with pytest.raises(LedgerUnavailableError, match="use that key"):
        open_with(path, 0)


def test_a_used_key_takes_nothing_over(path: Path) -> None:
    with open_with(path, 0) as ledger:
        ledger.rotate(KEYS[1], 6)
    with pytest.raises(MalformedError, match="before"):
        take_over(path, 0)
    open_with(path, 1).close()


def test_in_a_held_ledger_the_new_key_takes_over_when_it_is_released(path: Path) -> None:
    """Restored without its keys: what the backup lost is under the lost key's signature and comes back first."""
    entries, note = rotated(path)
    with take_over(path.with_name("backup.db"), 2, hold=True) as ledger:
        ledger.adopt(entries, note)
        with pytest.raises(SigningHeldError):
            ledger.rotate(KEYS[3], 8)
        size = ledger.size
        ledger.release()
        assert signers(ledger.checkpoint()) == [2]
        assert ledger.size == size + 1
    open_with(path.with_name("backup.db"), 2).close()


# Taking entries back across a rotation


def rotated(path: Path) -> tuple[list[bytes], bytes]:
    with open_with(path, 0) as ledger:
        append_many(ledger, range(5))
        ledger.checkpoint()
    shutil.copy(path, path.with_name("backup.db"))
    with open_with(path, 0) as ledger:
        append_many(ledger, range(5, 9))
        ledger.rotate(KEYS[1], 7)
        append_many(ledger, range(9, 12))
        note = ledger.checkpoint()
        return list(ledger.read(6, ledger.size)), note


def test_entries_are_taken_back_across_a_rotation_and_the_right_key_is_named(path: Path) -> None:
    entries, note = rotated(path)
    backup = path.with_name("backup.db")
    with open_with(backup, 0, hold=True) as ledger:
        ledger.adopt(entries, note)
        assert ledger.checkpoint() == note
        with pytest.raises(LedgerUnavailableError, match="use that key"):
            ledger.release()
        assert ledger.held
    with pytest.raises(LedgerUnavailableError, match="use that key"):
        open_with(backup, 0, hold=True)
    with open_with(backup, 1) as ledger:
        index = ledger.find(f"log_key:{KEYS[1].verifying_key.keyid}")
        assert index is not None
        assert isinstance(decode_entry(next(ledger.read(index, index + 1))), LogKeyChanged)
        ledger.append(Draft(entry(20)))
        assert signers(ledger.checkpoint()) == [1]


def test_a_checkpoint_by_the_old_key_beyond_the_rotation_leads_nowhere(path: Path) -> None:
    """The attack: somebody with a stolen old log key offers the party a history of his own."""
    entries, note = rotated(path)
    checkpoint = Checkpoint.from_body(Note.decode(note).text)
    with open_with(path.with_name("backup.db"), 0, hold=True) as ledger:
        with pytest.raises(BadSignatureError):
            ledger.adopt(entries, sign_checkpoint(checkpoint, KEYS[0]))
        assert ledger.size == 6
