from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Json, canonicalise
from audit.commitment import Opening, Openings, verify_openings
from audit.envelope import PayloadType, seal
from audit.errors import AuditError, MalformedError
from sandbox.errors import ContractError, DenialReason, DeniedError, SandboxError
from sandbox.frame import Frame
from sandbox.request import (
    AggregateQuery,
    DomainFilter,
    Measure,
    RangeFilter,
    Statistic,
    StatisticKind,
    parse_purpose,
    parse_query,
    parse_request,
    sign_request,
)
from sandbox.statistic import ROWS
from tests.audit.golden import assert_golden

from .agreement import EDUCATION_FILTER, FRAME, PURPOSE, QUERY, key, public_key_of_golden_files, request

COUNT = Statistic(StatisticKind.COUNT, None)


def opened(query: AggregateQuery, **fields: bytes) -> Openings:
    values = query.to_fields(PURPOSE) | fields
    return {name: Opening(bytes(32), value) for name, value in values.items()}


def test_the_request_keeps_its_bytes() -> None:
    made, _ = request(public_key=public_key_of_golden_files())
    assert_golden("aggregate_request", sign_request(made, key("shop")).encode())


def test_a_request_reads_back_as_it_was_signed() -> None:
    made, openings = request()
    envelope = sign_request(made, key("shop"))
    parsed = parse_request(envelope.encode())
    assert parsed.request == made
    assert parsed.call == envelope.digest
    verify_openings(parsed.request.commitments, openings)
    assert parse_query(openings, FRAME) == QUERY
    assert parse_purpose(openings) == PURPOSE


def test_every_salt_and_nonce_is_fresh() -> None:
    made, openings = request()
    assert len({opening.salt for opening in openings.values()} | {bytes.fromhex(made.nonce)}) == 5


def test_filters_of_both_kinds_read_back() -> None:
    query = AggregateQuery((COUNT,), (), (EDUCATION_FILTER, DomainFilter("sector", ("farm",))))
    assert parse_query(opened(query), FRAME) == query
    half_open = AggregateQuery((COUNT,), (), (RangeFilter("education", None, 8),))
    assert parse_query(opened(half_open), FRAME) == half_open


def test_a_mean_is_a_sum_over_the_values_that_are_there() -> None:
    wage_sum, wage_count = Measure(("wage",), ("wage",)), Measure((), ("wage",))
    assert QUERY.tables(FRAME)[0].measures == (ROWS, wage_sum, wage_count)
    whole = Frame((replace(FRAME.columns[0], nullable=False), *FRAME.columns[1:]))
    assert QUERY.tables(whole)[0].measures == (ROWS, Measure(("wage",), ()))


def test_statistics_share_their_measures_and_rows_come_first() -> None:
    kinds = (StatisticKind.SUM, StatisticKind.COUNT, StatisticKind.MEAN)
    query = AggregateQuery(tuple(Statistic(kind, "wage") for kind in kinds), (), ())
    (table,) = query.tables(FRAME)
    assert table.measures == (ROWS, Measure(("wage",), ("wage",)), Measure((), ("wage",)))


def test_cells_are_row_major() -> None:
    grid = AggregateQuery((COUNT,), ("sector", "education"), ()).tables(FRAME)[0].grid
    assert (grid.shape, grid.size) == ((3, 4), 12)
    assert [grid.labels(index) for index in (0, 1, 4, 11)] == [
        ("farm", "[0, 8)"),
        ("farm", "[8, 12)"),
        ("shop", "[0, 8)"),
        ("office", "[16, 18]"),
    ]
    with pytest.raises(IndexError):
        grid.labels(12)


def test_without_grouping_there_is_one_cell() -> None:
    grid = AggregateQuery((COUNT,), (), ()).tables(FRAME)[0].grid
    assert (grid.size, grid.labels(0)) == (1, ())


@pytest.mark.parametrize(
    "query",
    [
        lambda: AggregateQuery((), (), ()),
        lambda: AggregateQuery((COUNT, COUNT), (), ()),
        lambda: AggregateQuery((Statistic(StatisticKind.MEAN, None),), (), ()),
        lambda: AggregateQuery((COUNT,), ("a", "a"), ()),
        lambda: AggregateQuery((COUNT,), tuple(f"c{index}" for index in range(9)), ()),
        lambda: AggregateQuery((COUNT,), (), (DomainFilter("a", ()),)),
        lambda: AggregateQuery((COUNT,), (), (DomainFilter("a", ("x", "x")),)),
        lambda: AggregateQuery((COUNT,), (), (RangeFilter("a", None, None),)),
        lambda: AggregateQuery((COUNT,), (), (RangeFilter("a", 2, 2),)),
        lambda: AggregateQuery((COUNT,), (), (RangeFilter("a", 2, None), RangeFilter("a", None, 3))),
    ],
)
def test_a_query_that_means_nothing_cannot_be_made(query: Any) -> None:
    with pytest.raises(ContractError):
        query()


def test_a_column_outside_the_frame_is_denied_by_name() -> None:
    query = AggregateQuery((Statistic(StatisticKind.SUM, "salary"),), (), ())
    with pytest.raises(DeniedError) as denied:
        parse_query(opened(query), FRAME)
    assert (denied.value.reason, denied.value.clause) == (DenialReason.COLUMN_NOT_PERMITTED, "uses.salary")


def test_a_missing_opening_is_named() -> None:
    openings = opened(QUERY)
    del openings["group_by"]
    with pytest.raises(MalformedError, match="group_by"):
        parse_query(openings, FRAME)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("participants", ["north", "east"]),
        ("participants", ["east", "east"]),
        ("participants", []),
        ("participants", [f"p{index:02}" for index in range(21)]),
        ("audience", ["East"]),
        ("attempt", 0),
        ("nonce", "00"),
        ("contract", "zz"),
        ("deadline_ms", -1),
        ("key", {}),
        ("commitments", {"statistics": "00" * 32}),
        ("operation", 7),
        ("note", "an unknown field"),
        ("v", 2),
        ("hash", "sm3"),
        ("type", "receipt"),
    ],
)
def test_a_malformed_request_is_refused(field: str, value: Json) -> None:
    made, _ = request()
    body = dict(made.to_body()) | {field: value}
    with pytest.raises(MalformedError):
        parse_request(seal(body, PayloadType.AGGREGATE_REQUEST, key("shop")).encode())


def test_another_kind_of_body_is_no_request() -> None:
    body = PayloadType.RECEIPT.header()
    with pytest.raises(MalformedError):
        parse_request(seal(body, PayloadType.RECEIPT, key("shop")).encode())


def test_an_oversized_request_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MalformedError, match="bytes"):
        parse_request(b"{" * 70_000)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_request(data: bytes) -> None:
    with pytest.raises(AuditError):
        parse_request(data)


json_values: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.sampled_from(["mean", "wage", "education", "domain", "range", "8", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "column", "values", "lo", "hi"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["statistics", "group_by", "filters", "purpose"]), json_values))
def test_any_openings_are_a_query_or_our_error(values: dict[str, Json]) -> None:
    openings = opened(QUERY, **{name: canonicalise(value) for name, value in values.items()})
    try:
        query = parse_query(openings, FRAME)
        purpose = parse_purpose(openings)
    except (AuditError, SandboxError):
        return
    assert parse_query(opened(query), FRAME) == query
    assert query.to_fields(purpose).keys() == openings.keys()


@given(st.binary(max_size=100))
def test_any_bytes_in_an_opening_are_a_query_or_our_error(data: bytes) -> None:
    try:
        parse_query(opened(QUERY, statistics=data), FRAME)
    except (AuditError, SandboxError):
        return
