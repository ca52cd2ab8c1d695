"""Read a dataset's declaration, `catalog/<dataset>.toml`: bytes in, frozen and consistent declaration out."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.declaration_model import (
    ColumnDeclaration,
    DatasetDeclaration,
    FileFormat,
    FileSource,
    OnViolation,
    PostgresSource,
    Sharing,
    SourceSpec,
)
from sandbox.errors import DeclarationError
from sandbox.frame import (
    COLUMN_NAME,
    MAX_COLUMNS,
    MAX_LEVEL_LENGTH,
    MAX_LEVELS,
    MAX_UNIT_LENGTH,
    ColumnType,
    Use,
    is_printable,
)
from sandbox.grades import Grade
from sandbox.release import MAX_THRESHOLD, OwnTotals, ReleaseMode, ReleasePolicy
from sandbox.toml_table import TomlTable, read_toml

__all__ = [
    "ColumnDeclaration",
    "DatasetDeclaration",
    "FileFormat",
    "FileSource",
    "OnViolation",
    "PostgresSource",
    "Sharing",
    "SourceSpec",
    "load_declaration",
]

DATASET_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
VERSION: Final = re.compile(r"[0-9a-f]{16}")
MAX_ROWS: Final = 2**32 - 1
MAX_DECIMALS: Final = 9
MAX_SCALED: Final = 10**18 - 1  # a scaled bound fits DECIMAL(18, d); a sum of 2^32 of them fits DECIMAL(38, d)
MAX_DOMAIN: Final = 1_000
MAX_TITLE: Final = 200
MAX_TEXT: Final = 2_000
MAX_QUALITY: Final = 32
MAX_PHYSICAL: Final = 255

_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RELATION: Final = re.compile(r"([^.\x00]{1,63})\.([^.\x00]{1,63})")
_NEEDS_LEVELS: Final = frozenset({Use.GROUP_BY, Use.FILTER})
_NEEDS_RANGE: Final = frozenset(Use) - {Use.JOIN}


def load_declaration(path: Path) -> DatasetDeclaration:
    """Read and check one declaration.

    Raises:
        DeclarationError: anything unreadable, unknown, missing or contradictory; names file, line and column.
    """
    root = read_toml(path)
    dataset = root.table("dataset")
    columns = tuple(_column(table) for table in root.tables("column"))
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise root.error("column", f"declare 1 to {MAX_COLUMNS} columns with [[column]], not {len(columns)}")
    _check_distinct(root, columns)
    person_id = _optional_text(dataset, "person_id", MAX_PHYSICAL)
    for key in ("max_providers_per_person", "max_rows_per_person"):
        if person_id is None and dataset.has(key):
            raise dataset.error(key, "needs person_id, the column that tells persons apart; add it or leave this out")
    declaration = DatasetDeclaration(
        name=dataset.text("name", max_length=63, pattern=DATASET_NAME),
        title=dataset.text("title", max_length=MAX_TITLE),
        description=dataset.paragraph("description", max_length=MAX_TEXT),
        owner=dataset.text("owner", max_length=MAX_TITLE),
        office=dataset.text("office", max_length=MAX_TITLE),
        registration=dataset.text("registration", max_length=MAX_TITLE),
        sharing=dataset.choice("sharing", Sharing),
        declared_rows=dataset.integer("declared_rows", 1, MAX_ROWS),
        update_cycle=dataset.text("update_cycle", max_length=MAX_TITLE),
        version=dataset.text("version", max_length=16, pattern=VERSION) if dataset.has("version") else None,
        person_id=person_id,
        max_providers_per_person=dataset.optional_integer("max_providers_per_person", 1, 1_000),
        max_rows_per_person=dataset.optional_integer("max_rows_per_person", 1, MAX_ROWS),
        quality=_quality(dataset.table("quality", required=False)),
        release=_release(dataset.table("release")),
        columns=columns,
        source=_source(root.table("source")),
    )
    dataset.finish()
    root.finish()
    return declaration


def _column(unnamed: TomlTable) -> ColumnDeclaration:
    name = unnamed.text("name", max_length=63, pattern=COLUMN_NAME)
    table = replace(unnamed, label=name)
    kind = table.choice("type", ColumnType)
    decimals = table.integer("decimals", 0, MAX_DECIMALS, default=0)
    lo, hi = _scaled(table, "lo", decimals), _scaled(table, "hi", decimals)
    column = ColumnDeclaration(
        name=name,
        physical=table.text("physical", max_length=MAX_PHYSICAL, default=name),
        title=table.text("title", max_length=MAX_TITLE, default=name),
        type=kind,
        unit=table.text("unit", max_length=MAX_UNIT_LENGTH, default=""),
        decimals=decimals,
        lo=lo,
        hi=hi,
        domain=_domain(table),
        edges=tuple(_to_scaled(table, "edges", edge, decimals) for edge in table.numbers("edges")),
        nullable=table.boolean("nullable", default=False),
        grade=table.choice("grade", Grade),
        grade_basis=table.text("grade_basis", max_length=MAX_TITLE),
        grade_review=table.day("grade_review"),
        uses=frozenset(table.member("uses", use, Use) for use in table.texts("uses")),
        on_violation=table.choice("on_violation", OnViolation, default=OnViolation.REFUSE),
        identifies_provider=table.boolean("identifies_provider", default=False),
    )
    table.finish()
    if column.grade is Grade.CORE:
        raise table.error("grade", "core data (核心数据, GB/T 43697-2024) are never served; take the column out")
    if kind is ColumnType.CATEGORY:
        _check_category(table, column)
    else:
        _check_number(table, column)
    return column


def _check_category(table: TomlTable, column: ColumnDeclaration) -> None:
    for key in ("lo", "hi", "edges", "decimals"):
        if table.has(key):
            raise table.error(key, "a category has a domain, no bounds, edges or decimals; take it out")
    if column.on_violation is OnViolation.CLIP:
        raise table.error("on_violation", "a category cannot be clipped; say refuse or exclude")
    if column.uses & _NEEDS_RANGE and not column.domain:
        raise table.error("domain", 'is missing; list the allowed values, as domain = ["yes", "no"]')


def _check_number(table: TomlTable, column: ColumnDeclaration) -> None:
    if column.type is ColumnType.INTEGER and column.decimals:
        raise table.error("decimals", 'an integer has none; take it out, or say type = "decimal"')
    if column.domain:
        raise table.error("domain", "a number has bounds and perhaps edges, no domain; take it out")
    bounded = column.lo is not None and column.hi is not None
    if not bounded and (column.uses & _NEEDS_RANGE or column.edges or column.on_violation is OnViolation.CLIP):
        missing = "lo" if column.lo is None else "hi"
        raise table.error(missing, "is missing; a number that is used needs public bounds lo and hi")
    if column.lo is not None and column.hi is not None and column.lo > column.hi:
        raise table.error("lo", "is above hi; swap them")
    if column.uses & _NEEDS_LEVELS and not column.edges:
        raise table.error("edges", "is missing; a number used for group_by or filter needs declared bin edges")
    if not column.edges:
        return
    if not 2 <= len(column.edges) <= MAX_LEVELS or any(a >= b for a, b in pairwise(column.edges)):
        raise table.error("edges", "must be two or more numbers, strictly increasing")
    if (
        column.lo is not None
        and column.hi is not None
        and (column.edges[0] < column.lo or column.edges[-1] > column.hi)
    ):
        raise table.error("edges", "must lie within lo and hi")


def _domain(table: TomlTable) -> tuple[str, ...]:
    values = table.texts("domain")
    if len(values) > MAX_DOMAIN:
        raise table.error("domain", f"lists {len(values)} values, {MAX_DOMAIN} are allowed")
    if len(set(values)) != len(values):
        raise table.error("domain", "lists a value twice; list each once")
    for value in values:
        if not 1 <= len(value) <= MAX_LEVEL_LENGTH or not is_printable(value):
            raise table.error("domain", f"{value[:40]!r} must be 1 to {MAX_LEVEL_LENGTH} printable characters")
    return values


def _scaled(table: TomlTable, key: str, decimals: int) -> int | None:
    number = table.number(key)
    return None if number is None else _to_scaled(table, key, number, decimals)


def _to_scaled(table: TomlTable, key: str, number: Decimal, decimals: int) -> int:
    if number and not -40 <= number.adjusted() <= 40:  # before an exponent can blow up into digits
        raise table.error(key, f"{number} is too large or too small for a bound")
    scaled = Fraction(number) * int(10**decimals)
    if scaled.denominator != 1:
        raise table.error(key, f"{number} has more than the declared {decimals} decimals; round it or raise decimals")
    if abs(scaled.numerator) > MAX_SCALED:
        raise table.error(key, f"{number} has more than 18 digits at {decimals} decimals; lower decimals or the bound")
    return scaled.numerator


def _quality(table: TomlTable) -> MappingProxyType[str, str]:
    if len(table.values) > MAX_QUALITY:
        raise table.error("", f"at most {MAX_QUALITY} quality figures are allowed")
    figures = {}
    for key, value in table.values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise table.error(key, "a quality figure is a text or a number")
        if not 1 <= len(key) <= 64 or not 1 <= len(str(value)) <= MAX_TITLE or not is_printable(f"{key}{value}"):
            raise table.error(key, f"a quality figure is at most {MAX_TITLE} printable characters under a name of 64")
        figures[key] = str(value)
    return MappingProxyType(figures)


def _release(table: TomlTable) -> ReleasePolicy:
    mode = table.choice("mode", ReleaseMode)
    min_group_size = table.integer("min_group_size", 1, MAX_THRESHOLD)
    policy = ReleasePolicy(
        mode=mode,
        min_group_size=min_group_size,
        min_contributors=table.integer("min_contributors", 1, MAX_THRESHOLD, default=2),
        own_totals=table.choice("own_totals", OwnTotals, default=OwnTotals.SECRET),
        dominance_percent=table.optional_integer("dominance_percent", 1, 100),
        # A pair of answers that differ by fewer rows than a cell must have would get round the minimum.
        overlap_k=table.integer("overlap_k", 0, MAX_THRESHOLD, default=min_group_size),
    )
    table.finish()
    return policy


def _source(table: TomlTable) -> SourceSpec:
    kinds = [key for key in ("csv", "parquet", "postgres") if table.has(key)]
    if len(kinds) != 1:
        raise table.error("", f"[source] names exactly one of csv, parquet or postgres, not {len(kinds)}")
    source: SourceSpec
    if kinds == ["postgres"]:
        source = _postgres(table)
    else:
        source = FileSource(FileFormat(kinds[0]), table.text(kinds[0], max_length=1_000))
    table.finish()
    return source


def _postgres(table: TomlTable) -> PostgresSource:
    relation = _RELATION.fullmatch(table.text("postgres", max_length=127))
    if relation is None:
        raise table.error("postgres", 'must be "schema.table" or "schema.view"')
    if table.has("dsn_env") == table.has("dsn_file"):
        raise table.error(
            "dsn_env", "give dsn_env = the name of an environment variable, or dsn_file = a file of mode 0600; not both"
        )
    dsn_env = table.text("dsn_env", max_length=128, pattern=_ENVIRONMENT_NAME) if table.has("dsn_env") else None
    return PostgresSource(relation[1], relation[2], dsn_env, _optional_text(table, "dsn_file", 1_000))


def _optional_text(table: TomlTable, key: str, max_length: int) -> str | None:
    return table.text(key, max_length=max_length) if table.has(key) else None


def _check_distinct(root: TomlTable, columns: tuple[ColumnDeclaration, ...]) -> None:
    names: set[str] = set()
    for column in columns:
        if column.name in names:
            raise DeclarationError(root.file, None, column.name, "is declared twice; declare each column once")
        names.add(column.name)
