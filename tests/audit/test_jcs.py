import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Json, canonicalise, from_base64, parse_canonical, to_base64
from audit.errors import AuditError, LimitExceededError, MalformedError

from .mutations import JSON


@given(JSON)
def test_the_bytes_are_those_of_the_reference_implementation(value: Json) -> None:
    assert canonicalise(value) == rfc8785.dumps(value)


@given(JSON)
def test_what_was_written_reads_back(value: Json) -> None:
    assert parse_canonical(canonicalise(value), limit=1 << 20) == value


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    # RFC 8785, section 3.2.3, whose example the emoji decides: its first code unit is D83D, before FB33.
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonicalise(value)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_strings_are_escaped_as_the_rfc_says() -> None:
    # RFC 8785, section 3.2.2: the "string" member of its sample.
    assert canonicalise('\u20ac$\u000f\nA\'B"\\\\"/') == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


@pytest.mark.parametrize(
    "value",
    [None, 1.0, float("nan"), b"x", 2**53, -(2**53), {1: "x"}, {"a": None}, [1.5], "\ud800", {"\ud800": 1}, {1, 2}],
)
def test_what_has_no_place_in_signed_json_is_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        canonicalise(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1\n",
        b"01",
        b"-0",
        b"1.0",
        b"1e3",
        b"null",
        b"NaN",
        b"Infinity",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1, "b":2}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"9007199254740992",
        b"9" * 5000,
        b'"a',
        b"[1,]",
        b"1 2",
    ],
)
def test_json_in_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_canonical(data, limit=10_000)


def test_more_bytes_than_the_limit_are_refused_unparsed() -> None:
    assert parse_canonical(b'"aa"', limit=4) == "aa"
    with pytest.raises(LimitExceededError):
        parse_canonical(b'"aaa"', limit=4)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    parse_canonical(opening * 16 + b"1" + closing * 16, limit=1 << 20)
    for depth in (17, 200, 60_000):
        with pytest.raises(LimitExceededError):
            parse_canonical(opening * depth + b"1" + closing * depth, limit=1 << 20)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-\\u truefalsn', max_size=40).map(str.encode))
def test_random_bytes_are_canonical_or_malformed(data: bytes) -> None:
    try:
        value = parse_canonical(data, limit=100)
    except AuditError:
        return
    assert canonicalise(value) == data


@given(st.binary(max_size=40))
def test_base64_reads_back(data: bytes) -> None:
    assert from_base64(to_base64(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AB==", "AAA", "AAB=", "AA==\n", "A A=", "_-==", "AA==AA==", "é", "="]
)
def test_base64_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        from_base64(text)
