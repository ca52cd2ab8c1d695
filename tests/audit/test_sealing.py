import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, BadPassphraseError, LimitExceededError, MalformedError
from audit.jcs import canonicalise, to_base64
from audit.keys import open_secret, seal_secret
from audit.sealing import MAX_SECRET_BYTES


def test_a_sealed_secret_opens_with_its_passphrase_only() -> None:
    blob = seal_secret(b"the secret", b"passphrase")
    assert b'secret"' not in blob.replace(b"sealed_secret", b"")
    assert open_secret(blob, b"passphrase") == b"the secret"
    with pytest.raises(BadPassphraseError):
        open_secret(blob, b"Passphrase")


def test_sealing_twice_gives_unrelated_blobs() -> None:
    first, second = (json.loads(seal_secret(b"x", b"y")) for _ in range(2))
    assert first["salt"] != second["salt"]
    assert first["nonce"] != second["nonce"]


@pytest.mark.parametrize("field", ["salt", "nonce", "data"])
def test_a_changed_blob_does_not_open(field: str) -> None:
    fields = json.loads(seal_secret(b"the secret", b"passphrase"))
    fields[field] = to_base64(bytes(len(fields[field]) // 4 * 3 - fields[field].count("=")))
    with pytest.raises(BadPassphraseError):
        open_secret(canonicalise(fields), b"passphrase")


@pytest.mark.parametrize(
    ("field", "value"), [("n", 2**40), ("n", 2), ("r", 1), ("p", 99), ("kdf", "none"), ("cipher", "rot13"), ("v", 2)]
)
def test_a_blob_cannot_ask_for_another_cost_or_cipher(field: str, value: object) -> None:
    fields = json.loads(seal_secret(b"x", b"y"))
    fields[field] = value
    with pytest.raises(MalformedError):
        open_secret(canonicalise(fields), b"y")


def test_an_empty_passphrase_and_an_oversized_secret_are_refused() -> None:
    with pytest.raises(MalformedError):
        seal_secret(b"x", b"")
    with pytest.raises(LimitExceededError):
        seal_secret(bytes(MAX_SECRET_BYTES + 1), b"y")


@given(st.binary(max_size=100))
def test_random_bytes_open_or_raise_our_error(data: bytes) -> None:
    with pytest.raises(AuditError):
        open_secret(data, b"passphrase")
