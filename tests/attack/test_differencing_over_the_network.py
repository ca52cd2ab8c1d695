"""The difference of two exact answers, tried on parties that listen: over a restart, and a home out of its backup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from parties.backup import back_up
from parties.cli.app import run
from parties.home import Home
from parties.restore import restore
from tests.parties.federation import CLOCK, Federation, Policy, federation, serve

TARGET = 123_456
YOUNG = {"education": ("0", "8")}
YOUNG_AND_TARGET = {"education": ("0", "12")}


def persons(party: str, count: int, *, target: bool = False) -> pd.DataFrame:
    wages = [f"{500 + number}.00" for number in range(count)] + (["1234.56"] if target else [])
    years = [4] * count + ([9] if target else [])
    return pd.DataFrame({"wage": wages, "education": years, "parttime": "no", "region": party})


def running(folder: Path, policy: Policy) -> Iterator[Federation]:
    frames = {"east": persons("east", 30), "north": persons("north", 12, target=True), "south": persons("south", 40)}
    with federation(folder, frames, policy=policy) as fed:
        yield fed


@pytest.fixture
def undefended(tmp_path: Path) -> Iterator[Federation]:
    yield from running(tmp_path, Policy(10, overlap_k=0, own_totals="public"))


@pytest.fixture
def defended(tmp_path: Path) -> Iterator[Federation]:
    yield from running(tmp_path, Policy(10, overlap_k=10))


def wages(fed: Federation, contract: str, where: dict[str, tuple[str, str]]) -> int | None:
    (total,) = fed.merchant.aggregate(contract, statistics=["sum(wage)"], where=where).exact["sum(wage)"]
    return total


def test_without_the_guard_the_difference_is_one_persons_wage(undefended: Federation) -> None:
    contract = undefended.contract()
    smaller, larger = (wages(undefended, contract, where) for where in (YOUNG, YOUNG_AND_TARGET))
    assert smaller is not None
    assert larger is not None
    assert larger - smaller == TARGET


def test_the_guard_remembers_over_a_restart_and_in_a_backup(
    defended: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fed, contract = defended, defended.contract()
    assert wages(fed, contract, YOUNG) is not None
    fed.restart("north")
    assert wages(fed, contract, YOUNG_AND_TARGET) is None
    north = fed.providers["north"]
    north.stop()
    back_up(north.home, tmp_path / "north.tar", clock=CLOCK)
    data = shutil.move(north.home.path / "data", tmp_path / "data")
    shutil.rmtree(north.home.path)
    restore(tmp_path / "north.tar", north.home.path, clock=CLOCK)
    shutil.move(data, north.home.path / "data")
    fed.providers["north"] = serve(Home.open(north.home.path))
    assert wages(fed, contract, YOUNG_AND_TARGET) is None
    assert wages(fed, contract, YOUNG) is not None, "the same question is answered again"
    capsys.readouterr()
    assert run(["catalog", "answered", "--home", str(north.home.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"datasets": [{"dataset": "persons", "answered": 1}]}
