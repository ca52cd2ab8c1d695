"""What every command shares: its common options, data on stdout, talk on stderr, and the passphrase.

stdout is data: one JSON object with `--json`, else a table or a line fit for a pipe. stderr is talk.
"""

import getpass
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parties.client.waiting import told_when_slow
from parties.config import Overrides
from parties.errors import UsageError
from parties.home import Home, PassphraseSource, read_passphrase_file

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="UNSEEN_HOME", help="The party's home folder.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="A file whose first line is the keys' passphrase (or set UNSEEN_PASSPHRASE)."
    ),
]
PASSPHRASE_VARIABLE: Final = "UNSEEN_PASSPHRASE"  # noqa: S105  (the variable's name)


def passphrase_source(file: Path | None, *, party: str = "the party") -> PassphraseSource:
    """Return where a passphrase comes from: the file, else the environment, else a question on the terminal."""

    def ask() -> bytes | None:
        if file is not None:
            return read_passphrase_file(file)
        if PASSPHRASE_VARIABLE in os.environ:
            return os.environ[PASSPHRASE_VARIABLE].encode()
        if sys.stdin.isatty() and sys.stderr.isatty():
            return getpass.getpass(f"Passphrase of {party}'s keys: ", stream=sys.stderr).encode()
        return None

    return ask


def home_path(home: Path | None) -> Path:
    """Return the home given by flag or environment; raise `UsageError` when neither names one."""
    if home is None:
        raise UsageError("no home is given: use --home FOLDER, or set UNSEEN_HOME")
    return home


def open_home(home: Path | None, passphrase_file: Path | None = None, *, overrides: Overrides | None = None) -> Home:
    """Open the home that `--home` or UNSEEN_HOME names; errors as `Home.open`, and `UsageError` when neither does."""
    path = home_path(home)
    return Home.open(path, passphrase=passphrase_source(passphrase_file, party=path.name), overrides=overrides)


def emit_json(data: Mapping[str, object]) -> None:
    """Write one JSON object and a newline to stdout, at once."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def emit_text(text: str) -> None:
    """Write text and a newline to stdout, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def emit_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to stdout: drawn on a terminal, tab-separated into a pipe."""
    if not sys.stdout.isatty():
        emit_text("\n".join("\t".join(row) for row in [headers, *rows]))
        return
    table = Table(*headers)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # others' words: no markup, no escape sequences
    Console(file=sys.stdout).print(table)


def talk(text: str) -> None:
    """Say something to a person, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(printable(text), markup=False)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is being waited for, on stderr: as a status line on a terminal, elsewhere once it has taken a second."""
    if sys.stderr.isatty():
        with Console(stderr=True).status(Text(printable(text))):
            yield
        return
    with told_when_slow(talk, text):
        yield


def printable(text: str) -> str:
    """The text without what drives a terminal: it may be another party's."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def in_chinese() -> bool:
    """Tell whether the locale of messages asks for Chinese (LC_ALL, then LC_MESSAGES, then LANG)."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return value.lower().startswith("zh")
    return False


def say(english: str, chinese: str) -> str:
    """Return the text in the language of the locale."""
    return chinese if in_chinese() else english
