"""`unseen demo`: the whole of it, in about a minute, on real people-data."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parties.cli.output import JsonOption, emit_json, talk
from parties.errors import DemoFailedError, UsageError


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Leave the six homes in this new folder.", show_default=False)
    ] = None,
    prepare: Annotated[
        Path | None,
        typer.Option(
            "--prepare",
            help="Only write the bureaus' tables and declarations, and an application, into FOLDER/<party>.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Four statistics bureaus, a merchant and a regulator on CPS1988: 28,155 real persons. Exit 0 only if all holds."""
    if prepare is not None:
        _prepare(prepare)
        return
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"--keep: {keep} is not empty; name a new folder")
    from parties.demo import run_demo  # noqa: PLC0415 - heavy, and wanted here alone
    from parties.demo_show import ConsoleNarrator  # noqa: PLC0415

    narrator = ConsoleNarrator(
        Console(file=sys.stderr if json else sys.stdout, width=None if sys.stdout.isatty() else 120)
    )
    with tempfile.TemporaryDirectory(prefix="unseen-") as scratch:
        folder = Path(scratch) if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        report = run_demo(folder.resolve(), narrator)
    if json:
        emit_json(report.to_json())
    failures = report.failures()
    if failures:
        raise DemoFailedError(failures)
    talk(f"All of it holds, in {report.seconds['total']:.1f} s." + (f" The homes are in {keep}." if keep else ""))


def _prepare(folder: Path) -> None:
    from parties.demo_data import (  # noqa: PLC0415 - pandas, and wanted here alone
        BUREAUS,
        ApplicationTerms,
        application_toml,
        load_cps1988,
        without_database,
        write_bureau,
    )

    frame = load_cps1988()
    for bureau in BUREAUS:
        write_bureau(bureau, frame, folder / bureau.name, without_database(bureau))
        talk(f"{folder / bureau.name}: table in data/, declaration in catalog/")
    path = folder / "application.toml"
    path.write_text(application_toml(ApplicationTerms()), encoding="utf-8")
    talk(f"{path}: a merchant's application")
