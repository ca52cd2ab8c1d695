"""A party's ledger, opened so that its keys can be changed; also where its log key is lost.

A ledger opens with the key that its entries name. Where that is lost the successor takes over without its word: first
the directory is to say so, which lists the lost key as retired or revoked and the successor as active, and then the
witnesses what they know. So the regulator is asked before the ledger is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from audit.clock import Clock
from audit.directory import Directory, KeyStatus, PartyRecord
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger, LedgerIdentity, open_reader
from audit.names import Role
from parties.channel import Dialler
from parties.client.directory import DirectoryClient
from parties.directory_feed import DirectoryFeed, record_directory
from parties.errors import HomeError, KeyChangeError
from parties.home import Home
from parties.key_files import make_next_keys, settle_log_key
from parties.own_keys import KeyRoom, is_listed, request_rotation, use_without_ledger, verify_speaks
from parties.registry import Registry
from parties.telemetry import Logger
from parties.witnessing import Witnessing
from sandbox.vault import Vault

PUSH_MS: Final = 10_000
"""How long showing the changed ledger to its witnesses may hold up the end."""
_LOG: Final = KeyPurpose.LOG


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


@contextmanager
def open_key_room(
    home: Home, clock: Clock, logger: Logger, *, answer: bytes | None = None, asking: Collection[KeyPurpose] = ()
) -> Iterator[KeyRoom]:
    """Open the home to change its keys, with the newest directory: the regulator's, or `answer`, which came by file.

    Args:
        home: whose keys.
        clock: for what is recorded.
        logger: hears of witnesses and directories.
        answer: a directory, in place of asking the regulator.
        asking: for which purposes to have new keys listed where the log key is lost and no directory lists another.

    Raises:
        KeyChangeError: the party is being served; the regulator is handed a directory; or the log key is lost, and no
            other one may take its place yet.
        LedgerUnavailableError, PassphraseError, HomeError: as `Ledger.open` and `Home.signing_key`.
        PeerUnavailableError, DeniedError: the regulator cannot be reached, or refuses the caller.
        BadSignatureError, StaleDirectoryError, MalformedError, DirectoryConflictError: the directory is refused.
    """
    if home.is_served():
        raise KeyChangeError(
            f"{home.name} is being served from this home, and would go on signing with the keys that it has loaded: "
            "stop it, change its keys, and start it again"
        )
    if home.role is Role.REGULATOR and answer is not None:
        raise KeyChangeError(f"{home.name} is the regulator: it makes directories and takes none")
    settled = settle_log_key(home)
    ahead: tuple[VerifyingKey, ...] = ()
    lost = home.found_signing_key(_LOG) is None
    if home.role is Role.REGULATOR:
        if lost:
            _list_regulators_successor(home, asking, clock, logger)
    elif lost or (answer is not None and home.restored_path.exists()):
        ahead = _go_ahead(home, answer, asking if lost else (), clock, logger)
    with ExitStack() as resources:
        try:
            room = _room(home, (*settled, *ahead), clock, logger, resources)
        except HomeError as error:
            if not ahead:
                raise
            raise KeyChangeError(
                f"the other keys are in use; the log key is not. {error}. If the TLS key is lost too, run "
                "`unseen certificate renew --out FILE`, and then unseen keys accept again"
            ) from error
        if isinstance(room, _OwnRoom):
            if answer is None:
                room.feed.refresh()
            else:
                room.feed.take(answer)
        yield room


def _room(
    home: Home, settled: tuple[VerifyingKey, ...], clock: Clock, logger: Logger, resources: ExitStack
) -> _OwnRoom | _RegulatorsRoom:
    key, takes_over = _log_key(home)
    vault = resources.enter_context(Vault.open(home.vault_path))
    ledger = resources.enter_context(
        Ledger.open(home.ledger_path, identity=_identity(home), key=key, clock=clock, hold=True, takes_over=takes_over)
    )
    witnessing = Witnessing(home, ledger, clock, logger)
    resources.callback(witnessing.close)
    # The key may be one that the witnesses believe no longer: they are shown the ledger when it has another.
    witnessing.begin(vault, show=False)
    if home.role is Role.REGULATOR:
        registry = Registry(home, ledger, clock, logger)
        witnessing.follow(registry.current)
        resources.callback(witnessing.push_quietly, PUSH_MS)
        return _RegulatorsRoom(ledger, settled, registry)
    feed = DirectoryFeed(home, clock, record_directory(ledger, clock), logger)
    resources.callback(feed.close)
    witnessing.follow(feed.held)
    dialler = Dialler(home, feed.held)
    resources.callback(dialler.close)
    resources.callback(witnessing.push_quietly, PUSH_MS)  # the old key's word for the next one is to be seen at once
    return _OwnRoom(ledger, settled, feed, DirectoryClient(dialler, feed.held))


def _identity(home: Home) -> LedgerIdentity:
    return LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)


# -- a log key that is lost -------------------------------------------------------------------------------------------


def _log_key(home: Home) -> tuple[SigningKey, int | None]:
    """Return the key to open the ledger with; if it takes over from a lost one, by which version of the directory."""
    key = home.found_signing_key(_LOG)
    if key is not None:
        return key, None
    following = home.next_signing_key(_LOG)
    if following is None:
        return home.signing_key(_LOG), None  # raises what is wrong with it
    directory = home.directory(now_ms=0)
    verify_may_take_over(directory.party(home.name), _named_key(home), following.verifying_key)
    return following, directory.version


def verify_may_take_over(record: PartyRecord, lost: VerifyingKey | None, following: VerifyingKey) -> None:
    """Block a log key that takes over, without the old one's word, what nobody has taken away from that.

    Args:
        record: of the party, in the newest directory.
        lost: what the ledger's entries name; None where there are none.
        following: what is to take over.

    Raises:
        KeyChangeError: the directory does not list `following` as active, or `lost` not as retired or revoked.
    """
    status = {item.key: item.status for item in record.keys}
    if status.get(following) is not KeyStatus.ACTIVE:
        raise KeyChangeError(
            f"the log key of {record.name} is lost, and the directory does not list {following.keyid}, which is to "
            "follow, as active: run unseen keys rotate; or, where the regulator is to sign a request that came by "
            "file, unseen keys accept ANSWER"
        )
    if lost is not None and status.get(lost) not in {KeyStatus.RETIRED, KeyStatus.REVOKED}:
        raise KeyChangeError(
            f"the log key {lost.keyid} of {record.name} is lost, and the directory lists it as neither retired nor "
            "revoked: no other takes over. Have the regulator revoke it (unseen keys revoke)"
        )


def _named_key(home: Home) -> VerifyingKey | None:
    if not home.ledger_path.exists():
        return None
    with open_reader(home.ledger_path) as reader:
        return reader.named_log_key()


def _go_ahead(
    home: Home, answer: bytes | None, asking: Collection[KeyPurpose], clock: Clock, logger: Logger
) -> tuple[VerifyingKey, ...]:
    """Accept the newest directory without the ledger, which records it when it is opened, and use what it lists.

    The message key, which the certificate may hang on, and through it the way to the witnesses, cannot wait for them.
    """
    with closing(DirectoryFeed(home, clock, lambda *_: None, logger)) as feed:
        if answer is not None:
            feed.take(answer)
            return use_without_ledger(home, feed.held())
        feed.refresh()
        used = use_without_ledger(home, feed.held())
        if asking and not _successor_listed(home, feed.held()):
            _expect_asked(home, asking)
            verify_speaks(home, feed.held())
            with closing(Dialler(home, feed.held)) as dialler:
                request = request_rotation(home, feed.held(), asking, clock)
                feed.take(DirectoryClient(dialler, feed.held).rotate(request))
            used += use_without_ledger(home, feed.held())
        return used


def _list_regulators_successor(home: Home, asking: Collection[KeyPurpose], clock: Clock, logger: Logger) -> None:
    """Have the regulator's directory list its next log key: a held ledger records it before that key takes over."""
    if _successor_listed(home, home.directory(now_ms=0)):
        return
    if home.restored_path.exists():
        raise KeyChangeError(
            f"{home.name} was restored from a backup without its log key: put keys/log.pem back, or restore one with "
            "keys. What its ledger lacks is to come back first"
        )
    if not asking:
        home.signing_key(_LOG)  # raises what is wrong with it
    _expect_asked(home, asking)
    key = make_next_keys(home, (_LOG,))[_LOG]
    version = home.directory(now_ms=0).version + 1
    # Held, it hands nothing over and signs nothing; that is for the room, which looks at what the directory says then.
    with Ledger.open(
        home.ledger_path, identity=_identity(home), key=key, clock=clock, hold=True, takes_over=version
    ) as ledger:
        registry = Registry(home, ledger, clock, logger)
        if not is_listed(registry.current().party(home.name), key.verifying_key):
            registry.rotate(request_rotation(home, registry.current(), asking, clock))


def _successor_listed(home: Home, directory: Directory) -> bool:
    following = home.next_signing_key(_LOG)
    return following is not None and is_listed(directory.party(home.name), following.verifying_key)


def _expect_asked(home: Home, asking: Collection[KeyPurpose]) -> None:
    if _LOG not in asking:
        raise KeyChangeError(
            f"the log key of {home.name} is lost, and its ledger is opened when that is replaced: name it too "
            "(--purpose log, or no --purpose at all)"
        )
