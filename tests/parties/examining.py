"""Examining homes in tests: the real checks, with a clock, a disk or a network of the test's own where it needs one."""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from audit.clock import Clock, SystemClock
from audit.directory import Directory, sign_directory
from audit.errors import AuditError
from audit.keys import KeyPurpose
from audit.ledger import Ledger, LedgerIdentity
from parties.doctor import examine
from parties.doctor_examination import Examination, room_on_disk
from parties.doctor_findings import CheckName, Finding, Severity, Trouble
from parties.doctor_network import PartyNetwork
from parties.errors import HomeError
from parties.founding import install_directory
from parties.home import Home

CLOCK = SystemClock()


class Ahead:
    """This machine's clock, and so many milliseconds more."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return CLOCK.now_ms() + self._ahead_ms


class Found(dict[Trouble, Finding]):
    """What was found, by trouble; the last of several of a kind."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__({finding.trouble: finding for finding in findings if finding.trouble is not None})
        self.findings = findings
        for finding in findings:
            assert bool(finding.mend) is bool(finding.trouble), f"a trouble is told with what mends it: {finding}"
            assert "\n" not in finding.detail

    @property
    def failures(self) -> set[Trouble]:
        return {trouble for trouble, finding in self.items() if finding.severity is Severity.FAILURE}

    def well(self, check: CheckName) -> bool:
        return any(finding.check is check and finding.severity is Severity.OK for finding in self.findings)


def _directory(home: Home) -> Directory | None:
    try:
        return home.directory(now_ms=0)
    except (HomeError, AuditError):
        return None


def examination(home: Home, *, clock: Clock = CLOCK, room=room_on_disk) -> Examination:
    return Examination(home, _directory(home), clock, room, os.environ, None)


def offline(home: Home, *, clock: Clock = CLOCK, room=room_on_disk) -> Found:
    return Found(examine(examination(home, clock=clock, room=room)))


def online(home: Home, *, clock: Clock = CLOCK) -> Found:
    directory = home.directory(now_ms=0)
    with PartyNetwork(home, directory) as network:
        return Found(examine(Examination(home, directory, clock, room_on_disk, os.environ, network)))


@contextmanager
def writing(home: Home, clock: Clock = CLOCK):
    """The home's ledger, open for writing without the party around it."""
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    with Ledger.open(home.ledger_path, identity=identity, key=home.signing_key(KeyPurpose.LOG), clock=clock) as ledger:
        yield ledger


def relist(home: Home, regulator: Home, **changes: object) -> None:
    """Install a directory that the regulator has changed."""
    held = home.directory(now_ms=0)
    directory = replace(held, version=held.version + 1, **changes)
    signed = sign_directory(directory, regulator.signing_key(KeyPurpose.MESSAGE)).encode()
    install_directory(home, signed, directory)


def reset(path: Path, old: str, new: str) -> None:
    """Change a home's settings."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
