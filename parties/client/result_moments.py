"""Where a statistic finds its sums in a cell, and the moments that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parties.client.result_cells import Answer, Sums, group_label
from parties.client.result_notes import Notes
from parties.client.statistic_text import statistic_name
from protocols.errors import InconsistentTotalsError
from protocols.moments import Moments
from sandbox.frame import Frame
from sandbox.statistic import Measure, Statistic

NO_ROWS_HAVE_THESE: Final = "no rows have these sums: a provider's totals are wrong; ask the providers to check theirs"
"""What a note says of totals that passed every check of the protocol and are still those of no rows."""


@dataclass(frozen=True, slots=True)
class StatisticSums:
    """Where a statistic finds its sums in a cell: found once, read in every cell.

    `measures` are the statistic's own, the count last; `decimals` are those of `statistic.columns`, in their order.
    `added` are the columns that it adds up, sorted, as their products two by two are; `scales` their decimals.
    """

    statistic: Statistic
    measures: tuple[Measure, ...]
    decimals: tuple[int, ...]
    added: tuple[str, ...]
    scales: tuple[int, ...]

    @classmethod
    def of(cls, statistic: Statistic, frame: Frame) -> StatisticSums:
        """Find them."""
        added = tuple(sorted(statistic.aggregated))
        return cls(
            statistic=statistic,
            measures=statistic.measures(frame),
            decimals=tuple(frame.column(name).decimals for name in statistic.columns),
            added=added,
            scales=tuple(frame.column(name).decimals for name in added),
        )

    def values(self, cell: Sums) -> list[int]:
        """The sums in one cell, in the order of `measures`."""
        return [cell[measure] for measure in self.measures]

    def moments(self, cell: Sums) -> Moments:
        """The moments of the columns `added`, in one cell.

        Raises:
            InconsistentTotalsError: no rows have these sums.
        """
        by_terms = {measure.terms: cell[measure] for measure in self.measures}
        return Moments(
            rows=by_terms[()],
            sums=tuple(by_terms[name,] for name in self.added),
            products=tuple(value for terms, value in by_terms.items() if len(terms) == 2),
            decimals=self.scales,
        )


def moments_by_cell(answer: Answer, sums: StatisticSums, notes: Notes) -> list[Moments | None]:
    """Return the moments in each of the query's own cells; None where it is closed, or they are those of no rows."""
    found: list[Moments | None] = []
    for index, cell in enumerate(answer.table(None).cells()):
        moments = None
        try:
            moments = None if cell is None else sums.moments(cell)
        except InconsistentTotalsError:
            notes.add(f"{statistic_name(sums.statistic)}: {NO_ROWS_HAVE_THESE}", group_label(answer.groups, index))
        found.append(moments)
    return found
