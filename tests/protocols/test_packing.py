import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError, LayoutError, OverflowRefusedError, ProtocolError
from protocols.packing import SlotLayout


@st.composite
def packed(draw):
    slot_bits = draw(st.integers(1, 90))
    values = draw(st.lists(st.integers(0, 2**slot_bits - 1), min_size=1, max_size=40))
    return SlotLayout.fit(slot_bits, len(values), draw(st.integers(slot_bits + 1, 300))), values


@given(packed())
def test_any_vector_survives_packing_and_stays_below_the_modulus(case):
    layout, values = case
    plaintexts = layout.pack(values)
    assert len(plaintexts) == layout.ciphertexts
    assert all(0 <= plaintext < 1 << (layout.slot_bits * layout.slots_per_ciphertext) for plaintext in plaintexts)
    assert layout.unpack(plaintexts) == values


def test_a_packed_plaintext_is_below_every_modulus_of_the_length():
    for modulus_bits in (64, 65, 3072):
        for slot_bits in (1, 7, 63):
            layout = SlotLayout.fit(slot_bits, 1000, modulus_bits)
            assert max(layout.pack([2**slot_bits - 1] * 1000)) < 1 << (modulus_bits - 1)


def test_the_first_number_is_in_the_lowest_bits():
    assert SlotLayout(8, 2, 3).pack([1, 2, 3]) == [0x0201, 0x03]


def test_sums_of_packed_plaintexts_are_sums_of_the_numbers():
    layout = SlotLayout.fit(20, 100, 512)
    left, right = list(range(100)), [7 * number for number in range(100)]
    total = [a + b for a, b in zip(layout.pack(left), layout.pack(right), strict=True)]
    assert layout.unpack(total) == [a + b for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize("bad", [-1, 256, 1 << 400])
def test_a_number_wider_than_its_slot_is_refused(bad):
    with pytest.raises(OverflowRefusedError, match="value 1 "):
        SlotLayout(8, 4, 2).pack([0, bad])


def test_another_number_of_values_or_plaintexts_is_refused():
    layout = SlotLayout(8, 2, 3)
    for values in ([], [1, 2], [1, 2, 3, 4]):
        with pytest.raises(LayoutError):
            layout.pack(values)
    for plaintexts in ([], [1], [1, 2, 3]):
        with pytest.raises(LayoutError):
            layout.unpack(plaintexts)


@pytest.mark.parametrize(("slot_bits", "length", "modulus_bits"), [(0, 1, 64), (64, 1, 64), (8, 0, 64), (8, -1, 64)])
def test_what_does_not_fit_has_no_layout(slot_bits, length, modulus_bits):
    with pytest.raises(LayoutError):
        SlotLayout.fit(slot_bits, length, modulus_bits)


@given(st.lists(st.integers(-5, 1 << 70), min_size=2, max_size=2))
def test_any_plaintexts_unpack_to_numbers_or_our_error(plaintexts):
    layout = SlotLayout(8, 8, 11)
    try:
        values = layout.unpack(plaintexts)
    except ProtocolError:
        assert min(plaintexts) < 0 or plaintexts[0] >> 64 or plaintexts[1] >> 24
        return
    assert layout.pack(values) == plaintexts


def test_bits_beyond_the_last_slot_are_refused():
    with pytest.raises(InconsistentTotalsError, match="plaintext 1"):
        SlotLayout(8, 8, 11).unpack([0, 1 << 24])
