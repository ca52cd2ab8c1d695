"""Secrets at rest under a passphrase: scrypt (RFC 7914), then AES-256-GCM (NIST SP 800-38D).

The container is canonical JSON that names its algorithms and cost, all of it authenticated as associated data.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from audit.canonical import Fields, JsonObject, canonicalise, to_base64
from audit.errors import BadPassphraseError, LimitExceededError, MalformedError

MAX_SECRET_BYTES: Final = 1 << 20
_SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_COST: Final = 1 << 16
_BLOCK: Final = 8
_LANES: Final = 2


def seal_secret(data: bytes, passphrase: bytes) -> bytes:
    """`data` (at most 1 MiB) encrypted under `passphrase`, with a fresh salt and nonce.

    scrypt (N 2^16, r 8, p 2) takes about 64 MiB and a third of a second.

    Raises:
        MalformedError: an empty passphrase.
        LimitExceededError: data over the limit.
    """
    if not passphrase:
        raise MalformedError("an empty passphrase protects nothing: give one, or store without")
    if len(data) > MAX_SECRET_BYTES:
        raise LimitExceededError(f"a secret of {len(data)} bytes, {MAX_SECRET_BYTES} allowed")
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    header = _header(salt, nonce)
    sealed = AESGCM(_derive(passphrase, salt)).encrypt(nonce, data, canonicalise(header))
    return canonicalise({**header, "data": to_base64(sealed)})


def open_secret(blob: bytes, passphrase: bytes) -> bytes:
    """The data of `seal_secret`.

    Raises:
        MalformedError: not a sealed secret of this release (its cost is fixed, so that a blob cannot ask for memory).
        BadPassphraseError: wrong passphrase, or the blob was changed.
    """
    fields = Fields.parse(blob, limit=2 * MAX_SECRET_BYTES, where="sealed secret")
    salt = fields.base64("salt", max_bytes=_SALT_BYTES, nbytes=_SALT_BYTES)
    nonce = fields.base64("nonce", max_bytes=_NONCE_BYTES, nbytes=_NONCE_BYTES)
    sealed = fields.base64("data", max_bytes=MAX_SECRET_BYTES + _TAG_BYTES)
    header = _header(salt, nonce)
    for name, wanted in header.items():
        if name not in {"salt", "nonce"}:
            found = fields.integer(name) if isinstance(wanted, int) else fields.text(name)
            if found != wanted:
                raise MalformedError(f"sealed secret: {name} is {found}, this release opens {wanted} only")
    fields.finish()
    try:
        return AESGCM(_derive(passphrase, salt)).decrypt(nonce, sealed, canonicalise(header))
    except InvalidTag as error:
        raise BadPassphraseError(
            "the sealed secret does not open: wrong passphrase, or the file was changed"
        ) from error


def _header(salt: bytes, nonce: bytes) -> JsonObject:
    return {
        "type": "sealed_secret",
        "v": 1,
        "kdf": "scrypt",
        "n": _COST,
        "r": _BLOCK,
        "p": _LANES,
        "cipher": "aes-256-gcm",
        "salt": to_base64(salt),
        "nonce": to_base64(nonce),
    }


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_LANES).derive(passphrase)
