"""Private keys under a passphrase: PKCS#8 that any tool opens, at a cost that a guesser feels.

`cryptography` writes encrypted PKCS#8 with 2,048 rounds of PBKDF2, which is no obstacle today. PBES2 (RFC 8018, section
6.2) with scrypt (RFC 7914, section 7) is as standard, and OpenSSL and `cryptography` read it; only the writing is here.
"""

import base64
import os
import textwrap
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

from audit.errors import MalformedError

# 16 MiB five times over (OWASP's equivalent of 128 MiB once): OpenSSL refuses scrypt beyond 32 MiB when it reads a key.
_COST: Final = 1 << 14
_BLOCK: Final = 8
_LANES: Final = 5
_SALT_BYTES: Final = 16
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def encrypted_pem(private_key_info: bytes, passphrase: bytes) -> bytes:
    """PEM `ENCRYPTED PRIVATE KEY` of an unencrypted PKCS#8 DER key: PBES2, scrypt (N 2^14, r 8, p 5), AES-256-CBC.

    Raises:
        MalformedError: an empty passphrase.
    """
    if not passphrase:
        raise MalformedError("an empty passphrase protects nothing: give one, or store without")
    salt, initial = os.urandom(_SALT_BYTES), os.urandom(16)
    key = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_LANES).derive(passphrase)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(initial)).encryptor()
    sealed = encryptor.update(padder.update(private_key_info) + padder.finalize()) + encryptor.finalize()
    derivation = _sequence(
        _SCRYPT, _sequence(_octets(salt), _integer(_COST), _integer(_BLOCK), _integer(_LANES), _integer(32))
    )
    algorithm = _sequence(_PBES2, _sequence(derivation, _sequence(_AES_256_CBC, _octets(initial))))
    body = "\n".join(textwrap.wrap(base64.b64encode(_sequence(algorithm, _octets(sealed))).decode("ascii"), 64))
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode("ascii")


def _tagged(tag: int, content: bytes) -> bytes:
    """One DER element (X.690, section 8.1); contents here are far below 64 KiB."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes(2, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _sequence(*members: bytes) -> bytes:
    return _tagged(0x30, b"".join(members))


def _octets(content: bytes) -> bytes:
    return _tagged(0x04, content)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
