"""What each statistic has the providers add up, and in which cells."""

from __future__ import annotations

from typing import Any

import pytest

from audit.canonical import Fields
from sandbox.errors import ContractError
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.query import AggregateQuery
from sandbox.statistic import MAX_JOINT_COLUMNS, MAX_PREDICTORS, Statistic, StatisticKind

FRAME = Frame(
    (
        FrameColumn("y", ColumnType.INTEGER, "", 0, 0, 100, (), (0, 50, 100), False),
        FrameColumn("x", ColumnType.INTEGER, "", 0, 0, 100, (), (), True),
        FrameColumn("g", ColumnType.CATEGORY, "", 0, None, None, ("a", "b", "c"), (), True),
    )
)
ONE_OF_EACH = (
    Statistic(StatisticKind.COUNT, None),
    Statistic(StatisticKind.COUNT, "x"),
    Statistic(StatisticKind.SUM, "x"),
    Statistic(StatisticKind.MEAN, "y"),
    Statistic(StatisticKind.VARIANCE, "x"),
    Statistic(StatisticKind.STD, "y"),
    Statistic(StatisticKind.COVARIANCE, "y", ("x",)),
    Statistic(StatisticKind.CORRELATION, "y", ("x",)),
    Statistic(StatisticKind.WEIGHTED_MEAN, "y", ("x",)),
    Statistic(StatisticKind.REGRESSION, "y", ("x",)),
    Statistic(StatisticKind.HISTOGRAM, "g"),
    Statistic(StatisticKind.QUANTILE, "y", (), (100_000, 500_000)),
    Statistic(StatisticKind.ANOVA, "x", ("g",)),
)


def names(*statistics: Statistic, group_by: tuple[str, ...] = ()) -> list[tuple[list[str], list[str]]]:
    """Each table: its grid's columns, its measures."""
    tables = AggregateQuery(statistics, group_by, ()).tables(FRAME)
    return [
        ([column.name for column in table.grid.columns], [measure.name for measure in table.measures])
        for table in tables
    ]


def test_every_kind_reads_back_as_it_was_committed() -> None:
    assert {statistic.kind for statistic in ONE_OF_EACH} == set(StatisticKind)
    for statistic in ONE_OF_EACH:
        assert Statistic.from_json(Fields(statistic.to_json(), where="statistics")) == statistic


@pytest.mark.parametrize(
    ("statistic", "measures"),
    [
        (ONE_OF_EACH[0], ["rows"]),
        (ONE_OF_EACH[1], ["rows", "nonnull(x)"]),
        (ONE_OF_EACH[2], ["rows", "sum(x)", "nonnull(x)"]),
        (ONE_OF_EACH[3], ["rows", "sum(y)"]),
        (ONE_OF_EACH[4], ["rows", "sum(x)", "product(x,x)", "nonnull(x)"]),
        (ONE_OF_EACH[6], ["rows", "sum(y|x)", "sum(x)", "product(x,y)", "nonnull(x)"]),
        (ONE_OF_EACH[8], ["rows", "product(x,y)", "sum(x)", "nonnull(x)"]),
        (
            ONE_OF_EACH[9],
            ["rows", "sum(y|x)", "sum(x)", "product(x,x)", "product(x,y)", "product(y,y|x)", "nonnull(x)"],
        ),
    ],
)
def test_a_statistic_adds_up_over_the_rows_in_which_all_of_its_columns_are_there(
    statistic: Statistic, measures: list[str]
) -> None:
    assert names(statistic) == [([], measures)]


def test_refining_statistics_have_cells_of_their_own_after_the_querys() -> None:
    histogram, quantile, anova = ONE_OF_EACH[10:]
    assert names(anova, histogram, quantile, ONE_OF_EACH[0]) == [
        ([], ["rows"]),
        (["g"], ["rows", "sum(x)", "product(x,x)", "nonnull(x)"]),
        (["y"], ["rows"]),
    ]
    assert names(quantile, group_by=("g",)) == [(["g", "y"], ["rows"])]


def test_no_cells_are_added_up_that_nothing_was_asked_of() -> None:
    """The total of a group whose histogram has closed bins would tell what those hold."""
    assert names(Statistic(StatisticKind.HISTOGRAM, "g")) == [(["g"], ["rows"])]


def test_a_moment_matrix_is_told_from_plain_sums() -> None:
    def moments(*statistics: Statistic) -> list[int]:
        return [table.moments for table in AggregateQuery(statistics, (), ()).tables(FRAME)]

    assert moments(ONE_OF_EACH[2], ONE_OF_EACH[3]) == [0]
    assert moments(ONE_OF_EACH[4]) == [2]
    assert moments(ONE_OF_EACH[9]) == [5]
    assert moments(ONE_OF_EACH[12]) == [2]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Statistic(StatisticKind.SUM, None),
        lambda: Statistic(StatisticKind.SUM, "x", ("y",)),
        lambda: Statistic(StatisticKind.COVARIANCE, "x"),
        lambda: Statistic(StatisticKind.COVARIANCE, "x", ("x",)),
        lambda: Statistic(StatisticKind.ANOVA, "x", ("g", "y")),
        lambda: Statistic(StatisticKind.REGRESSION, "y", tuple(f"x{i}" for i in range(MAX_PREDICTORS + 1))),
        lambda: Statistic(StatisticKind.CORRELATION, "y", tuple(f"x{i}" for i in range(MAX_JOINT_COLUMNS))),
        lambda: Statistic(StatisticKind.QUANTILE, "y"),
        lambda: Statistic(StatisticKind.QUANTILE, "y", (), (0,)),
        lambda: Statistic(StatisticKind.QUANTILE, "y", (), (1_000_000,)),
        lambda: Statistic(StatisticKind.QUANTILE, "y", (), (500_000, 500_000)),
        lambda: Statistic(StatisticKind.QUANTILE, "y", (), (500_000, 100_000)),
        lambda: Statistic(StatisticKind.QUANTILE, "y", (), tuple(range(1, 101))),
        lambda: Statistic(StatisticKind.MEAN, "y", (), (500_000,)),
        lambda: AggregateQuery((Statistic(StatisticKind.HISTOGRAM, "g"),), ("g",), ()),
        lambda: AggregateQuery((Statistic(StatisticKind.ANOVA, "x", ("g",)),), ("g",), ()),
    ],
)
def test_a_statistic_that_means_nothing_or_too_much_cannot_be_made(made: Any) -> None:
    with pytest.raises(ContractError):
        made()
