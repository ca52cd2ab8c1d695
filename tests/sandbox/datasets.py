"""Declarations and files that the data tests share."""

from __future__ import annotations

from pathlib import Path

from sandbox.cells import CellPlan, CellTotals, TableTotals
from sandbox.declaration import DatasetDeclaration, load_declaration
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import CellGrid, CellTable, Filter, Measure
from sandbox.statistic import ROWS

DATASET = """[dataset]
name = "people"
title = "People"
description = "Persons of a survey."
owner = "East bureau"
office = "Data office"
registration = "REG-1"
sharing = "conditional"
declared_rows = 6
update_cycle = "yearly"
"""
PERSONS = 'person_id = "pid"\nmax_rows_per_person = 1\nmax_providers_per_person = 2\n'
RELEASE = """
[dataset.release]
mode = "exact"
min_group_size = 2

[dataset.quality]
completeness = "0.99"

[source]
csv = "people.csv"
"""
GRADE = 'grade = "general"\ngrade_basis = "GB/T 43697-2024 table C.1"\ngrade_review = 2027-01-01\n'
WAGE = f"""
[[column]]
name = "wage"
type = "decimal"
unit = "CNY"
decimals = 2
lo = 0
hi = 1000.00
nullable = true
uses = ["aggregate"]
{GRADE}"""
AGE = f"""
[[column]]
name = "age"
type = "integer"
unit = "years"
lo = 0
hi = 120
edges = [0, 18, 65, 120]
uses = ["aggregate", "group_by", "filter"]
{GRADE}"""
SEX = f"""
[[column]]
name = "sex"
physical = "Sex code"
type = "category"
domain = ["f", "m"]
uses = ["group_by", "filter"]
{GRADE}"""
PEOPLE = DATASET + RELEASE + WAGE + AGE + SEX

CSV = """wage,age,Sex code,pid
10.50,17,f,1
20.25,18,f,2
,30,m,3
999.99,65,m,4
0.01,120,f,5
30.00,64,m,6
"""


def nonnull(column: str) -> Measure:
    return Measure((), (column,))


def total(column: str) -> Measure:
    """The sum of a column; `wage` may be null."""
    return Measure((column,), (column,) if column == "wage" else ())


def one_table(totals: tuple[tuple[int, ...], ...], support: tuple[int, ...], excluded: int) -> CellTotals:
    return CellTotals((TableTotals(totals, support, (), None),), excluded)


def write(folder: Path, *, toml: str = PEOPLE, csv: str = CSV) -> DatasetDeclaration:
    (folder / "people.csv").write_text(csv, encoding="utf-8")
    return declare(folder, toml)


def declare(folder: Path, toml: str) -> DatasetDeclaration:
    path = folder / "people.toml"
    path.write_text(toml, encoding="utf-8")
    return load_declaration(path)


WAGE_COLUMN = FrameColumn("wage", ColumnType.DECIMAL, "CNY", 3, 0, 1_000_000, (), (), nullable=True)
AGE_COLUMN = FrameColumn("age", ColumnType.INTEGER, "years", 0, 0, 120, (), (0, 18, 65, 120), nullable=False)
SEX_COLUMN = FrameColumn("sex", ColumnType.CATEGORY, "", 0, None, None, ("f", "m"), (), nullable=False)
FRAME = Frame((WAGE_COLUMN, AGE_COLUMN, SEX_COLUMN))


def plan(
    *,
    group_by: tuple[str, ...] = (),
    measures: tuple[Measure, ...] = (ROWS,),
    filters: tuple[Filter, ...] = (),
    frame: Frame = FRAME,
    mapping: dict[str, str] | None = None,
) -> CellPlan:
    table = CellTable(CellGrid(tuple(frame.column(name) for name in group_by)), measures)
    names = mapping or {column.name: column.name for column in frame.columns}
    return CellPlan((table,), filters, frame, names, shares=False, rows=False)
