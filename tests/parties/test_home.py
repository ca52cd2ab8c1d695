import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audit.keys import KeyPurpose
from audit.names import Role
from parties.errors import HomeError, PassphraseError, UsageError
from parties.files import write_file
from parties.founding import found, pin_regulator
from parties.home import Home, read_passphrase_file

from .homes import CLOCK, founding, new_home, opened


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("role", list(Role))
def test_a_new_home_keeps_its_keys_to_itself(tmp_path: Path, role: Role) -> None:
    before = os.umask(0)
    try:
        home = new_home(tmp_path, "east", role)
    finally:
        os.umask(before)
    assert mode(home.keys) == 0o700
    names = {path.name for path in home.keys.iterdir()}
    assert names == {"log.pem", "message.pem", "witness.pem", "tls.pem"} | (
        {"ca.pem"} if role is Role.REGULATOR else set()
    )
    assert {mode(path) for path in home.keys.iterdir()} == {0o600}
    assert home.catalog.is_dir() == (role is Role.PROVIDER)
    assert home.request_path.exists() == (role is not Role.REGULATOR)


@pytest.mark.parametrize("name", ["keys", "keys/tls.pem", "keys/message.pem"])
def test_a_home_whose_keys_others_can_read_is_not_opened(tmp_path: Path, name: str) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    (home.path / name).chmod(0o640 if name.endswith("pem") else 0o750)
    with pytest.raises(HomeError, match="chmod go="):
        Home.open(home.path)


def test_a_folder_without_party_toml_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="unseen init"):
        Home.open(tmp_path)


def test_a_home_is_never_made_over_something(tmp_path: Path) -> None:
    new_home(tmp_path, "east", Role.PROVIDER)
    with pytest.raises(HomeError, match="not empty"):
        new_home(tmp_path, "east", Role.PROVIDER)


@pytest.mark.parametrize(
    "wrong",
    [
        founding("East", Role.MERCHANT),
        founding("east", Role.PROVIDER, endpoint=""),
        founding("east", Role.PROVIDER, endpoint="nowhere"),
        founding("east", Role.MERCHANT, entity="a b"),
        founding("east", Role.MERCHANT, domain="Not A Domain"),
    ],
)
def test_malformed_words_make_no_home(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(UsageError):
        found(tmp_path / "home", wrong, passphrase=None, clock=CLOCK)  # type: ignore[arg-type]
    assert not (tmp_path / "home").exists()


def test_encrypted_keys_open_with_their_passphrase_alone(tmp_path: Path) -> None:
    path = new_home(tmp_path, "east", Role.REGULATOR, passphrase=b"long and secret").path
    assert all(b"ENCRYPTED" in key.read_bytes() for key in (path / "keys").iterdir())
    asked = []

    def ask() -> bytes:
        asked.append(1)
        return b"long and secret"

    home = Home.open(path, passphrase=ask)
    assert not asked  # only when a key is needed
    assert home.signing_key(KeyPurpose.LOG).name == home.origin
    assert b"ENCRYPTED" not in home.tls().key
    assert len(asked) == 1
    with opened(home) as regulator:
        assert regulator.directory().version == 1
    with pytest.raises(PassphraseError, match="wrong"):
        Home.open(path, passphrase=lambda: b"guess").signing_key(KeyPurpose.LOG)
    with pytest.raises(PassphraseError, match="wrong"):
        Home.open(path, passphrase=lambda: b"guess").tls()
    with pytest.raises(PassphraseError, match="--passphrase-file"):
        Home.open(path).signing_key(KeyPurpose.LOG)
    with pytest.raises(PassphraseError, match="--passphrase-file"):
        Home.open(path).tls()


def test_a_passphrase_file_is_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(b"correct horse\r\nsecond line\n")
    assert read_passphrase_file(path) == b"correct horse"
    for wrong in (b"", b"\nsecond", b"x" * 2000):
        path.write_bytes(wrong)
        with pytest.raises(PassphraseError):
            read_passphrase_file(path)


def test_secrets_do_not_show(tmp_path: Path) -> None:
    home = new_home(tmp_path, "east", Role.REGULATOR)
    assert "PRIVATE" not in repr(home.tls()) + repr(home.signing_key(KeyPurpose.LOG)) + repr(home.config)


def test_a_running_party_is_seen_by_its_ledger_lock(tmp_path: Path) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    assert not home.is_served()
    with opened(home):
        assert home.is_served()
    assert not home.is_served()


def test_before_enrolment_the_missing_file_names_the_command(tmp_path: Path) -> None:
    home = new_home(tmp_path, "shop", Role.MERCHANT)
    for act in (home.tls, home.regulator_key, home.directory_bytes):
        with pytest.raises(HomeError, match="unseen enrol accept"):
            act()


@pytest.mark.parametrize("damage", [None, b"garbage", b""], ids=["missing", "garbage", "empty"])
def test_a_lost_key_names_its_file_and_the_backup(tmp_path: Path, damage: bytes | None) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    path = home.keys / "message.pem"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(HomeError, match=r"keys/message\.pem is (missing|damaged).*unseen restore") as caught:
        Home.open(home.path).signing_key(KeyPurpose.MESSAGE)
    assert "enrol" not in str(caught.value)


def test_a_home_opens_while_its_next_keys_come_and_go(tmp_path: Path) -> None:
    """A renewal puts tls.next.pem in use while others, who have just listed the folder, look at each key."""
    home = new_home(tmp_path, "east", Role.PROVIDER)
    over = threading.Event()

    def renew() -> None:
        while not over.is_set():
            write_file(home.keys / "a.next.pem", b"key", mode=0o600)
            (home.keys / "a.next.pem").replace(home.keys / "b.pem")

    with ThreadPoolExecutor(1) as threads:
        renewing = threads.submit(renew)
        try:
            for _ in range(300):
                assert Home.open(home.path).passphrase is None
        finally:
            over.set()
        renewing.result(30)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old", mode=0o600)
    with pytest.raises(TypeError):
        write_file(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert mode(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_pinning_keeps_comments_and_other_sections() -> None:
    limits = "[limits]\n# skew\nskew_ms = 5000\n"
    text = f'[party]\nname = "a"\n\n[regulator]\n# root of trust\nname = ""\nvkey = "old"\n\n{limits}'
    pinned = pin_regulator(text, {"name": "watch", "endpoint": "h:1", "vkey": "new"})
    assert pinned == (
        '[party]\nname = "a"\n\n[regulator]\n# root of trust\nname = "watch"\nendpoint = "h:1"\nvkey = "new"\n\n'
        "[limits]\n# skew\nskew_ms = 5000\n"
    )
    assert pin_regulator(pinned, {"name": "watch", "endpoint": "h:1", "vkey": "new"}) == pinned
    assert pin_regulator('[party]\nname = "a"', {"name": "w"}) == '[party]\nname = "a"\n\n[regulator]\nname = "w"\n'
