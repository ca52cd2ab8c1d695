"""Ed25519 signing and verifying keys in the C2SP signed-note form.

A key has a name and an identifier `SHA-256(name || 0x0A || 0x01 || public key)[:4]`
(https://c2sp.org/signed-note, section "Signatures"; RFC 8032 for Ed25519). One key serves one purpose.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

import nacl.bindings
import nacl.exceptions
import nacl.signing
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import BadPassphraseError, BadSignatureError, MalformedError
from audit.jcs import from_base64, to_base64
from audit.names import KeyPurpose
from audit.pkcs8 import encrypted_pem
from audit.sealing import open_secret, seal_secret

__all__ = [
    "KEYID_PATTERN",
    "KeyPurpose",
    "SignatureAlgorithm",
    "SigningKey",
    "VerifyingKey",
    "open_secret",
    "seal_secret",
]

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32
_ED25519_TYPE: Final = b"\x01"
_MAX_NAME: Final = 255
_NAME: Final = re.compile(r"[!-*,-~]{1,255}")
KEYID_PATTERN: Final = re.compile(r"[!-*,-~]{1,255}\+[0-9a-f]{8}")
"""`<name>+<hex8>`: names are printable ASCII without space or plus (signed-note forbids both)."""


class SignatureAlgorithm(Enum):
    """The signature algorithms a record may name."""

    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A named Ed25519 public key.

    Args:
        name: printable ASCII without space or plus, at most 255 characters.
        public_key: 32 bytes, the canonical encoding of a point of the prime-order group (RFC 8032, section 5.1.2).

    Raises:
        MalformedError: another name or length, a non-canonical encoding, or a point of small or mixed order.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise MalformedError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, this one {len(self.public_key)}")
        if not nacl.bindings.crypto_core_ed25519_is_valid_point(self.public_key):
            raise MalformedError(f"the public key of {self.name} is not a canonical point of the prime-order group")

    @property
    def key_id(self) -> bytes:
        """The 4-byte identifier of signed notes."""
        preimage = self.name.encode("ascii") + b"\n" + _ED25519_TYPE + self.public_key
        return hashlib.sha256(preimage).digest()[:4]

    @property
    def keyid(self) -> str:
        """`<name>+<hex8>`, the key identifier of envelopes."""
        return f"{self.name}+{self.key_id.hex()}"

    def vkey(self) -> str:
        """`<name>+<hex8>+<base64(0x01 || public key)>`, as tools of signed notes exchange keys."""
        return f"{self.keyid}+{to_base64(_ED25519_TYPE + self.public_key)}"

    @classmethod
    def parse(cls, vkey: str) -> "VerifyingKey":
        """The key of a vkey line.

        Raises:
            MalformedError: not a vkey, another algorithm than Ed25519, or an identifier that is not the key's.
        """
        if len(vkey) > _MAX_NAME + 64:
            raise MalformedError("a vkey line longer than any vkey")
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise MalformedError("not a vkey: <name>+<8 hexadecimal digits>+<base64> is wanted")
        data = from_base64(parts[2], what="vkey")
        if data[:1] != _ED25519_TYPE:
            raise MalformedError("a vkey of another algorithm than Ed25519 (type 1)")
        key = cls(parts[0], data[1:])
        if key.key_id.hex() != parts[1]:
            raise MalformedError(f"the vkey's identifier {parts[1]!r:.20} is not that of its key: a typing error?")
        return key

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise `BadSignatureError` unless `signature` is this key's over `message` (RFC 8032, section 5.1.7)."""
        if len(signature) != SIGNATURE_BYTES:
            raise BadSignatureError(
                f"a signature by {self.name} of {len(signature)} bytes; Ed25519 has {SIGNATURE_BYTES}"
            )
        try:
            nacl.signing.VerifyKey(self.public_key).verify(message, signature)
        except nacl.exceptions.BadSignatureError as error:
            raise BadSignatureError(f"the signature is not {self.keyid}'s over these bytes") from error


class SigningKey:
    """A named Ed25519 private key. It shows no secret in its repr and refuses to be pickled."""

    __slots__ = ("_key", "_verifying_key")

    def __init__(self, name: str, key: nacl.signing.SigningKey) -> None:
        self._key = key
        self._verifying_key = VerifyingKey(name, bytes(key.verify_key))

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """A fresh key from the operating system's random source."""
        return cls(name, nacl.signing.SigningKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> "SigningKey":
        """The key of a 32-byte RFC 8032 secret. For published test vectors; `generate` makes keys for use.

        Raises:
            MalformedError: the seed has another length.
        """
        if len(seed) != SEED_BYTES:
            raise MalformedError(f"an Ed25519 secret has {SEED_BYTES} bytes, this one {len(seed)}")
        return cls(name, nacl.signing.SigningKey(seed))

    @property
    def name(self) -> str:
        """The key's name, which is its verifying key's."""
        return self._verifying_key.name

    @property
    def verifying_key(self) -> VerifyingKey:
        """The public half."""
        return self._verifying_key

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`; deterministic (RFC 8032, section 5.1.6)."""
        return self._key.sign(message).signature

    def to_pem(self, passphrase: bytes | None) -> bytes:
        """PKCS#8 PEM (RFC 8410), encrypted where there is a passphrase (`audit.pkcs8`).

        Raises:
            MalformedError: the passphrase is empty.
        """
        key = Ed25519PrivateKey.from_private_bytes(bytes(self._key))
        kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        if passphrase is None:
            return key.private_bytes(serialization.Encoding.PEM, kind, plain)
        return encrypted_pem(key.private_bytes(serialization.Encoding.DER, kind, plain), passphrase)

    @classmethod
    def from_pem(cls, name: str, pem: bytes, passphrase: bytes | None) -> "SigningKey":
        """The key of `to_pem`'s bytes.

        Raises:
            BadPassphraseError: encrypted and the passphrase is wrong or missing, or given and not needed.
            MalformedError: not an Ed25519 key in PKCS#8 PEM.
        """
        try:
            key = serialization.load_pem_private_key(pem, passphrase)
        except TypeError as error:
            raise BadPassphraseError(f"the key file of {name}: {error}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if passphrase is not None and b"ENCRYPTED" in pem:
                raise BadPassphraseError(f"the key file of {name} does not open: wrong passphrase?") from error
            raise MalformedError(f"the key file of {name} is not a PKCS#8 PEM key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise MalformedError(f"the key file of {name} holds {type(key).__name__}, not an Ed25519 key")
        return cls.from_seed(name, key.private_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey({self._verifying_key.keyid})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is not pickled: write it with to_pem")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise MalformedError(f"{name!r:.80} is no key name: printable ASCII without space or plus, at most {_MAX_NAME}")
