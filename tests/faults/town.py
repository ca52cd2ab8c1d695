"""A federation of processes: `unseen serve` for the regulator and three bureaus, each with a home of its own on disk.

The merchant is opened in the test's own process, or as `tests.faults.caller` where it is to be killed. Homes are the
real ones; only the Paillier keys are short, which the homes allow by `unsafe_minimum_modulus_bits`. What a party has
recorded is read from its ledger's file, as an auditor would, while the party runs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
import pandas as pd
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audit.clock import SystemClock
from audit.directory import Directory, Role
from audit.entry import Denied, Entry, Intent, Outcome, decode_entry
from audit.ledger import open_reader
from audit.statement import Statement, statement
from audit.verify import verify_database
from parties.channel import Dialler, PeerChannel
from parties.client.merchant import Merchant
from parties.demo_processes import ServedParty
from parties.home import Home
from parties.officials import decide
from parties.regulator import Regulator
from sandbox.admission import Admission, Usage
from sandbox.contract_states import ContractAction
from sandbox.errors import DeniedError, PeerUnavailableError
from tests.parties.federation import APPLICATION, DECLARATION, Policy, Terms, enrol, free_port, make_home, write_dataset

REGULATOR = "authority"
BUREAUS = ("east", "north", "south")
COMPUTING_PARTY = BUREAUS[0]
MERCHANT = "analyst"
CLOCK = SystemClock()
ROWS = 60
WIDE_COLUMNS = ("first", "second")
HANDSHAKE_MS = 3_000
USUAL_TERMS = Terms()
USUAL_POLICY = Policy()

T = TypeVar("T")
E = TypeVar("E", bound=Entry)


def rows(name: str, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    cents = random.integers(0, 300_000, ROWS)
    return pd.DataFrame(
        {
            "wage": [f"{cent // 100}.{cent % 100:02d}" for cent in cents],
            "education": random.integers(0, 19, ROWS),
            "parttime": random.choice(["no", "yes"], ROWS),
            "region": name,
        }
    )


@dataclass
class Town:
    """The homes and the running processes. A test that stops or hurts a process leaves it running and sound."""

    folder: Path
    processes: dict[str, ServedParty]
    metrics: dict[str, int]
    directory: Directory
    stack: ExitStack
    _merchant: Merchant | None = None
    _contract: str = ""
    _applications: int = 0
    _diallers: dict[Path, Dialler] = field(default_factory=dict)

    # -- parties ------------------------------------------------------------------------------------------------------

    def home(self, party: str) -> Home:
        return Home.open(self.folder / party)

    @property
    def merchant(self) -> Merchant:
        if self._merchant is None:
            self._merchant = Merchant.open(self.home(MERCHANT), say=lambda text: None)
        return self._merchant

    def close_merchant(self) -> None:
        """Let another process work with the merchant's home."""
        if self._merchant is not None:
            self._merchant.close()
            self._merchant = None

    def channel(self, caller: Home | str, party: str) -> PeerChannel:
        """A way to `party` with the certificate of `caller`, past all of the caller's own checks."""
        home = self.home(caller) if isinstance(caller, str) else caller
        if home.path not in self._diallers:
            self._diallers[home.path] = Dialler(home, lambda: self.directory)
        return self._diallers[home.path].dial(party)

    def dialler(self, caller: str) -> Dialler:
        self.channel(caller, REGULATOR)
        return self._diallers[self.home(caller).path]

    # -- contracts ----------------------------------------------------------------------------------------------------

    def apply(self, terms: Terms = USUAL_TERMS) -> str:
        self._applications += 1
        path = self.folder / f"application-{self._applications}.toml"
        providers = "\n".join(f'[[provider]]\nname = "{name}"\ndataset = "persons"\n' for name in BUREAUS)
        path.write_text(APPLICATION.format(computing_party=COMPUTING_PARTY, providers=providers, **vars(terms)))
        return self.merchant.apply(path)

    def contract(self, terms: Terms = USUAL_TERMS) -> str:
        """Apply, have every official approve through the running servers, and put the contract in force."""
        return self._put_in_force(self.apply(terms))

    def _put_in_force(self, contract_id: str) -> str:
        for name in BUREAUS:
            decide(self.home(name), contract_id, ContractAction.APPROVE, "within the plan")
        self.merchant.refresh(contract_id)
        return contract_id

    def wide_contract(self) -> str:
        """A contract over two columns that give more cells together than one request may have."""
        columns = "\n".join(f'[[column]]\nname = "{name}"\nuses = ["group_by"]\n' for name in WIDE_COLUMNS)
        head, tail = APPLICATION.split('[[column]]\nname = "wage"')[0], "[quotas]" + APPLICATION.split("[quotas]")[1]
        providers = "\n".join(f'[[provider]]\nname = "{name}"\ndataset = "wide"\n' for name in BUREAUS)
        text = (head + columns + tail).format(computing_party=COMPUTING_PARTY, providers=providers, **vars(USUAL_TERMS))
        path = self.folder / "application-wide.toml"
        path.write_text(text)
        return self._put_in_force(self.merchant.apply(path))

    @property
    def shared_contract(self) -> str:
        """A contract with room for every test that does not care about its terms."""
        if not self._contract:
            self._contract = self.contract(Terms(calls=10_000, fee_cap="100000"))
        return self._contract

    # -- processes ----------------------------------------------------------------------------------------------------

    @contextmanager
    def without(self, party: str) -> Iterator[None]:
        """Stop a party's process for a while."""
        self.processes[party].stop()
        try:
            yield
        finally:
            self.processes[party].start()

    @contextmanager
    def frozen(self, party: str) -> Iterator[None]:
        """Hang a party's process: it holds its connections and says nothing."""
        pid = self.processes[party].pid
        signal_process(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_process(pid, signal.SIGCONT)

    def health(self, party: str) -> str:
        stub = health_pb2_grpc.HealthStub(self.channel(MERCHANT, party).channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=15)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    # -- books --------------------------------------------------------------------------------------------------------

    def entries(self, party: str, kind: type[E]) -> list[E]:
        """The party's committed entries of one kind, from its ledger's file."""
        return [entry for entry in self.all_entries(party) if isinstance(entry, kind)]

    def all_entries(self, party: str) -> list[Entry]:
        reader = open_reader(self.folder / party / "ledger.db")
        try:
            return [decode_entry(data) for data in reader.read(0, reader.size)]
        finally:
            reader.close()

    def admission(self, party: str) -> Admission:
        """The provider's fold, computed anew from its ledger's file."""
        fold = Admission()
        for index, entry in enumerate(self.all_entries(party)):
            fold.apply(index, entry)
        return fold

    def usage(self, party: str, contract: str) -> Usage:
        return self.admission(party).usage(contract)

    def settled_usage(self, contract: str) -> dict[str, Usage]:
        """What the contract has used up at each bureau, once no call that was not answered is open any more."""
        eventually(lambda: all(state.released for name in BUREAUS for state in self.admission(name).open_calls()))
        return {name: self.usage(name, contract) for name in BUREAUS}

    def works(self, contract: str = "", *, seconds: float = 20.0) -> None:
        """A call succeeds, once channels that had lost their other end have connected again."""
        end = time.monotonic() + seconds
        while True:
            try:
                assert self.merchant.aggregate(contract or self.shared_contract, statistics=["count"]).receipts
                return
            except (PeerUnavailableError, DeniedError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.3)

    def statement(self, party: str, contract: str) -> Statement:
        tariff = self.merchant.contract(contract).contract.tariff
        return statement(self.all_entries(party), contract=contract, tariff=tariff)

    def calls(self, party: str) -> tuple[int, int]:
        """How many calls the party took, and how many of them it answered."""
        return len(self.entries(party, Intent)), len(self.entries(party, Outcome))

    def last_denial(self, party: str) -> Denied:
        return self.entries(party, Denied)[-1]

    def verify(self, *parties: str) -> None:
        """Every ledger verifies offline."""
        for party in parties or (REGULATOR, *BUREAUS, MERCHANT):
            report = verify_database(self.folder / party, directory=self.directory)
            assert report.verified, (party, report)

    def close(self) -> None:
        for dialler in self._diallers.values():
            dialler.close()
        self.close_merchant()
        self.stack.close()


def signal_process(pid: int, number: int) -> None:
    """Send a signal to a process that this test has started."""
    assert pid > 0
    os.kill(pid, number)


def eventually(attempt: Callable[[], T], *, seconds: float = 15.0) -> T:
    """Repeat until `attempt` gives something true, and return it; its last word fails the test."""
    end = time.monotonic() + seconds
    while True:
        with suppress(grpc.RpcError):
            if found := attempt():
                return found
        if time.monotonic() > end:
            return_value = attempt()
            assert return_value, "it did not come true in time"
            return return_value
        time.sleep(0.1)


def write_wide_dataset(home: Home) -> None:
    """A data set of two columns of 400 bins each."""
    declaration = DECLARATION.split("[[column]]")[0].format(party=home.name, **vars(USUAL_POLICY))
    declaration = declaration.replace('name = "persons"', 'name = "wide"').replace("persons.csv", "wide.csv")
    for name in WIDE_COLUMNS:
        declaration += f'[[column]]\nname = "{name}"\ntype = "integer"\nlo = 0\nhi = 400\nedges = {list(range(401))}\n'
        declaration += 'grade = "general"\ngrade_basis = "test"\ngrade_review = "2030-01-01"\nuses = ["group_by"]\n'
    (home.catalog / "wide.toml").write_text(declaration)
    rows = "".join(f"{number},{number}\n" for number in range(401))
    (home.path / "data" / "wide.csv").write_text(",".join(WIDE_COLUMNS) + "\n" + rows)


def build(folder: Path, policy: Policy = USUAL_POLICY) -> Town:
    """Found, enrol by files, hand out the rows, and start every process."""
    stack = ExitStack()
    authority = make_home(folder, REGULATOR, Role.REGULATOR)
    regulator = Regulator.open(authority)
    try:
        for seed, name in enumerate(BUREAUS):
            home = make_home(folder, name, Role.PROVIDER)
            write_dataset(home, rows(name, seed), policy)
            write_wide_dataset(home)
            enrol(regulator, home)
        enrol(regulator, make_home(folder, MERCHANT, Role.MERCHANT, listens=False))
        directory = regulator.directory()
    finally:
        regulator.close()
    processes, metrics = {}, {}
    for name in (REGULATOR, *BUREAUS):
        metrics[name] = free_port()
        environment = {
            "UNSEEN_TELEMETRY__METRICS": f"127.0.0.1:{metrics[name]}",
            "UNSEEN_LIMITS__HANDSHAKE_MS": str(HANDSHAKE_MS),
        }
        processes[name] = ServedParty(folder / name, environment)
        stack.callback(processes[name].stop)
        processes[name].launch()
    try:
        for process in processes.values():
            process.wait_ready()
        town = Town(folder, processes, metrics, directory, stack)
        # All start at once: who listens before the regulator does takes calls a moment later.
        for name in processes:
            eventually(lambda name=name: town.health(name) == "SERVING")
    except BaseException:
        stack.close()
        raise
    return town
