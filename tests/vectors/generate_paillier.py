"""Writes paillier.json: `python -m tests.vectors.generate_paillier`.

Source of the vectors: this project; the numbers of ISO/IEC 18033-6:2019 are in iso_18033_6.json. Everything follows
from fixed seeds, so that a second run writes the same bytes; `check_paillier.py` recomputes each value without this
project's code.
"""

import json
import random
from pathlib import Path

import gmpy2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import paillier
from protocols.aggregate import MeasureBound, TableShape, plan
from protocols.masks import mask, pair_secret
from protocols.packing import ValueRange, VectorLayout
from protocols.paillier_key import PrivateKey, PublicKey, Scheme
from protocols.paillier_vector import EncryptedVector, add_plain, mul_plain, sum_over, sum_within, weighted_sum

VECTORS = Path(__file__).parent / "paillier.json"


class FixedNoise:
    """r^n mod n^2 for a known r: for vectors only."""

    def __init__(self, key: PublicKey, r: int) -> None:
        self.key = key
        self._r = r

    def noise(self) -> int:
        return pow(self._r, self.key.n, self.key.n_squared)


def _key(bits: int, scheme: Scheme, seed: str) -> PrivateKey:
    draw = random.Random(seed)
    primes: list[int] = []
    while len(primes) < 2:
        candidate = int(gmpy2.next_prime(draw.getrandbits(bits // 2) | 3 << (bits // 2 - 2)))
        if candidate % 4 == 3 and candidate.bit_length() == bits // 2:
            primes.append(candidate)
    return PrivateKey(primes[0], primes[1], scheme)


def _encryptions(key: PrivateKey, draw: random.Random) -> list[dict[str, str]]:
    n = key.public_key.n
    rows = []
    for plaintext in (0, 1, 2**64 - 1, n // 2, n - 1, draw.randrange(n)):
        r = draw.randrange(1, n)
        ciphertext = paillier.encrypt(plaintext, key.public_key, FixedNoise(key.public_key, r))
        rows.append({"plaintext": hex(plaintext), "r": hex(r), "ciphertext": hex(ciphertext)})
    return rows


def _fresh(plaintexts: list[int], key: PrivateKey, draw: random.Random) -> list[dict[str, str]]:
    rows = []
    for plaintext in plaintexts:
        r = draw.randrange(1, key.public_key.n)
        ciphertext = paillier.encrypt(plaintext, key.public_key, FixedNoise(key.public_key, r))
        rows.append({"r": hex(r), "ciphertext": hex(ciphertext)})
    return rows


def _packed(key: PrivateKey, draw: random.Random) -> dict[str, object]:
    bounds = [MeasureBound(0, 5000), MeasureBound(-(10**9), 10**12)]
    layout = plan([TableShape(40, tuple(bounds))], parties=4, modulus_bits=key.public_key.bits)
    totals = [[draw.randint(bound.lo, bound.hi) for bound in bounds] for _ in range(40)]
    offsets = [value - bound.lo for row in totals for value, bound in zip(row, bounds, strict=True)]
    return {
        "bounds": [[bound.lo, bound.hi] for bound in bounds],
        "parties": layout.parties,
        "slot_bits": list(layout.records.blocks[0].widths),
        "totals": totals,
        "ciphertexts": _fresh(layout.records.pack(offsets), key, draw),
    }


def _vectors(key: PrivateKey, draw: random.Random) -> dict[str, object]:
    """Three vectors and what the operations make of them, negative weights included."""
    values, weights, length = ValueRange(-(10**6), 10**7, decimals=2), [3, -70_001, 65_535], 100
    layout = VectorLayout.plan(values, length, modulus_bits=key.public_key.bits, additions=3, weight_bits=17)
    rows, vectors = [], []
    for _ in weights:
        numbers = [values.lo, values.hi, 0, *(draw.randint(values.lo, values.hi) for _ in range(length - 3))]
        fresh = _fresh(layout.slots.pack([number - values.lo for number in numbers]), key, draw)
        ciphertexts = tuple(int(row["ciphertext"], 16) for row in fresh)
        vectors.append(EncryptedVector(key.public_key, layout, ciphertexts, values.lo, values.hi))
        rows.append({"numbers": numbers, "ciphertexts": fresh})
    addend = [draw.randint(values.lo, values.hi) for _ in range(length)]
    return {
        "lo": values.lo,
        "hi": values.hi,
        "decimals": values.decimals,
        "additions": 3,
        "weight_bits": 17,
        "slot_bits": layout.slots.slot_bits,
        "vectors": rows,
        "sum": _result(sum_over(vectors)),
        "weights": weights,
        "weighted_sum": _result(weighted_sum(vectors, weights)),
        "negative": _result(mul_plain(vectors[0], -1)),
        "addend": addend,
        "add_plain": _result(add_plain(vectors[0], addend)),
        "total": hex(sum_within(vectors[0]).ciphertext),
    }


def _result(vector: EncryptedVector) -> dict[str, object]:
    return {"lo": vector.lo, "hi": vector.hi, "ciphertexts": [hex(ciphertext) for ciphertext in vector.ciphertexts]}


def _masks(modulus: int, draw: random.Random) -> list[dict[str, object]]:
    rows = []
    for index in (0, 1, 2**40):
        private, peer = (X25519PrivateKey.from_private_bytes(draw.randbytes(32)) for _ in range(2))
        secret = pair_secret(private, peer.public_key().public_bytes_raw(), b"vector info")
        rows.append(
            {
                "private": private.private_bytes_raw().hex(),
                "peer_private": peer.private_bytes_raw().hex(),
                "info": b"vector info".hex(),
                "secret": secret.hex(),
                "index": index,
                "mask": hex(mask(secret, index, modulus)),
            }
        )
    return rows


def vectors() -> str:
    """Return the file's text."""
    keys = []
    for bits, scheme in ((2048, Scheme.TEXTBOOK), (2048, Scheme.DJN), (3072, Scheme.DJN)):
        draw = random.Random(f"unseen vectors {bits} {scheme.value}")
        key = _key(bits, scheme, f"unseen key {bits} {scheme.value}")
        keys.append(
            {
                "scheme": scheme.value,
                "p": hex(key.p),
                "q": hex(key.q),
                "fingerprint": key.public_key.fingerprint,
                "encryptions": _encryptions(key, draw),
                "packed": _packed(key, draw),
                "masks": _masks(key.public_key.n, draw),
                "vector": _vectors(key, draw),
            }
        )
    head = {"source": "this project, tests/vectors/generate_paillier.py; verified by check_paillier.py with phe"}
    return json.dumps(head | {"keys": keys}, indent=1) + "\n"


if __name__ == "__main__":
    VECTORS.write_text(vectors())
