"""The regulator, assembled: registry, contracts and their states, ledger, and the services that others reach."""

from contextlib import ExitStack
from typing import Final

from unseen.v1 import contract_pb2_grpc, directory_pb2_grpc, ledger_pb2_grpc, witness_pb2_grpc

from audit.clock import Clock, SystemClock
from audit.directory import Directory
from audit.keys import KeyPurpose
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from parties.certificate_renewal import KEEPER_SECONDS, CertificateKeeper
from parties.channel import Dialler
from parties.client.contracts import ContractClient
from parties.denial_log import DenialLog
from parties.entropy import SystemEntropy
from parties.errors import HomeError
from parties.home import Home
from parties.key_files import settle_log_key
from parties.ledger_reading import LedgerReading
from parties.registry import Registry
from parties.regulator_desk import RegulatorDesk
from parties.repeating import Repeating
from parties.server import PartyServer
from parties.service.contract import ContractService
from parties.service.directory import DirectoryService
from parties.service.edge import Edge
from parties.service.ledger import LedgerService
from parties.service.witness import WitnessService
from parties.telemetry import Logger, make_logger
from parties.witness_desk import WitnessDesk
from parties.witness_meter import WitnessMeter
from parties.witnessing import Witnessing
from sandbox.contract_book import ContractBook, ContractRecord
from sandbox.contract_states import ContractAction
from sandbox.invocation import Denial
from sandbox.vault import Vault

UPKEEP_SECONDS: Final = 2.0


class Regulator:
    """Implements `ServedParty`. Open one a home; it holds the ledger's lock until closed."""

    def __init__(self, home: Home, clock: Clock, logger: Logger, resources: ExitStack, unsafe: str) -> None:
        self.home = home
        self._clock = clock
        self._resources = resources
        settle_log_key(home)
        identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
        key = home.signing_key(KeyPurpose.LOG)
        vault = resources.enter_context(Vault.open(home.vault_path))
        self.ledger = resources.enter_context(
            Ledger.open(home.ledger_path, identity=identity, key=key, clock=clock, hold=True)
        )
        self.witnessing = Witnessing(home, self.ledger, clock, logger)
        resources.callback(self.witnessing.finish)
        self.witnessing.begin(vault, unsafe)
        self._registry = Registry(home, self.ledger, clock, logger)
        self.witnessing.follow(self._registry.current)
        self._witness = WitnessDesk(home, self.ledger, self._registry.current, clock, logger)
        resources.callback(self._witness.close)
        self.denials = DenialLog(self.ledger, clock)
        resources.callback(self.denials.close)
        dialler = Dialler(home, self._registry.current)
        resources.callback(dialler.close)
        book = ContractBook(vault, self.ledger, home.name, Role.REGULATOR, clock, SystemEntropy())
        self.witnessing.on_taken_back(book.catch_up)
        self.desk = RegulatorDesk(
            home.signing_key(KeyPurpose.MESSAGE), book, vault, self._registry.current, ContractClient(dialler), logger
        )
        keeper = CertificateKeeper(home, self._registry.current, self._registry.renew_certificate, clock, logger)
        self._background = (
            Repeating("upkeep", UPKEEP_SECONDS, self._keep_up, logger),
            Repeating("certificate", KEEPER_SECONDS, keeper.turn, logger),
        )
        interval_s = home.config.witness.interval_ms / 1000
        self._showing = Repeating("witness", interval_s, self.witnessing.turn, logger)

    @classmethod
    def open(
        cls,
        home: Home,
        *,
        clock: Clock | None = None,
        logger: Logger | None = None,
        unsafe_without_witnesses: str = "",
    ) -> "Regulator":
        """Open the regulator's home: ledger and vault, both made at the first opening.

        With a reason as `unsafe_without_witnesses` it goes on although its witnesses, where it needs any, cannot be
        heard; that is recorded.

        Raises:
            HomeError: the home is another role's, or was restored from a backup and its witnesses cannot be heard.
            LedgerUnavailableError: another process has it open; go through its server.
            PassphraseError: as `Home.signing_key`.
        """
        if home.role is not Role.REGULATOR:
            raise HomeError(f"{home.path} is the home of a {home.role.value}; this needs the regulator's")
        log = logger if logger is not None else make_logger(home.config.telemetry, home.name)
        with ExitStack() as resources:
            regulator = cls(
                home, clock if clock is not None else SystemClock(), log, resources, unsafe_without_witnesses
            )
            regulator._resources = resources.pop_all()
        return regulator

    def directory(self) -> Directory:
        """Return the newest directory; raises `StaleDirectoryError` if it has expired."""
        return self._registry.current()

    @property
    def witness(self) -> WitnessDesk:
        """The regulator as a witness of others."""
        return self._witness

    @property
    def registry(self) -> Registry:
        """The directory and the certificate authority."""
        return self._registry

    def enrol(self, request: bytes) -> bytes:
        """Answer an enrolment request with a bundle; see `Registry.enrol`."""
        return self._registry.enrol(request)

    def decide(self, contract_id: str, action: ContractAction, reason: str) -> ContractRecord:
        """Carry out the officials' decision on a contract; see `RegulatorDesk.decide`."""
        record = self.desk.decide(contract_id, action, reason)
        self.desk.deliver()
        return record

    def register(self, server: PartyServer) -> None:
        """Add the regulator's services."""
        edge = Edge(self.directory, self._clock, server.limits.page_size, self.denials.deny)
        name = self.home.name
        server.on_denied(lambda error, identity: self.denials.deny(error, Denial(identity)))
        server.probe(self.directory)
        server.probe(self.ledger.try_writing)
        server.probe(self.witnessing.verify_serving)
        server.metrics.registry.register(WitnessMeter(self.witnessing, self._witness))
        server.add(
            directory_pb2_grpc.add_DirectoryServiceServicer_to_server,
            DirectoryService(self._registry, name, edge),
            "unseen.v1.DirectoryService",
        )
        server.add(
            contract_pb2_grpc.add_ContractServiceServicer_to_server,
            ContractService(self.desk, name, edge),
            "unseen.v1.ContractService",
        )
        server.add(
            ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
            LedgerService(LedgerReading(self.ledger, name), edge),
            "unseen.v1.LedgerService",
        )
        server.add(
            witness_pb2_grpc.add_WitnessServiceServicer_to_server,
            WitnessService(self._witness, edge),
            "unseen.v1.WitnessService",
        )

    def _keep_up(self) -> None:
        self.denials.sweep()
        self._registry.renew()
        self.desk.deliver()

    def start(self) -> None:
        """Begin background work: denials of ended minutes, an expiring directory or certificate, decisions that
        providers have not got, and the showing of this ledger to its witnesses.
        """
        self._witness.start()
        for task in (*self._background, self._showing):
            task.start()

    def close(self) -> None:
        """End background work, show the last entries to the witnesses, close ledger and vault. Twice is allowed."""
        self._showing.stop()  # and waited for when its connections are closed: a witness may hang for long
        for task in self._background:
            task.close()
        self._resources.close()
        self._showing.close()
