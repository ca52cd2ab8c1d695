"""A ledger that signs nothing until its witnesses' sizes are known, and takes back what an older backup lost."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint, verify_checkpoint
from audit.cosignature import CosignerKey, cosign, verify_cosignatures
from audit.entry import DirectoryAccepted, Entry, decode_entry, encode_entry
from audit.errors import (
    BadSignatureError,
    DuplicateKeyError,
    LedgerError,
    LedgerUnavailableError,
    LimitExceededError,
    MalformedError,
    SigningHeldError,
    VerificationFailedError,
)
from audit.keys import SigningKey
from audit.ledger import Draft, Fold, Ledger, LedgerConfig, open_reader
from audit.names import KeyPurpose
from audit.verify import verify_database
from tests.audit.ledgers import (
    IDENTITY,
    LOG_KEY,
    ORIGIN,
    QUIET,
    SteppingClock,
    append_many,
    entry,
    make,
    open_ledger,
)
from tests.audit.samples import AT_MS, digest, signing_key

SEALING = replace(QUIET, seal_entries=50)
WITNESS = SigningKey.from_seed("watch.regulator.stats.example/witness", bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class Lost:
    """A ledger of `whole` entries, and in its place a backup of `kept` of them."""

    def __init__(self, path: Path, kept: int, whole: int) -> None:
        with open_ledger(path, config=SEALING) as ledger:
            fill(ledger, kept)
        backup = path.with_name("backup.db")
        shutil.copy(path, backup)
        with open_ledger(path, config=SEALING) as ledger:
            fill(ledger, whole)
            self.note = ledger.checkpoint()
        self.all = path.with_name("whole.db")
        path.rename(self.all)
        backup.rename(path)
        with open_reader(self.all) as reader:
            self.entries = list(reader.read(0, whole))

    def proof(self, size: int) -> list[bytes]:
        with open_reader(self.all) as reader:
            return reader.consistency_proof(size, len(self.entries))


def directory(version: int) -> DirectoryAccepted:
    return DirectoryAccepted(party="east", at_ms=AT_MS + version, version=version, digest=digest(f"{version}"))


def fill(ledger: Ledger, size: int) -> None:
    while ledger.size < size:
        version = ledger.size + 1
        ledger.append(Draft(directory(version), (f"directory:{version}",)))


class Directories:
    """A fold: the directory versions seen, in order."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.resets = 0

    def reset(self) -> None:
        self.seen = []
        self.resets += 1

    def apply(self, index: int, entry: Entry) -> None:
        if isinstance(entry, DirectoryAccepted):
            self.seen.append(entry.version)


def open_held(path: Path, *folds: Fold, config: LedgerConfig = SEALING) -> Ledger:
    return Ledger.open(
        path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), folds=folds, config=config, hold=True
    )


@pytest.fixture
def lost(path: Path) -> Lost:
    return Lost(path, 120, 330)


@pytest.fixture
def held(lost: Lost, path: Path) -> Iterator[Ledger]:
    with open_held(path) as ledger:
        yield ledger


def test_a_held_ledger_appends_and_signs_nothing(path: Path) -> None:
    make(path, 3)
    eager = LedgerConfig(checkpoint_entries=1, checkpoint_idle_ms=1)
    with open_held(path, config=eager) as ledger:
        assert ledger.held
        signed = ledger.checkpoint()
        append_many(ledger, range(3, 9))
        ledger.try_writing()
        with pytest.raises(SigningHeldError):
            ledger.checkpoint()
        time.sleep(0.05)
        assert ledger.latest_checkpoint() == signed
    with open_reader(path) as reader:
        assert (reader.size, reader.latest_checkpoint()) == (10, signed)


def test_a_released_ledger_signs_what_it_had_not(path: Path) -> None:
    make(path, 3)
    with open_held(path, config=LedgerConfig(checkpoint_idle_ms=1)) as ledger:
        append_many(ledger, range(3, 9))
        ledger.release()
        ledger.release()
        assert not ledger.held
        deadline = time.monotonic() + 10
        while len(list(ledger.checkpoints())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        note = ledger.latest_checkpoint()
        assert note is not None
        assert verify_checkpoint(note, LOG_KEY.verifying_key, origin=ORIGIN).size == 10


def test_a_refused_signature_does_not_make_the_ledger_read_itself_again(path: Path) -> None:
    fold = Directories()
    with open_held(path, fold) as ledger:
        ledger.append(Draft(entry(1)))
        for _ in range(3):
            with pytest.raises(SigningHeldError):
                ledger.checkpoint()
    assert fold.resets == 1


def test_lost_entries_are_taken_back_byte_for_byte_with_all_that_hangs_on_them(lost: Lost, path: Path) -> None:
    fold = Directories()
    with open_held(path, fold) as ledger:
        ledger.adopt(lost.entries[120:], lost.note)
        assert list(ledger.read(0, 999)) == lost.entries
        assert ledger.latest_checkpoint() == ledger.checkpoint() == lost.note
        assert (fold.seen[-1], fold.resets) == (330, 1)
        versions = [getattr(decode_entry(data), "version", 0) for data in lost.entries]
        assert [version for version in versions if version] == fold.seen
        for index, version in enumerate(versions):
            assert ledger.find(f"directory:{version}") == (index if version else None)
        with pytest.raises(DuplicateKeyError):
            ledger.append(Draft(directory(330), ("directory:330",)))
        ledger.release()
        fill(ledger, 340)
    report = verify_database(path, anchors=[lost.note])
    assert (report.verified, report.entries, report.anchored) == (True, 340, True)


def test_they_are_taken_back_batch_by_batch(lost: Lost, held: Ledger) -> None:
    for start in range(120, 330, 70):
        end = start + 70
        held.adopt(lost.entries[start:end], lost.note, lost.proof(end))
        assert held.size == end
        if end < 330:
            with pytest.raises(SigningHeldError, match=f"entries {end} to 329"):
                held.append(Draft(entry(1_000)))
            with pytest.raises(SigningHeldError):
                held.release()
    held.release()
    held.append(Draft(entry(1_000)))
    assert held.size == 331


def test_a_batch_taken_back_survives_a_crash_and_the_rest_follows(lost: Lost, path: Path) -> None:
    with open_held(path) as ledger:
        ledger.adopt(lost.entries[120:200], lost.note, lost.proof(200))
    assert verify_database(path).verified
    with open_held(path) as ledger:
        ledger.adopt(lost.entries[200:], lost.note)
        assert ledger.checkpoint() == lost.note


def test_a_ledger_lost_altogether_is_taken_back_from_its_first_entry(lost: Lost, path: Path) -> None:
    path.unlink()
    with open_held(path) as ledger:
        assert ledger.size == 0
        ledger.adopt(lost.entries, lost.note)
        ledger.release()
        assert ledger.genesis().party == "east"
    assert verify_database(path, anchors=[lost.note]).verified


def test_a_new_held_ledger_begins_when_something_is_appended_or_it_is_released(tmp_path: Path) -> None:
    with open_held(tmp_path / "one.db") as ledger:
        assert ledger.append(Draft(entry(1))).index == 1
    with open_held(tmp_path / "two.db") as ledger:
        with pytest.raises(SigningHeldError):
            ledger.checkpoint()
        ledger.release()
        assert (ledger.size, ledger.genesis().party) == (1, "east")
    with open_held(tmp_path / "three.db") as ledger:
        assert ledger.size == 0
    open_ledger(tmp_path / "three.db").close()
    assert verify_database(tmp_path / "three.db").verified


def signed_again(lost: Lost, size: int, *, key: SigningKey = LOG_KEY, root: bytes = b"") -> bytes:
    checkpoint = Checkpoint.from_body(Note.decode(lost.note).text)
    return sign_checkpoint(Checkpoint(ORIGIN, size, root or checkpoint.root), key)


def changed(lost: Lost, index: int) -> list[bytes]:
    return [encode_entry(entry(9_999)) if at == index else data for at, data in enumerate(lost.entries)]


def test_what_does_not_lead_to_the_logs_own_checkpoint_is_refused_and_nothing_is_recorded(
    lost: Lost, held: Ledger
) -> None:
    other = encode_entry(entry(330, party="north"))
    stranger = signing_key("east", KeyPurpose.LOG, 7)
    north = signing_key("north", KeyPurpose.LOG)
    rest = lost.entries[120:]
    attempts: list[tuple[type[Exception], list[bytes], bytes, list[bytes]]] = [
        (MalformedError, [*rest[:-1], b"{}"], lost.note, []),
        (MalformedError, [*rest[:-1], other], lost.note, []),
        (MalformedError, [*rest[:-1], lost.entries[0]], lost.note, []),
        (MalformedError, rest, b"no note", []),
        (MalformedError, [*rest, encode_entry(entry(330))], lost.note, []),
        (MalformedError, [], lost.note, []),
        (BadSignatureError, rest, signed_again(lost, 330, key=stranger), []),
        (BadSignatureError, rest, sign_checkpoint(Checkpoint(north.name, 330, bytes(32)), north), []),
        (VerificationFailedError, rest, signed_again(lost, 330, root=bytes(32)), []),
        (VerificationFailedError, changed(lost, 329)[120:], lost.note, []),
        (VerificationFailedError, changed(lost, 130)[120:], lost.note, []),
        (VerificationFailedError, rest[:-1], lost.note, []),
        (VerificationFailedError, rest[:-1], lost.note, lost.proof(328)),
        (VerificationFailedError, rest, lost.note, lost.proof(328)),
        (VerificationFailedError, changed(lost, 150)[120:200], lost.note, lost.proof(200)),
        (VerificationFailedError, rest[1:], signed_again(lost, 329), []),
    ]
    before = held.latest_checkpoint()
    for error, entries, note, proof in attempts:
        with pytest.raises(error):
            held.adopt(entries, note, proof)
        assert (held.size, held.latest_checkpoint()) == (120, before)
    held.adopt(rest, lost.note)
    assert held.size == 330


def test_entries_of_another_history_than_the_own_unsigned_ones_are_refused(lost: Lost, held: Ledger) -> None:
    held.append(Draft(entry(500)))
    with pytest.raises(VerificationFailedError):
        held.adopt(lost.entries[121:], lost.note)
    assert held.size == 121


def test_an_unsigned_tail_that_the_witness_knows_is_continued(lost: Lost, path: Path) -> None:
    """The backup was taken between two checkpoints."""
    with open_held(path) as ledger:
        ledger.adopt(lost.entries[120:200], lost.note, lost.proof(200))
    with open_held(path) as ledger:
        assert ledger.size == 200
        with pytest.raises(SigningHeldError):
            ledger.checkpoint()
        ledger.adopt(lost.entries[200:], lost.note)
    assert verify_database(path, anchors=[lost.note]).verified


def test_a_lost_checkpoint_comes_back_without_entries(path: Path) -> None:
    note = make(path, 5)
    with open_held(path) as ledger:
        append_many(ledger, range(5, 7))
    with open_held(path) as ledger:
        stored = Checkpoint.from_body(Note.decode(note).text)
        with pytest.raises(VerificationFailedError):
            ledger.adopt([], sign_checkpoint(Checkpoint(ORIGIN, 8, stored.root), LOG_KEY))
        now = sign_checkpoint(Checkpoint(ORIGIN, 8, ledger.root(8)), LOG_KEY)
        ledger.adopt([], now)
        ledger.adopt([], now)
        assert ledger.checkpoint() == now


def test_another_partys_history_is_not_taken_into_an_empty_ledger(lost: Lost, tmp_path: Path) -> None:
    key = signing_key("north", KeyPurpose.LOG)
    identity = replace(IDENTITY, party="north", origin=key.name)
    with Ledger.open(tmp_path / "n.db", identity=identity, key=key, clock=SteppingClock(), hold=True) as ledger:
        with pytest.raises(BadSignatureError):
            ledger.adopt(lost.entries, lost.note)
        with pytest.raises(MalformedError):
            ledger.adopt(lost.entries, sign_checkpoint(Checkpoint(key.name, 330, bytes(32)), key))
        assert ledger.size == 0


def test_a_ledger_that_is_not_held_adopts_nothing(lost: Lost, path: Path) -> None:
    with open_ledger(path) as ledger:
        with pytest.raises(LedgerError, match="hold"):
            ledger.adopt(lost.entries[120:], lost.note)
        assert ledger.size == 120


def test_an_adopted_note_keeps_the_logs_own_line_alone(lost: Lost, held: Ledger) -> None:
    """Else a witness's copy could make an honest ledger fail, by a false line under another witness's name."""
    cosigner = CosignerKey(WITNESS.verifying_key)
    forged = NoteSignature(cosigner.name, cosigner.key_id, bytes(72))
    note = Note.decode(lost.note)
    held.adopt(lost.entries[120:], Note(note.text, (forged, *note.signatures)).encode())
    assert held.checkpoint() == lost.note


# Cosignatures


def line(note: bytes, *, at_s: int = 1_760_000_000, key: SigningKey = WITNESS) -> NoteSignature:
    return cosign(Note.decode(note).text, key, at_s)


def times(note: bytes | None) -> list[int]:
    assert note is not None
    found = verify_cosignatures(Note.decode(note), [CosignerKey(WITNESS.verifying_key)])
    return [cosignature.timestamp_s for cosignature in found]


def test_cosignatures_are_kept_beside_the_logs_own_line(path: Path) -> None:
    with open_ledger(path) as ledger:
        note = ledger.checkpoint()
        ledger.add_cosignatures(1, [line(note)])
        assert ledger.checkpoint() == ledger.latest_checkpoint()
        assert times(ledger.latest_checkpoint()) == [1_760_000_000]
        verify_checkpoint(ledger.checkpoint(), LOG_KEY.verifying_key, origin=ORIGIN)
    with open_ledger(path) as ledger:
        assert times(ledger.checkpoint()) == [1_760_000_000]
    assert verify_database(path).verified


def test_a_witness_has_one_line_and_its_first_stays(path: Path) -> None:
    with open_ledger(path) as ledger:
        note = ledger.checkpoint()
        ledger.add_cosignatures(1, [line(note, at_s=5)])
        once = ledger.checkpoint()
        ledger.add_cosignatures(1, [line(note, at_s=9)])
        assert ledger.checkpoint() == once


def test_an_earlier_size_takes_cosignatures_too_and_an_unknown_one_does_not(path: Path) -> None:
    with open_ledger(path) as ledger:
        first = ledger.checkpoint()
        append_many(ledger, range(3))
        last = ledger.checkpoint()
        ledger.add_cosignatures(1, [line(first)])
        assert ledger.checkpoint() == last
        assert [times(note) for note in ledger.checkpoints()] == [[1_760_000_000], []]
        with pytest.raises(LedgerError, match="2 entries"):
            ledger.add_cosignatures(2, [line(first)])
        assert list(ledger.checkpoints_backwards()) == list(ledger.checkpoints())[::-1]


def test_no_note_is_stored_that_could_not_be_read(path: Path) -> None:
    with open_ledger(path) as ledger:
        note = ledger.checkpoint()
        many = [line(note, key=SigningKey.generate(f"w{number}")) for number in range(64)]
        with pytest.raises(LimitExceededError):
            ledger.add_cosignatures(1, many)
        assert ledger.checkpoint() == note


def test_a_held_ledger_takes_cosignatures(path: Path) -> None:
    note = make(path, 3)
    with open_held(path) as ledger:
        ledger.add_cosignatures(4, [line(note)])
        assert times(ledger.checkpoint()) == [1_760_000_000]


def test_the_genesis_of_another_party_is_named(path: Path) -> None:
    make(path, 1)
    identity = replace(IDENTITY, origin=signing_key("north", KeyPurpose.LOG).name, party="north")
    with pytest.raises(LedgerUnavailableError, match="of east"):
        Ledger.open(path, identity=identity, key=LOG_KEY, clock=SteppingClock(), hold=True)
