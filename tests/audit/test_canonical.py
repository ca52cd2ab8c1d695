from collections.abc import Callable
from enum import Enum

import pytest
from hypothesis import given

from audit.canonical import MAX_BIG, Fields, Json, body_header
from audit.errors import AuditError, LimitExceededError, MalformedError

from .mutations import JSON


class Colour(Enum):
    RED = "red"


READERS: list[Callable[[Fields], object]] = [
    lambda fields: fields.text("a"),
    lambda fields: fields.optional_text("a"),
    lambda fields: fields.text_or_empty("a", pattern="[a-z]+"),
    lambda fields: fields.texts("a"),
    lambda fields: fields.blocks("a", max_items=3, max_length=9),
    lambda fields: fields.text_map("a"),
    lambda fields: fields.hex_map("a"),
    lambda fields: fields.choice("a", Colour),
    lambda fields: fields.integer("a"),
    lambda fields: fields.optional_integer("a"),
    lambda fields: fields.big("a"),
    lambda fields: fields.optional_big("a"),
    lambda fields: fields.bigs("a"),
    lambda fields: fields.hex("a", 2),
    lambda fields: fields.hex_or_empty("a", 2),
    lambda fields: fields.base64("a", max_bytes=4),
    lambda fields: fields.boolean("a"),
    lambda fields: fields.list("a"),
    lambda fields: fields.object("a"),
    lambda fields: fields.optional_object("a"),
    lambda fields: fields.objects("a"),
    lambda fields: fields.object_map("a"),
    lambda fields: fields.header("x"),
]


@given(JSON)
def test_every_reader_accepts_or_raises_our_error(value: Json) -> None:
    for read in READERS:
        try:
            fields = Fields({"a": value})
            read(fields)
            fields.finish()
        except AuditError:
            continue


@pytest.mark.parametrize("value", [1, "x", True, []])
def test_only_an_object_has_fields(value: Json) -> None:
    with pytest.raises(MalformedError, match="object"):
        Fields(value)


def test_an_unknown_field_is_refused() -> None:
    fields = Fields({"a": "x", "b": 1}, "thing")
    assert fields.text("a") == "x"
    with pytest.raises(MalformedError, match=r"thing: unknown fields \['b'\]"):
        fields.finish()


def test_a_missing_field_is_named() -> None:
    with pytest.raises(MalformedError, match="thing: the field 'a' is missing"):
        Fields({}, "thing").text("a")


def test_an_absent_optional_field_is_none() -> None:
    fields = Fields({})
    assert fields.optional_text("a") is None
    assert fields.optional_integer("a") is None
    assert fields.optional_big("a") is None
    assert fields.optional_object("a") is None


@pytest.mark.parametrize("value", [{}, {"type": "x"}, {**body_header("x"), "v": 2}, {**body_header("x"), "v": True}])
def test_a_body_of_another_kind_or_version_is_refused(value: dict[str, Json]) -> None:
    with pytest.raises(MalformedError):
        Fields(value).header("x")
    Fields(body_header("x")).header("x").finish()


@pytest.mark.parametrize("value", [True, "1", -1, 11])
def test_an_integer_is_a_number_within_its_bounds(value: Json) -> None:
    with pytest.raises(MalformedError):
        Fields({"a": value}).integer("a", 0, 10)


@pytest.mark.parametrize("value", ["", "01", "+1", "-0", "1.0", " 1", "1 ", "١", "-1", str(MAX_BIG + 1), "9" * 60, 1])
def test_a_big_integer_has_one_spelling(value: Json) -> None:
    with pytest.raises(MalformedError):
        Fields({"a": value}).big("a")


def test_a_big_integer_may_be_negative_where_its_bounds_say_so() -> None:
    assert Fields({"a": "-5"}).big("a", lo=-10) == -5
    assert Fields({"a": str(MAX_BIG)}).big("a") == MAX_BIG


@pytest.mark.parametrize("value", ["ABCD", "abc", "abcdef", "ab d", 5, "abc\n"])
def test_hexadecimal_is_lowercase_and_of_exact_length(value: Json) -> None:
    with pytest.raises(MalformedError):
        Fields({"a": value}).hex("a", 2)


@pytest.mark.parametrize("value", ["", "a\nb", "a\x00", "\u2028", "a\x85"])
def test_text_is_not_empty_and_holds_no_control_characters(value: str) -> None:
    with pytest.raises(MalformedError):
        Fields({"a": value}).text("a")


def test_text_is_bounded_and_matches_its_pattern_wholly() -> None:
    with pytest.raises(LimitExceededError):
        Fields({"a": "x" * 11}).text("a", max_length=10)
    with pytest.raises(MalformedError):
        Fields({"a": "abc1"}).text("a", pattern="[a-z]+")
    assert Fields({"a": "统计局"}).text("a") == "统计局"


def test_arrays_objects_and_bytes_are_bounded() -> None:
    with pytest.raises(LimitExceededError):
        Fields({"a": ["x", "y"]}).texts("a", max_items=1)
    with pytest.raises(LimitExceededError):
        Fields({"a": {"x": "00", "y": "00"}}).hex_map("a", 1, max_items=1)
    with pytest.raises(LimitExceededError):
        Fields({"a": "AAAA"}).base64("a", max_bytes=2)
    with pytest.raises(MalformedError):
        Fields({"a": "AAAA"}).base64("a", max_bytes=8, nbytes=4)


def test_nested_errors_name_the_whole_path() -> None:
    with pytest.raises(MalformedError, match=r"thing\.a\[1\]: the field 'b' is missing"):
        Fields({"a": [{"b": 1}, {}]}, "thing").objects("a")[1].integer("b")
