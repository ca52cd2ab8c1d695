"""What the merchant holds after a joint aggregate: a data frame, the receipts that bound both sides, and the price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from html import escape

import pandas as pd

from audit.envelope import Envelope
from audit.receipt import ReceiptPayload
from audit.tariff import format_micro
from sandbox.frame import Frame
from sandbox.request import AggregateQuery, Measure, Statistic, StatisticKind

MICRO = Decimal(1_000_000)
CONTRIBUTORS = "contributors"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One provider's receipt of the call, with both signatures."""

    receipt_id: str
    payload: ReceiptPayload
    envelope: Envelope

    @property
    def provider(self) -> str:
        """The provider that issued it."""
        return self.payload.provider


@dataclass(frozen=True, slots=True)
class ReleasedCells:
    """What the protocol released, before any division.

    `totals` is cells x measures of exact scaled integers in the query's order of measures; `contributors` is the number
    of providers in each cell, 0 where the cell is closed. Cells are row-major in the group columns' levels.
    """

    totals: tuple[tuple[int, ...], ...]
    contributors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AggregateResult:
    """A joint aggregate: `frame` for the analyst, `exact` and `receipts` for whoever checks it.

    `frame` has one row a cell: the group columns as ordered categoricals, one column a statistic, and `contributors`.
    A closed cell (fewer providers than the contract's minimum) is NA in every statistic and 0 in `contributors`. Counts
    are Int64; sums and means are float64, rounded once, from exact integers. `units` gives each statistic's unit, also
    as `frame.attrs["units"]`. `epsilon` is 0 for exact releases. `withheld` counts the closed cells.
    """

    frame: pd.DataFrame
    exact: Mapping[str, tuple[int | None, ...]]
    units: Mapping[str, str]
    call: str
    contract: str
    providers: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    price: Decimal
    currency: str
    epsilon: Decimal
    withheld: int

    def _repr_html_(self) -> str:
        """Show the table and, beneath it, what it cost and under which contract."""
        notes = [
            f"{len(self.providers)} providers: {', '.join(self.providers)}",
            f"{self.withheld} of {len(self.frame)} cells closed",
            f"price {self.price} {self.currency}",
            f"contract {self.contract[:12]}",
            f"call {self.call[:12]}",
        ]
        if len(self.providers) == 1:
            notes.insert(0, "single provider: nothing was combined")
        return f"{self.frame.to_html(na_rep='closed')}<p><small>{escape(' · '.join(notes))}</small></p>"


def statistic_name(statistic: Statistic) -> str:
    """Return the column that a statistic gets in the data frame: `count`, `mean(wage)`, ..."""
    return statistic.kind.value if statistic.column is None else f"{statistic.kind.value}({statistic.column})"


def tabulate(query: AggregateQuery, frame: Frame, cells: ReleasedCells) -> pd.DataFrame:
    """Return the data frame of an answer, one row a cell."""
    table = query.tables(frame)[0]
    grid = table.grid
    index = {measure: position for position, measure in enumerate(table.measures)}
    labels = [grid.labels(cell) for cell in range(grid.size)]
    columns: dict[str, object] = {}
    for position, column in enumerate(grid.columns):
        columns[column.name] = pd.Categorical(
            [label[position] for label in labels],
            categories=[level.label for level in column.levels],
            ordered=True,
        )
    for statistic in query.statistics:
        columns[statistic_name(statistic)] = _values(statistic, frame, index, cells)
    columns[CONTRIBUTORS] = pd.array(list(cells.contributors), dtype="Int64")
    shown = pd.DataFrame(columns)
    shown.attrs["units"] = units_of_statistics(query, frame)
    return shown


def exact_measures(query: AggregateQuery, frame: Frame, cells: ReleasedCells) -> dict[str, tuple[int | None, ...]]:
    """Return the released totals by measure: scaled integers, None in closed cells."""
    return {
        measure.name: tuple(
            row[position] if contributors else None
            for row, contributors in zip(cells.totals, cells.contributors, strict=True)
        )
        for position, measure in enumerate(query.tables(frame)[0].measures)
    }


def units_of_statistics(query: AggregateQuery, frame: Frame) -> dict[str, str]:
    """Return the unit of each statistic's column; counts are in rows."""
    units = {}
    for statistic in query.statistics:
        counts = statistic.kind is StatisticKind.COUNT or statistic.column is None
        units[statistic_name(statistic)] = "rows" if counts else frame.column(statistic.column or "").unit
    return units


def _values(statistic: Statistic, frame: Frame, index: Mapping[Measure, int], cells: ReleasedCells) -> object:
    """Return one statistic's column. The only rounding is the last conversion from a fraction to a float64."""
    column = statistic.column
    measures = statistic.measures(frame)
    count = index[measures[-1]]
    if statistic.kind is StatisticKind.COUNT or column is None:
        counts = [
            row[count] if contributors else pd.NA
            for row, contributors in zip(cells.totals, cells.contributors, strict=True)
        ]
        return pd.array(counts, dtype="Int64")
    scale = 10 ** frame.column(column).decimals
    total = index[measures[0]]
    values: list[float] = []
    for row, contributors in zip(cells.totals, cells.contributors, strict=True):
        divisor = scale * (row[count] if statistic.kind is StatisticKind.MEAN else 1)
        values.append(float(Fraction(row[total], divisor)) if contributors and divisor else float("nan"))
    return pd.array(values, dtype="float64")


def amount(micro: int) -> Decimal:
    """Return micro-units as a decimal of the currency's unit, with six decimals."""
    return Decimal(format_micro(micro))
