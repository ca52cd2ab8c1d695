"""Our own vectors (tests/vectors/paillier.json): this code agrees with them, and so does code that is not ours."""

import json
import subprocess
import sys

from protocols.aggregate import MeasureBound, decrypt_totals, plan
from protocols.paillier_checks import check_private_key, check_public_key
from protocols.paillier_key import PrivateKey, Scheme
from tests.vectors import check_paillier
from tests.vectors.generate_paillier import VECTORS, vectors


def test_the_generator_writes_the_committed_bytes():
    assert vectors() == VECTORS.read_text()


def test_phe_and_the_standard_library_alone_confirm_every_value():
    done = subprocess.run(
        [sys.executable, "-I", check_paillier.__file__], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) > 30


def test_our_decryption_agrees_with_the_vectors():
    for entry in json.loads(VECTORS.read_text())["keys"]:
        key = PrivateKey(int(entry["p"], 16), int(entry["q"], 16), Scheme(entry["scheme"]))
        check_private_key(key)
        check_public_key(key.public_key)
        assert key.public_key.fingerprint == entry["fingerprint"]
        for row in entry["encryptions"]:
            assert key.decrypt_raw(int(row["ciphertext"], 16)) == int(row["plaintext"], 16)


def test_our_packing_agrees_with_the_vectors():
    for entry in json.loads(VECTORS.read_text())["keys"]:
        key = PrivateKey(int(entry["p"], 16), int(entry["q"], 16), Scheme(entry["scheme"]))
        packed = entry["packed"]
        bounds = [MeasureBound(lo, hi) for lo, hi in packed["bounds"]]
        layout = plan(bounds, cells=40, parties=packed["parties"], modulus_bits=key.public_key.bits)
        ciphertexts = [int(row["ciphertext"], 16) for row in packed["ciphertexts"]]
        # A single part, read as the sum of all: the other parties' offsets are missing.
        missing = [(packed["parties"] - 1) * bound.lo for bound in bounds]
        expected = [[value + lo for value, lo in zip(row, missing, strict=True)] for row in packed["totals"]]
        assert decrypt_totals(ciphertexts, key, layout) == expected
