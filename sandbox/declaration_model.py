"""What a provider declares about a dataset: frozen values, the same for its public description and its private half.

Numbers are fixed-point: an integer x at `decimals` d stands for x / 10^d. Bounds, domains and edges are public by
declaration and never computed from rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from sandbox.errors import ContractError
from sandbox.frame import ColumnType, Use
from sandbox.grades import Grade, strictest
from sandbox.release import ReleasePolicy


class Sharing(Enum):
    """The sharing type of a public-sector dataset (共享类型)."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NOT_SHARED = "not_shared"


class OnViolation(Enum):
    """What becomes of a row whose value contradicts the column's declaration.

    REFUSE: the provider does not start; a row that violates later is excluded. EXCLUDE: the row is left out of every
    call that uses the column. CLIP: a number is moved to the nearer bound; whatever else is wrong excludes the row.
    """

    REFUSE = "refuse"
    EXCLUDE = "exclude"
    CLIP = "clip"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDeclaration(ColumnDescription):
    """A column with its private part: what the source calls it."""

    physical: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetTerms:
    """What declaration and description of a dataset share.

    `declared_rows` is the rounded size that metering and prices rest on. `max_providers_per_person` and
    `max_rows_per_person` are None where nothing is declared: any number.
    """

    name: str
    title: str
    description: str
    owner: str
    office: str
    registration: str
    sharing: Sharing
    declared_rows: int
    update_cycle: str
    quality: Mapping[str, str]
    release: ReleasePolicy
    max_providers_per_person: int | None
    max_rows_per_person: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDeclaration(DatasetTerms):
    """A dataset as its owner declares it, source included; it stays at the provider.

    `version` is a random id of 8 bytes in hexadecimal, None where the provider is to draw one. `person_id` names the
    source's column that tells persons apart.
    """

    version: str | None
    person_id: str | None
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
        raise _no_column(self.name, name, self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription(DatasetTerms):
    """A dataset as others see it: no source, no physical names, no content hash.

    `person_level` tells that persons are told apart by a column that only the provider knows.
    """

    party: str
    version: str
    person_level: bool
    columns: tuple[ColumnDescription, ...]

    @property
    def reference(self) -> str:
        """`<party>/<dataset>@<version>`."""
        return f"{self.party}/{self.name}@{self.version}"

    @property
    def grade(self) -> Grade:
        """The strictest grade of its columns."""
        return strictest(column.grade for column in self.columns)

    def column(self, name: str) -> ColumnDescription:
        """The column of that name.

        Raises:
            ContractError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise _no_column(self.name, name, self.columns)


def _no_column(dataset: str, name: str, columns: tuple[ColumnDescription, ...]) -> ContractError:
    known = ", ".join(column.name for column in columns)
    return ContractError(f"dataset {dataset} declares no column {name[:80]!r}; it has {known}")
