import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.aggregate import MeasureBound, TableShape, combine, decrypt_totals, encrypt_part, plan
from protocols.errors import (
    BadCiphertextError,
    InconsistentTotalsError,
    LayoutError,
    MaskError,
    OverflowRefusedError,
    ProtocolError,
)
from protocols.paillier_checks import check_ciphertexts
from protocols.paillier_key import Scheme
from tests.protocols.test_masks import roster_secrets

BITS = 512
ROSTER = ["ne", "south", "west"]
BOUNDS = [MeasureBound(0, 1000), MeasureBound(-(10**6), 10**9)]
DATA = {"ne": [[12, 3400], [0, 0]], "south": [[1000, -(10**6)], [7, 10**9]], "west": [[3, 5], [1, -1]]}
SUMS = [[1015, -(10**6) + 3405], [8, 10**9 - 1]]


def _layout(parties=3, cells=2, bounds=BOUNDS):
    return one_table(bounds, cells, parties)


def one_table(bounds, cells, parties, bits=BITS):
    return plan([TableShape(cells, tuple(bounds))], parties=parties, modulus_bits=bits)


def _parts(key, secrets, data=DATA, layout=None):
    layout = layout or _layout()
    return [encrypt_part(data[name], layout, key, secrets=secrets.get(name, {}), own=name) for name in data]


def _bound():
    return st.builds(MeasureBound, st.integers(-(2**40), 0), st.integers(0, 2**40))


@st.composite
def _federation(draw):
    bounds = draw(st.lists(_bound(), min_size=1, max_size=4))
    cells, parties = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    row = st.tuples(*(st.sampled_from([bound.lo, 0, bound.hi]) | st.integers(bound.lo, bound.hi) for bound in bounds))
    table = st.lists(row, min_size=cells, max_size=cells)
    return bounds, cells, {f"party-{number}": draw(table) for number in range(parties)}, draw(st.booleans())


@settings(max_examples=60, deadline=None)
@given(federation=_federation())
def test_any_totals_in_bounds_survive_encryption_combination_and_decryption(small_key, small_textbook_key, federation):
    bounds, cells, data, textbook = federation
    key = small_textbook_key if textbook else small_key
    layout = one_table(bounds, cells, len(data))
    parts = _parts(key.public_key, roster_secrets(data), data, layout)
    sums = [
        [sum(table[cell][measure] for table in data.values()) for measure in range(len(bounds))]
        for cell in range(cells)
    ]
    assert decrypt_totals(combine(parts, key.public_key), key, layout) == sums


@settings(deadline=None)
@given(
    bounds=st.lists(_bound(), min_size=1, max_size=4),
    parties=st.integers(1, 9),
    beyond=st.integers(1, 2**70),
    data=st.data(),
)
def test_any_total_out_of_bounds_is_refused_before_anything_is_computed(small_key, bounds, parties, beyond, data):
    layout = one_table(bounds, 2, parties)
    cell, measure = data.draw(st.integers(0, 1)), data.draw(st.integers(0, len(bounds) - 1))
    totals = [[0] * len(bounds) for _ in range(2)]
    above = data.draw(st.booleans())
    totals[cell][measure] = bounds[measure].hi + beyond if above else bounds[measure].lo - beyond
    encrypted = []
    with pytest.raises(OverflowRefusedError, match=f"cell {cell}, measure {measure}"):
        encrypt_part(
            totals, layout, small_key.public_key, secrets={}, own="a", progress=lambda *at: encrypted.append(at)
        )
    assert not encrypted


def test_a_refusal_names_the_bounds_and_not_the_total(small_key):
    with pytest.raises(OverflowRefusedError) as caught:
        encrypt_part([[31337, 0], [0, 0]], _layout(), small_key.public_key, secrets={}, own="ne")
    assert "31337" not in str(caught.value)


def test_full_length_keys_with_masks_give_exact_totals(full_key):
    layout = one_table(BOUNDS, 2, 3, 3072)
    parts = _parts(full_key.public_key, roster_secrets(DATA), DATA, layout)
    assert decrypt_totals(combine(parts, full_key.public_key), full_key, layout) == SUMS


def test_the_layout_is_the_same_at_each_party():
    assert _layout() == _layout(bounds=tuple(BOUNDS))
    assert len({_layout(), _layout(cells=3), _layout(parties=4)}) == 3


@given(st.lists(_bound(), min_size=1, max_size=4), st.integers(1, 2**20), st.integers(1, 100))
def test_no_slot_can_overflow(bounds, parties, cells):
    layout = one_table(bounds, cells, parties)
    widths = list(layout.records.widths())
    assert len(widths) == cells * len(bounds)
    assert all(parties * (bound.hi - bound.lo) < 2**width for bound, width in zip(bounds * cells, widths, strict=True))


def test_without_masks_the_keys_owner_reads_a_single_part(small_key):
    part = _parts(small_key.public_key, {})[0]
    read = decrypt_totals(part, small_key, _layout(parties=1, bounds=_as_wide_as_three()))
    assert [[row[0], row[1]] for row in read] == DATA["ne"]


def _as_wide_as_three():
    """One party's bounds under which slots are as wide as `_layout()` has them; lower bounds stay."""
    return [MeasureBound(0, 3000), MeasureBound(-(10**6), 3 * (10**9 + 10**6) - 10**6)]


def test_with_masks_a_single_part_decrypts_to_something_unrelated(small_key):
    key, layout = small_key.public_key, _layout()
    opened = set()
    for _ in range(64):
        part = _parts(key, roster_secrets(ROSTER))[0]
        plaintext = small_key.decrypt_raw(part[0])
        opened.add(plaintext)
        with pytest.raises(InconsistentTotalsError):
            decrypt_totals(part, small_key, layout)
    assert len(opened) == 64
    # Uniform in Z_n whatever the data are: the halves of Z_n are hit alike (p < 10^-6 for a fair coin to leave these).
    assert 12 < sum(plaintext < key.n // 2 for plaintext in opened) < 52


def test_a_coalition_that_misses_two_parties_sees_only_their_sum(small_key):
    secrets = roster_secrets(ROSTER)
    part_ne, part_south, part_west = _parts(small_key.public_key, secrets)
    for single in (part_ne, part_south, part_west):
        with pytest.raises(InconsistentTotalsError):
            decrypt_totals(single, small_key, _layout())
    with pytest.raises(InconsistentTotalsError):
        decrypt_totals(combine([part_ne, part_south], small_key.public_key), small_key, _layout())


def test_two_runs_over_the_same_data_give_unrelated_ciphertexts(small_key):
    key = small_key.public_key
    for secrets in ({}, roster_secrets(ROSTER)):
        first, second = _parts(key, secrets), _parts(key, secrets)
        assert not {value for part in first for value in part} & {value for part in second for value in part}
        ratio = first[0][0] * pow(second[0][0], -1, key.n_squared) % key.n_squared
        assert ratio % key.n != 1  # 1 + k n would tell by how much the plaintexts differ, without any key


def test_every_party_makes_as_many_ciphertexts_whatever_its_totals(small_key):
    layout = _layout(cells=30)
    for totals in ([[0, 0]] * 30, [[1000, 10**9]] * 30):
        part = encrypt_part(totals, layout, small_key.public_key, secrets={}, own="ne")
        assert len(part) == layout.ciphertexts
        check_ciphertexts(part, small_key.public_key)


def test_a_missing_or_repeated_part_is_seen(small_key):
    key = small_key.public_key
    parts = _parts(key, roster_secrets(ROSTER))
    for wrong in (parts[:2], [*parts, parts[0]], [parts[0], parts[1], parts[1]]):
        with pytest.raises(InconsistentTotalsError, match="masks did not cancel"):
            decrypt_totals(combine(wrong, key), small_key, _layout())


def test_a_total_beyond_all_parties_bounds_is_seen(small_key):
    layout = one_table([MeasureBound(0, 4)], 1, 3)  # slots of 4 bits hold up to 15
    part = encrypt_part([[4]], layout, small_key.public_key, secrets={}, own="ne")
    combined = combine([part, part, part, [1 + small_key.public_key.n]], small_key.public_key)
    with pytest.raises(InconsistentTotalsError, match="cell 0, measure 0"):
        decrypt_totals(combined, small_key, layout)


def test_a_bad_ciphertext_spoils_no_combination(small_key):
    key = small_key.public_key
    good = _parts(key, {})
    for bad in (0, key.n, key.n_squared, small_key.p):
        with pytest.raises(BadCiphertextError):
            combine([good[0], [bad, *good[1][1:]]], key)


def test_parts_of_different_lengths_are_refused(small_key):
    for parts in ([], [[1], [1, 1]]):
        with pytest.raises(LayoutError):
            combine(parts, small_key.public_key)


@pytest.mark.parametrize("peers", [["south"], ["south", "west", "north"], ["ne", "south"]])
def test_masks_for_another_roster_are_refused(small_key, peers):
    with pytest.raises(MaskError):
        encrypt_part(DATA["ne"], _layout(), small_key.public_key, secrets=dict.fromkeys(peers, b"s" * 32), own="ne")


@pytest.mark.parametrize("totals", [[], [[0, 0]], [[0, 0], [0]], [[0, 0], [0, 0, 0]], [[0, 0]] * 3])
def test_totals_of_another_shape_are_refused(small_key, totals):
    with pytest.raises(LayoutError):
        encrypt_part(totals, _layout(), small_key.public_key, secrets={}, own="ne")


def test_a_key_of_another_length_than_planned_is_refused(small_key, full_key):
    with pytest.raises(LayoutError, match="3072 bits"):
        encrypt_part(DATA["ne"], _layout(), full_key.public_key, secrets={}, own="ne")
    with pytest.raises(LayoutError, match="3072 bits"):
        decrypt_totals([1], full_key, _layout())
    with pytest.raises(LayoutError, match="2 ciphertexts"):
        decrypt_totals([1, 1], small_key, _layout())


@pytest.mark.parametrize(
    ("bounds", "cells", "parties"),
    [([], 1, 1), (BOUNDS, 0, 1), (BOUNDS, 1, 0), ([MeasureBound(0, 2**511)], 1, 1), ([MeasureBound(0, 1)], 1, 2**600)],
    ids=["no-measure", "no-cell", "no-party", "wide-bounds", "many-parties"],
)
def test_what_has_no_layout_is_refused(bounds, cells, parties):
    with pytest.raises(LayoutError):
        one_table(bounds, cells, parties)


@pytest.mark.parametrize(("lo", "hi"), [(1, 5), (-5, -1), (3, -3)])
def test_bounds_that_exclude_an_empty_cell_are_refused(lo, hi):
    with pytest.raises(LayoutError, match="exclude 0"):
        MeasureBound(lo, hi)


def test_a_measure_that_is_always_zero_has_a_layout(small_key):
    layout = one_table([MeasureBound(0, 0)], 3, 2)
    part = encrypt_part([[0]] * 3, layout, small_key.public_key, secrets={}, own="a")
    assert decrypt_totals(combine([part, part], small_key.public_key), small_key, layout) == [[0]] * 3


@given(values=st.lists(st.integers(1, 2**1023), min_size=1, max_size=1))
def test_any_ciphertexts_decrypt_to_totals_in_bounds_or_our_error(small_key, values):
    try:
        totals = decrypt_totals(values, small_key, _layout())
    except ProtocolError:
        return
    for row in totals:
        assert all(3 * bound.lo <= total <= 3 * bound.hi for total, bound in zip(row, BOUNDS, strict=True))


def test_both_schemes_carry_the_same_layout(small_key, small_textbook_key):
    assert small_textbook_key.scheme is Scheme.TEXTBOOK
    parts = _parts(small_textbook_key.public_key, roster_secrets(ROSTER))
    assert decrypt_totals(combine(parts, small_textbook_key.public_key), small_textbook_key, _layout()) == SUMS


def test_several_tables_share_a_part(small_key):
    shapes = [TableShape(2, tuple(BOUNDS)), TableShape(3, (MeasureBound(0, 50),))]
    layout = plan(shapes, parties=2, modulus_bits=BITS)
    totals = [[12, 3400], [0, -5], [1], [50], [0]]
    part = encrypt_part(totals, layout, small_key.public_key, secrets={}, own="a")
    doubled = decrypt_totals(combine([part, part], small_key.public_key), small_key, layout)
    assert doubled == [[2 * value for value in row] for row in totals]
    assert layout.cells == 5


def test_a_slot_is_as_wide_as_its_own_measure_needs():
    layout = plan([TableShape(40, (MeasureBound(0, 2**32), MeasureBound(0, 2**90)))], parties=4, modulus_bits=3072)
    assert list(layout.records.widths())[:2] == [35, 93]
    assert layout.ciphertexts == 2  # 5,120 bits; slots of one width would take 3
