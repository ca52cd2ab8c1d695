"""`unseen keys` and `unseen certificate`, as people and scripts use them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.keys import KeyPurpose
from audit.names import Role
from parties.cli.app import run
from parties.home import Home
from parties.identity import certificate_from_pem, fingerprint

from .homes import Served, join, new_home, served


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("UNSEEN_HOME", "UNSEEN_PASSPHRASE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def command(*arguments: str, code: int = 0) -> dict[str, object]:
        capsys.readouterr()
        assert run([*arguments, "--json"]) == code
        out, err = capsys.readouterr()
        told: dict[str, object] = json.loads(out if code == 0 else err.splitlines()[-1])
        return told

    return command


def vkeys(home: Home) -> dict[str, str]:
    return {purpose.value: home.signing_key(purpose).verifying_key.vkey() for purpose in KeyPurpose}


def test_a_party_rotates_over_the_network(watch: Served, shop: Home, said) -> None:
    before = vkeys(shop)
    told = said("keys", "rotate", "--home", "shop")
    assert sorted(told["keys"]) == sorted(vkeys(shop).values())
    assert told["version"] == watch.directory().version == 3
    assert not set(before.values()) & set(vkeys(shop).values())
    told = said("keys", "rotate", "--purpose", "witness", "--home", "shop")
    assert told["keys"] == [vkeys(shop)["witness"]]


def test_a_party_rotates_by_files(watch: Served, shop: Home, said) -> None:
    assert said("keys", "rotate", "--out", "ask.json", "--home", "shop")["request"] == "ask.json"
    shown = said("keys", "show", "ask.json")
    assert (shown["name"], shown["version"], len(shown["signed_by"])) == ("shop", 2, 2)
    signed = said("keys", "sign", "ask.json", "--home", "watch")  # through the running server
    assert (signed["answer"], signed["version"]) == ("shop.directory.dsse", 3)
    accepted = said("keys", "accept", "shop.directory.dsse", "--home", "shop")
    assert sorted(accepted["keys"]) == sorted(vkeys(shop).values()) == sorted(shown["keys"].values())
    assert (
        "lists none of the keys" in said("keys", "accept", "shop.directory.dsse", "--home", "shop", code=4)["message"]
    )
    assert "once and for all" in said_after_restart(said, watch, "keys", "sign", "ask.json", "--home", "watch")


def said_after_restart(said, watch: Served, *arguments: str) -> str:
    """The regulator's command while its server is stopped and its ledger free: the home itself is opened."""
    watch.server.stop(0)
    watch.regulator.close()
    return str(said(*arguments, code=4)["message"])


def test_without_the_network_the_log_key_waits_for_the_witnesses(watch: Served, shop: Home, said) -> None:
    before = vkeys(shop)
    said("keys", "rotate", "--out", "ask.json", "--home", "shop")
    said("keys", "sign", "ask.json", "--home", "watch")
    watch.server.stop(0)
    error = said("keys", "accept", "shop.directory.dsse", "--home", "shop", code=4)
    assert "run unseen keys rotate again when they can be reached" in error["message"]
    assert [purpose for purpose, key in vkeys(shop).items() if key == before[purpose]] == ["log"]


def test_a_revoked_party_comes_back_through_officials(watch: Served, shop: Home, said) -> None:
    revoked = said("keys", "revoke", "shop", "--purpose", "message", "--reason", "laptop stolen", "--home", "watch")
    assert revoked["version"] == 3
    assert [keyid.rpartition("+")[0] for keyid in revoked["keys"]] == [shop.key_name(KeyPurpose.MESSAGE)]
    assert "laptop stolen" in watch.log.getvalue()
    assert "--replace-revoked" in said("keys", "rotate", "--home", "shop", code=4)["message"]
    said("keys", "rotate", "--out", "ask.json", "--home", "shop")
    assert "--replace-revoked" in said("keys", "sign", "ask.json", "--home", "watch", code=4)["message"]
    said("keys", "sign", "ask.json", "--replace-revoked", "--home", "watch")
    said("keys", "accept", "shop.directory.dsse", "--home", "shop")
    assert said("keys", "rotate", "--home", "shop")["version"] == 5


def test_a_party_that_has_lost_all_its_keys_comes_back_by_files(watch: Served, shop: Home, said) -> None:
    """`restored.json` apart, as a home is that was restored from a backup without keys."""
    said("keys", "rotate", "--home", "shop")
    for path in shop.keys.iterdir():
        path.unlink()
    said("keys", "rotate", "--out", "ask.json", "--home", "shop")
    said("keys", "revoke", "shop", "--certificate", "shop", "--reason", "disk broken", "--home", "watch")
    revoked = said("keys", "revoke", "shop", "--purpose", "log", "--reason", "x", "--home", "watch", code=4)
    assert "no such active key" in revoked["message"]
    said("keys", "sign", "ask.json", "--replace-revoked", "--home", "watch")
    waits = said("keys", "accept", "shop.directory.dsse", "--home", "shop", code=4)["message"]
    assert "before its witnesses have said" in waits
    said("certificate", "renew", "--out", "ask-tls.json", "--home", "shop")
    said("certificate", "sign", "ask-tls.json", "--home", "watch")
    said("certificate", "accept", "shop.certificate.pem", "--home", "shop")
    assert len(said("keys", "rotate", "--home", "shop")["keys"]) == 1  # the log key, which had to wait
    assert len(said("keys", "rotate", "--home", "shop")["keys"]) == 3


def test_a_key_that_is_on_no_record_cannot_be_revoked(watch: Served, shop: Home, said) -> None:
    named = ("keys", "revoke", "shop", "--keyid", "nonsense", "--reason", "x", "--home", "watch")
    assert "unseen keys list shop" in said(*named, code=2)["message"]


def test_everybodys_keys_are_listed(watch: Served, shop: Home, said, capsys, monkeypatch) -> None:
    said("keys", "rotate", "--purpose", "log", "--home", "shop")
    listed = said("keys", "list", "shop", "--home", "shop")
    assert [(key["purpose"], key["status"]) for key in listed["keys"]] == [
        ("log", "retired"),
        ("message", "active"),
        ("witness", "active"),
        ("log", "active"),
    ]
    assert {key["party"] for key in said("keys", "list", "--home", "shop")["keys"]} == {"shop", "watch"}
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    capsys.readouterr()
    assert run(["keys", "list", "shop", "--home", "shop"]) == 0
    out = capsys.readouterr().out
    assert "已退役 (retired)" in out
    assert "账本 (log)" in out
    assert said("keys", "list", "nobody", "--home", "shop", code=3)["error"] == "UnknownPartyError"


def test_certificates_are_revoked_by_party_or_fingerprint(watch: Served, shop: Home, said) -> None:
    first = fingerprint(certificate_from_pem(shop.tls().certificate))
    renewed = said("certificate", "renew", "--home", "shop")["certificate"]
    arguments = ("keys", "revoke", "--reason", "theft", "--home", "watch")
    told = said(*arguments, "--certificate", "shop")
    assert told["certificates"] == sorted([first, renewed])
    assert told["keys"] == []
    assert said("certificate", "renew", "--home", "shop", code=4)["reason"] == "UNKNOWN_PARTY"
    spelt = ":".join("AB" for _ in range(32))
    assert said(*arguments, "--certificate", spelt)["certificates"] == ["ab" * 32]
    said(*arguments, "--certificate", "nothing", code=2)
    said(*arguments, code=2)
    said("keys", "revoke", "shop", "--home", "watch", code=2)


def test_an_expired_or_revoked_certificate_is_renewed_by_files(watch: Served, shop: Home, said) -> None:
    said("keys", "revoke", "--certificate", "shop", "--reason", "theft", "--home", "watch")
    said("certificate", "renew", "--out", "ask.json", "--home", "shop")
    assert said("certificate", "sign", "ask.json", "--home", "watch")["answer"] == "shop.certificate.pem"
    accepted = said("certificate", "accept", "shop.certificate.pem", "--home", "shop")
    assert accepted["certificate"] == fingerprint(certificate_from_pem(shop.tls().certificate))
    said("keys", "rotate", "--home", "shop")  # and is let in again


def test_the_regulator_renews_and_rotates_its_own(watch: Served, said) -> None:
    renewed = said("certificate", "renew", "--home", "watch")  # while it runs
    assert renewed["certificate"] == fingerprint(certificate_from_pem(watch.home.tls().certificate))
    assert "stop it" in said("keys", "rotate", "--home", "watch", code=4)["message"]
    watch.server.stop(0)
    watch.regulator.close()
    assert len(said("keys", "rotate", "--home", "watch")["keys"]) == 2
    assert "root of trust" in said("keys", "rotate", "--purpose", "message", "--home", "watch", code=4)["message"]
    assert said("certificate", "renew", "--home", "watch")["certificate"] != renewed["certificate"]


def test_commands_say_what_file_or_home_they_want(watch: Served, shop: Home, said) -> None:
    for arguments in (
        ("keys", "sign", "shop/enrolment-request.json", "--home", "watch"),
        ("keys", "sign", "nothing.json", "--home", "watch"),
        ("keys", "show", "shop/party.toml"),
        ("keys", "accept", "shop/enrolment-request.json", "--home", "shop"),
        ("keys", "revoke", "shop", "--reason", "x", "--home", "shop"),
        ("certificate", "sign", "nothing.json", "--home", "shop"),
    ):
        assert said(*arguments, code=2)["message"], arguments
    refused = said("certificate", "accept", "shop/party.toml", "--home", "shop", code=1)
    assert refused["error"] == "IdentityError"
    assert refused["message"].startswith("shop/party.toml holds no certificate")
