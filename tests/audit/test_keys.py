import base64
import hashlib
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, BadPassphraseError, BadSignatureError, MalformedError
from audit.keys import SigningKey, VerifyingKey

NAME = "east.provider.stats.example/message"
ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 8032, section 7.1, tests 1 to 3: secret, public, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
        "eeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
        "8dc027beceea1ec40a",
    ),
]

# Encodings of the points of order 1, 2, 4 and 8, then non-canonical ones (y = p, y = p + 1), then no point at all.
# The orders: section 5.1 of RFC 8032 gives the curve; the list is the one of libsodium's ge25519_has_small_order.
BAD_POINTS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0200000000000000000000000000000000000000000000000000000000000000",
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = SigningKey.from_seed(NAME, bytes.fromhex(secret))
    assert key.verifying_key.public_key.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    VerifyingKey(NAME, bytes.fromhex(public)).verify(bytes.fromhex(message), bytes.fromhex(signature))


def test_the_example_of_the_signed_note_package_verifies() -> None:
    # golang.org/x/mod/sumdb/note, package documentation: key and note of PeterNeumann.
    key = VerifyingKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    decoded = base64.b64decode(line)
    assert decoded[:4] == key.key_id == bytes.fromhex("c74f20a3")
    key.verify(text, decoded[4:])
    assert key.vkey() == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_the_key_identifier_is_the_hash_of_name_newline_type_and_key() -> None:
    key = SigningKey.generate(NAME).verifying_key
    assert key.key_id == hashlib.sha256(NAME.encode() + b"\x0a\x01" + key.public_key).digest()[:4]
    assert key.keyid == f"{NAME}+{key.key_id.hex()}"
    assert VerifyingKey.parse(key.vkey()) == key


@pytest.mark.parametrize("point", BAD_POINTS)
def test_small_order_and_non_canonical_public_keys_are_refused(point: str) -> None:
    with pytest.raises(MalformedError):
        VerifyingKey(NAME, bytes.fromhex(point))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        VerifyingKey(NAME, b"\x01" * length)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "é", "x" * 256, "a\u2003b"])
def test_a_key_name_has_no_space_or_plus(name: str) -> None:
    with pytest.raises(MalformedError):
        SigningKey.generate(name)


def test_a_signature_over_other_bytes_or_by_another_key_is_refused() -> None:
    key, other = SigningKey.generate(NAME), SigningKey.generate(NAME)
    signature = key.sign(b"message")
    key.verifying_key.verify(b"message", signature)
    for verifier, message, line in [
        (key, b"massage", signature),
        (other, b"message", signature),
        (key, b"message", signature[:-1]),
        (key, b"message", b""),
        (key, b"message", signature + b"\0"),
    ]:
        with pytest.raises(BadSignatureError):
            verifier.verifying_key.verify(message, line)


def test_a_signature_has_one_form_only() -> None:
    # RFC 8032, section 5.1.7: S + L satisfies the equation too, and must be refused.
    key = SigningKey.generate(NAME)
    signature = key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(BadSignatureError):
        key.verifying_key.verify(b"message", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "change",
    [
        lambda vkey: vkey.replace("+", "-", 1),
        lambda vkey: vkey[:-1],
        lambda vkey: vkey + "\n",
        lambda vkey: "x" + vkey,
        lambda vkey: vkey.replace("+AR", "+Ag"),
        lambda vkey: vkey + "A" * 400,
        lambda vkey: vkey.split("+")[0],
        lambda vkey: "",
    ],
)
def test_a_changed_vkey_is_refused(change: object) -> None:
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    with pytest.raises(MalformedError):
        VerifyingKey.parse(change(vkey))  # type: ignore[operator]


@given(st.text(max_size=90) | st.from_regex(r"[a-z]{1,4}\+[0-9a-f]{8}\+AR[A-Za-z0-9+/]{42}", fullmatch=True))
def test_any_text_is_a_vkey_or_malformed(text: str) -> None:
    try:
        key = VerifyingKey.parse(text)
    except MalformedError:
        return
    assert key.vkey() == text


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_key_file_reads_back(passphrase: bytes | None) -> None:
    key = SigningKey.generate(NAME)
    pem = key.to_pem(passphrase)
    assert (b"ENCRYPTED" in pem) == (passphrase is not None)
    assert SigningKey.from_pem(NAME, pem, passphrase).verifying_key == key.verifying_key
    loaded = serialization.load_pem_private_key(pem, passphrase)
    assert isinstance(loaded, Ed25519PrivateKey)
    assert loaded.public_key().public_bytes_raw() == key.verifying_key.public_key


def test_an_encrypted_key_file_needs_its_passphrase() -> None:
    key = SigningKey.generate(NAME)
    sealed, plain = key.to_pem(b"correct horse"), key.to_pem(None)
    for pem, passphrase in [(sealed, b"wrong"), (sealed, None), (plain, b"needless")]:
        with pytest.raises(BadPassphraseError):
            SigningKey.from_pem(NAME, pem, passphrase)


def test_a_key_file_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for pem in (b"", b"nonsense", other, SigningKey.generate(NAME).to_pem(None)[:60]):
        with pytest.raises(MalformedError):
            SigningKey.from_pem(NAME, pem, None)


@given(st.binary(max_size=80), st.none() | st.just(b"x"))
def test_any_bytes_are_a_key_file_or_our_error(body: bytes, passphrase: bytes | None) -> None:
    for label in (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
        pem = b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, base64.b64encode(body), label)
        try:
            SigningKey.from_pem(NAME, pem, passphrase)
        except AuditError:
            continue


def test_a_signing_key_neither_shows_nor_pickles_its_secret(tmp_path: Path) -> None:
    seed = hashlib.sha256(b"secret").digest()
    key = SigningKey.from_seed(NAME, seed)
    assert repr(key) == f"SigningKey({key.verifying_key.keyid})"
    assert seed.hex() not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        SigningKey.from_seed(NAME, bytes(length))
