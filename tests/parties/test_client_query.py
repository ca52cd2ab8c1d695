from decimal import Decimal

import pytest

from parties.client.query import read_query
from parties.client.statistic_text import EXAMPLES, read_statistic, statistic_name
from parties.errors import UsageError
from protocols.regression import MAXIMUM_PREDICTORS
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import AggregateQuery, DomainFilter, RangeFilter, Statistic, StatisticKind
from sandbox.statistic import MAX_PREDICTORS

FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "USD/week", 2, 0, 2_000_000, (), (0, 1_250, 2_000_000), False),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 12, 16, 18), False),
        FrameColumn("bonus", ColumnType.INTEGER, "USD", 0, 0, 100, (), (), False),
        FrameColumn("fortune", ColumnType.INTEGER, "USD", 0, 0, 10**17, (), (), False),
        FrameColumn("parttime", ColumnType.CATEGORY, "", 0, None, None, ("no", "yes"), (), False),
        FrameColumn("town", ColumnType.CATEGORY, "", 0, None, None, tuple(map(str, range(9_000))), (), False),
    )
)


def test_statistics_groups_and_both_forms_of_filters_read_as_the_same_query():
    wanted = AggregateQuery(
        (Statistic(StatisticKind.COUNT, None), Statistic(StatisticKind.MEAN, "wage")),
        ("education",),
        (DomainFilter("parttime", ("no",)), RangeFilter("education", 12, 16)),
    )
    by_mapping = read_query(
        FRAME, ["count", "mean(wage)"], ["education"], {"parttime": "no", "education": ("12", "16")}
    )
    by_text = read_query(
        FRAME, ["count", " mean( wage ) "], ["education"], ["parttime=no", "education>=12", "education < 16"]
    )
    assert by_mapping == by_text == wanted


def test_bounds_are_scaled_by_the_columns_decimals_and_may_be_open():
    query = read_query(FRAME, ["count"], [], {"wage": (Decimal("12.50"), None)})
    assert query.filters == (RangeFilter("wage", 1_250, None),)


def test_the_last_edge_is_included_and_must_be_written_so():
    assert read_query(FRAME, ["count"], [], ["education<=18"]).filters == (RangeFilter("education", None, 18),)
    with pytest.raises(UsageError, match="<=HI at the last edge"):
        read_query(FRAME, ["count"], [], ["education<18"])


@pytest.mark.parametrize(
    ("statistics", "by", "where", "complaint"),
    [
        ([], [], {}, "no statistic"),
        (["mode(wage)"], [], {}, "is no statistic"),
        (["mean"], [], {}, r"needs a column: write mean\(wage\)"),
        (["median"], [], {}, r"needs a column: write median\(wage\)"),
        (["mean()"], [], {}, "a column is missing"),
        (["mean(wage,bonus)"], [], {}, "takes 1 column:"),
        (["covariance(wage)"], [], {}, "takes 2 columns:"),
        (["correlation(wage)"], [], {}, "takes 2 to 24 columns:"),
        (["correlation(wage,wage)"], [], {}, "names a column twice"),
        (["covariance(wage,parttime)"], [], {}, "is a category"),
        (["weighted_mean(wage)"], [], {}, r"write weighted_mean\(wage,weight\)"),
        (["regression(wage)"], [], {}, "needs a formula"),
        (["regression(wage~)"], [], {}, "a column is missing"),
        (["regression(wage+bonus~education)"], [], {}, "explains one column"),
        (["regression(wage~parttime)"], [], {}, r"anova\(wage~parttime\)"),
        (["regression(wage~wage)"], [], {}, "names a column twice"),
        (["anova(wage~education+parttime)"], [], {}, "has one factor"),
        (["anova(wage~bonus)"], [], {}, "declare edges"),
        (["anova(parttime~education)"], [], {}, "is a category"),
        (["histogram(bonus)"], [], {}, "declare edges"),
        (["histogram(wage,education)"], [], {}, "of one column"),
        (["quantile(wage)"], [], {}, "which quantiles"),
        (["quantile(wage,1)"], [], {}, "between 0 and 1"),
        (["quantile(wage,half)"], [], {}, "is no probability"),
        (["quantile(wage,NaN)"], [], {}, "is no probability"),
        (["quantile(wage,0.12345678)"], [], {}, "six decimals"),
        (["quantile(wage,0.5,0.50)"], [], {}, "given twice"),
        (["quantile(parttime,0.5)"], [], {}, "is a category"),
        (["quantile(bonus,0.5)"], [], {}, "declare edges"),
        (["median(wage,0.5)"], [], {}, "no further arguments"),
        (["histogram(education)"], ["education"], {}, "leave education out"),
        (["anova(wage~education)"], ["education"], {}, "leave education out"),
        (["variance(fortune)"], [], {}, "declare fewer decimals or narrower bounds"),
        (["mean(parttime)"], [], {}, "is a category"),
        (["mean(height)"], [], {}, "no column 'height'"),
        (["count"], ["height"], {}, "no column 'height'"),
        (["count"], ["bonus"], {}, "no levels"),
        (["count"], [], {"parttime": "sometimes"}, "not sometimes"),
        (["count"], [], {"education": "12"}, "pair"),
        (["count"], [], {"education": (13, None)}, "declared edges"),
        (["count"], [], {"education": ("many", None)}, "is no number"),
        (["count"], [], ["education~12"], "no condition"),
        (["count"], [], ["education>12"], "write education>=LO"),
        (["count"], [], ["education>=8", "education>=12"], "at most once"),
        (["count"], [], ["parttime>=no"], "category"),
        (["count"], [], "parttime=no", "as a list"),
        ("count", [], {}, "as a list"),
        (["count"], "education", {}, "as a list"),
        (["count"], ["education", "education"], {}, "given twice"),
    ],
)
def test_what_cannot_be_read_is_named(statistics, by, where, complaint):
    with pytest.raises(UsageError, match=complaint):
        read_query(FRAME, statistics, by, where)


def test_a_bound_may_be_a_float_as_python_writes_it():
    assert read_query(FRAME, ["count"], [], {"education": (8.0, None)}).filters == (RangeFilter("education", 8, None),)


def test_every_statistic_is_read_and_written_alike():
    for text in (
        "count",
        "count(parttime)",
        "sum(wage)",
        "mean(wage)",
        "variance(wage)",
        "std(wage)",
        "covariance(wage,bonus)",
        "correlation(wage,bonus,education)",
        "weighted_mean(wage,bonus)",
        "regression(wage~education+bonus)",
        "histogram(parttime)",
        "quantile(wage,0.1,0.5,0.999999)",
        "anova(wage~parttime)",
    ):
        assert statistic_name(read_statistic(FRAME, text)) == text


def test_spaces_and_the_order_of_probabilities_do_not_matter():
    assert read_statistic(FRAME, " quantile( wage , 0.90, .5) ") == read_statistic(FRAME, "quantile(wage,0.5,0.9)")
    assert read_statistic(FRAME, "regression(wage ~ education + bonus)") == Statistic(
        StatisticKind.REGRESSION, "wage", ("education", "bonus")
    )
    assert statistic_name(read_statistic(FRAME, "median(wage)")) == "quantile(wage,0.5)"


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(StatisticKind)


def test_no_regression_is_asked_for_that_cannot_be_solved():
    assert MAX_PREDICTORS == MAXIMUM_PREDICTORS


def test_more_cells_than_any_provider_computes_are_refused_before_anything_is_sent():
    assert read_query(FRAME, ["histogram(education)", "count"], ["town"], {}).group_by == ("town",)
    with pytest.raises(UsageError, match="144000 cells, 100000 are allowed"):
        read_query(FRAME, ["histogram(parttime)"], ["town", "education", "wage"], {})
