"""One federation, enrolled and under contract, whose homes are copied for each transcript; and a day in its life.

Copying makes two transcripts comparable byte for byte: keys, certificates, directory, contracts and all that happened
before the day are the same, only the rows may differ.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from unseen.v1 import compute_pb2, compute_pb2_grpc, ledger_pb2, ledger_pb2_grpc

from audit.entry import Outcome, encode_entry
from audit.ledger import Ledger
from audit.names import Role
from audit.receipt import read_receipt
from parties.channel import Dialler, PeerChannel
from parties.client.merchant import Merchant
from parties.errors import ListenError, NotFoundError
from parties.home import Home
from parties.provider import Provider
from parties.regulator import Regulator
from parties.server import PartyServer
from parties.telemetry import Logger, make_logger
from protocols.executor import Executor, InlineExecutor
from protocols.paillier_key import PrivateKey
from sandbox.contract import Contract
from sandbox.contract_states import ContractAction
from sandbox.errors import AbortedRunError, DeniedError
from sandbox.request import AggregateQuery, RangeFilter, Statistic, StatisticKind
from tests.parties.federation import enrol, make_home
from tests.transcript.people import Data, csv_of, people
from tests.transcript.recorder import Transcript, What, recording
from tests.transcript.terms import APPLICATION, DECLARATION, PURPOSE

REGULATOR = "authority"
MERCHANT = "analyst"
PROVIDERS = ("east", "north", "south")
COMPUTING = "east"
BY = ("education_years", "settlement")
BY_OF_TWO = ("settlement",)
WHERE_OF_TWO: Mapping[str, str | tuple[str, str]] = {"settlement": "harbour", "education_years": ("8", "16")}
"""What is asked of east and north alone: over other rows than any cell, or sum over cells, that all three answer."""

ATTEMPTS = 20


def _listen(server: PartyServer) -> None:
    """The port is a party's for the whole test; somebody else's outgoing connection may hold it for a moment."""
    for _ in range(ATTEMPTS):
        try:
            server.start()
            return
        except ListenError:
            time.sleep(0.1)
    server.start()


MakeExecutor = Callable[[str, Logger], Executor]
"""Party and its logger to what computes for it: the port through which a test plants a leak."""


def _inline(party: str, logger: Logger) -> Executor:
    return InlineExecutor()


@dataclass
class Served:
    """A party that listens."""

    home: Home
    party: Provider | Regulator
    server: PartyServer
    log: io.StringIO

    @classmethod
    def start(cls, home: Home, make_executor: MakeExecutor = _inline) -> Served:
        """As `unseen serve`, less the background threads, whose turns would come at other moments in every run."""
        log = io.StringIO()
        logger = make_logger(home.config.telemetry, home.name, log)
        party: Provider | Regulator
        if home.role is Role.REGULATOR:
            party = Regulator.open(home, logger=logger)
        else:
            party = Provider.open(home, executor=make_executor(home.name, logger), logger=logger)
        server = PartyServer(home, directory=party.directory, logger=logger)
        party.register(server)
        _listen(server)
        return cls(home, party, server, log)

    @property
    def ledger(self) -> Ledger:
        return self.party.ledger

    def stop(self) -> None:
        self.server.stop(0)
        self.party.close()


@dataclass(frozen=True)
class World:
    """Homes that wait to be copied: one contract over all three providers, one over east and north alone."""

    folder: Path
    joint: str
    pair: str
    contracts: Mapping[str, Contract]
    key: PrivateKey
    founding: Transcript

    @classmethod
    def build(cls, folder: Path) -> World:
        founding = Transcript()
        with recording(founding), ExitStack() as stack:
            regulator = Served.start(make_home(folder, REGULATOR, Role.REGULATOR))
            stack.callback(regulator.stop)
            assert isinstance(regulator.party, Regulator)
            homes = [make_home(folder, name, Role.PROVIDER) for name in PROVIDERS]
            for home in homes:
                (home.path / "data").mkdir()
                (home.catalog / "households.toml").write_text(DECLARATION.format(party=home.name))
            homes = [enrol(regulator.party, home) for home in homes]
            client = enrol(regulator.party, make_home(folder, MERCHANT, Role.MERCHANT, listens=False))
            write_rows(folder, people())
            served = []
            for home in homes:
                served.append(Served.start(home))
                stack.callback(served[-1].stop)
            with Merchant.open(client, say=lambda text: None) as merchant:
                joint, pair = (_contract(folder, merchant, served[:count]) for count in (3, 2))
                contracts = {contract: merchant.contract(contract).contract for contract in (joint, pair)}
                return cls(folder, joint, pair, contracts, merchant.paillier_key, founding)

    def copy(self, to: Path, data: Data) -> Path:
        """The same homes at another place, over `data`."""
        shutil.copytree(self.folder, to)
        write_rows(to, data)
        return to


def write_rows(folder: Path, data: Data) -> None:
    for party, rows in data.items():
        (folder / party / "data" / "rows.csv").write_text(csv_of(rows), encoding="utf-8")


def _contract(folder: Path, merchant: Merchant, providers: list[Served]) -> str:
    named = "\n".join(f'[[provider]]\nname = "{each.home.name}"\ndataset = "households"\n' for each in providers)
    path = folder / "application.toml"
    path.write_text(APPLICATION.format(purpose=PURPOSE, providers=named))
    contract = merchant.apply(path)
    for each in providers:
        assert isinstance(each.party, Provider)
        each.party.decide(contract, ContractAction.APPROVE, "within the plan")
    merchant.refresh(contract)
    return contract


@dataclass
class Day:
    """A running copy."""

    world: World
    folder: Path
    served: Mapping[str, Served]
    merchant: Merchant
    transcript: Transcript

    def spend(self) -> None:
        """Everything that a day may bring: answers, refusals, reading of ledgers, a provider whose data broke."""
        self.merchant.catalog()
        self.merchant.refresh(self.world.joint)
        self.merchant.aggregate(self.world.joint, statistics=["mean(household_income)", "count"], by=BY)
        harbour = {"settlement": "harbour"}
        self.merchant.aggregate(self.world.joint, statistics=["sum(household_income)"], by=BY, where=harbour)
        mean = ["mean(household_income)"]
        self.merchant.aggregate(self.world.pair, statistics=mean, by=BY_OF_TWO, where=WHERE_OF_TWO)
        self._be_refused()
        self._read_ledgers()
        broken = self.folder / "north" / "data" / "rows.csv"
        broken.write_text(broken.read_text(encoding="utf-8").replace(",harbour,", ',"', 1), encoding="utf-8")
        with pytest.raises(AbortedRunError):
            self.merchant.aggregate(self.world.pair, statistics=["count"], by=BY)
        self._read_ledgers()

    def _be_refused(self) -> None:
        income = Statistic(StatisticKind.SUM, "household_income")
        between = RangeFilter("education_years", 9, None)
        for query in (
            AggregateQuery((Statistic(StatisticKind.SUM, "education_years"),), ("settlement",), ()),
            AggregateQuery((income,), ("settlement",), (between,)),
        ):
            with pytest.raises(DeniedError):
                self.merchant.ask(self.world.joint, query)
        asked = self.transcript.select(method="/Aggregate", what=What.REQUEST)[0]
        with self._dialler(MERCHANT) as dialler:
            channel = dialler.dial(COMPUTING)
            compute = compute_pb2_grpc.ComputeServiceStub(channel.channel)
            ledger = ledger_pb2_grpc.LedgerServiceStub(channel.channel)
            with pytest.raises(DeniedError):
                channel.call(compute.Aggregate, compute_pb2.AggregateRequest.FromString(asked.data))
            with pytest.raises(DeniedError):
                channel.call(compute.GetAnswer, compute_pb2.GetAnswerRequest(request_id="ab" * 32))
            with pytest.raises(DeniedError):
                _list_entries(channel)
            with pytest.raises(NotFoundError):
                channel.call(ledger.GetInclusionProof, ledger_pb2.GetInclusionProofRequest(receipt_id="cd" * 32))

    def _read_ledgers(self) -> None:
        """The regulator reads all, the merchant asks for the proofs of its receipts, a peer for a checkpoint."""
        with self._dialler(REGULATOR) as dialler:
            for provider in PROVIDERS:
                _list_entries(dialler.dial(provider))
        with self._dialler(MERCHANT) as dialler:
            for outcome in (entry for entry in self.merchant.entries() if isinstance(entry, Outcome)):
                channel = dialler.dial(read_receipt(outcome.receipt).provider)
                stub = ledger_pb2_grpc.LedgerServiceStub(channel.channel)
                asked = ledger_pb2.GetInclusionProofRequest(receipt_id=outcome.receipt_id)
                channel.call(stub.GetInclusionProof, asked)
        with self._dialler("north") as dialler:
            channel = dialler.dial("south")
            channel.call(
                ledger_pb2_grpc.LedgerServiceStub(channel.channel).GetCheckpoint, ledger_pb2.GetCheckpointRequest()
            )

    @contextmanager
    def _dialler(self, party: str) -> Iterator[Dialler]:
        dialler = Dialler(Home.open(self.folder / party), self.served[REGULATOR].party.directory)
        try:
            yield dialler
        finally:
            dialler.close()


def _list_entries(channel: PeerChannel) -> None:
    stub = ledger_pb2_grpc.LedgerServiceStub(channel.channel)
    method: Any = stub.ListEntries
    pages: Iterator[ledger_pb2.ListEntriesResponse] = channel.stream(method, ledger_pb2.ListEntriesRequest())
    assert [len(page.entries) for page in pages]


def live(
    world: World,
    folder: Path,
    data: Data,
    make_executor: MakeExecutor = _inline,
    spend: Callable[[Day], None] = Day.spend,
) -> Transcript:
    """Copy the world to `folder`, spend a day there over `data`, and return what everybody received and kept."""
    transcript = Transcript()
    console = io.StringIO()
    world.copy(folder, data)
    with ExitStack() as last:
        with recording(transcript), redirect_stdout(console), redirect_stderr(console), ExitStack() as stack:
            served = {}
            for party in (REGULATOR, *PROVIDERS):
                served[party] = Served.start(Home.open(folder / party), make_executor)
                (last if party == REGULATOR else stack).callback(served[party].stop)
            merchant = stack.enter_context(Merchant.open(folder / MERCHANT))
            spend(Day(world, folder, served, merchant, transcript))
            for party, each in served.items():
                for entry in each.ledger.read(0, each.ledger.size):
                    transcript.keep(party, What.ENTRY, entry)
                transcript.keep(party, What.METRIC, generate_latest(each.server.metrics.registry))
            for own in merchant.entries():
                transcript.keep(MERCHANT, What.ENTRY, encode_entry(own))
        # When the regulator closes, nobody is there any more; whether it still tries to tell them hangs on the time.
        transcript = Transcript(list(transcript.records))
    for party, each in served.items():
        for line in each.log.getvalue().splitlines():
            transcript.keep(party, What.LOG, line.encode())
    transcript.keep(MERCHANT, What.CONSOLE, console.getvalue().encode())
    return transcript
