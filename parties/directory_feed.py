"""How a party keeps its copy of the directory new: it asks the regulator, verifies, installs, and tells its ledger.

Which directory was accepted when is an entry of the party's own ledger, made before the directory is used.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.clock import Clock
from audit.directory import MAX_DIRECTORY_BYTES, Directory, verify_directory, verify_successor
from audit.entry import DirectoryAccepted
from audit.entry_keys import directory_key
from audit.envelope import Envelope
from audit.errors import AuditError, DuplicateKeyError, StaleDirectoryError
from audit.ledger import Draft, Ledger
from parties.channel import Dialler
from parties.errors import PartyError
from parties.founding import install_directory
from parties.home import Home
from parties.key_files import keys_not_in_use
from parties.lasting_trouble import LastingTrouble
from parties.telemetry import Logger
from sandbox.errors import PeerUnavailableError, SandboxError

REFRESH_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 2.0
ASK_TIMEOUT_MS: Final = 10_000

Accepted = Callable[[bytes, Directory], None]
"""Records that a directory (its signed bytes, and what they say) was accepted; raising keeps it from being used."""


def record_directory(ledger: Ledger, clock: Clock) -> Accepted:
    """Return an `Accepted` that appends a DIRECTORY entry, once a version."""

    def record(data: bytes, directory: Directory) -> None:
        digest = Envelope.decode(data, limit=MAX_DIRECTORY_BYTES).digest
        party = ledger.identity.party
        entry = DirectoryAccepted(party=party, at_ms=clock.now_ms(), version=directory.version, digest=digest)
        try:
            ledger.append(Draft(entry, keys=(directory_key(directory.version),)))
        except DuplicateKeyError:
            return

    return record


class DirectoryFeed:
    """A party's current directory. `current` is cheap and safe from any thread.

    Args:
        home: where the directory is kept.
        clock: decides whether it has expired.
        accepted: called with the first directory and every newer one, before it is used.
        logger: hears of refreshes that fail, when that begins or changes and then every few minutes.
        ask_timeout_ms: how long the regulator may take.
    """

    def __init__(
        self, home: Home, clock: Clock, accepted: Accepted, logger: Logger, *, ask_timeout_ms: int | None = None
    ) -> None:
        self._ask_timeout_ms = ASK_TIMEOUT_MS if ask_timeout_ms is None else ask_timeout_ms
        self._home = home
        self._clock = clock
        self._accepted = accepted
        self._logger = logger
        self._lock = threading.Lock()
        data = home.directory_bytes()
        # Expired or not, it is held; `current` refuses an expired one and `refresh` fetches its successor.
        self._data = data
        self._directory = verify_directory(data, home.regulator_key(), now_ms=0)
        accepted(data, self._directory)
        self._dialler = Dialler(home, self.held)
        self._looking = threading.Lock()
        self._looked = -LOOK_SECONDS
        self._told = 0
        self._trouble = LastingTrouble()
        self._silent = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def held(self) -> Directory:
        """Return the newest accepted directory, be it expired."""
        return self._directory

    def current(self) -> Directory:
        """Return the newest accepted directory; raises `StaleDirectoryError` when it has expired."""
        directory = self._directory
        if self._clock.now_ms() >= directory.expires_at_ms:
            raise StaleDirectoryError(
                f"version {directory.version} of the party directory has expired and no newer one could be had: "
                f"is {directory.regulator} reachable?"
            )
        return directory

    def refresh(self) -> Directory:
        """Ask the regulator for a newer directory and accept it; return the newest.

        Raises:
            PeerUnavailableError, DeniedError: the regulator cannot be reached or refuses.
            BadSignatureError, StaleDirectoryError, MalformedError, DirectoryConflictError: what it sent is refused; the
                earlier one stays.
            LedgerError: the acceptance could not be recorded; the earlier one stays.
        """
        with self._lock:
            held = self._directory
            channel = self._dialler.dial(held.regulator)
            stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
            request = directory_pb2.GetDirectoryRequest(known_version=held.version)
            answer = channel.call(stub.GetDirectory, request, timeout_ms=self._ask_timeout_ms)
            if answer.envelope:
                self._take(answer.envelope, held)
            return self._directory

    def take(self, data: bytes) -> Directory:
        """Accept a directory that came another way, if it is newer than the one held; return the newest.

        Raises:
            BadSignatureError, StaleDirectoryError, MalformedError, DirectoryConflictError, LedgerError: as `refresh`.
        """
        with self._lock:
            if data != self._data:
                self._take(data, self._directory)
            return self._directory

    def _take(self, data: bytes, held: Directory) -> None:
        key, now_ms = self._home.regulator_key(), self._clock.now_ms()
        directory = verify_directory(data, key, now_ms=now_ms, minimum_version=held.version + 1)
        verify_successor(held, directory)
        directory.party(self._home.name)  # a directory that does not list this party is not for it
        self._accepted(data, directory)
        with self._home.writing():
            install_directory(self._home, data, directory)
        self._data, self._directory = data, directory
        self._logger.info("directory accepted", version=directory.version, parties=len(directory.parties))

    @property
    def is_silent(self) -> bool:
        """Whether the regulator gave no answer the last time it was asked."""
        return self._silent

    def look_again(self) -> Directory:
        """Return the newest directory, asking the regulator unless that was done a moment ago; never raises for it.

        For a server that meets a party it does not know: it may have been enrolled since. One caller asks at a time;
        the others go on with what is held, so that strangers hold no threads while the regulator does not answer.
        """
        if self._looking.acquire(blocking=False):
            try:
                if time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._try_refresh()
                    self._looked = time.monotonic()
            finally:
                self._looking.release()
        return self.current()

    def _try_refresh(self) -> None:
        try:
            self.refresh()
        except (AuditError, SandboxError, PartyError) as error:
            self._silent = isinstance(error, PeerUnavailableError)
            if self._trouble.is_news("refresh", type(error).__name__):
                self._logger.warning("the directory could not be refreshed", error=str(error))
        else:
            self._silent = False
            if self._trouble.ended("refresh"):
                self._logger.info("the directory is the newest again", version=self._directory.version)
        try:
            self._tell_of_other_keys()
        except PartyError as error:
            if self._trouble.is_news("keys", type(error).__name__):
                self._logger.warning("this party's keys cannot be held against the directory", error=str(error))

    def _tell_of_other_keys(self) -> None:
        """Say so once where a rotation came into the directory and not into use, such as one that went by file."""
        directory = self._directory
        if directory.version == self._told:
            return
        self._told = directory.version
        others = keys_not_in_use(self._home, directory.party(self._home.name))
        if others:
            self._logger.error(
                "the directory lists other keys of this party than it signs with, so that others refuse what it signs:"
                " stop it, run unseen keys rotate (or unseen keys accept ANSWER), and start it again",
                purposes=[purpose.value for purpose in others],
                version=directory.version,
            )

    def start(self) -> None:
        """Refresh in the background, now and every minute, until `close`."""
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._try_refresh()
        while not self._stop.wait(REFRESH_SECONDS):
            self._try_refresh()

    def close(self) -> None:
        """End the background thread and close the channel to the regulator. Closing twice is allowed."""
        self._stop.set()
        self._dialler.close()
        if self._thread is not None:
            self._thread.join()
