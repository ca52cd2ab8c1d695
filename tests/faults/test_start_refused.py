"""Bad files: the party does not start, and says which file, line or column is wrong."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from audit.directory import Role
from parties.cli.app import run
from parties.regulator import Regulator
from tests.parties.federation import Policy, enrol, make_home, write_dataset

from .town import rows

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
SERVE = ("serve",)
CHECK = ("catalog", "check")


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a home: how it comes about, and every word that must be said of it."""

    name: str
    spoil: Callable[[Path], None]
    words: Sequence[str]


def replaced(path: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(home: Path) -> None:
        file = home / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return spoil


def overwritten(path: str, data: bytes) -> Callable[[Path], None]:
    return lambda home: (home / path).write_bytes(data) and None


def parquet_named_csv(home: Path) -> None:
    source = home / "data" / "persons.csv"
    other = home / "data" / "persons.parquet"
    duckdb.sql(f"COPY (SELECT * FROM '{source}') TO '{other}' (FORMAT parquet)")
    other.replace(source)


def csv_named_parquet(home: Path) -> None:
    replaced(DECLARED, 'csv = "../data/persons.csv"', 'parquet = "../data/persons.parquet"')(home)
    (home / "data" / "persons.csv").rename(home / "data" / "persons.parquet")


def png_named_parquet(home: Path) -> None:
    csv_named_parquet(home)
    (home / "data" / "persons.parquet").write_bytes(PNG)


def line_of(text: str, home: Path, path: str) -> str:
    lines = (home / path).read_text().splitlines()
    return f"{path.rpartition('/')[2]}:{next(n for n, line in enumerate(lines, 1) if text in line)}"


DECLARED = "catalog/persons.toml"
FAULTS = (
    Fault("malformed-toml", replaced(DECLARED, 'name = "persons"', 'name = "persons'), ["persons.toml:3"]),
    Fault("unknown-key", replaced(DECLARED, 'unit = "years"', 'unti = "years"'), ["LINE unti", "unti"]),
    Fault("unknown-section", replaced(DECLARED, "[source]", "[sauce]"), ["persons.toml", "[source]"]),
    Fault("unknown-type", replaced(DECLARED, 'type = "integer"', 'type = "float"'), ["persons.toml", "float"]),
    Fault("edges-beyond-bounds", replaced(DECLARED, "edges = [0, 8", "edges = [0, 80"), ["persons.toml", "education"]),
    Fault("not-utf-8", overwritten(DECLARED, b"[dataset]\nname = \xff\xfe"), ["persons.toml"]),
    Fault("unknown-column", replaced("data/persons.csv", "wage", "salary"), ["persons.toml", "wage"]),
    Fault("bounds-contradicted", replaced(DECLARED, "hi = 20000", "hi = 2"), ["persons.toml", "wage", "above hi"]),
    Fault("domain-contradicted", replaced(DECLARED, '["no", "yes"]', '["no", "ja"]'), ["persons.toml", "parttime"]),
    Fault("missing-file", lambda home: (home / "data" / "persons.csv").unlink(), ["persons.csv"]),
    Fault("png-named-csv", overwritten("data/persons.csv", PNG * 40), ["persons.csv"]),
    Fault("parquet-named-csv", parquet_named_csv, ["persons.csv"]),
    Fault("csv-named-parquet", csv_named_parquet, ["persons.parquet"]),
    Fault("png-named-parquet", png_named_parquet, ["persons.parquet"]),
    Fault("empty-csv", overwritten("data/persons.csv", b""), ["persons.csv"]),
    Fault("party-toml-malformed", replaced("party.toml", "[network]", "[network"), ["LINE [network"]),
    Fault("party-toml-unknown-key", replaced("party.toml", "endpoint =", "endpiont ="), ["LINE endpiont", "endpiont"]),
    Fault("party-toml-bad-value", replaced("party.toml", "workers = -1", "workers = many"), ["LINE workers = many"]),
    Fault(
        "party-toml-out-of-range", replaced("party.toml", "workers = -1", "workers = -9"), ["LINE workers = -9", "-1"]
    ),
    Fault("party-toml-missing", lambda home: (home / "party.toml").unlink(), ["party.toml"]),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An enrolled provider's home that would start."""
    folder = tmp_path_factory.mktemp("sound")
    regulator = Regulator.open(make_home(folder, "authority", Role.REGULATOR))
    try:
        home = make_home(folder, "east", Role.PROVIDER)
        write_dataset(home, rows("east", 0), Policy())
        return enrol(regulator, home).path
    finally:
        regulator.close()


@pytest.fixture
def handlers() -> Iterator[None]:
    """`serve` takes over the signals of its process, which here is the test's."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def spoiled(sound: Path, folder: Path, fault: Fault) -> Path:
    home = folder / "east"
    shutil.copytree(sound, home)
    fault.spoil(home)
    return home


def named(fault: Fault, home: Path, said: str) -> None:
    """The file is named, and the line or the column."""
    for word in fault.words:
        path = "party.toml" if fault.name.startswith("party") else DECLARED
        wanted = line_of(word.removeprefix("LINE "), home, path) if word.startswith("LINE ") else word
        assert wanted in said, said
    wages = {line.split(",")[0] for line in rows("east", 0).to_csv(index=False).splitlines()[1:]}
    assert not any(wage in said for wage in wages if len(wage) > 4), "a value of a row is told"


@pytest.mark.parametrize("command", [SERVE, CHECK], ids=["serve", "check"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_file_is_refused_with_exit_2_and_named(
    sound: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    handlers: None,
    fault: Fault,
    command: tuple[str, ...],
) -> None:
    home = spoiled(sound, tmp_path, fault)
    code = run([*command, "--home", str(home)])
    captured = capsys.readouterr()
    assert code == 2, captured.err
    named(fault, home, captured.out + captured.err)
    assert "ready" not in captured.out


@pytest.mark.parametrize("name", ["malformed-toml", "bounds-contradicted", "png-named-csv", "party-toml-malformed"])
def test_the_process_ends_with_2_and_no_trace(sound: Path, tmp_path: Path, name: str) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    home = spoiled(sound, tmp_path, fault)
    command = [sys.executable, "-m", "parties.cli", "serve", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    named(fault, home, done.stderr)


def test_the_sound_home_passes_the_check(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "check", "--home", str(sound)]) == 0
