"""Release rules of exact mode: the one gate that every cell passes before its total enters a part.

What is here looks at one answer alone. What a cell tells together with earlier answers is `sandbox.overlap`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

from audit.canonical import Fields, Json
from sandbox.cells import CellTotals, TableTotals
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.query import CellTable

MAX_THRESHOLD: Final = 10**9
LEAST_MOMENT_ROWS: Final = 10
ROWS_A_MOMENT: Final = 5


class ReleaseMode(Enum):
    """How a dataset's totals are released. A dataset has one mode, never both."""

    EXACT = "exact"
    DP = "dp"


class OwnTotals(Enum):
    """Whether the provider's own totals may become known, or only joint ones."""

    SECRET = "secret"  # noqa: S105  (a policy, not a password)
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """What a provider releases.

    A cell with fewer than `min_group_size` rows is withheld; one with fewer than `min_contributors` providers is closed
    for all. `dominance_percent` (1 to 100) withholds a cell of which one contributor makes more than that share.
    `overlap_k` refuses a cell whose rows differ from an earlier cell's by 1 to k-1 rows; 0 and 1 declare that off.
    Where `own_totals` are secret a cell is answered for one set of participants only.

    In mode DP no rule of these holds: noise protects every cell, whatever its size. It is written `PRIVATE`.

    Raises:
        ContractError: a number is out of its range, or mode DP with a rule.
    """

    mode: ReleaseMode
    min_group_size: int
    min_contributors: int = 2
    own_totals: OwnTotals = OwnTotals.SECRET
    dominance_percent: int | None = None
    overlap_k: int = 0

    def __post_init__(self) -> None:
        _require(self.min_group_size, 1, MAX_THRESHOLD, "min_group_size")
        _require(self.min_contributors, 1, MAX_THRESHOLD, "min_contributors")
        _require(self.overlap_k, 0, MAX_THRESHOLD, "overlap_k")
        if self.dominance_percent is not None:
            _require(self.dominance_percent, 1, 100, "dominance_percent")
        rules = (self.min_group_size, self.min_contributors, self.own_totals, self.dominance_percent, self.overlap_k)
        if self.mode is ReleaseMode.DP and rules != (1, 1, OwnTotals.PUBLIC, None, 0):
            raise ContractError("release policy: no threshold is applied in mode dp; noise protects every cell")

    @property
    def guarded(self) -> bool:
        """Whether what was answered before has a bearing: on near cells, or on other sets of participants."""
        return self.overlap_k > 1 or self.own_totals is OwnTotals.SECRET

    def to_json(self) -> dict[str, Json]:
        """The policy as signed: in mode DP the mode alone; `dominance_percent` is absent when there is none."""
        if self.mode is ReleaseMode.DP:
            return {"mode": self.mode.value}
        body: dict[str, Json] = {
            "mode": self.mode.value,
            "min_group_size": self.min_group_size,
            "min_contributors": self.min_contributors,
            "own_totals": self.own_totals.value,
            "overlap_k": self.overlap_k,
        }
        if self.dominance_percent is not None:
            body["dominance_percent"] = self.dominance_percent
        return body

    @classmethod
    def from_json(cls, fields: Fields) -> ReleasePolicy:
        """Read a policy.

        Raises:
            MalformedError: a field is missing, unknown, of the wrong type or out of range.
        """
        mode = fields.choice("mode", ReleaseMode)
        if mode is ReleaseMode.DP:
            fields.finish()
            return PRIVATE
        policy = cls(
            mode=mode,
            min_group_size=fields.integer("min_group_size", 1, MAX_THRESHOLD),
            min_contributors=fields.integer("min_contributors", 1, MAX_THRESHOLD),
            own_totals=fields.choice("own_totals", OwnTotals),
            dominance_percent=fields.optional_integer("dominance_percent", 1, 100),
            overlap_k=fields.integer("overlap_k", 0, MAX_THRESHOLD),
        )
        fields.finish()
        return policy


def stricter(first: ReleasePolicy, second: ReleasePolicy) -> ReleasePolicy:
    """The policy that holds where both do: each rule of either, as strict as the stricter one.

    Raises:
        ContractError: the two have different modes.
    """
    if first.mode is not second.mode:
        raise ContractError(f"a dataset is released in mode {first.mode.value} or {second.mode.value}, never both")
    secret = OwnTotals.SECRET in {first.own_totals, second.own_totals}
    percents = [percent for percent in (first.dominance_percent, second.dominance_percent) if percent is not None]
    return ReleasePolicy(
        mode=first.mode,
        min_group_size=max(first.min_group_size, second.min_group_size),
        min_contributors=max(first.min_contributors, second.min_contributors),
        own_totals=OwnTotals.SECRET if secret else OwnTotals.PUBLIC,
        dominance_percent=min(percents, default=None),
        overlap_k=max(first.overlap_k, second.overlap_k),
    )


def least_support(table: CellTable, policy: ReleasePolicy) -> int:
    """How many contributors a cell of the table needs.

    The policy's smallest group; where sums of products are released, also 10 and five times the sums a row: a matrix of
    moments over few rows can be solved for the rows.
    """
    if not table.moments:
        return policy.min_group_size
    return max(policy.min_group_size, LEAST_MOMENT_ROWS, ROWS_A_MOMENT * table.moments)


def withheld_cells(table: CellTable, totals: TableTotals, policy: ReleasePolicy) -> tuple[bool, ...]:
    """Which cells have too few contributors, or one that makes too much of a sum; an empty cell always has too few."""
    least, percent = least_support(table, policy), policy.dominance_percent
    few = tuple(support < least for support in totals.support)
    if percent is None:
        return few
    limit = Fraction(percent, 100)
    return tuple(small or share > limit for small, share in zip(few, totals.shares, strict=True))


def verify_exact(policy: ReleasePolicy) -> None:
    """Refuse exact totals of a dataset that is not released exactly.

    Raises:
        DeniedError: OPERATION_NOT_PERMITTED.
    """
    if policy.mode is not ReleaseMode.EXACT:
        raise DeniedError(
            DenialReason.OPERATION_NOT_PERMITTED,
            "release.mode",
            "this dataset is released under differential privacy only; ask for a dp operation",
        )


def gate(tables: Sequence[CellTable], totals: CellTotals, policy: ReleasePolicy) -> tuple[bool, ...]:
    """Decide, cell by cell over all tables, what is withheld (True): the only way from totals to a part.

    Raises:
        DeniedError: as `verify_exact`: its exact totals pass no gate.
    """
    verify_exact(policy)
    pairs = zip(tables, totals.tables, strict=True)
    return tuple(cell for table, found in pairs for cell in withheld_cells(table, found, policy))


def _require(value: int, lo: int, hi: int, name: str) -> None:
    if not lo <= value <= hi:
        raise ContractError(f"release policy: {name} = {value} is not within {lo} to {hi}")


PRIVATE: Final = ReleasePolicy(ReleaseMode.DP, 1, 1, OwnTotals.PUBLIC)
"""The one policy of mode DP; what it costs is in the dataset's privacy terms."""
