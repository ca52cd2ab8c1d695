from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.config import Limits, check_endpoint, load_config, locate_key
from parties.errors import ConfigError

BASE = '[party]\nname = "east"\nrole = "provider"\nlegal_entity = "X1"\ndomain = "test.example"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "party.toml"
    path.write_text(text)
    return path


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, BASE + "[limits]\nskew_ms = 5000\nwaiting_calls = 7\nthreads = 3\n")
    monkeypatch.setenv("UNSEEN_LIMITS__SKEW_MS", "6000")
    monkeypatch.setenv("UNSEEN_LIMITS__WAITING_CALLS", "8")
    limits = load_config(path, {"limits": {"skew_ms": 7000}}).limits
    assert (limits.skew_ms, limits.waiting_calls, limits.threads) == (7000, 8, 3)
    assert limits.message_bytes == Limits().message_bytes == 8 * 1024 * 1024


def test_home_and_passphrase_in_the_environment_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNSEEN_HOME", "/somewhere")
    monkeypatch.setenv("UNSEEN_PASSPHRASE", "secret")
    assert "secret" not in repr(load_config(write(tmp_path, BASE)))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BASE + "[limits\n", 6, "no valid TOML"),
        (BASE + "[limits]\nskew_msec = 5000\n", 7, "[limits] skew_msec is unknown"),
        (BASE + "[limit]\nskew_ms = 5000\n", 6, "[limit] is unknown"),
        (BASE + "[limits]\n# low\nskew_ms = 5\n", 8, "greater than or equal to 1000"),
        (BASE.replace("provider", "spy"), 3, "[party] role is refused"),
        (BASE.replace("east", "East"), 2, "is not a party name"),
        (BASE + '[network]\nlisten = "somewhere"\n', 7, "is not HOST:PORT"),
        (BASE + '[network]\nlisten = "host:70000"\n', 7, "is not HOST:PORT"),
        (BASE + '[telemetry]\nmetrics = "0.0.0.0:9464"\n', 7, "loopback"),
        ("", None, "[party] is missing"),
    ],
)
def test_what_is_wrong_is_refused_by_file_and_line(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert words in str(caught.value)


def test_a_wrong_environment_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSEEN_LIMITS__SKEW_MS", "soon")
    with pytest.raises(ConfigError, match="environment variable UNSEEN_LIMITS__SKEW_MS"):
        load_config(write(tmp_path, BASE))


def test_a_file_that_is_no_text_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "party.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    path.write_bytes(BASE.encode() + b"# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, BASE))
    with pytest.raises((AttributeError, ValueError)):
        config.limits.skew_ms = 1  # type: ignore[misc]
    with pytest.raises((AttributeError, ValueError)):
        config.limits = Limits()  # type: ignore[misc]


@given(st.text(max_size=200), st.text(max_size=10), st.text(max_size=10))
def test_locating_a_key_never_fails(text: str, section: str, key: str) -> None:
    line = locate_key(text, section, key)
    assert line is None or 1 <= line <= len(text.splitlines())


@given(st.text(max_size=60))
def test_an_endpoint_is_accepted_or_refused_with_our_error(endpoint: str) -> None:
    try:
        check_endpoint(endpoint)
    except ConfigError:
        return
    assert endpoint.rpartition(":")[2].isdigit()
