"""A whole federation in one process, over real TLS on the loopback: regulator, providers over CSV files, a merchant.

    with federation(tmp_path, {"east": frame, "west": frame}) as fed:
        contract = fed.contract()
        result = fed.merchant.aggregate(contract, statistics=["count", "mean(wage)"], by=["education"])

Homes, enrolment, ledgers, contracts and signatures are the real ones. Only the Paillier keys are short (`KEY_BITS`),
which providers accept because their homes set `unsafe_minimum_modulus_bits`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pandas as pd

from audit.clock import Clock, SystemClock
from audit.directory import Role
from parties.client.merchant import Merchant
from parties.founding import Founding, accept, found
from parties.home import Home
from parties.identity import Subject
from parties.provider import Provider
from parties.regulator import Regulator
from parties.server import PartyServer
from parties.telemetry import make_logger
from protocols.executor import InlineExecutor
from sandbox.contract_states import ContractAction

DOMAIN = "test.example"
KEY_BITS = 1024
CLOCK = SystemClock()

DECLARATION = """
[dataset]
name = "persons"
title = "Persons of {party}"
description = "Wages and schooling."
owner = "Bureau {party}"
office = "Data office"
registration = "REG-{party}"
sharing = "conditional"
declared_rows = {declared_rows}
update_cycle = "never"

[dataset.release]
mode = "exact"
min_group_size = {min_group_size}
min_contributors = {min_contributors}
own_totals = "{own_totals}"
overlap_k = {overlap_k}

[source]
csv = "../data/persons.csv"

[[column]]
name = "wage"
type = "decimal"
unit = "USD/week"
decimals = 2
lo = 0
hi = 20000
grade = "{grade}"
grade_basis = "GB/T 43697-2024, annex"
grade_review = "2030-01-01"
uses = ["aggregate"]

[[column]]
name = "education"
type = "integer"
unit = "years"
lo = 0
hi = 18
edges = [0, 8, 12, 16, 18]
grade = "general"
grade_basis = "GB/T 43697-2024, annex"
grade_review = "2030-01-01"
uses = ["aggregate", "group_by", "filter"]

[[column]]
name = "parttime"
type = "category"
domain = ["no", "yes"]
grade = "general"
grade_basis = "GB/T 43697-2024, annex"
grade_review = "2030-01-01"
uses = ["group_by", "filter"]

[[column]]
name = "region"
type = "category"
domain = ["{party}"]
grade = "general"
grade_basis = "GB/T 43697-2024, annex"
grade_review = "2030-01-01"
uses = ["group_by", "filter"]
identifies_provider = true
"""

APPLICATION = """
[application]
computing_party = "{computing_party}"
operations = ["aggregate"]
valid_days = 30
lease_minutes = {lease_minutes}

[application.purpose]
code = "test.wages"
text = "Wage statistics for a test."

{providers}

[[column]]
name = "wage"
uses = ["aggregate"]

[[column]]
name = "education"
uses = ["aggregate", "group_by", "filter"]

[[column]]
name = "parttime"
uses = [{parttime_uses}]

{extra}

[quotas]
calls = {calls}
ciphertexts = 100000

[tariff]
currency = "CNY"
per_call = 1.5
per_1000_rows = 0.02
per_1000_ciphertexts = 0.5
fee_cap = {fee_cap}
"""


@dataclass
class ShiftedClock:
    """The providers' clock: the machine's, and `ahead_ms` more."""

    ahead_ms: int = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return CLOCK.now_ms() + self.ahead_ms


@dataclass(frozen=True)
class Terms:
    """What a test may want otherwise in its contract."""

    calls: int = 100
    fee_cap: str = "500"
    lease_minutes: int = 60
    parttime_uses: str = '"group_by", "filter"'
    extra: str = ""


@dataclass(frozen=True)
class Policy:
    """What a test may want otherwise in the declarations."""

    min_group_size: int = 3
    min_contributors: int = 2
    own_totals: str = "secret"
    overlap_k: int = 0
    grade: str = "general"
    declared_rows: int = 1000


@dataclass
class Running:
    """A party that serves: its parts, and the log that it wrote."""

    home: Home
    party: Provider | Regulator
    server: PartyServer
    log: StringIO

    def stop(self) -> None:
        """Stop serving and close, as `unseen serve` does at its end."""
        self.server.stop(0)
        self.party.close()


@dataclass
class Federation:
    """The parties of a test."""

    folder: Path
    regulator: Running
    providers: dict[str, Running]
    merchant: Merchant
    merchant_home: Home
    policy: Policy
    clock: ShiftedClock
    applications: int = field(default=0)

    @property
    def computing_party(self) -> str:
        """The provider that combines."""
        return min(self.providers)

    def application(self, terms: Terms) -> Path:
        """Write an application over all providers."""
        self.applications += 1
        path = self.folder / f"application-{self.applications}.toml"
        providers = "\n".join(f'[[provider]]\nname = "{name}"\ndataset = "persons"\n' for name in self.providers)
        path.write_text(
            APPLICATION.format(
                computing_party=self.computing_party,
                providers=providers,
                calls=terms.calls,
                fee_cap=terms.fee_cap,
                lease_minutes=terms.lease_minutes,
                parttime_uses=terms.parttime_uses,
                extra=terms.extra,
            )
        )
        return path

    def contract(self, terms: Terms = Terms()) -> str:
        """Apply, have every official approve, and put the contract in force."""
        contract_id = self.merchant.apply(self.application(terms))
        for running in self.providers.values():
            assert isinstance(running.party, Provider)
            running.party.decide(contract_id, ContractAction.APPROVE, "within the plan")
        self.merchant.refresh(contract_id)
        return contract_id

    def homes(self) -> dict[str, Home]:
        """Every party's home."""
        served = {running.home.name: running.home for running in (self.regulator, *self.providers.values())}
        return {**served, self.merchant_home.name: self.merchant_home}

    def restart(self, name: str) -> None:
        """Stop a provider and start it again on the same address."""
        old = self.providers[name]
        old.stop()
        self.providers[name] = serve(Home.open(old.home.path), self.clock)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_home(
    folder: Path,
    name: str,
    role: Role,
    *,
    listens: bool = True,
    domain: str = DOMAIN,
    passphrase: bytes | None = None,
) -> Home:
    """Found a party with an address on the loopback and the tests' short Paillier keys."""
    endpoint = f"127.0.0.1:{free_port()}" if listens else ""
    founding = Founding(Subject(name, role, domain), f"91110000-{name}", endpoint)
    home = found(folder / name, founding, passphrase=passphrase, clock=CLOCK)
    settings = home.path / "party.toml"
    shorter = f"\n[compute]\nworkers = -1\npaillier_bits = {KEY_BITS}\nunsafe_minimum_modulus_bits = {KEY_BITS}\n"
    settings.write_text(settings.read_text() + shorter)
    return Home.open(home.path, passphrase=lambda: passphrase)


def write_dataset(home: Home, frame: pd.DataFrame, policy: Policy) -> None:
    """Put a provider's rows and declaration into its home."""
    (home.path / "data").mkdir(exist_ok=True)
    frame.to_csv(home.path / "data" / "persons.csv", index=False)
    (home.catalog / "persons.toml").write_text(DECLARATION.format(party=home.name, **vars(policy)))


def serve(home: Home, clock: Clock = CLOCK) -> Running:
    """Open a provider or regulator and let it serve in this process."""
    log = StringIO()
    logger = make_logger(home.config.telemetry, home.name, log)
    party: Provider | Regulator
    if home.role is Role.REGULATOR:
        party = Regulator.open(home, clock=clock, logger=logger)
    else:
        party = Provider.open(home, executor=InlineExecutor(), clock=clock, logger=logger)
    server = PartyServer(home, directory=party.directory, logger=logger)
    party.register(server)
    server.start()
    party.start()
    return Running(home, party, server, log)


def enrol(regulator: Regulator, home: Home) -> Home:
    """Carry the request to the regulator and its bundle back."""
    bundle = regulator.enrol(home.read(home.request_path))
    accept(home, bundle, regulator_vkey=None, clock=CLOCK)
    return Home.open(home.path)


@contextmanager
def federation(
    folder: Path,
    frames: Mapping[str, pd.DataFrame],
    *,
    policy: Policy = Policy(),
    policies: Mapping[str, Policy] | None = None,
    prepare: Callable[[Home], Home] = lambda home: home,
) -> Iterator[Federation]:
    """Build the federation, run it, and stop it.

    `policies` override `policy` provider by provider; `prepare` may change a provider's home before it is enrolled.
    """
    with ExitStack() as stack:
        regulator = serve(make_home(folder, "authority", Role.REGULATOR))
        stack.callback(regulator.stop)
        assert isinstance(regulator.party, Regulator)
        homes = {}
        for name, frame in frames.items():
            home = prepare(make_home(folder, name, Role.PROVIDER))
            write_dataset(home, frame, (policies or {}).get(name, policy))
            homes[name] = enrol(regulator.party, home)
        merchant_home = enrol(regulator.party, make_home(folder, "analyst", Role.MERCHANT, listens=False))
        providers: dict[str, Running] = {}
        clock = ShiftedClock()

        def stop_providers() -> None:
            for running in providers.values():
                running.stop()

        stack.callback(stop_providers)
        for name, home in homes.items():
            providers[name] = serve(home, clock)
        merchant = stack.enter_context(Merchant.open(merchant_home, say=lambda text: None))
        yield Federation(folder, regulator, providers, merchant, merchant_home, policy, clock)
