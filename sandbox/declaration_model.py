"""What a provider declares about a dataset: the public description and the private half, its source."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import TypeAlias

from sandbox.column_description import ColumnDescription, OnViolation
from sandbox.description import DatasetDescription, DatasetTerms, Sharing, no_such_column
from sandbox.grades import Grade, strictest

__all__ = [
    "ColumnDeclaration",
    "ColumnDescription",
    "DatasetDeclaration",
    "DatasetDescription",
    "DatasetTerms",
    "FileFormat",
    "FileSource",
    "OnViolation",
    "PostgresSource",
    "Sharing",
    "SourceSpec",
]


class FileFormat(Enum):
    """What a file source holds."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file, or all files that match a glob pattern; a relative pattern starts at the provider's base folder."""

    format: FileFormat
    pattern: str


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """A table or view `schema.relation`; its address is in an environment variable, or in a file of mode 0600."""

    schema: str
    relation: str
    dsn_env: str | None
    dsn_file: str | None


SourceSpec: TypeAlias = FileSource | PostgresSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDeclaration(ColumnDescription):
    """A column with its private part: what the source calls it."""

    physical: str

    def describe(self) -> ColumnDescription:
        """The public part."""
        return ColumnDescription(**{term.name: getattr(self, term.name) for term in fields(ColumnDescription)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDeclaration(DatasetTerms):
    """A dataset as its owner declares it, source included; it stays at the provider.

    `file` is where it was read from. `version` is a random id of 8 bytes in hexadecimal, None where the provider is to
    draw one. `person_id` names the column that tells persons apart: a declared one, or the source's own. `row_key`
    names columns, likewise, by which rows are known again in a version that lacks others which were declared before.
    """

    file: str
    version: str | None
    person_id: str | None
    row_key: tuple[str, ...]
    columns: tuple[ColumnDeclaration, ...]
    source: SourceSpec

    @property
    def grade(self) -> Grade:
        """The strictest grade of its columns."""
        return strictest(column.grade for column in self.columns)

    def column(self, name: str) -> ColumnDeclaration:
        """The column of that declared name.

        Raises:
            ContractError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise no_such_column(self.name, name, self.columns)

    def describe(self, party: str, version: str) -> DatasetDescription:
        """What others see: `party` is the provider's name, `version` 8 random bytes in hexadecimal."""
        return DatasetDescription(
            party=party,
            version=version,
            person_level=self.person_id is not None,
            columns=tuple(column.describe() for column in self.columns),
            **{term.name: getattr(self, term.name) for term in fields(DatasetTerms)},
        )
