"""What a doctor's checks are given: one home, and the outside world through three small ports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from audit.clock import Clock
from audit.directory import Directory
from audit.ledger import LedgerReader
from parties.home import Home
from parties.witness_contact import OwnLog, WitnessContact
from parties.witness_policy import NamedWitness
from sandbox.errors import PeerUnavailableError


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a file system: bytes, and files that can still be made (None where that has no limit)."""

    free_bytes: int
    free_files: int | None


class Network(Protocol):
    """The other parties. Every method is bounded in time; each may raise what `PeerChannel.call` raises."""

    def is_serving(self, party: str) -> bool:
        """Ask the party's health service, at the endpoint that the directory gives."""
        ...

    def newer_directory(self, known_version: int) -> bytes:
        """Ask the regulator for a directory later than that; empty when there is none."""
        ...

    def own_log(self, ledger: LedgerReader) -> OwnLog:
        """This party's log as its witnesses are shown it."""
        ...

    def contact(self, witness: NamedWitness, log: OwnLog) -> WitnessContact:
        """A way to one witness of that log."""
        ...


@dataclass(frozen=True, slots=True)
class Examination:
    """One home under examination. Checks may run in several threads; none needs the ledger's lock.

    Attributes:
        home: the home; its passphrase, where there is one, was asked for already.
        directory: the party directory as installed, expired or not; None before enrolment, or where it is untrusted.
        clock: this machine's.
        room: tells what is free where a path lies.
        environ: where declarations look their data's addresses up.
        network: None when nobody is to be asked.
    """

    home: Home
    directory: Directory | None
    clock: Clock
    room: Callable[[Path], Room]
    environ: Mapping[str, str]
    network: Network | None

    @property
    def at_home(self) -> str:
        """The option that names the home, for commands that mend."""
        return f"--home {self.home.path}"


def keys_encrypted(home: Home) -> bool:
    """Whether the home's private keys lie under a passphrase."""
    return any(b"ENCRYPTED" in path.read_bytes()[:64] for path in home.keys.glob("*.pem"))


def keys_locked(home: Home) -> bool:
    """Whether they do, and nobody gave it; asks for it if that was not done yet."""
    return keys_encrypted(home) and home.passphrase is None


def room_on_disk(path: Path) -> Room:
    """What the operating system says is free for this user."""
    stat = os.statvfs(path)
    return Room(shutil.disk_usage(path).free, stat.f_favail if stat.f_files else None)


def why(error: Exception) -> str:
    """What an error says, without the name of the party where a sentence has that already."""
    return error.detail if isinstance(error, PeerUnavailableError) else str(error)


def day(at_ms: int) -> str:
    """A moment for people, to the day."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d}"
