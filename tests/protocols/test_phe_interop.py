import json

import phe
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from phe.command_line import cli as pheutil

from protocols.aggregate import MeasureBound, TableShape, combine, encrypt_part, plan
from protocols.errors import BadCiphertextError, BadKeyError, BadModulusError, ProtocolError
from protocols.packing import SlotLayout, ValueRange, VectorLayout
from protocols.paillier import decrypt, encrypt
from protocols.paillier_key import PrivateKey, PublicKey, Scheme
from protocols.paillier_noise import noise_source
from protocols.paillier_vector import EncryptedVector, decrypt_vector, encrypt_vector, sum_over, unpack, weighted_sum
from protocols.phe_interop import (
    from_phe_ciphertext,
    from_phe_private,
    from_phe_public,
    private_key_from_jwk,
    private_key_to_jwk,
    public_key_from_jwk,
    public_key_to_jwk,
    to_phe_ciphertext,
    to_phe_private,
    to_phe_public,
)
from tests.protocols.test_masks import roster_secrets

BITS = 512


@pytest.fixture(scope="module")
def phe_keys():
    return phe.generate_paillier_keypair(n_length=BITS)


@pytest.mark.parametrize("count", [1, 100])
def test_phe_decrypts_what_we_encrypt(small_key, count):
    key, private = small_key.public_key, to_phe_private(small_key)
    noise = noise_source(key, count)
    for number in (0, 1, 10**40, key.n // 3 - 1):
        assert private.decrypt(to_phe_ciphertext(encrypt(number, key, noise), key)) == number
    assert private.decrypt(to_phe_ciphertext(encrypt(key.n - 5, key, noise), key)) == -5


def test_we_decrypt_what_phe_encrypts(phe_keys):
    public, private = phe_keys
    ours = from_phe_private(private, minimum_bits=BITS)
    assert from_phe_public(public, minimum_bits=BITS) == ours.public_key
    for number in (0, 1, 10**40):
        assert decrypt(from_phe_ciphertext(public.encrypt(number), ours.public_key), ours) == number
    assert decrypt(from_phe_ciphertext(public.encrypt(-5), ours.public_key), ours) == public.n - 5


def test_sums_mix_ciphertexts_of_both(phe_keys):
    public, private = phe_keys
    key = from_phe_public(public, minimum_bits=BITS)
    mixed = public.encrypt(40) + to_phe_ciphertext(encrypt(2, key, noise_source(key, 1)), key)
    assert private.decrypt(mixed) == 42


def test_a_sum_that_phe_did_not_randomise_yet_is_randomised_on_its_way_to_us(phe_keys):
    public, _ = phe_keys
    number = public.encrypt(1, r_value=1) + public.encrypt(2, r_value=1)
    raw = number.ciphertext(be_secure=False)
    assert raw % public.n == 1  # anyone could read it
    assert from_phe_ciphertext(number, from_phe_public(public, minimum_bits=BITS)) % public.n != 1


def test_a_packed_and_masked_vector_decrypts_right_under_phe(small_key):
    key, private = small_key.public_key, to_phe_private(small_key)
    bounds = [MeasureBound(0, 100), MeasureBound(-(10**9), 10**9)]
    layout = plan([TableShape(20, tuple(bounds))], parties=3, modulus_bits=BITS)
    data = {name: [[3 * cell, -7 * cell + shift] for cell in range(20)] for shift, name in enumerate("abc")}
    secrets = roster_secrets("abc")
    parts = [encrypt_part(data[name], layout, key, secrets=secrets[name], own=name) for name in data]
    slots = layout.records.unpack([private.raw_decrypt(value) for value in combine(parts, key)])
    assert slots[0::2] == [9 * cell for cell in range(20)]
    assert [slot - 3 * 10**9 for slot in slots[1::2]] == [-21 * cell + 3 for cell in range(20)]


def test_phe_decrypts_and_adds_our_packed_vectors(small_key):
    key, private = small_key.public_key, to_phe_private(small_key)
    layout = VectorLayout.plan(ValueRange(-1000, 1000), 60, modulus_bits=BITS, additions=3, weight_bits=2)
    left, right = list(range(-30, 30)), [1000 - 7 * number for number in range(60)]
    encrypted = [encrypt_vector(numbers, layout, key) for numbers in (left, right)]
    ours = weighted_sum(encrypted, [3, -2])
    expected = [3 * a - 2 * b for a, b in zip(left, right, strict=True)]
    assert unpack(ours, [private.raw_decrypt(ciphertext) for ciphertext in ours.ciphertexts]) == expected
    pairs = zip(*(vector.ciphertexts for vector in encrypted), strict=True)
    theirs = [to_phe_ciphertext(one, key) + to_phe_ciphertext(other, key) for one, other in pairs]
    plaintexts = [private.raw_decrypt(number.ciphertext()) for number in theirs]
    assert unpack(sum_over(encrypted), plaintexts) == [a + b for a, b in zip(left, right, strict=True)]


def test_what_phe_packed_or_encrypted_one_by_one_enters_our_vectors(phe_keys):
    public, private = phe_keys
    key, owner = from_phe_public(public, minimum_bits=BITS), from_phe_private(private, minimum_bits=BITS)
    values, numbers = ValueRange(-50, 50), [-50, 0, 50, 7]
    packed = VectorLayout.plan(values, 4, modulus_bits=BITS, additions=2)
    one_each = VectorLayout(values, SlotLayout(packed.slots.slot_bits, 1, 4))
    plaintexts = packed.slots.pack([number - values.lo for number in numbers])
    vector = EncryptedVector.received([public.raw_encrypt(plaintext) for plaintext in plaintexts], packed, key)
    assert decrypt_vector(sum_over([vector, vector]), owner) == [2 * number for number in numbers]
    shifted = [from_phe_ciphertext(public.encrypt(number) - values.lo, key) for number in numbers]
    single = EncryptedVector.received(shifted, one_each, key)
    assert decrypt_vector(weighted_sum([single], [-2]), owner) == [-2 * number for number in numbers]


def test_keys_survive_the_way_to_phe_and_back(small_key, small_textbook_key):
    assert from_phe_private(to_phe_private(small_textbook_key), minimum_bits=BITS) == small_textbook_key
    assert from_phe_public(to_phe_public(small_textbook_key.public_key), minimum_bits=BITS) == (
        small_textbook_key.public_key
    )
    forgotten = from_phe_private(to_phe_private(small_key), minimum_bits=BITS)
    assert forgotten == PrivateKey(small_key.p, small_key.q, Scheme.TEXTBOOK)


@pytest.mark.parametrize("scheme", Scheme)
def test_keys_survive_the_way_to_jwk_and_back(small_key, scheme):
    key = PrivateKey(small_key.p, small_key.q, scheme)
    assert private_key_from_jwk(private_key_to_jwk(key, kid="k"), minimum_bits=BITS) == key
    assert public_key_from_jwk(public_key_to_jwk(key.public_key, kid="k"), minimum_bits=BITS) == key.public_key


def test_phes_own_tool_reads_our_keys_and_we_read_its(small_key, tmp_path):
    ours, numbers = tmp_path / "ours.jwk", tmp_path / "number.json"
    ours.write_text(private_key_to_jwk(small_key, kid="ours"))
    public = tmp_path / "public.jwk"
    public.write_text(public_key_to_jwk(small_key.public_key, kid="ours"))
    run = CliRunner().invoke
    assert run(pheutil, ["encrypt", "--output", str(numbers), str(public), "1.5"]).exit_code == 0
    assert "1.5" in run(pheutil, ["decrypt", str(ours), str(numbers)]).output
    theirs = tmp_path / "theirs.jwk"
    assert run(pheutil, ["genpkey", "--keysize", str(BITS), str(theirs)]).exit_code == 0
    assert private_key_from_jwk(theirs.read_bytes(), minimum_bits=BITS).scheme is Scheme.TEXTBOOK


def test_a_short_key_is_refused_whatever_way_it_comes(small_key):
    with pytest.raises(BadModulusError):
        public_key_from_jwk(public_key_to_jwk(small_key.public_key, kid="k"))
    with pytest.raises(BadModulusError):
        private_key_from_jwk(private_key_to_jwk(small_key, kid="k"))
    with pytest.raises(BadModulusError):
        from_phe_public(to_phe_public(small_key.public_key))
    with pytest.raises(BadKeyError):
        from_phe_private(to_phe_private(small_key))


def test_a_value_with_its_own_scale_is_refused(phe_keys):
    public, _ = phe_keys
    with pytest.raises(BadCiphertextError, match="exponent"):
        from_phe_ciphertext(public.encrypt(1.5), from_phe_public(public, minimum_bits=BITS))


def test_a_ciphertext_of_another_key_or_out_of_range_is_refused(small_key, phe_keys):
    public, _ = phe_keys
    with pytest.raises(BadCiphertextError, match="another key"):
        from_phe_ciphertext(public.encrypt(1), small_key.public_key)
    bad = phe.EncryptedNumber(to_phe_public(small_key.public_key), small_key.p, exponent=0)
    with pytest.raises(BadCiphertextError, match="not coprime"):
        from_phe_ciphertext(bad, small_key.public_key)


def _damaged(jwk, **changes):
    return json.dumps({name: value for name, value in (json.loads(jwk) | changes).items() if value is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "RSA"},
        {"alg": "PAI"},
        {"key_ops": ["decrypt"]},
        {"n": None},
        {"n": "%%"},
        {"n": "A"},
        {"n": "A" * 5000},
        {"n": 15},
        {"unseen-scheme": "paillier/v9"},
        {"unseen-scheme": ["paillier/v1"]},
    ],
)
def test_a_damaged_public_jwk_is_refused(small_key, changes):
    with pytest.raises(BadKeyError):
        public_key_from_jwk(_damaged(public_key_to_jwk(small_key.public_key, kid="k"), **changes), minimum_bits=BITS)


def test_a_damaged_private_jwk_is_refused(small_key, small_textbook_key):
    jwk = private_key_to_jwk(small_key, kid="k")
    other = json.loads(private_key_to_jwk(small_textbook_key, kid="k"))
    changes = [{"pub": None}, {"pub": other["pub"]}, {"p": other["p"]}, {"q": None}, {"kty": "oct"}, {"key_ops": []}]
    for change in changes:
        with pytest.raises(BadKeyError):
            private_key_from_jwk(_damaged(jwk, **change), minimum_bits=BITS)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 10_000, b"\xff\xfe", " " * 20_000])
def test_what_is_no_jwk_is_refused(text):
    for decode in (public_key_from_jwk, private_key_from_jwk):
        with pytest.raises(BadKeyError):
            decode(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(["kty", "alg", "key_ops", "n", "p", "q", "pub", "unseen-scheme"]), json_values, min_size=1
    )
)
def test_any_change_to_a_jwk_is_accepted_or_refused_by_our_error(small_key, changes):
    jwk = private_key_to_jwk(small_key, kid="k")
    try:
        key = private_key_from_jwk(json.dumps(json.loads(jwk) | changes), minimum_bits=BITS)
    except ProtocolError:
        return
    assert isinstance(key.public_key, PublicKey)
    assert key == small_key
