"""The ledger as its callers know it."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.checkpoint import verify_checkpoint
from audit.entry import Entry, Genesis, Seal, decode_entry
from audit.errors import (
    DuplicateKeyError,
    LedgerClosedError,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
    LimitExceededError,
    MalformedError,
)
from audit.ledger import Appended, Draft, Ledger, LedgerConfig, LedgerIdentity, open_reader
from audit.names import KeyPurpose, Role
from audit.tree import leaf_hash, root_of, verify_consistency, verify_inclusion
from audit.verify import verify_database
from tests.audit.ledgers import (
    IDENTITY,
    LOG_KEY,
    ORIGIN,
    QUIET,
    SteppingClock,
    Versions,
    append_many,
    edit,
    entry,
    make,
    open_ledger,
)
from tests.audit.samples import signing_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(path) as ledger:
        yield ledger


class HoldError(Exception):
    """What the guard of `one_batch` raises."""


@contextmanager
def one_batch(ledger: Ledger) -> Iterator[None]:
    """Whatever is submitted inside waits in the queue, and is then taken as one batch."""
    release, held = threading.Event(), threading.Event()

    def hold() -> Draft:
        held.set()
        release.wait(10)
        raise HoldError

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(ledger.append, hold)
        held.wait(10)
        yield
        time.sleep(0.2)
        release.set()
        assert isinstance(holding.exception(), HoldError)


def root_at(ledger: Ledger, size: int) -> bytes:
    return root_of([leaf_hash(data) for data in ledger.read(0, size)])


def test_a_new_ledger_begins_with_who_it_is(ledger: Ledger) -> None:
    genesis = ledger.genesis()
    assert ledger.size == 1
    assert (genesis.party, genesis.origin, genesis.role) == ("east", ORIGIN, Role.PROVIDER)
    assert genesis.log_key == LOG_KEY.verifying_key.vkey()


def test_an_append_gives_index_and_the_bytes_that_are_stored(ledger: Ledger) -> None:
    appended = ledger.append(Draft(entry(1)))
    assert appended == Appended(1, next(ledger.read(1, 2)), entry(1))
    assert decode_entry(appended.data) == entry(1)


def test_entries_are_there_after_reopening(path: Path) -> None:
    make(path, 5)
    with open_ledger(path) as ledger:
        assert ledger.size == 6
        append_many(ledger, range(5, 7))
        assert [decode_entry(data) for data in ledger.read(1, 99)] == [entry(number) for number in range(7)]


def test_a_taken_key_is_refused_also_after_reopening(path: Path) -> None:
    with open_ledger(path) as ledger:
        index = ledger.append(Draft(entry(1), ("nonce:a:1", "call:1"))).index
        assert ledger.find("nonce:a:1") == ledger.find("call:1") == index
    with open_ledger(path) as ledger:
        for keys in (("nonce:a:1",), ("nonce:b:1", "call:1"), ("twice", "twice")):
            with pytest.raises(DuplicateKeyError):
                ledger.append(Draft(entry(2), keys))
        assert (ledger.size, ledger.find("nonce:b:1"), ledger.find("twice")) == (2, None, None)


def test_of_many_who_take_one_key_at_once_one_succeeds(ledger: Ledger) -> None:
    def attempt(number: int) -> bool:
        try:
            ledger.append(Draft(entry(number), ("the key",)))
        except DuplicateKeyError:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        with one_batch(ledger):
            taken = pool.map(attempt, range(64))
        assert sum(taken) == 1
    assert ledger.size == 2


def test_a_guard_sees_every_earlier_draft_of_its_own_batch(path: Path) -> None:
    """200 at once against a quota of 50 give exactly 50."""
    fold = Versions()

    class QuotaError(Exception):
        pass

    def guard() -> Draft:
        if len(fold.seen) >= 50:
            raise QuotaError
        return Draft(entry(len(fold.seen)))

    def attempt(_number: int) -> bool:
        try:
            ledger.append(guard)
        except QuotaError:
            return False
        return True

    with open_ledger(path, folds=[fold]) as ledger, ThreadPoolExecutor(40) as pool:
        with one_batch(ledger):
            admitted = pool.map(attempt, range(200))
        assert sum(admitted) == 50
        assert fold.seen == list(range(1, 51))
        assert ledger.size == 51


def test_what_a_guard_raises_reaches_its_caller_alone_and_leaves_nothing(ledger: Ledger) -> None:
    class NoError(Exception):
        pass

    def refuse() -> Draft:
        raise NoError

    def attempt(number: int) -> bool:
        if number % 2:
            ledger.append(Draft(entry(number)))
            return True
        with pytest.raises(NoError):
            ledger.append(refuse)
        return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(40))) == 20
    assert ledger.size == 21


def test_a_guard_cannot_append_or_sign(ledger: Ledger) -> None:
    def nested() -> Draft:
        ledger.append(Draft(entry(2)))
        return Draft(entry(1))

    with pytest.raises(LedgerError, match="inside the transaction"):
        ledger.append(nested)
    assert ledger.size == 1


def test_entries_that_a_verifier_would_refuse_are_refused(ledger: Ledger) -> None:
    with pytest.raises(MalformedError, match="north"):
        ledger.append(Draft(entry(1, party="north")))
    with pytest.raises(MalformedError):
        ledger.append(Draft(entry(-1)))
    with pytest.raises(MalformedError):
        ledger.append(Draft(entry(1), ("k" * 513,)))
    assert ledger.size == 1
    assert issubclass(LimitExceededError, MalformedError)


def test_folds_are_replayed_at_open(path: Path) -> None:
    make(path, 600)
    fold = Versions()
    with open_ledger(path, folds=[fold]) as ledger:
        assert fold.seen == list(range(1, 601))
        ledger.append(Draft(entry(600)))
        assert fold.seen[-1] == 601


def test_a_fold_that_raises_fails_the_append_and_is_computed_anew(path: Path) -> None:
    class Brittle(Versions):
        broken = True

        def apply(self, index: int, entry: Entry) -> None:
            super().apply(index, entry)
            if self.broken and self.seen and self.seen[-1] == 13:
                raise ValueError("13")

    fold, after = Brittle(), Versions()
    with open_ledger(path, folds=[fold, after]) as ledger:
        append_many(ledger, range(3))
        with pytest.raises(LedgerUnavailableError):
            ledger.append(Draft(entry(12)))
        assert fold.seen == after.seen == [1, 2, 3]
        append_many(ledger, range(3, 5))
        assert fold.seen == after.seen == [1, 2, 3, 4, 5]
        assert ledger.size == 6


def test_seals_record_the_chain(path: Path) -> None:
    config = LedgerConfig(seal_entries=10, checkpoint_idle_ms=10**9)
    fold = Versions()
    with open_ledger(path, config=config, folds=[fold]) as ledger:
        append_many(ledger, range(30))
        kinds = [type(decode_entry(data)) for data in ledger.read(0, ledger.size)]
    assert [index for index, kind in enumerate(kinds) if kind is Seal] == [10, 20, 30]
    assert kinds[0] is Genesis
    assert fold.seen == list(range(1, 31))
    assert verify_database(path).verified


def test_proofs_verify_against_signed_checkpoints(ledger: Ledger) -> None:
    notes = []
    for upto in (1, 3, 300, 700):
        append_many(ledger, range(ledger.size, upto))
        notes.append(verify_checkpoint(ledger.checkpoint(), LOG_KEY.verifying_key, origin=ORIGIN))
    assert [note.size for note in notes] == [1, 3, 300, 700]
    last = notes[-1]
    for note in notes:
        assert note.root == root_at(ledger, note.size)
        verify_consistency(note.size, 700, note.root, last.root, ledger.consistency_proof(note.size, 700))
    for index in (0, 1, 255, 256, 511, 512, 699):
        leaf = leaf_hash(next(ledger.read(index, index + 1)))
        verify_inclusion(leaf, index, 700, ledger.inclusion_proof(index, 700), last.root)
    with pytest.raises(LedgerError):
        ledger.inclusion_proof(0, 701)
    with pytest.raises(LedgerError):
        ledger.consistency_proof(1, 701)


def test_one_size_has_one_checkpoint(ledger: Ledger) -> None:
    first = ledger.checkpoint()
    assert ledger.checkpoint() == first == ledger.latest_checkpoint()
    ledger.append(Draft(entry(1)))
    second = ledger.checkpoint()
    assert list(ledger.checkpoints()) == [first, second]


def test_closing_signs_over_everything(path: Path) -> None:
    with open_ledger(path) as ledger:
        append_many(ledger, range(4))
        assert ledger.latest_checkpoint() is None
    reader = open_reader(path)
    note = reader.latest_checkpoint()
    assert note is not None
    assert verify_checkpoint(note, LOG_KEY.verifying_key, origin=ORIGIN).size == reader.size == 5
    reader.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["ledger.db", "ledger.db.lock"]


def test_checkpoints_are_signed_by_number_and_by_quiet(path: Path) -> None:
    by_number = LedgerConfig(checkpoint_entries=10, checkpoint_idle_ms=10**9)
    with open_ledger(path, config=by_number) as ledger:
        append_many(ledger, range(35))
        assert len(list(ledger.checkpoints())) == 3
    by_quiet = LedgerConfig(checkpoint_idle_ms=20)
    with open_ledger(path, config=by_quiet) as ledger:
        before = ledger.latest_checkpoint()
        ledger.append(Draft(entry(99)))
        deadline = time.monotonic() + 10
        while ledger.latest_checkpoint() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        note = ledger.latest_checkpoint()
        assert note is not None
        assert verify_checkpoint(note, LOG_KEY.verifying_key, origin=ORIGIN).size == ledger.size


def test_nothing_is_signed_when_the_stored_bytes_are_not_those_appended(path: Path) -> None:
    with open_ledger(path) as ledger:
        append_many(ledger, range(5))
        signed = ledger.checkpoint()
        append_many(ledger, range(5, 9))
        edit(path, "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 2) WHERE idx = 7")
        with pytest.raises(LedgerDamagedError):
            ledger.checkpoint()
        assert ledger.latest_checkpoint() == signed
        with pytest.raises(LedgerUnavailableError):
            ledger.append(Draft(entry(9)))


def test_a_closed_ledger_says_so(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerClosedError):
        ledger.append(Draft(entry(1)))


def test_everything_submitted_before_close_is_answered(path: Path) -> None:
    ledger = open_ledger(path)
    outcomes: list[str] = []

    def work(number: int) -> None:
        try:
            for offset in range(200):
                ledger.append(Draft(entry(number * 1000 + offset)))
        except LedgerClosedError:
            outcomes.append("closed")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    ledger.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert verify_database(path).verified


def test_a_full_queue_pushes_back(path: Path) -> None:
    release = threading.Event()

    def slow() -> Draft:
        release.wait(10)
        return Draft(entry(1))

    config = LedgerConfig(queue_entries=2, queue_timeout_ms=50, checkpoint_idle_ms=10**9)
    with open_ledger(path, config=config) as ledger, ThreadPoolExecutor(4) as pool:
        blocked = pool.submit(ledger.append, slow)
        time.sleep(0.1)
        waiting = [pool.submit(ledger.append, Draft(entry(number))) for number in (2, 3)]
        time.sleep(0.1)
        with pytest.raises(LedgerFullError):
            ledger.append(Draft(entry(4)))
        release.set()
        assert [future.result().index for future in (blocked, *waiting)] == [1, 2, 3]


def test_a_second_opener_is_told_who_holds_the_ledger(ledger: Ledger, path: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match=f"process {os.getpid()}:"):
        open_ledger(path)


def test_another_process_is_kept_out_until_the_holder_dies(path: Path) -> None:
    script = "import sys; from tests.audit.ledgers import *; open_ledger(Path(sys.argv[1])); print('open', flush=True)"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{script}; input()", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(LedgerUnavailableError, match=f"process {holder.pid}:"):
            open_ledger(path)
        holder.kill()
        holder.wait()
    open_ledger(path).close()


def test_a_forked_child_does_not_keep_the_ledger_locked(path: Path) -> None:
    ledger = open_ledger(path)
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        ledger.close()
        open_ledger(path).close()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_forked_child_that_never_runs_does_not_keep_the_ledger_locked(path: Path) -> None:
    """The child inherits the lock with its descriptors, and drops it only when it is given time to run."""
    ledger = open_ledger(path)
    descriptor = os.dup(ledger._lock._descriptor)  # what such a child holds
    try:
        ledger.close()
        open_ledger(path).close()
    finally:
        os.close(descriptor)


def test_another_partys_or_keys_ledger_is_refused_and_unchanged(path: Path) -> None:
    make(path, 2)
    before = path.read_bytes()
    for identity, key in (
        (LedgerIdentity("north", Role.PROVIDER, "L", signing_key("north", KeyPurpose.LOG).name), LOG_KEY),
        (IDENTITY, signing_key("east", KeyPurpose.LOG, 1)),
    ):
        with pytest.raises(LedgerUnavailableError, match=r"ledger"):
            Ledger.open(path, identity=identity, key=key, clock=SteppingClock())
    assert path.read_bytes() == before


def test_a_running_ledger_can_be_read_by_others(ledger: Ledger, path: Path) -> None:
    append_many(ledger, range(3))
    reader = open_reader(path)
    assert (reader.size, reader.genesis().party) == (4, "east")
    assert list(reader.read(0, 9)) == list(ledger.read(0, 9))
    reader.close()


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match="nowhere"):
        open_ledger(tmp_path / "nowhere" / "ledger.db")


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The disk is full, as far as this process can tell: EFBIG from every write beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_fails_the_append_and_the_ledger_recovers(path: Path) -> None:
    fold = Versions()
    with open_ledger(path, folds=[fold]) as ledger:
        append_many(ledger, range(20))
        before = list(fold.seen)
        with no_file_larger_than((path.parent / "ledger.db-wal").stat().st_size):
            for number in (20, 21):
                with pytest.raises(LedgerUnavailableError):
                    ledger.append(Draft(entry(number)))
            with pytest.raises(LedgerUnavailableError):
                ledger.checkpoint()
            assert fold.seen == before
            assert ledger.size == 21
        append_many(ledger, range(30, 35))
        assert fold.seen == [*before, *range(31, 36)]
    assert verify_database(path).verified
    assert verify_database(path).entries == 26


def test_a_full_disk_fails_every_caller_of_the_batch(path: Path) -> None:
    with open_ledger(path) as ledger:
        append_many(ledger, range(3))
        with no_file_larger_than((path.parent / "ledger.db-wal").stat().st_size), ThreadPoolExecutor(8) as pool:
            with one_batch(ledger):
                futures = [pool.submit(ledger.append, Draft(entry(number), ("one key",))) for number in range(8)]
            errors = [future.exception() for future in futures]
        assert all(isinstance(error, LedgerUnavailableError) for error in errors)
        assert ledger.append(Draft(entry(9), ("one key",))).index == 4


def test_entries_arrive_at_ten_thousand_a_second_or_so(path: Path) -> None:
    """A guard against anything quadratic: ten times as many take about ten times as long."""

    def seconds(count: int, at: Path) -> float:
        with open_ledger(at, config=QUIET) as ledger, ThreadPoolExecutor(32) as pool:
            started = time.perf_counter()
            list(pool.map(lambda number: ledger.append(Draft(entry(number))), range(count)))
            return time.perf_counter() - started

    small = seconds(500, path.with_name("small.db"))
    assert seconds(5_000, path) < 40 * small + 1


def test_a_ledger_with_nothing_left_to_sign_uses_no_processor(tmp_path):
    """A checkpoint asked for before the idle one was due once left its thread spinning for good."""
    with open_ledger(tmp_path / "ledger.db", config=LedgerConfig(checkpoint_idle_ms=20)) as ledger:
        ledger.append(Draft(entry(0)))
        ledger.checkpoint()
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.25
