"""Keys over time: a party asks, the regulator's directory lists, the home and its ledger go over, crash or no crash."""

import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Note
from audit.directory import Directory, KeyStatus
from audit.entry import LogKeyChanged, decode_entry
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import (
    AuditError,
    BadSignatureError,
    MalformedError,
    RevokedKeyError,
    StaleDirectoryError,
)
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger, LedgerIdentity, open_reader
from audit.log_keys import log_key_key
from audit.names import Role, key_name
from audit.verify import verify_database
from parties import key_files, key_room, own_keys
from parties.errors import KeyChangeError, PartyError
from parties.home import Home
from parties.key_room import open_key_room
from parties.own_keys import request_rotation, rotate_keys
from parties.rotation import RotationRequest, check_rotation, read_rotation
from parties.telemetry import Logger, make_logger
from sandbox.errors import PeerUnavailableError
from tests.audit.golden import assert_golden
from tests.audit.mutations import mutated

from .homes import CLOCK, DAY_MS, Served, SetClock, join, new_home, opened, served

ALL = frozenset(KeyPurpose)
LOG, MESSAGE, WITNESS = KeyPurpose.LOG, KeyPurpose.MESSAGE, KeyPurpose.WITNESS


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))


def quiet(home: Home) -> Logger:
    return make_logger(home.config.telemetry, home.name, StringIO())


def rotate(home: Home, purposes: frozenset[KeyPurpose] = ALL) -> tuple[VerifyingKey, ...]:
    with open_key_room(home, CLOCK, quiet(home)) as room:
        return rotate_keys(home, room, purposes, CLOCK)


def ledger_of(home: Home) -> Ledger:
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    return Ledger.open(home.ledger_path, identity=identity, key=home.signing_key(LOG), clock=CLOCK)


def keys_of(home: Home) -> dict[KeyPurpose, VerifyingKey]:
    return {purpose: home.signing_key(purpose).verifying_key for purpose in KeyPurpose}


def changes(home: Home) -> list[LogKeyChanged]:
    reader = open_reader(home.ledger_path)
    entries = [decode_entry(data) for data in reader.read(0, reader.size)]
    reader.close()
    return [entry for entry in entries if isinstance(entry, LogKeyChanged)]


def assert_in_use(home: Home, directory: Directory) -> None:
    """The home's keys are the directory's active ones, the ledger opens with them, and verifies."""
    record = directory.party(home.name)
    assert {purpose: record.key(purpose) for purpose in KeyPurpose} == keys_of(home)
    assert not list(home.keys.glob("*.next.pem"))
    reader = open_reader(home.ledger_path)
    note = reader.latest_checkpoint()
    reader.close()
    # Also where nothing was added after the old key had handed over: a witness that trusts the new one alone takes it.
    assert note is not None
    Note.decode(note).verify(record.key(LOG))
    ledger_of(home).close()
    assert verify_database(home.ledger_path, directory=directory).verified


def test_a_rotation_is_listed_recorded_and_put_in_use(watch: Served, shop: Home) -> None:
    before = keys_of(shop)
    used = rotate(shop)
    after = keys_of(shop)
    assert set(used) == set(after.values())
    assert not set(before.values()) & set(after.values())
    assert_in_use(shop, watch.directory())
    statuses = {item.key: (item.status, item.until_ms) for item in watch.directory().party("shop").keys}
    assert all(statuses[key][0] is KeyStatus.RETIRED and statuses[key][1] for key in before.values())
    (change,) = changes(shop)
    assert (change.old, change.new) == (before[LOG].vkey(), after[LOG].vkey())
    assert change.version == watch.directory().version == 3
    for purpose, key in before.items():
        kept = shop.keys / f"{purpose.value}.{key.key_id.hex()}.retired.pem"
        assert SigningKey.from_pem(key.name, kept.read_bytes(), None).verifying_key == key
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    Home.open(shop.path)  # its modes are in order


def test_one_purpose_is_rotated_and_the_others_stay(watch: Served, shop: Home) -> None:
    before = keys_of(shop)
    rotate(shop, frozenset({WITNESS}))
    after = keys_of(shop)
    assert [purpose for purpose in KeyPurpose if before[purpose] != after[purpose]] == [WITNESS]
    assert_in_use(shop, watch.directory())
    assert not changes(shop)


def test_keys_are_rotated_again_and_again(watch: Served, shop: Home) -> None:
    for _ in range(3):
        rotate(shop)
    assert_in_use(shop, watch.directory())
    assert len(changes(shop)) == 3


def test_encrypted_keys_stay_encrypted(tmp_path: Path, watch: Served) -> None:
    home = new_home(tmp_path, "shop", Role.MERCHANT, passphrase=b"open sesame")
    join(watch.regulator, home)
    home = Home.open(home.path, passphrase=lambda: b"open sesame")
    rotate(home)
    assert all(b"ENCRYPTED" in path.read_bytes() for path in home.keys.glob("*.pem"))
    assert_in_use(home, watch.directory())


def test_a_party_that_is_served_is_told_to_stop_first(watch: Served, shop: Home) -> None:
    with ledger_of(shop), pytest.raises(KeyChangeError, match="stop it"):
        rotate(shop)
    with pytest.raises(KeyChangeError, match="stop it"):
        rotate(watch.home, frozenset({LOG}))


def test_the_regulator_rotates_its_own_keys_but_the_root_of_trust(tmp_path: Path) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with pytest.raises(KeyChangeError, match="root of trust"):
        rotate(home)
    root = keys_of(home)[MESSAGE]
    rotate(home, frozenset({LOG, WITNESS}))
    with opened(home) as regulator:
        directory = regulator.directory()
    assert_in_use(home, directory)
    assert keys_of(home)[MESSAGE] == root
    assert len(changes(home)) == 1


# -- crashes ----------------------------------------------------------------------------------------------------------


class CrashError(Exception):
    """The process ends here."""


def crash(monkeypatch: pytest.MonkeyPatch, target: object, name: str, *, after: int, then: bool) -> None:
    """Let the `after`-th call of `target.name` (from 1) be the last thing the process does: done, or not done."""
    real: Callable[..., object] = getattr(target, name)
    calls = 0

    def stop(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls < after:
            return real(*arguments, **named)
        if then:
            real(*arguments, **named)
        raise CrashError

    monkeypatch.setattr(target, name, stop)


POINTS: dict[str, tuple[object, str, int]] = {
    "a next key is written": (key_files, "write_file", 2),
    "the request is made": (own_keys, "request_rotation", 1),
    "the regulator is asked": (key_room._OwnRoom, "hand_in", 1),
    "the first key is swapped": (own_keys, "put_in_use", 1),
    "the second key is swapped": (own_keys, "put_in_use", 2),
    "the ledger goes over": (own_keys, "_hand_over", 1),
    "the current key is kept": (Path, "hardlink_to", 1),
    "the log key is kept": (Path, "hardlink_to", 3),
}


@pytest.mark.parametrize("then", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_after_a_crash_at_any_point_the_command_finishes(watch: Served, shop: Home, point: str, then: bool) -> None:
    target, name, after = POINTS[point]
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, target, name, after=after, then=then)
        with pytest.raises(CrashError):
            rotate(shop)
    version = watch.directory().version
    rotate(shop)
    assert_in_use(shop, watch.directory())
    assert watch.directory().version == 3
    assert version in {2, 3}
    assert len(changes(shop)) == 1


@pytest.mark.parametrize("name", ["put_in_use", "_hand_over"])
def test_the_regulators_own_crash_is_finished_too(tmp_path: Path, name: str) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    purposes = frozenset({LOG, WITNESS})
    with pytest.MonkeyPatch.context() as patch:
        crash(patch, own_keys, name, after=1, then=True)
        with pytest.raises(CrashError):
            rotate(home, purposes)
    rotate(home, purposes)
    with opened(home) as regulator:
        assert regulator.directory().version == 2
        directory = regulator.directory()
    assert_in_use(home, directory)


def test_while_the_regulator_is_away_nothing_changes_and_the_same_keys_are_announced_later(
    watch: Served, shop: Home
) -> None:
    before = keys_of(shop)
    request = request_rotation(shop, watch.directory(), ALL, CLOCK)
    watch.server.stop(0)
    with pytest.raises(PeerUnavailableError):
        rotate(shop)
    assert keys_of(shop) == before
    again = request_rotation(shop, watch.directory(), ALL, CLOCK)
    assert read_rotation(again)[0].keys == read_rotation(request)[0].keys


# -- revocation -------------------------------------------------------------------------------------------------------


def revoke(watch: Served, home: Home, *purposes: KeyPurpose) -> None:
    record = watch.directory().party(home.name)
    watch.regulator.registry.revoke(home.name, [record.key(purpose).keyid for purpose in purposes], (), "stolen")


def test_after_its_log_key_was_revoked_a_ledger_goes_over_without_its_vouching(watch: Served, shop: Home) -> None:
    ledger_of(shop).close()
    old = keys_of(shop)[LOG]
    revoke(watch, shop, LOG)
    rotate(shop, frozenset({LOG}))
    directory = watch.directory()
    assert directory.party("shop").key(LOG) == keys_of(shop)[LOG] != old
    (change,) = changes(shop)
    assert change.old == old.vkey()
    assert_in_use(shop, directory)  # and the ledger verifies


def test_a_party_without_a_message_key_comes_back_through_officials(watch: Served, shop: Home) -> None:
    revoke(watch, shop, MESSAGE)
    with pytest.raises(KeyChangeError, match="--replace-revoked"):
        rotate(shop)
    request = request_rotation(shop, shop.directory(now_ms=0), ALL, CLOCK)  # made against an older version
    registry = watch.regulator.registry
    with pytest.raises((StaleDirectoryError, RevokedKeyError)):
        registry.rotate(request)
    answer = registry.rotate(request, replace_revoked=True)
    with open_key_room(shop, CLOCK, quiet(shop), answer=answer) as room:
        assert len(own_keys.use_listed_keys(shop, room)) == 3
    assert_in_use(shop, watch.directory())
    rotate(shop)  # and from now on it speaks for itself


def test_replacing_without_need_is_refused(watch: Served, shop: Home) -> None:
    request = request_rotation(shop, watch.directory(), ALL, CLOCK)
    with pytest.raises(KeyChangeError, match="revoke it first"):
        watch.regulator.registry.rotate(request, replace_revoked=True)
    revoke(watch, shop, MESSAGE)
    without = request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK)
    with pytest.raises(KeyChangeError, match="the request brings none"):
        watch.regulator.registry.rotate(without, replace_revoked=True)


def test_a_next_log_key_that_was_revoked_before_it_served_is_thrown_away(watch: Served, shop: Home) -> None:
    request = request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK)
    watch.regulator.registry.rotate(request)
    revoke(watch, shop, LOG)
    lost = shop.next_signing_key(LOG)
    assert lost is not None
    rotate(shop, frozenset({LOG}))
    assert keys_of(shop)[LOG] != lost.verifying_key
    reader = open_reader(shop.ledger_path)
    assert reader.find(log_key_key(lost.verifying_key)) is None
    reader.close()


@pytest.mark.parametrize("purpose", [MESSAGE])
def test_the_root_of_trust_is_not_revoked(watch: Served, purpose: KeyPurpose) -> None:
    with pytest.raises(KeyChangeError, match="root of trust"):
        revoke(watch, watch.home, purpose)
    revoke(watch, watch.home, LOG, WITNESS)


def test_revoking_names_real_keys_and_says_when_there_is_nothing_left_to_do(watch: Served, shop: Home) -> None:
    registry = watch.regulator.registry
    keyid = keys_of(shop)[LOG].keyid
    with pytest.raises(KeyChangeError, match="is no key of shop"):
        registry.revoke("shop", [keys_of(watch.home)[LOG].keyid], (), "?")
    registry.revoke("shop", [keyid], ["ab" * 32], "stolen")
    version = watch.directory().version
    with pytest.raises(KeyChangeError, match="already"):
        registry.revoke("shop", [keyid], ["ab" * 32], "stolen")
    assert watch.directory().version == version
    assert watch.directory().revoked_certificates == ("ab" * 32,)


# -- what the regulator refuses ---------------------------------------------------------------------------------------


def test_each_refusal_of_a_request(watch: Served, shop: Home, tmp_path: Path) -> None:
    directory = watch.directory()
    good = request_rotation(shop, directory, ALL, CLOCK)
    request, envelope = read_rotation(good)
    new = key_files.next_keys(shop)
    now_ms = CLOCK.now_ms()

    def check(asked: tuple[RotationRequest, Envelope], at_ms: int = now_ms) -> None:
        check_rotation(asked, directory, now_ms=at_ms, replace_revoked=False)

    check((request, envelope))
    stranger = SigningKey.generate(shop.key_name(MESSAGE))
    by_stranger = read_rotation(request.seal(new, stranger).encode())
    with pytest.raises(BadSignatureError):
        check(by_stranger)
    for days in (31, -1):
        with pytest.raises(KeyChangeError, match="days old"):
            check((request, envelope), now_ms + days * DAY_MS)
    for version in (directory.version - 1, directory.version + 1):
        other = replace(request, version=version)
        with pytest.raises(StaleDirectoryError):
            check((other, other.seal(new, shop.signing_key(MESSAGE))))
    twice = {LOG: new[LOG], WITNESS: SigningKey(shop.key_name(WITNESS), new[LOG]._key)}
    one_key = replace(request, keys={purpose: key.verifying_key for purpose, key in twice.items()})
    with pytest.raises(KeyChangeError, match="two purposes"):
        check(read_rotation(one_key.seal(twice, shop.signing_key(MESSAGE)).encode()))


def test_a_key_named_after_another_party_role_or_domain_is_refused(watch: Served, shop: Home) -> None:
    request, _ = read_rotation(request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK))
    for name, error in (
        (key_name("east", Role.MERCHANT, "test.example", LOG), MalformedError),
        (key_name("shop", Role.PROVIDER, "test.example", LOG), KeyChangeError),
        (key_name("shop", Role.MERCHANT, "other.example", LOG), KeyChangeError),
        (key_name("shop", Role.MERCHANT, "test.example", WITNESS), MalformedError),
    ):
        key = SigningKey.generate(name)
        asked = replace(request, keys={LOG: key.verifying_key})
        with pytest.raises(error):
            watch.regulator.registry.rotate(asked.seal({LOG: key}, shop.signing_key(MESSAGE)).encode())


def test_the_new_message_key_signs_the_request_too(watch: Served, shop: Home) -> None:
    _, envelope = read_rotation(request_rotation(shop, watch.directory(), ALL, CLOCK))
    old = shop.signing_key(MESSAGE).verifying_key.keyid
    alone = replace(envelope, signatures=tuple(line for line in envelope.signatures if line.keyid == old))
    with pytest.raises(BadSignatureError):
        read_rotation(alone.encode())


def test_a_server_that_learns_of_the_rotation_keeps_the_clock(watch: Served, shop: Home) -> None:
    """A request made by a clock that is a little ahead is taken."""
    ahead = SetClock()
    ahead.ahead_ms = 60_000
    watch.regulator.registry.rotate(request_rotation(shop, watch.directory(), ALL, ahead))


# -- the format -------------------------------------------------------------------------------------------------------


def seeded(purpose: KeyPurpose, generation: int) -> SigningKey:
    seed = hashlib.sha256(f"unseen rotation test key {purpose.value} {generation}".encode()).digest()
    return SigningKey.from_seed(key_name("east", Role.PROVIDER, "stats.example", purpose), seed)


def golden() -> tuple[RotationRequest, Envelope]:
    new = {purpose: seeded(purpose, 1) for purpose in KeyPurpose}
    keys = {purpose: key.verifying_key for purpose, key in new.items()}
    request = RotationRequest("east", keys, 7, 1_760_000_000_000, "00" * 16)
    return request, request.seal(new, seeded(MESSAGE, 0))


def test_the_golden_file_is_what_this_release_writes_and_reads() -> None:
    request, envelope = golden()
    assert_golden("key_rotation", envelope.encode())
    assert read_rotation(envelope.encode()) == (request, envelope)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_our_error(data: bytes) -> None:
    try:
        read_rotation(data)
    except (AuditError, PartyError):
        return


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_body_is_a_request_or_our_error(data: st.DataObject) -> None:
    """The body is changed and signed again, so that the fields' own checks are reached."""
    _, envelope = golden()
    body = json.loads(data.draw(mutated(envelope.payload)))
    if body.get("type") == "key_rotation":
        signed = seal(body, PayloadType.KEY_ROTATION, seeded(MESSAGE, 0), seeded(MESSAGE, 1)).encode()
        try:
            read_rotation(signed)
        except (AuditError, PartyError):
            return
