"""What is public about the privacy of a dataset that is released under differential privacy, and of a contract over it.

A provider declares budgets for its dataset (`PrivacyTerms`); the parties of a contract agree on what all of them must
share so that one release has one cost (`AgreedPrivacy`). Neighbours differ by one row, or by one person with all its
rows where persons are told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from audit.canonical import Fields, Json
from audit.errors import MalformedError
from protocols.dp_accountant import require_delta
from protocols.dp_filter import MAX_MICRO_EPSILON, Budget
from protocols.dp_sensitivity import MAX_UNIT, ROW, ProtectedUnit
from protocols.errors import PrivacyCostError
from sandbox.errors import ContractError

MAX_TOLERATED: Final = 1_000
MAX_QUANTUM_MS: Final = 3_600_000
DEFAULT_QUANTUM_MS: Final = 1_000
MAX_LIMIT: Final = MAX_UNIT
"""Largest number of rows, cells or providers of one person."""

_FRACTION: Final = re.compile(r"[1-9][0-9]{0,59}/[1-9][0-9]{0,59}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyTerms:
    """What a provider declares about one dataset, for all versions and contracts together.

    Args:
        micro_epsilon: the budget of each legal entity, in millionths of epsilon, 1 to 100,000,000.
        micro_epsilon_total: of all entities together; not under `micro_epsilon`.
        delta: of both budgets, strictly between 0 and 1.
        tolerated: D: how many providers at least may drop out, or tell what they know, without harm.
        max_cells_per_person: L0: cells of one table that a person's rows may lie in; None where rows are protected.
        max_rows_per_cell: Linf: rows of a person that count in one cell, None where rows are protected.
        quantum_ms: durations that others can see are rounded up to multiples of it.
        max_micro_epsilon_per_call: what one call may ask for at most; None: as much as is left.

    Raises:
        ContractError: a field out of its range, or two that contradict one another.
    """

    micro_epsilon: int
    micro_epsilon_total: int
    delta: Fraction
    tolerated: int = 1
    max_cells_per_person: int | None = None
    max_rows_per_cell: int | None = None
    quantum_ms: int = DEFAULT_QUANTUM_MS
    max_micro_epsilon_per_call: int | None = None

    def __post_init__(self) -> None:
        _require("epsilon", self.micro_epsilon, 1, MAX_MICRO_EPSILON)
        _require("epsilon_total", self.micro_epsilon_total, 1, MAX_MICRO_EPSILON)
        _require_delta(self.delta)
        _require("tolerated", self.tolerated, 1, MAX_TOLERATED)
        _require_optional("max_cells_per_person", self.max_cells_per_person, MAX_LIMIT)
        _require_optional("max_rows_per_cell", self.max_rows_per_cell, MAX_LIMIT)
        _require("quantum_ms", self.quantum_ms, 1, MAX_QUANTUM_MS)
        _require_optional("max_epsilon_per_call", self.max_micro_epsilon_per_call, MAX_MICRO_EPSILON)
        if self.micro_epsilon_total < self.micro_epsilon:
            raise ContractError("privacy: epsilon_total is under epsilon, so that no entity could spend what it has")
        if (self.max_cells_per_person is None) != (self.max_rows_per_cell is None):
            raise ContractError("privacy: a person's cells and its rows in a cell are limited together, or neither is")

    @property
    def entity_budget(self) -> Budget:
        """What each legal entity may spend."""
        return Budget(self.micro_epsilon, self.delta)

    @property
    def total_budget(self) -> Budget:
        """What all legal entities together may spend."""
        return Budget(self.micro_epsilon_total, self.delta)

    def to_json(self) -> dict[str, Json]:
        """As in the signed description; what is None is absent."""
        return {
            "epsilon": str(self.micro_epsilon),
            "epsilon_total": str(self.micro_epsilon_total),
            "delta": _written(self.delta),
            "tolerated": self.tolerated,
            "quantum_ms": self.quantum_ms,
            **_present(
                max_cells_per_person=self.max_cells_per_person,
                max_rows_per_cell=self.max_rows_per_cell,
                max_epsilon_per_call=_text(self.max_micro_epsilon_per_call),
            ),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> PrivacyTerms:
        """The inverse of `to_json`.

        Raises:
            MalformedError: a field is missing, unknown, of the wrong type, out of range or contradicts another.
        """
        try:
            terms = cls(
                micro_epsilon=fields.big("epsilon"),
                micro_epsilon_total=fields.big("epsilon_total"),
                delta=_read_delta(fields),
                tolerated=fields.integer("tolerated"),
                max_cells_per_person=fields.optional_integer("max_cells_per_person"),
                max_rows_per_cell=fields.optional_integer("max_rows_per_cell"),
                quantum_ms=fields.integer("quantum_ms"),
                max_micro_epsilon_per_call=fields.optional_big("max_epsilon_per_call"),
            )
        except ContractError as error:
            raise MalformedError(str(error)) from error
        fields.finish()
        return terms


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonLimits:
    """How much of one person is used: every provider leaves out what goes beyond, before it adds up.

    Args:
        max_rows: rows at one provider.
        max_rows_per_cell: rows in one cell of a table; not above `max_rows`.
        max_cells: cells of a table.
        max_providers: providers at which a person is present; nobody can enforce it, so it is declared.

    Raises:
        ContractError: a limit out of 1 to 2^20, or `max_rows_per_cell` above `max_rows`.
    """

    max_rows: int
    max_rows_per_cell: int
    max_cells: int
    max_providers: int

    def __post_init__(self) -> None:
        _require("max_rows_per_person", self.max_rows, 1, MAX_LIMIT)
        _require("max_rows_per_cell", self.max_rows_per_cell, 1, self.max_rows)
        _require("max_cells_per_person", self.max_cells, 1, MAX_LIMIT)
        _require("max_providers_per_person", self.max_providers, 1, MAX_LIMIT)

    def to_json(self) -> dict[str, Json]:
        """As signed."""
        return {
            "max_rows": self.max_rows,
            "max_rows_per_cell": self.max_rows_per_cell,
            "max_cells": self.max_cells,
            "max_providers": self.max_providers,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> PersonLimits:
        """The inverse of `to_json`; raises `MalformedError` or `ContractError`."""
        limits = cls(
            max_rows=fields.integer("max_rows"),
            max_rows_per_cell=fields.integer("max_rows_per_cell"),
            max_cells=fields.integer("max_cells"),
            max_providers=fields.integer("max_providers"),
        )
        fields.finish()
        return limits


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedPrivacy:
    """What the parties of a contract share, so that everyone derives the same noise from a request.

    Args:
        delta: at which a call's epsilon is stated; strictly between 0 and 1.
        tolerated: D: shares of noise that may be missing or known to whoever looks; 0 for a provider alone.
        persons: how much of one person is used; None where rows are protected.
        quantum_ms: as in `PrivacyTerms`.
        max_micro_epsilon_per_call: as in `PrivacyTerms`.

    Raises:
        ContractError: a field out of its range.
    """

    delta: Fraction
    tolerated: int
    persons: PersonLimits | None
    quantum_ms: int
    max_micro_epsilon_per_call: int | None

    def __post_init__(self) -> None:
        _require_delta(self.delta)
        _require("tolerated", self.tolerated, 0, MAX_TOLERATED)
        _require("quantum_ms", self.quantum_ms, 1, MAX_QUANTUM_MS)
        _require_optional("max_epsilon_per_call", self.max_micro_epsilon_per_call, MAX_MICRO_EPSILON)

    @property
    def unit(self) -> ProtectedUnit:
        """Whose presence is hidden."""
        limits = self.persons
        if limits is None:
            return ROW
        return ProtectedUnit(limits.max_rows, limits.max_rows_per_cell, limits.max_cells, limits.max_providers)

    def check(self, providers: int) -> None:
        """Hold the terms against the number of a contract's providers.

        Raises:
            ContractError: all of them could be known or missing, or a person is at more than there are.
        """
        if providers == 1 and self.tolerated:
            raise ContractError("privacy.tolerated must be 0 for a provider alone: it adds all the noise itself")
        if providers > 1 and not 1 <= self.tolerated < providers:
            raise ContractError(
                f"privacy.tolerated must be 1 to {providers - 1} of {providers} providers: a provider knows its own "
                "share of the noise, and one share at least must stay unknown"
            )
        if self.persons is not None and self.persons.max_providers > providers:
            raise ContractError("privacy.persons.max_providers is more than there are providers; give their number")

    def to_json(self) -> dict[str, Json]:
        """As signed; what is None is absent."""
        return {
            "delta": _written(self.delta),
            "tolerated": self.tolerated,
            "quantum_ms": self.quantum_ms,
            **_present(
                persons=None if self.persons is None else self.persons.to_json(),
                max_epsilon_per_call=_text(self.max_micro_epsilon_per_call),
            ),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> AgreedPrivacy:
        """The inverse of `to_json`; raises `MalformedError` or `ContractError`."""
        persons = fields.optional_object("persons")
        agreed = cls(
            delta=_read_delta(fields),
            tolerated=fields.integer("tolerated"),
            persons=None if persons is None else PersonLimits.from_json(persons),
            quantum_ms=fields.integer("quantum_ms"),
            max_micro_epsilon_per_call=fields.optional_big("max_epsilon_per_call"),
        )
        fields.finish()
        return agreed


def _require(name: str, value: int, lo: int, hi: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lo <= value <= hi:
        raise ContractError(f"privacy: {name} = {value} is not within {lo} to {hi}")


def _require_optional(name: str, value: int | None, hi: int) -> None:
    if value is not None:
        _require(name, value, 1, hi)


def _require_delta(delta: Fraction) -> None:
    try:
        require_delta(delta)
    except PrivacyCostError as error:
        raise ContractError(f"privacy: {error}") from error
    if _FRACTION.fullmatch(_written(delta)) is None:
        raise ContractError("privacy: delta has too many digits; write it with at most 59 decimals")


def _written(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _read_delta(fields: Fields) -> Fraction:
    written = fields.text("delta", pattern=_FRACTION)
    delta = Fraction(written)
    if _written(delta) != written:
        raise MalformedError("privacy: delta is not a fraction in lowest terms")
    return delta


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _present(**fields: Json | None) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}
