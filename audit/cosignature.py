"""A witness's timestamped cosignatures on checkpoints: cosignature/v1 of c2sp.org/tlog-cosignature, over Ed25519.

A cosignature is a further line of a checkpoint's note. It says that at its time the witness had seen no larger tree of
that log, and none that contradicts it. The same public key has two identifiers: as a party's directory lists it
(signed-note type 0x01), and as a cosigner's (type 0x04); witness keys sign cosignatures and nothing else.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from audit.canonical import from_base64, to_base64
from audit.checkpoint import Note, NoteSignature
from audit.errors import BadSignatureError, MalformedError
from audit.keys import SIGNATURE_BYTES, SigningKey, VerifyingKey

MAX_TIMESTAMP: Final = 2**63 - 1
_TYPE: Final = b"\x04"
_TIMESTAMP_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A witness's public key under its cosigner's identifier.

    Args:
        key: the same key as the party directory lists it.
    """

    key: VerifyingKey

    @property
    def name(self) -> str:
        """The key's name."""
        return self.key.name

    @property
    def key_id(self) -> bytes:
        """`SHA-256(name || 0x0A || 0x04 || public key)[:4]`."""
        return hashlib.sha256(self.name.encode("ascii") + b"\n" + _TYPE + self.key.public_key).digest()[:4]

    def vkey(self) -> str:
        """`<name>+<hex8>+<base64(0x04 || public key)>`, as other tools' policies name a witness."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(_TYPE + self.key.public_key)}"

    @classmethod
    def parse(cls, vkey: str) -> "CosignerKey":
        """The inverse of `vkey`.

        Raises:
            MalformedError: not a vkey of type 0x04, or an identifier that is not the key's.
        """
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise MalformedError("not a witness's vkey: <name>+<8 hexadecimal digits>+<base64> is wanted")
        data = from_base64(parts[2], what="vkey")
        if data[:1] != _TYPE:
            raise MalformedError("not a witness's vkey: its type is not 4 (Ed25519 cosignature/v1)")
        key = cls(VerifyingKey(parts[0], data[1:]))
        if key.key_id.hex() != parts[1]:
            raise MalformedError(f"the vkey's identifier {parts[1]!r:.20} is not that of its key: a typing error?")
        return key

    def made(self, line: NoteSignature) -> bool:
        """Whether the line claims to be this key's. Says nothing about its validity: that is `verify`."""
        return line.name == self.name and line.key_id == self.key_id

    def verify(self, text: bytes, line: NoteSignature) -> int:
        """The time of a cosignature over a note's text, in seconds since the Unix epoch.

        Raises:
            BadSignatureError: the line is another key's, or not a valid cosignature over that text.
        """
        if not self.made(line) or len(line.signature) != _TIMESTAMP_BYTES + SIGNATURE_BYTES:
            raise BadSignatureError(f"not a cosignature by {self.name}+{self.key_id.hex()}")
        timestamp_s = int.from_bytes(line.signature[:_TIMESTAMP_BYTES], "big")
        if timestamp_s > MAX_TIMESTAMP:
            raise BadSignatureError(f"a cosignature by {self.name} of a time beyond 2^63 - 1 seconds")
        self.key.verify(_message(text, timestamp_s), line.signature[_TIMESTAMP_BYTES:])
        return timestamp_s


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature: who made it, and when by its own clock, in seconds since the Unix epoch."""

    key: CosignerKey
    timestamp_s: int


def cosign(text: bytes, key: SigningKey, timestamp_s: int) -> NoteSignature:
    """A witness's line for a checkpoint's text, whose log, signature and consistency it has verified.

    Raises:
        MalformedError: a time below zero or beyond 2^63 - 1.
    """
    if not 0 <= timestamp_s <= MAX_TIMESTAMP:
        raise MalformedError("a cosignature's time is from 0 to 2^63 - 1 seconds")
    cosigner = CosignerKey(key.verifying_key)
    signature = timestamp_s.to_bytes(_TIMESTAMP_BYTES, "big") + key.sign(_message(text, timestamp_s))
    return NoteSignature(cosigner.name, cosigner.key_id, signature)


def verify_cosignatures(note: Note, keys: Iterable[CosignerKey]) -> tuple[Cosignature, ...]:
    """The cosignatures on a note by the keys given; lines of other keys are ignored, as signed notes ask.

    Where a key has several lines, each must verify, and the earliest counts.

    Raises:
        BadSignatureError: a line of one of the keys does not verify.
    """
    found: list[Cosignature] = []
    for key in keys:
        times = [key.verify(note.text, line) for line in note.signatures if key.made(line)]
        if times:
            found.append(Cosignature(key, min(times)))
    return tuple(found)


def add_lines(note: Note, lines: Iterable[NoteSignature]) -> Note:
    """The note with further lines; a line by a key that has one already is left out. Verify them first."""
    kept = list(note.signatures)
    for line in lines:
        if all((line.name, line.key_id) != (each.name, each.key_id) for each in kept):
            kept.append(line)
    return Note(note.text, tuple(kept))


def _message(text: bytes, timestamp_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % timestamp_s + text
