"""`unseen doctor`: what is wrong with a party, and what mends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.clock import SystemClock
from audit.directory import Directory
from audit.errors import AuditError
from parties.cli.chinese_doctor import CHECKS, SEVERITIES
from parties.cli.exit_codes import ERROR, describe
from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_text,
    home_path,
    in_chinese,
    passphrase_source,
    printable,
    say,
    talk,
)
from parties.config import load_config
from parties.doctor import CHECKS as ALL_CHECKS
from parties.doctor import examine
from parties.doctor_details import Detail
from parties.doctor_examination import Examination, keys_locked, room_on_disk
from parties.doctor_findings import CheckName, Finding, Severity, Trouble, failure
from parties.doctor_mends import Mend
from parties.doctor_network import PartyNetwork
from parties.doctor_words import Words, many
from parties.errors import ConfigError, HomeError, PartyError
from parties.home import Home
from sandbox.errors import SandboxError

COLOURS: Final = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.FAILURE: "red"}


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody over the network.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Look a party over: files, keys, certificates, clock, disk, ledger, witnesses, data, others; say what mends it.

    Works with and without its server, and signs nothing. Exit 0 if nothing fails (there may be warnings), 1 if so.
    """
    path = home_path(home)
    found = _look_over(path, passphrase_file, offline=offline)
    failed = any(finding.severity is Severity.FAILURE for finding in found)
    if json:
        emit_json({"ok": not failed, "findings": [_described(finding) for finding in found]})
    else:
        _show(found)
        counts = {each: sum(finding.severity is each for finding in found) for each in Severity}
        failures, warnings = many(counts[Severity.FAILURE], "failure"), many(counts[Severity.WARNING], "warning")
        talk(
            say(
                f"{failures.english}, {warnings.english}",
                f"{failures.chinese} 项故障，{warnings.chinese} 项警告",
            )
        )
    raise typer.Exit(ERROR if failed else 0)


def _look_over(path: Path, passphrase_file: Path | None, *, offline: bool) -> tuple[Finding, ...]:
    if not (path / "party.toml").is_file():
        raise HomeError(f"{path} is no home of a party (it has no party.toml): name one with --home")
    try:
        config = load_config(path / "party.toml")
    except ConfigError as error:  # nothing else can be looked at before the settings can be read
        said = Detail.SETTINGS_WRONG.of(error=error)
        return (failure(CheckName.SETTINGS, Trouble.SETTINGS_WRONG, said, Mend.SETTINGS.of()),)
    # Not `Home.open`, which refuses a home with open modes: that is among what is looked for.
    opened = Home(path.resolve(), config, passphrase_source(passphrase_file, party=path.name))
    directory = _directory(opened)
    with _network(opened, directory, offline=offline) as network, _progress() as done:
        examined = Examination(opened, directory, SystemClock(), room_on_disk, os.environ, network)
        return examine(examined, done)


def _directory(home: Home) -> Directory | None:
    try:
        return home.directory(now_ms=0)
    except (HomeError, AuditError):  # the check of the directory says why
        return None


@contextmanager
def _network(home: Home, directory: Directory | None, *, offline: bool) -> Iterator[PartyNetwork | None]:
    """The network, where anybody can be asked at all; the checks of keys and certificate say why not."""
    network = None
    try:
        if directory is not None and not offline and not keys_locked(home):
            network = PartyNetwork(home, directory)
    except (PartyError, AuditError, SandboxError, OSError) as error:
        talk(say(f"Nobody can be asked: {describe(error)}", f"无法询问其他参与方：{describe(error)}"))
    try:
        yield network
    finally:
        if network is not None:
            network.close()


@contextmanager
def _progress() -> Iterator[Callable[[CheckName], object]]:
    """Show on a terminal which checks have ended; say nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    waiting = [name for name, _ in ALL_CHECKS]
    with Console(stderr=True).status(say("looking", "检查中")) as status:

        def done(name: CheckName) -> None:
            waiting.remove(name)
            left = ", ".join(_check(each) for each in waiting)
            status.update(say(f"looking: {left}", f"检查中：{left}"))

        yield done


def _show(found: Sequence[Finding]) -> None:
    headers = [say("check", "检查项"), say("result", "结果"), say("finding", "情况"), say("mend", "处理办法")]
    rows = [[_check(each.check), _severity(each.severity), _told(each.said), _told(each.cure)] for each in found]
    if not sys.stdout.isatty():
        emit_text("\n".join("\t".join(row) for row in [headers, *rows]))
        return
    table = Table(*headers, show_lines=True)
    for finding, row in zip(found, rows, strict=True):
        cells = [Text(printable(cell)) for cell in row]  # others' words: no markup, no escape sequences
        cells[1].stylize(COLOURS[finding.severity])
        table.add_row(*cells)
    Console(file=sys.stdout).print(table)


def _check(name: CheckName) -> str:
    return CHECKS[name] if in_chinese() else name.value


def _severity(severity: Severity) -> str:
    return SEVERITIES[severity] if in_chinese() else severity.value


def _told(words: Words | None) -> str:
    return "" if words is None else say(words.english, words.chinese)


def _described(finding: Finding) -> dict[str, object]:
    described: dict[str, object] = {
        "check": finding.check.value,
        "severity": finding.severity.value,
        "detail": finding.detail,
    }
    if finding.trouble is not None:
        described |= {"trouble": finding.trouble.value, "mend": finding.mend}
    return described
