"""`unseen ledger`: verify one offline, look into one's own."""

from __future__ import annotations

import json as json_format
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from audit.__main__ import main as audit_main
from audit.ledger import open_reader
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_table, open_home, say

app = typer.Typer(no_args_is_help=True, help="Ledgers: verify, show.")

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A party's home folder, or its ledger.db.", show_default=False)],
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The party directory; default: the home's.", show_default=False)
    ] = None,
    regulator_vkey: Annotated[
        str, typer.Option("--regulator-vkey", help="The regulator's key; default: the home's.", show_default=False)
    ] = "",
    witness_checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--witness-checkpoint", help="A checkpoint kept outside; repeatable.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Re-derive a ledger from its entries: exit 0 verified, 5 damaged, 6 could not be carried out."""
    arguments = ["verify", str(path)]
    arguments += ["--directory", str(directory)] if directory is not None else []
    arguments += ["--regulator-vkey", regulator_vkey] if regulator_vkey else []
    for checkpoint in witness_checkpoint or []:
        arguments += ["--witness-checkpoint", str(checkpoint)]
    arguments += ["--json"] if json else []
    raise typer.Exit(audit_main(arguments))


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
        say("time", "时间"),
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
            return f"{entry['reason']} ({entry['clause']}) x{entry['count']}"
        case "intent" | "outcome":
            return f"{entry['price_micro']} micro-{entry['currency']}"
        case "aborted":
            return str(entry["reason"])
        case "enrolled":
            return str(entry["subject"])
        case "directory":
            return f"version {entry['version']}"
        case _:
            return ""
