from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.directory import Directory, sign_directory
from audit.entry import Denied, DirectoryAccepted, decode_entry
from audit.errors import BadSignatureError, LedgerUnavailableError, StaleDirectoryError
from audit.keys import KeyPurpose, SigningKey
from audit.names import Role
from parties.directory_feed import DirectoryFeed
from parties.errors import EnrolmentError, HomeError
from parties.home import Home
from parties.regulator import Regulator
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError
from sandbox.invocation import Denial

from .homes import CLOCK, DAY_MS, Served, SetClock, join, new_home, opened, served


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def feed_of(home: Home, seen: list[int], clock: SetClock | None = None) -> DirectoryFeed:
    def accepted(data: bytes, directory: Directory) -> None:
        assert data
        seen.append(directory.version)

    logger = make_logger(home.config.telemetry, home.name, StringIO())
    return DirectoryFeed(home, clock or CLOCK, accepted, logger)


def test_one_process_has_the_regulators_home_open(watch: Served) -> None:
    with pytest.raises(LedgerUnavailableError):
        Regulator.open(watch.home)
    assert watch.home.is_served()


def test_a_merchants_home_is_no_regulators(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="home of a merchant"):
        Regulator.open(new_home(tmp_path, "shop", Role.MERCHANT))


def test_only_the_regulators_own_certificate_may_enrol(tmp_path: Path, watch: Served) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    request = new_home(tmp_path, "east", Role.PROVIDER).request_path.read_bytes()
    dialler, channel = watch.channel(shop)
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    with pytest.raises(DeniedError) as caught:
        channel.call(stub.Enrol, directory_pb2.EnrolRequest(envelope=request))
    assert caught.value.reason is DenialReason.WRONG_ROLE
    dialler.close()
    entries = [decode_entry(data) for data in watch.regulator.ledger.read(0, watch.regulator.ledger.size)]
    denied = [entry for entry in entries if isinstance(entry, Denied)]
    assert [(entry.identity, entry.reason) for entry in denied] == [(shop.identity.spiffe_id, "WRONG_ROLE")]
    assert watch.directory().version == 2

    dialler, channel = watch.channel(watch.home)
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    assert channel.call(stub.Enrol, directory_pb2.EnrolRequest(envelope=request)).bundle
    assert watch.directory().version == 3
    clash = new_home(tmp_path / "clash", "east", Role.PROVIDER).request_path.read_bytes()
    with pytest.raises(EnrolmentError, match="enrolled already"):
        channel.call(stub.Enrol, directory_pb2.EnrolRequest(envelope=clash))
    dialler.close()


def test_a_flood_of_refusals_becomes_one_counted_entry(tmp_path: Path) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home) as regulator:
        error = DeniedError(DenialReason.WRONG_ROLE, "role", "no")
        for _ in range(150):
            regulator.denials.deny(error, Denial("spiffe://test.example/merchant/shop"))
        size = regulator.ledger.size
    with opened(home) as regulator:
        entries = [decode_entry(data) for data in regulator.ledger.read(0, regulator.ledger.size)]
    denied = [entry for entry in entries if isinstance(entry, Denied)]
    assert size < 110
    assert sum(entry.count for entry in denied) == 150
    assert [entry.count for entry in denied[:-1]] == [1] * (len(denied) - 1)


def test_a_partys_directory_follows_the_regulators(tmp_path: Path, watch: Served) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    seen: list[int] = []
    feed = feed_of(shop, seen)
    assert feed.refresh().version == 2
    join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))
    assert feed.current().version == 2
    assert feed.look_again().version == 3
    assert feed.current().party("east").role is Role.PROVIDER
    assert seen == [2, 3]
    assert shop.directory(now_ms=CLOCK.now_ms()).version == 3  # also after a restart
    feed.close()
    watch.server.stop(0)
    feed = feed_of(shop, seen)
    with pytest.raises(PeerUnavailableError, match="watch"):
        feed.refresh()
    assert feed.look_again().version == 3
    feed.close()


def test_a_directory_that_is_not_accepted_is_not_used(tmp_path: Path, watch: Served) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))

    def refuse(data: bytes, directory: Directory) -> None:
        if directory.version > 2:
            raise LedgerUnavailableError("the disk is full")

    feed = DirectoryFeed(shop, CLOCK, refuse, make_logger(shop.config.telemetry, "shop", StringIO()))
    join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))
    with pytest.raises(LedgerUnavailableError):
        feed.refresh()
    assert feed.look_again().version == feed.current().version == 2
    assert shop.directory(now_ms=CLOCK.now_ms()).version == 2
    feed.close()


def test_an_expired_directory_is_refused_until_a_newer_one_comes(tmp_path: Path, watch: Served) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    clock = SetClock()
    feed = feed_of(shop, [], clock)
    clock.ahead_ms = 91 * DAY_MS
    with pytest.raises(StaleDirectoryError, match="is watch reachable"):
        feed.current()
    feed.close()


@pytest.mark.parametrize("attack", ["forged", "older"])
def test_a_forged_or_older_directory_from_the_wire_is_refused(tmp_path: Path, watch: Served, attack: str) -> None:
    """The regulator's own server, made to hand out another directory than its registry's."""
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))
    feed = feed_of(shop, [])
    assert feed.refresh().version == 3
    directory = watch.directory()
    key = watch.home.signing_key(KeyPurpose.MESSAGE)
    if attack == "forged":
        forger = SigningKey.generate(key.name)
        record = directory.party("watch")
        keys = tuple(
            replace(item, key=forger.verifying_key) if item.purpose is KeyPurpose.MESSAGE else item
            for item in record.keys
        )
        parties = tuple(replace(record, keys=keys) if party is record else party for party in directory.parties)
        data = sign_directory(replace(directory, version=9, parties=parties), forger).encode()
    else:
        data = sign_directory(replace(directory, version=2), key).encode()
    with pytest.raises(BadSignatureError if attack == "forged" else StaleDirectoryError):
        feed.take(data)
    assert feed.current().version == 3
    feed.close()


def test_each_accepted_directory_is_one_entry(tmp_path: Path, watch: Served) -> None:
    for name in ("east", "west"):
        join(watch.regulator, new_home(tmp_path, name, Role.PROVIDER))
    entries = [decode_entry(data) for data in watch.regulator.ledger.read(0, watch.regulator.ledger.size)]
    assert [entry.version for entry in entries if isinstance(entry, DirectoryAccepted)] == [1, 2, 3]
