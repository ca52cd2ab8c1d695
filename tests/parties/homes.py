"""Homes and a served regulator for tests of identity, enrolment and transport: real files, real TLS on the loopback."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from audit.clock import SystemClock
from audit.directory import Directory
from audit.names import Role
from parties.channel import Dialler, PeerChannel
from parties.config import Overrides
from parties.founding import Founding, accept, found
from parties.home import Home
from parties.identity import Subject
from parties.regulator import Regulator
from parties.server import PartyServer
from parties.telemetry import make_logger

DOMAIN = "test.example"
DAY_MS = 86_400_000


class SetClock:
    """The real time, moved by `ahead_ms`."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return SystemClock().now_ms() + self.ahead_ms


CLOCK = SystemClock()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def founding(name: str, role: Role, *, entity: str = "", domain: str = DOMAIN, endpoint: str | None = None) -> Founding:
    if endpoint is None:
        endpoint = "" if role is Role.MERCHANT else f"127.0.0.1:{free_port()}"
    return Founding(Subject(name, role, domain), entity or f"91110000-{name}", endpoint)


def new_home(folder: Path, name: str, role: Role, *, passphrase: bytes | None = None, entity: str = "") -> Home:
    return found(folder / name, founding(name, role, entity=entity), passphrase=passphrase, clock=CLOCK)


def join(regulator: Regulator, home: Home) -> Home:
    bundle = regulator.enrol(home.request_path.read_bytes())
    accept(home, bundle, regulator_vkey=regulator.home.config.regulator.vkey, clock=CLOCK)
    return Home.open(home.path)


@dataclass
class Served:
    """A regulator that serves in this process."""

    home: Home
    regulator: Regulator
    server: PartyServer
    endpoint: str
    log: StringIO

    def directory(self) -> Directory:
        return self.regulator.directory()

    def channel(self, caller: Home) -> tuple[Dialler, PeerChannel]:
        dialler = Dialler(caller, self.directory)
        return dialler, dialler.dial(self.home.name)


@contextmanager
def opened(home: Home) -> Iterator[Regulator]:
    regulator = Regulator.open(home, logger=make_logger(home.config.telemetry, home.name, StringIO()))
    try:
        yield regulator
    finally:
        regulator.close()


@contextmanager
def served(folder: Path, overrides: Overrides | None = None) -> Iterator[Served]:
    home = Home.open(new_home(folder, "watch", Role.REGULATOR).path, overrides=overrides)
    log = StringIO()
    logger = make_logger(home.config.telemetry, home.name, log)
    regulator = Regulator.open(home, logger=logger)
    server = PartyServer(home, directory=regulator.directory, logger=logger)
    try:
        regulator.register(server)
        endpoint = server.start()
        regulator.start()
        yield Served(home, regulator, server, endpoint, log)
    finally:
        server.stop(0)
        regulator.close()
