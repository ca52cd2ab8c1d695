"""Read TOML written by people: every refusal names the file, the line and what mends it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from sandbox.errors import DeclarationError
from sandbox.frame import is_printable

MAX_FILE_BYTES: Final = 1 << 20

_Choice = TypeVar("_Choice", bound=Enum)
_Path = tuple[str, ...]
_KEY: Final = re.compile(r"""\s*(?:([A-Za-z0-9_-]+)|"([^"\\]*)"|'([^']*)')\s*=""")
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\- ]+?)\s*\]\]?\s*(?:#.*)?$")
_PLACE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(slots=True)
class TomlTable:
    """One table of a file, read key by key; `finish` refuses the keys that nobody asked for."""

    file: str
    path: _Path
    values: Mapping[str, object]
    lines: Mapping[_Path, int]
    label: str = ""
    _seen: set[str] = field(default_factory=set)

    def error(self, key: str, detail: str) -> DeclarationError:
        """The refusal of `key` in this table."""
        line = self.lines.get((*self.path, key), self.lines.get(self.path))
        return DeclarationError(self.file, line, self.label, f"{key}: {detail}" if key else detail)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.values

    def text(
        self, key: str, *, max_length: int, default: str | None = None, pattern: re.Pattern[str] | None = None
    ) -> str:
        """A printable text of 1 to `max_length` characters, all of it matching `pattern`; required without default.

        Raises:
            DeclarationError: missing, no text, or not of that form.
        """
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(key, "must be a text in quotes")
        if not (1 <= len(value) <= max_length or value == default) or not is_printable(value):
            raise self.error(key, f"must be 1 to {max_length} printable characters on one line")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.error(key, f"{value[:80]!r} does not match {pattern.pattern}")
        return value

    def paragraph(self, key: str, *, max_length: int) -> str:
        """A required text that may run over several lines; white space is folded to single spaces.

        Raises:
            DeclarationError: missing, no text, empty, too long or unprintable.
        """
        value = self._take(key, None)
        folded = " ".join(value.split()) if isinstance(value, str) else ""
        if not 1 <= len(folded) <= max_length or not is_printable(folded):
            raise self.error(key, f"must be a text in quotes of 1 to {max_length} printable characters")
        return folded

    def integer(self, key: str, lo: int, hi: int, *, default: int | None = None) -> int:
        """An integer within `lo` to `hi`; required without default.

        Raises:
            DeclarationError: missing, no integer, or out of range.
        """
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lo <= value <= hi:
            raise self.error(key, f"must be an integer from {lo} to {hi}")
        return value

    def optional_integer(self, key: str, lo: int, hi: int) -> int | None:
        """As `integer`, or None when the key is not there."""
        return self.integer(key, lo, hi) if self.has(key) else None

    def number(self, key: str) -> Decimal | None:
        """A finite number exactly as written, or None when the key is not there.

        Raises:
            DeclarationError: no number.
        """
        return self._number(key, self._take(key, None)) if self.has(key) else None

    def numbers(self, key: str) -> tuple[Decimal, ...]:
        """A list of finite numbers exactly as written; empty when the key is not there.

        Raises:
            DeclarationError: no list of numbers.
        """
        return tuple(self._number(key, item) for item in self._list(key))

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false.

        Raises:
            DeclarationError: neither.
        """
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false, without quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when the key is not there.

        Raises:
            DeclarationError: no list of texts.
        """
        items = self._list(key)
        if not all(isinstance(item, str) for item in items):
            raise self.error(key, 'must be a list of texts in quotes, as ["a", "b"]')
        return tuple(str(item) for item in items)

    def day(self, key: str) -> str:
        """A date, as ISO 8601 text.

        Raises:
            DeclarationError: missing or no date.
        """
        value = self._take(key, None)
        try:
            return (value if type(value) is date else date.fromisoformat(str(value))).isoformat()
        except ValueError:
            raise self.error(key, "must be a date written YYYY-MM-DD") from None

    def choice(self, key: str, choices: type[_Choice], *, default: _Choice | None = None) -> _Choice:
        """A member of an enum, named by its value; required without default.

        Raises:
            DeclarationError: missing or no member.
        """
        value = self._take(key, None if default is None else default.value)
        return self.member(key, value, choices)

    def member(self, key: str, value: object, choices: type[_Choice]) -> _Choice:
        """The member of `choices` whose value is `value`.

        Raises:
            DeclarationError: there is none.
        """
        for choice in choices:
            if choice.value == value:
                return choice
        allowed = ", ".join(str(choice.value) for choice in choices)
        raise self.error(key, f"{str(value)[:80]!r} is not one of {allowed}")

    def table(self, key: str, *, required: bool = True) -> TomlTable:
        """A table inside this one; an empty one when it is not there and not required.

        Raises:
            DeclarationError: missing or no table.
        """
        if not self.has(key) and required:
            raise self.error("", f"the table [{'.'.join((*self.path, key))}] is missing")
        value = self._take(key, None) if self.has(key) else {}
        if not isinstance(value, dict):
            raise self.error(key, f"must be a table, written [{'.'.join((*self.path, key))}]")
        return TomlTable(self.file, (*self.path, key), value, self.lines, self.label)

    def tables(self, key: str) -> list[TomlTable]:
        """A list of tables, written [[key]]; empty when there is none.

        Raises:
            DeclarationError: something else.
        """
        items = self._list(key)
        tables = []
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.error(key, f"must be written [[{key}]]")
            tables.append(TomlTable(self.file, (*self.path, key, str(index)), item, self.lines, self.label))
        return tables

    def finish(self) -> None:
        """Refuse the keys that were not read.

        Raises:
            DeclarationError: there is one.
        """
        for key in self.values:
            if key not in self._seen:
                known = ", ".join(sorted(self._seen))
                raise self.error(key, f"this key is not known here; known are {known}")

    def _take(self, key: str, default: object) -> object:
        self._seen.add(key)
        if key in self.values:
            return self.values[key]
        if default is None:
            raise self.error(key, "is missing; add it")
        return default

    def _list(self, key: str) -> list[object]:
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self.error(key, "must be a list, in square brackets")
        return value

    def _number(self, key: str, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.error(key, "must be a number, without quotes")
        number = Decimal(value)
        if not number.is_finite():
            raise self.error(key, "must be finite")
        return number


def read_toml(path: Path) -> TomlTable:
    """Read a file into its root table; numbers with a point stay exactly as written.

    Raises:
        DeclarationError: unreadable, over 1 MiB, not UTF-8, or not TOML (with line and column).
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DeclarationError(
            file, None, "", f"cannot be read ({error.strerror}); check path and permissions"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise DeclarationError(file, None, "", f"is over {MAX_FILE_BYTES} bytes; a declaration lists columns, not data")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeclarationError(file, line, "", "is not UTF-8 text; save it as UTF-8") from None
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        detail = _PLACE.sub(f" (at character {place[2]})" if place else "", str(error))
        raise DeclarationError(file, int(place[1]) if place else None, "", f"is not TOML: {detail}") from None
    return TomlTable(file, (), values, _line_numbers(text))


def _line_numbers(text: str) -> dict[_Path, int]:
    """Where each table and key is written; only error messages rest on it, so it reads the common forms alone."""
    lines: dict[_Path, int] = {}
    counts: dict[_Path, int] = {}
    table: _Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(part.strip() for part in header[2].split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[1] or key[2] or key[3] or ""), number)
    return lines
