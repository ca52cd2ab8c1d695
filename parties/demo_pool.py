"""What the four bureaus would have got by pooling their rows: plain pandas, none of the code under test.

The same withholding is applied: a bureau's cell with fewer than the minimum of rows counts for nothing, and a cell with
fewer than the minimum of bureaus is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from parties.demo_data import CATEGORIES, EDUCATION_EDGES


@dataclass(frozen=True, slots=True)
class PooledCell:
    """One cell: wages summed in cents, rows, contributing bureaus, and how many bureaus withheld some rows of it."""

    labels: tuple[str, ...]
    cents: int
    rows: int
    contributors: int
    withholding: int

    @property
    def mean(self) -> float:
        """The mean wage in USD a week, rounded once."""
        return float(Decimal(self.cents) / 100 / self.rows)


def education_label(years: int) -> str:
    """Return the label of the education band that holds `years`."""
    last = len(EDUCATION_EDGES) - 2
    for position in range(last):
        if years < EDUCATION_EDGES[position + 1]:
            return f"[{EDUCATION_EDGES[position]}, {EDUCATION_EDGES[position + 1]})"
    return f"[{EDUCATION_EDGES[last]}, {EDUCATION_EDGES[last + 1]}]"


def pooled_cells(frame: pd.DataFrame, *, min_group_size: int, min_contributors: int) -> tuple[PooledCell, ...]:
    """Return the cells by education band, ethnicity and parttime, in the contract's order; closed ones have rows 0."""
    bands = sorted({education_label(years) for years in range(EDUCATION_EDGES[-1] + 1)}, key=_lower_edge)
    table = frame.assign(
        band=frame["education"].map(education_label), cents=(frame["wage"] * 100).round().astype("int64")
    )
    grouped = table.groupby(["band", "ethnicity", "parttime", "region"], sort=False)["cents"].agg(["sum", "size"])
    sums = {key: (int(cents), int(rows)) for key, cents, rows in grouped.itertuples(name=None)}
    cells = []
    for band in bands:
        for ethnicity in CATEGORIES["ethnicity"]:
            for parttime in CATEGORIES["parttime"]:
                own = [
                    sums.get(key, (0, 0))
                    for key in ((band, ethnicity, parttime, region) for region in CATEGORIES["region"])
                ]
                cells.append(_cell((band, ethnicity, parttime), own, min_group_size, min_contributors))
    return tuple(cells)


def _cell(
    labels: tuple[str, ...], own: Sequence[tuple[int, int]], min_group_size: int, min_contributors: int
) -> PooledCell:
    given = [(cents, rows) for cents, rows in own if rows >= min_group_size]
    withholding = sum(0 < rows < min_group_size for _, rows in own)
    if len(given) < min_contributors:
        return PooledCell(labels, 0, 0, 0, withholding)
    return PooledCell(labels, sum(cents for cents, _ in given), sum(rows for _, rows in given), len(given), withholding)


def _lower_edge(label: str) -> int:
    return int(label[1:].split(",", maxsplit=1)[0])
