"""The command `unseen`. A command's module is imported only when that command runs."""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import typer
from typer.core import TyperCommand, TyperGroup

from parties.cli.chinese import denial_text
from parties.cli.exit_codes import HOUSE, WRONG_USAGE, as_json, describe, exit_code
from parties.cli.output import in_chinese, talk
from sandbox.errors import DeniedError

COMMANDS: Final[Mapping[str, str]] = {
    "init": "parties.cli.init:init",
    "enrol": "parties.cli.enrol:app",
    "serve": "parties.cli.serve:serve",
    "doctor": "parties.cli.doctor:doctor",
    "catalog": "parties.cli.catalog:app",
    "contract": "parties.cli.contract:app",
    "aggregate": "parties.cli.aggregate:aggregate",
    "resume": "parties.cli.aggregate:resume",
    "budget": "parties.cli.budget:budget",
    "ledger": "parties.cli.ledger:app",
    "witness": "parties.cli.witness:app",
    "backup": "parties.cli.backup:backup",
    "restore": "parties.cli.backup:restore",
    "keys": "parties.cli.keys:app",
    "certificate": "parties.cli.certificate:app",
    "statement": "parties.cli.statement:statement",
    "demo": "parties.cli.demo:demo",
}
"""Command -> module:name of a function (a command) or a `typer.Typer` (a group), in the order of --help."""


class LazyCommands(TyperGroup):
    """Finds commands in `COMMANDS`."""

    def list_commands(self, ctx: object) -> list[str]:
        """Return the commands in the order of --help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """Import and return a command; None if there is none of that name."""
        del ctx
        return load(cmd_name) if cmd_name in COMMANDS else None


def load(name: str) -> TyperCommand | TyperGroup:
    """Import the module of one of `COMMANDS` and return its command or group."""
    module, _, attribute = COMMANDS[name].partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        group = typer.main.get_group(target)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(target)
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


app = typer.Typer(cls=LazyCommands, name="unseen", no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(importlib.metadata.version("unseen") + "\n")
        raise typer.Exit


@app.callback()
def unseen(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compute together over data that never leave their owner. 可用不可见"""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; what goes wrong is told on stderr, as JSON with `--json`."""
    told_as_json = "--json" in arguments
    try:
        ended = app(arguments, prog_name="unseen", standalone_mode=not told_as_json)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (*HOUSE, OSError, WRONG_USAGE) as error:
        if told_as_json:
            sys.stderr.write(json.dumps(as_json(error), ensure_ascii=False) + "\n")
        else:
            talk(as_text(error))
        return exit_code(error)
    return ended if isinstance(ended, int) else 0


def as_text(error: Exception) -> str:
    """Return what a person reads on stderr; a denial under a Chinese locale says first in Chinese why."""
    if isinstance(error, OSError):
        return f"unseen: {describe(error)}"
    if isinstance(error, DeniedError) and in_chinese():
        return f"unseen: {denial_text(error.reason)}{error}"
    return f"unseen: {error}"


def main() -> None:
    """Be the command `unseen`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core writes to stderr what our errors say already
    sys.exit(run(sys.argv[1:]))
