"""Moments of the columns that a statistic adds up, cell by cell."""

from __future__ import annotations

from typing import Final

from parties.client.result_cells import Answer, Sums, group_label
from parties.client.result_notes import Notes
from parties.client.statistic_text import statistic_name
from protocols.errors import InconsistentTotalsError
from protocols.moments import Moments
from sandbox.frame import Frame
from sandbox.statistic import Statistic

NO_ROWS_HAVE_THESE: Final = "no rows have these sums: a provider's totals are wrong; ask the providers to check theirs"
"""What a note says of totals that passed every check of the protocol and are still those of no rows."""


def moments_by_cell(answer: Answer, statistic: Statistic, notes: Notes) -> list[Moments | None]:
    """Return the moments in each of the query's own cells; None where it is closed, or they are those of no rows."""
    found: list[Moments | None] = []
    for index, cell in enumerate(answer.table(None).cells()):
        moments = None
        try:
            moments = None if cell is None else moments_of(statistic, answer.frame, cell)
        except InconsistentTotalsError:
            notes.add(f"{statistic_name(statistic)}: {NO_ROWS_HAVE_THESE}", group_label(answer.groups, index))
        found.append(moments)
    return found


def moments_of(statistic: Statistic, frame: Frame, sums: Sums) -> Moments:
    """Return the moments of the columns that a statistic adds up, in the order of `moment_columns`.

    Raises:
        InconsistentTotalsError: no rows have these sums.
    """
    names = moment_columns(statistic)
    measures = statistic.measures(frame)
    by_terms = {measure.terms: sums[measure] for measure in measures}
    return Moments(
        rows=sums[measures[-1]],
        sums=tuple(by_terms[name,] for name in names),
        products=tuple(value for terms, value in by_terms.items() if len(terms) == 2),
        decimals=tuple(frame.column(name).decimals for name in names),
    )


def moment_columns(statistic: Statistic) -> tuple[str, ...]:
    """The columns that a statistic adds up, sorted, as their products two by two are."""
    return tuple(sorted(statistic.aggregated))
