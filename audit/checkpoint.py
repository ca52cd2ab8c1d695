"""Signed checkpoints: C2SP tlog-checkpoint bodies inside C2SP signed notes (c2sp.org/tlog-checkpoint, /signed-note).

A note is text, an empty line, and one or more signature lines `— <key name> <base64(key id, signature)>`. The log signs
with Ed25519; a witness adds its line to the same text. Lines of unknown keys or types are kept and ignored, as the
specification asks, so that other algorithms can come beside this one.
"""

from dataclasses import dataclass
from typing import Final

from audit.canonical import from_base64, to_base64
from audit.errors import BadSignatureError, LimitExceededError, MalformedError
from audit.keys import SigningKey, VerifyingKey
from audit.tree import HASH_BYTES

MAX_NOTE_BYTES: Final = 16 * 1024
MAX_SIGNATURES: Final = 64
MAX_SIZE: Final = 2**63 - 1

_KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to: the root over its first `size` entries.

    Attributes:
        origin: the log's name, one line.
        size: number of entries, 0 to 2^63 - 1.
        root: RFC 6962 root, 32 bytes.
        extensions: further lines, none of them empty; ours has none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def body(self) -> bytes:
        """The signed text: origin, size in decimal, root in base64, extensions; each ends with a line feed."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def from_body(cls, body: bytes) -> "Checkpoint":
        """The checkpoint in a note's text.

        Raises:
            MalformedError: not a checkpoint body.
        """
        lines = _text(body).split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise MalformedError("a checkpoint is at least three non-empty lines: origin, size, root")
        origin, size, root, *extensions = lines
        if not (
            size.isascii() and size.isdigit() and len(size) <= 19 and str(int(size)) == size and int(size) <= MAX_SIZE
        ):
            raise MalformedError(f"the checkpoint's size {size[:40]!r} is no decimal number up to 2^63 - 1")
        digest = from_base64(root, what="the checkpoint's root")
        if len(digest) != HASH_BYTES:
            raise MalformedError(f"the checkpoint's root has {len(digest)} bytes, not {HASH_BYTES}")
        return cls(origin, int(size), digest, tuple(extensions))


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name, its id (4 bytes), and whatever its algorithm signs with."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line without its line feed."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A signed text. Holding one says nothing about its signatures: `verify` does."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note's bytes."""
        return self.text + b"\n" + "".join(f"{signature.line()}\n" for signature in self.signatures).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Note":
        """The note in untrusted bytes.

        Raises:
            LimitExceededError: more than 16 KiB or 64 signatures.
            MalformedError: not a signed note.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise LimitExceededError(f"a note of {len(data)} bytes, {MAX_NOTE_BYTES} allowed")
        split = data.rfind(b"\n\n")
        if split < 0 or not data.endswith(b"\n"):
            raise MalformedError("a signed note is text, an empty line, and signature lines")
        text, block = data[: split + 1], _text(data[split + 2 :])
        _text(text)
        lines = block.split("\n")[:-1]
        if not lines:
            raise MalformedError("a signed note without a signature")
        if len(lines) > MAX_SIGNATURES:
            raise LimitExceededError(f"a note with {len(lines)} signatures, {MAX_SIGNATURES} allowed")
        return cls(text, tuple(_parse_line(line) for line in lines))

    def sign(self, key: SigningKey) -> "Note":
        """The same note with `key`'s line added, replacing an earlier one by the same key."""
        verifying = key.verifying_key
        line = NoteSignature(key.name, verifying.key_id, key.sign(self.text))
        return Note(self.text, (*(each for each in self.signatures if not _made_by(each, verifying)), line))

    def verify(self, key: VerifyingKey) -> None:
        """Checks `key`'s signature line.

        Raises:
            BadSignatureError: `key` has no line here, or a line of its name and id does not verify.
        """
        lines = [each for each in self.signatures if _made_by(each, key)]
        if not lines:
            raise BadSignatureError(f"the note carries no signature by {key.name}+{key.key_id.hex()}")
        for line in lines:
            key.verify(self.text, line.signature)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """A signed checkpoint's bytes, with `key`'s one signature line."""
    return Note(checkpoint.body(), ()).sign(key).encode()


def verify_checkpoint(data: bytes, key: VerifyingKey, *, origin: str) -> Checkpoint:
    """The checkpoint in untrusted bytes, signed by `key` for the log `origin`.

    Raises:
        MalformedError: not a signed checkpoint.
        BadSignatureError: not signed by `key`, or of another log.
    """
    note = Note.decode(data)
    note.verify(key)
    checkpoint = Checkpoint.from_body(note.text)
    if checkpoint.origin != origin:
        raise BadSignatureError(f"a checkpoint of the log {checkpoint.origin!r}, not of {origin!r}")
    return checkpoint


def _made_by(signature: NoteSignature, key: VerifyingKey) -> bool:
    return signature.name == key.name and signature.key_id == key.key_id


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a signed note is UTF-8 text") from error
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise MalformedError("a signed note holds no control character but the line feed")
    return text


def _parse_line(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not name or "+" in name or any(map(str.isspace, name)):
        raise MalformedError(f"{line[:60]!r} is no signature line: '\u2014 <key name> <base64>' is")
    data = from_base64(encoded, what="a note's signature")
    if len(data) <= _KEY_ID_BYTES:
        raise MalformedError("a note's signature is a 4-byte key id and the signature")
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])
