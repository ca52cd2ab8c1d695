"""The pass over the rows against a plain reading of the rules in Python."""

from __future__ import annotations

import csv
import io
import tempfile
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.cells import CellPlan
from sandbox.declaration import ColumnDeclaration, DatasetDeclaration, OnViolation
from sandbox.errors import ContractError
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import CellGrid, CellTable, DomainFilter, Measure, RangeFilter
from sandbox.source import open_source
from sandbox.statistic import ROWS

from .datasets import GRADE, PEOPLE, declare, one_table, plan

WIDE = Context(prec=100)
NUMBERS = st.one_of(
    st.integers(-30, 130).map(str),
    st.decimals(-30, 130, places=4).map(str),
    st.sampled_from(
        ["1e1", "2.5e-1", "+7", ".5", "5.", " 9 ", "1_0", "nan", "abc", "1e400", "0.004999", "-0.005", "9" * 40]
    ),
    st.none(),
)
CATEGORIES = st.sampled_from(["a", "b", "c", "z", " a", "A", None])
MEASURES = st.builds(
    lambda terms, present: Measure(tuple(sorted(terms)), tuple(sorted({*terms, *present}))),
    st.lists(st.sampled_from(["n", "x"]), max_size=2),
    st.sets(st.sampled_from(["k", "n", "x"])),
)
ON_VIOLATION = st.sampled_from(["refuse", "exclude", "clip"])
BAD, FILTERED = -2, -3
Row: TypeAlias = tuple[str | None, ...]
Rows: TypeAlias = list[Row]


@dataclass(frozen=True)
class Case:
    toml: str
    rows: list[tuple[str | None, ...]]
    wanted: CellPlan


@st.composite
def cases(draw: st.DrawFn) -> Case:
    decimals, more = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    nullable = [draw(st.sampled_from([True, True, False])) for _ in range(3)]
    edges = sorted(draw(st.sets(st.integers(0, 100), min_size=2, max_size=5)))
    unit = 10 ** (decimals + more)
    toml = PEOPLE.split("[[column]]", maxsplit=1)[0]
    if draw(st.booleans()):
        toml = toml.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\nperson_id = "pid"\n')
    for name, kind, extra, null in (
        (
            "x",
            "decimal",
            f"decimals = {decimals}\nlo = 0\nhi = 100\nedges = {edges}\non_violation = '{draw(ON_VIOLATION)}'",
            nullable[0],
        ),
        ("n", "integer", f"lo = -10\nhi = 100\non_violation = '{draw(ON_VIOLATION)}'", nullable[1]),
        ("k", "category", 'domain = ["a", "b", "c"]\non_violation = "exclude"', nullable[2]),
    ):
        uses = '["aggregate"]' if name == "n" else '["aggregate", "group_by", "filter"]'
        toml += f"\n[[column]]\nname = '{name}'\ntype = '{kind}'\n{extra}\nuses = {uses}\n{GRADE}"
        toml += f"nullable = {str(null).lower()}\n"
    frame = Frame(
        (
            FrameColumn(
                "x", ColumnType.DECIMAL, "", decimals + more, 0, 100 * unit, (), tuple(e * unit for e in edges), True
            ),
            FrameColumn("n", ColumnType.INTEGER, "", 0, -10, draw(st.sampled_from([50, 100])), (), (), True),
            FrameColumn(
                "k",
                ColumnType.CATEGORY,
                "",
                0,
                None,
                None,
                tuple(draw(st.permutations(["a", "b", "c", "d"]))[:3]),
                (),
                True,
            ),
        )
    )
    ends = st.one_of(st.none(), st.sampled_from(frame.column("x").edges))
    filters = draw(
        st.lists(
            st.one_of(
                st.builds(RangeFilter, st.just("x"), ends, ends),
                st.builds(DomainFilter, st.just("k"), st.sampled_from([("a",), ("b", "d"), ()])),
            ),
            max_size=draw(st.sampled_from([0, 1, 2])),
            unique_by=lambda item: item.column,
        )
    )
    persons = st.sampled_from(["p", "q", "r", None])
    tidy = st.tuples(
        st.one_of(st.sampled_from(edges).map(str), st.integers(edges[0], edges[-1]).map(str)),
        st.integers(-10, 20).map(str),
        st.sampled_from(["a", "b", "c"]),
    )
    fields = st.one_of(*[tidy] * 4, st.tuples(NUMBERS, NUMBERS, CATEGORIES))
    size = draw(st.sampled_from([0, 12, 24]))
    rows = [(*draw(fields), draw(persons)) for _ in range(size)]
    tables = [
        CellTable(
            CellGrid(tuple(frame.column(name) for name in draw(st.sampled_from([(), ("x",), ("k",), ("k", "x")])))),
            (ROWS, *draw(st.lists(MEASURES, unique=True, max_size=6))),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    names = {column.name: column.name for column in frame.columns}
    wanted = CellPlan(tuple(tables), tuple(filters), frame, names, shares=draw(st.booleans()), rows=draw(st.booleans()))
    return Case(toml, rows, wanted)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_totals_are_those_of_a_plain_reading(case: Case) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        declaration = declare(folder, case.toml)
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([("x", "n", "k", "pid"), *case.rows])
        (folder / "people.csv").write_text(stream.getvalue())
        found = open_source(declaration, folder, {}).totals(case.wanted, declaration)
        places = [place_rows(table, case.wanted, declaration, case.rows) for table in case.wanted.tables]
        for table, totals, cells in zip(case.wanted.tables, found.tables, places, strict=True):
            by_cell = [
                [row for row, at in zip(case.rows, cells, strict=True) if at == cell] for cell in range(table.grid.size)
            ]
            usable = [[values_of(row, declaration, case.wanted.frame)[0] for row in rows] for rows in by_cell]
            persons = [[person_of(row, declaration) for row in rows] for rows in by_cell]
            assert totals.totals == tuple(tuple(add_up(measure, rows) for measure in table.measures) for rows in usable)
            assert totals.support == tuple(
                min(
                    len({who for who, row in zip(*pair, strict=True) if is_present(measure, row)})
                    for measure in table.measures
                )
                for pair in zip(persons, usable, strict=True)
            )
            assert totals.shares == (
                tuple(
                    max((share(m, *pair) for m in table.measures if len(m.terms) == 1), default=Fraction(0))
                    for pair in zip(persons, usable, strict=True)
                )
                if case.wanted.shares
                else ()
            )
            assert (totals.rows is not None) == case.wanted.rows
            assert totals.rows is None or totals.rows.tolist() == [-1 if at in (BAD, FILTERED) else at for at in cells]
            demands = dict.fromkeys(measure.present for measure in table.measures) if case.wanted.rows else {}
            absent = [
                {
                    at
                    for at, row in enumerate(case.rows)
                    if cells[at] >= 0
                    and not is_present(Measure((), present), values_of(row, declaration, case.wanted.frame)[0])
                }
                for present in demands
            ]
            left_out = [{at for at in mask.nonzero()[0].tolist() if cells[at] >= 0} for mask in totals.missing]
            assert left_out == [rows for rows in absent if rows]
        assert found.excluded_rows == sum(at in (BAD, -1) for at in places[0])


def place_rows(table: CellTable, wanted: CellPlan, declaration: DatasetDeclaration, rows: Rows) -> list[int]:
    """The cell of each row, -1 without a level, or why it is in none of any table."""
    cells = []
    for row in rows:
        values, bad = values_of(row, declaration, wanted.frame)
        cell = 0
        for column in table.grid.columns:
            level = place(values[column.name], column)
            cell = -1 if level is None or cell < 0 else cell * column.level_count + level
        used = {name for table in wanted.tables for measure in table.measures for name in measure.columns}
        used |= {column.name for table in wanted.tables for column in table.grid.columns}
        used |= {item.column for item in wanted.filters}
        if bad & used:
            cells.append(BAD)
        elif not all(passes(values[item.column], item, wanted.frame) for item in wanted.filters):
            cells.append(FILTERED)
        else:
            cells.append(cell)
    return cells


def values_of(row: Row, declaration: DatasetDeclaration, frame: Frame) -> tuple[dict[str, int | str | None], set[str]]:
    """What a row's columns are, in frame units, and which of them violate."""
    found = {
        name: read(raw, declaration.column(name), frame.column(name)) for raw, name in zip(row, "xnk", strict=False)
    }
    return {name: value for name, (value, _) in found.items()}, {name for name, (_, bad) in found.items() if bad}


def person_of(row: Row, declaration: DatasetDeclaration) -> str | int:
    return id(row) if declaration.person_id is None or row[3] is None else row[3]


def is_present(measure: Measure, row: dict[str, int | str | None]) -> bool:
    return all(row[name] is not None for name in measure.present)


def add_up(measure: Measure, rows: list[dict[str, int | str | None]]) -> int:
    return sum(prod(int(row[name] or 0) for name in measure.terms) for row in rows if is_present(measure, row))


def share(measure: Measure, persons: list[str | int], rows: list[dict[str, int | str | None]]) -> Fraction:
    parts: dict[str | int, int] = {}
    for who, row in zip(persons, rows, strict=True):
        parts[who] = parts.get(who, 0) + abs(add_up(measure, [row]))
    return Fraction(max(parts.values()), sum(parts.values())) if sum(parts.values()) else Fraction(0)


def read(raw: str | None, declared: ColumnDeclaration, frame: FrameColumn) -> tuple[int | str | None, bool]:
    if raw is None:
        return None, not declared.nullable
    if declared.type is ColumnType.CATEGORY:
        return raw, raw not in declared.domain
    if raw in {"abc", "nan", "1_0", "1e400"}:
        return None, True
    number = Decimal(raw.strip())
    if abs(number) >= Decimal(10) ** (38 - declared.decimals):
        return None, True
    if declared.type is ColumnType.INTEGER and (number != number.to_integral_value() or "e" in raw):
        return None, True
    scaled = int(number.scaleb(declared.decimals, WIDE).quantize(Decimal(1), ROUND_HALF_UP, WIDE))
    assert declared.lo is not None
    assert declared.hi is not None
    if declared.on_violation is OnViolation.CLIP:
        scaled = min(max(scaled, declared.lo), declared.hi)
    scaled_up = scaled * 10 ** (frame.decimals - declared.decimals)
    outside = not declared.lo <= scaled <= declared.hi or not (frame.lo or 0) <= scaled_up <= (frame.hi or 0)
    return scaled_up, outside


def passes(value: int | str | None, item: DomainFilter | RangeFilter, frame: Frame) -> bool:
    if isinstance(item, DomainFilter):
        return value in item.values
    if not isinstance(value, int) or (item.lo is not None and value < item.lo):
        return False
    closed = item.hi == frame.column(item.column).edges[-1]
    return item.hi is None or value < item.hi or (closed and value == item.hi)


def place(value: int | str | None, column: FrameColumn) -> int | None:
    for index, level in enumerate(column.levels):
        if level.value is not None:
            if value == level.value:
                return index
        elif isinstance(value, int) and (level.lo or 0) <= value < (level.hi or 0) + level.closed:
            return index
    return None


def test_a_frame_finer_than_the_declaration_bins_between_its_steps(tmp_path: Path) -> None:
    toml = PEOPLE.split("[[column]]", maxsplit=1)[0] + (
        '[[column]]\nname = "x"\ntype = "decimal"\ndecimals = 1\nlo = 0\nhi = 10\nedges = [0, 10]\n'
        f'uses = ["group_by"]\n{GRADE}'
    )
    declaration = declare(tmp_path, toml)
    (tmp_path / "people.csv").write_text("x\n0.4\n0.5\n0.6\n9.9\n")
    frame = Frame((FrameColumn("x", ColumnType.DECIMAL, "", 2, 0, 1_000, (), (0, 45, 55, 985), False),))
    found = open_source(declaration, tmp_path, {}).totals(plan(frame=frame, group_by=("x",)), declaration)
    assert found == one_table(((1,), (1,), (1,)), (1, 1, 1), 1)


def test_sums_beyond_64_bits_stay_exact(tmp_path: Path) -> None:
    toml = PEOPLE.split("[[column]]", maxsplit=1)[0].replace('csv = "people.csv"', 'parquet = "p.parquet"') + (
        f'[[column]]\nname = "x"\ntype = "integer"\nlo = 0\nhi = 999999999999999999\nuses = ["aggregate"]\n{GRADE}'
    )
    declaration = declare(tmp_path, toml)
    pq.write_table(pa.table({"x": pa.array([10**18 - 1] * 50_000, pa.int64())}), tmp_path / "p.parquet")
    frame = Frame((FrameColumn("x", ColumnType.INTEGER, "", 0, 0, 10**18 - 1, (), (), False),))
    found = open_source(declaration, tmp_path, {}).totals(
        plan(frame=frame, measures=(ROWS, Measure(("x",), ()))), declaration
    )
    assert found.tables[0].totals == ((50_000, 50_000 * (10**18 - 1)),)


def test_grouping_by_a_number_without_edges_is_refused(tmp_path: Path) -> None:
    declaration = declare(tmp_path, PEOPLE)
    (tmp_path / "people.csv").write_text("wage,age,Sex code\n")
    frame = Frame((FrameColumn("age", ColumnType.INTEGER, "years", 0, 0, 120, (), (), False),))
    with pytest.raises(ContractError, match="no levels"):
        open_source(declaration, tmp_path, {}).totals(plan(frame=frame, group_by=("age",)), declaration)
