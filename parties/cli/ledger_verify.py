"""`unseen ledger verify`: a ledger re-derived from its entries, held against what else is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from audit.__main__ import (
    DIRECTORY_FILE,
    EXIT_FAILED,
    EXIT_IMPOSSIBLE,
    EXIT_OK,
    SETTINGS_FILE,
    SHOWN,
    contract_terms,
    cosigned_text,
    report_text,
    verify_path,
)
from audit.contract_terms import ContractTerms
from audit.errors import AuditError, VerificationImpossibleError
from audit.verify_cosignatures import Cosigned
from audit.verify_report import Report
from parties.cli.chinese import DAMAGES
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_text, home_path, in_chinese, say, talk
from parties.errors import PartyError
from parties.held_contracts import held_contracts
from parties.home import Home
from sandbox.errors import SandboxError

NESTED: Final = 3
"""How deep a copy lies in a home: replicas/PARTY/ledger.db."""


def verify(
    path: Annotated[
        Path | None,
        typer.Argument(help="A party's home folder, or its ledger.db; default: --home.", show_default=False),
    ] = None,
    home: HomeOption = None,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", help="The party directory; default: the home's, or --home's.", show_default=False),
    ] = None,
    regulator_vkey: Annotated[
        str, typer.Option("--regulator-vkey", help="The regulator's key; default: as there.", show_default=False)
    ] = "",
    witness_checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--witness-checkpoint", help="A checkpoint kept outside; repeatable.", show_default=False),
    ] = None,
    contract: Annotated[
        list[Path] | None,
        typer.Option(
            "--contract", help="A contract to hold calls against, beside the home's; repeatable.", show_default=False
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Re-derive a ledger from its entries: exit 0 verified, 5 damaged, 6 could not be carried out."""
    ledger = path if path is not None else home_path(home)
    around = _home_of(ledger, home)
    try:
        terms = [*_held_terms(around), *map(contract_terms, contract or [])]
        judge = directory if directory is not None else _directory_file(ledger, around)
        vkey = regulator_vkey or _pinned_vkey(ledger, judge, around)
        report, found = verify_path(ledger, judge, vkey, witness_checkpoint or [], terms)
    except VerificationImpossibleError as error:
        if json:
            emit_json({"verified": False, "impossible": str(error)})
        talk(say(f"verification could not be carried out: {error}", f"无法核验：{error}"))
        raise typer.Exit(EXIT_IMPOSSIBLE) from error
    if json:
        emit_json(report.to_json())
    elif in_chinese():
        emit_text("\n".join(_chinese_lines(report, signatures_checked=found is not None)))
    else:
        emit_text(report_text(report, found).removesuffix("\n"))
    raise typer.Exit(EXIT_OK if report.verified else EXIT_FAILED)


def _home_of(ledger: Path, home: Path | None) -> Path | None:
    """The home that a ledger is held against: the ledger's own, else `--home`, else the one that a copy lies in."""
    if home is not None and not (ledger / SETTINGS_FILE).is_file():
        return home
    near = (ledger, *ledger.absolute().parents[:NESTED])
    return next((folder for folder in near if (folder / SETTINGS_FILE).is_file()), None)


def _directory_file(ledger: Path, home: Path | None) -> Path | None:
    """The directory of the home that a copy is held against; None where the ledger is a home, or that has none yet."""
    if home is None or home == ledger or not (home / DIRECTORY_FILE).is_file():
        return None
    return home / DIRECTORY_FILE


def _held_terms(folder: Path | None) -> list[ContractTerms]:
    """The terms of the contracts in a home's vault; none where there is no vault."""
    if folder is None:
        return []
    try:
        return [ContractTerms.of(record.envelope) for record in held_contracts(Home.open(folder))]
    except (PartyError, SandboxError, AuditError) as error:
        talk(
            say(
                f"the contracts in {folder} cannot be read, so that calls are not held against their terms: {error}",
                f"{folder} 中的合约无法读取，调用未按合约条款核对：{error}",
            )
        )
        return []


def _pinned_vkey(ledger: Path, directory: Path | None, home: Path | None) -> str:
    """The regulator's key that a home pins, for a directory that judges a ledger which is no home."""
    if directory is None or home is None or (ledger / SETTINGS_FILE).is_file():
        return ""
    try:
        return Home.open(home).regulator_key().vkey()
    except (PartyError, AuditError) as error:
        raise VerificationImpossibleError(f"{home} pins no regulator's key ({error}): give --regulator-vkey") from error


def _chinese_cosigned(cosigned: Cosigned) -> str:
    _, _, time = cosigned_text(cosigned).rpartition(" at ")
    return f"前 {cosigned.size} 个条目，由 {'、'.join(cosigned.by)} 于 {time} 见证"


def _chinese_lines(report: Report, *, signatures_checked: bool) -> list[str]:
    lines = [
        f"账本\t{report.origin or '未知'}",
        f"条目数\t{report.entries}",
        f"根哈希\t{report.root}",
        f"检查点\t{report.checkpoints}",
        f"回执\t{'已核对签名' if signatures_checked else '未核对签名：没有给出名录'}",
        f"外部锚定\t{'是' if report.anchored else '否：没有外部检查点，整本改写看不出来'}",
    ]
    if report.cosigned is not None:
        lines.append(f"见证\t{_chinese_cosigned(report.cosigned)}")
    if report.contracts_unchecked:
        lines.append(f"合约条款\t{report.contracts_unchecked} 份合约未核对：此处没有合约文本")
    if report.revoked_signatures:
        lines.append(f"已吊销\t{report.revoked_signatures} 个签名的密钥后来被吊销")
    if report.uncounted_entries:
        first = "、".join(map(str, report.uncounted[:SHOWN]))
        lines.append(f"不计入\t{report.uncounted_entries} 个条目在吊销前没有见证方看到：{first}")
    if report.damage is None:
        lines.append("核验结果\t通过")
    else:
        place = "" if report.index is None else f"，第一处坏条目 {report.index}"
        lines.append(f"核验结果\t不通过：{DAMAGES[report.damage]}{place}：{report.detail}")
    return lines
