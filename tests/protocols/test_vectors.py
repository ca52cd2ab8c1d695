"""Vectors of ISO/IEC 18033-6 and our own: this code agrees with them, and so does code that is not ours."""

import json
import subprocess
import sys

import pytest

from protocols.aggregate import MeasureBound, TableShape, decrypt_totals, plan
from protocols.packing import ValueRange, VectorLayout
from protocols.paillier import add, encrypt
from protocols.paillier_checks import check_ciphertexts, check_private_key, check_public_key
from protocols.paillier_key import PrivateKey, Scheme
from protocols.paillier_vector import (
    EncryptedVector,
    add_plain,
    decrypt_total,
    decrypt_vector,
    mul_plain,
    sum_over,
    sum_within,
    weighted_sum,
)
from tests.vectors import check_paillier
from tests.vectors.generate_paillier import VECTORS, FixedNoise, vectors

ISO = VECTORS.with_name("iso_18033_6.json")


def test_the_generator_writes_the_committed_bytes():
    assert vectors() == VECTORS.read_text()


def test_phe_and_the_standard_library_alone_confirm_every_value():
    done = subprocess.run(
        [sys.executable, "-I", check_paillier.__file__], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) > 80


def test_our_decryption_agrees_with_the_vectors():
    for entry in json.loads(VECTORS.read_text())["keys"]:
        key = PrivateKey(int(entry["p"], 16), int(entry["q"], 16), Scheme(entry["scheme"]))
        check_private_key(key)
        check_public_key(key.public_key)
        assert key.public_key.fingerprint == entry["fingerprint"]
        for row in entry["encryptions"]:
            assert key.decrypt_raw(int(row["ciphertext"], 16)) == int(row["plaintext"], 16)


def test_we_encrypt_add_and_decrypt_as_iso_18033_6_prints():
    entry = json.loads(ISO.read_text())
    key = PrivateKey(int(entry["p"], 16), int(entry["q"], 16), Scheme.TEXTBOOK)
    check_private_key(key)
    check_public_key(key.public_key)
    ciphertexts = []
    for row in entry["encryptions"]:
        plaintext, r, ciphertext = (int(row[name], 16) for name in ("plaintext", "r", "ciphertext"))
        assert encrypt(plaintext, key.public_key, FixedNoise(key.public_key, r)) == ciphertext
        assert key.decrypt_raw(ciphertext) == plaintext
        ciphertexts.append(ciphertext)
    check_ciphertexts(ciphertexts, key.public_key)
    assert add(*ciphertexts, key.public_key) == int(entry["sum"]["ciphertext"], 16)
    assert key.decrypt_raw(int(entry["sum"]["ciphertext"], 16)) == int(entry["sum"]["plaintext"], 16)


@pytest.mark.parametrize("name", ["sum", "weighted_sum", "negative", "add_plain", "total"])
def test_the_checker_finds_a_changed_value(name):
    document = json.loads(VECTORS.read_text())
    document["keys"] = document["keys"][:1]
    check_paillier.check(json.dumps(document))
    vector = document["keys"][0]["vector"]
    if name == "total":
        vector["total"] += "0"
    else:
        vector[name]["ciphertexts"][-1] += "0"
    with pytest.raises(AssertionError):
        check_paillier.check(json.dumps(document))


def test_our_vector_engine_agrees_with_the_vectors():
    for stored in json.loads(VECTORS.read_text())["keys"]:
        key = PrivateKey(int(stored["p"], 16), int(stored["q"], 16), Scheme(stored["scheme"]))
        entry = stored["vector"]
        values = ValueRange(entry["lo"], entry["hi"], entry["decimals"])
        layout = VectorLayout.plan(
            values,
            100,
            modulus_bits=key.public_key.bits,
            additions=entry["additions"],
            weight_bits=entry["weight_bits"],
        )
        received = []
        for row in entry["vectors"]:
            ciphertexts = [int(each["ciphertext"], 16) for each in row["ciphertexts"]]
            received.append(EncryptedVector.received(ciphertexts, layout, key.public_key))
            assert decrypt_vector(received[-1], key) == row["numbers"]
        results = {
            "sum": sum_over(received),
            "weighted_sum": weighted_sum(received, entry["weights"]),
            "negative": mul_plain(received[0], -1),
            "add_plain": add_plain(received[0], entry["addend"]),
        }
        for name, result in results.items():
            assert [hex(ciphertext) for ciphertext in result.ciphertexts] == entry[name]["ciphertexts"]
            assert (result.lo, result.hi) == (entry[name]["lo"], entry[name]["hi"])
        assert decrypt_total(sum_within(received[0]), key) == sum(entry["vectors"][0]["numbers"])


def test_our_packing_agrees_with_the_vectors():
    for entry in json.loads(VECTORS.read_text())["keys"]:
        key = PrivateKey(int(entry["p"], 16), int(entry["q"], 16), Scheme(entry["scheme"]))
        packed = entry["packed"]
        bounds = [MeasureBound(lo, hi) for lo, hi in packed["bounds"]]
        shape = TableShape(40, tuple(bounds))
        layout = plan([shape], parties=packed["parties"], modulus_bits=key.public_key.bits)
        ciphertexts = [int(row["ciphertext"], 16) for row in packed["ciphertexts"]]
        # A single part, read as the sum of all: the other parties' offsets are missing.
        missing = [(packed["parties"] - 1) * bound.lo for bound in bounds]
        expected = [[value + lo for value, lo in zip(row, missing, strict=True)] for row in packed["totals"]]
        assert decrypt_totals(ciphertexts, key, layout) == expected
