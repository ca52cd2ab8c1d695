"""`unseen ledger reconcile`: hold ledgers against one another, and record what differs."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from audit.__main__ import home_directory, load_directory
from audit.directory import Directory
from audit.discrepancy import Finding, LedgerHead, Sighting, read_discrepancy
from audit.entry import decode_entry
from audit.envelope import Envelope
from audit.errors import AuditError
from audit.ledger import LedgerReader, open_reader
from audit.ledger_view import LedgerView, read_view
from audit.names import Role
from audit.reconcile import Reconciliation, judge_by, reconcile, unchecked
from audit.tariff import format_micro
from audit.verify import LEDGER_FILE
from audit.witness_store import WitnessStore
from parties.cli.chinese import word
from parties.cli.exit_codes import VERIFICATION_FAILED
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_table, open_home, say, talk
from parties.errors import NotFoundError, UsageError
from parties.findings import record_findings
from parties.home import Home

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""
_STEP: Final = 4096
"""Entries after which a bar moves."""


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """A ledger given, as far as it had grown when it was opened."""

    party: str
    role: Role
    origin: str
    size: int
    reader: LedgerReader

    @classmethod
    def open(cls, path: Path) -> OpenLedger:
        """Open a home's ledger, or a ledger file; errors as `open_reader`."""
        reader = open_reader(path / LEDGER_FILE if path.is_dir() else path)
        try:
            genesis = reader.genesis()
            return cls(genesis.party, genesis.role, genesis.origin, reader.size, reader)
        except BaseException:
            reader.close()
            raise

    def as_of_ms(self, records: WitnessStore) -> int | None:
        """When a regulator's copy is from, None if it is empty: its newest entry's time, or the later one at which its
        party had nothing more to show.

        Copies grow second by second; what was issued after one was made is not missing in it.
        """
        newest = [decode_entry(data).at_ms for data in self.reader.read(self.size - 1, self.size)]
        shown = records.latest(self.origin)
        if shown is not None and shown.size == self.size:
            newest.append(shown.cosigned_s * 1000)
        return max(newest, default=None)

    def head(self) -> LedgerHead:
        """Return the state in which it is compared; raise `MalformedError` where its tiles are damaged."""
        return LedgerHead(self.origin, self.size, self.reader.root(self.size).hex())


def reconcile_command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[A B...]",
            help="Home folders, or ledger.db files; default: all that the regulator of --home keeps.",
            show_default=False,
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Enter each discrepancy, signed, into the ledger of --home.")
    ] = False,
    home: HomeOption = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The party directory; default: a home's.", show_default=False)
    ] = None,
    regulator_vkey: Annotated[
        str, typer.Option("--regulator-vkey", help="The regulator's key; default: a home's.", show_default=False)
    ] = "",
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the receipts of several parties' ledgers: exit 0 when they agree, 5 with discrepancies.

    Every provider given is compared with every merchant given. Verify the ledgers first: this compares what they say.
    With --record the findings go through the party's server if it is running.
    """
    own = open_home(home, passphrase_file) if record else None
    given = paths or _replicas(open_home(home))
    known = _directory([*([] if home is None else [home]), *given], directory, regulator_vkey)
    with ExitStack() as stack:
        ledgers: list[OpenLedger] = []
        for path in given:
            ledgers.append(OpenLedger.open(path))
            stack.callback(ledgers[-1].reader.close)
        if paths:
            _comparable(ledgers)
        by_party = {ledger.party: ledger for ledger in ledgers}

        def entry(party: str, index: int) -> bytes:
            return next(by_party[party].reader.read(index, index + 1))

        with uncollected():
            times = {} if paths else _as_of(open_home(home), ledgers)
            result = reconcile(_views(ledgers, times), unchecked if known is None else judge_by(known, entry))
        heads = {} if own is None else {ledger.party: ledger.head() for ledger in ledgers}
    recorded = None if own is None else record_findings(own, result.findings, heads)
    _show(result, recorded, json=json)
    raise typer.Exit(VERIFICATION_FAILED if result.findings else 0)


def _comparable(ledgers: Sequence[OpenLedger]) -> None:
    """Raise `UsageError` where no pair of the ledgers can be compared: that they agree would say nothing."""
    roles = {ledger.role for ledger in ledgers}
    for role, article in ((Role.PROVIDER, "a provider"), (Role.MERCHANT, "a merchant")):
        if role not in roles:
            raise UsageError(
                f"none of the ledgers given is {article}'s, so there is nothing to compare: name a provider's and a "
                "merchant's at least"
            )


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the search for reference cycles: ledgers' views form none, and it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _directory(homes: Sequence[Path], given: Path | None, vkey: str) -> Directory | None:
    """The directory given, else the first one that a home here holds and pins; None where there is none."""
    if given is not None:
        if not vkey:
            raise UsageError("a directory is worth what its signer is: give the regulator's key with --regulator-vkey")
        return load_directory(given, vkey)
    found = (home_directory(home, None, vkey or None) for home in homes)
    return next((directory for directory in found if directory is not None), None)


def _replicas(home: Home) -> list[Path]:
    """The copies of the parties' ledgers that the regulator keeps, and that hold anything."""
    if home.role is not Role.REGULATOR:
        raise UsageError(f"{home.name} is a {home.role.value} and keeps nobody's entries: name the ledgers to compare")
    found: list[Path] = []
    for path in sorted(home.replicas.glob(f"*/{LEDGER_FILE}")):
        reader = open_reader(path)
        if reader.size:
            found.append(path)
        reader.close()
    if not found:
        raise NotFoundError(f"{home.replicas} holds no entries yet: parties send theirs while {home.name} is served")
    return found


def _as_of(home: Home, ledgers: Sequence[OpenLedger]) -> Mapping[str, int | None]:
    """When each of the regulator's copies is from, by party."""
    records = WitnessStore.open(home.witness_path)
    try:
        return {ledger.party: ledger.as_of_ms(records) for ledger in ledgers}
    finally:
        records.close()


def _views(ledgers: Sequence[OpenLedger], times: Mapping[str, int | None]) -> list[LedgerView]:
    """Read every ledger, telling how far that is where somebody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        reading = say("Reading {party}", "读取 {party}")
        tasks = [bars.add_task(reading.format(party=ledger.party), total=ledger.size) for ledger in ledgers]
        return [
            read_view(ledger.party, _told(ledger.reader.read(0, ledger.size), bars, task), times.get(ledger.party))
            for ledger, task in zip(ledgers, tasks, strict=True)
        ]


def _told(entries: Iterator[bytes], bars: Progress, task: TaskID) -> Iterator[bytes]:
    while some := tuple(itertools.islice(entries, _STEP)):
        yield from some
        bars.advance(task, len(some))


def _show(result: Reconciliation, recorded: int | None, *, json: bool) -> None:
    for provider, merchant, count in result.uncompared:
        talk(
            say(
                f"{count} receipts between {provider} and {merchant} are not compared: one of the ledgers is not here",
                f"{provider} 与 {merchant} 之间的 {count} 张回执未核对：缺其中一方的账本",
            )
        )
    unsettled = sum(len(pair.unsettled) for pair in result.pairs)
    if unsettled:
        talk(
            say(
                f"{unsettled} receipts are not acknowledged in both ledgers yet, or newer than a copy; that is no"
                " discrepancy",
                f"{unsettled} 张回执尚未在双方账本中确认，或比其中一份副本更新，不算差异",
            )
        )
    if recorded is not None and not result.findings:
        talk(say("Nothing differs, so nothing was recorded", "没有差异，未记入任何条目"))
    elif recorded is not None:
        talk(
            say(
                f"{recorded} of {len(result.findings)} discrepancies were new and are recorded",
                f"{len(result.findings)} 处差异中有 {recorded} 处为新发现，已记入账本",
            )
        )
    if json:
        emit_json({**result.to_json(), **({} if recorded is None else {"recorded": recorded})})
        return
    headers = [
        say("provider", "提供方"),
        say("merchant", "数据商"),
        say("discrepancy", "差异"),
        say("in the ledger of", "账本"),
        say("call", "调用"),
        say("provider's receipt", "提供方回执"),
        say("merchant's receipt", "数据商回执"),
    ]
    if result.findings:
        emit_table(headers, [_row(finding) for finding in result.findings])
        return
    agreed = [say("provider", "提供方"), say("merchant", "数据商"), say("receipts", "回执"), say("amount", "金额")]
    emit_table(
        agreed,
        [
            [pair.provider, pair.merchant, str(pair.at_provider.receipts), format_micro(pair.at_provider.price_micro)]
            for pair in result.pairs
        ],
    )


def _row(finding: Finding) -> list[str]:
    return [
        finding.provider,
        finding.merchant,
        word(finding.kind),
        finding.ledger,
        finding.call[:SHOWN],
        _shown(finding.at_provider),
        _shown(finding.at_merchant),
    ]


def _shown(sighting: Sighting | None) -> str:
    if sighting is None:
        return "-"
    amount = format_micro(sighting.price_micro)
    return f"{sighting.receipt_id[:SHOWN]} #{sighting.index} {amount} {sighting.currency} {sighting.standing.value}"


def discrepancy_text(entry: Mapping[str, object]) -> str:
    """Return what a DISCREPANCY entry, as JSON, is about: `missing in the ledger of east: east - shop, call ...`."""
    try:
        finding = read_discrepancy(Envelope.from_json(entry.get("discrepancy"))).finding
    except AuditError:  # damaged; `unseen ledger verify` says how
        return str(entry.get("discrepancy_id", ""))[:SHOWN]
    place = say(f" in the ledger of {finding.ledger}", f"（{finding.ledger} 的账本）") if finding.ledger else ""
    return f"{word(finding.kind)}{place}: {finding.provider} - {finding.merchant}, {finding.call[:SHOWN]}"
