"""Verifies paillier.json without this project's code: `python tests/vectors/check_paillier.py`.

Uses phe (python-paillier) for Paillier and Python's standard library for everything else. Exits 0 and prints the number
of values checked, or stops at the first that differs.
"""

import hmac
import json
from hashlib import sha256
from pathlib import Path

import phe

PRIME_25519 = 2**255 - 19


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5, by the book."""
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = (k[31] & 127) | 64
    number, u = int.from_bytes(k, "little"), int.from_bytes(point, "little") % 2**255
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for bit in range(254, -1, -1):
        now = number >> bit & 1
        if now != swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME_25519, u * (da - cb) ** 2 % PRIME_25519
        x2, z2 = aa * bb % PRIME_25519, e * (aa + 121665 * e) % PRIME_25519
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME_25519 - 2, PRIME_25519) % PRIME_25519).to_bytes(32, "little")


def hkdf_expand(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3."""
    block, output = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(secret, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def _check_fingerprint(key: dict, n: int) -> None:
    modulus = n.to_bytes((n.bit_length() + 7) // 8, "big")
    parts = (b"unseen:paillier-key:v1", key["scheme"].encode(), modulus)
    assert sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest() == key["fingerprint"]


def _check_mask(row: dict, n: int) -> None:
    base = (9).to_bytes(32, "little")
    private, peer = bytes.fromhex(row["private"]), bytes.fromhex(row["peer_private"])
    own_public, peer_public = x25519(private, base), x25519(peer, base)
    shared = x25519(private, peer_public)
    assert shared == x25519(peer, own_public)
    salt = sha256(b"".join(sorted((own_public, peer_public)))).digest()
    extracted = hmac.digest(salt, shared, "sha256")
    secret = hkdf_expand(extracted, b"unseen:mask-pair:v1\x00" + bytes.fromhex(row["info"]), 32)
    assert secret.hex() == row["secret"]
    width = (n.bit_length() + 128 + 7) // 8
    info = b"unseen:mask:v1\x00" + row["index"].to_bytes(8, "big") + width.to_bytes(8, "big")
    assert int.from_bytes(hkdf_expand(secret, info, width), "big") % n == int(row["mask"], 16)


def _check_packed(packed: dict, public: phe.PaillierPublicKey, private: phe.PaillierPrivateKey) -> None:
    bits, per_ciphertext = packed["slot_bits"], packed["slots_per_ciphertext"]
    widest = max(hi - lo for lo, hi in packed["bounds"])
    assert 2**bits > packed["parties"] * widest >= 2 ** (bits - 1)
    assert per_ciphertext == (public.n.bit_length() - 1) // bits
    offsets = [value - lo for row in packed["totals"] for value, (lo, _) in zip(row, packed["bounds"], strict=True)]
    for number, row in enumerate(packed["ciphertexts"]):
        slots = offsets[number * per_ciphertext : (number + 1) * per_ciphertext]
        plaintext = sum(value * 2 ** (bits * slot) for slot, value in enumerate(slots))
        assert public.raw_encrypt(plaintext, int(row["r"], 16)) == int(row["ciphertext"], 16)
        assert private.raw_decrypt(int(row["ciphertext"], 16)) == plaintext
    assert -(-len(offsets) // per_ciphertext) == len(packed["ciphertexts"])


def check(text: str) -> int:
    """Check every value of the file; return how many there are, or raise AssertionError."""
    checked = 0
    for key in json.loads(text)["keys"]:
        p, q = int(key["p"], 16), int(key["q"], 16)
        public = phe.PaillierPublicKey(p * q)
        private = phe.PaillierPrivateKey(public, p, q)
        _check_fingerprint(key, public.n)
        for row in key["encryptions"]:
            plaintext, r, ciphertext = (int(row[name], 16) for name in ("plaintext", "r", "ciphertext"))
            assert public.raw_encrypt(plaintext, r) == ciphertext
            assert private.raw_decrypt(ciphertext) == plaintext
        _check_packed(key["packed"], public, private)
        for row in key["masks"]:
            _check_mask(row, public.n)
        checked += 1 + len(key["encryptions"]) + len(key["packed"]["ciphertexts"]) + len(key["masks"])
    return checked


if __name__ == "__main__":
    print(check((Path(__file__).parent / "paillier.json").read_text()))
