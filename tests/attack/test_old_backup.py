"""An old backup put in a party's place: forgotten calls taken again, signed sizes given other entries.

Three things stand in its way, one behind the other: the home's mark, the ledger's hold, and the witness.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.backup import copy_database
from audit.checkpoint import Checkpoint, Note
from audit.directory import KeyPurpose
from audit.draft import Draft
from audit.entry import DirectoryAccepted
from audit.errors import SigningHeldError
from audit.ledger import Ledger, LedgerIdentity, open_reader
from audit.spot_check import spot_check
from audit.verify import verify_database
from audit.witness_store import WitnessStore
from parties.backup import back_up
from parties.client.merchant import Merchant
from parties.errors import HomeError
from parties.home import Home
from parties.restore import restore
from sandbox.errors import DenialReason, DeniedError
from tests.parties.federation import CLOCK, Federation, federation, serve
from tests.parties.test_federation import rows


def call(fed: Federation, contract: str) -> None:
    assert fed.merchant.aggregate(contract, statistics=["count"]).receipts


def until_witnessed(fed: Federation, home: Home) -> Checkpoint:
    """Wait until the regulator has cosigned all that the party has recorded, and keeps it; returns what it cosigned."""
    end = time.monotonic() + 15
    while True:
        store = WitnessStore.open(fed.regulator.home.witness_path)
        latest = store.latest(home.origin)
        store.close()
        kept = spot_check(fed.regulator.home.replicas / home.name / "ledger.db").size
        if latest is not None and latest.size == spot_check(home.ledger_path).size == kept:
            return Checkpoint(latest.origin, latest.size, latest.root)
        assert time.monotonic() < end, "the regulator did not cosign in time"
        time.sleep(0.1)


@dataclass
class Setback:
    """East was backed up, answered a call that the regulator has witnessed, and was lost; `home` is the backup's."""

    fed: Federation
    contract: str
    home: Home
    witnessed: Checkpoint


@pytest.fixture
def setback(tmp_path: Path) -> Iterator[Setback]:
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path, frames) as fed:
        contract = fed.contract()
        east = fed.providers["east"]
        call(fed, contract)
        back_up(east.home, tmp_path / "b.tar", clock=CLOCK)
        call(fed, contract)
        witnessed = until_witnessed(fed, east.home)
        east.stop()
        east.home.path.rename(tmp_path / "lost")
        restore(tmp_path / "b.tar", east.home.path, clock=CLOCK)
        shutil.copytree(tmp_path / "lost" / "data", east.home.path / "data")
        home = Home.open(east.home.path)
        assert spot_check(home.ledger_path).size < witnessed.size
        yield Setback(fed, contract, home, witnessed)


def write(home: Home, *, hold: bool) -> Ledger:
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    key = home.signing_key(KeyPurpose.LOG)
    return Ledger.open(home.ledger_path, identity=identity, key=key, clock=CLOCK, hold=hold)


def go_on(ledger: Ledger, size: int) -> None:
    """Append what the party never appended, up to `size` entries."""
    while ledger.size < size:
        version = 1000 + ledger.size
        party = ledger.identity.party
        ledger.append(Draft(DirectoryAccepted(party=party, at_ms=CLOCK.now_ms(), version=version, digest="0" * 64)))


def test_a_restored_party_takes_back_what_it_lost_and_goes_on_in_one_history(setback: Setback) -> None:
    fed, home = setback.fed, setback.home
    fed.providers["east"] = serve(home, fed.clock)
    assert not home.restored_path.exists()
    reader = open_reader(home.ledger_path)
    assert reader.root(setback.witnessed.size) == setback.witnessed.root
    reader.close()
    call(fed, setback.contract)
    until_witnessed(fed, home)
    fed.providers["east"].stop()
    assert verify_database(home.path, directory=home.directory(now_ms=0)).verified
    fed.providers["east"] = serve(Home.open(home.path), fed.clock)


def test_while_the_regulator_is_down_a_restored_party_does_not_start_and_signs_nothing(setback: Setback) -> None:
    setback.fed.regulator.stop()
    before = spot_check(setback.home.ledger_path)
    with pytest.raises(HomeError, match="restored from a backup"):
        serve(setback.home, setback.fed.clock)
    assert setback.home.restored_path.exists()
    after = spot_check(setback.home.ledger_path)
    assert (after.size, after.note) == (before.size, before.note)


def test_without_the_mark_the_hold_still_keeps_it_from_taking_calls_and_signing(setback: Setback) -> None:
    setback.fed.regulator.stop()
    setback.home.restored_path.unlink()
    before = spot_check(setback.home.ledger_path)
    running = serve(setback.home, setback.fed.clock)
    try:
        with pytest.raises(DeniedError) as caught:
            setback.fed.merchant.aggregate(setback.contract, statistics=["count"])
        assert caught.value.reason is DenialReason.WITNESSES_UNHEARD
        assert "east" in caught.value.detail
        with pytest.raises(SigningHeldError):
            running.party.ledger.checkpoint()
    finally:
        running.stop()
    assert spot_check(setback.home.ledger_path).note == before.note


def test_without_mark_and_hold_it_signs_a_second_history(setback: Setback) -> None:
    """The attack succeeds: two checkpoints of one size, both by the log's own key, over other entries."""
    setback.home.restored_path.unlink()
    with write(setback.home, hold=False) as ledger:
        go_on(ledger, setback.witnessed.size)
        note = Note.decode(ledger.checkpoint())
    note.verify(setback.home.signing_key(KeyPurpose.LOG).verifying_key)
    second = Checkpoint.from_body(note.text)
    assert (second.origin, second.size) == (setback.witnessed.origin, setback.witnessed.size)
    assert second.root != setback.witnessed.root


def test_that_second_history_is_held_for_ever_once_a_witness_is_heard(setback: Setback) -> None:
    setback.home.restored_path.unlink()
    with write(setback.home, hold=False) as ledger:
        go_on(ledger, setback.witnessed.size + 1)
    running = serve(setback.home, setback.fed.clock)
    try:
        with pytest.raises(DeniedError, match="contradicts what it has signed"):
            setback.fed.merchant.aggregate(setback.contract, statistics=["count"])
        with pytest.raises(SigningHeldError):
            running.party.ledger.checkpoint()
    finally:
        running.stop()


def test_a_copy_of_the_database_that_nobody_restored_is_caught_up_too(setback: Setback, tmp_path: Path) -> None:
    """Somebody puts an old ledger.db into the home by hand: there is no mark, the hold is enough."""
    home, old = setback.home, tmp_path / "old.db"
    copy_database(home.ledger_path, old)
    setback.fed.providers["east"] = serve(home, setback.fed.clock)
    setback.fed.providers["east"].stop()
    for path in home.path.glob("ledger.db-*"):
        path.unlink()
    old.replace(home.ledger_path)
    setback.fed.providers["east"] = serve(Home.open(home.path), setback.fed.clock)
    reader = open_reader(home.ledger_path)
    assert reader.root(setback.witnessed.size) == setback.witnessed.root
    reader.close()
    call(setback.fed, setback.contract)


def test_a_restored_merchant_catches_up_before_it_asks_anything(tmp_path: Path) -> None:
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path, frames) as fed:
        contract, home = fed.contract(), fed.merchant_home
        back_up(home, tmp_path / "b.tar", clock=CLOCK)
        call(fed, contract)
        fed.merchant.close()
        witnessed = until_witnessed(fed, home)
        home.path.rename(tmp_path / "lost")
        restore(tmp_path / "b.tar", home.path, clock=CLOCK)
        with Merchant.open(Home.open(home.path), say=lambda text: None) as merchant:
            assert not home.restored_path.exists()
            assert merchant.aggregate(contract, statistics=["count"]).receipts
        reader = open_reader(home.ledger_path)
        assert reader.root(witnessed.size) == witnessed.root
        reader.close()
