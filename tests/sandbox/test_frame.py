from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Fields, Json
from audit.errors import AuditError
from sandbox.errors import ContractError
from sandbox.frame import MAX_SCALED, ColumnType, Frame, FrameColumn, format_scaled

from .agreement import FRAME

WAGE, EDUCATION, SECTOR = FRAME.columns


def test_a_frame_reads_back_as_it_was_written() -> None:
    assert Frame.from_json([Fields(column) for column in FRAME.to_json()]) == FRAME


def test_the_levels_of_a_number_are_half_open_and_the_last_is_closed() -> None:
    labels = [level.label for level in EDUCATION.levels]
    assert labels == ["[0, 8)", "[8, 12)", "[12, 16)", "[16, 18]"]
    assert [level.closed for level in EDUCATION.levels] == [False, False, False, True]
    assert (EDUCATION.levels[1].lo, EDUCATION.levels[1].hi, EDUCATION.levels[1].value) == (8, 12, None)


def test_labels_have_all_decimals() -> None:
    column = FrameColumn("x", ColumnType.DECIMAL, "", 2, -500, 500, (), (-500, -5, 500), False)
    assert [level.label for level in column.levels] == ["[-5.00, -0.05)", "[-0.05, 5.00]"]


def test_the_levels_of_a_category_are_its_domain_in_declared_order() -> None:
    assert [level.value for level in SECTOR.levels] == ["farm", "shop", "office"]
    assert SECTOR.level_count == 3


def test_a_number_without_edges_has_no_levels() -> None:
    assert WAGE.levels == ()


@pytest.mark.parametrize(
    ("column", "changes"),
    [
        (WAGE, {"name": "Wage"}),
        (WAGE, {"name": "w" * 64}),
        (WAGE, {"lo": 3, "hi": 2}),
        (WAGE, {"lo": None}),
        (WAGE, {"hi": MAX_SCALED + 1}),
        (WAGE, {"decimals": 10}),
        (WAGE, {"decimals": -1}),
        (WAGE, {"domain": ("a",)}),
        (WAGE, {"unit": "u" * 41}),
        (WAGE, {"unit": "\x00"}),
        (EDUCATION, {"decimals": 1}),
        (EDUCATION, {"edges": (8,)}),
        (EDUCATION, {"edges": (8, 8)}),
        (EDUCATION, {"edges": (12, 8)}),
        (EDUCATION, {"edges": (-1, 8)}),
        (EDUCATION, {"edges": (8, 19)}),
        (SECTOR, {"domain": ()}),
        (SECTOR, {"domain": ("a", "a")}),
        (SECTOR, {"domain": ("",)}),
        (SECTOR, {"domain": ("a\nb",)}),
        (SECTOR, {"domain": ("a" * 201,)}),
        (SECTOR, {"lo": 0}),
        (SECTOR, {"edges": (0, 1)}),
        (SECTOR, {"decimals": 1}),
    ],
)
def test_a_contradictory_column_cannot_be_made(column: FrameColumn, changes: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        replace(column, **changes)


def test_a_frame_is_bounded() -> None:
    many = tuple(replace(WAGE, name=f"c{index}") for index in range(65))
    Frame(many[:64])
    with pytest.raises(ContractError, match="64"):
        Frame(many)
    with pytest.raises(ContractError):
        Frame(())
    with pytest.raises(ContractError, match="share a name"):
        Frame((WAGE, WAGE))
    wide = replace(SECTOR, domain=tuple(f"v{index}" for index in range(9_998)))
    Frame((wide, replace(SECTOR, name="other", domain=("a", "b"))))
    with pytest.raises(ContractError, match="levels"):
        Frame((wide, replace(SECTOR, name="other")))


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ContractError, match="wage, education, sector"):
        FRAME.column("salary")
    assert "wage" in FRAME
    assert "salary" not in FRAME


def test_unknown_fields_are_refused() -> None:
    body = dict(WAGE.to_json())
    with pytest.raises(AuditError):
        FrameColumn.from_json(Fields(body | {"note": "x"}))
    with pytest.raises(AuditError):
        FrameColumn.from_json(Fields(body | {"domain": ["x"]}))


@given(st.integers(-(10**18), 10**18), st.integers(0, 9))
def test_a_scaled_number_is_written_exactly(value: int, decimals: int) -> None:
    text = format_scaled(value, decimals)
    assert int(text.replace(".", "")) == value
    assert len(text.partition(".")[2]) == decimals


json_values: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | st.integers(-100, 100) | st.text(max_size=4) | st.sampled_from(["0", "7", "-3", "integer", "wage"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*sorted(WAGE.to_json()), "domain", "x"]), json_values), st.booleans())
def test_any_json_is_a_column_or_our_error(changes: dict[str, Json], from_category: bool) -> None:
    body = dict((SECTOR if from_category else WAGE).to_json()) | changes
    try:
        column = FrameColumn.from_json(Fields(body))
    except (AuditError, ContractError):
        return
    assert FrameColumn.from_json(Fields(column.to_json())) == column
