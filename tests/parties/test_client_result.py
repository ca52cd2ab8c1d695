from fractions import Fraction

import pandas as pd

from parties.client.result import ReleasedCells, exact_measures, tabulate
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import AggregateQuery, Statistic, StatisticKind

FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "USD/week", 2, 0, 2_000_000, (), (), False),
        FrameColumn("bonus", ColumnType.INTEGER, "USD", 0, 0, 100, (), (), True),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 18), False),
        FrameColumn("parttime", ColumnType.CATEGORY, "", 0, None, None, ("no", "yes"), (), False),
    )
)
MEAN_AND_COUNT = AggregateQuery(
    (Statistic(StatisticKind.COUNT, None), Statistic(StatisticKind.MEAN, "wage"), Statistic(StatisticKind.SUM, "wage")),
    ("education", "parttime"),
    (),
)
CELLS = ReleasedCells(((3, 1000), (0, 0), (7, 123456), (1, 5)), (4, 0, 3, 2))


def test_cells_are_row_major_and_group_columns_are_ordered():
    table = tabulate(MEAN_AND_COUNT, FRAME, CELLS)
    assert list(table["education"]) == ["[0, 8)", "[0, 8)", "[8, 18]", "[8, 18]"]
    assert list(table["parttime"]) == ["no", "yes", "no", "yes"]
    assert table["education"].cat.ordered
    assert list(table.columns) == ["education", "parttime", "count", "mean(wage)", "sum(wage)", "contributors"]


def test_a_mean_is_rounded_once_from_the_exact_fraction():
    table = tabulate(MEAN_AND_COUNT, FRAME, CELLS)
    assert table["mean(wage)"][0] == float(Fraction(1000, 300))
    assert table["mean(wage)"][2] == float(Fraction(123456, 700))
    assert table["sum(wage)"][2] == 1234.56


def test_a_closed_cell_is_missing_in_every_statistic():
    table = tabulate(MEAN_AND_COUNT, FRAME, CELLS)
    assert table.loc[1, ["count", "mean(wage)", "sum(wage)"]].isna().all()
    assert table["contributors"][1] == 0
    assert exact_measures(MEAN_AND_COUNT, FRAME, CELLS) == {
        "rows": (3, None, 7, 1),
        "sum(wage)": (1000, None, 123456, 5),
    }


def test_the_mean_of_a_nullable_column_divides_by_its_values_not_by_rows():
    query = AggregateQuery((Statistic(StatisticKind.MEAN, "bonus"), Statistic(StatisticKind.COUNT, "bonus")), (), ())
    table = tabulate(query, FRAME, ReleasedCells(((10, 90, 9),), (2,)))
    assert list(table["mean(bonus)"]) == [10.0]
    assert list(table["count(bonus)"]) == [9]


def test_units_travel_with_the_table():
    assert tabulate(MEAN_AND_COUNT, FRAME, CELLS).attrs["units"] == {
        "count": "rows",
        "mean(wage)": "USD/week",
        "sum(wage)": "USD/week",
    }


def test_counts_are_integers_and_means_are_floats():
    table = tabulate(MEAN_AND_COUNT, FRAME, CELLS)
    assert table["count"].dtype == pd.Int64Dtype()
    assert table["mean(wage)"].dtype == "float64"
