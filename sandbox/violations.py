"""Where data contradict their declaration: for the provider's own officials, who may see exact counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sandbox.declaration_model import DatasetDeclaration
from sandbox.errors import DeclarationError


class ViolationKind(Enum):
    """Which rule of the declaration the data break."""

    MISSING_COLUMN = "missing_column"
    WRONG_TYPE = "wrong_type"
    UNREADABLE = "unreadable"
    NULL = "null"
    BELOW_LO = "below_lo"
    ABOVE_HI = "above_hi"
    OUTSIDE_DOMAIN = "outside_domain"
    ROWS_PER_PERSON = "rows_per_person"
    DECLARED_ROWS = "declared_rows"
    WRITE_PERMISSION = "write_permission"


class Severity(Enum):
    """What a violation means for a provider that starts."""

    REFUSES = "refuses"
    WARNS = "warns"


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule broken by one column ("" = the dataset), by how many rows (None = not a matter of rows).

    `message` says what, why and what mends it, and never holds a value found in a row.
    """

    column: str
    kind: ViolationKind
    rows: int | None
    severity: Severity
    message: str

    def as_error(self, declaration: DatasetDeclaration) -> DeclarationError:
        """The refusal to start, naming the declaration's file and the column."""
        return DeclarationError(declaration.file, None, self.column, self.message)


def refusals(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Those because of which a provider must not start."""
    return tuple(violation for violation in violations if violation.severity is Severity.REFUSES)
