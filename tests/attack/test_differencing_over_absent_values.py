"""A statistic over the rows in which a column is there is one over a filter that nobody asked for.

The target's education is not known. Whoever subtracts a sum of wages over rows with a known education from one over all
rows has the target's wage, if nobody else's education is unknown. Every attack is run with and without the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.contract import Contract
from sandbox.frame import Frame, Use
from sandbox.query import AggregateQuery, DomainFilter, Filter, RangeFilter
from sandbox.release import OwnTotals
from sandbox.session_merchant import MerchantResult
from sandbox.statistic import Statistic, StatisticKind
from tests.sandbox.federation import Federation, Terms
from tests.sandbox.survey import FRAME, paillier_key

SECRET = 123_456
UNDEFENDED = {"overlap_k": 0, "own_totals": OwnTotals.PUBLIC}
SUM = Statistic(StatisticKind.SUM, "wage")
JOINT = Statistic(StatisticKind.COVARIANCE, "wage", ("education",))
KNOWN = Statistic(StatisticKind.COUNT, "education")
MakeAttacked = Callable[..., Federation]


@dataclass(frozen=True)
class NullableTerms(Terms):
    def declared(self, version: str) -> str:
        return super().declared(version).replace("hi = 18\n", "hi = 18\nnullable = true\n")


class NullableFederation(Federation):
    """Education may be null, and may be added up."""

    def _contract(self, names: tuple[str, ...]) -> Contract:
        first = super()._contract(names)
        columns = tuple(replace(column, nullable=column.name == "education") for column in FRAME.columns)
        uses = {**first.uses, "education": frozenset({Use.AGGREGATE, Use.GROUP_BY, Use.FILTER})}
        return replace(first, frame=Frame(columns), uses=uses)


def rows(*unknown: int, count: int = 40, years: int = 4, group: str = "cauc") -> list[Any]:
    """Rows with a known education, and one with an unknown one for each wage in `unknown`."""
    return [(50_000 + number, years, group) for number in range(count)] + [(wage, "", group) for wage in unknown]


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[MakeAttacked]:
    made: list[Federation] = []

    def make(north: Sequence[Any], *, defended: bool, others: Sequence[Any] = rows()) -> Federation:
        rules = {"min_group_size": 10, "overlap_k": 10} | ({} if defended else UNDEFENDED)
        data = {"east": others, "north": north, "south": others}
        made.append(NullableFederation(tmp_path, data, NullableTerms(**rules)))
        return made[-1]

    yield make
    for federation in made:
        federation.close()


def ask(federation: Federation, *statistics: Statistic, where: Sequence[Filter] = (), **changes: Any) -> dict[str, Any]:
    """Every sum of every table by name; None where the cell is closed."""
    query = AggregateQuery(statistics, (), tuple(where))
    found: MerchantResult = federation.merchant.session.run(federation.merchant.call(query, **changes), paillier_key())
    names, cell = {}, 0
    for table in query.tables(federation.contract.frame):
        for number in range(table.grid.size):
            for measure, total in zip(table.measures, found.totals[cell], strict=True):
                suffix = "" if table.grid.size == 1 else f" {number}"
                names[measure.name + suffix] = total if found.contributors[cell] else None
            cell += 1
    return names


def difference(larger: int | None, smaller: int | None) -> int | None:
    return None if larger is None or smaller is None else larger - smaller


both = pytest.mark.parametrize("defended", [False, True], ids=["undefended", "defended"])


def outcome(found: int | None, *, defended: bool, secret: int = SECRET) -> None:
    assert found == (None if defended else secret)


@both
def test_a_sum_and_the_same_where_another_column_is_there_in_one_question(
    attacked: MakeAttacked, defended: bool
) -> None:
    found = ask(attacked(rows(SECRET), defended=defended), SUM, JOINT)
    outcome(difference(found["sum(wage)"], found["sum(wage|education)"]), defended=defended)


@both
def test_a_sum_and_the_same_where_another_column_is_there_in_two_questions(
    attacked: MakeAttacked, defended: bool
) -> None:
    federation = attacked(rows(SECRET), defended=defended)
    everyone = ask(federation, SUM)["sum(wage)"]
    outcome(difference(everyone, ask(federation, JOINT)["sum(wage|education)"]), defended=defended)


@both
def test_how_many_values_are_not_there(attacked: MakeAttacked, defended: bool) -> None:
    """Fewer rows than the smallest group have no education: not even how many is told."""
    found = ask(attacked(rows(SECRET, 1, 2), defended=defended), KNOWN)
    outcome(difference(found["rows"], found["nonnull(education)"]), defended=defended, secret=3)


@both
def test_values_that_are_there_less_all_bins_but_the_last(attacked: MakeAttacked, defended: bool) -> None:
    """Many are unknown, so that the rows of both questions differ in many; those that are there differ in one."""
    north = [*rows(*range(20)), (SECRET, 18, "cauc")]
    federation = attacked(north, defended=defended)
    there = ask(federation, JOINT)["sum(wage|education)"]
    below = ask(federation, SUM, where=[RangeFilter("education", 0, 16)])["sum(wage)"]
    outcome(difference(there, below), defended=defended)


@both
def test_a_provider_dropped_from_the_values_that_are_there(attacked: MakeAttacked, defended: bool) -> None:
    """The whole range as a filter asks for the same rows as a statistic over the values that are there."""
    federation = attacked(rows(*range(20)), defended=defended, others=rows(*range(20)))
    first = federation.contract
    names = ("east", "south")
    datasets = {name: first.datasets[name] for name in names}
    fewer = federation.agree(
        replace(first, providers=names, computing_party="east", datasets=datasets, nonce="11" * 16)
    )
    everyone = ask(federation, JOINT)["sum(wage|education)"]
    rest = ask(federation, SUM, where=[RangeFilter("education", 0, 18)], contract=fewer)["sum(wage)"]
    own = sum(wage for wage, years, _ in federation.providers["north"].rows if years != "")
    outcome(difference(everyone, rest), defended=defended, secret=own)


@both
def test_values_that_are_there_in_all_groups_but_one(attacked: MakeAttacked, defended: bool) -> None:
    """The group left out has many rows without an education, and one with: the target's."""
    north = [*rows(*range(20)), *rows(*range(20), count=0, group="afam"), (SECRET, 4, "afam")]
    federation = attacked(north, defended=defended)
    everyone = ask(federation, JOINT)["sum(wage|education)"]
    rest = ask(federation, JOINT, where=[DomainFilter("ethnicity", ("cauc",))])["sum(wage|education)"]
    outcome(difference(everyone, rest), defended=defended)


def test_where_many_values_are_absent_everything_is_answered(attacked: MakeAttacked) -> None:
    federation = attacked(rows(*range(20)), defended=True)
    for statistics in ((SUM, JOINT), (KNOWN,), (JOINT,), (SUM, JOINT)):
        assert None not in ask(federation, *statistics).values()
