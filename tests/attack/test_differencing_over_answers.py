"""One person's wage from the difference of two exact answers, each of which is over enough rows.

Every attack is run twice. Without the defence - overlap guard declared off, own totals public - it finds the wage to
the cent. Against the gate it is told that a cell is closed, and nothing else.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sandbox import release
from sandbox.contract import DatasetBinding
from sandbox.errors import AbortedRunError, SandboxError, VaultError
from sandbox.frame import Use
from sandbox.overlap import OverlapGuard
from sandbox.query import AggregateQuery, DomainFilter, Filter, RangeFilter
from sandbox.release import OwnTotals
from sandbox.session_merchant import MerchantResult
from sandbox.statistic import Statistic, StatisticKind
from tests.sandbox.federation import Federation, Terms
from tests.sandbox.survey import Row, identity, paillier_key

SECRET = 123_456
TARGET: Row = (SECRET, 9, "afam")
UNDEFENDED = {"overlap_k": 0, "own_totals": OwnTotals.PUBLIC}

SUM = Statistic(StatisticKind.SUM, "wage")
YOUNG = RangeFilter("education", None, 8)
YOUNG_AND_TARGET = RangeFilter("education", None, 12)


def asking(*filters: Filter, by: tuple[str, ...] = (), statistics: tuple[Statistic, ...] = (SUM,)) -> AggregateQuery:
    return AggregateQuery(statistics, by, filters)


def others(count: int, *, years: int = 4, group: str = "cauc", wage: int = 50_000) -> list[Row]:
    return [(wage + number, years, group) for number in range(count)]


MakeAttacked = Callable[..., Federation]


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[MakeAttacked]:
    """A federation of three; north has the target among other rows."""
    made: list[Federation] = []

    def make(north: list[Row], *, defended: bool, east: list[Row] | None = None, **terms: Any) -> Federation:
        data = {"east": others(30) if east is None else east, "north": north, "south": others(40)}
        rules = {"min_group_size": 10, "overlap_k": 10} | terms | ({} if defended else UNDEFENDED)
        made.append(Federation(tmp_path, data, Terms(**rules)))
        return made[-1]

    yield make
    for federation in made:
        federation.close()


def ask(federation: Federation, query: AggregateQuery, **changes: Any) -> MerchantResult:
    return federation.merchant.session.run(federation.merchant.call(query, **changes), paillier_key())


def wages(result: MerchantResult, cell: int = 0) -> int | None:
    """The sum of wages in a cell, None where it is closed."""
    return result.totals[cell][1] if result.contributors[cell] else None


def difference(larger: int | None, smaller: int | None) -> int | None:
    return None if larger is None or smaller is None else larger - smaller


def contract_over(federation: Federation, *names: str, **changes: Any) -> str:
    """One more contract, over these providers."""
    first = federation.contract
    datasets = {name: first.datasets[name] for name in names}
    terms = {"providers": names, "computing_party": names[0], "datasets": datasets, "nonce": "11" * 16} | changes
    return federation.agree(replace(first, **terms))


both = pytest.mark.parametrize("defended", [False, True], ids=["undefended", "defended"])


def outcome(found: int | None, *, defended: bool, secret: int = SECRET) -> None:
    assert found == (None if defended else secret)


@both
def test_bin_by_bin(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    smaller = wages(ask(federation, asking(YOUNG)))
    larger = wages(ask(federation, asking(YOUNG_AND_TARGET)))
    outcome(difference(larger, smaller), defended=defended)


@both
def test_all_values_but_one(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    larger = wages(ask(federation, asking()))
    smaller = wages(ask(federation, asking(DomainFilter("ethnicity", ("cauc",)))))
    outcome(difference(larger, smaller), defended=defended)


@both
def test_the_total_less_the_open_cells_in_two_questions(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    cells = ask(federation, asking(by=("ethnicity",)))
    assert cells.contributors == (3, 0)
    outcome(difference(wages(ask(federation, asking())), wages(cells)), defended=defended)


@both
def test_the_total_less_the_open_cells_in_one_question(attacked: MakeAttacked, defended: bool) -> None:
    """A total, and the same by the factor of an analysis of variance: wages are added up in both tables."""
    federation = attacked([*others(12), TARGET], defended=defended)
    anova = Statistic(StatisticKind.ANOVA, "wage", ("ethnicity",))
    found = ask(federation, asking(statistics=(SUM, anova)))
    total, cauc = wages(found), wages(found, 1)
    assert wages(found, 2) is None
    outcome(difference(total, cauc), defended=defended)


@both
def test_bisection_on_the_withheld_count(attacked: MakeAttacked, defended: bool) -> None:
    """Nine rows are withheld and ten are not: whoever sees both knows that the one row more is there."""
    federation = attacked([*others(9), TARGET], defended=defended)
    before = ask(federation, asking(YOUNG)).contributors
    after = ask(federation, asking(YOUNG_AND_TARGET)).contributors
    assert before == (2,)
    assert after == ((0,) if defended else (3,))


@both
def test_bisection_from_the_other_side(attacked: MakeAttacked, defended: bool) -> None:
    """Ten rows are answered, nine withheld: the others' contributions stay, so that the ten's total comes out."""
    federation = attacked([*others(9), TARGET], defended=defended)
    after = ask(federation, asking(YOUNG_AND_TARGET))
    before = ask(federation, asking(YOUNG))
    own = sum(wage for wage, _, _ in federation.providers["north"].rows)
    outcome(difference(wages(after), wages(before)), defended=defended, secret=own)


@both
def test_one_provider_dropped_by_a_second_contract(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    without_north = contract_over(federation, "east", "south")
    everyone = wages(ask(federation, asking()))
    rest = wages(ask(federation, asking(), contract=without_north))
    own = sum(wage for wage, _, _ in federation.providers["north"].rows)
    outcome(difference(everyone, rest), defended=defended, secret=own)


@both
def test_two_contracts_with_different_participants(attacked: MakeAttacked, defended: bool) -> None:
    """Each over two providers, north in both: with a third over the other two, everybody's own total comes out."""
    federation = attacked([*others(12), TARGET], defended=defended)
    pairs = [("east", "north"), ("north", "south"), ("east", "south")]
    contracts = [contract_over(federation, *pair) for pair in pairs]
    totals = [wages(ask(federation, asking(), contract=contract)) for contract in contracts]
    known = [total for total in totals if total is not None]
    own = sum(wage for wage, _, _ in federation.providers["north"].rows)
    found = (known[0] + known[1] - known[2]) // 2 if len(known) == 3 else None
    outcome(found, defended=defended, secret=own)


@both
def test_one_provider_dropped_by_a_stricter_threshold(attacked: MakeAttacked, defended: bool) -> None:
    """Under a contract with a higher minimum north withholds what it has answered under another."""
    federation = attacked([*others(12), TARGET], defended=defended)
    stricter = replace(federation.contract.release, min_group_size=20)
    strict = contract_over(federation, "east", "north", "south", release=stricter)
    everyone = wages(ask(federation, asking()))
    rest = wages(ask(federation, asking(), contract=strict))
    own = sum(wage for wage, _, _ in federation.providers["north"].rows)
    outcome(difference(everyone, rest), defended=defended, secret=own)


@both
def test_a_new_version_with_one_row_more(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked(others(12), defended=defended)
    before = wages(ask(federation, asking()))
    version = "8899aabbccddeeff"
    federation.providers["north"].publish(version, [TARGET, *others(12)])
    bound = DatasetBinding(f"north/wages@{version}", 1_000, federation.contract.datasets["north"].columns)
    datasets = {**federation.contract.datasets, "north": bound}
    newer = contract_over(federation, "east", "north", "south", datasets=datasets)
    after = wages(ask(federation, asking(), contract=newer))
    outcome(difference(after, before), defended=defended)


@both
def test_a_restart_in_between(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    smaller = wages(ask(federation, asking(YOUNG)))
    for provider in federation.providers.values():
        provider.restart()
    larger = wages(ask(federation, asking(YOUNG_AND_TARGET)))
    outcome(difference(larger, smaller), defended=defended)


@both
def test_a_home_restored_from_its_backup_in_between(attacked: MakeAttacked, tmp_path: Path, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    smaller = wages(ask(federation, asking(YOUNG)))
    north = federation.providers["north"]
    north.stop()
    backup = shutil.copytree(north.home, tmp_path / "backup")
    shutil.rmtree(north.home)
    shutil.copytree(backup, north.home)
    north.start()
    north.computing.recover()
    larger = wages(ask(federation, asking(YOUNG_AND_TARGET)))
    outcome(difference(larger, smaller), defended=defended)


@both
def test_both_questions_at_once(attacked: MakeAttacked, defended: bool) -> None:
    federation = attacked([*others(12), TARGET], defended=defended)
    found: dict[Filter, int | None] = {}
    calls = {condition: federation.merchant.call(asking(condition)) for condition in (YOUNG, YOUNG_AND_TARGET)}
    start = threading.Barrier(2)

    def run(condition: Filter) -> None:
        start.wait()
        found[condition] = wages(federation.merchant.session.run(calls[condition], paillier_key()))

    threads = [threading.Thread(target=run, args=(condition,)) for condition in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome(difference(found[YOUNG_AND_TARGET], found[YOUNG]), defended=defended)
    # Never both. With several providers it may be neither, where each has refused the other one.
    assert sum(total is not None for total in found.values()) <= (1 if defended else 2)


def test_of_two_offers_at_once_a_provider_refuses_one(attacked: MakeAttacked) -> None:
    federation = attacked([*others(12), TARGET], defended=True)
    north = federation.providers["north"]
    calls = [federation.merchant.call(asking(condition)) for condition in (YOUNG, YOUNG_AND_TARGET)]
    offers = [north.sessions.offer(north.authorised(call)) for call in calls]
    assert [offer.refused for offer in offers] == [b"\x00", b"\x01"]


@pytest.mark.parametrize("end", ["abort", "deadline", "crash"])
def test_a_call_that_came_to_nothing_leaves_nothing_behind(attacked: MakeAttacked, end: str) -> None:
    federation = attacked([*others(12), TARGET], defended=True)
    north = federation.providers["north"]
    call = federation.merchant.call(asking(YOUNG))
    north.sessions.offer(north.authorised(call))
    match end:
        case "abort":
            north.sessions.abort(call.parsed.call, "OTHER", peer=identity(federation.directory.party("east")))
        case "deadline":
            federation.clock.at_ms += 60_000
            north.sessions.sweep()
        case _:
            north.restart()
    assert wages(ask(federation, asking(YOUNG_AND_TARGET))) is not None


def test_a_part_for_a_roster_that_opens_what_was_refused_is_not_given(attacked: MakeAttacked) -> None:
    """A computing party that leaves the refused cell open gets no part, and the call is over."""
    federation = attacked([*others(12), TARGET], defended=True)
    ask(federation, asking(YOUNG))
    federation.faults.replies["offer", "north"] = lambda offer: replace(offer, refused=b"\x00")
    with pytest.raises(SandboxError, match="commit"):
        ask(federation, asking(YOUNG_AND_TARGET))


def test_what_cannot_be_remembered_does_not_leave(attacked: MakeAttacked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(guard: OverlapGuard, call: str) -> None:
        raise VaultError("no space left")

    federation = attacked([*others(12), TARGET], defended=True)
    monkeypatch.setattr(OverlapGuard, "remember", full)
    with pytest.raises(SandboxError):
        ask(federation, asking(YOUNG))
    monkeypatch.undo()
    assert all(provider.datasets.guard.answered == 0 for provider in federation.providers.values())
    with suppress(AbortedRunError):
        assert wages(ask(federation, asking(YOUNG_AND_TARGET))) is not None


@pytest.mark.parametrize("limit", [None, 70])
def test_a_total_that_is_nearly_one_persons(attacked: MakeAttacked, limit: int | None) -> None:
    """Without the rule the total alone tells the wage to within the others' small change."""
    rich: Row = (1_900_000, 9, "afam")
    crowd = others(12, group="afam", wage=1_000)
    federation = attacked([rich, *crowd], defended=True, east=others(12, group="afam", wage=0), dominance_percent=limit)
    total = wages(ask(federation, asking(by=("ethnicity",))), 1)
    if limit is None:
        assert total is not None
        assert abs(Fraction(total, rich[0]) - 1) < Fraction(1, 100)
    else:
        assert total is None


@pytest.mark.parametrize("rule", [False, True])
def test_a_moment_matrix_over_twelve_rows(attacked: MakeAttacked, monkeypatch: pytest.MonkeyPatch, rule: bool) -> None:
    """Whoever knows ten of twelve persons finds the other two out of their sum and the sum of their squares."""
    known, unknown = others(10, years=9, group="afam"), [(123_456, 9, "afam"), (654_321, 10, "afam")]
    east = others(30, years=9, group="afam")
    federation = attacked([*known, *unknown], defended=True, east=east)
    if not rule:
        monkeypatch.setattr(release, "ROWS_A_MOMENT", 0)
    uses = {**federation.contract.uses, "education": frozenset({Use.AGGREGATE, Use.GROUP_BY, Use.FILTER})}
    wider = contract_over(federation, "east", "north", "south", uses=uses)
    covariance = (SUM, Statistic(StatisticKind.CORRELATION, "wage", ("education",)))
    query = asking(by=("ethnicity",), statistics=covariance)
    found = ask(federation, query, contract=wider)
    assert found.contributors == (0, 0 if rule else 2)
    if not rule:
        (table,) = query.tables(federation.contract.frame)
        figures = dict(zip((measure.name for measure in table.measures), found.totals[1], strict=True))
        left = figures["sum(wage)"] - sum(wage for wage, _, _ in (*known, *east))
        squares = figures["product(wage,wage)"] - sum(wage**2 for wage, _, _ in (*known, *east))
        root = (2 * squares - left**2) ** 0.5
        assert {round((left - root) / 2), round((left + root) / 2)} == {123_456, 654_321}
