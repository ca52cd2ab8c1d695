"""Somebody has a party's keys, or a request that it signed, and wants the directory to say what suits him.

Each attack is run with its defence taken away, where it succeeds, and with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note, sign_checkpoint
from audit.directory import Directory, KeyStatus, sign_directory
from audit.errors import (
    BadSignatureError,
    DirectoryConflictError,
    MalformedError,
    Refusal,
    StaleDirectoryError,
    WitnessRefusedError,
)
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger, LedgerIdentity, open_reader
from audit.names import Role
from audit.witness import Submission, Witness
from audit.witness_store import WitnessStore
from parties import directory_feed, key_files, key_room, rotation
from parties.certificate_files import install_certificate
from parties.certificate_renewal import ask_for_certificate
from parties.client.directory import DirectoryClient
from parties.directory_feed import DirectoryFeed
from parties.errors import KeyChangeError
from parties.home import Home
from parties.identity import certificate_from_pem, fingerprint
from parties.key_room import open_key_room, verify_may_take_over
from parties.own_keys import request_rotation, rotate_keys, use_listed_keys
from parties.rotation import RotationRequest, read_rotation
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError
from tests.parties.homes import CLOCK, Served, join, new_home, served

LOG, MESSAGE, WITNESS = KeyPurpose.LOG, KeyPurpose.MESSAGE, KeyPurpose.WITNESS
ALL = frozenset(KeyPurpose)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))


@pytest.fixture
def east(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))


def client(watch: Served, caller: Home) -> DirectoryClient:
    return DirectoryClient(watch.channel(caller)[0], watch.directory)


def thiefs_request(watch: Served, victim: Home, *purposes: KeyPurpose) -> tuple[bytes, dict[KeyPurpose, SigningKey]]:
    """A rotation to keys of the thief's own, signed with the victim's message key, which he has."""
    keys = {purpose: SigningKey.generate(victim.key_name(purpose)) for purpose in purposes}
    announced = {purpose: key.verifying_key for purpose, key in keys.items()}
    request = RotationRequest(victim.name, announced, watch.directory().version, CLOCK.now_ms(), "00" * 16)
    return request.seal(keys, victim.signing_key(MESSAGE)).encode(), keys


def rotate(home: Home, *purposes: KeyPurpose) -> tuple[VerifyingKey, ...]:
    logger = make_logger(home.config.telemetry, home.name, StringIO())
    with open_key_room(home, CLOCK, logger) as room:
        return rotate_keys(home, room, frozenset(purposes), CLOCK)


def nothing(*arguments: object, **named: object) -> None:
    """A check that is not made."""


# -- stolen keys ------------------------------------------------------------------------------------------------------


def test_a_stolen_message_key_alone_does_not_rotate(watch: Served, shop: Home, east: Home) -> None:
    """The thief is himself enrolled, as east, and so has a way to the regulator."""
    request, keys = thiefs_request(watch, shop, MESSAGE)
    with pytest.raises(DeniedError) as denied:
        client(watch, east).rotate(request)
    assert denied.value.reason is DenialReason.IDENTITY_MISMATCH
    assert watch.directory().party("shop").key(MESSAGE) == shop.signing_key(MESSAGE).verifying_key
    # The certificate is the defence: with shop's too, the same request is answered.
    client(watch, shop).rotate(request)
    assert watch.directory().party("shop").key(MESSAGE) == keys[MESSAGE].verifying_key


def test_a_stolen_certificate_alone_does_not_rotate(watch: Served, shop: Home) -> None:
    stranger = SigningKey.generate(shop.key_name(MESSAGE))
    request = RotationRequest(
        "shop", {MESSAGE: stranger.verifying_key}, watch.directory().version, CLOCK.now_ms(), "00" * 16
    )
    with pytest.raises(DeniedError) as denied:
        client(watch, shop).rotate(request.seal({MESSAGE: stranger}, stranger).encode())
    assert denied.value.reason is DenialReason.BAD_SIGNATURE


def test_who_has_both_is_the_party_until_the_regulator_is_told(watch: Served, shop: Home) -> None:
    """The theft cannot be prevented any more. It is seen at once, and undone through officials."""
    request, stolen = thiefs_request(watch, shop, *KeyPurpose)
    stolen_certificate = fingerprint(certificate_from_pem(shop.tls().certificate))
    client(watch, shop).rotate(request)
    with pytest.raises(KeyChangeError, match="somebody else did: tell the regulator now"):
        rotate(shop, *KeyPurpose)
    # The owner telephones. The thief's keys and the stolen certificate are revoked.
    registry, record = watch.regulator.registry, watch.directory().party("shop")
    active = [record.key(purpose).keyid for purpose in KeyPurpose]
    registry.revoke("shop", active, [stolen_certificate], "keys and certificate stolen")
    with pytest.raises(DeniedError, match="revoked"):
        client(watch, shop).rotate(request)
    # The owner's request comes by file, and is signed after somebody has compared its keys by telephone.
    asked = request_rotation(shop, shop.directory(now_ms=0), ALL, CLOCK)
    with pytest.raises((StaleDirectoryError, BadSignatureError)):
        registry.rotate(asked)
    answer = registry.rotate(asked, replace_revoked=True)
    logger = make_logger(shop.config.telemetry, "shop", StringIO())
    with open_key_room(shop, CLOCK, logger, answer=answer) as room, pytest.raises(KeyChangeError, match="in use"):
        use_listed_keys(shop, room)  # all but the log key: with the stolen certificate the witness is not to be heard
    certificate = registry.renew_certificate(ask_for_certificate(shop, CLOCK))
    install_certificate(shop, certificate, watch.directory(), now_ms=CLOCK.now_ms())
    with open_key_room(shop, CLOCK, logger) as room:
        assert use_listed_keys(shop, room)
    record = watch.directory().party("shop")
    assert all(record.key(purpose) == shop.signing_key(purpose).verifying_key for purpose in KeyPurpose)
    statuses = {item.key: item.status for item in record.keys}
    assert {statuses[key.verifying_key] for key in stolen.values()} == {KeyStatus.REVOKED}
    # What the thief has left is worth nothing.
    again = SigningKey.generate(shop.key_name(MESSAGE))
    later = RotationRequest(
        "shop", {MESSAGE: again.verifying_key}, watch.directory().version, CLOCK.now_ms(), "00" * 16
    )
    with pytest.raises(BadSignatureError):
        registry.rotate(later.seal({MESSAGE: again}, stolen[MESSAGE]).encode())


def test_only_the_regulators_officials_revoke_and_replace_what_was_revoked(
    watch: Served, shop: Home, east: Home
) -> None:
    keyid = east.signing_key(MESSAGE).verifying_key.keyid
    with pytest.raises(DeniedError) as denied:
        client(watch, shop).revoke("east", [keyid], (), "because")
    assert denied.value.reason is DenialReason.WRONG_ROLE
    client(watch, watch.home).revoke("shop", [shop.signing_key(MESSAGE).verifying_key.keyid], (), "stolen")
    request, _ = thiefs_request(watch, shop, *KeyPurpose)
    with pytest.raises(DeniedError) as denied:
        client(watch, shop).rotate(request, replace_revoked=True)
    assert denied.value.reason is DenialReason.WRONG_ROLE
    assert client(watch, watch.home).rotate(request, replace_revoked=True)  # to them it is answered


# -- requests that were once good --------------------------------------------------------------------------------------


def test_a_replayed_rotation_request_is_refused(watch: Served, shop: Home) -> None:
    request = request_rotation(shop, watch.directory(), ALL, CLOCK)
    registry = watch.regulator.registry
    registry.rotate(request)
    version = watch.directory().version
    with pytest.raises(KeyChangeError, match="once and for all"):
        registry.rotate(request)
    assert watch.directory().version == version


@pytest.mark.parametrize("defended", [False, True])
def test_a_request_that_was_kept_back_is_refused_once_another_was_answered(
    watch: Served, shop: Home, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """The party has thrown the first request's key away: were it listed now, its ledger would stand still."""
    if not defended:
        monkeypatch.setattr(rotation, "_check_version", nothing)
    kept_back, keys = thiefs_request(watch, shop, LOG)
    rotate(shop, WITNESS)
    registry = watch.regulator.registry
    if defended:
        with pytest.raises(StaleDirectoryError, match="make another"):
            registry.rotate(kept_back)
    else:
        registry.rotate(kept_back)
    assert (watch.directory().party("shop").key(LOG) == keys[LOG].verifying_key) is not defended


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_request_against_another_version_is_refused(watch: Served, shop: Home, offset: int) -> None:
    new = key_files.make_next_keys(shop, {LOG})
    announced = {LOG: new[LOG].verifying_key}
    request = RotationRequest("shop", announced, watch.directory().version + offset, CLOCK.now_ms(), "00" * 16)
    with pytest.raises(StaleDirectoryError):
        watch.regulator.registry.rotate(request.seal(new, shop.signing_key(MESSAGE)).encode())


# -- keys that are not one's own, or no longer -------------------------------------------------------------------------


@pytest.mark.parametrize("defended", [False, True])
def test_a_rotation_to_a_key_that_one_does_not_hold_is_refused(
    watch: Served, shop: Home, east: Home, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """East has seen shop's next key in a request, and announces it first, so that shop is refused it for ever."""
    victims = request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK)
    seen = replace(read_rotation(victims)[0].keys[LOG], name=east.key_name(LOG))
    if not defended:
        monkeypatch.setattr(rotation, "verify_proofs", nothing)
        monkeypatch.setattr("audit.canonical.Fields.finish", nothing)  # nobody has taken the proofs
    own = {LOG: SigningKey.generate(east.key_name(LOG))}
    request = RotationRequest("east", {LOG: seen}, watch.directory().version, CLOCK.now_ms(), "00" * 16)
    forged = request.seal(own, east.signing_key(MESSAGE)).encode()
    registry = watch.regulator.registry
    if defended:
        with pytest.raises(BadSignatureError):
            registry.rotate(forged)
        registry.rotate(request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK))
    else:
        registry.rotate(forged)
        with pytest.raises(KeyChangeError, match="as a key of east"):
            registry.rotate(request_rotation(shop, watch.directory(), frozenset({LOG}), CLOCK))


@pytest.mark.parametrize("defended", [False, True])
@pytest.mark.parametrize("whose", ["another's", "a retired one", "a revoked one"])
def test_a_rotation_to_a_key_that_was_ever_listed_is_refused(
    watch: Served, shop: Home, east: Home, monkeypatch: pytest.MonkeyPatch, whose: str, defended: bool
) -> None:
    """Without the check the directory itself refuses to list a key twice: the second wall, which has no good words."""
    seed = (east if whose == "another's" else shop).signing_key(LOG)
    key = SigningKey(shop.key_name(LOG), seed._key)
    registry = watch.regulator.registry
    if whose == "a revoked one":
        registry.revoke("shop", [key.verifying_key.keyid], (), "stolen")
    if whose == "a retired one":
        rotate(shop, LOG)
    if not defended:
        monkeypatch.setattr(rotation, "_check_unused", nothing)
    version = watch.directory().version
    request = RotationRequest("shop", {LOG: key.verifying_key}, version, CLOCK.now_ms(), "00" * 16)
    with pytest.raises(KeyChangeError if defended else (KeyChangeError, MalformedError)) as refused:
        registry.rotate(request.seal({LOG: key}, shop.signing_key(MESSAGE)).encode())
    assert ("on record already" in str(refused.value)) is defended
    assert watch.directory().version == version


# -- a directory that takes back --------------------------------------------------------------------------------------


def reactivated(directory: Directory, party: str) -> Directory:
    record = directory.party(party)
    keys = tuple(
        replace(item, status=KeyStatus.ACTIVE, until_ms=None) if item.status is KeyStatus.REVOKED else item
        for item in record.keys
    )
    parties = tuple(replace(record, keys=keys) if each is record else each for each in directory.parties)
    return replace(directory, version=directory.version + 1, parties=parties)


@pytest.mark.parametrize("defended", [False, True])
def test_a_directory_that_revives_a_revoked_key_is_refused_by_every_party(
    watch: Served, shop: Home, east: Home, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """An official's slip, or whoever has the regulator's message key."""
    stolen = east.signing_key(MESSAGE).verifying_key
    watch.regulator.registry.revoke("east", [stolen.keyid], (), "stolen")
    feed = DirectoryFeed(shop, CLOCK, nothing, make_logger(shop.config.telemetry, "shop", StringIO()))
    feed.refresh()
    key = watch.home.signing_key(MESSAGE)
    forged = sign_directory(reactivated(watch.directory(), "east"), key).encode()
    if defended:
        with pytest.raises(DirectoryConflictError, match="counts again"):
            feed.take(forged)
        assert feed.current() == watch.directory()
    else:
        monkeypatch.setattr(directory_feed, "verify_successor", nothing)
        assert feed.take(forged).party("east").key(MESSAGE) == stolen
    feed.close()


# -- an old log key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defended", [False, True])
def test_a_retired_log_key_gets_no_cosignature(watch: Served, shop: Home, tmp_path: Path, defended: bool) -> None:
    """Who has the old key file forks the ledger from where it was: without the witness's rule he is cosigned first."""
    old = shop.signing_key(LOG)
    rotate(shop, LOG)
    identity = LedgerIdentity("shop", shop.role, shop.config.party.legal_entity, shop.origin)
    ledger = Ledger.open(shop.ledger_path, identity=identity, key=shop.signing_key(LOG), clock=CLOCK)
    text = Note.decode(ledger.checkpoint()).text
    ledger.close()
    forged = sign_checkpoint(Checkpoint.from_body(text), old)

    def active(origin: str) -> tuple[VerifyingKey, ...]:
        return (watch.directory().party("shop").key(LOG),) if origin == shop.origin else ()

    def ever(origin: str) -> tuple[VerifyingKey, ...]:
        return tuple(item.key for item in watch.directory().party("shop").keys if item.key.name == origin)

    with closing(WitnessStore.open(tmp_path / "witness.db")) as store:
        known = active if defended else ever
        witness = Witness(watch.home.signing_key(WITNESS), known, store, CLOCK, lambda *_: None, nothing)
        if defended:
            with pytest.raises(WitnessRefusedError) as refused:
                witness.add_checkpoint(Submission(0, (), forged))
            assert refused.value.refusal is Refusal.UNTRUSTED_KEY
        else:
            assert witness.add_checkpoint(Submission(0, (), forged))


# -- a log key that is said to be lost --------------------------------------------------------------------------------


@pytest.mark.parametrize("defended", [False, True])
def test_no_key_takes_a_ledger_over_while_the_old_one_is_active(
    watch: Served, shop: Home, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """Who can write to the home, and has no key, says that the log key is lost and lays one of his own in its place."""
    identity = LedgerIdentity("shop", shop.role, shop.config.party.legal_entity, shop.origin)
    Ledger.open(shop.ledger_path, identity=identity, key=shop.signing_key(LOG), clock=CLOCK).close()
    old = shop.signing_key(LOG).verifying_key
    (shop.keys / "log.pem").rename(shop.path / "hidden")
    his = key_files.make_next_keys(shop, (LOG,))[LOG]
    logger = make_logger(shop.config.telemetry, "shop", StringIO())
    assert watch.directory().party("shop").key(LOG) == old
    if not defended:
        monkeypatch.setattr(key_room, "verify_may_take_over", nothing)
    if defended:
        with (
            pytest.raises(KeyChangeError, match="does not list"),
            open_key_room(shop, CLOCK, logger, answer=shop.directory_bytes()),
        ):
            pass
    else:
        with open_key_room(shop, CLOCK, logger, answer=shop.directory_bytes()):
            pass
    with open_reader(shop.ledger_path) as reader:
        assert reader.named_log_key() == (old if defended else his.verifying_key)


def test_an_active_log_key_is_taken_over_from_by_no_other_that_is_listed(watch: Served, shop: Home) -> None:
    """Also if the regulator should ever list two: the old one has to be retired or revoked."""
    record = watch.directory().party("shop")
    old, new = record.key(LOG), SigningKey.generate(shop.key_name(LOG)).verifying_key
    retired = record.rotated({LOG: new}, CLOCK.now_ms())
    verify_may_take_over(retired, old, new)
    verify_may_take_over(record.revoked([old.keyid], CLOCK.now_ms()).rotated({LOG: new}, CLOCK.now_ms()), old, new)
    with pytest.raises(KeyChangeError, match="does not list"):
        verify_may_take_over(retired.revoked([new.keyid], CLOCK.now_ms()), old, new)
    stranger = SigningKey.generate(shop.key_name(LOG)).verifying_key
    for lost in (new, stranger):
        with pytest.raises(KeyChangeError, match="neither retired nor revoked"):
            verify_may_take_over(retired, lost, new)
