"""`unseen catalog`: hold declarations against the data, list and show data sets, export their descriptions.

And, at a provider, how much of them was answered exactly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from audit.clock import SystemClock
from audit.names import Role
from audit.tariff import format_micro
from parties.channel import Dialler
from parties.cli.chinese import violation_text, word
from parties.cli.exit_codes import USAGE
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_table, open_home, say, talk
from parties.client.catalogues import CatalogueClient
from parties.client.tables import bounds_text, levels_text
from parties.errors import NotFoundError, UsageError
from parties.home import Home
from parties.provider_datasets import answered_sets, check_declared
from sandbox.description import DatasetDescription
from sandbox.errors import PeerUnavailableError
from sandbox.source import Severity, Violation

app = typer.Typer(no_args_is_help=True, help="Catalogue of data sets: check, list, show, export, answered.")

NOTHING_WRONG: Final = "every declaration holds"


@app.command()
def check(home: HomeOption = None, json: JsonOption = False) -> None:
    """At a provider: hold the data against the declarations. Exit 2 if `unseen serve` would refuse to start."""
    opened = open_home(home)
    if opened.role is not Role.PROVIDER:
        raise UsageError(f"{opened.name} is a {opened.role.value}; providers declare data: name a provider's --home")
    checked = check_declared(opened.catalog, os.environ)
    found = [
        (declaration.name, Path(declaration.file), violation)
        for declaration, violations in checked
        for violation in violations
    ]
    refused = any(violation.severity is Severity.REFUSES for _, _, violation in found)
    if json:
        emit_json({"ok": not refused, "violations": [_violation(*item) for item in found]})
    elif found:
        headers = [say("file", "文件"), say("column", "列"), say("severity", "级别"), say("message", "说明")]
        emit_table(headers, [[path.name, v.column, word(v.severity), violation_text(v)] for _, path, v in found])
    names = ", ".join(declaration.name for declaration, _ in checked)
    if not checked:
        talk(
            say(
                f"no data set is declared: write {opened.catalog}/NAME.toml after examples/catalog.toml",
                f"没有申报任何数据集：请参照 examples/catalog.toml 编写 {opened.catalog}/NAME.toml",
            )
        )
    elif not refused:
        talk(say(f"{NOTHING_WRONG}: {names}", f"声明与数据相符：{names}"))
    raise typer.Exit(USAGE if refused else 0)


@app.command("list")
def list_datasets(home: HomeOption = None, passphrase_file: PassphraseOption = None, json: JsonOption = False) -> None:
    """List the data sets of all providers that can be reached; at a provider its own."""
    descriptions = describe_all(open_home(home, passphrase_file))
    if json:
        emit_json({"datasets": [_summary(dataset) for dataset in descriptions]})
        return
    headers = [say("dataset", "数据集"), say("title", "名称"), say("rows", "行数"), say("grade", "级别")]
    rows = [[item.reference, item.title, str(item.declared_rows), word(item.grade)] for item in descriptions]
    emit_table(headers, rows)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="PARTY/DATASET, or the data set's name.", show_default=False)],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Show one data set: what it is (on stderr), and its columns, their uses, grades, and levels."""
    found = [
        item
        for item in describe_all(open_home(home, passphrase_file))
        if dataset in {item.name, f"{item.party}/{item.name}", item.reference}
    ]
    if not found:
        raise NotFoundError(f"no data set {dataset!r:.120}: `unseen catalog list` shows those there are")
    if json:
        emit_json({"datasets": [item.to_body() for item in found]})
        return
    headers = [say("dataset", "数据集"), say("column", "列"), say("type", "类型"), say("unit", "单位")]
    headers += [say("bounds", "范围"), say("levels", "取值"), say("nullable", "可为空")]
    headers += [say("grade", "级别"), say("uses", "用途")]
    for item in found:
        talk(_about(item))
    rows = [
        [
            item.reference,
            column.name,
            word(column.type),
            column.unit,
            bounds_text(column),
            levels_text(column),
            say("yes", "是") if column.nullable else say("no", "否"),
            word(column.grade),
            ", ".join(word(use) for use in sorted(column.uses, key=lambda use: use.value)),
        ]
        for item in found
        for column in item.columns
    ]
    emit_table(headers, rows)


@app.command()
def answered(home: HomeOption = None, json: JsonOption = False) -> None:
    """At a provider: how many different sets of rows each data set was answered over, sums over cells included."""
    opened = open_home(home)
    if opened.role is not Role.PROVIDER:
        raise UsageError(f"{opened.name} is a {opened.role.value}; providers answer: name a provider's --home")
    counts = answered_sets(opened)
    if json:
        emit_json({"datasets": [{"dataset": name, "answered": count} for name, count in counts.items()]})
        return
    headers = [say("dataset", "数据集"), say("sets of rows answered", "已答复的行集")]
    emit_table(headers, [[name, str(count)] for name, count in counts.items()])


@app.command()
def export(home: HomeOption = None, passphrase_file: PassphraseOption = None) -> None:
    """Write the descriptions as one JSON object: what providers publish, no sources and no content hashes."""
    emit_json({"datasets": [item.to_body() for item in describe_all(open_home(home, passphrase_file))]})


def describe_all(home: Home) -> tuple[DatasetDescription, ...]:
    """Return the descriptions of all providers that the directory lists; at a provider its own server's.

    A provider that cannot be reached is told of on stderr; where none can, that is raised.
    """
    clock = SystemClock()
    directory = home.directory(now_ms=clock.now_ms())
    dialler = Dialler(home, lambda: directory)
    client = CatalogueClient(dialler, lambda: directory)
    own = home.role is Role.PROVIDER
    asked = [home.name] if own else [record.name for record in directory.providers()]
    found: list[DatasetDescription] = []
    silent = 0
    try:
        for provider in asked:
            try:
                found.extend(client.list(provider))
            except PeerUnavailableError as error:
                silent += 1
                if silent == len(asked):
                    raise
                talk(f"{error}; its data sets are missing here")
    finally:
        dialler.close()
    return tuple(found)


def _about(dataset: DatasetDescription) -> str:
    """Return what an applicant has to know beside the columns."""
    release = dataset.release
    facts = [
        f"{dataset.reference}: {dataset.title}",
        dataset.description,
        f"{say('owner', '所有者')} {dataset.owner}, {dataset.office}",
        say(f"{dataset.declared_rows} declared rows", f"申报 {dataset.declared_rows} 行"),
        f"{say('updated', '更新周期')} {dataset.update_cycle}",
        f"{say('release', '发布方式')} {release.mode.value}: {_rules(dataset)}",
    ]
    return "\n  ".join(facts)


def _rules(dataset: DatasetDescription) -> str:
    release, privacy = dataset.release, dataset.privacy
    if privacy is None:
        return (
            f"min_group_size {release.min_group_size}, min_contributors {release.min_contributors}, "
            f"own_totals {release.own_totals.value}, overlap_k {release.overlap_k}"
        )
    return (
        f"epsilon {format_micro(privacy.micro_epsilon)}, epsilon_total {format_micro(privacy.micro_epsilon_total)}, "
        f"delta {float(privacy.delta):g}, tolerated {privacy.tolerated}"
    )


def _summary(dataset: DatasetDescription) -> dict[str, object]:
    return {
        "dataset": dataset.reference,
        "title": dataset.title,
        "declared_rows": dataset.declared_rows,
        "grade": dataset.grade.value,
        "columns": [column.name for column in dataset.columns],
    }


def _violation(dataset: str, path: Path, violation: Violation) -> dict[str, object]:
    described: dict[str, object] = {
        "dataset": dataset,
        "file": str(path),
        "column": violation.column,
        "kind": violation.kind.value,
        "severity": violation.severity.value,
        "message": violation.message,
    }
    return described if violation.rows is None else {**described, "rows": violation.rows}
