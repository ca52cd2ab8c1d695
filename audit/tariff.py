"""What a call costs: units used, a contract's rates, and the price of the one under the other.

Money is integer micro-units of a currency (1,500,000 micro-yuan are 1.5 yuan); epsilon is integer micro-epsilon. All
arithmetic is exact; each line of a price is rounded half up to the micro-unit on its own, so that anyone who recomputes
a price gets the same one.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.canonical import MAX_BIG, MAX_INTEGER, Fields, JsonObject
from audit.errors import LimitExceededError, MalformedError

CURRENCY_PATTERN: Final = re.compile(r"[A-Z]{3}")
"""An ISO 4217 code."""

_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Units:
    """What one call used at one provider, from declarations only: nothing here depends on a row.

    Args:
        calls: answered calls.
        declared_rows: the dataset's declared (rounded) size, once a call.
        ciphertexts: Paillier ciphertexts given.
        micro_epsilon: privacy spent, in millionths of epsilon, rounded up.

    Raises:
        MalformedError: a negative quantity, or one beyond 2^53 - 1 (micro_epsilon: 2^63 - 1).
    """

    calls: int
    declared_rows: int
    ciphertexts: int
    micro_epsilon: int

    def __post_init__(self) -> None:
        for quantity in (self.calls, self.declared_rows, self.ciphertexts):
            if not 0 <= quantity <= MAX_INTEGER:
                raise MalformedError(f"a quantity of {quantity} units: 0 to 2^53 - 1 is wanted")
        if not 0 <= self.micro_epsilon <= MAX_BIG:
            raise MalformedError(f"{self.micro_epsilon} micro-epsilon: 0 to 2^63 - 1 is wanted")

    def __add__(self, other: "Units") -> "Units":
        return Units(
            self.calls + other.calls,
            self.declared_rows + other.declared_rows,
            self.ciphertexts + other.ciphertexts,
            self.micro_epsilon + other.micro_epsilon,
        )

    def to_json(self) -> JsonObject:
        """As in entries and receipts."""
        return {
            "calls": self.calls,
            "declared_rows": self.declared_rows,
            "ciphertexts": self.ciphertexts,
            "micro_epsilon": str(self.micro_epsilon),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Units":
        """The inverse of `to_json`; raises `MalformedError`."""
        units = cls(
            fields.integer("calls"),
            fields.integer("declared_rows"),
            fields.integer("ciphertexts"),
            fields.big("micro_epsilon"),
        )
        fields.finish()
        return units


NO_UNITS: Final = Units(0, 0, 0, 0)


class Unit(Enum):
    """What a line of a price counts, named by what its rate is for."""

    CALL = "call"
    DECLARED_ROWS = "1000_declared_rows"
    CIPHERTEXTS = "1000_ciphertexts"
    EPSILON = "epsilon"


@dataclass(frozen=True, slots=True)
class Tariff:
    """A contract's rates, each in micro-units of `currency`, 0 to 2^63 - 1.

    Raises:
        MalformedError: a rate outside that range, or a currency that is not three capital letters.
    """

    currency: str
    per_call_micro: int
    per_1000_rows_micro: int
    per_1000_ciphertexts_micro: int
    per_epsilon_micro: int

    def __post_init__(self) -> None:
        if CURRENCY_PATTERN.fullmatch(self.currency) is None:
            raise MalformedError(f"{self.currency!r:.40} is not a currency of three capital letters (ISO 4217)")
        rates = (
            self.per_call_micro,
            self.per_1000_rows_micro,
            self.per_1000_ciphertexts_micro,
            self.per_epsilon_micro,
        )
        for rate in rates:
            if not 0 <= rate <= MAX_BIG:
                raise MalformedError(f"a rate of {rate} micro-units: 0 to 2^63 - 1 is wanted")

    def to_json(self) -> JsonObject:
        """As in contracts; amounts are decimal strings."""
        return {
            "currency": self.currency,
            "per_call_micro": str(self.per_call_micro),
            "per_1000_rows_micro": str(self.per_1000_rows_micro),
            "per_1000_ciphertexts_micro": str(self.per_1000_ciphertexts_micro),
            "per_epsilon_micro": str(self.per_epsilon_micro),
        }

    @classmethod
    def from_json(cls, obj: object) -> "Tariff":
        """The inverse of `to_json`, from a `Fields` or a parsed object; raises `MalformedError`."""
        fields = obj if isinstance(obj, Fields) else Fields(obj, "tariff")
        tariff = cls(
            fields.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
            fields.big("per_call_micro"),
            fields.big("per_1000_rows_micro"),
            fields.big("per_1000_ciphertexts_micro"),
            fields.big("per_epsilon_micro"),
        )
        fields.finish()
        return tariff


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line: how many units (rows and ciphertexts singly, epsilon in millionths) and what they cost."""

    unit: Unit
    quantity: int
    amount_micro: int


@dataclass(frozen=True, slots=True)
class Price:
    """Four lines, in the order of `Unit`, and their sum."""

    currency: str
    lines: tuple[PriceLine, ...]
    total_micro: int


def price(units: Units, tariff: Tariff) -> Price:
    """The price of `units` under `tariff`, each line rounded half up to the micro-unit.

    Raises:
        LimitExceededError: the total is beyond 2^63 - 1 micro-units.
    """
    lines = (
        _line(Unit.CALL, units.calls, tariff.per_call_micro, 1),
        _line(Unit.DECLARED_ROWS, units.declared_rows, tariff.per_1000_rows_micro, 1000),
        _line(Unit.CIPHERTEXTS, units.ciphertexts, tariff.per_1000_ciphertexts_micro, 1000),
        _line(Unit.EPSILON, units.micro_epsilon, tariff.per_epsilon_micro, _MICRO),
    )
    total = sum(line.amount_micro for line in lines)
    if total > MAX_BIG:
        raise LimitExceededError(f"a price of {total} micro-units is beyond 2^63 - 1: lower the rates or the size")
    return Price(tariff.currency, lines, total)


def format_micro(amount_micro: int) -> str:
    """The amount in currency units with six decimals: 1500000 gives "1.500000"."""
    whole, part = divmod(abs(amount_micro), _MICRO)
    return f"{'-' if amount_micro < 0 else ''}{whole}.{part:06d}"


def _line(unit: Unit, quantity: int, rate_micro: int, per: int) -> PriceLine:
    return PriceLine(unit, quantity, (2 * quantity * rate_micro + per) // (2 * per))
