"""An archive from anywhere restores what a home's backup holds, or nothing: no other place, no link, no more bytes."""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.clock import SystemClock
from audit.errors import MalformedError
from audit.names import Role
from parties.backup import back_up
from parties.backup_format import (
    BLOCK,
    END,
    MANIFEST,
    MAX_SMALL_BYTES,
    BackedUpFile,
    KeysInside,
    Manifest,
    check_name,
    empty_root,
    header,
    padding,
)
from parties.cli.app import run
from parties.errors import BackupError, BadBackupError
from parties.restore import restore
from tests.parties.homes import new_home

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    return (new_home(tmp_path_factory.mktemp("party"), "east", Role.PROVIDER).path / "party.toml").read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small sound archive's bytes."""
    folder = tmp_path_factory.mktemp("sound")
    back_up(new_home(folder, "east", Role.PROVIDER), folder / "b.tar", clock=CLOCK)
    return (folder / "b.tar").read_bytes()


def file(name, data):
    return BackedUpFile(name, len(data), hashlib.sha256(data).hexdigest())


def manifest(*listed):
    return Manifest(
        "east", Role.PROVIDER, "east.provider.test.example/log", 0, empty_root(), 1, KeysInside.NONE, listed
    )


def member(name, data, **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in changes.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + padding(len(data))


def archive(listed, *members):
    return member(MANIFEST, listed if isinstance(listed, bytes) else listed.encode()) + b"".join(members) + END


def unlisted(listed, old, new):
    """The manifest with names that no honest one can have."""
    return listed.encode().replace(old, new)


def restored(tmp_path, data):
    """Restore bytes; whatever happens, nothing is left but a whole home, and nothing lies beside it."""
    (tmp_path / "b.tar").write_bytes(data)
    before = {path.name for path in tmp_path.iterdir()}
    try:
        restore(tmp_path / "b.tar", tmp_path / "again", clock=CLOCK)
    except BackupError:
        assert {path.name for path in tmp_path.iterdir()} == before
        raise
    assert {path.name for path in tmp_path.iterdir()} == before | {"again"}


def test_a_plain_archive_made_by_hand_is_restored(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file), file("catalog/wages.toml", b"x"))
    restored(tmp_path, archive(listed, member("party.toml", settings_file), member("catalog/wages.toml", b"x")))
    assert (tmp_path / "again" / "catalog" / "wages.toml").read_bytes() == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.toml",
        "/etc/evil.toml",
        "catalog/../../evil.toml",
        "catalog/../evil.toml",
        "catalog//evil.toml",
        "./party.toml",
        "keys/.ssh",
        "keys/..",
        "restored.json",
        ".lock",
        "ledger.db.lock",
        "bin/sh",
        "replicas/../ledger.db",
        "replicas/east/vault.db",
        "replicas/east/deep/ledger.db",
        "catalog/a\\b.toml",
        "keys/" + "x" * 100,
    ],
)
def test_a_name_that_no_home_has_is_refused_before_anything_is_written(tmp_path, settings_file, name):
    listed = unlisted(
        manifest(file("party.toml", settings_file), file("catalog/wages.toml", b"x")),
        b"catalog/wages.toml",
        json.dumps(name)[1:-1].encode(),
    )
    with pytest.raises(BadBackupError, match="is this a file that"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), member(name, b"x")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_link_or_a_device_is_refused(tmp_path, settings_file, kind):
    listed = manifest(file("party.toml", settings_file), file("keys/log.pem", b""))
    evil = member("keys/log.pem", b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(BadBackupError, match="no ordinary file"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), evil))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, b"g"])
def test_extended_headers_are_refused_unread(tmp_path, settings_file, kind):
    huge = tarfile.TarInfo("party.toml")
    huge.type, huge.size = kind, 2**40
    with pytest.raises(BadBackupError, match="no ordinary file"):
        restored(tmp_path, archive(manifest(file("party.toml", settings_file)), huge.tobuf(tarfile.GNU_FORMAT)))


def test_a_file_listed_twice_is_refused(tmp_path, settings_file):
    honest = manifest(file("party.toml", settings_file), file("catalog/a.toml", b"x"), file("catalog/b.toml", b"x"))
    listed = unlisted(honest, b"catalog/b.toml", b"catalog/a.toml")
    twice = member("catalog/a.toml", b"x")
    with pytest.raises(BadBackupError, match="twice"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), twice, twice))


def test_a_file_sent_twice_in_place_of_another_is_refused(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file), file("catalog/a.toml", b"x"), file("catalog/b.toml", b"x"))
    twice = member("catalog/a.toml", b"x")
    with pytest.raises(BadBackupError, match="stands where"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), twice, twice))


def test_more_bytes_than_listed_are_refused(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file))
    with pytest.raises(BadBackupError):
        restored(tmp_path, archive(listed, member("party.toml", settings_file + b"x")))
    extra = member("catalog/extra.toml", b"x")
    with pytest.raises(BadBackupError, match="more than its manifest"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), extra))
    with pytest.raises(BadBackupError, match="goes on"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file)) + b"x")


def test_a_small_file_of_many_bytes_is_refused(tmp_path, settings_file):
    honest = manifest(file("party.toml", settings_file), replace(file("keys/log.pem", b""), size=MAX_SMALL_BYTES))
    size = str(MAX_SMALL_BYTES).encode()
    with pytest.raises(BadBackupError, match="allowed"):
        restored(tmp_path, archive(unlisted(honest, size, str(MAX_SMALL_BYTES + 1).encode())))


def test_a_database_larger_than_the_disk_is_refused_before_it_is_written(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file), BackedUpFile("vault.db", 2**52, "0" * 64))
    with pytest.raises(BackupError, match="make room"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file)))


def test_other_bytes_than_were_backed_up_are_refused(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file), file("keys/log.pem", b"mine"))
    with pytest.raises(BadBackupError, match="damaged"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file), member("keys/log.pem", b"evil")))


def test_a_manifest_of_another_party_or_of_another_ledger_is_refused(tmp_path, settings_file):
    other = replace(manifest(file("party.toml", settings_file)), party="north")
    with pytest.raises(BadBackupError, match="another party"):
        restored(tmp_path, archive(other, member("party.toml", settings_file)))
    longer = replace(manifest(file("party.toml", settings_file)), ledger_size=7)
    with pytest.raises(BadBackupError, match="another party or ledger"):
        restored(tmp_path, archive(longer, member("party.toml", settings_file)))


def test_a_later_version_is_told_from_damage(tmp_path, settings_file):
    listed = manifest(file("party.toml", settings_file)).encode().replace(b'"v":1', b'"v":2')
    with pytest.raises(BadBackupError, match="update unseen"):
        restored(tmp_path, archive(listed, member("party.toml", settings_file)))


def test_an_archive_cut_anywhere_is_refused(tmp_path, sound):
    content = len(sound.rstrip(b"\0"))
    for end in (0, 1, BLOCK - 1, BLOCK, 5 * BLOCK, content // 2, content - 1, len(sound) - len(END), len(sound) - 1):
        with pytest.raises(BadBackupError):
            restored(tmp_path, sound[:end])
    restored(tmp_path, sound)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_never_passes_unseen(tmp_path_factory, sound, data):
    place = data.draw(st.integers(0, len(sound) - 1))
    changed = bytearray(sound)
    changed[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("changed")
    try:
        restored(folder, bytes(changed))
    except BackupError:
        return
    # What a header says beside name, kind and length (mode, owner, times) is not read, and another time of the backup
    # is as good as the true one: the files are the same.
    restored(tmp_path_factory.mktemp("sound"), sound)
    time = sound.index(b'"created_at_ms":') + len(b'"created_at_ms":')
    assert place % BLOCK >= 100 or place in range(time, time + 13)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_refused_with_our_own_error(tmp_path_factory, data):
    with pytest.raises(BadBackupError):
        restored(tmp_path_factory.mktemp("any"), data)


@given(st.text(max_size=40))
def test_no_name_that_passes_leaves_its_folder(name):
    try:
        check_name(name)
    except MalformedError:
        return
    assert os.path.normpath(f"/home/{name}") == f"/home/{name}"
    assert len(header(name, 0, 0o600)) == BLOCK


def test_a_tar_of_somebody_elses_is_no_backup(tmp_path, capsys):
    with tarfile.open(tmp_path / "b.tar", "w") as other:
        other.addfile(tarfile.TarInfo("party.toml"), io.BytesIO())
    assert run(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "again")]) == 5
    assert not (tmp_path / "again").exists()
    assert "unseen" in capsys.readouterr().err
