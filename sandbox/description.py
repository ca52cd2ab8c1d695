"""A dataset as others see it: what a provider signs and publishes, no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from audit.canonical import Fields, Json, body_header
from audit.errors import MalformedError
from audit.names import PARTY_PATTERN
from sandbox.column_description import MAX_TITLE, ColumnDescription
from sandbox.errors import ContractError
from sandbox.frame import MAX_COLUMNS
from sandbox.grades import Grade, strictest
from sandbox.privacy_terms import MAX_LIMIT, PrivacyTerms
from sandbox.release import ReleaseMode, ReleasePolicy

DATASET_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
VERSION_BYTES: Final = 8
MAX_ROWS: Final = 2**32 - 1
MAX_TEXT: Final = 2_000  # characters
MAX_QUALITY: Final = 32
MAX_PROVIDERS_PER_PERSON: Final = 1_000
MAX_BODY_BYTES: Final = 46 * 1024  # in base64 and signed, it must fit an envelope of 64 KiB


class Sharing(Enum):
    """The sharing type of a public-sector dataset (共享类型)."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NOT_SHARED = "not_shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetTerms:
    """What declaration and description of a dataset share.

    `declared_rows` is the rounded size that metering and prices rest on. `max_providers_per_person` and
    `max_rows_per_person` are None where nothing is declared: any number. `privacy` is there in release mode DP alone.
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
    privacy: PrivacyTerms | None = None


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
        raise no_such_column(self.name, name, self.columns)

    def to_body(self) -> dict[str, Json]:
        """The body that the provider signs."""
        limits = {"max_providers": self.max_providers_per_person, "max_rows": self.max_rows_per_person}
        persons: dict[str, Json] = {name: limit for name, limit in limits.items() if limit is not None}
        privacy: dict[str, Json] = {} if self.privacy is None else {"privacy": self.privacy.to_json()}
        return {
            **body_header("dataset"),
            "party": self.party,
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "description": self.description,
            "owner": self.owner,
            "office": self.office,
            "registration": self.registration,
            "sharing": self.sharing.value,
            "declared_rows": self.declared_rows,
            "update_cycle": self.update_cycle,
            "quality": dict(self.quality),
            "release": self.release.to_json(),
            **privacy,
            "persons": {"person_level": self.person_level, **persons},
            "grade": self.grade.value,
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_body(cls, fields: Fields) -> DatasetDescription:
        """Read a signed body whose header has been taken, as `Envelope.body(PayloadType.DATASET)` gives it.

        Raises:
            MalformedError: a field is missing, unknown, out of range, or contradicts another.
        """
        persons = fields.object("persons")
        grade = fields.choice("grade", Grade)
        privacy = fields.optional_object("privacy")
        description = cls(
            party=fields.text("party", pattern=PARTY_PATTERN),
            name=fields.text("name", pattern=DATASET_NAME),
            version=fields.hex("version", VERSION_BYTES),
            title=fields.text("title", max_length=MAX_TITLE),
            description=fields.text("description", max_length=MAX_TEXT),
            owner=fields.text("owner", max_length=MAX_TITLE),
            office=fields.text("office", max_length=MAX_TITLE),
            registration=fields.text("registration", max_length=MAX_TITLE),
            sharing=fields.choice("sharing", Sharing),
            declared_rows=fields.integer("declared_rows", 1, MAX_ROWS),
            update_cycle=fields.text("update_cycle", max_length=MAX_TITLE),
            quality=MappingProxyType(fields.text_map("quality", max_items=MAX_QUALITY, max_length=MAX_TITLE)),
            release=ReleasePolicy.from_json(fields.object("release")),
            privacy=None if privacy is None else PrivacyTerms.from_json(privacy),
            person_level=persons.boolean("person_level"),
            max_providers_per_person=persons.optional_integer("max_providers", 1, MAX_PROVIDERS_PER_PERSON),
            max_rows_per_person=persons.optional_integer("max_rows", 1, MAX_ROWS),
            columns=tuple(map(ColumnDescription.from_json, fields.objects("columns", max_items=MAX_COLUMNS))),
        )
        persons.finish()
        fields.finish()
        names = {column.name for column in description.columns}
        if not names or len(names) != len(description.columns):
            raise MalformedError("dataset: it has one column at least, and names each once")
        if grade is not description.grade:
            raise MalformedError(f"dataset: grade {grade.value} is not that of its strictest column")
        check_privacy(
            description, description.person_level, lambda key, detail: MalformedError(f"dataset: {key} {detail}")
        )
        return description


def check_privacy(terms: DatasetTerms, person_level: bool, refuse: Callable[[str, str], Exception]) -> None:
    """Hold a dataset's privacy terms against the rest of it; raises what `refuse(key, detail)` makes.

    They are there in release mode DP and in no other, and limit a person's part where persons are told apart.
    """
    privacy = terms.privacy
    if (terms.release.mode is ReleaseMode.DP) != (privacy is not None):
        raise refuse("privacy", "is for release mode dp, which needs it, and for no other")
    if privacy is None:
        return
    if person_level != (privacy.max_cells_per_person is not None):
        raise refuse("max_cells_per_person", "is for a dataset in which persons are told apart, which needs it")
    if not person_level:
        return
    rows = terms.max_rows_per_person
    if rows is None or rows > MAX_LIMIT:
        raise refuse("max_rows_per_person", f"is needed in mode dp: how many rows of a person count, 1 to {MAX_LIMIT}")
    if privacy.max_rows_per_cell is not None and privacy.max_rows_per_cell > rows:
        raise refuse("max_rows_per_cell", f"is more than the {rows} rows of a person that count at all")


def no_such_column(dataset: str, name: str, columns: tuple[ColumnDescription, ...]) -> ContractError:
    """What a dataset answers when asked for a column that it does not have."""
    known = ", ".join(column.name for column in columns)
    return ContractError(f"dataset {dataset} declares no column {name[:80]!r}; it has {known}")
