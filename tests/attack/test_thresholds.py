"""Two answers whose filters differ by one step: the difference is whoever stands on that step.

Filters are held to the values and bin edges that the providers declared, and the bins to a minimum of rows. The
overlap guard, which would refuse the second answer too, is declared off here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import authorise_columns
from sandbox.errors import DenialReason, DeniedError
from sandbox.release import OwnTotals
from sandbox.request import AggregateQuery, RangeFilter, Statistic, StatisticKind
from tests.sandbox.federation import Federation, Terms
from tests.sandbox.survey import Row

COUNT_AND_SUM = (Statistic(StatisticKind.COUNT, None), Statistic(StatisticKind.SUM, "wage"))
VICTIM: Row = (777_77, 9, "cauc")  # nobody else went to school for nine years


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    crowd: list[Row] = [(100_00, 4, "cauc")] * 10 + [(200_00, 14, "cauc")] * 10
    unguarded = Terms(overlap_k=0, own_totals=OwnTotals.PUBLIC)
    made = Federation(tmp_path, {"east": crowd, "north": [*crowd, VICTIM]}, unguarded)
    yield made
    made.close()


def below(federation: Federation, years: int) -> tuple[int, ...]:
    query = AggregateQuery(COUNT_AND_SUM, (), (RangeFilter("education", None, years),))
    return federation.run(query=query).totals[0]


def test_a_threshold_that_nobody_declared_is_denied(federation: Federation) -> None:
    with pytest.raises(DeniedError) as denied:
        below(federation, 9)
    assert (denied.value.reason, denied.value.check) == (DenialReason.FILTER_NOT_DECLARED, 6)


def test_without_the_check_the_difference_is_one_row(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorise_columns, "_verify_declared", lambda *_: None)
    difference = tuple(more - less for more, less in zip(below(federation, 10), below(federation, 9), strict=True))
    assert difference == (1, VICTIM[0])
