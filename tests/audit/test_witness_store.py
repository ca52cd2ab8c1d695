"""The witness's records: private, bounded, whole after a crash, and one truth for several processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit import witness_store
from audit.entry import Misbehaviour
from audit.errors import LedgerDamagedError, LedgerUnavailableError, Refusal
from audit.evidence import Evidence
from audit.witness import WitnessedLog
from audit.witness_store import KEPT_EVIDENCE, WitnessStore
from tests.audit.samples import AT_MS
from tests.audit.witnessed import ORIGIN, SmallLog, over, refusal, watching

EAST = SmallLog()
SPAWN = multiprocessing.get_context("spawn")


def log(size: int, origin: str = ORIGIN) -> WitnessedLog:
    return WitnessedLog(origin, size, EAST.root(size), b"note %d" % size, size)


def fork_evidence(number: int) -> Evidence:
    offered = EAST.fork(7, f"fork {number}").note(30)
    return Evidence(
        origin=ORIGIN, misbehaviour=Misbehaviour.FORKED, held=EAST.note(30), offered=offered, shown=(), at_ms=AT_MS
    )


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with watching(tmp_path / "witness.db") as east:
        east.take(EAST, 0, 10)
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_written_is_on_the_disk_before_the_answer(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    assert store._run("PRAGMA synchronous") == [(2,)]
    assert store._run("PRAGMA journal_mode") == [("wal",)]
    store.close()


def test_the_newest_checkpoints_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_store, "KEPT_CHECKPOINTS", 5)
    store = WitnessStore.open(tmp_path / "witness.db")
    other = log(3, "other.example/log")
    store.put(other)
    for size in range(1, 20):
        store.put(log(size))
    assert [size for size in range(25) if store.cosigned(ORIGIN, size)] == [15, 16, 17, 18, 19]
    assert store.latest(ORIGIN) == log(19)
    assert store.logs() == (log(19), other)
    store.close()


def test_a_checkpoint_cosigned_again_takes_its_own_place(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    store.put(log(3))
    again = WitnessedLog(ORIGIN, 3, EAST.root(3), b"again", 99)
    store.put(again)
    assert store.logs() == (again,)
    store.close()


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    with contextlib.suppress(ZeroDivisionError), store.transaction():
        store.put(log(3))
        raise ZeroDivisionError
    assert store.latest(ORIGIN) is None
    store.close()


def test_evidence_is_bounded_the_first_and_the_newest_are_kept(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    told = [store.keep(fork_evidence(number)) for number in range(KEPT_EVIDENCE + 20)]
    assert told == [True] * KEPT_EVIDENCE + [False] * 20
    half = KEPT_EVIDENCE // 2
    wanted = [*range(half), *range(KEPT_EVIDENCE + 20 - half, KEPT_EVIDENCE + 20)]
    assert store.evidence(ORIGIN) == tuple(map(fork_evidence, wanted))
    assert not store.keep(fork_evidence(half))
    store.close()


def test_evidence_is_unreported_until_it_is_said_to_be(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    for number in range(3):
        store.keep(fork_evidence(number))
    store.mark_reported(fork_evidence(1))
    assert store.unreported() == (fork_evidence(0), fork_evidence(2))
    store.close()


def test_something_else_is_not_opened_as_records(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to see it" * 100)
    with pytest.raises(LedgerDamagedError):
        WitnessStore.open(tmp_path / "text.db")
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    connection.close()
    with pytest.raises(LedgerUnavailableError, match="schema version"):
        WitnessStore.open(tmp_path / "other.db")
    with pytest.raises(LedgerUnavailableError, match="folder"):
        WitnessStore.open(tmp_path / "missing" / "witness.db")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    store.close()
    store.close()
    with pytest.raises(LedgerUnavailableError):
        store.latest(ORIGIN)


ROUNDS = 30


def _submit(
    path: Path, together: multiprocessing.synchronize.Barrier, answers: multiprocessing.SimpleQueue[list[bool]]
) -> None:
    """As one of a witness's two processes: both are brought the same next checkpoint at the same time."""
    cosigned: list[bool] = []
    with watching(path) as east:
        for size in range(ROUNDS):
            submission = EAST.submission(size, size + 1)
            together.wait()
            cosigned.append(refusal(east.witness, submission) is None)
            together.wait()
    answers.put(cosigned)


def test_of_two_processes_one_cosigns(tmp_path: Path) -> None:
    answers: multiprocessing.SimpleQueue[list[bool]] = SPAWN.SimpleQueue()
    together = SPAWN.Barrier(2, timeout=30)
    processes = [SPAWN.Process(target=_submit, args=(tmp_path / "witness.db", together, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    one, other = answers.get(), answers.get()
    assert [a + b for a, b in zip(one, other, strict=True)] == [1] * ROUNDS


def _cosign_for_ever(path: Path, told: Callable[[int], None]) -> None:
    with watching(path) as east:
        latest = east.witness.witnessed(ORIGIN)
        size = latest.size if latest else 0
        while size < 299:
            east.take(EAST, size, size + 1)
            size += 1
            told(size)


def test_what_was_answered_outlives_a_killed_process(tmp_path: Path) -> None:
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_cosign_for_ever, args=(tmp_path / "witness.db", sender.send))
    process.start()
    sender.close()
    while receiver.recv() < 20:
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    answered = 20
    try:
        while receiver.poll():
            answered = receiver.recv()
    except EOFError:
        pass
    with watching(tmp_path / "witness.db") as east:
        latest = east.witness.witnessed(ORIGIN)
        assert latest is not None
        assert latest.size in (answered, answered + 1)
        assert refusal(east.witness, EAST.submission(answered - 1, answered + 1)) is not None
        assert refusal(east.witness, EAST.submission(latest.size, latest.size + 1)) is None


def test_a_writer_that_waits_too_long_is_told_and_nothing_is_cosigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_store, "BUSY_SECONDS", 0.2)
    other = WitnessStore.open(tmp_path / "witness.db")
    with watching(tmp_path / "witness.db") as east:
        with other.transaction():
            begun = time.monotonic()
            with pytest.raises(LedgerUnavailableError, match="locked"):
                east.take(EAST, 0, 10)
            assert time.monotonic() - begun < 5
        assert east.witness.witnessed(ORIGIN) is None
        east.take(EAST, 0, 10)
    other.close()


def test_one_store_serves_several_witness_objects(tmp_path: Path) -> None:
    store = WitnessStore.open(tmp_path / "witness.db")
    one, other = over(store), over(store)
    one.take(EAST, 0, 10)
    assert refusal(other.witness, EAST.submission(0, 20)) == (Refusal.CONFLICT, 10)
    store.close()
