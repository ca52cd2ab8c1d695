"""Read a dataset's declaration, `catalog/<dataset>.toml`: bytes in, frozen and consistent declaration out."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.column_description import MAX_DECIMALS, MAX_SCALED, MAX_TITLE, check_column
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
from sandbox.description import DATASET_NAME, MAX_PROVIDERS_PER_PERSON, MAX_QUALITY, MAX_ROWS, MAX_TEXT, check_privacy
from sandbox.frame import COLUMN_NAME, MAX_COLUMNS, MAX_UNIT_LENGTH, ColumnType, Use, is_printable
from sandbox.grades import Grade
from sandbox.privacy_terms import PrivacyTerms
from sandbox.privacy_toml import read_privacy_terms
from sandbox.release import MAX_THRESHOLD, PRIVATE, OwnTotals, ReleaseMode, ReleasePolicy
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

VERSION: Final = re.compile(r"[0-9a-f]{16}")
MAX_PHYSICAL: Final = 255

_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RELATION: Final = re.compile(r"([^.\x00]{1,63})\.([^.\x00]{1,63})")


def load_declaration(path: Path) -> DatasetDeclaration:
    """Read and check one declaration.

    Raises:
        DeclarationError: anything unreadable, unknown, missing or contradictory; names file, line and column.
    """
    root = read_toml(path)
    dataset = root.table("dataset")
    columns = _columns(root)
    person_id = _optional_text(dataset, "person_id", MAX_PHYSICAL)
    for key in ("max_providers_per_person", "max_rows_per_person"):
        if person_id is None and dataset.has(key):
            raise dataset.error(key, "needs person_id, the column that tells persons apart; add it or leave this out")
    release = _release(dataset.table("release"))
    max_rows_per_person = dataset.optional_integer("max_rows_per_person", 1, MAX_ROWS)
    declaration = DatasetDeclaration(
        file=str(path),
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
        row_key=_row_key(dataset),
        max_providers_per_person=dataset.optional_integer("max_providers_per_person", 1, MAX_PROVIDERS_PER_PERSON),
        max_rows_per_person=max_rows_per_person,
        quality=_quality(dataset.table("quality", required=False)),
        release=release,
        privacy=_privacy(dataset, release, max_rows_per_person),
        columns=columns,
        source=_source(root.table("source")),
    )
    dataset.finish()
    root.finish()
    check_privacy(declaration, person_id is not None, dataset.error)
    if release.mode is ReleaseMode.DP:
        for column, table in zip(columns, root.tables("column"), strict=True):
            if Use.AGGREGATE in column.uses and column.lo is not None and column.lo == column.hi:
                detail = "is the same as lo, so that every value is known already; give lo < hi or take aggregate out"
                raise replace(table, label=column.name).error("hi", detail)
    return declaration


def _row_key(table: TomlTable) -> tuple[str, ...]:
    """One column's name, or several in a list."""
    if table.has("row_key") and isinstance(table.values["row_key"], str):
        return (table.text("row_key", max_length=MAX_PHYSICAL),)
    names = table.texts("row_key")
    if len(names) > MAX_COLUMNS or len(set(names)) != len(names):
        raise table.error("row_key", f"at most {MAX_COLUMNS} columns are allowed, each named once")
    if any(not 1 <= len(name) <= MAX_PHYSICAL or not is_printable(name) for name in names):
        raise table.error("row_key", f"a column's name has 1 to {MAX_PHYSICAL} printable characters")
    return names


def _columns(root: TomlTable) -> tuple[ColumnDeclaration, ...]:
    tables = root.tables("column")
    if not 1 <= len(tables) <= MAX_COLUMNS:
        raise root.error("column", f"declare 1 to {MAX_COLUMNS} columns with [[column]], not {len(tables)}")
    columns: dict[str, ColumnDeclaration] = {}
    for table in tables:
        column = _column(table)
        if column.name in columns:
            raise table.error("name", f"{column.name} is declared twice; declare each column once")
        columns[column.name] = column
    return tuple(columns.values())


def _column(unnamed: TomlTable) -> ColumnDeclaration:
    name = unnamed.text("name", max_length=63, pattern=COLUMN_NAME)
    table = replace(unnamed, label=name)
    decimals = table.integer("decimals", 0, MAX_DECIMALS, default=0)
    lo, hi = _scaled(table, "lo", decimals), _scaled(table, "hi", decimals)
    column = ColumnDeclaration(
        name=name,
        physical=table.text("physical", max_length=MAX_PHYSICAL, default=name),
        title=table.text("title", max_length=MAX_TITLE, default=name),
        type=table.choice("type", ColumnType),
        unit=table.text("unit", max_length=MAX_UNIT_LENGTH, default=""),
        decimals=decimals,
        lo=lo,
        hi=hi,
        domain=table.texts("domain"),
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
    check_column(column, table.error)
    return column


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
    if mode is ReleaseMode.DP:
        for key in table.values:
            if key != "mode":
                raise table.error(key, "plays no part in mode dp, where noise protects every cell; take it out")
        return PRIVATE
    policy = ReleasePolicy(
        mode=mode,
        min_group_size=table.integer("min_group_size", 1, MAX_THRESHOLD),
        min_contributors=table.integer("min_contributors", 1, MAX_THRESHOLD, default=2),
        own_totals=table.choice("own_totals", OwnTotals, default=OwnTotals.SECRET),
        dominance_percent=table.optional_integer("dominance_percent", 1, 100),
        overlap_k=table.integer("overlap_k", 0, MAX_THRESHOLD, default=0),
    )
    table.finish()
    return policy


def _privacy(dataset: TomlTable, release: ReleasePolicy, max_rows_per_person: int | None) -> PrivacyTerms | None:
    if release.mode is not ReleaseMode.DP:
        if dataset.has("privacy"):
            raise dataset.error("privacy", 'is for mode = "dp" under [dataset.release]; take it out or set that')
        return None
    return read_privacy_terms(dataset.table("privacy"), max_rows_per_person)


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
