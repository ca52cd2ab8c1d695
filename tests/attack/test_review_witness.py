"""What a hostile reading of the witness found: each attack as it succeeded before its defence was there."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path

import pytest
from grpc import ServicerContext
from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint
from audit.cosignature import add_lines
from audit.draft import Draft
from audit.entry import DirectoryAccepted, LogRefused, WitnessOverride
from audit.errors import LedgerDamagedError, LedgerUnavailableError, Refusal, WitnessRefusedError
from audit.keys import KeyPurpose, SigningKey
from audit.ledger import Ledger, LedgerIdentity, open_reader
from audit.names import Role
from audit.policy import Policy
from audit.submission import Submission
from audit.tree import leaf_hash
from audit.verify import verify_database
from parties import own_keys
from parties.client.merchant import Merchant
from parties.client.witness import WitnessClient
from parties.entry_bundle import bundles
from parties.errors import ConfigError, HomeError
from parties.founding import install_directory
from parties.home import Home
from parties.key_room import open_key_room
from parties.own_keys import rotate_keys
from parties.provider import Provider
from parties.regulator import Regulator
from parties.replicas import Replicas
from parties.server import PartyServer
from parties.service.witness import REFUSALS
from parties.telemetry import make_logger
from parties.witness_desk import WitnessDesk
from parties.witness_http import WitnessHttpServer
from protocols.executor import InlineExecutor
from sandbox.authorise import PeerIdentity
from sandbox.contract_states import ContractAction
from sandbox.errors import StateTransitionError
from tests.audit.witnessed import SmallLog, watching
from tests.parties.federation import Federation, federation
from tests.parties.homes import CLOCK, DOMAIN, Served, free_port, join, new_home, served
from tests.parties.test_federation import rows
from tests.parties.test_witness_http import AtLocalhost, renew
from tests.parties.witnesses import (
    copy_books,
    cosigned_size,
    decoded,
    entries_of,
    eventually,
    put_back,
    set_witness,
    start_provider,
    start_regulator,
    stop_regulator,
    witness_key,
)

LOG, WITNESS = KeyPurpose.LOG, KeyPurpose.WITNESS
WAIT_MS = 5_000


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def east(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))


def write(home: Home, *, hold: bool = False) -> Ledger:
    """A party's ledger in the hands of whoever runs other software over it."""
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    key = home.signing_key(LOG)
    return Ledger.open(home.ledger_path, identity=identity, key=key, clock=CLOCK, hold=hold)


def append(ledger: Ledger, count: int = 1) -> None:
    for _ in range(count):
        party, version = ledger.identity.party, 1000 + ledger.size
        ledger.append(Draft(DirectoryAccepted(party=party, at_ms=CLOCK.now_ms(), version=version, digest="0" * 64)))


def rotate(home: Home, *purposes: KeyPurpose) -> None:
    logger = make_logger(home.config.telemetry, home.name, StringIO())
    with open_key_room(home, CLOCK, logger) as room:
        rotate_keys(home, room, frozenset(purposes), CLOCK)


# -- a provider ------------------------------------------------------------------------------------------------------


def test_a_bogus_line_beside_the_cosignature_does_not_spoil_the_replica(watch: Served, east: Home) -> None:
    """A dishonest provider sends its entries under a note that its own line on does not verify."""
    with write(east) as ledger:
        append(ledger, 3)
        note = Note.decode(ledger.checkpoint())
        dialler, _ = watch.channel(east)
        with closing(dialler):
            client = WitnessClient(dialler)
            lines = client.add_checkpoint("watch", Submission(0, (), note.encode()), WAIT_MS)
            (own,) = note.signatures
            bogus = NoteSignature(own.name, own.key_id, bytes(64))
            (bundle,) = bundles(ledger, 0, ledger.size, Note(note.text, (bogus, *lines)).encode())
            assert client.add_entries("watch", east.origin, bundle, WAIT_MS) == ledger.size
    assert verify_database(watch.home.replicas / "east", directory=watch.directory()).verified


def thiefs_log(home: Home, key: SigningKey) -> SmallLog:
    """The party's log, carried on by somebody who has one of its keys."""
    return SmallLog(tuple(leaf_hash(data) for data in (*entries_of(home.path), b"a thief's entry")), key)


def test_a_stolen_retired_log_key_extends_no_log(watch: Served, east: Home) -> None:
    """It was believed for a day after its rotation, by a witness that anybody may ask over HTTPS."""
    write(east).close()
    stolen = east.signing_key(LOG)
    rotate(east, LOG)
    witnessed = watch.regulator.witness.witnessed(east.origin)
    assert witnessed is not None
    entries = len(entries_of(east.path))
    assert witnessed.size == entries, "the hand-over itself is cosigned"
    log = thiefs_log(east, stolen)
    root = log.root(entries + 1)
    note = sign_checkpoint(Checkpoint(east.origin, entries + 1, root), stolen)
    with pytest.raises(WitnessRefusedError) as caught:
        watch.regulator.witness.add_checkpoint(Submission(entries, log.proof(entries, entries + 1), note))
    assert caught.value.refusal is Refusal.UNTRUSTED_KEY
    assert decoded(watch.home.path)


@pytest.mark.parametrize("role", [Role.PROVIDER, Role.MERCHANT])
def test_a_party_whose_rotation_died_after_the_ledger_went_over_just_starts(
    tmp_path: Path, watch: Served, role: Role
) -> None:
    home = join(watch.regulator, new_home(tmp_path, "shop", role))
    write(home).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_keys, "put_in_use", died)
        with pytest.raises(DiedError):
            rotate(home, LOG)
    start(home).close()
    assert home.signing_key(LOG).verifying_key == watch.directory().party("shop").key(LOG)
    witnessed = watch.regulator.witness.witnessed(home.origin)
    assert witnessed is not None
    assert witnessed.size == len(entries_of(home.path))


class DiedError(Exception):
    """The process ends here."""


def died(*arguments: object) -> None:
    raise DiedError


def start(home: Home) -> Provider | Merchant:
    if home.role is Role.MERCHANT:
        return Merchant.open(home, say=lambda text: None)
    logger = make_logger(home.config.telemetry, home.name, StringIO())
    return Provider.open(home, executor=InlineExecutor(), logger=logger)


# -- copies put in place while others are away -------------------------------------------------------------------------


@pytest.fixture
def fed(tmp_path: Path) -> Iterator[Federation]:
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path / "fed", frames, prepare=set_witness) as running:
        yield running


def provider(fed: Federation, name: str = "east") -> Provider:
    party = fed.providers[name].party
    assert isinstance(party, Provider)
    return party


def until_kept(fed: Federation, name: str = "east") -> None:
    home = fed.homes()[name]
    eventually(lambda: entries_of(fed.regulator.home.replicas / name) == entries_of(home.path))


def set_back(fed: Federation, to: Path, happens: Callable[[], object]) -> None:
    """East is stopped and copied; then something happens that its regulator keeps; then the copy is put back."""
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    copy_books(home.path, to)
    start_provider(fed, "east")
    happens()
    until_kept(fed)
    fed.providers["east"].stop()
    put_back(to, home.path)


def test_entries_taken_back_in_the_background_reach_the_book_of_contracts(fed: Federation, tmp_path: Path) -> None:
    """East has revoked a contract. In an old copy, which learns of it only when it runs, that stayed in force."""
    contract = fed.contract()
    set_back(fed, tmp_path / "old", lambda: provider(fed).decide(contract, ContractAction.REVOKE, "not any more"))
    stop_regulator(fed)
    start_provider(fed, "east")
    assert provider(fed).ledger.held
    start_regulator(fed)
    eventually(lambda: not provider(fed).ledger.held)
    with pytest.raises(StateTransitionError, match="revoked"):
        provider(fed).decide(contract, ContractAction.REVOKE, "once more")


@contextmanager
def lying(fed: Federation, lie: Callable[[WitnessDesk], witness_pb2_grpc.WitnessServiceServicer]) -> Iterator[None]:
    """In the regulator's place, something with its certificate and its records."""
    stop_regulator(fed)
    home = fed.regulator.home
    directory = home.directory(now_ms=0)
    logger = make_logger(home.config.telemetry, home.name, StringIO())
    with write(home, hold=True) as ledger:
        desk = WitnessDesk(home, ledger, lambda: directory, CLOCK, logger)
        server = PartyServer(home, directory=lambda: directory, logger=logger)
        server.add(witness_pb2_grpc.add_WitnessServiceServicer_to_server, lie(desk), "unseen.v1.WitnessService")
        server.start()
        try:
            yield
        finally:
            server.stop(0)
            desk.close()
    start_regulator(fed)


class TruthfulOfSizes(witness_pb2_grpc.WitnessServiceServicer):
    """Says what it has cosigned, and gives back what it likes."""

    def __init__(self, desk: WitnessDesk) -> None:
        self._desk = desk

    def GetWitnessed(self, request: witness_pb2.GetWitnessedRequest, context: object) -> object:
        held = self._desk.witnessed(request.origin)
        assert held is not None
        return witness_pb2.GetWitnessedResponse(size=held.size, note=held.note, replica_size=held.size)


class Forging(TruthfulOfSizes):
    def ListWitnessedEntries(self, request: witness_pb2.ListWitnessedEntriesRequest, context: object) -> object:
        held = self._desk.witnessed(request.origin)
        assert held is not None
        entries = [b"{}"] * (held.size - request.start)
        yield witness_pb2.ListWitnessedEntriesResponse(start=request.start, entries=entries, note=held.note)


class BreakingOff(TruthfulOfSizes):
    def ListWitnessedEntries(self, request: witness_pb2.ListWitnessedEntriesRequest, context: object) -> object:
        peer = PeerIdentity("east", Role.PROVIDER, "", "")
        bundle = next(iter(self._desk.entries(request.origin, request.start, peer)))
        held = self._desk.witnessed(request.origin)
        assert held is not None
        replica = self._desk._replica(request.origin)
        assert replica is not None
        proof = replica.consistency_proof(request.start + 1, held.size)
        yield witness_pb2.ListWitnessedEntriesResponse(
            start=bundle.start, entries=bundle.entries[:1], proof=proof, note=held.note
        )


def test_a_regulator_that_gives_back_false_entries_does_not_make_a_party_believe_that_it_is_forked(
    fed: Federation, tmp_path: Path
) -> None:
    """It did, and stayed held until it was started anew, also with an honest regulator."""
    contract = fed.contract()
    set_back(fed, tmp_path / "old", lambda: fed.merchant.aggregate(contract, statistics=["count"]))
    with lying(fed, Forging), pytest.raises(HomeError, match="not what this party has signed"):
        start_provider(fed, "east")
    start_provider(fed, "east")
    eventually(lambda: not provider(fed).ledger.held)
    assert fed.merchant.aggregate(contract, statistics=["count"]).receipts


@pytest.mark.parametrize("lie", [BreakingOff, TruthfulOfSizes])
def test_what_was_not_taken_back_whole_is_not_written_to_also_after_a_restart(
    fed: Federation, tmp_path: Path, lie: type[TruthfulOfSizes]
) -> None:
    """The line breaks in the middle; then the party is started while nobody can be reached: it wrote its own fork."""
    contract = fed.contract()
    home = fed.providers["east"].home
    set_back(fed, tmp_path / "old", lambda: fed.merchant.aggregate(contract, statistics=["count"]))
    with lying(fed, lie), pytest.raises(HomeError, match="older copy"):
        start_provider(fed, "east")
    kept = entries_of(fed.regulator.home.replicas / "east")
    stop_regulator(fed)
    with pytest.raises(HomeError, match="older copy"):
        start_provider(fed, "east")
    assert entries_of(home.path) == kept[: len(entries_of(home.path))]
    start_regulator(fed)
    start_provider(fed, "east")
    assert entries_of(home.path)[: len(kept)] == kept
    assert not home.restored_path.exists()


def test_a_witness_is_believed_by_the_line_of_a_key_that_it_has_replaced_since(fed: Federation) -> None:
    """It holds nothing newer of a party that was stopped meanwhile, which was then held for ever."""
    until_kept(fed)
    fed.providers["east"].stop()
    stop_regulator(fed)
    rotate(fed.regulator.home, WITNESS)
    start_regulator(fed)
    home = fed.providers["east"].home
    assert isinstance(fed.regulator.party, Regulator)
    with home.writing():
        install_directory(home, *fed.regulator.party.registry.signed())
    start_provider(fed, "east")
    assert not provider(fed).ledger.held
    key = witness_key(fed.regulator.party.directory(), "authority")
    eventually(lambda: cosigned_size(provider(fed).ledger, key) == provider(fed).ledger.size)


def test_an_old_copy_of_the_regulators_ledger_signs_no_second_history_while_a_provider_knows(
    fed: Federation, tmp_path: Path
) -> None:
    """Its policy asks for nobody, so it asked nobody, and signed."""
    home = fed.regulator.home
    stop_regulator(fed)
    copy_books(home.path, tmp_path / "old")
    start_regulator(fed)
    assert isinstance(fed.regulator.party, Regulator)
    append(fed.regulator.party.ledger, 3)
    key = witness_key(fed.regulator.party.directory(), "east")
    ledger = fed.regulator.party.ledger
    eventually(lambda: cosigned_size(ledger, key) == ledger.size)
    stop_regulator(fed)
    put_back(tmp_path / "old", home.path)
    before = entries_of(home.path)
    with pytest.raises(HomeError, match="older copy"):
        start_regulator(fed)
    assert entries_of(home.path) == before


# -- accusing the honest -----------------------------------------------------------------------------------------------


def test_a_stranger_with_an_old_checkpoint_accuses_nobody(watch: Served, east: Home) -> None:
    """Over HTTPS anybody may bring it, out of a receipt's proof for instance; it was recorded against its log."""
    with write(east) as ledger:
        append(ledger, 2)
        old = ledger.checkpoint()
        append(ledger, 2)
        watch.regulator.witness.cosign(Submission(0, (), ledger.checkpoint()), caller(east))
    with pytest.raises(WitnessRefusedError) as caught:
        watch.regulator.witness.add_checkpoint(Submission(0, (), old))
    assert caught.value.refusal is Refusal.CONFLICT
    assert not any(isinstance(entry, LogRefused) for entry in decoded(watch.home.path))
    with pytest.raises(WitnessRefusedError):
        watch.regulator.witness.cosign(Submission(0, (), old), caller(east))
    assert any(isinstance(entry, LogRefused) for entry in decoded(watch.home.path)), "from the log itself it is odd"


def caller(home: Home) -> PeerIdentity:
    return PeerIdentity(home.name, home.role, "", "")


def give_all(watch: Served, home: Home, ledger: Ledger) -> None:
    note = Note.decode(ledger.checkpoint())
    lines = watch.regulator.witness.cosign(Submission(0, (), note.encode()), caller(home))
    for bundle in bundles(ledger, 0, ledger.size, add_lines(note, lines).encode()):
        watch.regulator.witness.keep(home.origin, bundle, caller(home))


def test_a_bit_that_flips_in_the_regulators_copy_accuses_nobody(watch: Served, east: Home) -> None:
    with write(east) as ledger:
        append(ledger, 2)
        old = ledger.checkpoint()
        append(ledger, 2)
        give_all(watch, east, ledger)
    copy = sqlite3.connect(watch.home.replicas / "east" / "ledger.db")
    with closing(copy):
        ((level, tile, hashes),) = copy.execute("SELECT level, idx, hashes FROM tiles").fetchall()
        flipped = bytes([hashes[0] ^ 1]) + hashes[1:]
        copy.execute("UPDATE tiles SET hashes = ? WHERE level = ? AND idx = ?", (flipped, level, tile))
        copy.commit()
    with pytest.raises(LedgerDamagedError, match="copy kept of east"):
        watch.regulator.witness.cosign(Submission(0, (), old), caller(east))
    assert not any(isinstance(entry, LogRefused) for entry in decoded(watch.home.path))


# -- the regulator's disk ----------------------------------------------------------------------------------------------


def test_a_damaged_copy_at_the_regulator_keeps_its_party_from_nothing(fed: Federation) -> None:
    """The party could not hear what the regulator had cosigned, and so was held for ever."""
    contract = fed.contract()
    until_kept(fed)
    fed.providers["east"].stop()
    stop_regulator(fed)
    for path in (fed.regulator.home.replicas / "east").iterdir():
        path.write_bytes(b"no database" * 1000)
    start_regulator(fed)
    start_provider(fed, "east")
    assert not provider(fed).ledger.held
    assert fed.merchant.aggregate(contract, statistics=["count"]).receipts
    eventually(lambda: "does not keep the entries" in fed.providers["east"].log.getvalue())
    eventually(lambda: "a copy of a party's ledger cannot be read" in fed.regulator.log.getvalue())
    time.sleep(3)
    told = fed.providers["east"].log.getvalue().count("does not keep the entries")
    assert told < 3, "once, and not with every push"


def test_others_entries_do_not_take_the_last_of_the_regulators_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    Replicas(tmp_path / "replicas").check_room()
    with pytest.raises(LedgerUnavailableError, match="no further entries of others are kept"):
        Replicas(tmp_path / "replicas", spare_bytes=2 * free).check_room()


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_the_copy_is_complete_when_a_party_has_stopped(tmp_path: Path) -> None:
    """What it wrote since its last turn, its last refusals among it, was missing until it was started again."""
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path, frames, prepare=lambda home: set_witness(home, interval_ms=600_000)) as fed:
        contract = fed.contract()
        fed.merchant.aggregate(contract, statistics=["count"])
        home = fed.providers["east"].home
        assert entries_of(fed.regulator.home.replicas / "east") != entries_of(home.path)
        fed.providers["east"].stop()
        assert entries_of(fed.regulator.home.replicas / "east") == entries_of(home.path)
        start_provider(fed, "east")
        stop_regulator(fed)
        directory = fed.regulator.home.directory(now_ms=0)
        with open_reader(fed.regulator.home.ledger_path) as ledger:
            assert cosigned_size(ledger, witness_key(directory, "north")) == ledger.size
        start_regulator(fed)


class Hanging(TruthfulOfSizes):
    """Answers nothing that takes time."""

    def AddCheckpoint(self, request: witness_pb2.AddCheckpointRequest, context: ServicerContext) -> object:
        while context.is_active():
            time.sleep(0.1)
        return witness_pb2.AddCheckpointResponse()


class Hoarding(TruthfulOfSizes):
    """Cosigns, and is never done with the entries."""

    AddEntries = Hanging.AddCheckpoint

    def AddCheckpoint(self, request: witness_pb2.AddCheckpointRequest, context: ServicerContext) -> object:
        submission = Submission(request.old_size, tuple(request.proof), request.note)
        try:
            lines = self._desk.add_checkpoint(submission)
        except WitnessRefusedError as error:
            return witness_pb2.AddCheckpointResponse(refusal=REFUSALS[error.refusal], size=error.size or 0)
        return witness_pb2.AddCheckpointResponse(cosignatures="".join(f"{each.line()}\n" for each in lines).encode())


@pytest.mark.parametrize("lie", [Hanging, Hoarding])
def test_a_witness_that_hangs_holds_up_no_stopping(fed: Federation, lie: type[TruthfulOfSizes]) -> None:
    with lying(fed, lie):
        append(provider(fed).ledger, 3)
        time.sleep(2.5)
        fed.providers["east"].server.stop(0)
        begun = time.monotonic()
        fed.providers["east"].party.close()
        assert time.monotonic() - begun < 5
    start_provider(fed, "east")


# -- other ways to a witness -------------------------------------------------------------------------------------------


def test_a_party_of_the_federation_is_asked_over_https_too(watch: Served, east: Home, tmp_path: Path) -> None:
    """Its certificate is of the federation's own authority, which no system knows."""
    front = Home.open(shutil.copytree(watch.home.path, tmp_path / "front"))
    renew(front, AtLocalhost("watch", Role.REGULATOR, DOMAIN))
    server = WitnessHttpServer(
        front, watch.regulator.witness.add_checkpoint, "127.0.0.1:0", make_logger(front.config.telemetry, "watch")
    )
    port = server.start().rpartition(":")[2]
    try:
        policy = Policy.of_one("watch", witness_key(watch.directory(), "watch"), f"https://localhost:{port}")
        (east.path / "witness.policy").write_bytes(policy.encode())
        party = start(east)
        try:
            party.witnessing.verify_heard()
        finally:
            party.close()
    finally:
        server.close()


def test_a_party_whose_keys_were_replaced_in_the_directory_is_told_so_while_it_runs(fed: Federation) -> None:
    """The request went by file, and its answer has not come back: others refuse what it signs from now on."""
    home = fed.providers["east"].home
    request = own_keys.request_rotation(home, home.directory(now_ms=0), frozenset({LOG}), CLOCK)
    assert isinstance(fed.regulator.party, Regulator)
    fed.regulator.party.registry.rotate(request)
    provider(fed)._rooms.feed._looked = 0.0
    provider(fed)._rooms.feed.look_again()
    log = fed.providers["east"].log
    eventually(lambda: "lists other keys of this party" in log.getvalue())
    append(provider(fed).ledger)
    eventually(lambda: "unseen keys rotate" in provider(fed).witnessing.status().witnesses[0].error)


def test_a_witness_whose_records_are_lost_remembers_what_its_copies_of_the_logs_say(fed: Federation) -> None:
    """Without them it cosigned any history, as that of a log which it had never seen."""
    until_kept(fed)
    fed.providers["east"].stop()
    home = fed.regulator.home
    size = len(entries_of(home.replicas / "east"))
    stop_regulator(fed)
    for path in home.path.glob("witness.db*"):
        path.unlink()
    start_regulator(fed)
    east_home = fed.providers["east"].home
    forked = SmallLog(
        [leaf_hash(b"another history %d" % number) for number in range(size + 5)], east_home.signing_key(LOG)
    )
    with pytest.raises(WitnessRefusedError) as caught:
        fed.regulator.party.witness.add_checkpoint(forked.submission(0, size + 5))
    assert (caught.value.refusal, caught.value.size) == (Refusal.CONFLICT, size)
    start_provider(fed, "east")
    assert not provider(fed).ledger.held


def test_a_witness_that_lost_everything_is_found_out_by_the_lines_that_it_has_given(fed: Federation) -> None:
    until_kept(fed)
    fed.providers["east"].stop()
    home = fed.regulator.home
    stop_regulator(fed)
    for path in home.path.glob("witness.db*"):
        path.unlink()
    shutil.rmtree(home.replicas)
    start_regulator(fed)
    start_provider(fed, "east")
    for name in ("east", "north"):
        log = fed.providers[name].log
        eventually(lambda log=log: "a witness has lost what it cosigned" in log.getvalue())
        assert log.getvalue().count("a witness has lost what it cosigned") == 1


def test_what_serves_a_party_serves_its_witness_over_https_and_ends_with_it(tmp_path: Path, watch: Served) -> None:
    east, port = join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER)), free_port()
    settings = east.path / "party.toml"
    settings.write_text(settings.read_text() + f'\n[witness]\nhttp = "127.0.0.1:{port}"\n[compute]\nworkers = -1\n')
    command = [sys.executable, "-m", "parties.cli", "serve", "--home", str(east.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        context = ssl.create_default_context(cadata=east.anchors_path.read_text())
        raw = socket.create_connection(("127.0.0.1", port), 10)
        with context.wrap_socket(raw, server_hostname=f"east.provider.{DOMAIN}") as line:
            note = watch.regulator.ledger.checkpoint()
            body = Submission(0, (), note).encode()
            head = f"POST /add-checkpoint HTTP/1.1\r\nHost: east\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body)
            answer = line.recv(10_000)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 409"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_an_address_for_https_that_is_none_is_refused_when_the_settings_are_read(east: Home) -> None:
    settings = east.path / "party.toml"
    settings.write_text(settings.read_text() + '\n[witness]\nhttp = "everywhere"\n')
    with pytest.raises(ConfigError, match=r"\[witness\] http"):
        Home.open(east.path)


def test_a_stranger_who_repeats_a_checkpoint_makes_the_witness_write_once_a_second(tmp_path: Path) -> None:
    """Each repetition was written and synced to the disk, while the parties' own submissions waited."""
    with watching(tmp_path / "witness.db") as seen, closing(sqlite3.connect(tmp_path / "witness.db")) as other:

        def version() -> object:
            return other.execute("PRAGMA data_version").fetchone()

        log = SmallLog()
        seen.take(log, 0, 7)
        before = version()
        for _ in range(3):
            assert seen.take(log, 7, 7) == seen.clock.now_s
        assert version() == before
        seen.clock.now_s += 1
        assert seen.take(log, 7, 7) == seen.clock.now_s
        assert version() != before


def test_an_operator_may_go_on_without_what_nobody_gives_back_and_that_is_recorded(
    fed: Federation, tmp_path: Path
) -> None:
    contract = fed.contract()
    home = fed.providers["east"].home
    set_back(fed, tmp_path / "old", lambda: fed.merchant.aggregate(contract, statistics=["count"]))
    with lying(fed, TruthfulOfSizes):
        logger = make_logger(home.config.telemetry, home.name, StringIO())
        reason = "the regulator has lost its copy"
        party = Provider.open(home, executor=InlineExecutor(), logger=logger, unsafe_without_witnesses=reason)
        party.close()
    assert any(isinstance(entry, WitnessOverride) for entry in decoded(home.path))
    assert not home.restored_path.exists()
    start_provider(fed, "east")


def test_a_backup_from_before_the_witness_changed_its_key_comes_back(fed: Federation) -> None:
    """It knows the earlier key alone, and what the witness holds of it may bear the later one's line: it never started.

    A line under which the party's own log has signed says nothing more; who answers is said by TLS.
    """
    until_kept(fed)
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    stop_regulator(fed)
    rotate(fed.regulator.home, WITNESS)
    start_regulator(fed)
    desk = fed.regulator.party.witness
    held = desk.witnessed(home.origin)
    assert held is not None
    desk.add_checkpoint(Submission(held.size, (), held.note))
    home.restored_path.write_text("{}")
    start_provider(fed, "east")
    assert not home.restored_path.exists()
