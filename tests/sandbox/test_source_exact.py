"""The fast ways through a column against its definition: what a number means, where a level begins, what adds up."""

from __future__ import annotations

import random
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.declaration import ColumnDeclaration, OnViolation
from sandbox.frame import ColumnType, FrameColumn
from sandbox.grades import Grade
from sandbox.scan import Parameters, Physical, Scan, hardened_connection
from sandbox.source_columns import PlanColumn, projection
from sandbox.source_levels import levels_of
from sandbox.source_sums import ProductSums

WIDE = Context(prec=400)


def column(
    decimals: int,
    lo: int,
    hi: int,
    *,
    edges: tuple[int, ...] = (),
    more: int = 0,
    kind: ColumnType = ColumnType.DECIMAL,
    on_violation: OnViolation = OnViolation.EXCLUDE,
) -> PlanColumn:
    """A column from `lo` to `hi` in declared units, of a frame with `more` decimals, which `edges` are in."""
    up = 10**more
    frame = FrameColumn("x", kind, "", decimals + more, lo * up, hi * up, (), edges, True)
    declared = ColumnDeclaration(
        name="x",
        physical="x",
        title="x",
        type=kind,
        unit="",
        decimals=decimals,
        lo=lo,
        hi=hi,
        domain=(),
        edges=(),
        nullable=True,
        grade=Grade.GENERAL,
        grade_basis="test",
        grade_review="2030-01-01",
        uses=frozenset(),
        on_violation=on_violation,
        identifies_provider=False,
    )
    return PlanColumn(0, frame, declared, None, lo, hi)


def codes(found: PlanColumn, values: pa.Array, physical: Physical) -> list[int]:
    connection = hardened_connection(1)
    connection.register("rows_of_test", pa.table({"x": values}))
    scan = Scan(connection, "rows_of_test", {}, {"x": physical}, "test")
    parameters = Parameters()
    selected, relation = projection(scan, (found,), parameters)
    batches = scan.batches(f"SELECT {selected} FROM {relation}", parameters)
    return [code for batch in batches for code in batch.column(0).to_pylist()]


def meant(found: PlanColumn, text: str | None) -> int:
    """What the shortest decimal of a value stands for, by decimal arithmetic."""
    if text is None:
        return found.null_code
    number = Decimal(text)
    if not number.is_finite() or abs(number) >= Decimal(10) ** (38 - found.declared.decimals):
        return found.bad_code
    if found.declared.type is ColumnType.INTEGER and number != number.to_integral_value():
        return found.bad_code
    scaled = int(number.scaleb(found.declared.decimals, WIDE).quantize(Decimal(1), ROUND_HALF_UP, WIDE))
    if found.declared.on_violation is OnViolation.CLIP:
        scaled = min(max(scaled, found.lo), found.hi)
    return scaled if found.lo <= scaled <= found.hi else found.bad_code


def doubles(seed: int) -> list[float]:
    """Doubles of every kind: whole, with few and with many decimals, ties, large, tiny, neighbours of round ones."""
    draw = random.Random(seed)
    few = [draw.randrange(-(10 ** draw.randrange(1, 17)), 10**16) / 10 ** draw.randrange(10) for _ in range(3_000)]
    ties = [(draw.randrange(10**9) * 10 + 5) / 10 ** draw.randrange(1, 9) for _ in range(1_000)]
    near = [np.nextafter(value, draw.choice([-np.inf, np.inf])).item() for value in few[:1_000]]
    many = [draw.uniform(-1e6, 1e6) for _ in range(1_000)]
    edge = [9.99999999999999e14, 1e15, 1e15 + 0.5, 2.0**53, 2.0**53 + 2, 1e17, -1e17, 1e22, 1e300, 5e-324, 0.0, -0.0]
    return [*few, *ties, *near, *many, *edge, float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("on_violation", [OnViolation.EXCLUDE, OnViolation.CLIP])
@pytest.mark.parametrize("bound", [10**6, 10**15 + 7, 10**18 - 1])
@pytest.mark.parametrize("decimals", [0, 2, 9])
def test_a_double_stands_for_its_shortest_decimal(decimals: int, bound: int, on_violation: OnViolation) -> None:
    found = column(decimals, -bound, bound, on_violation=on_violation)
    values = doubles(decimals + bound)
    assert codes(found, pa.array([*values, None]), Physical.FLOAT) == [
        *(meant(found, repr(value)) for value in values),
        found.null_code,
    ]


@pytest.mark.parametrize("decimals", [0, 2, 9])
def test_a_single_precision_number_stands_for_the_decimal_that_it_is_written_as(decimals: int) -> None:
    found = column(decimals, -(10**18) + 1, 10**18 - 1)
    values = [value for value in doubles(decimals) if abs(value) < 3e38] + [2.0**30, 16777217.0, 0.1]
    singles = pa.array(np.array(values, np.float32))
    connection = hardened_connection(1)
    connection.register("singles", pa.table({"x": singles}))
    texts = [text for (text,) in connection.execute("SELECT CAST(x AS VARCHAR) FROM singles").fetchall()]
    assert codes(found, singles, Physical.REAL) == [meant(found, text) for text in texts]


def test_integers_and_decimals_are_read_to_the_last_digit() -> None:
    whole = [0, 1, -1, 10**9, 10**15 + 1, 2**53 + 1, 10**18 - 1, -(10**18) + 1, 10**18, 2**63 - 1, -(2**63)]
    for decimals, more in ((0, 0), (2, 0), (9, 3)):
        found = column(decimals, -(10**18) + 1, 10**18 - 1)
        assert codes(found, pa.array(whole, pa.int64()), Physical.INTEGER) == [meant(found, str(n)) for n in whole]
        texts = [f"{n // 10**6}.{abs(n) % 10**6:06d}" for n in whole if n >= 0] + ["1.005", "-2.675", "0.0000005"]
        numbers = pa.array([Decimal(text) for text in texts], pa.decimal128(38, 9 + more))
        assert codes(found, numbers, Physical.DECIMAL) == [meant(found, text) for text in texts]
    found = column(0, -(10**6), 10**6, kind=ColumnType.INTEGER)
    texts = ["2.00000000000000000001", "3.00000000000000000000", "2.5"]
    numbers = pa.array([Decimal(text) for text in texts], pa.decimal128(38, 20))
    assert codes(found, numbers, Physical.DECIMAL) == [found.bad_code, 3, found.bad_code]


@st.composite
def edged(draw: st.DrawFn) -> PlanColumn:
    """Narrow and wide ranges, even and uneven edges, frames finer than the declaration, edges below its bounds."""
    decimals, more = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    lo = draw(st.integers(-(10 ** draw(st.integers(1, 14))), 10**6))
    hi = lo + draw(st.sampled_from([1, 100, 10**5, 10**9, 10**13]))
    up = 10**more
    inside = st.integers(lo * up, hi * up)
    edges = draw(st.one_of(st.sets(inside, min_size=2, max_size=40), st.just({lo * up, hi * up})))
    if draw(st.booleans()):
        step = max(1, (hi - lo) * up // draw(st.integers(1, 1_500)))
        edges = {lo * up + step * n for n in range(1_500) if lo * up + step * n <= hi * up}
    return column(decimals, lo, hi, edges=tuple(sorted(edges)), more=more)


@settings(max_examples=200, deadline=None)
@given(edged(), st.data())
def test_levels_begin_and_end_where_the_frame_says(found: PlanColumn, data: st.DataObject) -> None:
    edges = found.frame.edges
    near = [edge // found.factor + step for edge in edges for step in (-1, 0, 1)]
    some = data.draw(st.lists(st.integers(found.lo, found.hi), max_size=50))
    values = [value for value in [*near, *some, found.lo, found.hi] if found.lo <= value <= found.hi]
    wanted = np.searchsorted(np.array(edges), np.array(values) * found.factor, side="right") - 1
    wanted[np.array(values) * found.factor == edges[-1]] = len(edges) - 2  # the last interval is closed
    wanted[wanted == len(edges) - 1] = -1
    assert levels_of(found).of(np.array(values, np.int64)).tolist() == wanted.tolist()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([10, 2**23, 2**31, 10**15, 10**18 - 1]), st.sampled_from([1, 2**20, 10**18 - 1]), st.integers())
def test_sums_of_products_are_those_of_unbounded_integers(first: int, second: int, seed: int) -> None:
    draw = np.random.default_rng(abs(seed))
    cell = draw.integers(0, 3, 9_000)
    extremes = np.array([-first, first, first - 1])
    a = np.where(draw.random(9_000) < 0.5, draw.choice(extremes, 9_000), draw.integers(-first, first, 9_000))
    b = np.where(draw.random(9_000) < 0.5, second, draw.integers(-second, second, 9_000))
    products, sums = ProductSums(3, (first, second)), ProductSums(3, (first,))
    for part in np.array_split(np.arange(9_000), 7):
        products.add(cell[part], (a[part], b[part]))
        sums.add(cell[part], (a[part],))
    exact = a.astype(object) * b.astype(object)
    assert products.totals() == [int(sum(exact[cell == index])) for index in range(3)]
    assert sums.totals() == [int(sum(a.astype(object)[cell == index])) for index in range(3)]


def test_sums_carry_before_64_bits_are_full() -> None:
    sums = ProductSums(1, (2**22, 2**22))
    values = np.full(2**15, 2**22 - 1)
    for _ in range(70):
        sums.add(np.zeros(2**15, np.intp), (values, values))
    assert sums.totals() == [70 * 2**15 * (2**22 - 1) ** 2]
