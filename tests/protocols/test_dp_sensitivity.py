"""The stated sensitivity against brute force over neighbours: never exceeded, and reached."""

import random
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_release import ReleaseShape, plan_noise
from protocols.dp_sensitivity import ROW, BoundedColumn, CentredMeasure, ProtectedUnit, ReleaseTable
from protocols.errors import StatisticError

A = BoundedColumn("a", -3, 4)
B = BoundedColumn("b", 0, 1)
COUNT = CentredMeasure(())
MOMENTS = (
    COUNT,
    CentredMeasure((A,), ("a",)),
    CentredMeasure((A, A), ("a",)),
    CentredMeasure((B,)),
    CentredMeasure((A, B), ("a",)),
    CentredMeasure((B, B)),
    CentredMeasure((), ("a",)),
)
WIDE = BoundedColumn("w", -20_000_000, 31_000_001)


def plain_totals(rows, present):
    """Plain sums over rows (dicts of scaled values, None for null) in which all of `present` have a value."""
    kept = [row for row in rows if all(row[name] is not None for name in present)]
    names = sorted(rows[0]) if rows else []
    totals = {(): len(kept)}
    for first in names:
        totals[(first,)] = sum(row[first] or 0 for row in kept)
        for second in names:
            totals[(first, second)] = sum((row[first] or 0) * (row[second] or 0) for row in kept)
    return totals


def row_vector(row, cell, table):
    """What one row adds to the centred totals of every cell of a table."""
    zero = [0] * len(table.measures)
    own = [measure.centred(plain_totals([row], measure.present)) for measure in table.measures]
    return [own if place == cell else zero for place in range(table.cells)]


def test_no_row_moves_the_scaled_vector_of_all_tables_by_more_than_is_charged_and_one_moves_it_as_far():
    tables = (ReleaseTable(2, MOMENTS), ReleaseTable(8, (COUNT,)))
    plan = plan_noise(ReleaseShape(tables), Fraction(1, 10))
    charged = 2 * plan.rho
    largest = 0
    for a, b in product([None, *range(A.lo, A.hi + 1)], range(B.lo, B.hi + 1)):
        moved = Fraction(0)
        for table, blocks, cell in zip(tables, plan.blocks, (b, 0 if a is None else a - A.lo), strict=True):
            for totals in row_vector({"a": a, "b": b}, cell, table):
                moved += sum(t**2 / block.share.total_variance for t, block in zip(totals, blocks, strict=True))
        assert moved <= charged
        largest = max(largest, moved)
    assert largest == charged


def test_totals_around_the_middle_are_never_worse_than_plain_ones():
    for lo, hi in product(range(-6, 7), repeat=2):
        if lo < hi:
            x = BoundedColumn("x", lo, hi)
            farthest = max(abs(lo), abs(hi))
            assert CentredMeasure((x,)).row_change <= 2 * farthest
            assert CentredMeasure((x, x)).row_change <= 8 * farthest**2


def allocations(unit, cells):
    """Every way in which one unit's rows may lie in the cells at one provider."""
    for rows in product(range(unit.rows_per_cell + 1), repeat=cells):
        if sum(rows) <= unit.rows and sum(map(bool, rows)) <= unit.cells:
            yield rows


@pytest.mark.parametrize(
    "unit",
    [
        ROW,
        ProtectedUnit(rows=3, rows_per_cell=2, cells=2, providers=2),
        ProtectedUnit(rows=5, rows_per_cell=2, cells=4, providers=1),
        ProtectedUnit(rows=2, rows_per_cell=2, cells=4, providers=3),
        ProtectedUnit(rows=4, rows_per_cell=4, cells=1, providers=2),
    ],
    ids=str,
)
def test_no_person_within_its_limits_moves_a_measure_by_more_than_is_charged_and_one_moves_it_as_far(unit):
    table = ReleaseTable(3, (CentredMeasure((A,)),))
    measure = table.measures[0]
    bound, changed = unit.squared_sensitivity(table, measure), 0
    reached = 0
    ways = list(allocations(unit, table.cells))
    for chosen in product(ways, repeat=unit.providers):
        for signs in product((-1, 1), repeat=unit.providers):  # all of a person's rows at one end of the bounds
            moved = [
                sum(sign * rows[cell] * A.width for sign, rows in zip(signs, chosen, strict=True))
                for cell in range(table.cells)
            ]
            squared = sum(each**2 for each in moved)
            assert squared <= bound
            reached, changed = max(reached, squared), max(changed, sum(map(bool, moved)))
    assert reached == bound
    assert changed <= unit.changed_cells(table)


def test_a_person_at_two_providers_is_not_covered_by_the_charge_for_one():
    table = ReleaseTable(1, (COUNT,))
    single, double = ProtectedUnit(), ProtectedUnit(providers=2)
    moved = 1 + 1  # the person's row at each provider, in the sum that is released
    assert moved**2 > single.squared_sensitivity(table, COUNT)
    assert moved**2 <= double.squared_sensitivity(table, COUNT)


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_rounding_to_granules_is_within_the_sensitivity(seed):
    chance = random.Random(seed)
    rows_per_cell = chance.randint(1, 4)
    unit = ProtectedUnit(rows=rows_per_cell + chance.randint(0, 4), rows_per_cell=rows_per_cell, cells=4)
    for measure in (CentredMeasure((WIDE,)), CentredMeasure((WIDE, WIDE)), CentredMeasure((A, WIDE))):
        assert measure.granule > 1
        assert 1 << 16 < measure.row_granules <= 1 << 17
        before = chance.randint(-(2**70), 2**70)
        rows = chance.randint(0, unit.rows_per_cell)
        change = sum(chance.choice((-1, 1)) * measure.row_change for _ in range(rows))
        moved = measure.granules(before + change) - measure.granules(before)
        assert (
            moved**2
            <= (rows * measure.row_granules) ** 2
            <= unit.squared_sensitivity(ReleaseTable(5, (measure,)), measure)
        )
        assert abs(measure.granules(before) * measure.granule - before) <= measure.granule // 2


def test_a_total_that_rows_move_by_little_is_not_rounded_at_all():
    assert CentredMeasure((A, A)).granule == 1
    assert CentredMeasure((BoundedColumn("x", 0, 2**17),)).granule == 1
    assert CentredMeasure((BoundedColumn("x", 0, 2**17 + 1),)).granule == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda: BoundedColumn("x", 3, 3),
        lambda: BoundedColumn("x", 3, 2),
        lambda: BoundedColumn("x", 0, 1, -1),
        lambda: CentredMeasure((B, A)),
        lambda: CentredMeasure((A, A, A)),
        lambda: CentredMeasure((A, BoundedColumn("a", 0, 9))),
        lambda: CentredMeasure((), ("b", "a")),
        lambda: CentredMeasure((), weight=0),
        lambda: ReleaseTable(0, (COUNT,)),
        lambda: ReleaseTable(1, ()),
        lambda: ReleaseTable(1, (COUNT, CentredMeasure((), weight=2))),
        lambda: ProtectedUnit(rows=0),
        lambda: ProtectedUnit(rows=1, rows_per_cell=2),
        lambda: ReleaseShape(()),
        lambda: ReleaseShape((ReleaseTable(1, (COUNT,)),), ProtectedUnit(providers=2)),
    ],
)
def test_declarations_that_bound_nothing_are_refused(build):
    with pytest.raises(StatisticError):
        build()


def test_a_plain_total_that_was_not_added_up_is_named():
    with pytest.raises(StatisticError, match="'a',"):
        CentredMeasure((A, A)).centred({(): 3, ("a", "a"): 9})
