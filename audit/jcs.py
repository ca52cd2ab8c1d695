"""Restricted canonical JSON: the only form in which anything is signed, hashed or stored.

RFC 8785 (JCS) narrowed to strings, booleans, integers within +-(2^53 - 1), arrays and objects: no floats, no null, no
duplicate keys. One value has exactly one encoding, and bytes that are not that encoding are refused.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, Union

from audit.errors import LimitExceededError, MalformedError

Json: TypeAlias = Union[str, bool, int, Sequence["Json"], Mapping[str, "Json"]]  # noqa: UP007  (recursive)
JsonObject: TypeAlias = dict[str, Json]

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493, section 2.2)."""

MAX_DEPTH: Final = 16
"""Arrays and objects inside one another, the outermost counted."""

_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False, sort_keys=False
)


def canonicalise(value: Json, *, depth: int = MAX_DEPTH) -> bytes:
    """The canonical bytes of `value` (RFC 8785, sections 3.2.1 to 3.2.4), UTF-8.

    Lists and tuples are arrays; mappings with string keys are objects.

    Raises:
        MalformedError: a float, null, bytes, an integer beyond +-(2^53 - 1), a lone surrogate, or another type.
        LimitExceededError: nested deeper than `depth`.
    """
    ordered = _ordered(value, depth)
    try:
        return _ENCODER.encode(ordered).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError(
            "a string holds a lone surrogate, which has no UTF-8 form: send well-formed text"
        ) from error


def parse_canonical(data: bytes, *, limit: int, depth: int = MAX_DEPTH) -> Json:
    """The value whose canonical bytes are exactly `data`.

    Args:
        data: bytes from anywhere.
        limit: most bytes accepted; checked before anything is parsed.
        depth: most arrays and objects inside one another.

    Raises:
        LimitExceededError: too long or too deep.
        MalformedError: not JSON, or JSON in another form than the canonical one.
    """
    if len(data) > limit:
        raise LimitExceededError(f"{len(data)} bytes of JSON, {limit} allowed")
    try:
        value: Json = _DECODER.decode(data.decode("utf-8"))
    except RecursionError as error:
        raise LimitExceededError(f"JSON nested deeper than {depth}") from error
    except ValueError as error:
        raise MalformedError(f"not JSON in UTF-8: {error}") from error
    if canonicalise(value, depth=depth) != data:
        raise MalformedError("JSON that is not canonical (RFC 8785): white space, key order, duplicate keys or escapes")
    return value


def to_base64(data: bytes) -> str:
    """Standard padded base64 (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, *, what: str = "value") -> bytes:
    """The bytes of canonical standard padded base64.

    Raises:
        MalformedError: another alphabet, missing padding, white space, or non-zero trailing bits.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MalformedError(f"{what}: not standard padded base64") from error
    if to_base64(data) != text:
        raise MalformedError(f"{what}: base64 that is not canonical (trailing bits must be zero)")
    return data


def _ordered(value: object, depth: int) -> object:
    """`value` checked, with every object's keys in order of their UTF-16 code units."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise MalformedError("an integer beyond +-(2^53 - 1): write 64-bit values as decimal strings")
        return value
    if depth == 0:
        raise LimitExceededError("JSON nested deeper than allowed")
    if isinstance(value, Mapping):
        return {key: _ordered(value[key], depth - 1) for key in _sorted_keys(value)}
    if isinstance(value, list | tuple):
        return [_ordered(item, depth - 1) for item in value]
    raise MalformedError(
        f"{type(value).__name__} has no place in signed JSON: only text, booleans, integers, arrays, objects"
    )


def _sorted_keys(value: Mapping[object, object]) -> list[str]:
    keys: list[str] = []
    ascii_only = True
    for key in value:
        if not isinstance(key, str):
            raise MalformedError(f"an object's key is {type(key).__name__}, not text")
        ascii_only = ascii_only and key.isascii()
        keys.append(key)
    if ascii_only:
        return sorted(keys)
    return sorted(keys, key=_utf16)


def _utf16(key: str) -> bytes:
    # Big-endian bytes compare as the code units do; a lone surrogate is refused when the text is encoded.
    return key.encode("utf-16-be", "surrogatepass")


def _refuse_float(text: str) -> float:
    raise ValueError(f"the number {text[:40]} is not an integer")


def _read_integer(text: str) -> int:
    if len(text) > 17:
        raise ValueError("an integer of more than 16 digits")
    return int(text)


_DECODER: Final = json.JSONDecoder(parse_float=_refuse_float, parse_int=_read_integer, parse_constant=_refuse_float)
