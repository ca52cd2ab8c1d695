import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import MalformedError
from audit.pkcs8 import encrypted_pem

DER = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())])
def test_an_encrypted_key_opens_with_cryptography(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    plain = key.private_bytes(*DER)
    pem = encrypted_pem(plain, b"passphrase")
    assert serialization.load_pem_private_key(pem, b"passphrase").private_bytes(*DER) == plain
    with pytest.raises(ValueError, match="ncorrect password"):
        serialization.load_pem_private_key(pem, b"another")


def test_an_encrypted_key_opens_with_openssl(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None or b"LibreSSL" in subprocess.run([openssl, "version"], capture_output=True, check=True).stdout:
        pytest.skip("no openssl command that knows scrypt")
    plain = ec.generate_private_key(ec.SECP256R1()).private_bytes(*DER)
    file = tmp_path / "key.pem"
    file.write_bytes(encrypted_pem(plain, b"passphrase"))
    command = [
        openssl,
        "pkcs8",
        "-topk8",
        "-nocrypt",
        "-in",
        str(file),
        "-passin",
        "pass:passphrase",
        "-outform",
        "DER",
    ]
    opened = subprocess.run(command, capture_output=True, check=True).stdout
    assert opened == plain


def test_every_encryption_is_fresh() -> None:
    assert encrypted_pem(b"\x30\x00", b"x") != encrypted_pem(b"\x30\x00", b"x")


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(MalformedError):
        encrypted_pem(b"\x30\x00", b"")
