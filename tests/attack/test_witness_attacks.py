"""Logs, and strangers, against the witness: who is found out, who is not accused, and what a witness cannot see.

Each attack comes with the defence off, or with what one witness alone cannot tell, beside the test that holds it off.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from audit.checkpoint import MAX_SIGNATURES, Checkpoint, Note, NoteSignature, sign_checkpoint
from audit.cosignature import add_lines, cosign, verify_cosignatures
from audit.entry import Misbehaviour
from audit.errors import (
    Damage,
    LimitExceededError,
    MalformedError,
    Refusal,
    VerificationFailedError,
    VerificationImpossibleError,
    WitnessRefusedError,
)
from audit.evidence import contradiction
from audit.keys import SigningKey, VerifyingKey
from audit.names import KeyPurpose
from audit.submission import Submission
from audit.witness import Witness, WitnessedLog
from audit.witness_store import KEPT_EVIDENCE, WitnessStore
from tests.audit.samples import signing_key
from tests.audit.witnessed import (
    COSIGNER,
    KEYS,
    LOG,
    ORIGIN,
    WITNESS,
    SetClock,
    SmallLog,
    no_roots,
    over,
    refusal,
    watching,
)

EAST = SmallLog()
FORK = EAST.fork(7)
FORKED, SHRUNK = Misbehaviour.FORKED, Misbehaviour.SHRUNK


class LooseStore(WitnessStore):
    """The same records, where the check and the record are two steps: nobody is kept out between them."""

    def transaction(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


class _Meeting:
    """Brings two threads together between the check and the record, where nothing keeps them apart."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)

    def wait(self) -> None:
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.5)


def race(store: WitnessStore, one: Submission, other: Submission) -> list[tuple[Refusal, int | None] | None]:
    """Both submissions at once; the clock is read after the check and before the record."""
    meeting = _Meeting()

    class MeetingClock(SetClock):
        def now_ms(self) -> int:
            meeting.wait()
            return super().now_ms()

    witness = Witness(WITNESS, lambda _: KEYS, store, MeetingClock(), no_roots, lambda _: None)
    found: list[tuple[Refusal, int | None] | None] = []
    threads = [threading.Thread(target=lambda each=each: found.append(refusal(witness, each))) for each in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_histories_at_once_are_both_cosigned_where_check_and_record_are_two_steps(tmp_path: Path) -> None:
    """The defence off: a witness that has cosigned a fork, both sides of it."""
    store = LooseStore.open(tmp_path / "witness.db")
    over(store).take(EAST, 0, 7)
    assert race(store, EAST.submission(7, 20), FORK.submission(7, 30)) == [None, None]
    store.close()


def test_two_histories_at_once_are_not_both_cosigned(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    over(store).take(EAST, 0, 7)
    found = race(store, EAST.submission(7, 20), FORK.submission(7, 30))
    latest = store.latest(ORIGIN)
    assert latest is not None
    assert sorted(found, key=str) == [(Refusal.CONFLICT, latest.size), None]
    store.close()


def test_the_specifications_race_rolls_nothing_back(tmp_path: Path) -> None:
    """Request A of N entries, request B of N + K: whichever is first, A is not cosigned after B."""
    store = WitnessStore.open(tmp_path / "witness.db")
    over(store).take(EAST, 0, 7)
    found = race(store, EAST.submission(7, 20), EAST.submission(7, 30))
    latest = store.latest(ORIGIN)
    assert latest is not None
    assert sorted(found, key=str) == [(Refusal.CONFLICT, latest.size), None]
    store.close()


def test_the_same_race_in_two_steps_cosigns_n_after_n_plus_k(tmp_path: Path) -> None:
    store = LooseStore.open(tmp_path / "witness.db")
    over(store).take(EAST, 0, 7)
    assert race(store, EAST.submission(7, 20), EAST.submission(7, 30)) == [None, None]
    store.close()


def test_a_log_set_back_to_an_older_backup_is_found_when_it_goes_on(tmp_path: Path) -> None:
    """It asks for the size held, and proves honestly from there, in the history that it has now."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        restored = EAST.fork(25)
        assert refusal(east.witness, restored.submission(25, 40)) == (Refusal.CONFLICT, 30)
        assert refusal(east.witness, restored.submission(30, 40)) == (Refusal.BAD_PROOF, None)
        (evidence,) = east.reported
        assert evidence.misbehaviour is FORKED
        evidence.verify(KEYS)


def test_a_log_that_shows_fewer_entries_is_refused_and_reported_once(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        for _ in range(3):
            assert refusal(east.witness, EAST.submission(10, 20)) == (Refusal.CONFLICT, 30)
        assert [evidence.misbehaviour for evidence in east.reported] == [SHRUNK]
        assert east.witness.witnessed(ORIGIN) == east.store.latest(ORIGIN)


def test_a_log_that_shows_one_witness_another_history_is_refused_and_reported_once(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        for _ in range(3):
            assert refusal(east.witness, FORK.submission(30, 30)) == (Refusal.CONFLICT, 30)
        (evidence,) = east.reported
        assert evidence == east.evidence()[0]
        with pytest.raises(VerificationFailedError):
            contradiction(evidence.held, evidence.offered, KEYS)


def two_witnesses(tmp_path: Path, one: int, other: int) -> tuple[bytes, bytes]:
    """The notes of two witnesses, one of which was shown the fork."""
    with watching(tmp_path / "one.db") as first, watching(tmp_path / "other.db") as second:
        first.take(EAST, 0, one)
        second.take(FORK, 0, other)
        assert not first.reported + second.reported
        held = [each.witness.witnessed(ORIGIN) for each in (first, second)]
        return tuple(log.note for log in held if log is not None)  # type: ignore[return-value]


def test_each_witness_cosigns_the_history_it_was_shown_and_their_notes_convict_the_log(tmp_path: Path) -> None:
    """What one witness cannot see: hence a quorum of several, or one whom everybody asks."""
    one, other = two_witnesses(tmp_path, 30, 30)
    with pytest.raises(VerificationFailedError) as caught:
        contradiction(one, other, KEYS)
    assert caught.value.damage is Damage.FORKED


def test_notes_of_two_sizes_convict_with_a_replica_of_either(tmp_path: Path) -> None:
    one, other = two_witnesses(tmp_path, 20, 30)
    with pytest.raises(VerificationImpossibleError):
        contradiction(one, other, KEYS)
    with pytest.raises(VerificationFailedError):
        contradiction(one, other, KEYS, FORK.shown(20, 30))


def test_a_witness_set_back_to_an_older_backup_can_be_used_for_a_fork_and_its_own_notes_show_it(tmp_path: Path) -> None:
    """Nothing inside the witness sees this: its records are as good as its disk, and must not come from a backup."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 7)
    backup = (tmp_path / "witness.db").read_bytes()
    notes: list[bytes] = []
    for log in (EAST, FORK):
        (tmp_path / "witness.db").write_bytes(backup)
        with watching(tmp_path / "witness.db") as east:
            east.take(log, 7, 30)
            latest = east.witness.witnessed(ORIGIN)
            assert latest is not None
            notes.append(latest.note)
    for note in notes:
        assert len(verify_cosignatures(Note.decode(note), [COSIGNER])) == 1
    with pytest.raises(VerificationFailedError):
        contradiction(notes[0], notes[1], KEYS)


def test_a_log_that_nobody_enrolled_is_not_cosigned(tmp_path: Path) -> None:
    stranger = SmallLog(key=SigningKey.generate("stranger.example/log"))
    with watching(tmp_path / "witness.db") as east:
        assert refusal(east.witness, stranger.submission(0, 5)) == (Refusal.UNKNOWN_LOG, None)


def test_a_key_of_the_logs_name_that_nobody_enrolled_is_not_trusted(tmp_path: Path) -> None:
    thief = SmallLog(key=SigningKey.generate(ORIGIN))
    with watching(tmp_path / "witness.db") as east:
        assert refusal(east.witness, thief.submission(0, 5)) == (Refusal.UNTRUSTED_KEY, None)


def test_a_stolen_log_key_signs_until_it_is_revoked_and_not_after(tmp_path: Path) -> None:
    new = signing_key("east", KeyPurpose.LOG, 1)
    active: list[VerifyingKey] = [LOG.verifying_key]
    store = WitnessStore.open(tmp_path / "witness.db")
    witness = Witness(WITNESS, lambda _: tuple(active), store, SetClock(), no_roots, lambda _: None)
    witness.add_checkpoint(EAST.submission(0, 20))
    active[:] = [new.verifying_key]
    assert refusal(witness, EAST.submission(20, 30)) == (Refusal.UNTRUSTED_KEY, None)
    witness.add_checkpoint(SmallLog(EAST.leaves, new).submission(20, 30))
    store.close()


def test_a_thief_of_a_revoked_key_makes_no_evidence_against_the_log(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    new = SmallLog(EAST.leaves, signing_key("east", KeyPurpose.LOG, 1))
    witness = Witness(WITNESS, lambda _: (new.key.verifying_key,), store, SetClock(), no_roots, lambda _: None)
    witness.add_checkpoint(new.submission(0, 20))
    assert refusal(witness, FORK.submission(20, 20)) == (Refusal.UNTRUSTED_KEY, None)
    assert not store.evidence(ORIGIN)
    store.close()


def test_a_signature_taken_from_another_checkpoint_of_the_log_is_not_believed(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 20)
        moved = Note(Note.decode(FORK.note(20)).text, Note.decode(EAST.note(20)).signatures).encode()
        assert refusal(east.witness, Submission(20, (), moved)) == (Refusal.UNTRUSTED_KEY, None)
        assert not east.evidence()


def test_a_submission_sent_again_later_is_refused_and_accuses_nobody(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        submissions = [EAST.submission(old, new) for old, new in ((0, 10), (10, 20), (20, 30))]
        for submission in submissions:
            east.witness.add_checkpoint(submission)
        for submission in submissions:
            assert refusal(east.witness, submission) == (Refusal.CONFLICT, 30)
        assert not east.evidence()


def test_a_stranger_with_wrong_proofs_accuses_nobody(tmp_path: Path) -> None:
    """With every true proof between other sizes, and with as many zeros as may be."""
    wrong = {EAST.proof(old, new) for new in range(2, 20) for old in range(1, new)} - {EAST.proof(11, 19)}
    with watching(tmp_path / "witness.db") as east:
        for old, new in ((0, 5), (5, 11)):
            east.take(EAST, old, new)
        for proof in (*wrong, *((bytes(32),) * count for count in range(64))):
            assert refusal(east.witness, Submission(11, proof, EAST.note(19))) == (Refusal.BAD_PROOF, None)
            assert refusal(east.witness, Submission(5, proof, EAST.note(19))) == (Refusal.CONFLICT, 11)
        assert not east.evidence()


def test_63_hashes_are_looked_at_and_64_are_not(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 20)
        assert refusal(east.witness, Submission(20, (bytes(32),) * 63, EAST.note(30))) == (Refusal.BAD_PROOF, None)
    with pytest.raises(LimitExceededError):
        Submission(20, (bytes(32),) * 64, EAST.note(30))


def decoys(count: int) -> Iterator[NoteSignature]:
    """Lines of keys that nobody knows, some of them under the log's own name."""
    for number in range(count):
        yield NoteSignature(ORIGIN if number % 2 else f"decoy{number}", number.to_bytes(4, "big"), bytes(64))


@pytest.mark.parametrize("lines", [1, 16, 17, MAX_SIGNATURES])
def test_a_checkpoint_among_other_signatures_is_cosigned(tmp_path: Path, lines: int) -> None:
    """The log's own line comes last: none before it may hide it."""
    note = Note.decode(EAST.note(20))
    crowded = Note(note.text, (*decoys(lines - 1), *note.signatures))
    assert len(crowded.signatures) == lines
    with watching(tmp_path / "witness.db") as east:
        east.witness.add_checkpoint(Submission(0, (), crowded.encode()))
        latest = east.witness.witnessed(ORIGIN)
        assert latest is not None
        assert len(Note.decode(latest.note).signatures) == 2


def test_one_signature_more_than_a_note_may_have_is_refused(tmp_path: Path) -> None:
    note = Note.decode(EAST.note(20))
    crowded = Note(note.text, (*decoys(MAX_SIGNATURES), *note.signatures))
    with watching(tmp_path / "witness.db") as east:
        assert refusal(east.witness, Submission(0, (), crowded.encode())) == (Refusal.MALFORMED, None)


def test_with_all_lines_kept_the_witness_could_not_read_its_own_record() -> None:
    """The defence off: 64 lines, and the witness's own behind them."""
    note = Note.decode(EAST.note(20))
    full = Note(note.text, (*decoys(MAX_SIGNATURES - 1), *note.signatures))
    with pytest.raises(LimitExceededError):
        Note.decode(add_lines(full, [cosign(note.text, WITNESS, 1)]).encode())


def test_one_fork_under_many_notes_is_kept_and_reported_once(tmp_path: Path) -> None:
    """A stranger can add lines to a note; what the log signed stays the same."""
    note = Note.decode(FORK.note(30))
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        for count in range(20):
            crowded = Note(note.text, (*decoys(count), *note.signatures))
            assert refusal(east.witness, Submission(30, (), crowded.encode())) is not None
        assert len(east.reported) == len(east.evidence()) == 1


def test_a_log_that_forks_without_end_fills_neither_the_records_nor_the_ledger(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        for number in range(2 * KEPT_EVIDENCE):
            assert refusal(east.witness, EAST.fork(7, f"fork {number}").submission(30, 30)) is not None
        assert len(east.reported) == len(east.evidence()) == KEPT_EVIDENCE


def test_a_checkpoint_of_more_entries_than_can_be_is_refused(tmp_path: Path) -> None:
    """Cosigned once, no later checkpoint could follow it; and its size would not fit into the ledger's entries."""
    note = sign_checkpoint(Checkpoint(ORIGIN, 2**63 - 1, bytes(32)), LOG)
    with watching(tmp_path / "witness.db") as east:
        assert refusal(east.witness, Submission(0, (), note)) == (Refusal.MALFORMED, None)
        assert refusal(east.witness, Submission(2**63 - 1, (), note)) == (Refusal.MALFORMED, None)


def test_a_note_of_what_was_not_cosigned_is_not_taken_for_cosigned(tmp_path: Path) -> None:
    """Whoever sends entries for the replica names a checkpoint; the witness goes by its own records."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 20)
        record: WitnessedLog = east.witness.cosigned(EAST.note(20))
        assert record == east.witness.witnessed(ORIGIN)
        stuffed = Note(Note.decode(EAST.note(20)).text, tuple(decoys(3))).encode()
        assert east.witness.cosigned(stuffed).note == record.note
        for note in (EAST.note(19), FORK.note(20), sign_checkpoint(Checkpoint(ORIGIN, 2**63 - 1, bytes(32)), LOG)):
            with pytest.raises(WitnessRefusedError) as caught:
                east.witness.cosigned(note)
            assert (caught.value.refusal, caught.value.size) == (Refusal.CONFLICT, 20)
        with pytest.raises(WitnessRefusedError):
            east.witness.cosigned(b"no note")


def test_a_body_with_a_second_checkpoint_behind_the_first_is_one_note(tmp_path: Path) -> None:
    """The text of a note goes up to its last empty line: nothing can be slipped in before the signed part."""
    body = b"old 0\n\n" + FORK.note(30) + b"\n" + EAST.note(20)
    with watching(tmp_path / "witness.db") as east:
        with suppress(MalformedError):
            assert refusal(east.witness, Submission.decode(body)) is not None
        assert east.witness.witnessed(ORIGIN) is None
