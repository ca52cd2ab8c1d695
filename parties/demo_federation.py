"""The demo's federation: six homes made and enrolled by files, five of them served by processes of their own.

The sixth party, the merchant, only dials out: its process is the one that runs the demo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from audit.clock import Clock
from audit.names import Role
from parties.channel import Dialler
from parties.demo_data import BUREAUS, Bureau, Storage, rows_of, without_database, write_bureau
from parties.demo_processes import Postgres, ServedParty, free_port
from parties.founding import DEFAULT_DOMAIN, Founding, accept, found
from parties.home import Home
from parties.identity import Subject
from parties.regulator import Regulator

REGULATOR: Final = "regulator"
MERCHANT: Final = "merchant"
INTRUDER: Final = "intruder"
REGULATOR_ENTITY: Final = "91110000REGULATOR0"
MERCHANT_ENTITY: Final = "91110000MERCHANT05"
INTRUDER_ENTITY: Final = "91110000INTRUDER06"


@dataclass(frozen=True, slots=True)
class DemoFederation:
    """Six homes under `folder`; `storage` says where each bureau keeps its table, `environment` how it gets there."""

    folder: Path
    storage: Mapping[str, Storage]
    environment: Mapping[str, Mapping[str, str]]

    def path(self, party: str) -> Path:
        """Return the folder of a party's home."""
        return self.folder / party

    def home(self, party: str) -> Home:
        """Open a party's home."""
        return Home.open(self.path(party))

    @property
    def ledgers(self) -> tuple[str, ...]:
        """The parties, each with a ledger: the bureaus, the merchant, the regulator."""
        return (*(bureau.name for bureau in BUREAUS), MERCHANT, REGULATOR)

    @contextmanager
    def serving(self) -> Iterator[tuple[ServedParty, ...]]:
        """Run `unseen serve` for the regulator and the bureaus; all of them are up inside, and ended after."""
        with ExitStack() as running:
            processes = []
            for party in (REGULATOR, *(bureau.name for bureau in BUREAUS)):
                process = ServedParty(self.path(party), self.environment.get(party, {}))
                running.callback(process.stop)
                process.launch()
                processes.append(process)
            for process in processes:
                process.wait_ready()
            yield tuple(processes)

    @contextmanager
    def dialling_as(self, party: str, clock: Clock) -> Iterator[Dialler]:
        """Dial out with a party's certificate, past all of its own checks: what an attacker inside would do."""
        home = self.home(party)
        dialler = Dialler(home, lambda: home.directory(now_ms=clock.now_ms()))
        try:
            yield dialler
        finally:
            dialler.close()


def found_all(folder: Path, clock: Clock) -> None:
    """Make the six homes: each party makes its own keys, and all but the regulator a request to be enrolled."""
    _found(folder, REGULATOR, Role.REGULATOR, REGULATOR_ENTITY, clock)
    for bureau in BUREAUS:
        _found(folder, bureau.name, Role.PROVIDER, bureau.legal_entity, clock)
    _found(folder, MERCHANT, Role.MERCHANT, MERCHANT_ENTITY, clock)


def enrol_all(folder: Path, clock: Clock) -> int:
    """Have the regulator sign every request, and every party accept its bundle; returns the directory's version."""
    parties = (*(bureau.name for bureau in BUREAUS), MERCHANT)
    regulator = Regulator.open(Home.open(folder / REGULATOR))
    try:
        for party in parties:
            request = Home.open(folder / party).request_path.read_bytes()
            (folder / f"{party}.bundle.json").write_bytes(regulator.enrol(request))
        version = regulator.directory().version
    finally:
        regulator.close()
    vkey = Home.open(folder / REGULATOR).config.regulator.vkey
    for party in parties:
        bundle = (folder / f"{party}.bundle.json").read_bytes()
        accept(Home.open(folder / party), bundle, regulator_vkey=vkey, clock=clock)
    return version


def found_intruder(folder: Path, clock: Clock) -> Home:
    """Make a merchant that another regulator, with a CA of its own, has enrolled under this federation's domain."""
    _found(folder, REGULATOR, Role.REGULATOR, REGULATOR_ENTITY, clock)
    _found(folder, INTRUDER, Role.MERCHANT, INTRUDER_ENTITY, clock)
    regulator = Regulator.open(Home.open(folder / REGULATOR))
    try:
        bundle = regulator.enrol(Home.open(folder / INTRUDER).request_path.read_bytes())
    finally:
        regulator.close()
    accept(Home.open(folder / INTRUDER), bundle, regulator_vkey=None, clock=clock)
    return Home.open(folder / INTRUDER)


@contextmanager
def hand_out(folder: Path, frame: pd.DataFrame) -> Iterator[DemoFederation]:
    """Give each bureau its rows, the south bureau's in a running PostgreSQL where one can be had."""
    storage = {bureau.name: bureau.storage for bureau in BUREAUS}
    environment: dict[str, Mapping[str, str]] = {}
    with ExitStack() as resources:
        for bureau in BUREAUS:
            if bureau.storage is Storage.POSTGRES:
                storage[bureau.name], environment[bureau.name] = _database(folder, bureau, frame, resources)
            write_bureau(bureau, frame, folder / bureau.name, storage[bureau.name])
        yield DemoFederation(folder, storage, environment)


def _database(
    folder: Path, bureau: Bureau, frame: pd.DataFrame, resources: ExitStack
) -> tuple[Storage, Mapping[str, str]]:
    postgres = Postgres.start(folder / f"{bureau.name}-postgres")
    if postgres is None:
        return without_database(bureau), {}
    resources.callback(postgres.stop)
    return Storage.POSTGRES, postgres.load(rows_of(bureau, frame))


def _found(folder: Path, party: str, role: Role, legal_entity: str, clock: Clock) -> None:
    endpoint = "" if role is Role.MERCHANT else f"localhost:{free_port()}"
    founding = Founding(Subject(party, role, DEFAULT_DOMAIN), legal_entity, endpoint)
    found(folder / party, founding, passphrase=None, clock=clock)
