"""Each trouble, made for real in a home at rest, is named with what mends it; for others' answers: _online."""

import json
import os
import shutil
import sqlite3
from dataclasses import replace

import pytest

from audit.directory import KeyStatus
from audit.draft import Draft
from audit.entry import Side
from audit.keys import KeyPurpose, SigningKey
from audit.names import Role
from parties.cli.app import run
from parties.cli.chinese_doctor import CHECKS, SEVERITIES
from parties.doctor_checks_home import FULL_BYTES, LOW_BYTES, check_disk
from parties.doctor_examination import Room
from parties.doctor_findings import CheckName, Severity, Trouble
from parties.home import Home
from parties.identity import certificate_from_pem, fingerprint, generate_tls_key, key_to_pem
from sandbox.vault import Vault, VaultKind
from tests.audit.samples import intent, outcome, request
from tests.parties.examining import CLOCK, Ahead, Found, examination, offline, relist, reset, writing
from tests.parties.federation import federation, make_home
from tests.parties.homes import new_home
from tests.parties.test_backup import no_file_beyond
from tests.parties.test_federation import rows

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def rested(tmp_path_factory):
    """The homes of a federation that has worked and was closed."""
    folder = tmp_path_factory.mktemp("rested")
    with federation(folder, {name: rows(name, 800, seed) for seed, name in enumerate(("east", "north"))}) as fed:
        fed.merchant.aggregate(fed.contract(), statistics=["count"])
    return folder


@pytest.fixture
def party(rested, tmp_path):
    """A copy of a party's home, for one test to hurt."""

    def copy(name):
        shutil.copytree(rested / name, tmp_path / name)
        return Home.open(tmp_path / name)

    return copy


@pytest.mark.parametrize("name", ["east", "authority"])
def test_a_party_at_rest_has_no_failure(party, name):
    found = offline(party(name))
    assert not found.failures
    for check in (CheckName.FILES, CheckName.DISK, CheckName.DIRECTORY, CheckName.CERTIFICATE, CheckName.LEDGER):
        assert found.well(check), check
    assert found.well(CheckName.VAULT)
    assert found.well(CheckName.OUTBOX)


# -- files and disk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["keys", "keys/log.pem", "ledger.db", "vault.db"])
def test_what_others_can_read_is_told_with_the_command_that_closes_it(party, name):
    home = party("east")
    (home.path / name).chmod(0o755)
    finding = offline(home)[Trouble.FILE_EXPOSED]
    assert finding.severity is Severity.FAILURE
    assert finding.mend == f"chmod go= {home.path / name}"


def test_a_paillier_key_that_others_can_read_is_told(party):
    home = party("analyst")
    (home.keys / "paillier.jwk").chmod(0o640)
    assert "paillier.jwk" in offline(home)[Trouble.FILE_EXPOSED].mend


def test_a_home_that_others_can_write_is_told(party):
    home = party("east")
    home.path.chmod(0o777)
    assert "go-w" in offline(home)[Trouble.FILE_EXPOSED].mend


@pytest.mark.parametrize("name", ["keys/log.pem", "keys/tls.pem", "certificate.pem", "ca.pem", "directory.dsse"])
def test_a_missing_file_is_told(party, name):
    home = party("east")
    (home.path / name).unlink()
    found = offline(home)
    assert name in found[Trouble.FILE_MISSING].detail


def test_keys_that_are_missing_are_named_once_each(party):
    home = party("east")
    names = [path.name for path in home.keys.glob("*.pem")]
    for path in home.keys.glob("*.pem"):
        path.unlink()
    told = [finding.detail for finding in offline(home).findings]
    assert len(names) == 4
    for name in names:
        assert len([detail for detail in told if f"keys/{name}" in detail]) == 1, name
    assert not any("encrypted" in detail or "in clear" in detail for detail in told), "nothing is said of no keys"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_is_told(party):
    home = party("east")
    os.chown(home.path / "ledger.db", 65534, -1)
    assert "ledger.db" in offline(home)[Trouble.FILE_FOREIGN].detail


def test_a_disk_that_fills_up_is_warned_of_and_then_fails(party):
    home = party("east")
    assert Trouble.DISK_LOW in offline(home, room=lambda path: Room(LOW_BYTES - 1, None))
    assert offline(home, room=lambda path: Room(FULL_BYTES - 1, None)).failures == {Trouble.DISK_FULL}
    assert offline(home, room=lambda path: Room(2**40, 10)).failures == {Trouble.DISK_FULL}


def test_a_ledger_larger_than_the_room_beside_it_is_warned_of(party):
    home = party("east")
    with home.ledger_path.open("r+b") as file:
        file.truncate(LOW_BYTES // 4)  # a sparse file: its length counts
    assert Trouble.DISK_LOW in offline(home, room=lambda path: Room(2 * LOW_BYTES, None))


def test_a_home_that_cannot_be_written_is_told(party):
    home = party("east")
    with no_file_beyond(0):
        found = offline(home)
    assert Trouble.DISK_UNWRITABLE in found.failures
    assert not list(home.path.glob(".doctor*"))


def test_a_write_ahead_log_that_nobody_cuts_is_warned_of(party):
    home = party("east")
    with (home.path / "ledger.db-wal").open("wb") as file:
        file.truncate(300 * 1024 * 1024)  # another check would open the ledger, and throw this away
    assert "ledger.db-wal" in Found(tuple(check_disk(examination(home))))[Trouble.LOG_LONG].detail


# -- who it is ------------------------------------------------------------------------------------------------------


def test_a_directory_that_expires_is_warned_of_and_then_fails(party):
    home = party("east")
    expires_ms = home.directory(now_ms=0).expires_at_ms
    ahead_ms = expires_ms - CLOCK.now_ms()
    found = offline(home, clock=Ahead(ahead_ms - 13 * DAY_MS))
    assert found[Trouble.DIRECTORY_EXPIRES].severity is Severity.WARNING
    assert Trouble.DIRECTORY_EXPIRED in offline(home, clock=Ahead(ahead_ms + 1000)).failures


def test_a_directory_of_another_regulator_is_told(party):
    home = party("east")
    other = SigningKey.generate(home.config.regulator.vkey.partition("+")[0]).verifying_key.vkey()
    reset(home.path / "party.toml", home.config.regulator.vkey, other)
    assert Trouble.DIRECTORY_UNTRUSTED in offline(Home.open(home.path)).failures


def test_a_party_that_was_never_enrolled_is_told(tmp_path):
    found = offline(new_home(tmp_path, "east", Role.PROVIDER))
    assert Trouble.NOT_ENROLLED in found.failures
    assert "unseen enrol accept" in found[Trouble.NOT_ENROLLED].mend


def test_a_party_that_was_taken_out_of_the_directory_is_told(party):
    home = party("east")
    parties = tuple(record for record in home.directory(now_ms=0).parties if record.name != "east")
    relist(home, party("authority"), parties=parties)
    assert Trouble.UNLISTED in offline(home).failures


def test_an_address_that_others_do_not_know_is_told(party):
    home = party("east")
    reset(home.path / "party.toml", home.config.network.endpoint, "127.0.0.1:9")
    assert "127.0.0.1:9" in offline(Home.open(home.path))[Trouble.ENDPOINT_DIFFERS].detail


@pytest.mark.parametrize(
    ("status", "trouble"), [(KeyStatus.RETIRED, Trouble.KEY_RETIRED), (KeyStatus.REVOKED, Trouble.KEY_REVOKED)]
)
def test_a_key_that_is_active_no_more_is_told(party, status, trouble):
    home = party("east")

    def ended(key):
        until_ms = key.since_ms + 1
        return replace(key, status=status, until_ms=until_ms) if key.purpose is KeyPurpose.WITNESS else key

    parties = tuple(
        replace(record, keys=tuple(map(ended, record.keys))) if record.name == "east" else record
        for record in home.directory(now_ms=0).parties
    )
    relist(home, party("authority"), parties=parties)
    found = offline(home)
    assert found.failures == {trouble}
    assert "witness.pem" in found[trouble].detail
    home.next_key_path(KeyPurpose.WITNESS).touch(mode=0o600)
    assert "unseen keys rotate" in offline(home)[trouble].mend


def test_a_key_that_nobody_listed_is_told(party):
    home = party("east")
    key = SigningKey.generate(home.key_name(KeyPurpose.MESSAGE))
    (home.keys / "message.pem").write_bytes(key.to_pem(None))
    assert Trouble.KEY_UNLISTED in offline(home).failures


def test_a_key_that_is_none_is_told(party):
    home = party("east")
    (home.keys / "message.pem").write_bytes(b"not a key")
    assert Trouble.KEY_UNUSABLE in offline(home).failures


def test_keys_in_clear_are_warned_of_and_locked_ones_told_from_missing(tmp_path, party):
    assert offline(party("east"))[Trouble.KEYS_IN_CLEAR].severity is Severity.WARNING
    authority = make_home(tmp_path / "own", "watch", Role.REGULATOR, passphrase=b"a horse")
    found = offline(authority)
    assert Trouble.KEYS_IN_CLEAR not in found
    assert found.well(CheckName.KEYS)
    locked = offline(Home.open(authority.path))
    assert locked[Trouble.KEYS_LOCKED].severity is Severity.WARNING
    assert Trouble.KEY_UNUSABLE not in locked


def test_a_short_paillier_key_is_a_failure_and_its_acceptance_a_warning(party):
    assert "1024 bits" in offline(party("analyst"))[Trouble.KEY_WEAK].detail
    assert offline(party("east"))[Trouble.WEAK_KEYS_ACCEPTED].severity is Severity.WARNING


def test_a_key_that_will_be_shorter_than_recommended_is_warned_of(party):
    home = party("analyst")
    (home.keys / "paillier.jwk").unlink()
    reset(home.path / "party.toml", "paillier_bits = 1024", "paillier_bits = 2048")
    assert offline(Home.open(home.path))[Trouble.KEY_SHORT].severity is Severity.WARNING


def test_a_certificate_that_expires_is_warned_of_and_then_fails(party):
    home = party("east")
    ends = certificate_from_pem(home.certificate_path.read_bytes()).not_valid_after_utc
    ahead_ms = int(ends.timestamp() * 1000) - CLOCK.now_ms()
    found = offline(home, clock=Ahead(ahead_ms - 29 * DAY_MS))
    assert "unseen certificate renew" in found[Trouble.CERTIFICATE_EXPIRES].mend
    assert Trouble.CERTIFICATE_EXPIRED in offline(home, clock=Ahead(ahead_ms + 1000)).failures
    assert Trouble.CERTIFICATE_UNUSABLE in offline(home, clock=Ahead(-400 * DAY_MS)).failures  # not valid yet


def test_a_certificate_of_another_key_party_or_authority_is_told(party, tmp_path):
    home = party("east")
    (home.keys / "tls.pem").write_bytes(key_to_pem(generate_tls_key(), None))
    assert Trouble.CERTIFICATE_UNUSABLE in offline(home).failures
    home = party("north")
    shutil.copy(tmp_path / "east" / "certificate.pem", home.certificate_path)
    assert "north" in offline(home)[Trouble.CERTIFICATE_UNUSABLE].detail
    home = party("analyst")
    foreign = new_home(tmp_path, "watch", Role.REGULATOR)
    shutil.copy(foreign.certificate_path, home.certificate_path)
    assert Trouble.CERTIFICATE_UNUSABLE in offline(home).failures
    home.certificate_path.write_bytes(b"nonsense")
    assert Trouble.CERTIFICATE_UNUSABLE in offline(home).failures


def test_a_revoked_certificate_is_told(party):
    home = party("east")
    revoked = fingerprint(certificate_from_pem(home.certificate_path.read_bytes()))
    relist(home, party("authority"), revoked_certificates=(revoked,))
    assert Trouble.CERTIFICATE_REVOKED in offline(home).failures


# -- books ----------------------------------------------------------------------------------------------------------


def test_a_damaged_ledger_is_told(party):
    home = party("east")
    with sqlite3.connect(home.ledger_path) as connection:
        connection.execute("DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)")
    found = offline(home)
    assert Trouble.LEDGER_DAMAGED in found.failures
    assert "unseen ledger verify" in found[Trouble.LEDGER_DAMAGED].mend


def test_another_partys_ledger_is_told(party):
    home = party("east")
    shutil.copy(party("north").ledger_path, home.ledger_path)
    assert Trouble.LEDGER_FOREIGN in offline(home).failures


def test_a_restored_home_is_told_from_one_that_has_caught_up(party):
    home = party("east")
    home.restored_path.write_text("{}")
    assert Trouble.LEDGER_RESTORED in offline(home)


def test_a_missing_ledger_is_told(party):
    home = party("east")
    home.ledger_path.unlink()
    assert Trouble.LEDGER_MISSING in offline(home)


def test_a_vault_that_is_older_than_its_ledger_is_told(party):
    home = party("east")
    with sqlite3.connect(home.vault_path) as connection:
        connection.execute("DELETE FROM item WHERE kind = 'receipt'")
    assert "STALE" in offline(home)[Trouble.VAULT_BEHIND].detail


def test_a_vault_that_is_missing_or_none_is_told(party):
    home = party("east")
    home.vault_path.write_bytes(b"no database" * 1000)
    assert Trouble.VAULT_UNREADABLE in offline(home).failures
    home.vault_path.unlink()
    assert Trouble.VAULT_MISSING in offline(home).failures


def test_a_clock_behind_the_ledgers_last_entry_is_wrong(party):
    found = offline(party("east"), clock=Ahead(-DAY_MS))
    assert Trouble.CLOCK_WRONG in found.failures
    assert "NTP" in found[Trouble.CLOCK_WRONG].mend


def test_receipts_that_pile_up_are_warned_of_and_then_calls_are_suspended(party):
    home = party("east")

    def release(numbers):
        with writing(home) as ledger:
            for number in numbers:
                taken = replace(intent(Side.PROVIDER), call=request(number).digest, nonce=f"{number:032x}")
                ledger.append(Draft(taken))
                ledger.append(Draft(outcome(Side.PROVIDER, number=number)))

    release(range(7))
    assert Trouble.RECEIPTS_OUTSTANDING not in offline(home)
    release(range(7, 8))
    assert "8 receipts" in offline(home)[Trouble.RECEIPTS_OUTSTANDING].detail
    release(range(8, 16))
    found = offline(home)
    assert Trouble.CALLS_SUSPENDED in found.failures
    assert "unseen resume" in found[Trouble.CALLS_SUSPENDED].mend


def test_calls_that_a_merchant_did_not_finish_are_told(party):
    home = party("analyst")
    with writing(home) as ledger:
        ledger.append(Draft(replace(intent(Side.MERCHANT), party="analyst", merchant="analyst")))
    assert "1 of them past" in offline(home)[Trouble.CALLS_UNFINISHED].detail


def test_messages_that_wait_are_told(party):
    home = party("authority")
    with Vault.open(home.vault_path) as vault:
        vault.put(VaultKind.OUTBOX, "action/0123/east", b"a decision")
    assert "1 of kind action" in offline(home)[Trouble.UNDELIVERED].detail


def test_a_lease_that_ended_is_told(party):
    home = party("east")
    assert Trouble.LEASE_ENDED in offline(home, clock=Ahead(2 * 3_600_000))
    assert "ends in" in offline(home, clock=Ahead(50 * 60_000))[Trouble.LEASE_ENDED].detail
    assert Trouble.LEASE_ENDED not in offline(home)


# -- data -----------------------------------------------------------------------------------------------------------


def test_data_that_contradict_their_declaration_are_told_with_the_column(party):
    home = party("east")
    rows("east", 800, 0).assign(education=99).to_csv(home.path / "data" / "persons.csv", index=False)
    found = offline(home)
    assert Trouble.DATA_REFUSED in found.failures
    assert "education" in found[Trouble.DATA_REFUSED].detail
    assert "99" not in found[Trouble.DATA_REFUSED].detail


def test_data_and_declarations_that_cannot_be_read_are_told(party):
    home = party("east")
    (home.path / "data" / "persons.csv").unlink()
    assert Trouble.DATA_REFUSED in offline(home).failures
    (home.catalog / "persons.toml").write_text("[dataset]\nname = 7\n")
    assert "persons.toml" in offline(home)[Trouble.DATA_REFUSED].detail


def test_a_size_that_is_declared_wrongly_and_no_data_at_all_are_warned_of(party):
    home = party("east")
    rows("east", 100, 0).to_csv(home.path / "data" / "persons.csv", index=False)
    assert "declared_rows" in offline(home)[Trouble.DATA_IMPERFECT].detail
    (home.catalog / "persons.toml").unlink()
    assert offline(home)[Trouble.NO_DATA].severity is Severity.WARNING


# -- the regulator --------------------------------------------------------------------------------------------------


def test_a_replica_that_lacks_entries_or_is_damaged_is_told(party):
    home = party("authority")
    shutil.rmtree(home.replicas / "east")
    assert "of east" in offline(home)[Trouble.REPLICA_BEHIND].detail
    with sqlite3.connect(home.replicas / "north" / "ledger.db") as connection:
        connection.execute("UPDATE entries SET bytes = x'7b7d' WHERE idx = 1")
    assert Trouble.REPLICA_DAMAGED in offline(home).failures


def test_a_provider_that_is_not_heard_of_is_told(party):
    home = party("authority")
    assert Trouble.PARTY_UNHEARD not in offline(home)
    assert "2 hours" in offline(home, clock=Ahead(2 * 3_600_000 + 60_000))[Trouble.PARTY_UNHEARD].detail


def test_others_certificates_that_expire_are_told(party):
    home = party("authority")
    assert Trouble.PARTY_CERTIFICATE_EXPIRES in offline(home, clock=Ahead(340 * DAY_MS))


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_tells_programs_and_people(party, capsys):
    home = party("east")
    assert run(["doctor", "--offline", "--home", str(home.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert {"check", "severity", "detail"} <= set(told["findings"][0])
    (home.keys / "log.pem").chmod(0o644)
    assert run(["doctor", "--offline", "--home", str(home.path)]) == 1
    out, err = capsys.readouterr()
    assert f"chmod go= {home.keys / 'log.pem'}" in out
    assert "1 failure," in err


def test_settings_that_cannot_be_read_are_a_finding(party, capsys):
    home = party("east")
    reset(home.path / "party.toml", "[limits]", "[limits]\nskew_ms = -1")
    assert run(["doctor", "--home", str(home.path), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "settings"
    assert "party.toml:" in finding["detail"]


def test_a_home_whose_certificate_is_gone_is_looked_over_all_the_same(party, capsys):
    home = party("east")
    home.certificate_path.unlink()
    assert run(["doctor", "--home", str(home.path)]) == 1
    out, err = capsys.readouterr()
    assert "certificate.pem is missing" in out
    assert "fit their declarations" in out or "declared_rows" in out
    assert "Nobody can be asked" in err


def test_a_folder_that_is_no_home_is_wrong_usage(tmp_path):
    assert run(["doctor", "--home", str(tmp_path)]) == 2


def test_the_command_speaks_chinese(party, monkeypatch, capsys):
    assert set(CHECKS) == set(CheckName)
    assert set(SEVERITIES) == set(Severity)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run(["doctor", "--offline", "--home", str(party("analyst").path)]) == 1
    out, err = capsys.readouterr()
    assert "密钥太弱" in out
    assert "it can be factored" not in out
    assert "请设置 paillier_bits = 3072" in out
    assert "故障 (failure)" in out
    assert "1 项故障" in err
