"""What a hostile reading of the witness found: each attack as it succeeded before its defence was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path

import pytest
from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint
from audit.draft import Draft
from audit.entry import DirectoryAccepted
from audit.errors import Refusal, WitnessRefusedError
from audit.keys import KeyPurpose, SigningKey
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from audit.submission import Submission
from audit.tree import leaf_hash
from audit.verify import verify_database
from parties import own_keys
from parties.client.merchant import Merchant
from parties.client.witness import WitnessClient
from parties.entry_bundle import bundles
from parties.errors import HomeError
from parties.founding import install_directory
from parties.home import Home
from parties.own_keys import open_key_room, rotate_keys
from parties.provider import Provider
from parties.regulator import Regulator
from parties.server import PartyServer
from parties.telemetry import make_logger
from parties.witness_desk import WitnessDesk
from protocols.executor import InlineExecutor
from sandbox.authorise import PeerIdentity
from sandbox.contract_states import ContractAction
from sandbox.errors import StateTransitionError
from tests.audit.witnessed import SmallLog
from tests.parties.federation import Federation, federation
from tests.parties.homes import CLOCK, Served, join, new_home, served
from tests.parties.test_federation import rows
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
