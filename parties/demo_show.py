"""The demo as a person watches it: chapters, tables, and figures beside those of the pooled rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd
from rich.console import Console
from rich.table import Table

from audit.canonical import JsonObject
from audit.statement import Statement
from audit.tariff import format_micro
from parties.client.result import AggregateResult
from parties.demo_audit import AuditResult
from parties.demo_pool import PooledCell
from sandbox.ports import Progress

ATTEMPTS: Final = {
    "column": "group by a column that the contract lets be filtered only",
    "replay": "send an answered request again, byte for byte",
    "quota": "ask once more than the contract allows",
    "group_size": "apply for groups smaller than the bureaus release",
    "identifying": "apply to group by region, which tells the bureaus apart",
    "certificate": "connect with a certificate of another authority",
    "swapped_key": "as computing party, hand a peer another Paillier key",
}

TAMPERING: Final = {
    "edit": "one byte of an entry changed",
    "delete": "an entry deleted",
    "insert": "an entry inserted",
    "reorder": "two entries swapped",
    "truncate": "the tail cut off, without a trace in the file",
    "rewrite": "the whole rewritten, a call made a refusal, and signed again with the log key",
    "restore": "an old backup restored",
    "fork": "two histories shown to two witnesses",
}


class ConsoleNarrator:
    """Shows the demo on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = 0

    def step(self, title: str) -> None:
        """Open a chapter."""
        self._chapter += 1
        self._console.print(f"\n[bold cyan]{self._chapter}. {title}[/]")

    def note(self, text: str) -> None:
        """Say something in passing."""
        self._console.print(f"   {text}", style="dim", markup=False, highlight=False)

    def catalogue(self, table: pd.DataFrame) -> None:
        """Show one bureau's columns and how many columns the others offer."""
        first = table[table["provider"] == table["provider"].iloc[0]] if "provider" in table else table
        shown = Table(title=f"{len(table)} columns of {table['provider'].nunique()} bureaus; those of the first:")
        names = [name for name in ("dataset", "column", "type", "unit", "domain", "edges", "uses") if name in first]
        for name in names:
            shown.add_column(name)
        for row in first[names].itertuples(index=False):
            shown.add_row(*(str(value) for value in row))
        self._console.print(shown)

    def comparison(self, result: AggregateResult, pooled: tuple[PooledCell, ...]) -> None:
        """Show the joint result beside what pooling would have given, under the same withholding."""
        table = Table(title="Weekly wage in USD: joint (encrypted) and pooled, side by side")
        for name, justify in (
            ("education", "left"),
            ("ethnicity", "left"),
            ("part-time", "left"),
            ("bureaus", "right"),
            ("count", "right"),
            ("mean", "right"),
            ("pooled count", "right"),
            ("pooled mean", "right"),
        ):
            table.add_column(name, justify="right" if justify == "right" else "left")
        for row, cell in zip(result.frame.to_dict("records"), pooled, strict=True):
            labels = [str(row[name]) for name in ("education", "ethnicity", "parttime")]
            if not cell.contributors:
                table.add_row(*labels, "0", "closed", "closed", "closed", "closed", style="dim")
                continue
            table.add_row(
                *labels,
                str(row["contributors"]),
                str(row["count"]),
                f"{row['mean(wage)']:.4f}",
                str(cell.rows),
                f"{cell.mean:.4f}",
            )
        self._console.print(table)
        self.note(
            f"{result.withheld} cells closed (fewer than two bureaus with ten people); price {result.price} "
            f"{result.currency}, {len(result.receipts)} receipts, both sides' signatures on each"
        )

    def refusals(self, seen: Mapping[str, str]) -> None:
        """Show what was refused, with reason and clause."""
        table = Table("attempt", "refused with", "clause")
        for name, told in seen.items():
            reason, _, clause = told.partition(" ")
            table.add_row(ATTEMPTS[name], f"[red]{reason}[/]", clause)
        self._console.print(table)

    def statements(self, merchant: Statement, providers: Mapping[str, Statement]) -> None:
        """Show both sides' statements."""
        table = Table("ledger of", "receipts", "owed", title="Recomputed from each ledger and the contract's tariff")
        for name, own in providers.items():
            table.add_row(name, str(len(own.charged)), format_micro(own.total_micro))
        total = sum(own.total_micro for own in providers.values())
        table.add_row("the bureaus together", "", f"[bold]{format_micro(total)}[/]")
        table.add_row("merchant", str(len(merchant.charged)), f"[bold]{format_micro(merchant.total_micro)}[/]")
        self._console.print(table)

    def ledgers(self, reports: Mapping[str, JsonObject]) -> None:
        """Show the verifier's reports."""
        table = Table("ledger of", "entries", "root", "verified", "anchored")
        for name, report in reports.items():
            verified = "[green]yes[/]" if report["verified"] else f"[red]no: {report.get('detail', '')}[/]"
            anchored = "by the regulator's copy" if report["anchored"] else "-"
            table.add_row(name, str(report["entries"]), f"{str(report.get('root', ''))[:16]}…", verified, anchored)
        self._console.print(table)

    def audit(self, result: AuditResult) -> None:
        """Show what the regulator found in tampered ledgers, and what it can prove."""
        table = Table("what was done to a bureau's ledger", "the verifier says", "first bad entry")
        for name, found in result.tampering.items():
            place = "" if found.index is None else str(found.index)
            table.add_row(TAMPERING[name], f"[red]{found.damage}[/]", place)
        self._console.print(table)
        self.note("the restored bureau does not start while no witness tells it where it was")
        self.note(f"the regulator's own ledger holds {result.evidence} signed contradiction as evidence")
        self.note("the true ledgers, as the regulator's copies have them, agree in every receipt")
        self.note(f"left out by a bureau and found by reconciliation: receipt {result.omission_found[:16]}…")
        self.note("the same receipt was proved to a stranger, from the regulator's key alone")

    def progress(self) -> Progress:
        """Return what is told how far a call is."""
        return _StageNotes(self)


class _StageNotes:
    """Notes the end of each stage of a call: the demo's calls take less time than a bar would be seen."""

    def __init__(self, narrator: ConsoleNarrator) -> None:
        self._narrator = narrator

    def advance(self, stage: str, done: int, total: int) -> None:
        """Say that a stage is over."""
        if done == total:
            self._narrator.note(f"{stage}: {done} of {total}")
