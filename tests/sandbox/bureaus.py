"""CPS1988 over the in-memory federation: bureaus that hold its rows, and what pooling them would give.

Pooling here is pandas over all rows, under the same release rules: a provider's cell counts where it has enough rows,
a cell where enough providers count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parties.client.presentation import Presentation, present
from parties.client.query import Where, read_query
from parties.client.result_cells import ReleasedCells
from parties.demo_data import load_cps1988
from sandbox.contract import Contract, DatasetBinding
from sandbox.frame import ColumnType, Frame, FrameColumn, Use
from sandbox.grades import Grade
from sandbox.query import CellTable
from sandbox.release import ReleaseMode, ReleasePolicy
from tests.sandbox.federation import Federation, Provider
from tests.sandbox.survey import VERSION, paillier_key

WAGE_EDGES = (0, 100, 200, 300, 400, 500, 600, 700, 800, 1000, 1250, 1500, 2500, 20000)
FRAME = Frame(
    (
        FrameColumn(
            "wage", ColumnType.DECIMAL, "USD/week", 2, 0, 2_000_000, (), tuple(100 * e for e in WAGE_EDGES), False
        ),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 12, 16, 18), False),
        FrameColumn("experience", ColumnType.INTEGER, "years", 0, -5, 65, (), (-5, 0, 10, 20, 30, 40, 65), True),
        FrameColumn("ethnicity", ColumnType.CATEGORY, "", 0, None, None, ("cauc", "afam"), (), False),
        FrameColumn("parttime", ColumnType.CATEGORY, "", 0, None, None, ("no", "yes"), (), False),
    )
)
MIN_GROUP_SIZE = 10
MIN_CONTRIBUTORS = 2

_HEAD = f"""[dataset]
name = "wages"
title = "CPS1988"
description = "Persons of a survey."
owner = "Bureau"
office = "Data office"
registration = "REG-1"
sharing = "conditional"
declared_rows = 30000
update_cycle = "never"
version = "{VERSION}"

[dataset.release]
mode = "exact"
min_group_size = {MIN_GROUP_SIZE}
min_contributors = {MIN_CONTRIBUTORS}
overlap_k = 0

[source]
csv = "wages.csv"
"""
_COLUMN = """
[[column]]
name = "{name}"
type = "{type}"
{rest}
uses = ["aggregate", "group_by", "filter"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2027-01-01
"""


def declaration() -> str:
    """The bureaus' declaration: `FRAME`, with the release rules above."""
    parts = [_HEAD]
    for column in FRAME.columns:
        if column.type is ColumnType.CATEGORY:
            rest = f"domain = {list(column.domain)}".replace("'", '"')
        else:
            assert column.lo is not None
            assert column.hi is not None
            scale = 10**column.decimals
            rest = f"lo = {column.lo // scale}\nhi = {column.hi // scale}\ndecimals = {column.decimals}\n"
            rest += f"edges = {[edge // scale for edge in column.edges]}\nnullable = {str(column.nullable).lower()}"
        parts.append(_COLUMN.format(name=column.name, type=column.type.value, rest=rest))
    return "".join(parts)


def shares(providers: int, *, nulls: bool = False) -> dict[str, pd.DataFrame]:
    """CPS1988 among bureaus: four by region, else at random. With `nulls` every seventh experience is not known."""
    frame = load_cps1988()
    frame["experience"] = frame["experience"].astype("Int64")
    if nulls:
        frame.loc[frame.index[::7], "experience"] = pd.NA
    if providers == 4:
        return {str(region): own for region, own in frame.groupby("region", observed=True)}
    positions = np.random.default_rng(1988).permutation(len(frame))
    return {f"bureau{i:02d}": frame.iloc[own] for i, own in enumerate(np.array_split(positions, providers))}


class Bureau(Provider):
    """A provider over its share of CPS1988."""

    def __init__(self, federation: Federation, name: str, rows: pd.DataFrame) -> None:
        self.federation = federation
        self.name = name
        self.rows = ()
        self.record = federation.directory.party(name)
        self.home = federation.folder / name
        self.home.mkdir()
        rows[[column.name for column in FRAME.columns]].to_csv(self.home / "wages.csv", index=False)
        (self.home / "wages.toml").write_text(declaration())
        self.start()


class Bureaus(Federation):
    """Bureaus under one contract that permits every use of every column of `FRAME`."""

    def __init__(self, folder: Path, frames: Mapping[str, pd.DataFrame]) -> None:
        self.frames = frames
        super().__init__(folder, dict.fromkeys(frames, ()))

    def provider(self, name: str, rows: Sequence[Any]) -> Provider:
        return Bureau(self, name, self.frames[name])

    def _contract(self, names: tuple[str, ...]) -> Contract:
        columns = {column.name: column.name for column in FRAME.columns}
        numbers = frozenset({Use.AGGREGATE, Use.GROUP_BY, Use.FILTER})
        return replace(
            super()._contract(names),
            frame=FRAME,
            datasets={name: DatasetBinding(f"{name}/wages@{VERSION}", 30_000, columns) for name in names},
            uses=dict.fromkeys(columns, numbers),
            grades=dict.fromkeys(columns, Grade.GENERAL),
            release=ReleasePolicy(ReleaseMode.EXACT, MIN_GROUP_SIZE, MIN_CONTRIBUTORS),
        )

    def ask(self, statistics: Sequence[str], by: Sequence[str] = (), where: Where = ()) -> Presentation:
        """What the client shows of one joint aggregate."""
        call = self.merchant.call(read_query(FRAME, statistics, by, where))
        result = self.merchant.session.run(call, paillier_key())
        return present(call.query, FRAME, ReleasedCells(result.totals, result.contributors, len(self.providers)))


@dataclass(frozen=True)
class Pooled:
    """The rows of each open cell, by the labels of its levels, and how many providers they come from."""

    rows: Mapping[tuple[str, ...], pd.DataFrame]
    contributors: Mapping[tuple[str, ...], int]


def pooled(
    frames: Mapping[str, pd.DataFrame],
    table: CellTable,
    keep: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
) -> Pooled:
    """Pool all rows by the table's grid, as if there were no federation, under the same release rules."""
    names = [column.name for column in table.grid.columns]
    cells: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for frame in frames.values():
        levelled = {column.name: _levels(column, keep(frame)[column.name]) for column in table.grid.columns}
        for key, rows in keep(frame).groupby(list(levelled.values())) if names else [((), keep(frame))]:
            support = min(len(rows.dropna(subset=list(measure.present))) for measure in table.measures)
            if support >= least(table):
                cells.setdefault(tuple(map(str, key)), []).append(rows)
    open_cells = {key: parts for key, parts in cells.items() if len(parts) >= MIN_CONTRIBUTORS}
    return Pooled(
        {key: pd.concat(parts) for key, parts in open_cells.items()},
        {key: len(parts) for key, parts in open_cells.items()},
    )


def least(table: CellTable) -> int:
    """The moment rule in the test's own words: ten rows, and five for every sum of which products are taken."""
    sums = [measure for measure in table.measures if measure.terms]
    products = any(len(measure.terms) == 2 for measure in sums)
    return max(MIN_GROUP_SIZE, 10, 5 * len(sums)) if products else MIN_GROUP_SIZE


def _levels(column: FrameColumn, values: pd.Series) -> pd.Series:
    if column.type is ColumnType.CATEGORY:
        return values.astype(str)
    scale = 10**column.decimals
    numbers = values.astype("Float64").to_numpy(dtype=float, na_value=float("nan"))
    labels = np.full(len(values), None, dtype=object)
    for level, (lo, hi) in zip(column.levels, pairwise(column.edges), strict=True):
        inside = (numbers >= lo / scale) & ((numbers < hi / scale) | (level.closed & (numbers == hi / scale)))
        labels[inside] = level.label
    return pd.Series(labels, index=values.index)
