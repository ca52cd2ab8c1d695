"""python-paillier (phe) and this project's vector engine over the same keys and ciphertexts: `python phe_both_ways.py`.

A hospital works with phe and keeps the private key. A bureau works with this project's engine. Keys travel as JWK text,
ciphertexts as integers; each side computes with what the other encrypted, and phe decrypts everything in the end.
"""

import phe

from protocols.packing import SlotLayout, ValueRange, VectorLayout
from protocols.paillier_vector import EncryptedVector, add, decrypt_vector, encrypt_vector, unpack, weighted_sum
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

HOSPITAL = [1250, -75, 0, 99_999]
BUREAU = [-250, 75, 5, 1]


def main() -> None:
    """Print what each way gives beside the plain sums; AssertionError where they differ."""
    sums = [ours + theirs for ours, theirs in zip(BUREAU, HOSPITAL, strict=True)]

    # 1. phe's keys become ours, checked on their way in: as objects, and as JWK text such as pheutil reads and writes.
    phe_public, phe_private = phe.generate_paillier_keypair()
    public, private = from_phe_public(phe_public), from_phe_private(phe_private)
    assert public_key_from_jwk(public_key_to_jwk(public, kid="hospital")) == public
    assert private_key_from_jwk(private_key_to_jwk(private, kid="hospital")) == private
    assert to_phe_public(public) == phe_public
    assert to_phe_private(private) == phe_private
    print(f"keys       {public.bits} bits, phe to us and back, as objects and as JWK")

    # 2. Numbers that phe encrypted one by one, as integers (exponent 0), enter a vector of one number a ciphertext. Our
    #    slots hold value - lo, never a negative number, so phe moves its numbers up by -lo first.
    values = ValueRange(-100_000, 100_000, decimals=2)
    packed = VectorLayout.plan(values, len(BUREAU), modulus_bits=public.bits, additions=2, weight_bits=8)
    single = VectorLayout(values, SlotLayout(packed.slots.slot_bits, 1, len(HOSPITAL)))
    theirs = [phe_public.encrypt(number) - values.lo for number in HOSPITAL]
    vector = EncryptedVector.received([from_phe_ciphertext(number, public) for number in theirs], single, public)
    total = add(vector, encrypt_vector(BUREAU, single, public))
    print(f"phe to us  {decrypt_vector(total, private)} = {sums}")
    assert decrypt_vector(total, private) == sums

    # 3. Our ciphertexts go back as phe's objects, and phe goes on with them. What it decrypts is still value - lo.
    lo, doubled = 2 * total.lo, [2 * to_phe_ciphertext(ciphertext, public) for ciphertext in total.ciphertexts]
    opened = [phe_private.decrypt(number) + lo for number in doubled]
    print(f"us to phe  {opened} = 2 x the same")
    assert opened == [2 * number for number in sums]

    # 4. Packed vectors: many numbers a ciphertext. phe decrypts the plaintext as it is (raw_decrypt); we unpack it.
    ours = encrypt_vector(BUREAU, packed, public)
    plaintexts = packed.slots.pack([number - values.lo for number in HOSPITAL])
    fresh = [phe_public.raw_encrypt(plaintext) for plaintext in plaintexts]
    weighted = weighted_sum([ours, EncryptedVector.received(fresh, packed, public)], [100, -3])
    opened = unpack(weighted, [phe_private.raw_decrypt(ciphertext) for ciphertext in weighted.ciphertexts])
    expected = [100 * b - 3 * h for b, h in zip(BUREAU, HOSPITAL, strict=True)]
    print(f"packed     {opened} = 100 x bureau - 3 x hospital, in {len(weighted.ciphertexts)} ciphertext")
    assert opened == expected


if __name__ == "__main__":
    main()
