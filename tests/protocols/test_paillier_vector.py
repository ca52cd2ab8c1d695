import secrets
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import paillier_vector
from protocols.errors import (
    BadCiphertextError,
    BadKeyError,
    InconsistentTotalsError,
    LayoutError,
    OverflowRefusedError,
    ProtocolError,
)
from protocols.executor import InlineExecutor
from protocols.fixed_point import from_scaled, to_scaled
from protocols.noise_pool import NoisePool
from protocols.packing import SlotLayout, ValueRange, VectorLayout
from protocols.paillier import encrypt
from protocols.paillier_noise import TextbookNoise
from protocols.paillier_vector import (
    EncryptedVector,
    add,
    add_plain,
    decrypt_total,
    decrypt_vector,
    encrypt_vector,
    mul_plain,
    rerandomise,
    sum_over,
    sum_within,
    unpack,
    weighted_sum,
)

BITS = 512


def _layout(lo=-1000, hi=1000, length=20, **room):
    return VectorLayout.plan(ValueRange(lo, hi), length, modulus_bits=BITS, **room)


@st.composite
def sums(draw):
    """A layout, vectors within its range, and signed weights within its declared room."""
    lo = draw(st.integers(-(2**40), 2**40))
    hi = lo + draw(st.integers(0, 2**40))
    count, weight_bits = draw(st.integers(1, 4)), draw(st.integers(0, 20))
    length = draw(st.integers(1, 12))
    layout = _layout(lo, hi, length, additions=count, weight_bits=weight_bits)
    numbers = st.sampled_from([lo, hi]) | st.integers(lo, hi)
    vectors = draw(st.lists(st.lists(numbers, min_size=length, max_size=length), min_size=count, max_size=count))
    limit = 2**weight_bits
    weights = draw(st.lists(st.integers(-limit, limit), min_size=count, max_size=count))
    return layout, vectors, weights


@given(case=sums())
def test_any_vectors_within_bounds_survive_encryption_scaling_sums_and_decryption(small_key, case):
    layout, vectors, weights = case
    encrypted = [encrypt_vector(vector, layout, small_key.public_key) for vector in vectors]
    assert decrypt_vector(encrypted[0], small_key) == vectors[0]
    expected = [sum(w * v for w, v in zip(weights, row, strict=True)) for row in zip(*vectors, strict=True)]
    total = weighted_sum(encrypted, weights)
    assert decrypt_vector(total, small_key) == expected
    assert all(total.lo <= number <= total.hi for number in expected)
    scaled = [mul_plain(vector, weight) for vector, weight in zip(encrypted, weights, strict=True)]
    assert decrypt_vector(sum_over(scaled), small_key) == expected
    assert decrypt_vector(sum_over(encrypted), small_key) == [sum(row) for row in zip(*vectors, strict=True)]


@given(case=sums(), shift=st.integers(-(2**70), 2**70))
def test_public_addends_survive_too(small_key, case, shift):
    layout, vectors, _ = case
    encrypted = encrypt_vector(vectors[0], layout, small_key.public_key)
    assert decrypt_vector(add_plain(encrypted, shift), small_key) == [number + shift for number in vectors[0]]
    if len(vectors) > 1:
        both = [left + right for left, right in zip(vectors[0], vectors[1], strict=True)]
        assert decrypt_vector(add_plain(encrypted, vectors[1]), small_key) == both
        assert (
            decrypt_vector(add(encrypted, encrypt_vector(vectors[1], layout, small_key.public_key)), small_key) == both
        )


@given(values=st.lists(st.integers(-5000, 300), min_size=1, max_size=40))
def test_a_columns_total_is_exact(small_key, values):
    layout = _layout(-5000, 300, len(values), additions=8)
    vector = encrypt_vector(values, layout, small_key.public_key)
    assert decrypt_total(sum_within(vector), small_key) == sum(values)
    negated = mul_plain(vector, -1)
    assert decrypt_total(sum_within(negated), small_key) == -sum(values)


def test_decimals_are_the_vectors_and_exact(small_key):
    layout = VectorLayout.plan(ValueRange.signed(64, decimals=2), 3, modulus_bits=BITS, additions=2)
    texts = ["12.5", "-0.01", "90000000000000.99"]
    vector = encrypt_vector([to_scaled(text, 2) for text in texts], layout, small_key.public_key)
    doubled = decrypt_vector(add(vector, vector), small_key)
    assert [from_scaled(number, layout.values.decimals) for number in doubled] == [2 * Decimal(text) for text in texts]


def test_a_negative_factor_borrows_from_no_neighbour(small_key):
    layout = _layout(0, 255, 3)
    assert layout.slots.slot_bits == 8
    vector = mul_plain(encrypt_vector([255, 0, 255], layout, small_key.public_key), -1)
    assert (vector.lo, vector.hi) == (-255, 0)
    assert decrypt_vector(vector, small_key) == [-255, 0, -255]


class CountingExecutor(InlineExecutor):
    """Counts the items handed to it."""

    def __init__(self):
        super().__init__()
        self.items = 0

    def map(self, function, items, **told):
        self.items += len(items)
        return super().map(function, items, **told)


@pytest.fixture
def poisoned(small_key):
    """A vector whose ciphertexts fail any computation: they are no numbers."""

    def _poisoned(layout):
        return EncryptedVector(
            small_key.public_key,
            layout,
            (None,) * layout.slots.ciphertexts,
            layout.values.lo,
            layout.values.hi,
        )

    return _poisoned


@pytest.mark.parametrize(
    "operation",
    [
        lambda vector: sum_over([vector] * 5),
        lambda vector: mul_plain(vector, 5),
        lambda vector: mul_plain(vector, -5),
        lambda vector: weighted_sum([vector] * 2, [3, -2]),
        lambda vector: weighted_sum([vector, vector], [2**4000, 0]),
        lambda vector: add_plain(mul_plain_bounds(vector, 4), [0] * 20),
        lambda vector: sum_within(replace_length(vector, 2000)),
        lambda vector: add(mul_plain_bounds(vector, 4), vector),
    ],
)
def test_a_result_that_could_overflow_a_slot_is_refused_before_anything_is_computed(poisoned, operation):
    layout = _layout(-1000, 1000, 20, additions=4)
    assert layout.slots.largest < 5 * 2000
    with pytest.raises(OverflowRefusedError, match=r"^bounds"):
        operation(poisoned(layout))


def mul_plain_bounds(vector, factor):
    return replace(vector, lo=vector.lo * factor, hi=vector.hi * factor)


def replace_length(vector, length):
    layout = _layout(-1000, 1000, length, additions=4)
    return replace(vector, layout=layout, ciphertexts=(None,) * layout.slots.ciphertexts)


@given(
    lo=st.integers(-(2**30), 2**30),
    width=st.integers(1, 2**30),
    additions=st.integers(1, 9),
    factor=st.integers(-(2**20), 2**20),
)
def test_what_is_computed_fits_and_what_does_not_fit_is_refused(small_key, lo, width, additions, factor):
    layout = _layout(lo, lo + width, 2, additions=additions)
    vector = encrypt_vector([lo, lo + width], layout, small_key.public_key)
    fits = abs(factor) * width < 1 << layout.slots.slot_bits
    assert fits or abs(factor) > additions
    try:
        scaled = mul_plain(vector, factor)
    except OverflowRefusedError:
        assert not fits
        return
    assert fits
    assert decrypt_vector(scaled, small_key) == [lo * factor, (lo + width) * factor]


@pytest.mark.parametrize("bad", [-1001, 1001, 2**600])
def test_a_value_out_of_its_range_is_refused_before_anything_is_encrypted(small_key, bad):
    executor = CountingExecutor()
    with pytest.raises(OverflowRefusedError, match=r"^value: number 3 ") as caught:
        encrypt_vector([0, 1, 2, bad] + [0] * 16, _layout(), small_key.public_key, executor=executor)
    assert executor.items == 0
    assert str(bad) not in str(caught.value).replace("-1000 to 1000", "")
    with pytest.raises(OverflowRefusedError, match=r"^value: number 0 "):
        add_plain(encrypt_vector([0] * 20, _layout(additions=2), small_key.public_key), [bad] + [0] * 19)


def test_without_the_refusal_a_slot_would_spill_into_its_neighbour(small_key, monkeypatch):
    layout = _layout(0, 255, 2)
    vector = encrypt_vector([255, 7], layout, small_key.public_key)
    with pytest.raises(OverflowRefusedError):
        sum_over([vector, vector])
    monkeypatch.setattr(paillier_vector, "_room", lambda vector, lo, hi: (0, 255))
    assert decrypt_vector(sum_over([vector, vector]), small_key) == [254, 15]


def test_mixed_keys_layouts_ranges_and_decimals_are_refused_by_name(small_key, small_textbook_key):
    key = small_key.public_key
    vector = encrypt_vector([1] * 20, _layout(additions=9), key)
    foreign = encrypt_vector([1] * 20, _layout(additions=9), small_textbook_key.public_key)
    with pytest.raises(BadKeyError, match=r"^key"):
        add(vector, foreign)
    with pytest.raises(BadKeyError, match=r"^key"):
        decrypt_vector(foreign, small_key)
    with pytest.raises(BadKeyError, match=r"^key"):
        decrypt_total(sum_within(foreign), small_key)
    with pytest.raises(BadKeyError):
        rerandomise(foreign, TextbookNoise(key))
    others = [
        _layout(additions=90),
        _layout(-999, 1001, additions=9),
        VectorLayout.plan(ValueRange(-1000, 1000, 1), 20, modulus_bits=BITS, additions=9),
    ]
    for layout in others:
        for operation in (sum_over, lambda vectors: weighted_sum(vectors, [1, 1])):
            with pytest.raises(LayoutError, match=r"^layout"):
                operation([vector, encrypt_vector([1] * 20, layout, key)])


def test_no_vectors_and_another_number_of_weights_or_values_are_refused(small_key):
    vector = encrypt_vector([1] * 20, _layout(additions=9), small_key.public_key)
    for operation in (lambda: sum_over([]), lambda: weighted_sum([], [])):
        with pytest.raises(LayoutError, match=r"^vectors"):
            operation()
    with pytest.raises(LayoutError, match=r"^weights"):
        weighted_sum([vector], [1, 2])
    for values in ([1] * 19, [1] * 21):
        with pytest.raises(LayoutError):
            encrypt_vector(values, _layout(), small_key.public_key)
        with pytest.raises(LayoutError):
            add_plain(vector, values)


def test_a_layout_planned_for_a_longer_key_is_refused_before_anything_is_encrypted(small_key):
    layout = VectorLayout.plan(ValueRange(0, 255), 20, modulus_bits=1024)
    executor = CountingExecutor()
    with pytest.raises(LayoutError, match=r"^layout"):
        encrypt_vector([1] * 20, layout, small_key.public_key, executor=executor)
    assert executor.items == 0


def test_foreign_ciphertexts_enter_checked(small_key):
    key, layout = small_key.public_key, _layout(additions=9)
    good = encrypt_vector(list(range(20)), layout, key)
    assert EncryptedVector.received(list(good.ciphertexts), layout, key) == good
    assert len(good.ciphertexts) == 1
    for bad, named in [
        ([], "count"),
        ([*good.ciphertexts, 1], "count"),
        ([0], "range"),
        ([key.n_squared], "range"),
        ([key.n], "not coprime"),
        ([small_key.p], "not coprime"),
    ]:
        with pytest.raises(BadCiphertextError, match=f"^{named}"):
            EncryptedVector.received(bad, layout, key)
    for lo, hi in ((0, 2**40), (1, 0)):
        with pytest.raises(LayoutError, match=r"^bounds"):
            EncryptedVector.received(good.ciphertexts, layout, key, lo=lo, hi=hi)


@given(
    ciphertexts=st.lists(st.integers(-5, 5) | st.integers(0, 1 << (2 * BITS)), max_size=3),
    lo=st.none() | st.integers(-(2**20), 2**20),
    hi=st.none() | st.integers(-(2**20), 2**20),
)
def test_any_received_vector_is_accepted_or_refused_by_our_error(small_key, ciphertexts, lo, hi):
    layout = _layout(length=60, additions=9)
    try:
        vector = EncryptedVector.received(ciphertexts, layout, small_key.public_key, lo=lo, hi=hi)
    except ProtocolError:
        return
    assert len(vector.ciphertexts) == layout.slots.ciphertexts
    assert all(0 < ciphertext < small_key.public_key.n_squared for ciphertext in vector.ciphertexts)
    assert 0 <= vector.hi - vector.lo < 1 << layout.slots.slot_bits


def test_a_received_result_keeps_its_bounds(small_key):
    layout = _layout(additions=4)
    sent = mul_plain(encrypt_vector([1000] * 20, layout, small_key.public_key), -3)
    back = EncryptedVector.received(sent.ciphertexts, layout, sent.key, lo=sent.lo, hi=sent.hi)
    assert decrypt_vector(back, small_key) == [-3000] * 20


def test_a_ciphertext_that_holds_more_than_declared_is_found_at_decryption(small_key):
    key, layout = small_key.public_key, _layout(0, 1000, 2)
    for plaintext in (1001, 1 << 40, key.n - 1):
        lie = EncryptedVector.received([encrypt(plaintext, key, TextbookNoise(key))], layout, key)
        with pytest.raises(InconsistentTotalsError):
            decrypt_vector(lie, small_key)
        with pytest.raises(InconsistentTotalsError):
            decrypt_total(sum_within(lie), small_key)


@given(plaintexts=st.lists(st.integers(-5, 1 << 60), max_size=3))
def test_any_plaintexts_unpack_to_numbers_within_bounds_or_our_error(small_key, plaintexts):
    layout = VectorLayout(ValueRange(-7, 200), SlotLayout(8, 4, 7))
    vector = EncryptedVector(small_key.public_key, layout, (1, 1), -7, 200)
    try:
        numbers = unpack(vector, plaintexts)
    except ProtocolError:
        return
    assert len(numbers) == 7
    assert all(-7 <= number <= 200 for number in numbers)


def test_two_runs_over_the_same_rows_give_unrelated_ciphertexts(small_key, small_textbook_key):
    rows = [7] * 200
    for key in (small_key, small_textbook_key):
        layout = VectorLayout.plan(ValueRange(0, 2**60), 200, modulus_bits=BITS)
        runs = [encrypt_vector(rows, layout, key.public_key).ciphertexts for _ in range(2)]
        everything = [ciphertext for run in runs for ciphertext in run]
        assert len(set(everything)) == len(everything)
        # Nor do they differ by a power of 1 + n, as they would under one and the same noise.
        assert len({ciphertext % key.public_key.n for ciphertext in everything}) == len(everything)


def test_rerandomised_ciphertexts_are_new_and_the_numbers_stay(small_key):
    vector = encrypt_vector(list(range(20)), _layout(additions=3), small_key.public_key)
    combined = sum_over([vector, vector])
    assert combined.ciphertexts == sum_over([vector, vector]).ciphertexts  # recognised by whoever knows the vector
    fresh = rerandomise(combined, TextbookNoise(small_key.public_key))
    assert not set(fresh.ciphertexts) & set(combined.ciphertexts)
    assert decrypt_vector(fresh, small_key) == [2 * number for number in range(20)]
    assert (fresh.lo, fresh.hi) == (combined.lo, combined.hi)


def test_rerandomising_takes_one_value_a_ciphertext_from_a_pool(small_key):
    layout = VectorLayout.plan(ValueRange(0, 2**200), 5, modulus_bits=BITS)
    vector = encrypt_vector(list(range(5)), layout, small_key.public_key)
    pool = NoisePool(small_key.public_key)
    pool.fill(8, executor=InlineExecutor())
    assert decrypt_vector(rerandomise(vector, pool), small_key) == list(range(5))
    assert len(pool) == 8 - len(vector.ciphertexts)


def test_progress_counts_ciphertexts_and_ends_at_all(small_key):
    layout = VectorLayout.plan(ValueRange(0, 2**100), 30, modulus_bits=BITS, additions=4)
    told = []
    vector = encrypt_vector([1] * 30, layout, small_key.public_key, progress=lambda *step: told.append(step))
    count = layout.slots.ciphertexts
    assert told[-1] == (count, count)
    told.clear()
    weighted_sum([vector, vector], [1, 2], progress=lambda *step: told.append(step))
    assert told[-1] == (count, count)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueRange(1, 0),
        lambda: ValueRange(0, 1, 19),
        lambda: ValueRange(0, 1, -1),
        lambda: ValueRange.signed(0),
        lambda: _layout(additions=0),
        lambda: _layout(weight_bits=-1),
        lambda: _layout(length=0),
        lambda: _layout(weight_bits=BITS),
        lambda: VectorLayout(ValueRange(0, 256), SlotLayout(8, 1, 1)),
    ],
)
def test_what_does_not_fit_has_no_layout(make):
    with pytest.raises(LayoutError):
        make()


def test_64_bit_numbers_with_room_for_2_to_the_32_additions_take_96_bits():
    layout = VectorLayout.plan(ValueRange.signed(64), 31, modulus_bits=3072, additions=1 << 32)
    assert (layout.slots.slot_bits, layout.slots.slots_per_ciphertext, layout.slots.ciphertexts) == (96, 31, 1)


def test_no_ciphertext_and_no_value_is_in_a_repr(small_key):
    vector = encrypt_vector([secrets.randbelow(900) for _ in range(20)], _layout(additions=9), small_key.public_key)
    assert str(vector.ciphertexts[0]) not in repr(vector)
    assert str(sum_within(vector).ciphertext) not in repr(sum_within(vector))
