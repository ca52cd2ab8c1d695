"""The witness's rules, status by status, and what it promises about times, crashes and evidence."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint
from audit.cosignature import verify_cosignatures
from audit.entry import Misbehaviour
from audit.errors import LedgerUnavailableError, Refusal, WitnessRefusedError
from audit.keys import SigningKey
from audit.names import KeyPurpose
from audit.witness import MAX_WITNESSED_SIZE, Evidence, Submission, Witness
from audit.witness_store import WitnessStore
from tests.audit.samples import signing_key
from tests.audit.witnessed import (
    COSIGNER,
    KEYS,
    LOG,
    ORIGIN,
    WITNESS,
    SetClock,
    SmallLog,
    known_logs,
    no_roots,
    refusal,
    watching,
)

EAST = SmallLog()


def signed(checkpoint: Checkpoint, key: SigningKey = LOG) -> bytes:
    return sign_checkpoint(checkpoint, key)


def test_a_log_is_cosigned_from_its_first_checkpoint_on(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        sizes = [0, 1, 1, 5, 8, 64, 65, 300]
        for old, new in zip([0, *sizes], sizes, strict=False):
            assert east.take(EAST, old, new) == east.clock.now_s
        latest = east.witness.witnessed(ORIGIN)
        assert latest is not None
        assert (latest.size, latest.root, latest.cosigned_s) == (300, EAST.root(300), east.clock.now_s)
        assert east.witness.logs() == (latest,)
        note = Note.decode(latest.note)
        note.verify(LOG.verifying_key)
        assert len(verify_cosignatures(note, [east.witness.key])) == 1
        assert not east.evidence()


def test_of_an_unknown_log_nothing_is_held(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        assert east.witness.witnessed(ORIGIN) is None
        assert east.witness.logs() == ()


OTHER = signing_key("north", KeyPurpose.LOG)
HONEST = EAST.note(20)
FORGED = Note(Note.decode(HONEST).text, Note.decode(EAST.note(21)).signatures).encode()


@pytest.mark.parametrize(
    ("submission", "expected"),
    [
        pytest.param(Submission(10, (), b"no note"), (Refusal.MALFORMED, None), id="not a note"),
        pytest.param(
            Submission(10, (), Note(b"one line\n", ()).sign(LOG).encode()),
            (Refusal.MALFORMED, None),
            id="no checkpoint",
        ),
        pytest.param(
            Submission(10, (), Note(f"{ORIGIN}\n07\n{'A' * 43}=\n".encode(), ()).sign(LOG).encode()),
            (Refusal.MALFORMED, None),
            id="a size with a leading zero",
        ),
        pytest.param(
            Submission(10, (), SmallLog(key=OTHER).note(20)), (Refusal.UNKNOWN_LOG, None), id="an unknown origin"
        ),
        pytest.param(
            Submission(10, (), signed(Checkpoint(ORIGIN, 20, EAST.root(20)), SigningKey.generate(ORIGIN))),
            (Refusal.UNTRUSTED_KEY, None),
            id="another key of that name",
        ),
        pytest.param(Submission(10, (), FORGED), (Refusal.UNTRUSTED_KEY, None), id="a signature over another text"),
        pytest.param(Submission(21, (), HONEST), (Refusal.MALFORMED, None), id="old above new"),
        pytest.param(EAST.submission(0, 20), (Refusal.CONFLICT, 10), id="asking for the size"),
        pytest.param(EAST.submission(9, 20), (Refusal.CONFLICT, 10), id="old below held"),
        pytest.param(EAST.submission(11, 20), (Refusal.CONFLICT, 10), id="old above held"),
        pytest.param(EAST.fork(9).submission(10, 10), (Refusal.CONFLICT, 10), id="another root at the same size"),
        pytest.param(Submission(10, (), HONEST), (Refusal.BAD_PROOF, None), id="no proof"),
        pytest.param(
            Submission(10, EAST.proof(9, 20), HONEST), (Refusal.BAD_PROOF, None), id="a proof from another size"
        ),
        pytest.param(
            Submission(10, (*EAST.proof(10, 20), bytes(32)), HONEST), (Refusal.BAD_PROOF, None), id="a proof too long"
        ),
        pytest.param(
            Submission(10, (bytes(32),), EAST.note(10)), (Refusal.BAD_PROOF, None), id="a proof between equal sizes"
        ),
        pytest.param(EAST.fork(9).submission(10, 20), (Refusal.BAD_PROOF, None), id="a fork"),
    ],
)
def test_each_refusal_has_the_specifications_status_and_changes_nothing(
    tmp_path: Path, submission: Submission, expected: tuple[Refusal, int | None]
) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        before = east.witness.witnessed(ORIGIN)
        assert refusal(east.witness, submission) == expected
        assert east.witness.witnessed(ORIGIN) == before
        east.take(EAST, 10, 20)


@pytest.mark.parametrize(
    ("submission", "expected"),
    [
        (Submission(0, (bytes(32),), HONEST), Refusal.BAD_PROOF),
        (Submission(0, (), signed(Checkpoint(ORIGIN, 0, bytes(32)))), Refusal.CONFLICT),
        (EAST.submission(5, 20), Refusal.CONFLICT),
        (Submission(0, (), signed(Checkpoint(ORIGIN, MAX_WITNESSED_SIZE + 1, bytes(32)))), Refusal.MALFORMED),
    ],
    ids=["a proof from nothing", "an empty log with a root", "a size never held", "beyond 2^53 - 1"],
)
def test_a_first_checkpoint_starts_from_nothing(tmp_path: Path, submission: Submission, expected: Refusal) -> None:
    with watching(tmp_path / "witness.db") as east:
        found = refusal(east.witness, submission)
        assert found == (expected, 0 if expected is Refusal.CONFLICT else None)
        assert not east.evidence()


def test_every_line_of_a_trusted_key_must_verify_and_one_suffices(tmp_path: Path) -> None:
    new = signing_key("east", KeyPurpose.LOG, 1)
    store = WitnessStore.open(tmp_path / "witness.db")
    both = (LOG.verifying_key, new.verifying_key)
    witness = Witness(WITNESS, lambda _: both, store, SetClock(), no_roots, lambda _: None)
    text = Checkpoint(ORIGIN, 3, EAST.root(3)).body()
    good, bad = (
        NoteSignature(ORIGIN, new.verifying_key.key_id, new.sign(text)),
        Note(b"x\n", ()).sign(LOG).signatures[0],
    )
    assert refusal(witness, Submission(0, (), Note(text, (good, bad)).encode())) == (Refusal.UNTRUSTED_KEY, None)
    assert refusal(witness, Submission(0, (), Note(text, (good,)).encode())) is None
    store.close()


def test_lines_of_unknown_keys_are_ignored_and_not_kept(tmp_path: Path) -> None:
    stranger = SigningKey.generate(ORIGIN)
    with watching(tmp_path / "witness.db") as east:
        note = Note.decode(EAST.note(3)).sign(stranger)
        east.witness.add_checkpoint(Submission(0, (), note.encode()))
        latest = east.witness.witnessed(ORIGIN)
        assert latest is not None
        assert {line.key_id for line in Note.decode(latest.note).signatures} == {KEYS[0].key_id, COSIGNER.key_id}


def test_a_note_without_room_for_the_cosignature_is_refused(tmp_path: Path) -> None:
    extension = "e" * (16 * 1024 - len(EAST.note(3)) - 1)
    note = signed(Checkpoint(ORIGIN, 3, EAST.root(3), (extension,)))
    assert len(note) == 16 * 1024
    with watching(tmp_path / "witness.db") as east:
        assert refusal(east.witness, Submission(0, (), note)) == (Refusal.MALFORMED, None)
        assert east.witness.witnessed(ORIGIN) is None


def test_times_do_not_go_backwards_when_the_clock_does(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        first = east.take(EAST, 0, 10)
        east.clock.now_s -= 3600
        assert east.take(EAST, 10, 10) == first
        assert east.take(EAST, 10, 20) == first
        east.clock.now_s = first + 5
        assert east.take(EAST, 20, 30) == first + 5


def test_times_do_not_go_backwards_over_a_restart(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        first = east.take(EAST, 0, 10)
    with watching(tmp_path / "witness.db") as east:
        east.clock.now_s = 1
        assert east.take(EAST, 10, 20) == first


def test_two_logs_are_kept_apart(tmp_path: Path) -> None:
    north = SmallLog(key=OTHER).fork(0)
    keys = {ORIGIN: KEYS, OTHER.name: (OTHER.verifying_key,)}
    store = WitnessStore.open(tmp_path / "witness.db")
    witness = Witness(WITNESS, lambda origin: keys[origin], store, SetClock(), no_roots, lambda _: None)
    witness.add_checkpoint(EAST.submission(0, 10))
    witness.add_checkpoint(north.submission(0, 4))
    witness.add_checkpoint(EAST.submission(10, 20))
    assert [(log.origin, log.size) for log in witness.logs()] == [(ORIGIN, 20), (OTHER.name, 4)]
    store.close()


def test_a_cosignature_is_recorded_before_it_is_given(tmp_path: Path) -> None:
    """Whoever opens the file the moment after the answer, as after a crash, finds what was answered."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        with watching(tmp_path / "witness.db") as again:
            assert again.witness.witnessed(ORIGIN) == east.witness.witnessed(ORIGIN)


def test_where_nothing_can_be_recorded_nothing_is_cosigned(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        east.store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(LedgerUnavailableError):
            east.witness.add_checkpoint(EAST.submission(10, 20))
        east.store._connection.execute("PRAGMA query_only = OFF")
        latest = east.witness.witnessed(ORIGIN)
        assert latest is not None
        assert latest.size == 10


def test_of_many_submissions_at_once_each_cosigned_one_extends_the_one_before(tmp_path: Path) -> None:
    """The race of the specification, with real threads: 16 checkpoints from one size, one of them is cosigned."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        barrier, cosigned, told = threading.Barrier(16), list[int](), list[tuple[Refusal, int | None]]()

        def submit(new: int) -> None:
            submission = EAST.submission(10, new)
            barrier.wait()
            found = refusal(east.witness, submission)
            if found is None:
                cosigned.append(new)
            else:
                told.append(found)

        threads = [threading.Thread(target=submit, args=(11 + number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(cosigned) == 1
        assert told == [(Refusal.CONFLICT, cosigned[0])] * 15
        assert not [each for each in east.evidence() if each.misbehaviour is Misbehaviour.FORKED]


def test_an_old_checkpoint_sent_again_is_no_misbehaviour(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        for old, new in ((0, 10), (10, 20), (20, 30)):
            east.take(EAST, old, new)
        for old in (0, 10, 20, 30):
            assert refusal(east.witness, Submission(old, (), EAST.note(20))) is not None
        assert refusal(east.witness, Submission(30, (), EAST.note(0))) == (Refusal.MALFORMED, None)
        assert refusal(east.witness, Submission(0, (), EAST.note(0))) == (Refusal.CONFLICT, 30)
        assert not east.evidence()


def test_a_smaller_checkpoint_that_the_replica_knows_is_no_misbehaviour(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db", lambda _, size: EAST.root(size)) as east:
        east.take(EAST, 0, 30)
        assert refusal(east.witness, EAST.submission(0, 20)) == (Refusal.CONFLICT, 30)
        assert not east.evidence()


def test_a_proof_that_leads_nowhere_is_no_misbehaviour(tmp_path: Path) -> None:
    """Anybody can send a log's checkpoint with a wrong proof."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        for proof in ((), (bytes(32),), EAST.proof(9, 20), EAST.fork(5).proof(10, 20), EAST.proof(10, 20)[1:]):
            assert refusal(east.witness, Submission(10, proof, EAST.note(20))) == (Refusal.BAD_PROOF, None)
        assert not east.evidence()


FORKED, SHRUNK = Misbehaviour.FORKED, Misbehaviour.SHRUNK
FORK = EAST.fork(7)


@pytest.mark.parametrize(
    ("submission", "misbehaviour", "held"),
    [
        pytest.param(FORK.submission(30, 30), FORKED, 30, id="the size held, another root"),
        pytest.param(FORK.submission(0, 30), FORKED, 30, id="the same, and the size not known"),
        pytest.param(FORK.submission(30, 40), FORKED, 30, id="larger, with its own history's proof"),
        pytest.param(FORK.submission(10, 40), FORKED, 10, id="larger, with a proof from a size cosigned before"),
        pytest.param(FORK.submission(10, 25), FORKED, 10, id="smaller, with a proof from a size cosigned before"),
        pytest.param(FORK.submission(0, 20), FORKED, 20, id="a size cosigned before, another root"),
        pytest.param(Submission(0, (), signed(Checkpoint(ORIGIN, 0, bytes(32)))), FORKED, 30, id="a full empty tree"),
        pytest.param(FORK.submission(0, 25), SHRUNK, 30, id="smaller, of a root that nobody knows"),
        pytest.param(EAST.submission(0, 25), SHRUNK, 30, id="smaller, and honest, which nobody can tell"),
    ],
)
def test_what_contradicts_is_kept_with_both_notes_and_reported_once(
    tmp_path: Path, submission: Submission, misbehaviour: Misbehaviour, held: int
) -> None:
    with watching(tmp_path / "witness.db") as east:
        for old, new in ((0, 10), (10, 20), (20, 30)):
            east.take(EAST, old, new)
        for _ in range(3):
            assert refusal(east.witness, submission) is not None
        (evidence,) = east.evidence()
        assert east.reported == [evidence]
        assert (evidence.origin, evidence.misbehaviour) == (ORIGIN, misbehaviour)
        assert evidence.offered == submission.note
        kept = Note.decode(evidence.held)
        assert Checkpoint.from_body(kept.text) == Checkpoint(ORIGIN, held, EAST.root(held))
        assert len(verify_cosignatures(kept, [COSIGNER])) == 1
        evidence.verify(KEYS)


def test_a_fork_below_the_size_held_is_shown_by_the_replica(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db", lambda _, size: EAST.root(size)) as east:
        east.take(EAST, 0, 30)
        assert refusal(east.witness, FORK.submission(0, 25)) == (Refusal.CONFLICT, 30)
        (evidence,) = east.reported
        assert evidence.misbehaviour is FORKED
        evidence.verify(KEYS, EAST.shown(25, 30))


def test_from_a_power_of_two_a_fork_cannot_be_told_from_a_wrong_proof(tmp_path: Path) -> None:
    """The proof does not hold the old root then. It is refused all the same."""
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 16)
        assert refusal(east.witness, FORK.submission(16, 40)) == (Refusal.BAD_PROOF, None)
        assert not east.evidence()


def test_a_report_that_failed_or_was_cut_off_is_made_again(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")

    def unwritable(_: Evidence) -> None:
        raise LedgerUnavailableError("the disk is full")

    witness = Witness(WITNESS, known_logs, store, SetClock(), no_roots, unwritable)
    witness.add_checkpoint(EAST.submission(0, 30))
    with pytest.raises(LedgerUnavailableError):
        witness.add_checkpoint(FORK.submission(30, 40))
    store.close()
    with watching(tmp_path / "witness.db") as again:
        again.witness.report_pending()
        again.witness.report_pending()
        assert [each.misbehaviour for each in again.reported] == [FORKED]


def test_two_threads_that_bring_one_fork_report_it_once(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 30)
        threads = [
            threading.Thread(target=refusal, args=(east.witness, FORK.submission(30, 40 + number % 2)))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(east.reported) == len(east.evidence()) == 2


def test_the_refusal_says_what_is_wrong(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        with pytest.raises(WitnessRefusedError, match="10 entries, not 3"):
            east.witness.add_checkpoint(EAST.submission(3, 20))


NOTE = EAST.note(20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=100), st.tuples(st.integers(0, len(NOTE)), st.binary(max_size=3))),
    st.sampled_from([0, 10, 20, 2**63 - 1]),
)
def test_any_bytes_for_a_note_are_refused_with_a_status(
    tmp_path: Path, data: bytes | tuple[int, bytes], old: int
) -> None:
    note = data if isinstance(data, bytes) else NOTE[: data[0]] + data[1] + NOTE[data[0] + 1 :]
    if note == NOTE:
        return
    with watching(tmp_path / "witness.db") as east:
        if east.witness.witnessed(ORIGIN) is None:
            east.take(EAST, 0, 10)
        assert refusal(east.witness, Submission(old, EAST.proof(10, 20), note)) is not None
