"""The frame: the logical columns that a contract speaks about, the same for every provider.

A frame fixes the layout of cells and slots before anyone looks at a row: bounds, domains and bin edges are declared,
never computed from data. Numbers are fixed-point: an integer `x` at `decimals` d stands for x / 10^d, and all parties
use the frame's decimals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import pairwise
from typing import Final

from audit.canonical import Fields, Json
from sandbox.errors import ContractError

MAX_COLUMNS: Final = 64
MAX_LEVELS: Final = 10_000  # over all columns of a frame
MAX_DECIMALS: Final = 9
MAX_SCALED: Final = 10**18 - 1  # so that a sum over 2^32 rows has 38 digits at most
MAX_LEVEL_LENGTH: Final = 200  # characters
MAX_UNIT_LENGTH: Final = 40

COLUMN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ColumnType(Enum):
    """What a column's values are."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    CATEGORY = "category"


class Use(StrEnum):
    """What a contract may permit a column to be used for."""

    AGGREGATE = "aggregate"
    GROUP_BY = "group_by"
    FILTER = "filter"
    JOIN = "join"
    FEATURE = "feature"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a grouping column: a category, or an interval [lo, hi), or [lo, hi] when `closed`.

    `lo` and `hi` are scaled integers; a category has a `value` instead.
    """

    label: str
    value: str | None
    lo: int | None
    hi: int | None
    closed: bool


@dataclass(frozen=True, slots=True)
class FrameColumn:
    """A logical column.

    A number has scaled bounds `lo <= hi` and perhaps bin edges within them, strictly increasing, two at least. A
    category has a domain. Values outside the edges, and nulls, lie in no level.

    Raises:
        ContractError: a field contradicts the type or a limit of this module.
    """

    name: str
    type: ColumnType
    unit: str
    decimals: int
    lo: int | None
    hi: int | None
    domain: tuple[str, ...]
    edges: tuple[int, ...]
    nullable: bool

    def __post_init__(self) -> None:
        if not COLUMN_NAME.fullmatch(self.name):
            raise ContractError(f"column name {self.name[:80]!r} is not lowercase letters, digits and _: rename it")
        if len(self.unit) > MAX_UNIT_LENGTH or not is_printable(self.unit):
            raise ContractError(f"column {self.name}: the unit must be at most {MAX_UNIT_LENGTH} printable characters")
        if self.type is ColumnType.CATEGORY:
            self._check_category()
        else:
            self._check_number()

    def _check_category(self) -> None:
        if self.lo is not None or self.hi is not None or self.edges or self.decimals:
            raise ContractError(f"column {self.name} is a category: it has a domain, no bounds, edges or decimals")
        if not 1 <= len(self.domain) <= MAX_LEVELS:
            raise ContractError(f"column {self.name}: a domain has 1 to {MAX_LEVELS} values, not {len(self.domain)}")
        if len(set(self.domain)) != len(self.domain):
            raise ContractError(f"column {self.name}: a value of the domain is listed twice; list each once")
        for value in self.domain:
            if not 1 <= len(value) <= MAX_LEVEL_LENGTH or not is_printable(value):
                raise ContractError(
                    f"column {self.name}: {value[:40]!r} is not 1 to {MAX_LEVEL_LENGTH} printable characters"
                )

    def _check_number(self) -> None:
        if self.domain:
            raise ContractError(f"column {self.name} is a number: it has bounds and perhaps edges, no domain")
        if not 0 <= self.decimals <= (MAX_DECIMALS if self.type is ColumnType.DECIMAL else 0):
            raise ContractError(f"column {self.name}: {self.decimals} decimals are not allowed for {self.type.value}")
        if self.lo is None or self.hi is None or not -MAX_SCALED <= self.lo <= self.hi <= MAX_SCALED:
            raise ContractError(
                f"column {self.name}: bounds lo <= hi of at most 18 digits at its decimals are required"
            )
        if not self.edges:
            return
        if not 2 <= len(self.edges) <= MAX_LEVELS + 1 or any(a >= b for a, b in pairwise(self.edges)):
            raise ContractError(f"column {self.name}: edges are two or more, strictly increasing")
        if self.edges[0] < self.lo or self.edges[-1] > self.hi:
            raise ContractError(f"column {self.name}: its edges leave the bounds; keep them within lo and hi")

    @property
    def level_count(self) -> int:
        """How many levels there are."""
        return len(self.domain) if self.type is ColumnType.CATEGORY else max(0, len(self.edges) - 1)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The column's levels in declared order; none for a number without edges."""
        return tuple(self.level(index) for index in range(self.level_count))

    def level(self, index: int) -> Level:
        """Level `index` (0 <= index < level_count)."""
        if self.type is ColumnType.CATEGORY:
            return Level(self.domain[index], self.domain[index], None, None, False)
        lo, hi, closed = self.edges[index], self.edges[index + 1], index == self.level_count - 1
        ends = f"{format_scaled(lo, self.decimals)}, {format_scaled(hi, self.decimals)}"
        return Level(f"[{ends}{']' if closed else ')'}", None, lo, hi, closed)

    def to_json(self) -> dict[str, Json]:
        """The column as signed: bounds and edges are decimal strings of scaled integers."""
        body: dict[str, Json] = {
            "name": self.name,
            "type": self.type.value,
            "unit": self.unit,
            "decimals": self.decimals,
            "nullable": self.nullable,
        }
        if self.type is ColumnType.CATEGORY:
            body["domain"] = list(self.domain)
        else:
            body["lo"] = str(self.lo)
            body["hi"] = str(self.hi)
            body["edges"] = [str(edge) for edge in self.edges]
        return body

    @classmethod
    def from_json(cls, fields: Fields) -> FrameColumn:
        """Read a column.

        Raises:
            MalformedError: a field is missing, unknown or of the wrong type.
            ContractError: the fields contradict one another.
        """
        kind = fields.choice("type", ColumnType)
        is_category = kind is ColumnType.CATEGORY
        column = cls(
            name=fields.text("name", max_length=63, pattern=COLUMN_NAME),
            type=kind,
            unit=fields.text("unit", max_length=MAX_UNIT_LENGTH, min_length=0),
            decimals=fields.integer("decimals", 0, MAX_DECIMALS),
            lo=None if is_category else fields.big("lo", lo=-MAX_SCALED, hi=MAX_SCALED),
            hi=None if is_category else fields.big("hi", lo=-MAX_SCALED, hi=MAX_SCALED),
            domain=fields.texts("domain", max_items=MAX_LEVELS, max_length=MAX_LEVEL_LENGTH) if is_category else (),
            edges=() if is_category else fields.bigs("edges", lo=-MAX_SCALED, hi=MAX_SCALED, max_items=MAX_LEVELS + 1),
            nullable=fields.boolean("nullable"),
        )
        fields.finish()
        return column


@dataclass(frozen=True, slots=True)
class Frame:
    """The columns of a contract in the merchant's order.

    Raises:
        ContractError: no column, more than 64, a name twice, or more than 10,000 levels in all.
    """

    columns: tuple[FrameColumn, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise ContractError(f"a frame has 1 to {MAX_COLUMNS} columns, not {len(self.columns)}")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ContractError("a frame names each column once; two columns share a name")
        levels = sum(column.level_count for column in self.columns)
        if levels > MAX_LEVELS:
            raise ContractError(f"the frame has {levels} levels, {MAX_LEVELS} are allowed; use fewer or wider bins")

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def column(self, name: str) -> FrameColumn:
        """The column of that name.

        Raises:
            ContractError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns)
        raise ContractError(f"the frame has no column {name[:80]!r}; it has {known}")

    def to_json(self) -> list[Json]:
        """The columns as signed."""
        return [column.to_json() for column in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Fields]) -> Frame:
        """Read a frame.

        Raises:
            MalformedError: a column is malformed.
            ContractError: a limit is exceeded or fields contradict one another.
        """
        return cls(tuple(FrameColumn.from_json(column) for column in columns))


def format_scaled(value: int, decimals: int) -> str:
    """Write a scaled integer with all its decimals: (1250, 2) -> "12.50"."""
    if decimals == 0:
        return str(value)
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def is_printable(text: str) -> bool:
    """Whether a text has no control, format, surrogate or unassigned characters."""
    return all(unicodedata.category(character)[0] != "C" for character in text)
