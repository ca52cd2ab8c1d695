"""A private key is lost or damaged: each is replaced, alone or all together, and the ledger goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.directory import KeyStatus
from audit.errors import BadSignatureError
from audit.keys import KeyPurpose
from audit.names import Role
from parties import key_room
from parties.backup import BackupOptions, back_up
from parties.certificate_files import install_certificate, next_tls_key
from parties.certificate_renewal import ask_for_certificate
from parties.errors import HomeError, KeyChangeError, PassphraseError
from parties.home import Home
from parties.identity import certificate_from_pem, fingerprint
from parties.key_room import open_key_room
from parties.own_keys import request_rotation, rotate_keys, use_listed_keys
from parties.restore import restore
from parties.rotation import read_rotation

from .homes import CLOCK, Served, join, new_home, opened, served
from .test_rotation import ALL, CrashError, assert_in_use, changes, crash, keys_of, ledger_of, quiet, revoke

LOG, MESSAGE, WITNESS = KeyPurpose.LOG, KeyPurpose.MESSAGE, KeyPurpose.WITNESS
Lose = Callable[[Path], object]
LOSSES: dict[str, Lose] = {"missing": Path.unlink, "damaged": lambda path: path.write_bytes(b"bits that rotted\n")}


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    home = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    ledger_of(home).close()  # it has begun, under the key that is to be lost
    return home


@pytest.fixture(params=LOSSES)
def lose(request: pytest.FixtureRequest) -> Callable[[Home, KeyPurpose], None]:
    def loss(home: Home, purpose: KeyPurpose) -> None:
        LOSSES[request.param](home.keys / f"{purpose.value}.pem")

    return loss


def rotate(home: Home, purposes: frozenset[KeyPurpose] = ALL) -> object:
    with open_key_room(home, CLOCK, quiet(home), asking=purposes) as room:
        return rotate_keys(home, room, purposes, CLOCK)


def accept(home: Home, answer: bytes) -> object:
    with open_key_room(home, CLOCK, quiet(home), answer=answer) as room:
        return (*room.settled, *use_listed_keys(home, room))


def test_a_lost_witness_key_is_replaced(watch: Served, shop: Home, lose: Callable[[Home, KeyPurpose], None]) -> None:
    lose(shop, WITNESS)
    rotate(shop, frozenset({WITNESS}))
    assert_in_use(shop, watch.directory())


def test_what_cannot_be_read_is_kept_and_not_under_a_keys_name(watch: Served, shop: Home) -> None:
    (shop.keys / "witness.pem").write_bytes(b"bits that rotted\n")
    rotate(shop, frozenset({WITNESS}))
    (kept,) = shop.keys.glob("*.unreadable")
    assert kept.read_bytes() == b"bits that rotted\n"
    rotate(shop)  # and is in nobody's way
    assert_in_use(shop, watch.directory())


def test_a_lost_log_key_is_replaced_by_one_that_takes_the_ledger_over(
    watch: Served, shop: Home, lose: Callable[[Home, KeyPurpose], None]
) -> None:
    old = keys_of(shop)[LOG]
    lose(shop, LOG)
    rotate(shop, frozenset({LOG}))
    assert_in_use(shop, watch.directory())
    (change,) = changes(shop)
    assert (change.old, change.version) == (old.vkey(), watch.directory().version)
    rotate(shop)
    assert_in_use(shop, watch.directory())


def test_for_a_lost_log_key_it_does_not_do_to_replace_others(watch: Served, shop: Home) -> None:
    (shop.keys / "log.pem").unlink()
    with pytest.raises(KeyChangeError, match="name it too"):
        rotate(shop, frozenset({WITNESS}))
    with pytest.raises(HomeError, match=r"log\.pem is missing: .* if it is lost for good: `unseen keys rotate`"):
        accept(shop, shop.directory_bytes())


def test_a_lost_log_key_whose_successor_was_listed_already(watch: Served, shop: Home) -> None:
    watch.regulator.registry.rotate(request_rotation(shop, watch.directory(), ALL, CLOCK))
    (shop.keys / "log.pem").unlink()
    rotate(shop)
    assert_in_use(shop, watch.directory())
    assert watch.directory().version == 3


@pytest.mark.parametrize(
    ("name", "after"), [("request_rotation", 1), ("use_without_ledger", 1), ("use_without_ledger", 2), ("_room", 1)]
)
@pytest.mark.parametrize("then", [False, True], ids=["before", "after"])
def test_a_crash_while_a_lost_log_key_is_replaced_is_finished(
    watch: Served, shop: Home, name: str, after: int, then: bool
) -> None:
    (shop.keys / "log.pem").unlink()
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, key_room, name, after=after, then=then)
        with pytest.raises(CrashError):
            rotate(shop)
    rotate(shop)
    assert_in_use(shop, watch.directory())
    assert len(changes(shop)) == 1


def test_the_log_key_takes_over_only_when_the_witnesses_have_spoken(watch: Served, shop: Home) -> None:
    request = request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK)
    answer = watch.regulator.registry.rotate(request)
    (shop.keys / "log.pem").unlink()
    watch.server.stop(0)
    with pytest.raises(KeyChangeError, match="before its witnesses have said"):
        accept(shop, answer)
    assert not changes(shop)


def test_a_lost_message_key_is_replaced_through_officials(
    watch: Served, shop: Home, lose: Callable[[Home, KeyPurpose], None]
) -> None:
    lose(shop, MESSAGE)
    with pytest.raises(KeyChangeError, match="rotate --out FILE"):
        rotate(shop)
    with pytest.raises(KeyChangeError, match="is to be replaced too"):
        request_rotation(shop, watch.directory(), frozenset({WITNESS}), CLOCK)
    asked = request_rotation(shop, watch.directory(), frozenset({MESSAGE}), CLOCK)
    new = shop.next_signing_key(MESSAGE)
    assert new is not None
    assert [line.keyid for line in read_rotation(asked)[1].signatures] == [new.verifying_key.keyid]
    registry = watch.regulator.registry
    with pytest.raises(BadSignatureError):
        registry.rotate(asked)
    with pytest.raises(KeyChangeError, match="revoke it first"):
        registry.rotate(asked, replace_revoked=True)
    revoke(watch, shop, MESSAGE)
    accept(shop, registry.rotate(asked, replace_revoked=True))
    assert_in_use(shop, watch.directory())
    rotate(shop)


def test_all_keys_are_lost_in_a_home_that_was_restored_without_them(watch: Served, shop: Home, tmp_path: Path) -> None:
    rotate(shop, frozenset({WITNESS}))
    archive = tmp_path / "shop.backup"
    back_up(shop, archive, clock=CLOCK, options=BackupOptions(keys=False, verify=False))
    restore(archive, tmp_path / "again", clock=CLOCK)
    home = Home.open(tmp_path / "again")
    assert not list(home.keys.iterdir())
    asked = request_rotation(home, home.directory(now_ms=0), ALL, CLOCK)
    registry, record = watch.regulator.registry, watch.directory().party("shop")
    lost = fingerprint(certificate_from_pem(home.certificate_path.read_bytes()))
    registry.revoke("shop", [record.key(purpose).keyid for purpose in KeyPurpose], [lost], "disk broken")
    answer = registry.rotate(asked, replace_revoked=True)
    with pytest.raises(KeyChangeError, match="unseen certificate renew --out FILE"):
        accept(home, answer)  # without a TLS key no witness is heard
    certificate = registry.renew_certificate(ask_for_certificate(home, CLOCK))
    install_certificate(home, certificate, home.directory(now_ms=0), now_ms=CLOCK.now_ms())
    assert accept(home, answer)
    assert_in_use(home, watch.directory())
    assert {item.status for item in watch.directory().party("shop").keys} == {
        KeyStatus.ACTIVE,
        KeyStatus.RETIRED,
        KeyStatus.REVOKED,
    }
    rotate(home)
    assert_in_use(home, watch.directory())


@pytest.mark.parametrize("purpose", [LOG, WITNESS])
def test_the_regulator_replaces_its_own_lost_keys_but_the_root_of_trust(
    tmp_path: Path, purpose: KeyPurpose, lose: Callable[[Home, KeyPurpose], None]
) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home):
        pass
    lose(home, purpose)
    rotate(home, frozenset({purpose}))
    with opened(home) as regulator:
        directory = regulator.directory()
    assert_in_use(home, directory)
    lose(home, MESSAGE)
    with pytest.raises(HomeError, match=r"message\.pem"):
        rotate(home, frozenset({WITNESS}))


@pytest.mark.parametrize("name", ["Registry", "request_rotation", "_list_regulators_successor", "_room"])
@pytest.mark.parametrize("then", [False, True], ids=["before", "after"])
def test_a_crash_while_the_regulator_replaces_its_lost_log_key_is_finished(
    tmp_path: Path, name: str, then: bool
) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home):
        pass
    (home.keys / "log.pem").unlink()
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, key_room, name, after=1, then=then)
        with pytest.raises(CrashError):
            rotate(home, frozenset({LOG}))
    rotate(home, frozenset({LOG}))
    with opened(home) as regulator:
        directory = regulator.directory()
    assert_in_use(home, directory)
    assert len(changes(home)) == 1


def test_a_forgotten_passphrase_is_a_wrong_one_until_the_files_are_moved_away(tmp_path: Path, watch: Served) -> None:
    home = new_home(tmp_path, "shop", Role.MERCHANT, passphrase=b"open sesame")
    join(watch.regulator, home)
    mistyped = Home.open(home.path, passphrase=lambda: b"open sesami")
    (home.keys / "message.pem").unlink()
    with pytest.raises(PassphraseError, match="move what does not open out of keys/"):
        request_rotation(mistyped, watch.directory(), ALL, CLOCK)
    with pytest.raises(PassphraseError):
        next_tls_key(Home.open(home.path))
    assert not list(home.keys.glob("*.next.pem"))
    for path in home.keys.glob("*.pem"):
        path.unlink()
    assert request_rotation(Home.open(home.path), watch.directory(), ALL, CLOCK)


def test_a_lost_tls_key_is_replaced_by_files(watch: Served, shop: Home) -> None:
    for loss in LOSSES.values():
        loss(shop.keys / "tls.pem")
        with pytest.raises(HomeError, match="unseen certificate renew --out FILE"):
            shop.tls()
        certificate = watch.regulator.registry.renew_certificate(ask_for_certificate(shop, CLOCK))
        install_certificate(shop, certificate, watch.directory(), now_ms=CLOCK.now_ms())
        assert certificate_from_pem(shop.tls().certificate) == certificate_from_pem(certificate)
        rotate(shop, frozenset({WITNESS}))  # and is let in


def test_all_is_well_and_nothing_else_is_logged_when_a_party_comes_back(
    watch: Served, shop: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from parties.cli.app import run  # noqa: PLC0415  (the commands, for this test alone)

    ask, answer = str(tmp_path / "ask"), str(tmp_path / "answer")
    assert run(["keys", "rotate", "--out", ask, "--home", str(shop.path)]) == 0
    at_watch = ["--home", str(watch.home.path)]
    assert run(["keys", "revoke", "shop", "--reason", "disk broken", *at_watch]) == 0
    assert run(["keys", "sign", ask, "--replace-revoked", "--out", answer, *at_watch]) == 0
    capsys.readouterr()
    assert run(["keys", "accept", answer, "--home", str(shop.path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["keys"]) == 3
    assert "cosign" not in err
    assert "warning" not in err.lower()
