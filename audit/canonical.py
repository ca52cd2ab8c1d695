"""Typed reading of canonical JSON: bytes of unknown origin become checked fields, or a `MalformedError`.

The encoding itself is in `audit.jcs` and is re-exported here. A decoder takes every field it knows out of a `Fields`
and calls `finish`, so that an unknown field is refused rather than ignored.
"""

import builtins
import re
from enum import Enum
from typing import Final, TypeVar

from audit.errors import LimitExceededError, MalformedError
from audit.hashes import SHA256_BYTES, HashAlgorithm
from audit.jcs import (
    MAX_DEPTH,
    MAX_INTEGER,
    Json,
    JsonObject,
    canonicalise,
    from_base64,
    parse_canonical,
    to_base64,
)

__all__ = [
    "MAX_BIG",
    "MAX_DEPTH",
    "MAX_INTEGER",
    "Fields",
    "Json",
    "JsonObject",
    "body_header",
    "canonicalise",
    "from_base64",
    "parse_canonical",
    "to_base64",
]

MAX_BIG: Final = 2**63 - 1
"""The largest value of a decimal string unless a field says otherwise: a signed 64-bit integer."""

_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,38}")
_HEX: Final = re.compile(r"[0-9a-f]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_E = TypeVar("_E", bound=Enum)


def body_header(kind: str) -> JsonObject:
    """The fields that every signed body starts from: its type, version and hash algorithm."""
    return {"type": kind, "v": 1, "hash": HashAlgorithm.SHA256.value}


class Fields:
    """One JSON object being read, each field once.

    Every method raises `MalformedError` (or its subclass `LimitExceededError`) naming the place and the field. The
    `optional_` methods give None for an absent field.

    Args:
        obj: a parsed JSON value; anything but an object is refused.
        where: what it is, for error messages.
    """

    __slots__ = ("_left", "_where")

    def __init__(self, obj: object, where: str = "object") -> None:
        if not isinstance(obj, dict):
            raise MalformedError(f"{where}: an object is wanted, not {type(obj).__name__}")
        self._left: dict[str, Json] = dict(obj)
        self._where = where

    @classmethod
    def parse(cls, data: bytes, *, limit: int, where: str = "object", depth: int = MAX_DEPTH) -> "Fields":
        """The object whose canonical bytes are `data`, at most `limit` of them."""
        return cls(parse_canonical(data, limit=limit, depth=depth), where)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def header(self, kind: str) -> "Fields":
        """Take type, version and hash algorithm, which must be those of `body_header(kind)`."""
        for name, wanted in body_header(kind).items():
            found = self._take(name)
            if type(found) is not type(wanted) or found != wanted:
                raise MalformedError(f"{self._where}: {name} is {found!r:.60}, this release reads {wanted!r} only")
        return self

    def text(
        self, name: str, *, max_length: int = 256, pattern: str | re.Pattern[str] | None = None, min_length: int = 1
    ) -> str:
        """Text of `min_length` to `max_length` characters without control characters, all of it matching `pattern`."""
        return self._checked_text(self._take(name), name, (min_length, max_length), pattern)

    def optional_text(
        self, name: str, *, max_length: int = 256, pattern: str | re.Pattern[str] | None = None
    ) -> str | None:
        """As `text`, or None where the field is absent."""
        return self.text(name, max_length=max_length, pattern=pattern) if name in self._left else None

    def text_or_empty(self, name: str, *, max_length: int = 256, pattern: str | re.Pattern[str] | None = None) -> str:
        """As `text`, or the empty text, which `pattern` need not match."""
        value = self._take(name)
        return "" if value == "" else self._checked_text(value, name, (1, max_length), pattern)

    def texts(
        self,
        name: str,
        *,
        max_items: int = 1024,
        max_length: int = 256,
        pattern: str | re.Pattern[str] | None = None,
    ) -> tuple[str, ...]:
        """An array of non-empty texts, in their order."""
        return tuple(
            self._checked_text(item, name, (1, max_length), pattern) for item in self.list(name, max_items=max_items)
        )

    def blocks(self, name: str, *, max_items: int, max_length: int) -> tuple[str, ...]:
        """An array of non-empty texts of several lines each (PEM blocks), whose form the caller checks."""
        items = self.list(name, max_items=max_items)
        blocks = tuple(item for item in items if isinstance(item, str) and 1 <= len(item) <= max_length)
        if len(blocks) != len(items):
            raise MalformedError(
                f"{self._where}: {name} holds something else than text of 1 to {max_length} characters"
            )
        return blocks

    def text_map(self, name: str, *, max_items: int = 1024, max_length: int = 256) -> dict[str, str]:
        """An object whose keys and values are non-empty texts."""
        bounds = (1, max_length)
        return {
            self._checked_text(key, name, bounds, None): self._checked_text(value, f"{name}.{key}", bounds, None)
            for key, value in self._object(name, max_items).items()
        }

    def hex_map(self, name: str, nbytes: int = SHA256_BYTES, *, max_items: int = 64) -> dict[str, str]:
        """An object from short names to `nbytes` bytes in lowercase hexadecimal."""
        return {
            self._checked_text(key, name, (1, 64), None): self._checked_hex(value, f"{name}.{key}", nbytes)
            for key, value in self._object(name, max_items).items()
        }

    def choice(self, name: str, choices: type[_E]) -> _E:
        """The member of `choices` whose value is the field's text."""
        text = self.text(name, max_length=64)
        for member in choices:
            if member.value == text:
                return member
        raise MalformedError(f"{self._where}: {name} is {text!r}, not one of {[member.value for member in choices]}")

    def integer(self, name: str, lo: int = 0, hi: int = MAX_INTEGER) -> int:
        """A JSON integer in lo..hi."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedError(f"{self._where}: {name} is not an integer")
        return self._within(value, name, lo, hi)

    def optional_integer(self, name: str, lo: int = 0, hi: int = MAX_INTEGER) -> int | None:
        """As `integer`, or None where the field is absent."""
        return self.integer(name, lo, hi) if name in self._left else None

    def big(self, name: str, *, lo: int = 0, hi: int = MAX_BIG) -> int:
        """An integer in lo..hi written as a decimal string without leading zeros."""
        return self._checked_big(self._take(name), name, lo, hi)

    def optional_big(self, name: str, *, lo: int = 0, hi: int = MAX_BIG) -> int | None:
        """As `big`, or None where the field is absent."""
        return self.big(name, lo=lo, hi=hi) if name in self._left else None

    def bigs(self, name: str, *, lo: int = 0, hi: int = MAX_BIG, max_items: int = 1024) -> tuple[int, ...]:
        """An array of integers in lo..hi, each a decimal string."""
        return tuple(self._checked_big(item, name, lo, hi) for item in self.list(name, max_items=max_items))

    def hex(self, name: str, nbytes: int = SHA256_BYTES) -> str:
        """Exactly `nbytes` bytes as lowercase hexadecimal text (returned as text)."""
        return self._checked_hex(self._take(name), name, nbytes)

    def hex_or_empty(self, name: str, nbytes: int = SHA256_BYTES) -> str:
        """As `hex`, or the empty text."""
        value = self._take(name)
        return "" if value == "" else self._checked_hex(value, name, nbytes)

    def base64(self, name: str, *, max_bytes: int, nbytes: int | None = None) -> bytes:
        """Bytes written as canonical base64: at most `max_bytes`, and exactly `nbytes` where given."""
        value = self._take(name)
        if not isinstance(value, str):
            raise MalformedError(f"{self._where}: {name} is not base64 text")
        if len(value) > 4 * ((max_bytes + 2) // 3):
            raise LimitExceededError(f"{self._where}: {name} is longer than {max_bytes} bytes")
        data = from_base64(value, what=f"{self._where}: {name}")
        if len(data) > max_bytes:
            raise LimitExceededError(f"{self._where}: {name} is longer than {max_bytes} bytes")
        if nbytes is not None and len(data) != nbytes:
            raise MalformedError(f"{self._where}: {name} has {len(data)} bytes, {nbytes} wanted")
        return data

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise MalformedError(f"{self._where}: {name} is not true or false")
        return value

    def list(self, name: str, *, max_items: int = 1024) -> builtins.list[Json]:
        """An array of at most `max_items` values."""
        value = self._take(name)
        if not isinstance(value, list):
            raise MalformedError(f"{self._where}: {name} is not an array")
        if len(value) > max_items:
            raise LimitExceededError(f"{self._where}: {name} has {len(value)} items, {max_items} allowed")
        return value

    def object(self, name: str) -> "Fields":
        """An object, to be read (and finished) in its turn."""
        return Fields(self._take(name), f"{self._where}.{name}")

    def optional_object(self, name: str) -> "Fields | None":
        """As `object`, or None where the field is absent."""
        return self.object(name) if name in self._left else None

    def objects(self, name: str, *, max_items: int = 1024) -> "builtins.list[Fields]":
        """An array of objects."""
        items = self.list(name, max_items=max_items)
        return [Fields(item, f"{self._where}.{name}[{index}]") for index, item in enumerate(items)]

    def object_map(self, name: str, *, max_items: int = 1024) -> "dict[str, Fields]":
        """An object whose values are objects."""
        return {
            self._checked_text(key, name, (1, 256), None): Fields(value, f"{self._where}.{name}.{key:.60}")
            for key, value in self._object(name, max_items).items()
        }

    def finish(self) -> None:
        """Refuse what was not read: unknown fields are errors, never ignored."""
        if self._left:
            raise MalformedError(
                f"{self._where}: unknown fields {sorted(self._left)!r:.200}: written by a later release?"
            )

    def _take(self, name: str) -> Json:
        try:
            return self._left.pop(name)
        except KeyError:
            raise MalformedError(f"{self._where}: the field {name!r} is missing") from None

    def _object(self, name: str, max_items: int) -> "dict[str, Json]":
        value = self._take(name)
        if not isinstance(value, dict):
            raise MalformedError(f"{self._where}: {name} is not an object")
        if len(value) > max_items:
            raise LimitExceededError(f"{self._where}: {name} has {len(value)} members, {max_items} allowed")
        return value

    def _checked_text(
        self, value: Json, name: str, bounds: tuple[int, int], pattern: str | re.Pattern[str] | None
    ) -> str:
        if not isinstance(value, str):
            raise MalformedError(f"{self._where}: {name:.60} is not text")
        if len(value) < bounds[0]:
            raise MalformedError(f"{self._where}: {name:.60} is empty or too short")
        if len(value) > bounds[1]:
            raise LimitExceededError(f"{self._where}: {name:.60} has {len(value)} characters, {bounds[1]} allowed")
        if _CONTROL.search(value):
            raise MalformedError(f"{self._where}: {name!r:.60} holds control characters")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise MalformedError(f"{self._where}: {name:.60} is {value!r:.80}, which is not of its form")
        return value

    def _checked_hex(self, value: Json, name: str, nbytes: int) -> str:
        if not isinstance(value, str) or len(value) != 2 * nbytes or _HEX.fullmatch(value) is None:
            raise MalformedError(f"{self._where}: {name:.80} is not {nbytes} bytes in lowercase hexadecimal")
        return value

    def _checked_big(self, value: Json, name: str, lo: int, hi: int) -> int:
        if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
            raise MalformedError(f'{self._where}: {name} is not a decimal integer in text, such as "1500000"')
        return self._within(int(value), name, lo, hi)

    def _within(self, value: int, name: str, lo: int, hi: int) -> int:
        if not lo <= value <= hi:
            raise MalformedError(f"{self._where}: {name} is {value}, outside {lo} to {hi}")
        return value
