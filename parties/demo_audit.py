"""The demo's second half: what a regulator who trusts nobody's database can tell, and prove to a stranger.

While the parties serve, an old backup is put aside and one bureau shows a second history of its ledger to a witness
that does not know it yet. When all have stopped, copies of the ledgers are tampered with, one reconciliation finds
nothing wrong with the true ledgers and another what a bureau left out, and a receipt is proved to a stranger.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from audit.canonical import JsonObject
from audit.checkpoint import Checkpoint, Note
from audit.clock import Clock
from audit.cosignature import add_lines
from audit.entry import Denied, Entry, LogRefused, Outcome, Side, decode_entry
from audit.errors import Refusal, WitnessRefusedError
from audit.ledger import open_reader
from audit.submission import Submission
from audit.witness_store import WitnessStore
from parties.client.witness import WitnessClient
from parties.demo_federation import MERCHANT, REGULATOR, DemoFederation
from parties.demo_processes import COMMAND, run_unseen
from parties.demo_tampering import Auditor, Found, LedgerCopies
from parties.errors import WorkerError
from sandbox.errors import DenialReason

SUBJECT: Final = "midwest"
"""The bureau whose ledger is tampered with, which forks it, and whose old backup is restored."""
SECOND_WITNESS: Final = "west"
OMITTER: Final = "northeast"
"""The bureau that leaves an entry out."""
ATTACKED: Final = 5
"""Index of the entry that is changed, deleted, swapped or has another put before it."""
TIMEOUT_MS: Final = 10_000
START_SECONDS: Final = 20.0


class _Sighted(TypedDict):
    receipt_id: str


class _Finding(TypedDict):
    kind: str
    ledger: str
    at_merchant: _Sighted


class _Pair(TypedDict):
    discrepancies: list[_Finding]


class _Reconciled(TypedDict):
    """What `unseen ledger reconcile --json` prints, as far as the demo reads it."""

    reconciled: bool
    pairs: list[_Pair]


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What the regulator found.

    Attributes:
        tampering: by attack, what the verifier said of the copy.
        reconciled: the true ledgers agree in every receipt.
        omission_found: the receipt that a bureau left out of its ledger, as reconciliation names it.
        proof_verifies: a stranger checked a receipt with the regulator's key alone.
        restored_refuses: the home restored from the old backup did not start while no witness could be heard.
        evidence: how many contradictions the regulator has entered into its own ledger.
    """

    tampering: dict[str, Found]
    reconciled: bool
    omission_found: str
    proof_verifies: bool
    restored_refuses: bool
    evidence: int


class DemoAudit:
    """One run: `put_aside` and `fork` while the parties serve, `audit` when they have stopped."""

    def __init__(self, federation: DemoFederation, clock: Clock) -> None:
        self._federation = federation
        self._clock = clock
        self._folder = federation.folder / "audit"
        self._folder.mkdir()
        self._backup = self._folder / f"{SUBJECT}.tar"
        self._notes: dict[str, Path] = {}

    def put_aside(self) -> None:
        """Back the subject up, while it runs, and keep what the regulator has cosigned of its log by then."""
        subject = self._federation.path(SUBJECT)
        run_unseen("backup", str(self._backup), "--home", str(subject))
        self._notes["early"] = self._keep("early", self._regulators_note())

    def fork(self) -> str:
        """Sign a second history with the subject's log key and show it to two witnesses; returns who cosigned it.

        The bureau that has never seen this log cosigns: it sees no contradiction. The regulator refuses.

        Raises:
            WorkerError: the regulator cosigns it too.
        """
        true = self._regulators_note()
        size = Checkpoint.from_body(Note.decode(true).text).size
        home = self._federation.home(SUBJECT)
        forged = LedgerCopies(home, self._folder / "forging").forked(size - 1, _refusal_at(self._clock.now_ms()))
        with self._federation.dialling_as(SUBJECT, self._clock) as dialler:
            client = WitnessClient(dialler)
            lines = client.add_checkpoint(SECOND_WITNESS, Submission(0, (), forged), TIMEOUT_MS)
            try:
                client.add_checkpoint(REGULATOR, Submission(size, (), forged), TIMEOUT_MS)
            except WitnessRefusedError as error:
                if error.refusal is not Refusal.CONFLICT:
                    raise
            else:
                raise WorkerError("the regulator cosigned two histories of one log")
        self._notes["true"] = self._keep("true", true)
        self._notes["forged"] = self._keep("forged", add_lines(Note.decode(forged), lines).encode())
        return SECOND_WITNESS

    def kept(self) -> dict[str, Path]:
        """The latest checkpoint that the regulator has cosigned of each party's log, as a file."""
        records = WitnessStore.open(self._federation.home(REGULATOR).witness_path)
        try:
            return {
                log.origin.partition(".")[0]: self._keep(f"kept-{log.origin.partition('.')[0]}", log.note)
                for log in records.logs()
            }
        finally:
            records.close()

    def audit(self, call: str) -> AuditResult:
        """Tamper with copies, reconcile, prove; `call` is a call that every bureau answered.

        Raises:
            WorkerError: a tampered ledger passed, or a command failed that must not.
        """
        auditor = self._auditor()
        omitted, named = self._leave_out(call)
        if omitted != named:
            raise WorkerError(f"the receipt {omitted[:16]} was left out, reconciliation named {named[:16] or 'none'}")
        return AuditResult(
            tampering=auditor.find(self._cases(call)),
            reconciled=self._reconcile()["reconciled"],
            omission_found=named,
            proof_verifies=auditor.check_proof(self._prove(named)),
            restored_refuses=self._restored_refuses(),
            evidence=sum(isinstance(entry, LogRefused) for entry in self._entries(REGULATOR)),
        )

    def _cases(self, call: str) -> dict[str, tuple[Path, tuple[Path, ...]]]:
        """By attack: the ledger, and the outside checkpoints that are held against it."""
        home = self._federation.home(SUBJECT)
        copies = LedgerCopies(home, self._folder / "copies")
        kept = self._folder / "kept.checkpoint"
        run_unseen(
            "witness", "checkpoint", SUBJECT, "--out", str(kept), "--home", str(self._federation.path(REGULATOR))
        )
        restored = self._folder / "restored"
        run_unseen("restore", str(self._backup), "--home", str(restored))
        size = Checkpoint.from_body(Note.decode(kept.read_bytes()).text).size
        return {
            "edit": (copies.edited(ATTACKED), ()),
            "delete": (copies.without(ATTACKED), ()),
            "insert": (copies.with_another(ATTACKED), ()),
            "reorder": (copies.swapped(ATTACKED), ()),
            "truncate": (copies.cut(size - 2), (kept,)),
            "rewrite": (copies.rewritten(lambda entry: _refusal(entry) if _is_of(entry, call) else entry), (kept,)),
            "restore": (restored / "ledger.db", (kept,)),
            "fork": (home.ledger_path, (self._notes["early"], self._notes["true"], self._notes["forged"])),
        }

    def _leave_out(self, call: str) -> tuple[str, str]:
        """Write a bureau's ledger anew without one call: the receipt left out, and the one that is found missing."""
        home = self._federation.home(OMITTER)
        without = LedgerCopies(home, self._folder / "omitting").rewritten(
            lambda entry: None if _is_of(entry, call) else entry, "omit"
        )
        found = self._reconcile(str(without), str(self._federation.path(MERCHANT)))
        named = [
            finding["at_merchant"]["receipt_id"]
            for pair in found["pairs"]
            for finding in pair["discrepancies"]
            if finding["kind"] == "missing" and finding["ledger"] == OMITTER
        ]
        left_out = [
            entry.receipt_id for entry in self._entries(OMITTER) if isinstance(entry, Outcome) and entry.call == call
        ]
        return left_out[0] if left_out else "", named[0] if len(named) == 1 else ""

    def _reconcile(self, *ledgers: str) -> _Reconciled:
        """Reconcile the ledgers given; none: all that the regulator keeps copies of."""
        command = [*COMMAND, "ledger", "reconcile", *ledgers, "--json", "--home", str(self._federation.path(REGULATOR))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
        if not done.stdout:
            raise WorkerError(f"nothing was reconciled: {done.stderr.strip()[-400:]}")
        found: _Reconciled = json.loads(done.stdout)
        return found

    def _prove(self, receipt: str) -> Path:
        path = self._folder / "receipt.tlog-proof"
        run_unseen("ledger", "prove", receipt, "--home", str(self._federation.path(OMITTER)), "--out", str(path))
        return path

    def _restored_refuses(self) -> bool:
        """Whether the restored home does not start to serve while its witnesses cannot be heard."""
        command = [*COMMAND, "serve", "--home", str(self._folder / "restored")]
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command, capture_output=True, text=True, check=False, timeout=START_SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode != 0 and "restored from a backup" in done.stderr

    def _auditor(self) -> Auditor:
        regulator = self._federation.home(REGULATOR)
        return Auditor(regulator.directory_path, regulator.regulator_key().vkey())

    def _regulators_note(self) -> bytes:
        home = self._federation.home(SUBJECT)
        with self._federation.dialling_as(SUBJECT, self._clock) as dialler:
            return WitnessClient(dialler).witnessed(REGULATOR, home.origin, TIMEOUT_MS).note

    def _keep(self, name: str, note: bytes) -> Path:
        path = self._folder / f"{name}.checkpoint"
        path.write_bytes(note)
        return path

    def _entries(self, party: str) -> list[Entry]:
        reader = open_reader(self._federation.home(party).ledger_path)
        try:
            return [decode_entry(data) for data in reader.read(0, reader.size)]
        finally:
            reader.close()


def _refusal_at(at_ms: int) -> Denied:
    """An entry that says as little as can be said."""
    return Denied(
        party=SUBJECT,
        at_ms=at_ms,
        side=Side.PROVIDER,
        identity="",
        merchant="",
        call="",
        contract="",
        reason=DenialReason.MALFORMED.value,
        clause="",
        check=0,
        count=1,
    )


def _refusal(entry: Entry) -> Denied:
    """A refusal where there was a call."""
    return _refusal_at(entry.at_ms)


def _is_of(entry: Entry, call: str) -> bool:
    return getattr(entry, "call", "") == call


def shown(tampering: dict[str, Found]) -> JsonObject:
    """For `--json`."""
    return {name: found.to_json() for name, found in tampering.items()}
