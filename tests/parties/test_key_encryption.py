"""`unseen keys encrypt`: the keys of a home that is there already go under a passphrase, crash or no crash."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from audit.keys import KeyPurpose
from audit.names import Role
from parties import key_encryption
from parties.certificate_files import next_tls_key
from parties.cli.app import run
from parties.client.paillier_keys import FILE, SEALED_FILE, load_paillier_key
from parties.config import Overrides
from parties.errors import HomeError, KeyChangeError, PassphraseError
from parties.home import Home
from parties.identity import key_from_pem
from parties.key_encryption import encrypt_keys, keys_in_clear
from parties.key_files import make_next_keys, put_in_use

from .homes import new_home, opened
from .test_rotation import CrashError, crash, keys_of, ledger_of

NEW, OTHER = b"open sesame", b"shut sesame"
SHORT: Overrides = {"compute": {"paillier_bits": 1024, "unsafe_minimum_modulus_bits": 1024}}


def reopened(home: Home, passphrase: bytes | None) -> Home:
    return Home.open(home.path, passphrase=lambda: passphrase, overrides=SHORT)


def everything(home: Home, passphrase: bytes | None) -> object:
    """What all keys of the home are, as they open with the passphrase."""
    home = reopened(home, passphrase)
    following = {purpose: home.next_signing_key(purpose) for purpose in KeyPurpose}
    return (
        keys_of(home),
        {purpose: key and key.verifying_key for purpose, key in following.items()},
        [
            key_from_pem(path.read_bytes(), passphrase, where=path.name).private_numbers()
            for path in (home.keys / "tls.pem", home.next_tls_path)
        ],
        load_paillier_key(home, lambda _: None).public_key.n,
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a key of every kind: current, next and retired ones, TLS, and Paillier."""
    home = new_home(tmp_path_factory.mktemp("full"), "shop", Role.MERCHANT)
    make_next_keys(home, KeyPurpose)
    put_in_use(home, KeyPurpose.WITNESS)
    next_tls_key(home)
    load_paillier_key(Home.open(home.path, overrides=SHORT), lambda _: None)
    return home.path


@pytest.fixture
def shop(tmp_path: Path, full: Path) -> Home:
    shutil.copytree(full, tmp_path / "shop")
    return Home.open(tmp_path / "shop", overrides=SHORT)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.sealing._COST", 1 << 4)
    monkeypatch.setattr("audit.pkcs8._COST", 1 << 4)


def assert_all_under(home: Home, passphrase: bytes) -> None:
    assert keys_in_clear(home) == ()
    assert not (home.keys / FILE).exists()
    assert encrypt_keys(home, passphrase) == ()  # all of them, the retired one too, open with it
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.keys.iterdir()} == {0o600}
    assert not list(home.keys.glob(".*"))


def test_all_keys_go_under_a_passphrase_and_then_under_another(shop: Home) -> None:
    keys = everything(shop, None)
    written = encrypt_keys(shop, NEW)
    assert len(written) == len(list(shop.keys.iterdir())) == 9
    assert everything(shop, NEW) == keys
    assert_all_under(shop, NEW)
    with pytest.raises(PassphraseError):
        keys_of(reopened(shop, OTHER))
    assert len(encrypt_keys(shop, OTHER, current=NEW)) == 9
    assert everything(shop, OTHER) == keys
    assert_all_under(shop, OTHER)


def test_the_certificate_authority_too(tmp_path: Path) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    encrypt_keys(home, NEW)
    assert b"ENCRYPTED" in (home.keys / "ca.pem").read_bytes()
    with opened(Home.open(home.path, passphrase=lambda: NEW)) as regulator:
        assert regulator.registry._authority()


@pytest.mark.parametrize("then", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("after", range(1, 10))
@pytest.mark.parametrize("current", [None, OTHER], ids=["in clear", "encrypted"])
def test_after_a_crash_every_file_opens_with_one_of_both_and_again_finishes(
    shop: Home, after: int, then: bool, current: bytes | None
) -> None:
    keys = everything(shop, None)
    if current is not None:
        encrypt_keys(shop, current)
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, key_encryption, "write_file", after=after, then=then)
        with pytest.raises(CrashError):
            encrypt_keys(shop, NEW, current=current)
    encrypt_keys(shop, NEW, current=current)
    assert everything(shop, NEW) == keys
    assert_all_under(shop, NEW)


def test_a_crash_before_the_clear_paillier_key_is_gone_is_finished(shop: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, Path, "unlink", after=1, then=False)
        with pytest.raises(CrashError):
            encrypt_keys(shop, NEW)
    assert keys_in_clear(shop) == (shop.keys / FILE,)
    encrypt_keys(shop, NEW)
    assert_all_under(shop, NEW)


def state(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.keys.iterdir()}


def test_nothing_is_changed_where_one_key_does_not_open(shop: Home) -> None:
    encrypt_keys(shop, OTHER)
    before = state(shop)
    with pytest.raises(PassphraseError, match="Nothing was changed"):
        encrypt_keys(shop, NEW, current=b"mistyped")
    with pytest.raises(PassphraseError, match="empty"):
        encrypt_keys(shop, b"", current=OTHER)
    (shop.keys / "witness.pem").write_bytes(b"bits that rotted\n")
    with pytest.raises(HomeError, match=r"witness\.pem is damaged"):
        encrypt_keys(shop, NEW, current=OTHER)
    assert state(shop) == {**before, "witness.pem": b"bits that rotted\n"}


def test_two_different_paillier_keys_are_not_one(shop: Home) -> None:
    clear = (shop.keys / FILE).read_bytes()
    encrypt_keys(shop, NEW)
    (shop.keys / FILE).write_bytes(clear + b" ")
    with pytest.raises(HomeError, match="different keys"):
        encrypt_keys(shop, NEW)
    assert (shop.keys / FILE).exists()
    assert (shop.keys / SEALED_FILE).exists()


def test_a_party_that_is_served_is_told_to_stop_first(shop: Home) -> None:
    before = state(shop)
    with ledger_of(shop), pytest.raises(KeyChangeError, match="stop it"):
        encrypt_keys(shop, NEW)
    assert state(shop) == before


# -- the command -------------------------------------------------------------------------------------------------------


def encrypt(home: Home, *options: str, code: int = 0) -> None:
    assert run(["keys", "encrypt", "--home", str(home.path), *options, "--json"]) == code


def test_the_command_encrypts_and_changes_the_passphrase(
    shop: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("UNSEEN_PASSPHRASE", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    (tmp_path / "new").write_bytes(NEW + b"\n")
    (tmp_path / "other").write_bytes(OTHER + b"\n")
    encrypt(shop, code=2)
    assert "--passphrase-file" in capsys.readouterr().err
    encrypt(shop, "--passphrase-file", str(tmp_path / "new"))
    assert len(json.loads(capsys.readouterr().out)["written"]) == 9
    encrypt(shop, "--passphrase-file", str(tmp_path / "new"), code=2)
    assert "--new-passphrase-file" in capsys.readouterr().err
    monkeypatch.setenv("UNSEEN_PASSPHRASE", NEW.decode())
    encrypt(shop, "--new-passphrase-file", str(tmp_path / "other"))
    assert_all_under(shop, OTHER)


def test_a_passphrase_is_typed_twice(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSEEN_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    typed: list[bytes] = []
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: typed.pop(0).decode())
    typed += [NEW, OTHER]
    encrypt(shop, code=2)
    assert keys_in_clear(shop)
    typed += [NEW, NEW]
    encrypt(shop)
    typed += [NEW, OTHER, NEW]
    encrypt(shop, code=2)
    typed += [NEW, OTHER, OTHER]
    encrypt(shop)
    assert_all_under(shop, OTHER)
