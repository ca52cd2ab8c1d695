from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.client.presentation import present
from parties.client.query import read_query
from parties.client.result_cells import ReleasedCells
from parties.client.result_html import result_html
from parties.client.result_tables import table_names
from sandbox.frame import ColumnType, Frame, FrameColumn

FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "USD/week", 2, 0, 2_000_000, (), (), False),
        FrameColumn("bonus", ColumnType.INTEGER, "USD", 0, 0, 100, (), (), True),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 18), False),
        FrameColumn("parttime", ColumnType.CATEGORY, "", 0, None, None, ("no", "yes"), (), False),
        FrameColumn("count", ColumnType.CATEGORY, "", 0, None, None, ("a", "b"), (), False),
    )
)
CELLS = ReleasedCells(((3, 1000), (0, 0), (7, 123456), (1, 5)), (4, 0, 3, 2), 4)


def shown(statistics, by, cells):
    return present(read_query(FRAME, statistics, by, {}), FRAME, cells)


def one_cell(statistics, *totals):
    return shown(statistics, [], ReleasedCells((totals,), (2,), 2))


@pytest.fixture
def mean_and_count():
    return shown(["count", "mean(wage)", "sum(wage)"], ["education", "parttime"], CELLS)


def test_cells_are_row_major_and_group_columns_are_ordered(mean_and_count):
    table = mean_and_count.frame
    assert list(table["education"]) == ["[0, 8)", "[0, 8)", "[8, 18]", "[8, 18]"]
    assert list(table["parttime"]) == ["no", "yes", "no", "yes"]
    assert table["education"].cat.ordered
    assert list(table.columns) == ["education", "parttime", "count", "mean(wage)", "sum(wage)", "contributors"]


def test_a_mean_is_rounded_once_from_the_exact_fraction(mean_and_count):
    table = mean_and_count.frame
    assert table["mean(wage)"][0] == float(Fraction(1000, 300))
    assert table["mean(wage)"][2] == float(Fraction(123456, 700))
    assert table["sum(wage)"][2] == 1234.56


def test_a_closed_cell_is_missing_in_every_statistic_and_noted(mean_and_count):
    assert mean_and_count.frame.loc[1, ["count", "mean(wage)", "sum(wage)"]].isna().all()
    assert mean_and_count.frame["contributors"][1] == 0
    assert mean_and_count.exact == {"rows": (3, None, 7, 1), "sum(wage)": (1000, None, 123456, 5)}
    assert (mean_and_count.withheld, mean_and_count.cells) == (1, 4)
    assert mean_and_count.notes[0].startswith("1 of 4 cells are closed")


def test_the_mean_of_a_nullable_column_divides_by_its_values_not_by_rows():
    table = one_cell(["mean(bonus)", "count(bonus)"], 10, 90, 9).frame
    assert list(table["mean(bonus)"]) == [10.0]
    assert list(table["count(bonus)"]) == [9]


def test_units_travel_with_the_table():
    units = one_cell(["count", "mean(wage)", "std(wage)", "variance(wage)", "variance(education)"], 3, 6, 14, 3, 5)
    assert units.units == {
        "count": "rows",
        "mean(wage)": "USD/week",
        "std(wage)": "USD/week",
        "variance(wage)": "(USD/week)^2",
        "variance(education)": "years^2",
    }
    assert units.frame.attrs["units"] == units.units
    joint = one_cell(["covariance(wage,education)", "correlation(education,wage)"], 2, 3, 4, 6, 9, 16)
    assert joint.units == {"covariance(wage,education)": "USD/week * years", "correlation(education,wage)": ""}


def test_counts_are_integers_and_other_figures_floats(mean_and_count):
    assert mean_and_count.frame["count"].dtype == pd.Int64Dtype()
    assert mean_and_count.frame["mean(wage)"].dtype == "float64"


def test_a_figure_that_is_not_defined_is_missing_and_the_others_stand():
    # one row of 5.00: there is no variance over one row
    answer = one_cell(
        ["mean(wage)", "variance(wage)", "std(wage)", "correlation(wage,education)"], 1, 500, 250_000, *(8, 64, 4_000)
    )
    assert answer.frame["mean(wage)"][0] == 5.0
    assert answer.frame[["variance(wage)", "std(wage)", "correlation(wage,education)"]].isna().all(axis=None)
    assert "variance(wage): undefined, fewer than two values" in answer.notes


def test_weights_that_sum_to_nothing_give_no_mean():
    assert pd.isna(one_cell(["weighted_mean(wage,education)"], 5, 0, 0).frame.iloc[0, 0])
    assert one_cell(["weighted_mean(wage,education)"], 5, 1_250, 10).frame.iloc[0, 0] == 1.25


def test_sums_that_no_rows_have_cost_only_the_figures_that_need_them():
    answer = one_cell(["mean(wage)", "variance(wage)", "regression(wage~education)"], 2, 10, 1, 3, 5, 15)
    assert answer.frame["mean(wage)"][0] == 0.05
    assert pd.isna(answer.frame["variance(wage)"][0])
    assert answer.tables["regression(wage~education)"]["coefficient"].isna().all()
    assert any("no rows have these sums" in note for note in answer.notes)


def test_three_columns_of_which_only_every_two_are_possible_cost_the_fit_and_no_more():
    # bonus goes with wage and with education, which go against one another: pairwise possible, together not
    query = ["regression(wage~bonus+education)", "correlation(wage,bonus,education)"]
    answer = one_cell(query, 100, 0, 0, 0, 100, 90, 90, 100, -90, 100, 100)
    assert answer.tables[query[0]]["coefficient"].isna().all()
    assert list(answer.tables[query[1]]["r(bonus)"]) == [0.9, 1.0, 0.9]
    assert any("no rows have these sums" in note for note in answer.notes)


def test_a_collinear_cell_leaves_the_others_standing_and_is_named():
    # y = 1 + 2x exactly, in the second cell x is always 3
    fitting, constant = (4, 24, 10, 164, 70, 30), (2, 9, 6, 41, 27, 18)
    query = ["regression(wage~education)"]
    answer = shown(query, ["parttime"], ReleasedCells((ordered(fitting), ordered(constant)), (2, 2), 2))
    table = answer.tables["regression(wage~education)"]
    assert answer.frame is table
    assert list(table["term"]) == ["(intercept)", "education"] * 2
    assert list(table["coefficient"][:2]) == [0.01, 0.02]
    assert table["coefficient"][2] == 0.045
    assert pd.isna(table["coefficient"][3])
    assert list(table["unit"]) == ["USD/week", "USD/week per years"] * 2
    assert any("without education, which does not vary" in note and "parttime=yes" in note for note in answer.notes)
    assert answer.tables["regression(wage~education) fit"]["R2"][0] == 1.0


def ordered(sums):
    """(n, sum y, sum x, sum yy, sum xy, sum xx), as the query's measures stand: columns sorted, x before y."""
    n, y, x, yy, xy, xx = sums
    return n, y, x, xx, xy, yy


def test_a_correlation_of_three_columns_is_a_matrix_a_group():
    query = read_query(FRAME, ["correlation(wage,education,bonus)"], [], {})
    # education 1 2 3, wage 2 4 6, bonus 1 1 1: sums in the order asked for, products sorted bonus, education, wage
    answer = present(query, FRAME, ReleasedCells(((3, 12, 6, 3, 3, 6, 12, 14, 28, 56, 3),), (2,), 2))
    table = answer.tables["correlation(wage,education,bonus)"]
    assert list(table.columns) == ["column", "r(wage)", "r(education)", "r(bonus)", "contributors"]
    assert list(table["r(education)"][:2]) == [1.0, 1.0]
    assert table["r(bonus)"].isna().all()
    assert any("does not vary" in note for note in answer.notes)


def test_a_histogram_has_a_row_a_bin_and_a_group_column_keeps_its_name():
    query = read_query(FRAME, ["histogram(education)"], ["count"], {})
    answer = present(query, FRAME, ReleasedCells(((4,), (0,), (9,), (2,)), (2, 0, 2, 2), 2))
    table = answer.tables["histogram(education)"]
    assert answer.frame is table
    assert list(table.columns) == ["count", "education", "count_", "contributors"]
    assert list(table["education"]) == ["[0, 8)", "[8, 18]"] * 2
    assert table["count_"].isna().tolist() == [False, True, False, False]
    assert answer.exact == {"rows by education": (4, None, 9, 2)}
    assert answer.notes[0].startswith("1 of 4 cells split by education are closed")


def test_a_quantile_is_a_figure_a_group_and_a_table_with_its_intervals():
    answer = shown(["median(education)", "count"], [], ReleasedCells(((10,), (4,), (6,)), (2, 1, 2), 2))
    assert list(answer.frame.columns) == [
        "quantile(education,0.5)",
        "quantile(education,0.5) error",
        "count",
        "contributors",
    ]
    assert answer.frame.iloc[0, 0] == pytest.approx(8 + 10 / 6)
    assert answer.frame.iloc[0, 1] == 10
    row = answer.tables["quantile(education,0.5)"].iloc[0]
    assert (row["lo"], row["hi"]) == (8, 18)
    # one of the two providers is missing in the first bin: how many rows it withheld there is not known
    assert (row["lo of all rows"], row["hi of all rows"]) == (0, 18)


def test_a_quantile_without_any_open_bin_is_missing():
    answer = shown(["median(education)"], [], ReleasedCells(((0,), (0,)), (0, 0), 2))
    assert answer.frame.isna().all(axis=None)
    assert "contributors" not in answer.frame


def test_the_same_quantile_in_two_lists_is_one_column():
    answer = shown(
        ["quantile(education,0.5)", "quantile(education,0.5,0.9)"], [], ReleasedCells(((5,), (5,)), (2, 2), 2)
    )
    assert [name for name in answer.frame if "error" not in name] == [
        "quantile(education,0.5)",
        "quantile(education,0.9)",
    ]
    assert list(answer.tables) == ["quantile(education,0.5)", "quantile(education,0.5,0.9)"]


def test_an_analysis_of_variance_names_the_levels_that_are_closed():
    query = ["anova(wage~parttime)"]
    # wages in cents 100, 300 against 500, 700
    both = ReleasedCells(((2, 400, 100_000), (2, 1_200, 740_000)), (2, 2), 2)
    table = shown(query, [], both).tables["anova(wage~parttime)"]
    assert list(table["source"]) == ["between", "within", "total"]
    assert list(table["sum of squares"]) == [16.0, 4.0, 20.0]
    assert list(table["df"]) == [1, 2, 3]
    assert table["F"][0] == 8.0
    assert table["F"][1:].isna().all()
    assert table["eta squared"][0] == 0.8
    one = shown(query, [], ReleasedCells(((2, 400, 100_000), (0, 0, 0)), (2, 0), 2))
    assert one.tables["anova(wage~parttime)"]["sum of squares"].isna().all()
    assert "anova(wage~parttime): without yes, closed" in one.notes
    assert "anova(wage~parttime): undefined, fewer than two levels are open" in one.notes


def test_own_cells_come_first_and_tables_in_the_order_asked_for():
    statistics = ["anova(wage~parttime)", "mean(wage)", "regression(wage~education)"]
    query = read_query(FRAME, statistics, [], {})
    own, split = (2, 10, 52, 3, 5, 15), ((2, 400, 100_000), (2, 1_200, 740_000))
    answer = present(query, FRAME, ReleasedCells((own, *split), (2, 2, 2), 2))
    assert tuple(answer.tables) == table_names(query)
    assert table_names(query) == (
        "anova(wage~parttime)",
        "regression(wage~education)",
        "regression(wage~education) fit",
    )
    assert list(answer.frame.columns) == ["mean(wage)", "contributors"]
    assert answer.exact["rows"] == (2,)
    assert answer.exact["rows by parttime"] == (2, 2)


def test_html_escapes_what_others_named_and_tells_closed_from_undefined():
    table = pd.DataFrame({"x<b>": pd.array([1.5, None, None]), "contributors": [2, 0, 2]})
    page = result_html({"<i>": table}, ["<u>"], ["<s>"])
    for tag in ("<i>", "<b>", "<u>", "<s>"):
        assert tag not in page
    assert page.count("closed") == 1
    assert page.count("\u2013") == 1


EVERYTHING = read_query(
    FRAME,
    [
        *("count", "count(bonus)", "sum(wage)", "mean(bonus)", "variance(bonus)", "std(wage)", "median(education)"),
        *("covariance(wage,bonus)", "correlation(wage,bonus)", "correlation(wage,bonus,education)", "histogram(count)"),
        *("weighted_mean(wage,bonus)", "regression(wage~bonus+education)", "anova(wage~education)"),
    ],
    ["parttime"],
    {},
)


@given(st.data())
def test_whatever_adds_up_within_its_bounds_is_shown_and_never_lost(data):
    """An answer is paid for when it is shown: wrong totals may cost figures, not the answer."""
    totals, contributors = [], []
    small = data.draw(st.sampled_from((1, 3, 10**9)))
    for table in EVERYTHING.tables(FRAME):
        for _ in range(table.grid.size):
            contributors.append(data.draw(st.integers(0, 2)))
            totals.append(
                tuple(data.draw(st.integers(-small if measure.terms else 0, small)) for measure in table.measures)
            )
    answer = present(EVERYTHING, FRAME, ReleasedCells(tuple(totals), tuple(contributors), 2))
    assert list(answer.tables) == list(table_names(EVERYTHING))
    assert result_html({"": answer.frame, **answer.tables}, answer.notes, [])
    own = answer.frame[answer.frame["contributors"] == 0].drop(columns=["parttime", "contributors"])
    assert own[[name for name in own if not name.startswith("quantile")]].isna().all(axis=None)
