"""Keys and ciphertexts to and from `phe` (python-paillier), both ways.

JWK: `kty` "DAJ", `alg` "PAI-GN1" (Paillier with g = n + 1), integers as unpadded base64url, as phe's own `pheutil`
reads and writes them. A key that declares DJN says so in the additional member `unseen-scheme`, which RFC 7517 (section
4) has other readers ignore; a key without it, like every phe key object, is textbook. phe has a scale for each value
(its exponent); ours is the column's, so that ciphertexts cross at exponent 0. phe reads residues above n - n/3 as
negative numbers; `raw_decrypt` gives the residue, which packed vectors need.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping

import phe

from protocols.errors import BadCiphertextError, BadKeyError
from protocols.paillier_checks import check_ciphertexts, check_private_key, check_public_key
from protocols.paillier_key import MAXIMUM_BITS, MINIMUM_BITS, PrivateKey, PublicKey, Scheme

KEY_TYPE = "DAJ"
ALGORITHM = "PAI-GN1"
SCHEME_MEMBER = "unseen-scheme"
MAXIMUM_JWK_BYTES = 16 * 1024

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_MAXIMUM_TEXT = MAXIMUM_BITS // 6 + 2


def public_key_to_jwk(key: PublicKey, *, kid: str) -> str:
    """Return the key as JWK text; `kid` is any label (phe's reader wants one)."""
    return json.dumps(_public_members(key, kid), sort_keys=True)


def private_key_to_jwk(key: PrivateKey, *, kid: str) -> str:
    """Return the private key as JWK text: secret, to be kept 0600 or sealed."""
    members = {
        "kty": KEY_TYPE,
        "key_ops": ["decrypt"],
        "p": _to_base64(key.p),
        "q": _to_base64(key.q),
        "kid": kid,
        "pub": _public_members(key.public_key, kid),
    }
    return json.dumps(members, sort_keys=True)


def public_key_from_jwk(text: str | bytes, *, minimum_bits: int = MINIMUM_BITS) -> PublicKey:
    """Return the checked public key; BadKeyError for what is no such JWK, BadModulusError as `check_public_key`."""
    return _public_key(_members(text), minimum_bits)


def private_key_from_jwk(text: str | bytes, *, minimum_bits: int = MINIMUM_BITS) -> PrivateKey:
    """Return the checked private key.

    Raises BadKeyError for what is no such JWK, for primes that fail `check_private_key`, and where the embedded public
    key is another's; BadModulusError as `check_public_key`.
    """
    members = _members(text)
    embedded = members.get("pub")
    if not isinstance(embedded, dict):
        raise BadKeyError("the JWK has no public key in `pub`; export it with private_key_to_jwk or pheutil genpkey")
    public_key = _public_key(embedded, minimum_bits)
    if members.get("kty") != KEY_TYPE or members.get("key_ops") != ["decrypt"]:
        raise BadKeyError(f"the JWK is no Paillier private key (kty {KEY_TYPE}, key_ops decrypt)")
    key = PrivateKey(_from_base64(members, "p"), _from_base64(members, "q"), public_key.scheme)
    if key.public_key != public_key:
        raise BadKeyError("the JWK's primes do not multiply to the modulus of its `pub`; the file is damaged")
    check_private_key(key, minimum_bits=minimum_bits)
    return key


def to_phe_public(key: PublicKey) -> phe.PaillierPublicKey:
    """Return phe's object for the key (it forgets the scheme; phe always uses textbook noise)."""
    return phe.PaillierPublicKey(key.n)


def from_phe_public(key: phe.PaillierPublicKey, *, minimum_bits: int = MINIMUM_BITS) -> PublicKey:
    """Return phe's key, checked, as a textbook key; BadModulusError as `check_public_key`."""
    public_key = PublicKey(int(key.n), Scheme.TEXTBOOK)
    check_public_key(public_key, minimum_bits=minimum_bits)
    return public_key


def to_phe_private(key: PrivateKey) -> phe.PaillierPrivateKey:
    """Return phe's object for the private key."""
    return phe.PaillierPrivateKey(to_phe_public(key.public_key), key.p, key.q)


def from_phe_private(key: phe.PaillierPrivateKey, *, minimum_bits: int = MINIMUM_BITS) -> PrivateKey:
    """Return phe's private key, checked, as a textbook key; BadKeyError as `check_private_key`."""
    private_key = PrivateKey(int(key.p), int(key.q), Scheme.TEXTBOOK)
    check_private_key(private_key, minimum_bits=minimum_bits)
    return private_key


def to_phe_ciphertext(ciphertext: int, key: PublicKey) -> phe.EncryptedNumber:
    """Return phe's object, at exponent 0, for a ciphertext of ours."""
    return phe.EncryptedNumber(to_phe_public(key), ciphertext, exponent=0)


def from_phe_ciphertext(number: phe.EncryptedNumber, key: PublicKey) -> int:
    """Return the checked ciphertext of phe's object, re-randomised by phe where phe had not done it yet.

    Raises BadCiphertextError: it is under another key, its exponent is not 0, or as `check_ciphertexts`.
    """
    if number.public_key.n != key.n:
        raise BadCiphertextError("the phe ciphertext is under another key")
    if number.exponent != 0:
        raise BadCiphertextError(
            f"the phe ciphertext has exponent {number.exponent}, not 0; encrypt scaled integers, not floats"
        )
    ciphertext = int(number.ciphertext(be_secure=True))
    check_ciphertexts([ciphertext], key)
    return ciphertext


def _public_members(key: PublicKey, kid: str) -> dict[str, object]:
    members: dict[str, object] = {
        "kty": KEY_TYPE,
        "alg": ALGORITHM,
        "key_ops": ["encrypt"],
        "n": _to_base64(key.n),
        "kid": kid,
    }
    if key.scheme is not Scheme.TEXTBOOK:
        members[SCHEME_MEMBER] = key.scheme.value
    return members


def _members(text: str | bytes) -> dict[str, object]:
    if len(text) > MAXIMUM_JWK_BYTES:
        raise BadKeyError(f"the JWK has more than {MAXIMUM_JWK_BYTES} bytes")
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadKeyError("the JWK is no JSON text") from error
    if not isinstance(members, dict):
        raise BadKeyError("the JWK is no JSON object")
    return members


def _public_key(members: Mapping[str, object], minimum_bits: int) -> PublicKey:
    if (members.get("kty"), members.get("alg"), members.get("key_ops")) != (KEY_TYPE, ALGORITHM, ["encrypt"]):
        raise BadKeyError(f"the JWK is no Paillier public key (kty {KEY_TYPE}, alg {ALGORITHM}, key_ops encrypt)")
    try:
        scheme = Scheme(members.get(SCHEME_MEMBER, Scheme.TEXTBOOK.value))
    except ValueError as error:
        raise BadKeyError(
            f"the JWK declares an unknown {SCHEME_MEMBER}; known: {', '.join(s.value for s in Scheme)}"
        ) from error
    key = PublicKey(_from_base64(members, "n"), scheme)
    check_public_key(key, minimum_bits=minimum_bits)
    return key


def _to_base64(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(members: Mapping[str, object], name: str) -> int:
    text = members.get(name)
    if not isinstance(text, str) or len(text) > _MAXIMUM_TEXT or not _BASE64URL.fullmatch(text):
        raise BadKeyError(f"the JWK's member {name} is no unpadded base64url number of at most {MAXIMUM_BITS} bits")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise BadKeyError(f"the JWK's member {name} is no base64url") from error
    return int.from_bytes(data, "big")
