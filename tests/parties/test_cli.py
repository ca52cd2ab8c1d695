import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import audit.errors as audit
import protocols.errors as protocols
import sandbox.errors as sandbox
from parties import errors
from parties.cli.app import COMMANDS, load, run
from parties.cli.exit_codes import HOUSE, TABLE, exit_code
from sandbox.errors import DenialReason, DeniedError

from .homes import free_port

DOMAIN = ("--domain", "test.example")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("UNSEEN_HOME", "UNSEEN_PASSPHRASE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")


def unseen(*arguments: str) -> None:
    assert run(list(arguments)) == 0


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    unseen(*arguments, "--json")
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    return said


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    assert not out
    error: dict[str, object] = json.loads(err.splitlines()[-1])
    assert error["exit"] == code
    return error


def found_two(capsys: pytest.CaptureFixture[str]) -> str:
    endpoint = f"127.0.0.1:{free_port()}"
    watch = told(capsys, "init", "regulator", "watch", "--legal-entity", "G1", "--endpoint", endpoint, *DOMAIN)
    told(capsys, "init", "merchant", "shop", "--legal-entity", "M1", *DOMAIN)
    return str(watch["vkey"])


def test_a_party_joins_by_files_from_the_shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    vkey = found_two(capsys)
    shown = told(capsys, "enrol", "show", "shop/enrolment-request.json")
    assert (shown["name"], shown["role"], shown["legal_entity"]) == ("shop", "merchant", "M1")
    signed = told(capsys, "enrol", "sign", "shop/enrolment-request.json", "--home", "watch", "--out", "out.json")
    assert (signed["bundle"], signed["version"]) == ("out.json", 2)
    assert told(capsys, "enrol", "show", "out.json")["parties"] == "shop, watch"
    accepted = told(capsys, "enrol", "accept", "out.json", "--home", "shop", "--regulator-vkey", vkey)
    assert accepted["parties"] == ["shop", "watch"]
    assert vkey in (tmp_path / "shop" / "party.toml").read_text()


def test_enrolling_says_nothing_of_witnesses_that_do_not_run_yet(capsys: pytest.CaptureFixture[str]) -> None:
    found_two(capsys)
    told(capsys, "init", "provider", "east", "--legal-entity", "P1", "--endpoint", "127.0.0.1:9", *DOMAIN)
    told(capsys, "enrol", "sign", "east/enrolment-request.json", "--home", "watch")
    unseen("enrol", "sign", "shop/enrolment-request.json", "--home", "watch")
    said = capsys.readouterr().err.splitlines()
    assert (len(said), "is enrolled" in said[0]) == (2, True), said


def test_an_official_without_the_key_is_told_to_compare_it(capsys: pytest.CaptureFixture[str]) -> None:
    vkey = found_two(capsys)
    unseen("enrol", "sign", "shop/enrolment-request.json", "--home", "watch")
    capsys.readouterr()
    unseen("enrol", "accept", "shop.bundle.json", "--home", "shop")
    out, err = capsys.readouterr()
    assert vkey in err
    assert "Compare" in err
    assert out.splitlines() == ["party\trole", "shop\tmerchant", "watch\tregulator"]


def test_what_officials_read_follows_the_locale(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found_two(capsys)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    unseen("enrol", "show", "shop/enrolment-request.json")
    assert "统一社会信用代码\tM1" in capsys.readouterr().out


def test_refusals_have_their_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found_two(capsys)
    refused(capsys, 2, "init", "merchant", "shop", "--legal-entity", "M1")
    refused(capsys, 2, "init", "provider", "east", "--legal-entity", "P1")
    refused(capsys, 2, "enrol", "sign", "nothing.json", "--home", "watch")
    refused(capsys, 2, "enrol", "sign", "shop/enrolment-request.json", "--home", "shop")
    refused(capsys, 2, "enrol", "sign", "shop/enrolment-request.json")
    refused(capsys, 2, "serve", "--home", "shop")
    error = refused(capsys, 2, "serve", "--home", "watch", "--unsafe-without-witnesses", " ")
    assert "say why" in str(error["message"])
    unseen("enrol", "sign", "shop/enrolment-request.json", "--home", "watch")
    told(capsys, "init", "merchant", "shop", "--legal-entity", "M2", *DOMAIN, "--home", "thief")
    error = refused(capsys, 4, "enrol", "sign", "thief/enrolment-request.json", "--home", "watch")
    assert "never changes hands" in str(error["message"])
    error = refused(capsys, 4, "enrol", "accept", "shop.bundle.json", "--home", "thief")
    assert "another request" in str(error["message"])
    data = bytearray(Path("shop.bundle.json").read_bytes())
    place = data.index(b'"sig":"') + 10
    data[place] = ord("A") if data[place] != ord("A") else ord("B")
    Path("shop.bundle.json").write_bytes(data)
    refused(capsys, 5, "enrol", "accept", "shop.bundle.json", "--home", "shop")
    error = refused(capsys, 2, "enrol", "show", "shop/party.toml")
    assert "shop/party.toml is no enrolment file" in str(error["message"])
    error = refused(capsys, 2, "enrol", "sign", "shop/party.toml", "--home", "watch")
    assert "shop/party.toml is no enrolment file" in str(error["message"])
    error = refused(capsys, 2, "enrol", "accept", "shop/enrolment-request.json", "--home", "shop")
    assert "an enrolment bundle is wanted" in str(error["message"])
    refused(capsys, 2, "enrol", "accept", "shop.bundle.json", "--home", "shop", "--regulator-vkey", "watch")
    toml = tmp_path / "shop" / "party.toml"
    toml.write_text(toml.read_text() + "\n[limits]\n")
    line = len(toml.read_text().splitlines())
    error = refused(capsys, 2, "enrol", "accept", "shop.bundle.json", "--home", "shop")
    assert str(error["message"]).startswith(f"shop/party.toml:{line}: ")


def test_usage_errors_exit_2_and_help_and_version_0(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["init"], ["init", "spy", "x", "--legal-entity", "1"], ["enrol", "sign"]):
        assert run(arguments) == 2
    for arguments in (["--help"], ["--version"], ["init", "--help"]):
        assert run(arguments) == 0
    assert capsys.readouterr().out


def test_keys_are_encrypted_under_a_passphrase_from_file_or_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text("long and secret\n")
    endpoint = ("--endpoint", f"127.0.0.1:{free_port()}")
    unseen("init", "regulator", "watch", "--legal-entity", "G1", *endpoint, *DOMAIN, "--passphrase-file", "passphrase")
    assert all(b"ENCRYPTED" in key.read_bytes() for key in (tmp_path / "watch" / "keys").iterdir())
    unseen("init", "merchant", "shop", "--legal-entity", "M1", *DOMAIN)
    sign = ("enrol", "sign", "shop/enrolment-request.json", "--home", "watch")
    error = refused(capsys, 2, *sign)
    assert "UNSEEN_PASSPHRASE" in str(error["message"])
    monkeypatch.setenv("UNSEEN_PASSPHRASE", "guess")
    assert "wrong" in str(refused(capsys, 2, *sign)["message"])
    assert told(capsys, *sign, "--passphrase-file", "passphrase")["version"] == 2
    monkeypatch.setenv("UNSEEN_PASSPHRASE", "long and secret")
    assert told(capsys, *sign)["version"] == 2
    refused(capsys, 2, "init", "merchant", "late", "--legal-entity", "M2", "--passphrase-file", "nowhere")


def test_serve_says_when_it_is_ready_takes_enrolments_and_stops_gracefully(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found_two(capsys)
    command = [sys.executable, "-m", "parties.cli", "serve", "--home", "watch", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        assert ready["role"] == "regulator"
        # The server holds the ledger, so this goes over the regulator's own endpoint.
        signed = told(capsys, "enrol", "sign", "shop/enrolment-request.json", "--home", "watch")
        assert signed["version"] == 2
        refused(capsys, 1, "serve", "--home", "watch")
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not rest  # stdout is the one line
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith(b"{")]
    assert events[0] == "listening"
    assert events[-1] == "stopped"
    subprocess.run([sys.executable, "-m", "audit", "verify", "watch"], check=True, capture_output=True, env=environment)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_can_be_loaded(name: str) -> None:
    assert load(name).name == name


def test_every_error_of_the_house_has_an_exit_code() -> None:
    for package in (audit, protocols, sandbox, errors):
        for kind in vars(package).values():
            if isinstance(kind, type) and issubclass(kind, Exception):
                assert any(base in TABLE for base in kind.__mro__), kind
                assert issubclass(kind, HOUSE)
    assert exit_code(DeniedError(DenialReason.QUOTA_EXHAUSTED, "quotas", "used up")) == 4
    assert exit_code(DeniedError(DenialReason.CONTRACT_UNKNOWN, "contract", "none")) == 3
    assert exit_code(audit.VerificationImpossibleError("no file")) == 6
