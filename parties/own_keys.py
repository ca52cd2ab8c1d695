"""How a party changes its own signing keys: it asks the regulator, and puts in use what the directory then lists.

Every step can be taken again. The next keys lie in the home before anybody is asked; whether they have been listed is
read out of the directory; whether the ledger has gone over to the next log key, out of the ledger. The party is not
served meanwhile: a server would go on signing with the keys it has loaded.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from audit.clock import Clock
from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger, LedgerIdentity
from audit.log_keys import log_key_key
from audit.names import Role
from parties.channel import Dialler
from parties.client.directory import DirectoryClient
from parties.directory_feed import DirectoryFeed, record_directory
from parties.entropy import SystemEntropy
from parties.errors import KeyChangeError
from parties.home import Home
from parties.key_files import discard, make_next_keys, next_keys, put_in_use, settle_log_key
from parties.registry import Registry
from parties.rotation import RotationRequest, speaks_for
from parties.telemetry import Logger
from parties.witnessing import Witnessing
from sandbox.vault import Vault

PUSH_MS: Final = 10_000
"""How long showing the changed ledger to its witnesses may hold up the end."""
_NONCE_BYTES: Final = 16


class KeyRoom(Protocol):
    """A party's ledger, open for writing, and its directory."""

    @property
    def ledger(self) -> Ledger:
        """The ledger; no other process has it open."""
        ...

    @property
    def settled(self) -> tuple[VerifyingKey, ...]:
        """The keys that were put in use when the home was opened, to finish what a crash had interrupted."""
        ...

    def directory(self) -> Directory:
        """Return the newest directory that the party has accepted, expired or not."""
        ...

    def hand_in(self, request: bytes) -> None:
        """Bring a rotation request to the regulator and accept the directory that answers it."""
        ...


def request_rotation(home: Home, directory: Directory, purposes: Collection[KeyPurpose], clock: Clock) -> bytes:
    """Return a rotation request for next keys of `purposes`, which are made if they are not there yet.

    Raises:
        KeyChangeError: the regulator's message key, or next keys of the home are listed already and wait to be used.
        PassphraseError: as `Home.signing_key`.
    """
    if home.role is Role.REGULATOR and KeyPurpose.MESSAGE in purposes:
        raise KeyChangeError(
            f"the message key of {home.name} is what every party has pinned as its root of trust: it cannot be "
            "rotated. Name the others: --purpose log --purpose witness"
        )
    if any(_listed(directory.party(home.name), key.verifying_key) for key in next_keys(home).values()):
        raise KeyChangeError("the regulator has listed keys that are not in use yet: run unseen keys rotate first")
    new = make_next_keys(home, purposes)
    request = RotationRequest(
        party=home.name,
        keys={purpose: key.verifying_key for purpose, key in new.items()},
        version=directory.version,
        created_at_ms=clock.now_ms(),
        nonce=SystemEntropy().token(_NONCE_BYTES).hex(),
    )
    return request.seal(new, home.signing_key(KeyPurpose.MESSAGE)).encode()


def rotate_keys(home: Home, room: KeyRoom, purposes: Collection[KeyPurpose], clock: Clock) -> tuple[VerifyingKey, ...]:
    """Have new keys listed and put them in use; if an earlier rotation was not finished, finish that one instead.

    Returns the keys put in use.

    Raises:
        KeyChangeError: as `request_rotation` and `use_listed_keys`, or the regulator refuses.
        PeerUnavailableError, DeniedError: the regulator cannot be reached, or refuses the caller.
        LedgerError: it could not be recorded. In all cases: run it again.
    """
    finished = (*room.settled, *use_listed_keys(home, room))
    if finished:
        return finished
    speaks_for(room.directory().party(home.name), home.signing_key(KeyPurpose.MESSAGE).verifying_key)
    room.hand_in(request_rotation(home, room.directory(), purposes, clock))
    return use_listed_keys(home, room)


def use_listed_keys(home: Home, room: KeyRoom) -> tuple[VerifyingKey, ...]:
    """Put those next keys in use that the directory lists, and return them.

    Raises:
        KeyChangeError: the log key has to wait, since the ledger's witnesses have not been heard.
        LedgerError: the ledger could not go over to its next key.
    """
    record = room.directory().party(home.name)
    used: list[VerifyingKey] = []
    # The log key comes last: it may have to wait for witnesses.
    for purpose, key in sorted(next_keys(home).items(), key=lambda item: item[0] is KeyPurpose.LOG):
        listed = _listed(record, key.verifying_key)
        if listed is None:
            continue
        if purpose is KeyPurpose.LOG and not _hand_over(home, room, key, listed):
            discard(home, purpose)
            continue
        put_in_use(home, purpose)
        used.append(key.verifying_key)
    return tuple(used)


def _listed(record: PartyRecord, key: VerifyingKey) -> KeyRecord | None:
    return next((item for item in record.keys if item.key == key), None)


def _hand_over(home: Home, room: KeyRoom, key: SigningKey, listed: KeyRecord) -> bool:
    """Let the ledger go over to its next key; False where that was revoked before it served."""
    if room.ledger.find(log_key_key(key.verifying_key)) is not None:
        return True
    if listed.status is not KeyStatus.ACTIVE:
        return False
    if room.ledger.held:
        raise KeyChangeError(
            "the other keys are in use. The ledger cannot go over to its next key before its witnesses have said what "
            "they know of it: run unseen keys rotate again when they can be reached"
        )
    directory = room.directory()
    old = _listed(directory.party(home.name), home.signing_key(KeyPurpose.LOG).verifying_key)
    vouch = old is not None and old.status is not KeyStatus.REVOKED
    room.ledger.rotate(key, directory.version, vouch=vouch)
    return True


@dataclass(frozen=True, slots=True)
class _OwnRoom:
    """A provider's or merchant's."""

    ledger: Ledger
    settled: tuple[VerifyingKey, ...]
    feed: DirectoryFeed
    client: DirectoryClient

    def directory(self) -> Directory:
        """Return the newest directory accepted."""
        return self.feed.held()

    def hand_in(self, request: bytes) -> None:
        """Bring a request to the regulator over the network."""
        self.feed.take(self.client.rotate(request))


@contextmanager
def open_key_room(home: Home, clock: Clock, logger: Logger, *, answer: bytes | None = None) -> Iterator[KeyRoom]:
    """Open the home to change its keys, with the newest directory: the regulator's, or `answer`, which came by file.

    Raises:
        KeyChangeError: the party is being served; or the regulator is handed a directory.
        LedgerUnavailableError, PassphraseError, HomeError: as `Ledger.open` and `Home.signing_key`.
        PeerUnavailableError, DeniedError: the regulator cannot be reached, or refuses the caller.
        BadSignatureError, StaleDirectoryError, MalformedError, DirectoryConflictError: the directory is refused.
    """
    if home.is_served():
        raise KeyChangeError(
            f"{home.name} is being served from this home, and would go on signing with the keys that it has loaded: "
            "stop it, change its keys, and start it again"
        )
    settled = settle_log_key(home)
    if home.role is Role.REGULATOR:
        if answer is not None:
            raise KeyChangeError(f"{home.name} is the regulator: it makes directories and takes none")
        yield from _regulators_room(home, settled, clock, logger)
        return
    with ExitStack() as resources:
        room = _own_room(home, settled, clock, logger, resources)
        if answer is None:
            room.feed.refresh()
        else:
            room.feed.take(answer)
        yield room


def _own_room(
    home: Home, settled: tuple[VerifyingKey, ...], clock: Clock, logger: Logger, resources: ExitStack
) -> _OwnRoom:
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    key = home.signing_key(KeyPurpose.LOG)
    vault = resources.enter_context(Vault.open(home.vault_path))
    ledger = resources.enter_context(Ledger.open(home.ledger_path, identity=identity, key=key, clock=clock, hold=True))
    witnessing = Witnessing(home, ledger, clock, logger)
    resources.callback(witnessing.close)
    witnessing.begin(vault)
    feed = DirectoryFeed(home, clock, record_directory(ledger, clock), logger)
    resources.callback(feed.close)
    witnessing.follow(feed.held)
    dialler = Dialler(home, feed.held)
    resources.callback(dialler.close)
    resources.callback(witnessing.push_quietly, PUSH_MS)  # the old key's word for the next one is to be seen at once
    return _OwnRoom(ledger, settled, feed, DirectoryClient(dialler, feed.held))


@dataclass(frozen=True, slots=True)
class _RegulatorsRoom:
    ledger: Ledger
    settled: tuple[VerifyingKey, ...]
    registry: Registry

    def directory(self) -> Directory:
        """Return the newest directory."""
        return self.registry.current()

    def hand_in(self, request: bytes) -> None:
        """Answer the own request."""
        self.registry.rotate(request)


def _regulators_room(home: Home, settled: tuple[VerifyingKey, ...], clock: Clock, logger: Logger) -> Iterator[KeyRoom]:
    from parties.regulator import Regulator  # noqa: PLC0415  (heavy, and needed only here)

    regulator = Regulator.open(home, clock=clock, logger=logger)
    try:
        yield _RegulatorsRoom(regulator.ledger, settled, regulator.registry)
    finally:
        regulator.close()
