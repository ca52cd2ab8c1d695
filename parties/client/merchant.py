"""The merchant's Python API: one object over its home, its contracts and its calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pandas as pd

from audit.clock import Clock, SystemClock
from audit.directory import KeyPurpose
from audit.entry import Entry, decode_entry
from audit.errors import AuditError
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from audit.statement import Statement, statement
from parties.certificate_renewal import CertificateKeeper
from parties.channel import Dialler
from parties.client.calling import MerchantCalling
from parties.client.catalogues import CatalogueClient
from parties.client.contracts import ContractClient
from parties.client.directory import DirectoryClient
from parties.client.merchant_contracts import MerchantContracts
from parties.client.paillier_keys import load_paillier_key
from parties.client.peers import ComputeClient
from parties.client.progress import NoProgress, ReportingExecutor
from parties.client.query import Where, read_query
from parties.client.quote import Quote, quote_of
from parties.client.result import AggregateResult
from parties.client.tables import catalogue_table, contracts_table
from parties.client.waiting import told_when_slow
from parties.directory_feed import DirectoryFeed, record_directory
from parties.entropy import SystemEntropy
from parties.errors import HomeError, PartyError
from parties.home import Home, PassphraseSource, no_passphrase
from parties.key_files import settle_log_key
from parties.telemetry import Logger, beside_a_command, make_logger
from parties.witnessing import Witnessing
from protocols.paillier_key import PrivateKey
from sandbox.application import Application, load_application, read_application
from sandbox.contract_book import ContractBook
from sandbox.contract_record import ContractRecord
from sandbox.description import DatasetDescription
from sandbox.drafting import draft_contract
from sandbox.errors import DeclarationError, PeerUnavailableError, SandboxError
from sandbox.invocation_merchant import MerchantCalls, MerchantInvocation
from sandbox.ports import AckResult, PartyContext, Progress
from sandbox.request import AggregateQuery
from sandbox.session_merchant import MerchantSession
from sandbox.toml_table import TomlTable
from sandbox.vault import Vault

UNFINISHED: Final = "A call was left unfinished: `unseen resume` or Merchant.resume() fetches its answer or ends it"
"""What is said of calls without an answer when a home is opened."""
TIMEOUT_SECONDS: Final = 120.0
"""How long an aggregate may take unless the caller says otherwise."""


def say_on_stderr(text: str) -> None:
    """Tell a person something, on stderr."""
    sys.stderr.write(f"{text}\n")


@dataclass(frozen=True, slots=True)
class _Rooms:
    context: PartyContext
    ledger: Ledger
    feed: DirectoryFeed
    catalogues: CatalogueClient
    contracts: MerchantContracts
    calling: MerchantCalling
    certificate: CertificateKeeper
    witnessing: Witnessing


class Merchant:
    """A data merchant at work: `with Merchant.open("home") as m: ...`.

    It holds its ledger's lock until closed; one process at a time works with a home. Not for sharing between threads.
    """

    def __init__(self, home: Home, rooms: _Rooms, say: Callable[[str], None], resources: ExitStack) -> None:
        self._home = home
        self._rooms = rooms
        self._say = say
        self._resources = resources
        self._key: PrivateKey | None = None

    @classmethod
    def open(
        cls,
        home: Home | Path | str,
        *,
        passphrase: PassphraseSource = no_passphrase,
        progress: Progress | None = None,
        say: Callable[[str], None] = say_on_stderr,
        clock: Clock | None = None,
        unsafe_without_witnesses: str = "",
    ) -> Self:
        """Open a merchant's home, hear its witnesses, look for a newer directory, send what acknowledgements are due.

        Args:
            home: the folder that `unseen init merchant` made, or one opened.
            passphrase: asked if the keys turn out to be encrypted.
            progress: told how far a call is.
            say: told what a person should know, such as a provider that cannot be reached.
            clock: the machine's unless given.
            unsafe_without_witnesses: a reason to make calls although the witnesses cannot be heard; it is recorded.

        Raises:
            HomeError, ConfigError, PassphraseError: the home is no enrolled merchant's, or its keys do not open; or it
                was restored from a backup and its witnesses cannot be heard.
            LedgerUnavailableError: another process works with this home.
            LedgerDamagedError, VaultError: ledger or vault need attention.
        """
        opened = home if isinstance(home, Home) else Home.open(Path(home), passphrase=passphrase)
        if opened.role is not Role.MERCHANT:
            raise HomeError(f"{opened.path} is the home of a {opened.role.value}; a merchant's is wanted")
        with ExitStack() as resources:
            books = _open_books(opened, clock or SystemClock(), say, resources, unsafe_without_witnesses)
            rooms = _open_rooms(opened, books, progress or NoProgress(), say, resources)
            merchant = cls(opened, rooms, say, resources.pop_all())
        merchant._catch_up()
        return merchant

    @property
    def name(self) -> str:
        """This merchant's party name."""
        return self._home.name

    @property
    def paillier_key(self) -> PrivateKey:
        """The Paillier key under which results come, made on first use; as `load_paillier_key`."""
        if self._key is None:
            self._key = load_paillier_key(self._home, self._say)
        return self._key

    @property
    def witnessing(self) -> Witnessing:
        """This merchant's witnesses."""
        return self._rooms.witnessing

    def descriptions(self) -> tuple[DatasetDescription, ...]:
        """Return the verified description of every data set of every provider that can be reached."""
        found: list[DatasetDescription] = []
        for record in self._rooms.feed.current().providers():
            try:
                found.extend(self._rooms.catalogues.list(record.name))
            except PeerUnavailableError as error:
                self._say(f"{error}; its data sets are missing from this list")
        return tuple(found)

    def catalog(self) -> pd.DataFrame:
        """Return the catalogue of all providers, one row a column of a data set."""
        return catalogue_table(self.descriptions())

    def apply(self, application: Application | Path | str | Mapping[str, object]) -> str:
        """Draft a contract, sign it, lay it before its providers; returns its id.

        `application` is a file (see `sandbox.application`), or a mapping with the same keys.

        Raises:
            DeclarationError: the application is wrong or does not fit what the providers describe; names file and line.
            NotFoundError: a provider has no such data set.
            PeerUnavailableError: a provider's catalogue cannot be read.
            DeniedError: a provider refuses it.
        """
        terms = _read_application(application)
        self._verify_providers(terms)
        descriptions = {
            provider.name: self._rooms.catalogues.get(f"{provider.name}/{provider.dataset}")
            for provider in terms.providers
        }
        context = self._rooms.context
        contract = draft_contract(
            terms,
            descriptions,
            merchant=self._home.name,
            regulator=context.directory().regulator,
            now_ms=context.clock.now_ms(),
            entropy=context.entropy,
        )
        return self._rooms.contracts.lay(contract).contract_id

    def _verify_providers(self, terms: Application) -> None:
        known = [record.name for record in self._rooms.feed.current().providers()]
        for provider in terms.providers:
            if provider.name not in known:
                detail = f"{provider.name!r} is no provider of this federation; it lists {', '.join(known) or 'none'}"
                raise DeclarationError(terms.file, None, "provider", detail)

    def refresh(self, contract: str) -> ContractRecord:
        """Gather signatures and actions, and put the contract in force once everyone has signed; see `contract`."""
        return self._rooms.contracts.refresh(self.contract(contract).contract_id)

    def contracts(self) -> pd.DataFrame:
        """Return this merchant's contracts as last heard of, one row each."""
        return contracts_table(self._rooms.contracts.all(), self._rooms.context.clock.now_ms())

    def contract(self, contract: str) -> ContractRecord:
        """Return one contract by its id, or the beginning of it; raises NotFoundError or UsageError."""
        return self._rooms.contracts.find(contract)

    def terminate(self, contract: str, reason: str) -> ContractRecord:
        """End a contract for good, and tell regulator and providers; `refresh` tells those that cannot be reached now.

        Raises:
            StateTransitionError: it has ended already.
        """
        return self._rooms.contracts.terminate(self.contract(contract).contract_id, reason)

    def missing_signatures(self, contract: str) -> tuple[str, ...]:
        """Return the parties that have still to sign."""
        return self._rooms.contracts.missing(self.contract(contract))

    def aggregate(
        self,
        contract: str,
        *,
        statistics: Sequence[str],
        by: Sequence[str] = (),
        where: Where = (),
        timeout: float = TIMEOUT_SECONDS,
    ) -> AggregateResult:
        """Obtain one joint aggregate.

        Args:
            contract: the id of a contract in force, or the beginning of it.
            statistics: such as `["count", "mean(wage)", "regression(wage~education)"]`; every form is in
                `parties.client.statistic_text.EXAMPLES`.
            by: grouping columns.
            where: filters, as `parties.client.query.read_query` reads them.
            timeout: seconds until the call is given up.

        Raises:
            UsageError: the query cannot be read.
            DeniedError: a provider refuses: reason, clause, and what is left of a quota.
            PeerUnavailableError: naming the party; there is no partial result.
            PeerMisbehavedError, AbortedRunError: the run ended without an answer that can be trusted.
            LedgerError, VaultError: this merchant cannot record, so it asks nothing.
        """
        record = self.contract(contract)
        return self.ask(record.contract_id, read_query(record.contract.frame, statistics, by, where), timeout=timeout)

    def quote(self, contract: str, *, statistics: Sequence[str], by: Sequence[str] = (), where: Where = ()) -> Quote:
        """Return what `aggregate` with the same arguments would cost. Nothing is sent, nothing recorded.

        Raises:
            UsageError: the query cannot be read.
        """
        terms = self.contract(contract).contract
        return self.quote_for(contract, read_query(terms.frame, statistics, by, where))

    def quote_for(self, contract: str, query: AggregateQuery) -> Quote:
        """Return what a query made elsewhere would cost; as `quote`."""
        return quote_of(self.contract(contract).contract, query, self.paillier_key.public_key.bits)

    def ask(self, contract: str, query: AggregateQuery, *, timeout: float = TIMEOUT_SECONDS) -> AggregateResult:
        """Obtain one joint aggregate for a query made elsewhere; as `aggregate`."""
        return self._rooms.calling.ask(self.contract(contract), query, self.paillier_key, int(timeout * 1000))

    def flush(self) -> AckResult:
        """Send the acknowledgements that are still due; what cannot be delivered stays for the next time."""
        return self._rooms.calling.flush()

    def resume(self) -> tuple[AggregateResult, ...]:
        """Fetch the answers of calls that this home sent and never finished, say after a crash."""
        return self._rooms.calling.resume(self._rooms.contracts, lambda: self.paillier_key)

    @property
    def unfinished(self) -> int:
        """How many calls were sent and neither answered nor given up."""
        return self._rooms.calling.open_calls

    def entries(self) -> Iterator[Entry]:
        """Yield this merchant's ledger, in order."""
        ledger = self._rooms.ledger
        return (decode_entry(data) for data in ledger.read(0, ledger.size))

    def statement(self, contract: str) -> Statement:
        """Recompute what is owed under a contract from this merchant's own ledger and the contract's tariff."""
        record = self.contract(contract)
        return statement(self.entries(), contract=record.contract_id, tariff=record.contract.tariff)

    def close(self) -> None:
        """Show the last entries to the witnesses, then close ledger, vault and channels. Closing twice is allowed."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Merchant({self._home.name!r}, {str(self._home.path)!r})"

    def _catch_up(self) -> None:
        """Nobody is waited for twice: a regulator that was silent as a witness, or about the directory, is let be."""
        rooms = self._rooms
        regulator = rooms.feed.held().regulator
        if rooms.witnessing.is_silent(regulator):
            rooms.feed.current()  # raises for an expired one
            self._keep_certificate(silent=regulator)
        else:
            with told_when_slow(self._say, f"Waiting for {regulator} to say whether there is a newer directory"):
                rooms.feed.look_again()
            self._keep_certificate(silent=regulator if rooms.feed.is_silent else "")
        if self._rooms.calling.open_calls:
            self._say(UNFINISHED)
        self.flush()

    def _keep_certificate(self, *, silent: str) -> None:
        """Renew the certificate in time, unless the regulator, named as `silent`, has just given no answer."""
        certificate = self._rooms.certificate
        try:
            if not silent:
                certificate.turn()
            elif certificate.is_due():
                self._say(f"The certificate expires soon and could not be renewed: {silent} does not answer")
        except (AuditError, PartyError, SandboxError) as error:
            self._say(f"The certificate expires soon and could not be renewed: {error}")


def _read_application(application: Application | Path | str | Mapping[str, object]) -> Application:
    if isinstance(application, Application):
        return application
    if isinstance(application, Mapping):
        values = {str(key): _exact(value) for key, value in application.items()}
        return read_application(TomlTable("application", (), values, {}))
    return load_application(Path(application))


def _exact(value: object) -> object:
    """Return a nested value with its floats as the decimals that Python writes for them, as in a TOML file."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {str(key): _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class _Books:
    """What comes first: vault and ledger, and the witnesses' word that they are the newest."""

    vault: Vault
    calls: MerchantCalls
    ledger: Ledger
    witnessing: Witnessing
    clock: Clock
    logger: Logger


def _open_books(home: Home, clock: Clock, say: Callable[[str], None], resources: ExitStack, unsafe: str) -> _Books:
    vault = resources.enter_context(Vault.open(home.vault_path))
    calls = MerchantCalls()
    settle_log_key(home)
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    log_key = home.signing_key(KeyPurpose.LOG)
    ledger = resources.enter_context(
        Ledger.open(home.ledger_path, identity=identity, key=log_key, clock=clock, folds=[calls], hold=True)
    )
    logger = make_logger(beside_a_command(home.config.telemetry), home.name)
    witnessing = Witnessing(home, ledger, clock, logger)
    resources.callback(witnessing.finish)
    seconds = home.config.witness.ask_timeout_ms / 1000
    asked = f"Waiting for {', '.join(witnessing.names)} to say what is known of this ledger: up to {seconds:g} s"
    with told_when_slow(say, asked):
        witnessing.begin(vault, unsafe)
    return _Books(vault, calls, ledger, witnessing, clock, logger)


def _open_rooms(
    home: Home, books: _Books, progress: Progress, say: Callable[[str], None], resources: ExitStack
) -> _Rooms:
    vault, ledger, clock, logger = books.vault, books.ledger, books.clock, books.logger
    accepted, ask_timeout_ms = record_directory(ledger, clock), home.config.witness.ask_timeout_ms
    feed = DirectoryFeed(home, clock, accepted, logger, ask_timeout_ms=ask_timeout_ms)
    resources.callback(feed.close)
    books.witnessing.follow(feed.current)
    key, entropy = home.signing_key(KeyPurpose.MESSAGE), SystemEntropy()
    context = PartyContext(home.name, key, vault, feed.current, clock, entropy)
    dialler = Dialler(home, feed.current)
    resources.callback(dialler.close)
    book = ContractBook(vault, ledger, home.name, home.role, clock, entropy)
    books.witnessing.on_taken_back(book.catch_up)
    client = ContractClient(dialler)
    executor = ReportingExecutor(home.config.compute, progress, "decrypting")
    resources.callback(executor.close)
    invocation = MerchantInvocation(context, ledger, books.calls, books.witnessing)
    session = MerchantSession(context, invocation, ComputeClient(dialler, clock), executor)
    return _Rooms(
        context=context,
        ledger=ledger,
        feed=feed,
        catalogues=CatalogueClient(dialler, feed.current),
        contracts=MerchantContracts(book, client, feed.current, key, say),
        calling=MerchantCalling(context, invocation, session, client, progress, books.witnessing),
        certificate=CertificateKeeper(
            home, feed.current, DirectoryClient(dialler, feed.current).renew_certificate, clock, logger
        ),
        witnessing=books.witnessing,
    )
