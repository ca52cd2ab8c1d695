"""Verifies paillier.json and iso_18033_6.json without this project's code: `python tests/vectors/check_paillier.py`.

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
    """Slots in order, each whole in one ciphertext, while the bits of the modulus but one suffice."""
    widths = packed["slot_bits"]
    for width, (lo, hi) in zip(widths, packed["bounds"], strict=True):
        assert 2**width > packed["parties"] * (hi - lo) >= 2 ** (width - 1)
    plaintexts, used = [0], 0
    for row in packed["totals"]:
        for value, (lo, _), width in zip(row, packed["bounds"], widths, strict=True):
            if used + width > public.n.bit_length() - 1:
                plaintexts.append(0)
                used = 0
            plaintexts[-1] += (value - lo) * 2**used
            used += width
    _check_fresh(packed["ciphertexts"], plaintexts, public, private)


def _check_fresh(
    rows: list[dict], plaintexts: list[int], public: phe.PaillierPublicKey, private: phe.PaillierPrivateKey
) -> None:
    for row, plaintext in zip(rows, plaintexts, strict=True):
        assert public.raw_encrypt(plaintext, int(row["r"], 16)) == int(row["ciphertext"], 16)
        assert private.raw_decrypt(int(row["ciphertext"], 16)) == plaintext


class _Vectors:
    """The entry "vector" of a key: what its operations must give, by phe's own operations where phe has them."""

    def __init__(self, entry: dict, public: phe.PaillierPublicKey, private: phe.PaillierPrivateKey) -> None:
        self.entry, self.public, self.private = entry, public, private
        self.bits = entry["slot_bits"]
        self.per_ciphertext = (public.n.bit_length() - 1) // self.bits
        room = (entry["hi"] - entry["lo"]) * entry["additions"]
        assert self.bits == room.bit_length() + entry["weight_bits"]

    def pack(self, slots: list[int]) -> list[int]:
        size = self.per_ciphertext
        groups = [slots[start : start + size] for start in range(0, len(slots), size)]
        return [sum(slot * 2 ** (self.bits * place) for place, slot in enumerate(group)) for group in groups]

    def expect(self, name: str, lo: int, hi: int, numbers: list[int]) -> None:
        """The result `name` has these bounds and decrypts, by phe, to these numbers less the lower bound."""
        result = self.entry[name]
        assert (result["lo"], result["hi"]) == (lo, hi)
        assert hi - lo < 2**self.bits
        opened = [self.private.raw_decrypt(int(ciphertext, 16)) for ciphertext in result["ciphertexts"]]
        assert opened == self.pack([number - lo for number in numbers])

    def numbers(self, ciphertexts: list[str]) -> list[phe.EncryptedNumber]:
        return [phe.EncryptedNumber(self.public, int(ciphertext, 16)) for ciphertext in ciphertexts]

    def check(self) -> int:
        entry, lo, hi = self.entry, self.entry["lo"], self.entry["hi"]
        columns = [row["numbers"] for row in entry["vectors"]]
        for row in entry["vectors"]:
            slots = self.pack([number - lo for number in row["numbers"]])
            _check_fresh(row["ciphertexts"], slots, self.public, self.private)
        self.expect("sum", 3 * lo, 3 * hi, [sum(numbers) for numbers in zip(*columns, strict=True)])
        weights = entry["weights"]
        weighted = [sum(w * v for w, v in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]
        low, high = (sum(w * (first if w > 0 else second) for w in weights) for first, second in ((lo, hi), (hi, lo)))
        self.expect("weighted_sum", low, high, weighted)
        self.expect("negative", -hi, -lo, [-number for number in columns[0]])
        both = [left + right for left, right in zip(columns[0], entry["addend"], strict=True)]
        self.expect("add_plain", 2 * lo, 2 * hi, both)
        self._check_products()
        return 1 + sum(len(row["ciphertexts"]) for row in entry["vectors"]) + 4 * len(entry["sum"]["ciphertexts"])

    def _check_products(self) -> None:
        """Sums without addends are products of ciphertexts, which phe's addition gives to the bit."""
        fresh = [self.numbers([each["ciphertext"] for each in row["ciphertexts"]]) for row in self.entry["vectors"]]
        for result, parts in zip(self.entry["sum"]["ciphertexts"], zip(*fresh, strict=True), strict=True):
            assert sum(parts[1:], parts[0]).ciphertext(be_secure=False) == int(result, 16)
        total = sum(fresh[0][1:], fresh[0][0]).ciphertext(be_secure=False)
        assert total == int(self.entry["total"], 16)


def check_iso(text: str) -> int:
    """Check the standard's numbers; return how many there are, or raise AssertionError."""
    entry = json.loads(text)
    p, q = int(entry["p"], 16), int(entry["q"], 16)
    public = phe.PaillierPublicKey(p * q)
    private = phe.PaillierPrivateKey(public, p, q)
    rows = entry["encryptions"]
    _check_fresh(rows, [int(row["plaintext"], 16) for row in rows], public, private)
    left, right = (phe.EncryptedNumber(public, int(row["ciphertext"], 16)) for row in rows)
    assert (left + right).ciphertext(be_secure=False) == int(entry["sum"]["ciphertext"], 16)
    assert private.raw_decrypt(int(entry["sum"]["ciphertext"], 16)) == int(entry["sum"]["plaintext"], 16)
    return len(rows) + 1


def check(text: str) -> int:
    """Check every value of our own file; return how many there are, or raise AssertionError."""
    checked = 0
    for key in json.loads(text)["keys"]:
        p, q = int(key["p"], 16), int(key["q"], 16)
        public = phe.PaillierPublicKey(p * q)
        private = phe.PaillierPrivateKey(public, p, q)
        _check_fingerprint(key, public.n)
        _check_fresh(key["encryptions"], [int(row["plaintext"], 16) for row in key["encryptions"]], public, private)
        _check_packed(key["packed"], public, private)
        for row in key["masks"]:
            _check_mask(row, public.n)
        checked += 1 + len(key["encryptions"]) + len(key["packed"]["ciphertexts"]) + len(key["masks"])
        checked += _Vectors(key["vector"], public, private).check()
    return checked


if __name__ == "__main__":
    folder = Path(__file__).parent
    print(check((folder / "paillier.json").read_text()) + check_iso((folder / "iso_18033_6.json").read_text()))
