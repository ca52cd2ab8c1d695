"""The same question before and after one row came in: the difference of two exact answers is that row.

A dataset's version is pinned while a provider runs; a table in PostgreSQL goes on being written to.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SourceError
from sandbox.source import open_source
from tests.sandbox.datasets import ROWS, plan, total
from tests.sandbox.test_source_postgres import Server, fill, opened, server

__all__ = ["server"]

NEWCOMER = "INSERT INTO bureau.people (wage, age, \"Sex code\") VALUES (777.77, 40, 'f')"
ASKED = plan(group_by=("sex",), measures=(ROWS, total("wage")))


def test_a_row_that_came_in_is_not_told_by_the_difference_of_two_answers(server: Server, tmp_path: Path) -> None:
    fill(server)
    source, declaration = opened(server, tmp_path)
    unpinned = open_source(declaration, tmp_path, {"PEOPLE_DSN": server.uri})  # the defence off: no version was taken
    source.content_hash()  # what a provider does when it starts
    before = source.totals(ASKED, declaration)
    assert unpinned.totals(ASKED, declaration) == before
    server.run(NEWCOMER)
    after = unpinned.totals(ASKED, declaration)
    wages = [answer.tables[0].totals[0][1] for answer in (before, after)]
    assert wages[1] - wages[0] == 777_770, "without a pinned version the attack succeeds"
    with pytest.raises(SourceError, match="changed since") as refused:
        source.totals(ASKED, declaration)
    assert "777" not in str(refused.value)
    server.run("DELETE FROM bureau.people WHERE wage = 777.77")
    assert source.totals(ASKED, declaration) == before, "the same rows are the same version"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE bureau.people SET wage = wage + 1 WHERE age = 17",
        "DELETE FROM bureau.people WHERE age = 17",
        "UPDATE bureau.people SET wage = 20.25 - wage + 10.50 WHERE age < 19",  # sums and counts stay
    ],
)
def test_every_change_of_a_declared_column_ends_the_version(server: Server, tmp_path: Path, change: str) -> None:
    fill(server)
    source, declaration = opened(server, tmp_path)
    source.content_hash()
    server.run(change)
    with pytest.raises(SourceError, match="restart the provider"):
        source.totals(ASKED, declaration)


def test_what_is_not_declared_may_change(server: Server, tmp_path: Path) -> None:
    fill(server)
    source, declaration = opened(server, tmp_path)
    source.content_hash()
    server.run("UPDATE bureau.people SET pid = gen_random_uuid()")
    source.totals(ASKED, declaration)
