"""What a party's doctor hears from others: its witnesses, the regulator, its peers, its own server."""

import shutil
import sqlite3
import time
from contextlib import contextmanager

import pytest

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import CosignerKey
from audit.draft import Draft
from audit.entry import DirectoryAccepted
from audit.errors import WitnessRefusedError
from audit.keys import SigningKey
from audit.ledger import open_reader
from audit.names import Role
from audit.policy import Policy
from audit.witness_store import WitnessStore
from parties.cli.app import run
from parties.doctor_findings import CheckName, Severity, Trouble
from parties.doctor_network import PartyNetwork
from parties.held_contracts import held_contracts
from parties.home import Home
from parties.witness_policy import default_policy, named_witnesses
from tests.parties.examining import CLOCK, Ahead, online, writing
from tests.parties.federation import Federation, enrol, federation, make_home
from tests.parties.test_federation import rows

MINUTE_MS = 60_000


@contextmanager
def town(folder):
    frames = {name: rows(name, 800, seed) for seed, name in enumerate(("east", "north"))}
    with federation(folder, frames) as running:
        contract = running.contract()
        running.merchant.aggregate(contract, statistics=["count"])
        running.merchant.close()
        until_witnessed(running, "east")
        yield running


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    with town(tmp_path_factory.mktemp("town")) as running:
        yield running


@pytest.fixture
def own_fed(tmp_path):
    """A federation whose logs this test may spoil."""
    with town(tmp_path) as running:
        yield running


def until_witnessed(fed: Federation, name: str) -> None:
    """Wait until the regulator has cosigned all that the party has recorded."""
    home, authority = fed.homes()[name], fed.regulator.home
    end = time.monotonic() + 15
    while True:
        reader, store = open_reader(home.ledger_path), WitnessStore.open(authority.witness_path)
        size, latest = reader.size, store.latest(home.origin)
        reader.close()
        store.close()
        if latest is not None and latest.size == size:
            return
        assert time.monotonic() < end, "the regulator did not cosign in time"
        time.sleep(0.1)


def copied(home: Home, folder) -> Home:
    shutil.copytree(home.path, folder)
    return Home.open(folder)


def append(home: Home, version: int, *, clock=CLOCK) -> None:
    """Record something, and sign a checkpoint over it, without anybody's being shown it."""
    entry = DirectoryAccepted(party=home.name, at_ms=clock.now_ms(), version=version, digest="0" * 64)
    with writing(home, clock) as ledger:
        ledger.append(Draft(entry))
        ledger.checkpoint()


@pytest.mark.parametrize("name", ["authority", "east", "north"])
def test_a_party_that_serves_has_no_failure(fed, name):
    found = online(fed.homes()[name])
    assert not found.failures
    for check in (CheckName.WITNESSES, CheckName.SERVER, CheckName.PEERS):
        assert found.well(check), check


def test_a_merchant_hears_regulator_witnesses_and_providers(fed):
    found = online(fed.merchant_home)
    assert found.failures == {Trouble.KEY_WEAK}  # the tests' short Paillier key
    for check in (CheckName.WITNESSES, CheckName.REGULATOR, CheckName.PEERS, CheckName.CLOCK, CheckName.CALLS):
        assert found.well(check), check


@pytest.mark.parametrize(("minutes", "way"), [(10, "ahead of"), (-10, "behind")])
def test_a_clock_that_differs_from_the_witnesses_is_wrong(fed, minutes, way):
    found = online(fed.homes()["east"], clock=Ahead(minutes * MINUTE_MS))
    clock = [finding for finding in found.findings if finding.trouble is Trouble.CLOCK_WRONG]
    assert any(way in finding.detail for finding in clock)
    assert all(finding.severity is Severity.FAILURE for finding in clock)


def test_a_clock_that_drifts_is_warned_of_before_requests_are_refused(fed):
    found = online(fed.homes()["east"], clock=Ahead(90_000))
    assert found[Trouble.CLOCK_DRIFTING].severity is Severity.WARNING


def test_a_provider_that_does_not_run_is_told_there_and_by_those_who_need_it(fed):
    fed.providers["north"].stop()
    try:
        assert Trouble.NOT_RUNNING in online(fed.homes()["north"])
        for name in ("east", "authority", "analyst"):
            finding = online(fed.homes()[name])[Trouble.UNREACHABLE]
            assert "north" in finding.detail
            assert finding.severity is Severity.WARNING
    finally:
        fed.restart("north")


def test_a_server_that_cannot_record_says_that_it_does_not_serve(fed):
    home = fed.homes()["north"]
    intruder = sqlite3.connect(home.ledger_path, isolation_level=None, timeout=10)
    intruder.execute("BEGIN IMMEDIATE")
    try:
        found = online(home)
        assert Trouble.NOT_SERVING in found.failures
        assert "north says" in online(fed.homes()["east"])[Trouble.NOT_SERVING].detail
    finally:
        intruder.execute("ROLLBACK")
        intruder.close()


def test_a_server_that_cannot_be_reached_at_its_address_is_told(fed):
    running = fed.providers["north"]
    running.server.stop(0)
    try:
        assert "nobody answers" in online(running.home)[Trouble.UNREACHABLE].detail
    finally:
        running.party.close()
        fed.restart("north")


def test_a_newer_directory_at_the_regulator_is_told(fed, tmp_path):
    enrol(fed.regulator.party, make_home(tmp_path, "west", Role.PROVIDER))
    finding = online(fed.merchant_home)[Trouble.DIRECTORY_OLD]
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize("policy", [b"quorum nobody\n", b"nonsense"])
def test_a_policy_that_is_none_is_told(fed, tmp_path, policy):
    home = copied(fed.homes()["east"], tmp_path / "east")
    home.policy_path.write_bytes(policy)
    assert "line 1" in online(home)[Trouble.POLICY_WRONG].detail


def test_a_witness_that_is_not_there_leaves_the_policy_without_its_quorum(fed, tmp_path):
    home = copied(fed.homes()["east"], tmp_path / "east")
    stranger = CosignerKey(SigningKey.generate("stranger.example/witness").verifying_key)
    home.policy_path.write_bytes(Policy.of_one("stranger", stranger, "https://127.0.0.1:9/w").encode())
    found = online(home)
    assert "stranger.example" in found[Trouble.WITNESS_SILENT].detail
    assert found[Trouble.QUORUM_OLD].severity is Severity.FAILURE
    assert "never" in found[Trouble.QUORUM_OLD].detail


def test_a_silent_regulator_is_missed_as_witness_clock_and_regulator(own_fed):
    own_fed.regulator.stop()
    found = online(own_fed.homes()["east"])
    assert {Trouble.UNREACHABLE, Trouble.QUORUM_OLD} <= found.failures
    assert "last reached" in found[Trouble.QUORUM_OLD].detail
    assert {Trouble.WITNESS_SILENT, Trouble.CLOCK_UNKNOWN} <= set(found)


def test_entries_that_no_witness_has_seen_for_long_are_told(own_fed):
    own_fed.providers["east"].stop()
    home = own_fed.homes()["east"]
    append(home, 90, clock=Ahead(-5 * MINUTE_MS))
    found = online(home)
    assert "5 minutes old" in found[Trouble.WITNESS_BEHIND].detail
    assert not found.failures


def test_an_older_copy_of_the_ledger_is_told_before_it_signs(own_fed, tmp_path):
    old = copied(own_fed.homes()["east"], tmp_path / "old")
    (record,) = held_contracts(own_fed.merchant_home)
    assert run(["aggregate", record.contract_id, "--count", "--home", str(own_fed.merchant_home.path)]) == 0
    until_witnessed(own_fed, "east")
    found = online(old)
    assert found.failures == {Trouble.LEDGER_BEHIND}
    assert "it is an older copy" in found[Trouble.LEDGER_BEHIND].detail


def test_a_second_history_is_told_by_its_own_doctor_and_convicts_at_the_witness(own_fed, tmp_path):
    home = own_fed.homes()["east"]
    own_fed.providers["east"].stop()
    fork = copied(home, tmp_path / "fork")
    append(home, 90)
    assert not online(home).failures  # which shows the regulator the checkpoint
    append(fork, 91)
    authority = own_fed.regulator.home
    assert Trouble.LEDGER_FORKED in online(fork).failures
    assert Trouble.LOG_MISBEHAVED not in online(authority), "the doctor shows a witness no second history"
    convict(fork)
    finding = online(authority)[Trouble.LOG_MISBEHAVED]
    assert finding.severity is Severity.FAILURE
    assert "east has signed two histories" in finding.detail
    assert "unseen contract suspend" in finding.mend


def convict(home: Home) -> None:
    """Show the home's newest checkpoint to the regulator, as its party would."""
    directory = home.directory(now_ms=0)
    (witness,) = named_witnesses(default_policy(home.name, directory), home.name, directory)
    reader = open_reader(home.ledger_path)
    with PartyNetwork(home, directory) as network:
        contact = network.contact(witness, network.own_log(reader))
        note = Note.decode(reader.latest_checkpoint())
        with pytest.raises(WitnessRefusedError):
            contact.cosign(note, Checkpoint.from_body(note.text), CLOCK.now_ms(), 5_000)
        contact.close()
    reader.close()
