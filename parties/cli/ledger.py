"""`unseen ledger`: verify one offline, look into one's own."""

from __future__ import annotations

import json as json_format
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from audit.ledger import open_reader
from audit.tariff import format_micro
from parties.cli.ledger_proof import check_proof, prove
from parties.cli.ledger_receipts import receipts_command
from parties.cli.ledger_reconcile import discrepancy_text, reconcile_command
from parties.cli.ledger_verify import verify
from parties.cli.output import (
    HomeOption,
    JsonOption,
    emit_json,
    emit_table,
    open_home,
    say,
)

app = typer.Typer(no_args_is_help=True, help="Ledgers: verify, show, receipts, prove, reconcile.")

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""


@app.command()
def show(
    start: Annotated[int, typer.Option("--start", min=0, help="The first entry shown.")] = 0,
    count: Annotated[int, typer.Option("--count", min=1, help="How many entries.")] = 1000,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the home's own ledger, also while its party is running."""
    reader = open_reader(open_home(home).ledger_path)
    try:
        entries = [json_format.loads(data) for data in reader.read(start, start + count)]
        size = reader.size
    finally:
        reader.close()
    if json:
        numbered = [{"index": index, **entry} for index, entry in enumerate(entries, start=start)]
        emit_json({"size": size, "entries": numbered})
        return
    headers = [
        say("index", "序号"),
        say("time (UTC)", "时间（UTC）"),
        say("kind", "类别"),
        say("call", "调用"),
        say("contract", "合约"),
        say("detail", "说明"),
    ]
    emit_table(headers, [_row(index, entry) for index, entry in enumerate(entries, start=start)])


def _row(index: int, entry: dict[str, object]) -> list[str]:
    time = datetime.fromtimestamp(int(str(entry["at_ms"])) / 1000, tz=UTC)
    return [
        str(index),
        f"{time:%Y-%m-%d %H:%M:%S}",
        str(entry["kind"]),
        str(entry.get("call", ""))[:SHOWN],
        str(entry.get("contract", ""))[:SHOWN],
        _detail(entry),
    ]


def _detail(entry: dict[str, object]) -> str:
    match entry["kind"]:
        case "contract":
            return f"{entry['state']} by {entry['actor']}"
        case "denied":
            return f"{entry['identity'] or '-'}: {entry['reason']} ({entry['clause']}) x{entry['count']}"
        case "intent" | "outcome":
            return f"{format_micro(int(str(entry['price_micro'])))} {entry['currency']}"
        case "aborted":
            return str(entry["reason"])
        case "enrolled":
            return str(entry["subject"])
        case "discrepancy":
            return discrepancy_text(entry)
        case "directory":
            return f"version {entry['version']}"
        case _:
            return ""


app.command()(verify)
app.command()(prove)
app.command()(check_proof)
app.command("reconcile")(reconcile_command)
app.command("receipts")(receipts_command)
