"""`unseen ledger`: verify one offline, look into one's own."""

from __future__ import annotations

import json as json_format
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from audit.__main__ import EXIT_FAILED, EXIT_IMPOSSIBLE, EXIT_OK, verify_path
from audit.__main__ import main as audit_main
from audit.errors import VerificationImpossibleError
from audit.ledger import open_reader
from audit.tariff import format_micro
from parties.cli.chinese import DAMAGES
from parties.cli.ledger_proof import check_proof, prove
from parties.cli.ledger_receipts import receipts_command
from parties.cli.ledger_reconcile import discrepancy_text, reconcile_command
from parties.cli.output import (
    HomeOption,
    JsonOption,
    emit_json,
    emit_table,
    emit_text,
    home_path,
    in_chinese,
    open_home,
    say,
    talk,
)

app = typer.Typer(no_args_is_help=True, help="Ledgers: verify, show, receipts, prove, reconcile.")

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""


@app.command()
def verify(
    path: Annotated[
        Path | None,
        typer.Argument(help="A party's home folder, or its ledger.db; default: --home.", show_default=False),
    ] = None,
    home: HomeOption = None,
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
    ledger = path if path is not None else home_path(home)
    if in_chinese() and not json:
        raise typer.Exit(_verify_in_chinese(ledger, directory, regulator_vkey, witness_checkpoint or []))
    arguments = ["verify", str(ledger)]
    arguments += ["--directory", str(directory)] if directory is not None else []
    arguments += ["--regulator-vkey", regulator_vkey] if regulator_vkey else []
    for checkpoint in witness_checkpoint or []:
        arguments += ["--witness-checkpoint", str(checkpoint)]
    arguments += ["--json"] if json else []
    raise typer.Exit(audit_main(arguments))


def _verify_in_chinese(path: Path, directory: Path | None, regulator_vkey: str, checkpoints: list[Path]) -> int:
    try:
        report, found = verify_path(path, directory, regulator_vkey, checkpoints)
    except VerificationImpossibleError as error:
        talk(f"无法核验：{error}")
        return EXIT_IMPOSSIBLE
    lines = [
        f"账本\t{report.origin or '未知'}",
        f"条目数\t{report.entries}",
        f"根哈希\t{report.root}",
        f"检查点\t{report.checkpoints}",
        f"回执\t{'已核对签名' if found else '未核对签名：没有给出名录'}",
        f"外部锚定\t{'是' if report.anchored else '否：没有外部检查点，整本改写看不出来'}",
    ]
    if report.revoked_signatures:
        lines.append(f"已吊销\t{report.revoked_signatures} 个签名的密钥后来被吊销")
    if report.damage is None:
        lines.append("核验结果\t通过")
    else:
        place = "" if report.index is None else f"，第一处坏条目 {report.index}"
        lines.append(f"核验结果\t不通过：{DAMAGES[report.damage]}{place}：{report.detail}")
    emit_text("\n".join(lines))
    return EXIT_OK if report.verified else EXIT_FAILED


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


app.command()(prove)
app.command()(check_proof)
app.command("reconcile")(reconcile_command)
app.command("receipts")(receipts_command)
