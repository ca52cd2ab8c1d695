"""From verified totals to the tables of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from parties.client.result_cells import Answer, ReleasedCells, group_label
from parties.client.result_columns import Columns
from parties.client.result_figures import WHY_UNDEFINED, figure, is_table, unit_of
from parties.client.result_moments import NO_ROWS_HAVE_THESE, StatisticSums
from parties.client.result_notes import Notes
from parties.client.result_tables import quantile_figures, tables_of
from parties.client.statistic_text import probability_text, statistic_name
from protocols.errors import InconsistentTotalsError
from sandbox.frame import Frame
from sandbox.query import AggregateQuery
from sandbox.statistic import Statistic, StatisticKind


@dataclass(frozen=True, slots=True)
class Presentation:
    """An answer as tables; `parties.client.result.AggregateResult` says what they hold."""

    frame: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    exact: Mapping[str, tuple[int | None, ...]]
    units: Mapping[str, str]
    notes: tuple[str, ...]
    cells: int
    withheld: int


def present(query: AggregateQuery, frame: Frame, cells: ReleasedCells) -> Presentation:
    """Turn verified totals into tables. Nothing that providers sent makes it fail: what cannot be had is NA."""
    answer, notes = Answer.of(query, frame, cells), Notes()
    _note_closed(answer, notes)
    columns = Columns(answer.groups)
    scalars = _add_figures(columns, answer, notes)
    tables: dict[str, pd.DataFrame] = {}
    for statistic in query.statistics:
        if is_table(statistic):
            tables.update(tables_of(answer, statistic, notes))
    if answer.own is not None:
        columns.contributors(answer.own.contributors)
    shown = columns.frame() if scalars else next(iter(tables.values()))
    return Presentation(
        frame=shown,
        tables=MappingProxyType(tables),
        exact=MappingProxyType({name: values for table in answer.tables for name, values in table.exact().items()}),
        units=MappingProxyType(dict(shown.attrs["units"])),
        notes=notes.texts(),
        cells=len(cells.contributors),
        withheld=cells.contributors.count(0),
    )


def _add_figures(columns: Columns, answer: Answer, notes: Notes) -> int:
    """Add a column for each statistic that is one number a group; returns how many there are."""
    names: set[str] = set()
    for statistic in answer.query.statistics:
        if statistic.kind is StatisticKind.QUANTILE:
            _add_quantiles(columns, answer, statistic, names)
        elif not is_table(statistic):
            name, unit = statistic_name(statistic), unit_of(statistic, answer.frame)
            names.add(name)
            values = _values(answer, statistic, notes)
            if statistic.kind is StatisticKind.COUNT:
                columns.integers(name, (None if value is None else int(value) for value in values), unit)
            else:
                columns.floats(name, values, unit)
    return len(names)


def _values(answer: Answer, statistic: Statistic, notes: Notes) -> list[int | float | None]:
    sums = StatisticSums.of(statistic, answer.frame)
    values: list[int | float | None] = []
    for index, cell in enumerate(answer.table(None).cells()):
        value = None
        if cell is not None:
            try:
                value = figure(sums, cell)
                missing = f"undefined, {WHY_UNDEFINED.get(statistic.kind, '')}"
            except InconsistentTotalsError:
                missing = NO_ROWS_HAVE_THESE
            if value is None:
                notes.add(f"{statistic_name(statistic)}: {missing}", group_label(answer.groups, index))
        values.append(value)
    return values


def _add_quantiles(columns: Columns, answer: Answer, statistic: Statistic, names: set[str]) -> None:
    column = answer.frame.column(statistic.columns[0])
    for millionths in statistic.probabilities:
        name = f"{statistic.kind.value}({column.name},{probability_text(millionths)})"
        if name in names:  # asked for within two lists of probabilities: it is the same figure
            continue
        names.add(name)
        found = [figures.released for figures in quantile_figures(answer, statistic, millionths)]
        columns.floats(name, (None if one is None else float(one.estimate) for one in found), column.unit)
        columns.floats(f"{name} error", (None if one is None else float(one.hi - one.lo) for one in found), column.unit)


def _note_closed(answer: Answer, notes: Notes) -> None:
    for table in answer.tables:
        closed, cells = table.contributors.count(0), len(table.contributors)
        if closed:
            where = "" if table.refined_by is None else f" split by {table.refined_by}"
            reason = "too few providers have enough rows in them, or a release rule forbids them"
            notes.add(f"{closed} of {cells} cells{where} are closed: {reason}")
