"""A provider, assembled: its data sets, contracts, ledger and sessions, and the services that others reach them by."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from unseen.v1 import catalogue_pb2_grpc, compute_pb2_grpc, contract_pb2_grpc, ledger_pb2_grpc, witness_pb2_grpc

from audit.clock import Clock, SystemClock
from audit.directory import Directory, KeyPurpose
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from parties.certificate_renewal import KEEPER_SECONDS, CertificateKeeper
from parties.channel import Dialler
from parties.client.contracts import ContractClient
from parties.client.directory import DirectoryClient
from parties.client.peers import ComputeClient
from parties.config import PartyConfig
from parties.directory_feed import DirectoryFeed, record_directory
from parties.entropy import SystemEntropy
from parties.errors import HomeError
from parties.executor_processes import ProcessExecutor, default_workers
from parties.home import Home
from parties.key_files import settle_log_key
from parties.lease_keeper import LeaseKeeper
from parties.ledger_reading import LedgerReading
from parties.provider_compute import ComputeRoom
from parties.provider_datasets import ServedDatasets
from parties.provider_desk import DeskPlace, ProviderDesk
from parties.repeating import Repeating
from parties.server import PartyServer
from parties.service.catalogue import CatalogueService
from parties.service.compute import ComputeService
from parties.service.contract import ContractService
from parties.service.edge import Edge
from parties.service.ledger import LedgerService
from parties.service.witness import WitnessService
from parties.telemetry import Logger, make_logger
from parties.witness_desk import WitnessDesk
from parties.witness_meter import WitnessMeter
from parties.witnessing import Witnessing
from protocols.executor import Executor, InlineExecutor
from sandbox.admission import Admission
from sandbox.authorise import AuthoriseLimits
from sandbox.contract_book import ContractBook, ContractRecord
from sandbox.contract_states import ContractAction
from sandbox.invocation import Denial, Invocation
from sandbox.ports import PartyContext
from sandbox.session_aggregate import AggregateSessions
from sandbox.session_computing import ComputingSessions
from sandbox.vault import Vault

PEER_THREADS: Final = 64
"""Calls to peers that run at one time, over all joint aggregates that this provider combines."""
SWEEP_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 1.0


def open_ledger(home: Home, clock: Clock, *folds: Admission) -> Ledger:
    """Open the home's ledger for writing, held until its witnesses are known; errors as `Ledger.open`."""
    settle_log_key(home)
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    key = home.signing_key(KeyPurpose.LOG)
    return Ledger.open(home.ledger_path, identity=identity, key=key, clock=clock, folds=folds, hold=True)


@dataclass(frozen=True, slots=True)
class _Rooms:
    """Everything that a provider works with, opened."""

    context: PartyContext
    ledger: Ledger
    feed: DirectoryFeed
    datasets: ServedDatasets
    book: ContractBook
    desk: ProviderDesk
    invocation: Invocation
    own: AggregateSessions
    computing: ComputingSessions
    certificate: CertificateKeeper
    witnessing: Witnessing
    witness: WitnessDesk


class Provider:
    """One provider's process: `open`, then `register` with a server, `start` when it listens, `close`."""

    def __init__(self, home: Home, rooms: _Rooms, logger: Logger, resources: ExitStack) -> None:
        self._home = home
        self._rooms = rooms
        self._logger = logger
        self._resources = resources
        clock = rooms.context.clock
        keeper = LeaseKeeper(rooms.book, rooms.desk, clock, logger)
        self._background = (
            Repeating("sweep", SWEEP_SECONDS, self._sweep, logger),
            Repeating("lease", LEASE_SECONDS, keeper.turn, logger),
            Repeating("certificate", KEEPER_SECONDS, rooms.certificate.turn, logger),
        )
        interval_s = home.config.witness.interval_ms / 1000
        self._showing = Repeating("witness", interval_s, rooms.witnessing.turn, logger)

    @classmethod
    def open(
        cls,
        home: Home,
        *,
        executor: Executor | None = None,
        clock: Clock | None = None,
        logger: Logger | None = None,
        unsafe_without_witnesses: str = "",
    ) -> Provider:
        """Open a provider's home: ledger and vault, its witnesses heard, its data held against the declarations.

        `executor` replaces the worker processes of the configuration, which are started here, before any gRPC. With a
        reason as `unsafe_without_witnesses` the provider goes on although they cannot be heard; that is recorded.

        Raises:
            HomeError, PassphraseError: the home is not an enrolled provider's, or its keys do not open; or it was
                restored from a backup and its witnesses cannot be heard.
            DeclarationError, SourceError: a declaration or its data; names the file, and the line or column.
            LedgerUnavailableError: the party is already running, or its ledger cannot be written.
            LedgerDamagedError, VaultError: ledger or vault need attention.
        """
        if home.role is not Role.PROVIDER:
            raise HomeError(f"{home.path} is the home of a {home.role.value}; a provider's is wanted")
        clock = clock or SystemClock()
        logger = logger or make_logger(home.config.telemetry, home.name)
        with ExitStack() as resources:
            if executor is None:
                executor = _workers(home.config, resources)
            books = _open_books(home, clock, logger, resources, unsafe_without_witnesses)
            rooms = _open_rooms(home, books, executor, resources)
            return cls(home, rooms, logger, resources.pop_all())

    @property
    def desk(self) -> ProviderDesk:
        """The contract desk."""
        return self._rooms.desk

    @property
    def datasets(self) -> ServedDatasets:
        """The data sets served."""
        return self._rooms.datasets

    @property
    def ledger(self) -> Ledger:
        """The ledger, open for writing."""
        return self._rooms.ledger

    @property
    def witnessing(self) -> Witnessing:
        """This provider's witnesses."""
        return self._rooms.witnessing

    @property
    def witness(self) -> WitnessDesk:
        """This provider as a witness of others."""
        return self._rooms.witness

    def directory(self) -> Directory:
        """Return the newest verified party directory."""
        return self._rooms.feed.current()

    def decide(self, contract_id: str, action: ContractAction, reason: str) -> ContractRecord:
        """Carry out the decision of this provider's officials; errors as `ContractDesk.decide`."""
        return self._rooms.desk.decide(contract_id, action, reason)

    def register(self, server: PartyServer) -> None:
        """Add the provider's services, its probe and its denial hook; ends first what a crash interrupted."""
        rooms, limits = self._rooms, self._home.config.limits
        rooms.computing.recover()
        rooms.witnessing.on_taken_back(rooms.book.catch_up)
        rooms.witnessing.on_taken_back(rooms.computing.recover)
        edge = Edge(rooms.feed.current, rooms.context.clock, limits.page_size, rooms.invocation.deny)
        room = ComputeRoom(
            rooms.context,
            rooms.book,
            rooms.datasets,
            rooms.own,
            rooms.computing,
            AuthoriseLimits(
                skew_ms=limits.skew_ms,
                horizon_ms=limits.deadline_max_ms,
                minimum_modulus_bits=self._home.config.compute.unsafe_minimum_modulus_bits,
                part_bytes=limits.message_bytes // 8 * 7,
            ),
            threading.Semaphore(max(1, limits.threads * 3 // 4)),
        )
        catalogue = CatalogueService(rooms.datasets, edge)
        server.add(catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server, catalogue, "unseen.v1.CatalogueService")
        contract = ContractService(rooms.desk, self._home.name, edge)
        server.add(contract_pb2_grpc.add_ContractServiceServicer_to_server, contract, "unseen.v1.ContractService")
        compute = ComputeService(room, edge)
        server.add(compute_pb2_grpc.add_ComputeServiceServicer_to_server, compute, "unseen.v1.ComputeService")
        ledger = LedgerService(LedgerReading(rooms.ledger, self._home.name), edge)
        server.add(ledger_pb2_grpc.add_LedgerServiceServicer_to_server, ledger, "unseen.v1.LedgerService")
        witness = WitnessService(rooms.witness, edge)
        server.add(witness_pb2_grpc.add_WitnessServiceServicer_to_server, witness, "unseen.v1.WitnessService")
        server.metrics.registry.register(WitnessMeter(rooms.witnessing, rooms.witness))
        server.probe(rooms.feed.current)
        server.probe(rooms.ledger.try_writing)
        server.probe(rooms.witnessing.verify_serving)
        server.on_unknown(rooms.feed.look_again)
        server.on_denied(lambda error, identity: rooms.invocation.deny(error, Denial(identity)))

    def start(self) -> None:
        """Begin background work: the directory, the leases, the witnesses, and the ending of what has expired."""
        self._rooms.witness.start()
        self._rooms.feed.start()
        for task in (*self._background, self._showing):
            task.start()

    def close(self) -> None:
        """End background work, show the last entries to the witnesses, close everything. Closing twice is allowed."""
        self._showing.stop()  # and waited for when its connections are closed: a witness may hang for long
        for task in self._background:
            task.close()
        self._resources.close()
        self._showing.close()

    def _sweep(self) -> None:
        self._rooms.computing.sweep()
        self._rooms.own.sweep()
        self._rooms.invocation.sweep()


def _workers(config: PartyConfig, resources: ExitStack) -> Executor:
    if config.compute.workers < 0:
        return InlineExecutor()
    processes = ProcessExecutor(config.compute.workers or default_workers())
    resources.callback(processes.close)
    return processes


@dataclass(frozen=True, slots=True)
class _Books:
    """What comes first: vault and ledger, and the witnesses' word that they are the newest."""

    vault: Vault
    admission: Admission
    ledger: Ledger
    witnessing: Witnessing
    clock: Clock
    logger: Logger


def _open_books(home: Home, clock: Clock, logger: Logger, resources: ExitStack, unsafe: str) -> _Books:
    vault = resources.enter_context(Vault.open(home.vault_path))
    admission = Admission()
    ledger = resources.enter_context(open_ledger(home, clock, admission))
    witnessing = Witnessing(home, ledger, clock, logger)
    resources.callback(witnessing.finish)
    witnessing.begin(vault, unsafe)
    return _Books(vault, admission, ledger, witnessing, clock, logger)


def _open_rooms(home: Home, books: _Books, executor: Executor, resources: ExitStack) -> _Rooms:
    vault, ledger, clock, logger = books.vault, books.ledger, books.clock, books.logger
    key, entropy = home.signing_key(KeyPurpose.MESSAGE), SystemEntropy()
    datasets = ServedDatasets.load(
        home.catalog, party=home.name, key=key, vault=vault, entropy=entropy, environ=os.environ
    )
    resources.callback(datasets.close)
    feed = DirectoryFeed(home, clock, record_directory(ledger, clock), logger)
    resources.callback(feed.close)
    books.witnessing.follow(feed.current)
    witness = WitnessDesk(home, ledger, feed.current, clock, logger)
    resources.callback(witness.close)
    context = PartyContext(home.name, key, vault, feed.current, clock, entropy)
    invocation = Invocation(context, ledger, books.admission, books.witnessing)
    resources.callback(invocation.close)
    dialler = Dialler(home, feed.current)
    resources.callback(dialler.close)
    threads = resources.enter_context(ThreadPoolExecutor(PEER_THREADS, thread_name_prefix="peer"))
    book = ContractBook(vault, ledger, home.name, home.role, clock, entropy)
    place = DeskPlace(home.name, feed.current().regulator, key, vault, logger)
    desk = ProviderDesk(place, book, datasets, feed, ContractClient(dialler))
    own = AggregateSessions(context, invocation, datasets, executor)
    computing = ComputingSessions(context, invocation, own, ComputeClient(dialler, clock), threads)
    issue = DirectoryClient(dialler, feed.current).renew_certificate
    certificate = CertificateKeeper(home, feed.current, issue, clock, logger)
    return _Rooms(
        context=context,
        ledger=ledger,
        feed=feed,
        datasets=datasets,
        book=book,
        desk=desk,
        invocation=invocation,
        own=own,
        computing=computing,
        certificate=certificate,
        witnessing=books.witnessing,
        witness=witness,
    )
