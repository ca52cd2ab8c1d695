"""The regulator's copy of a ledger: what leads to a cosigned checkpoint and nothing else, whole after a crash."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note, sign_checkpoint
from audit.cosignature import add_lines, cosign
from audit.entry import Side
from audit.entry_keys import EntryKeys
from audit.errors import (
    Damage,
    LedgerDamagedError,
    LedgerUnavailableError,
    LimitExceededError,
    MalformedError,
    OutOfStepError,
    VerificationFailedError,
)
from audit.ledger import Draft, LedgerReader, open_reader
from audit.names import KeyPurpose
from audit.replica import MAX_EXTENSION_BYTES, MAX_EXTENSION_ENTRIES, Replica
from audit.tree import EMPTY_ROOT, leaf_hash, root_of
from audit.verify import verify_database
from tests.audit import samples
from tests.audit.ledgers import LOG_KEY, ORIGIN, append_many, edit, make, open_ledger
from tests.audit.samples import ack, outcome, signing_key
from tests.audit.witnessed import WITNESS

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 600 entries."""
    path = tmp_path_factory.mktemp("east") / "ledger.db"
    make(path, 599)
    return path


@pytest.fixture
def east(original: Path) -> Iterator[LedgerReader]:
    with open_reader(original) as reader:
        yield reader


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Replica]:
    replica = Replica.open(tmp_path / "replicas" / "east" / "ledger.db")
    yield replica
    replica.close()


def cosigned(reader: LedgerReader, size: int | None = None) -> bytes:
    """The log's checkpoint of that size, with a witness's line."""
    size = reader.size if size is None else size
    note = Note.decode(sign_checkpoint(Checkpoint(ORIGIN, size, reader.root(size)), LOG_KEY))
    return add_lines(note, [cosign(note.text, WITNESS, 7)]).encode()


def send(reader: LedgerReader, replica: Replica, start: int, end: int, under: int | None = None) -> int:
    under = reader.size if under is None else under
    proof = reader.consistency_proof(end, under)
    return replica.extend(list(reader.read(start, end)), proof, cosigned(reader, under), start=start)


def same(reader: LedgerReader, replica: Replica) -> bool:
    size = replica.size
    return list(replica.read(0, size)) == list(reader.read(0, size)) and replica.root(size) == reader.root(size)


@pytest.mark.parametrize("step", [1, 7, 256, 257, 600])
def test_a_copy_sent_in_pieces_is_the_ledger(east: LedgerReader, copy: Replica, tmp_path: Path, step: int) -> None:
    stop = 30 if step == 1 else 600
    for start in range(0, stop, step):
        end = min(start + step, stop)
        assert send(east, copy, start, end, under=stop) == end
    assert copy.size == stop
    assert same(east, copy)
    assert copy.latest_checkpoint() == cosigned(east, stop)
    report = verify_database(tmp_path / "replicas" / "east", anchors=[cosigned(east, stop)])
    assert (report.verified, report.anchored, report.entries, report.checkpoints) == (True, True, stop, 1)


def test_checkpoints_that_the_entries_reach_are_kept(east: LedgerReader, copy: Replica, tmp_path: Path) -> None:
    for start, end in ((0, 10), (10, 300), (300, 600)):
        send(east, copy, start, end, under=end)
    assert list(copy.checkpoints()) == [cosigned(east, size) for size in (10, 300, 600)]
    assert verify_database(tmp_path / "replicas" / "east").checkpoints == 3


def test_a_checkpoint_may_come_after_its_entries_and_counts_once(east: LedgerReader, copy: Replica) -> None:
    send(east, copy, 0, 300)
    assert copy.latest_checkpoint() is None
    for _ in range(2):
        assert send(east, copy, 300, 300, under=300) == 300
    assert list(copy.checkpoints()) == [cosigned(east, 300)]


def test_a_sender_that_lost_its_place_is_told_it(east: LedgerReader, copy: Replica) -> None:
    send(east, copy, 0, 100)
    for start in (0, 99, 101, 500):
        with pytest.raises(OutOfStepError, match="entry 100") as caught:
            send(east, copy, start, 600)
        assert caught.value.size == 100
    assert send(east, copy, 100, 600) == 600


def test_without_a_start_a_gap_or_overlap_leads_to_no_checkpoint(east: LedgerReader, copy: Replica) -> None:
    send(east, copy, 0, 100)
    for start in (0, 99, 101):
        entries = list(east.read(start, start + 500))
        with pytest.raises(VerificationFailedError):
            copy.extend(entries, east.consistency_proof(600, 600), cosigned(east))
    assert copy.size == 100


def test_entries_that_are_not_the_logs_are_refused_whole(east: LedgerReader, copy: Replica) -> None:
    send(east, copy, 0, 100)
    good = list(east.read(100, 600))
    altered = [*good[:-1], good[-1] + b" "]
    swapped = [good[1], good[0], *good[2:]]
    for entries in (altered, swapped, good[:-1], [*good, good[-1]], []):
        with pytest.raises(VerificationFailedError) as caught:
            copy.extend(entries, (), cosigned(east), start=100)
        assert (caught.value.damage, caught.value.index) == (Damage.ALTERED, 100)
    assert copy.size == 100
    assert list(copy.read(100, 600)) == []
    assert copy.extend(good, (), cosigned(east), start=100) == 600


@pytest.mark.parametrize("proof", [(), (bytes(32),), (b"short",), (bytes(32),) * 9])
def test_a_wrong_proof_is_refused(east: LedgerReader, copy: Replica, proof: tuple[bytes, ...]) -> None:
    with pytest.raises(VerificationFailedError):
        copy.extend(list(east.read(0, 100)), proof, cosigned(east))
    assert copy.size == 0


def test_a_replica_of_nothing_takes_the_empty_trees_checkpoint_only(east: LedgerReader, copy: Replica) -> None:
    for root in (bytes(32), EMPTY_ROOT):
        note = sign_checkpoint(Checkpoint(ORIGIN, 0, root), LOG_KEY)
        if root != EMPTY_ROOT:
            with pytest.raises(VerificationFailedError):
                copy.extend([], (), note)
        else:
            copy.extend([], (), note)
    assert copy.root(0) == EMPTY_ROOT


def test_what_is_no_note_is_refused(east: LedgerReader, copy: Replica) -> None:
    for note in (b"", b"no note", Note(b"no checkpoint\n", ()).sign(LOG_KEY).encode()):
        with pytest.raises(MalformedError):
            copy.extend(list(east.read(0, 600)), (), note)


def test_one_extension_is_bounded(copy: Replica) -> None:
    def extend(entries: list[bytes]) -> int:
        note = sign_checkpoint(Checkpoint(ORIGIN, len(entries), root_of([leaf_hash(e) for e in entries])), LOG_KEY)
        return copy.extend(entries, (), note)

    for entries in (
        [b"x"] * (MAX_EXTENSION_ENTRIES + 1),
        [b"x" * 8192] * (MAX_EXTENSION_BYTES // 8192) + [b"x"],
        [b"x" * 8193],
    ):
        with pytest.raises(LimitExceededError):
            extend(entries)
    assert copy.size == 0
    assert extend([b"x"] * MAX_EXTENSION_ENTRIES) == MAX_EXTENSION_ENTRIES


def test_what_a_log_signed_is_kept_even_if_it_is_no_entry(copy: Replica, tmp_path: Path) -> None:
    """It is evidence. Verifying the copy finds it, as it would in the original."""
    entries = [b"no entry", b'{"kind":"contract"}']
    for reopened in (copy, Replica.open(tmp_path / "replicas" / "east" / "ledger.db")):
        start, leaves = reopened.size, [leaf_hash(data) for data in reopened.read(0, reopened.size)]
        leaves += [leaf_hash(data) for data in entries]
        note = sign_checkpoint(Checkpoint(ORIGIN, start + 2, root_of(leaves)), LOG_KEY)
        assert reopened.extend(entries, (), note) == start + 2
    reopened.close()
    assert verify_database(tmp_path / "replicas" / "east").damage is Damage.ALTERED


def test_the_keys_are_those_that_the_ledgers_writers_use(copy: Replica, tmp_path: Path) -> None:
    (tmp_path / "east").mkdir()
    with open_ledger(tmp_path / "east" / "ledger.db") as ledger:
        keys = EntryKeys()
        for number in range(3):
            for entry in (outcome(Side.PROVIDER, number=number), ack(Side.PROVIDER, number=number)):
                ledger.append(Draft(entry, keys=keys.keys_of(entry)))
        send(ledger, copy, 0, 4)
        send(ledger, copy, 4, 7)
        for number in range(3):
            for entry in (outcome(Side.PROVIDER, number=number), ack(Side.PROVIDER, number=number)):
                for key in EntryKeys().keys_of(entry):
                    assert copy.find(key) == ledger.find(key) is not None


def test_a_key_that_the_log_used_twice_stays_with_the_first(copy: Replica, tmp_path: Path) -> None:
    (tmp_path / "east").mkdir()
    twice = outcome(Side.PROVIDER)
    with open_ledger(tmp_path / "east" / "ledger.db") as ledger:
        for entry in (twice, twice, replace(twice, at_ms=twice.at_ms + 1)):
            ledger.append(Draft(entry))
        send(ledger, copy, 0, 3)
        send(ledger, copy, 3, 4)
    (key, *_) = EntryKeys().keys_of(twice)
    assert copy.find(key) == 1


def test_contract_entries_are_counted_over_a_reopening_and_a_failure(copy: Replica, tmp_path: Path) -> None:
    """Their keys carry a number in order; what was rolled back does not count."""
    path = tmp_path / "replicas" / "east" / "ledger.db"
    (tmp_path / "east").mkdir()
    with open_ledger(tmp_path / "east" / "ledger.db") as ledger:
        transition = samples.entries()["entry_contract"]
        keys = EntryKeys()
        for _ in range(6):
            ledger.append(Draft(transition, keys=keys.keys_of(transition)))
        send(ledger, copy, 0, 3)
        edit(path, "CREATE TRIGGER full BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(LedgerUnavailableError, match="full"):
            send(ledger, copy, 3, 5, under=5)
        assert copy.size == 3
        assert list(copy.read(0, 9)) == list(ledger.read(0, 3))
        edit(path, "DROP TRIGGER full")
        send(ledger, copy, 3, 5, under=5)
        copy.close()
        with Replica.open(path) as again:
            send(ledger, again, 5, 7)
            counted = EntryKeys()
            for index in range(1, 7):
                (key,) = counted.keys_of(transition)
                assert again.find(key) == ledger.find(key) == index


def test_of_two_threads_that_send_the_same_entries_one_adds_them(east: LedgerReader, copy: Replica) -> None:
    told: list[int] = []
    note, good = cosigned(east), list(east.read(0, 600))
    together = threading.Barrier(4)

    def push() -> None:
        together.wait()
        try:
            told.append(copy.extend(good, (), note, start=0))
        except OutOfStepError as error:
            told.append(-error.size)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [-600, -600, -600, 600]
    assert same(east, copy)


def test_a_log_that_changed_its_key_is_copied_on(copy: Replica, tmp_path: Path) -> None:
    (tmp_path / "east").mkdir()
    with open_ledger(tmp_path / "east" / "ledger.db") as ledger:
        append_many(ledger, range(5))
        ledger.checkpoint()
        ledger.rotate(signing_key("east", KeyPurpose.LOG, 1), 4)
        append_many(ledger, range(5, 9))
        note = ledger.checkpoint()
        for end in (6, 7, ledger.size):
            entries = list(ledger.read(copy.size, end))
            copy.extend(entries, ledger.consistency_proof(end, ledger.size), note)
    report = verify_database(tmp_path / "replicas" / "east", anchors=[note])
    assert (report.verified, report.anchored, report.entries) == (True, True, 11)


def test_the_folder_and_the_file_are_their_owners_alone(copy: Replica, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "replicas" / "east").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "replicas" / "east" / "ledger.db").stat().st_mode) == 0o600


def test_a_copy_goes_on_where_it_was_when_it_is_opened_again(east: LedgerReader, copy: Replica, tmp_path: Path) -> None:
    send(east, copy, 0, 300)
    copy.close()
    copy.close()
    with Replica.open(tmp_path / "replicas" / "east" / "ledger.db") as again:
        assert send(east, again, 300, 600) == 600
        assert same(east, again)


def test_two_openings_of_one_copy_do_not_mix(east: LedgerReader, copy: Replica, tmp_path: Path) -> None:
    with Replica.open(tmp_path / "replicas" / "east" / "ledger.db") as other:
        send(east, copy, 0, 100)
        with pytest.raises(OutOfStepError):
            send(east, other, 0, 200)
        send(east, other, 100, 200)
        send(east, copy, 200, 600)
    assert same(east, copy)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE tiles SET hashes = zeroblob(length(hashes))", "DELETE FROM tiles"],
)
def test_a_copy_that_was_changed_does_not_make_its_party_look_guilty(
    east: LedgerReader, copy: Replica, tmp_path: Path, damage: str
) -> None:
    send(east, copy, 0, 300, under=300)
    copy.close()
    edit(tmp_path / "replicas" / "east" / "ledger.db", damage)
    with (
        Replica.open(tmp_path / "replicas" / "east" / "ledger.db") as again,
        pytest.raises(LedgerDamagedError, match="verify"),
    ):
        send(east, again, 300, 600)


def _copy_for_ever(source: Path, target: Path, told: multiprocessing.connection.Connection) -> None:
    reader = open_reader(source)
    with Replica.open(target) as replica:
        while replica.size < reader.size:
            told.send(send(reader, replica, replica.size, replica.size + 1))


def test_what_was_added_outlives_a_killed_process(original: Path, east: LedgerReader, tmp_path: Path) -> None:
    receiver, sender = SPAWN.Pipe(duplex=False)
    path = tmp_path / "copy" / "ledger.db"
    process = SPAWN.Process(target=_copy_for_ever, args=(original, path, sender))
    process.start()
    sender.close()
    answered = 0
    while answered < 20:
        answered = receiver.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    try:
        while receiver.poll():
            answered = receiver.recv()
    except EOFError:
        pass
    with Replica.open(path) as replica:
        assert replica.size in (answered, answered + 1)
        assert same(east, replica)
        assert send(east, replica, replica.size, 600) == 600
    assert verify_database(path).verified
