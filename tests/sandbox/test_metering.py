from __future__ import annotations

from dataclasses import replace

import pytest

from audit.tariff import Units
from protocols.aggregate import MeasureBound
from sandbox.errors import ContractError
from sandbox.frame import Frame
from sandbox.layout import ROWS_LIMIT, measure_bounds, plan_aggregate
from sandbox.metering import price_of, quote, units_of
from sandbox.request import Measure

from .agreement import FRAME, PROVIDERS, QUERY, contract


def test_units_follow_from_the_contract_alone() -> None:
    assert units_of(contract(), "north", 7) == Units(1, 1_000, 7, 0)


def test_the_price_is_that_of_the_tariff() -> None:
    assert price_of(contract(), "north", 7).total_micro == 1_500_000 + 20_000 + 3_500


def test_a_quote_names_every_provider() -> None:
    prices = quote(contract(), 7)
    assert list(prices) == list(PROVIDERS)
    assert sum(price.total_micro for price in prices.values()) == 3 * 1_523_500


def test_who_brings_no_data_uses_no_units() -> None:
    with pytest.raises(ContractError, match="shop"):
        units_of(contract(), "shop", 1)


def test_bounds_follow_from_declarations_and_hold_zero() -> None:
    rows = MeasureBound(0, ROWS_LIMIT)
    (table,) = QUERY.tables(FRAME)
    found = [measure_bounds(measure, FRAME) for measure in table.measures]
    assert found == [rows, MeasureBound(0, ROWS_LIMIT * 2_000_000), rows]
    high = replace(FRAME.columns[0], lo=500, hi=900, nullable=False)
    low = replace(FRAME.columns[0], name="loss", lo=-900, hi=-500, nullable=False)
    frame = Frame((high, low))
    bounds = {terms: measure_bounds(Measure(terms, ()), frame, rows_limit=10) for terms in (("wage",), ("loss",))}
    assert bounds == {("wage",): MeasureBound(0, 9_000), ("loss",): MeasureBound(-9_000, 0)}
    assert measure_bounds(Measure(("loss", "wage"), ()), frame, rows_limit=10) == MeasureBound(-8_100_000, 0)
    assert measure_bounds(Measure(("loss", "loss"), ()), frame, rows_limit=10) == MeasureBound(0, 8_100_000)


def test_bounds_too_wide_for_products_are_refused_before_any_scan() -> None:
    wide = replace(FRAME.columns[0], lo=0, hi=10**15)
    with pytest.raises(ContractError, match="too wide for sums of products"):
        measure_bounds(Measure(("wage", "wage"), ("wage",)), Frame((wide,)))


def test_a_category_is_not_added_up() -> None:
    with pytest.raises(ContractError, match="category"):
        measure_bounds(Measure(("sector",), ()), FRAME)


def test_every_party_derives_the_same_layout() -> None:
    layout = plan_aggregate(contract(), QUERY, 3072)
    assert layout == plan_aggregate(contract(), QUERY, 3072)
    (table,) = layout.tables
    assert (table.cells, len(table.bounds), layout.parties) == (4, 3, 3)
