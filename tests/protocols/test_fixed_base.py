"""Powers from the comb equal plain ones, and its table keeps within the memory that it states."""

import subprocess
import sys
from pathlib import Path

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.fixed_base import TABLE_BYTES, CombShape, CombTable, cheapest_shape, times_one_plus

N = (2**127 - 1) * (2**89 - 1)
BASE = 3**100 + 7

shapes = st.builds(CombShape, teeth=st.integers(1, 6), combs=st.integers(1, 5), steps=st.integers(1, 5))


def exponent_of(digits, shape):
    """The exponent that digits stand for, as the table's docstring says."""
    total = 0
    for position, digit in enumerate(digits):
        step, comb = divmod(position, shape.combs)
        for tooth in range(shape.teeth):
            bit = tooth * shape.combs * shape.steps + comb * shape.steps + shape.steps - 1 - step
            total += (digit >> tooth & 1) << bit
    return total


@given(shapes, st.data())
def test_a_power_from_the_table_equals_plain_exponentiation(shape, data):
    digit = st.integers(0, (1 << shape.teeth) - 1)
    digits = data.draw(st.lists(digit, min_size=shape.columns, max_size=shape.columns))
    assert CombTable(BASE, N, shape).power(digits) == pow(BASE, exponent_of(digits, shape), N * N)


@given(shapes)
def test_digits_and_exponents_correspond_one_to_one(shape):
    bits = shape.teeth * shape.columns
    single = [
        exponent_of([(position == at) << tooth for position in range(shape.columns)], shape)
        for at in range(shape.columns)
        for tooth in range(shape.teeth)
    ]
    assert sorted(single) == [1 << bit for bit in range(bits)]


def test_random_powers_are_powers_and_differ():
    order = (
        gmpy2.lcm(2**127 - 2, 2**89 - 2) * N
    )  # of the whole group, so that a power of the base is known by its order
    table = CombTable(BASE, N, CombShape(4, 4, 4))
    draws = {int(table.random_power()) for _ in range(50)}
    assert len(draws) == 50
    assert all(pow(draw, int(order), N * N) == 1 for draw in draws)


@given(st.integers(0, N * N - 1), st.integers(-(N**2), N**2))
def test_a_product_with_one_plus_a_multiple_of_n_costs_half_and_is_right(number, factor):
    n = gmpy2.mpz(N)
    assert times_one_plus(gmpy2.mpz(number), gmpy2.mpz(factor), n, n * n) == number * (1 + factor * N) % N**2


def test_a_shape_covers_the_exponent_and_stays_within_the_budget():
    for bits in (512, 2048, 3072, 8192):
        for count in (1, 100, 10**6):
            shape = cheapest_shape(bits // 2, bits, count)
            assert shape.teeth * shape.columns >= bits // 2
            assert shape.table_bytes(bits) <= TABLE_BYTES


GROWTH = """
import secrets, sys
from protocols.fixed_base import CombTable, cheapest_shape
bits = int(sys.argv[1])
shape = cheapest_shape(bits // 2, bits, 10**6)
def resident():
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * 4096
n = secrets.randbits(bits) | 1 << (bits - 1) | 1  # odd, so that 2 is a unit
CombTable(2, n, cheapest_shape(bits // 2, bits, 2))
before = resident()
table = CombTable(2, n, shape)
sys.stdout.write(f"{resident() - before} {shape.table_bytes(bits)}")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_the_largest_table_takes_no_more_memory_than_is_stated_and_at_most_64_mb(bits):
    command = [sys.executable, "-c", GROWTH, str(bits)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    grown, stated = map(int, done.stdout.split())
    assert stated <= TABLE_BYTES
    assert 0.8 * stated < grown < 1.03 * stated
