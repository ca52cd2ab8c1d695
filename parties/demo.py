"""The demo: four statistics bureaus, a merchant and a regulator on real people-data, from enrolment to verification.

Everything is the real thing in small: six homes, five serving processes and the merchant's own, mutual TLS, a contract
that all have signed, Paillier keys of 3072 bits, ledgers that are verified offline at the end. The demo fails unless
every claim that it shows holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import pandas as pd

from audit.canonical import JsonObject
from audit.clock import SystemClock
from audit.entry import decode_entry
from audit.ledger import open_reader
from audit.statement import Statement, statement
from audit.tariff import Tariff, format_micro
from parties.client.merchant import Merchant
from parties.client.result import AggregateResult
from parties.demo_audit import AuditResult, DemoAudit, shown
from parties.demo_data import BUREAUS, ApplicationTerms, application_toml, load_cps1988
from parties.demo_federation import MERCHANT, REGULATOR, DemoFederation, enrol_all, found_all, hand_out
from parties.demo_pool import PooledCell, pooled_cells
from parties.demo_processes import run_unseen
from parties.demo_refusals import Refusals
from parties.errors import WorkerError
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import ContractState
from sandbox.ports import Progress

MIN_GROUP_SIZE = 10
MIN_CONTRIBUTORS = 2
GROUPS = ("education", "ethnicity", "parttime")
CALLS = 2
"""The contract's quota of calls; the third is refused."""


class Narrator(Protocol):
    """Shows a person what happens."""

    def step(self, title: str) -> None:
        """Open a chapter."""
        ...

    def note(self, text: str) -> None:
        """Say something in passing."""
        ...

    def catalogue(self, table: pd.DataFrame) -> None:
        """Show what the bureaus offer."""
        ...

    def comparison(self, result: AggregateResult, pooled: tuple[PooledCell, ...]) -> None:
        """Show the joint result beside what pooling would have given."""
        ...

    def refusals(self, seen: Mapping[str, str]) -> None:
        """Show what was refused, with reason and clause."""
        ...

    def statements(self, merchant: Statement, providers: Mapping[str, Statement]) -> None:
        """Show the statements of both sides."""
        ...

    def ledgers(self, reports: Mapping[str, JsonObject]) -> None:
        """Show the verifier's reports."""
        ...

    def audit(self, result: AuditResult) -> None:
        """Show what the regulator found in tampered ledgers, and what it can prove."""
        ...

    def progress(self) -> Progress:
        """Return what is told how far a call is."""
        ...


TAMPERING: Final = {
    "edit": "altered",
    "delete": "deleted",
    "insert": "inserted",
    "reorder": "reordered",
    "truncate": "truncated",
    "rewrite": "rewritten",
    "restore": "truncated",
    "fork": "forked",
}
"""What is done to a ledger -> what the verifier must call it."""


@dataclass(slots=True)
class DemoReport:
    """What the demo found. `to_json` is what `unseen demo --json` prints."""

    rows: int = 0
    groups: int = 0
    closed: int = 0
    partly_withheld: int = 0
    max_abs_error: float = float("inf")
    denied: Mapping[str, str] = field(default_factory=dict)
    ledgers: dict[str, JsonObject] = field(default_factory=dict)
    merchant_total_micro: int = 0
    provider_totals_micro: dict[str, int] = field(default_factory=dict)
    audit: AuditResult | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object; amounts are decimal strings in the contract's currency."""
        return {
            "providers": len(BUREAUS),
            "rows": self.rows,
            "groups": self.groups,
            "closed": self.closed,
            "withheld_by_some": self.partly_withheld,
            "max_abs_error": self.max_abs_error,
            "denied": dict(self.denied),
            "ledgers": {
                name: {"entries": report["entries"], "verified": report["verified"], "anchored": report["anchored"]}
                for name, report in self.ledgers.items()
            },
            "statement": {
                "merchant": format_micro(self.merchant_total_micro),
                "providers": {name: format_micro(total) for name, total in self.provider_totals_micro.items()},
            },
            **self._audited(),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
        }

    def _audited(self) -> dict[str, object]:
        audit = self.audit
        if audit is None:
            return {}
        return {
            "tampering": shown(audit.tampering),
            "reconciled": audit.reconciled,
            "omission_found": audit.omission_found,
            "proof_verifies": audit.proof_verifies,
            "restored_refuses": audit.restored_refuses,
            "forks_recorded": audit.evidence,
        }

    def failures(self) -> list[str]:
        """Return what does not hold of all that the demo claims; empty when it succeeded."""
        wanted = {"column", "replay", "quota", "group_size", "identifying", "certificate", "swapped_key"}
        claims = {
            "every joint figure equals the pooled one": self.max_abs_error == 0,
            "at least one cell is closed": self.closed >= 1,
            "at least one open cell is withheld by some bureau": self.partly_withheld >= 1,
            "every attempt was refused": set(self.denied) == wanted,
            "every ledger verifies": bool(self.ledgers) and all(r["verified"] for r in self.ledgers.values()),
            "every ledger but the regulator's is anchored": all(
                r["anchored"] for name, r in self.ledgers.items() if name != REGULATOR
            ),
            "there are six ledgers": len(self.ledgers) == len(BUREAUS) + 2,
            "the providers' statements add up to the merchant's": self.merchant_total_micro > 0
            and self.merchant_total_micro == sum(self.provider_totals_micro.values()),
        }
        claims |= self._claims_of_the_audit()
        return [claim for claim, holds in claims.items() if not holds]

    def _claims_of_the_audit(self) -> dict[str, bool]:
        audit = self.audit
        if audit is None:
            return {"the regulator audited": False}
        return {
            **{
                f"the ledger after {attack} is found to be {damage}": attack in audit.tampering
                and audit.tampering[attack].damage == damage
                and audit.tampering[attack].index is not None
                for attack, damage in TAMPERING.items()
            },
            "the true ledgers reconcile": audit.reconciled,
            "reconciliation names the receipt left out": bool(audit.omission_found),
            "a receipt is proved to a stranger": audit.proof_verifies,
            "a restored old backup does not start unheard": audit.restored_refuses,
            "the fork is in the regulator's ledger": audit.evidence == 1,
        }


def run_demo(folder: Path, narrator: Narrator) -> DemoReport:
    """Run the demo in an empty folder and return what it found.

    Raises:
        MissingExtraError: the demo's data are not installed.
        WorkerError: a process did not start, or something was let through that must be refused.
        PartyError, SandboxError, AuditError: a step failed.
    """
    return _Demo(folder, narrator).run()


class _Demo:
    def __init__(self, folder: Path, narrator: Narrator) -> None:
        self._folder = folder
        self._narrator = narrator
        self._clock = SystemClock()
        self._report = DemoReport()
        self._call = ""

    def run(self) -> DemoReport:
        started = time.monotonic()
        with self._timed("enrolment", "Six parties make their homes; the regulator enrols five, by files alone"):
            found_all(self._folder, self._clock)
            version = enrol_all(self._folder, self._clock)
            self._narrator.note(f"the regulator signed the party directory, version {version}")
        with ExitStack() as database:
            with self._timed("data", "Each bureau gets the people of its region"):
                frame = load_cps1988()
                self._report.rows = len(frame)
                federation = database.enter_context(hand_out(self._folder, frame))
                self._introduce(federation, frame)
            audit = DemoAudit(federation, self._clock)
            contract, own = self._serve(federation, frame, audit)
        with self._timed("statements", "Merchant and bureaus each recompute the fees from their own ledger"):
            self._settle(federation, own, contract)
        with self._timed("verification", "Every ledger is verified offline, by the regulator's verifier alone"):
            kept = audit.kept()
            self._report.ledgers = {name: verify(federation.path(name), kept.get(name)) for name in federation.ledgers}
            self._narrator.ledgers(self._report.ledgers)
        with self._timed("audit", "Copies are tampered with, ledgers reconciled, a receipt proved to a stranger"):
            self._report.audit = audit.audit(self._call)
            self._narrator.audit(self._report.audit)
        self._report.seconds["total"] = time.monotonic() - started
        return self._report

    def _introduce(self, federation: DemoFederation, frame: pd.DataFrame) -> None:
        for bureau in BUREAUS:
            self._narrator.note(
                f"{bureau.name}: {(frame['region'] == bureau.name).sum()} rows in "
                f"{federation.storage[bureau.name].value}, wages under the name {bureau.wage_column}"
            )
            if federation.storage[bureau.name] is not bureau.storage:
                self._narrator.note(
                    f"{bureau.name} would keep it in PostgreSQL, were pgserver and the ADBC driver here"
                )

    def _serve(
        self, federation: DemoFederation, frame: pd.DataFrame, audit: DemoAudit
    ) -> tuple[ContractRecord, Statement]:
        with ExitStack() as running:
            with self._timed("start", "The regulator and the four bureaus start to serve, each a process of its own"):
                for process in running.enter_context(federation.serving()):
                    self._narrator.note(f"{process.name}: process {process.pid}")
            home, progress = federation.path(MERCHANT), self._narrator.progress()
            merchant = running.enter_context(Merchant.open(home, progress=progress, say=self._narrator.note))
            contract = self._work(federation, merchant, frame, audit)
            return merchant.contract(contract), merchant.statement(contract)

    def _work(self, federation: DemoFederation, merchant: Merchant, frame: pd.DataFrame, audit: DemoAudit) -> str:
        with self._timed("catalogue", "The merchant reads the bureaus' catalogues"):
            self._narrator.catalogue(merchant.catalog())
        with self._timed("contract", "Merchant and bureaus sign a contract over identical bytes"):
            contract = self._contract(merchant, federation)
        audit.put_aside()
        with self._timed("aggregate", "Joint mean wage and count, encrypted and masked, against the pooled rows"):
            result = merchant.aggregate(contract, statistics=["count", "mean(wage)"], by=GROUPS)
            self._call = result.call
            self._compare(result, frame)
        with self._timed("refusals", "What must be refused, is"):
            self._report.denied = self._refusals(federation, merchant, contract, result)
        merchant.flush()
        with self._timed("fork", "A bureau signs a second history of its ledger and shows it to two witnesses"):
            cosigner = audit.fork()
            self._narrator.note(f"{cosigner}, which had never seen that ledger, cosigned it; the regulator refused")
        return contract

    def _contract(self, merchant: Merchant, federation: DemoFederation) -> str:
        path = self._folder / "application.toml"
        path.write_text(application_toml(ApplicationTerms(calls=CALLS)), encoding="utf-8")
        contract = merchant.apply(path)
        self._narrator.note(f"contract {contract[:16]}… laid before {', '.join(bureau.name for bureau in BUREAUS)}")
        _in_parallel(
            [
                (
                    "contract",
                    "approve",
                    contract,
                    "--reason",
                    "fits our mandate",
                    "--home",
                    str(federation.path(b.name)),
                )
                for b in BUREAUS
            ]
        )
        state = merchant.refresh(contract).state
        if state is not ContractState.ACTIVE:
            raise WorkerError(f"the contract is {state.value} after all bureaus approved it; it must be ACTIVE")
        self._narrator.note(f"approved by all four bureaus and registered with the {REGULATOR}: {state.value}")
        return contract

    def _compare(self, result: AggregateResult, frame: pd.DataFrame) -> None:
        pooled = pooled_cells(frame, min_group_size=MIN_GROUP_SIZE, min_contributors=MIN_CONTRIBUTORS)
        report = self._report
        report.groups = len(result.frame)
        report.closed = result.withheld
        report.partly_withheld = sum(1 for cell in pooled if cell.contributors and cell.withholding)
        report.max_abs_error = max_abs_error(result, pooled)
        self._narrator.comparison(result, pooled)

    def _refusals(
        self, federation: DemoFederation, merchant: Merchant, contract: str, answered: AggregateResult
    ) -> Mapping[str, str]:
        refusals = Refusals(federation, merchant, contract, self._clock)
        refusals.column()
        refusals.replay(answered)
        refusals.group_size()
        refusals.identifying()
        refusals.certificate()
        refusals.swapped_key()
        for _ in range(CALLS - 1):
            merchant.aggregate(contract, statistics=["mean(wage)"], where={"smsa": "yes", "education": ("12", None)})
        refusals.quota()
        self._narrator.refusals(refusals.seen)
        return refusals.seen

    def _settle(self, federation: DemoFederation, merchant: Statement, record: ContractRecord) -> None:
        tariff = record.contract.tariff
        providers = {
            bureau.name: statement_of(federation.path(bureau.name), record.contract_id, tariff) for bureau in BUREAUS
        }
        self._report.merchant_total_micro = merchant.total_micro
        self._report.provider_totals_micro = {name: own.total_micro for name, own in providers.items()}
        self._narrator.statements(merchant, providers)

    @contextmanager
    def _timed(self, name: str, title: str) -> Iterator[None]:
        self._narrator.step(title)
        started = time.monotonic()
        yield
        self._report.seconds[name] = time.monotonic() - started


def max_abs_error(result: AggregateResult, pooled: tuple[PooledCell, ...]) -> float:
    """Return the largest difference of any count or mean from the pooled one; infinite if other cells are closed."""
    worst = 0.0
    rows = result.frame.to_dict("records")
    if len(rows) != len(pooled):
        return float("inf")
    for row, cell in zip(rows, pooled, strict=True):
        if tuple(row[name] for name in GROUPS) != cell.labels or row["contributors"] != cell.contributors:
            return float("inf")
        if cell.contributors:
            worst = max(worst, abs(int(row["count"]) - cell.rows), abs(float(row["mean(wage)"]) - cell.mean))
    return worst


def statement_of(home: Path, contract: str, tariff: Tariff) -> Statement:
    """Recompute a contract's statement from the ledger of a home."""
    reader = open_reader(home / "ledger.db")
    try:
        return statement((decode_entry(data) for data in reader.read(0, reader.size)), contract=contract, tariff=tariff)
    finally:
        reader.close()


def verify(home: Path, checkpoint: Path | None) -> JsonObject:
    """Run `python -m audit verify` on a home, against an outside checkpoint if there is one, and return its report."""
    command = [sys.executable, "-m", "audit", "verify", str(home), "--json"]
    command += [] if checkpoint is None else ["--witness-checkpoint", str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if not done.stdout:
        raise WorkerError(f"the verifier said nothing about {home.name}: {done.stderr.strip()[-400:]}")
    report: JsonObject = json.loads(done.stdout)
    return report


def _in_parallel(commands: list[tuple[str, ...]]) -> None:
    """Run commands as processes of their own, all at once: four bureaus' officials do not wait for one another."""
    with ThreadPoolExecutor(len(commands)) as threads:
        for done in [threads.submit(run_unseen, *command) for command in commands]:
            done.result()
