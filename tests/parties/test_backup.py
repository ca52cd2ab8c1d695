"""A home in one file and back: everything is there, private, checked; nothing half done, nothing overwritten."""

import json
import resource
import sqlite3
import stat
import tarfile
import threading
import time
from contextlib import contextmanager

import pytest

from audit.clock import SystemClock
from audit.errors import CopyFailedError
from audit.names import Role
from audit.spot_check import spot_check
from audit.verify import verify_database
from parties.backup import BackupOptions, back_up
from parties.backup_format import KeysInside
from parties.cli.app import run
from parties.errors import BackupError
from parties.files import write_file
from parties.home import Home
from parties.restore import RESTORED, restore
from sandbox.vault import Vault, VaultKind
from tests.parties.homes import join, new_home, opened, served

CLOCK = SystemClock()


@pytest.fixture
def home(tmp_path):
    """A regulator that has enrolled a provider and rests: its home has every kind of file."""
    authority = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(authority) as regulator:
        join(regulator, new_home(tmp_path, "east", Role.PROVIDER))
    with Vault.open(authority.vault_path) as vault:
        vault.put(VaultKind.MESSAGE, "a message", b"its bytes")
    return authority


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_restored_home_has_everything_but_the_data_sets(home, tmp_path):
    back_up(home, tmp_path / "b.tar", clock=CLOCK)
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    before, after = files(home.path), files(tmp_path / "again")
    for name in ("party.toml", "certificate.pem", "ca.pem", "directory.dsse", "keys/log.pem", "enrolled/east.json"):
        assert after[name] == before[name]
    assert {name for name in before if name.startswith("keys/")} == {name for name in after if name.startswith("keys/")}
    assert spot_check(tmp_path / "again" / "ledger.db").root == spot_check(home.ledger_path).root
    with Vault.open(tmp_path / "again" / "vault.db") as vault:
        assert vault.get(VaultKind.MESSAGE, "a message") == b"its bytes"
    again = Home.open(tmp_path / "again")
    assert verify_database(again.path, directory=again.directory(now_ms=CLOCK.now_ms())).verified


def test_a_restored_home_is_marked_as_one_that_must_catch_up(home, tmp_path):
    manifest = back_up(home, tmp_path / "b.tar", clock=CLOCK)
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    again = Home.open(tmp_path / "again")
    assert again.restored_path.name == RESTORED
    marker = json.loads(again.restored_path.read_bytes())
    head = spot_check(home.ledger_path)
    assert (marker["size"], marker["root"]) == (head.size, head.root.hex())
    assert marker["backup_created_at_ms"] == manifest.created_at_ms
    assert marker["v"] == 1


def test_archive_and_restored_secrets_are_their_owners_alone(home, tmp_path):
    back_up(home, tmp_path / "b.tar", clock=CLOCK)
    assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    for private in ("keys", "keys/log.pem", "keys/ca.pem", "ledger.db", "vault.db"):
        assert stat.S_IMODE((tmp_path / "again" / private).stat().st_mode) & 0o077 == 0, private


def test_an_ordinary_tar_reads_it(home, tmp_path):
    manifest = back_up(home, tmp_path / "b.tar", clock=CLOCK)
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames() == ["manifest.json", *(file.name for file in manifest.files)]
        assert all(member.isreg() for member in archive)


def test_keys_may_stay_at_home(home, tmp_path):
    manifest = back_up(home, tmp_path / "b.tar", clock=CLOCK, options=BackupOptions(keys=False))
    assert manifest.keys is KeysInside.NONE
    for secret in home.keys.glob("*.pem"):
        assert secret.read_bytes() not in (tmp_path / "b.tar").read_bytes()
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    assert stat.S_IMODE((tmp_path / "again" / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize(("passphrase", "inside"), [(b"a horse", KeysInside.ENCRYPTED), (None, KeysInside.IN_CLEAR)])
def test_it_is_told_whether_secrets_lie_in_clear(tmp_path, capsys, passphrase, inside):
    new_home(tmp_path, "east", Role.PROVIDER, passphrase=passphrase)
    assert run(["backup", str(tmp_path / "b.tar"), "--home", str(tmp_path / "east"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["keys"] == inside.value
    assert ("in clear" in err) is (inside is KeysInside.IN_CLEAR)


def test_a_home_that_was_never_opened_is_backed_up_too(tmp_path):
    home = new_home(tmp_path, "east", Role.PROVIDER)
    assert back_up(home, tmp_path / "b.tar", clock=CLOCK).ledger_size == 0
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    assert Home.open(tmp_path / "again").name == "east"


def test_a_party_is_backed_up_while_it_serves(tmp_path):
    with served(tmp_path) as running:
        manifest = back_up(running.home, tmp_path / "b.tar", clock=CLOCK, options=BackupOptions(verify=True))
        assert manifest.ledger_size == running.regulator.ledger.size
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)


def test_nothing_is_overwritten(home, tmp_path):
    (tmp_path / "b.tar").write_text("precious")
    with pytest.raises(BackupError, match="never overwrites"):
        back_up(home, tmp_path / "b.tar", clock=CLOCK)
    assert (tmp_path / "b.tar").read_text() == "precious"


def test_a_dangling_link_is_not_written_through(home, tmp_path):
    (tmp_path / "b.tar").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match="exists"):
        back_up(home, tmp_path / "b.tar", clock=CLOCK)
    assert not (tmp_path / "elsewhere").exists()


def test_a_backup_inside_its_own_home_is_refused(home):
    with pytest.raises(BackupError, match="lost with it"):
        back_up(home, home.path / "b.tar", clock=CLOCK)


def test_a_ledger_that_does_not_hold_together_is_not_backed_up(home, tmp_path):
    with sqlite3.connect(home.ledger_path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'chain'", ("0" * 64,))
    assert run(["backup", str(tmp_path / "b.tar"), "--home", str(home.path)]) == 5
    assert not (tmp_path / "b.tar").exists()
    assert not leftovers(tmp_path)


def test_what_only_a_whole_verification_sees_is_seen_with_verify(home, tmp_path):
    with opened(home) as regulator:
        join(regulator, new_home(tmp_path, "north", Role.PROVIDER))
    with sqlite3.connect(home.ledger_path) as connection:
        connection.execute("UPDATE checkpoints SET note = x'00' WHERE size = (SELECT min(size) FROM checkpoints)")
    with pytest.raises(BackupError, match="does not verify"):
        back_up(home, tmp_path / "b.tar", clock=CLOCK, options=BackupOptions(verify=True))
    assert not leftovers(tmp_path)


def test_a_log_key_that_is_replaced_under_the_copy_is_noticed(home, tmp_path):
    holding = threading.Event()

    def rotate():
        with home.writing():
            holding.set()
            while not list(tmp_path.glob(".b.tar.*/home/vault.db")):
                time.sleep(0.01)
            write_file(home.keys / "log.pem", (home.keys / "log.pem").read_bytes(), mode=0o600)

    rotation = threading.Thread(target=rotate)
    rotation.start()
    assert holding.wait(10)
    with pytest.raises(BackupError, match="run it again"):
        back_up(home, tmp_path / "b.tar", clock=CLOCK)
    rotation.join()
    assert not leftovers(tmp_path)
    back_up(home, tmp_path / "b.tar", clock=CLOCK)


@contextmanager
def no_file_beyond(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_backup(home, tmp_path):
    archive = tmp_path / "b.tar"
    back_up(home, tmp_path / "whole.tar", clock=CLOCK)
    for room in (0, 3_000, home.ledger_path.stat().st_size - 1, (tmp_path / "whole.tar").stat().st_size - 1):
        with no_file_beyond(room), pytest.raises((OSError, CopyFailedError)):
            back_up(home, archive, clock=CLOCK)
        assert not archive.exists(), room
        assert not leftovers(tmp_path), room
    back_up(home, archive, clock=CLOCK)


def test_a_full_disk_leaves_no_half_home(home, tmp_path):
    largest = max(file.size for file in back_up(home, tmp_path / "b.tar", clock=CLOCK).files)
    for room in (0, 3_000, largest - 1):
        with no_file_beyond(room), pytest.raises(OSError, match="File too large"):
            restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
        assert not (tmp_path / "again").exists(), room
    restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)


def test_a_folder_with_something_in_it_is_not_restored_into(home, tmp_path):
    back_up(home, tmp_path / "b.tar", clock=CLOCK)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "b.tar", tmp_path / "full", clock=CLOCK)
    assert files(tmp_path / "full") == {"thesis.txt": b"precious"}
    restore(tmp_path / "b.tar", tmp_path / "once", clock=CLOCK)
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "b.tar", tmp_path / "once", clock=CLOCK)


def test_a_home_that_is_served_is_not_restored_into(tmp_path):
    with served(tmp_path) as running:
        back_up(running.home, tmp_path / "b.tar", clock=CLOCK)
        with pytest.raises(BackupError, match="stop it"):
            restore(tmp_path / "b.tar", running.home.path, clock=CLOCK)
        assert Home.open(running.home.path).is_served()


def test_from_the_shell(home, tmp_path, capsys):
    archive, again = str(tmp_path / "b.tar"), str(tmp_path / "again")
    assert run(["backup", archive, "--home", str(home.path)]) == 0
    assert capsys.readouterr().out.strip() == archive
    assert run(["restore", archive, "--home", again]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == again
    assert "unseen serve" in err
    assert run(["restore", archive, "--home", again]) == 1
    assert run(["restore", str(tmp_path / "nothing.tar"), "--home", str(tmp_path / "n")]) == 1
