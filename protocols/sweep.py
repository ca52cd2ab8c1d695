"""Least squares by the sweep operator (Goodnight 1979), in integers without fractions (Bareiss 1968)."""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import InconsistentTotalsError


@dataclass(frozen=True, slots=True)
class Swept:
    """A symmetric matrix after its pivots were swept, as integers over one common denominator.

    With A the rows and columns of the pivots, b their last column and c the last corner, these entries divided by the
    denominator are: A^-1 in the places of A, A^-1 b in the last column, and c - b' A^-1 b in the last corner.

    Attributes:
        entries: p + 1 rows and columns.
        denominator: the determinant of A, > 0.
        pivots: positions that were swept, ascending; the others are linear combinations of those before them.

    """

    entries: tuple[tuple[int, ...], ...]
    denominator: int
    pivots: tuple[int, ...]


def sweep(matrix: Sequence[Sequence[int]]) -> Swept:
    """Sweep all rows and columns but the last, in order, leaving out those that are combinations of earlier ones.

    Args:
        matrix: symmetric and, as a scatter matrix is, positive semidefinite; p + 1 rows and columns, the last for the
            outcome.

    Raises:
        InconsistentTotalsError: the matrix is no scatter matrix of any rows.

    """
    entries = [list(row) for row in matrix]
    denominator = 1
    pivots: list[int] = []
    for pivot in range(len(entries) - 1):
        if entries[pivot][pivot] > 0:
            denominator = _sweep_one(entries, pivot, denominator)
            pivots.append(pivot)
        else:
            _check_combination(entries, pivot, pivots)
    if entries[-1][-1] < 0:
        raise InconsistentTotalsError("squares of residuals sum to less than 0; no rows have these moments")
    return Swept(tuple(map(tuple, entries)), denominator, tuple(pivots))


def _sweep_one(entries: list[list[int]], pivot: int, denominator: int) -> int:
    """Sweep one pivot in place and return the new denominator, which is the pivot.

    This is a step of Gauss and Jordan on the matrix beside the identity, where each column that the step turns into one
    of the identity gives its place to the column of the identity that the step fills. Divisions leave no rest: every
    entry is a minor of the matrix (Sylvester's identity).
    """
    row = entries[pivot]
    value = row[pivot]
    for position, other in enumerate(entries):
        if position == pivot:
            continue
        factor = other[pivot]
        entries[position] = [
            (value * entry - factor * own) // denominator for entry, own in zip(other, row, strict=True)
        ]
        entries[position][pivot] = -factor
    row[pivot] = denominator
    return value


def _check_combination(entries: list[list[int]], pivot: int, swept: Sequence[int]) -> None:
    """What is left of a combination of earlier columns is zero everywhere; what is left of real rows is never less."""
    rest = (entry for position, entry in enumerate(entries[pivot]) if position not in swept)
    if any(rest):
        raise InconsistentTotalsError("no rows have these moments; the totals are no sums of the parties' parts")
