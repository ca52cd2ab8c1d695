"""A column as others see it, and the rules that every column keeps.

Numbers are fixed-point: an integer x at `decimals` d stands for x / 10^d. Bounds, domains and edges are public by
declaration and never computed from rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from itertools import pairwise
from typing import Final, TypeAlias

from audit.canonical import Fields, Json
from audit.errors import MalformedError
from sandbox.frame import COLUMN_NAME, MAX_LEVEL_LENGTH, MAX_UNIT_LENGTH, ColumnType, Use, is_printable
from sandbox.grades import Grade

MAX_DECIMALS: Final = 9
MAX_SCALED: Final = 10**18 - 1  # a scaled bound fits DECIMAL(18, d); a sum of 2^32 of them fits DECIMAL(38, d)
MAX_DOMAIN: Final = 1_000
MAX_EDGES: Final = 1_001
MAX_TITLE: Final = 200  # characters

_NEEDS_LEVELS: Final = frozenset({Use.GROUP_BY, Use.FILTER})
_NEEDS_RANGE: Final = frozenset(Use) - {Use.JOIN}
_Refuse: TypeAlias = Callable[[str, str], Exception]  # key, detail -> the error to raise


class OnViolation(Enum):
    """What becomes of a row whose value contradicts the column's declaration.

    REFUSE: the provider does not start; a row that violates later is excluded. EXCLUDE: the row is left out of every
    call that uses the column. CLIP: a number is moved to the nearer bound; whatever else is wrong excludes the row.
    """

    REFUSE = "refuse"
    EXCLUDE = "exclude"
    CLIP = "clip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDescription:
    """The public part of a column.

    `lo`, `hi` and `edges` are scaled integers at `decimals`; `domain` lists the values of a category. `grade_review` is
    the ISO date of the next review of the grade. `identifies_provider` marks a column whose value tells the provider.
    """

    name: str
    title: str
    type: ColumnType
    unit: str
    decimals: int
    lo: int | None
    hi: int | None
    domain: tuple[str, ...]
    edges: tuple[int, ...]
    nullable: bool
    grade: Grade
    grade_basis: str
    grade_review: str
    uses: frozenset[Use]
    on_violation: OnViolation
    identifies_provider: bool

    def to_json(self) -> dict[str, Json]:
        """The column's public part as signed: bounds and edges are decimal strings of scaled integers."""
        body: dict[str, Json] = {
            "name": self.name,
            "title": self.title,
            "type": self.type.value,
            "unit": self.unit,
            "decimals": self.decimals,
            "domain": list(self.domain),
            "edges": [str(edge) for edge in self.edges],
            "nullable": self.nullable,
            "grade": self.grade.value,
            "grade_basis": self.grade_basis,
            "grade_review": self.grade_review,
            "uses": sorted(use.value for use in self.uses),
            "on_violation": self.on_violation.value,
            "identifies_provider": self.identifies_provider,
        }
        for name, bound in (("lo", self.lo), ("hi", self.hi)):
            if bound is not None:
                body[name] = str(bound)
        return body

    @classmethod
    def from_json(cls, fields: Fields) -> ColumnDescription:
        """Read a column.

        Raises:
            MalformedError: a field is missing, unknown, out of range, or contradicts another.
        """
        column = cls(
            name=fields.text("name", max_length=63, pattern=COLUMN_NAME),
            title=fields.text("title", max_length=MAX_TITLE),
            type=fields.choice("type", ColumnType),
            unit=fields.text("unit", max_length=MAX_UNIT_LENGTH, min_length=0),
            decimals=fields.integer("decimals", 0, MAX_DECIMALS),
            lo=fields.optional_big("lo", lo=-MAX_SCALED, hi=MAX_SCALED),
            hi=fields.optional_big("hi", lo=-MAX_SCALED, hi=MAX_SCALED),
            domain=fields.texts("domain", max_items=MAX_DOMAIN, max_length=MAX_LEVEL_LENGTH),
            edges=fields.bigs("edges", lo=-MAX_SCALED, hi=MAX_SCALED, max_items=MAX_EDGES),
            nullable=fields.boolean("nullable"),
            grade=fields.choice("grade", Grade),
            grade_basis=fields.text("grade_basis", max_length=MAX_TITLE),
            grade_review=_day(fields.text("grade_review", max_length=10)),
            uses=_uses(fields.texts("uses", max_items=len(Use))),
            on_violation=fields.choice("on_violation", OnViolation),
            identifies_provider=fields.boolean("identifies_provider"),
        )
        fields.finish()
        check_column(column, lambda key, detail: MalformedError(f"dataset: column {column.name}, {key} {detail}"))
        return column


def check_column(column: ColumnDescription, refuse: _Refuse) -> None:
    """Hold a column against the rules of its type, its grade and its uses; raises what `refuse(key, detail)` makes."""
    if column.grade is Grade.CORE:
        raise refuse("grade", "core data (核心数据, GB/T 43697-2024) are never served; take the column out")
    if column.type is ColumnType.CATEGORY:
        _check_category(column, refuse)
    else:
        _check_number(column, refuse)


def _check_category(column: ColumnDescription, refuse: _Refuse) -> None:
    for key, given in (
        ("lo", column.lo is not None),
        ("hi", column.hi is not None),
        ("edges", bool(column.edges)),
        ("decimals", column.decimals != 0),
    ):
        if given:
            raise refuse(key, "a category has a domain, no bounds, edges or decimals; take it out")
    if column.on_violation is OnViolation.CLIP:
        raise refuse("on_violation", "a category cannot be clipped; say refuse or exclude")
    if column.uses & _NEEDS_RANGE and not column.domain:
        raise refuse("domain", 'is missing; list the allowed values, as domain = ["yes", "no"]')
    if len(column.domain) > MAX_DOMAIN:
        raise refuse("domain", f"lists {len(column.domain)} values, {MAX_DOMAIN} are allowed")
    if len(set(column.domain)) != len(column.domain):
        raise refuse("domain", "lists a value twice; list each once")
    for value in column.domain:
        if not 1 <= len(value) <= MAX_LEVEL_LENGTH or not is_printable(value):
            raise refuse("domain", f"{value[:40]!r} must be 1 to {MAX_LEVEL_LENGTH} printable characters")


def _check_number(column: ColumnDescription, refuse: _Refuse) -> None:
    if column.type is ColumnType.INTEGER and column.decimals:
        raise refuse("decimals", 'an integer has none; take it out, or say type = "decimal"')
    if column.domain:
        raise refuse("domain", "a number has bounds and perhaps edges, no domain; take it out")
    if column.lo is None or column.hi is None:
        if column.uses & _NEEDS_RANGE or column.edges or column.on_violation is OnViolation.CLIP:
            missing = "lo" if column.lo is None else "hi"
            raise refuse(missing, "is missing; a number that is used needs public bounds lo and hi")
        return
    if column.lo > column.hi:
        raise refuse("lo", "is above hi; swap them")
    if column.uses & _NEEDS_LEVELS and not column.edges:
        raise refuse("edges", "is missing; a number used for group_by or filter needs declared bin edges")
    if not column.edges:
        return
    if not 2 <= len(column.edges) <= MAX_EDGES or any(a >= b for a, b in pairwise(column.edges)):
        raise refuse("edges", f"must be 2 to {MAX_EDGES} numbers, strictly increasing")
    if column.edges[0] < column.lo or column.edges[-1] > column.hi:
        raise refuse("edges", "must lie within lo and hi")


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise MalformedError(f"dataset: {text!r} is not a date written YYYY-MM-DD") from None


def _uses(names: tuple[str, ...]) -> frozenset[Use]:
    known = {use.value: use for use in Use}
    if any(name not in known for name in names) or list(names) != sorted(set(names)):
        raise MalformedError(f"dataset: uses must be sorted, each once, of {', '.join(sorted(known))}")
    return frozenset(known[name] for name in names)
