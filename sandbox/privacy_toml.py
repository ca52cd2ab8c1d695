"""The tables of privacy terms in the TOML that people write.

In a declaration, beside `[dataset.release]` with `mode = "dp"`:

    [dataset.privacy]
    epsilon = 5                # the budget of each legal entity; at most six decimals
    epsilon_total = 20         # of all legal entities together
    delta = 1e-6
    tolerated = 1              # optional: providers that may drop out or collude without harm
    max_cells_per_person = 4   # with person_id alone: cells of one table that a person's rows may lie in
    max_rows_per_cell = 1      # optional, with person_id alone: rows of a person in one cell, else max_rows_per_person
    quantum_ms = 1000          # optional: durations are rounded up to it
    max_epsilon_per_call = 1   # optional

In an application, `[privacy]` may offer other terms than the strictest that any provider declares (`PrivacyOffer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from protocols.dp_filter import MAX_MICRO_EPSILON, Budget, PrivacyFilter
from protocols.errors import PrivacyCostError
from sandbox.errors import ContractError
from sandbox.privacy_terms import DEFAULT_QUANTUM_MS, MAX_LIMIT, MAX_QUANTUM_MS, MAX_TOLERATED, PrivacyTerms
from sandbox.toml_table import TomlTable

_MICRO: Final = 1_000_000
_DELTA_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class PrivacyOffer:
    """What a merchant offers for the privacy terms of a contract; None where it takes what follows from the providers.

    The fields are those of `AgreedPrivacy` and `PersonLimits`.
    """

    delta: Fraction | None = None
    tolerated: int | None = None
    max_rows: int | None = None
    max_rows_per_cell: int | None = None
    max_cells: int | None = None
    max_providers: int | None = None
    quantum_ms: int | None = None
    max_micro_epsilon_per_call: int | None = None


def read_privacy_terms(table: TomlTable, max_rows_per_person: int | None) -> PrivacyTerms:
    """Read a declaration's table.

    Args:
        table: `[dataset.privacy]`.
        max_rows_per_person: of the dataset; None where it declares none.

    Raises:
        DeclarationError: a key that is missing, unknown, wrong or contradictory.
    """
    delta = _delta(table)
    if delta is None:
        raise table.error("delta", "is missing; add it, as delta = 1e-6")
    rows_per_cell = table.optional_integer("max_rows_per_cell", 1, MAX_LIMIT)
    cells = table.optional_integer("max_cells_per_person", 1, MAX_LIMIT)
    if cells is not None and max_rows_per_person is None:
        raise table.error("max_cells_per_person", "needs person_id and max_rows_per_person under [dataset] beside it")
    if cells is None and rows_per_cell is not None:
        raise table.error("max_rows_per_cell", "needs max_cells_per_person beside it")
    terms = {
        "micro_epsilon": _required_epsilon(table, "epsilon"),
        "micro_epsilon_total": _required_epsilon(table, "epsilon_total"),
    }
    if terms["micro_epsilon_total"] < terms["micro_epsilon"]:
        raise table.error("epsilon_total", "is under epsilon; all entities together have at least what one has")
    try:
        read = PrivacyTerms(
            **terms,
            delta=delta,
            tolerated=table.integer("tolerated", 1, MAX_TOLERATED, default=1),
            max_cells_per_person=cells,
            max_rows_per_cell=rows_per_cell if cells is None else rows_per_cell or max_rows_per_person,
            quantum_ms=table.integer("quantum_ms", 1, MAX_QUANTUM_MS, default=DEFAULT_QUANTUM_MS),
            max_micro_epsilon_per_call=read_epsilon(table, "max_epsilon_per_call"),
        )
    except ContractError as error:
        raise table.error("", str(error)) from error
    table.finish()
    for key, budget in (("epsilon", read.entity_budget), ("epsilon_total", read.total_budget)):
        _require_admitting(table, key, budget)
    return read


def read_privacy_offer(table: TomlTable) -> PrivacyOffer:
    """Read an application's `[privacy]`; raises `DeclarationError`."""
    offer = PrivacyOffer(
        delta=_delta(table),
        tolerated=table.optional_integer("tolerated", 0, MAX_TOLERATED),
        max_rows=table.optional_integer("max_rows_per_person", 1, MAX_LIMIT),
        max_rows_per_cell=table.optional_integer("max_rows_per_cell", 1, MAX_LIMIT),
        max_cells=table.optional_integer("max_cells_per_person", 1, MAX_LIMIT),
        max_providers=table.optional_integer("max_providers_per_person", 1, MAX_LIMIT),
        quantum_ms=table.optional_integer("quantum_ms", 1, MAX_QUANTUM_MS),
        max_micro_epsilon_per_call=read_epsilon(table, "max_epsilon_per_call"),
    )
    table.finish()
    return offer


def read_epsilon(table: TomlTable, key: str) -> int | None:
    """Read an epsilon as millionths, exactly as written; None where the key is not there.

    Raises:
        DeclarationError: no number, not positive, above 100, or more than six decimals.
    """
    number = table.number(key)
    if number is None:
        return None
    most = MAX_MICRO_EPSILON // _MICRO
    if not -6 <= number.adjusted() <= 6:  # before an exponent can blow up into digits; 0 has its own
        number = Decimal(0)
    micro = number * _MICRO
    if micro <= 0 or micro != micro.to_integral_value() or micro > MAX_MICRO_EPSILON:
        raise table.error(key, f"an epsilon is 0.000001 to {most} with at most six decimals, not {table.values[key]}")
    return int(micro)


def _required_epsilon(table: TomlTable, key: str) -> int:
    micro = read_epsilon(table, key)
    if micro is None:
        raise table.error(key, f"is missing; add it, as {key} = 5")
    return micro


def _delta(table: TomlTable) -> Fraction | None:
    number = table.number("delta")
    if number is None:
        return None
    if not 0 < number < 1 or len(number.as_tuple().digits) - number.adjusted() > _DELTA_DIGITS:
        raise table.error("delta", f"must be above 0 and under 1, as 1e-6, with at most {_DELTA_DIGITS} decimals")
    return Fraction(number)


def _require_admitting(table: TomlTable, key: str, budget: Budget) -> None:
    try:
        PrivacyFilter.for_budget(budget)
    except PrivacyCostError as error:
        raise table.error(key, str(error)) from error
