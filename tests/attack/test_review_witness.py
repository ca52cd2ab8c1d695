"""What a hostile reading of the witness found: each attack as it succeeded before its defence was there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

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
from parties.home import Home
from parties.own_keys import open_key_room, rotate_keys
from parties.provider import Provider
from parties.telemetry import make_logger
from protocols.executor import InlineExecutor
from tests.audit.witnessed import SmallLog
from tests.parties.homes import CLOCK, Served, join, new_home, served
from tests.parties.witnesses import decoded, entries_of

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
