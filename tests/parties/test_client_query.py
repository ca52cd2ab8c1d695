from decimal import Decimal

import pytest

from parties.client.query import read_query
from parties.errors import UsageError
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import AggregateQuery, DomainFilter, RangeFilter, Statistic, StatisticKind

FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "USD/week", 2, 0, 2_000_000, (), (0, 1_250, 2_000_000), False),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 12, 16, 18), False),
        FrameColumn("bonus", ColumnType.INTEGER, "USD", 0, 0, 100, (), (), False),
        FrameColumn("parttime", ColumnType.CATEGORY, "", 0, None, None, ("no", "yes"), (), False),
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
        (["median(wage)"], [], {}, "is no statistic"),
        (["mean"], [], {}, "needs a column"),
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
