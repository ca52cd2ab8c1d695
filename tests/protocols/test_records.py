import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError, LayoutError, OverflowRefusedError
from protocols.records import RecordLayout, SlotBlock

BITS = 64


def _blocks():
    widths = st.lists(st.integers(1, BITS - 1), min_size=1, max_size=4).map(tuple)
    return st.lists(st.builds(SlotBlock, widths, st.integers(1, 6)), min_size=1, max_size=3).map(tuple)


@given(_blocks(), st.data())
def test_what_is_packed_comes_back(blocks, data):
    layout = RecordLayout(blocks, BITS)
    values = [
        data.draw(st.sampled_from([0, 1, 2**width - 1]) | st.integers(0, 2**width - 1)) % 2**width
        for width in layout.widths()
    ]
    plaintexts = layout.pack(values)
    assert len(plaintexts) == layout.ciphertexts
    assert all(0 <= plaintext < 2 ** (BITS - 1) for plaintext in plaintexts)
    assert layout.unpack(plaintexts) == values


def test_a_slot_never_straddles_two_ciphertexts():
    layout = RecordLayout((SlotBlock((40, 20), 2),), BITS)
    assert layout.pack([2**40 - 1, 1, 2**40 - 1, 1]) == [(1 << 40) + 2**40 - 1] * 2


def test_a_value_too_wide_for_its_slot_is_refused():
    layout = RecordLayout((SlotBlock((4, 8), 1),), BITS)
    for values in ([16, 0], [0, 256], [-1, 0]):
        with pytest.raises(OverflowRefusedError):
            layout.pack(values)
    with pytest.raises(LayoutError):
        layout.pack([1])


def test_bits_beyond_the_last_slot_are_seen():
    layout = RecordLayout((SlotBlock((4, 8), 1),), BITS)
    for plaintext in (1 << 12, -1):
        with pytest.raises(InconsistentTotalsError):
            layout.unpack([plaintext])
    with pytest.raises(LayoutError):
        layout.unpack([0, 0])


@pytest.mark.parametrize("blocks", [(), (SlotBlock((), 3),), (SlotBlock((0,), 1),), (SlotBlock((BITS,), 1),)])
def test_what_has_no_layout_is_refused(blocks):
    with pytest.raises(LayoutError):
        RecordLayout(blocks, BITS)
