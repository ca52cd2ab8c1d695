"""What a log sends its witness: the body of add-checkpoint (c2sp.org/tlog-witness)."""

import re
from dataclasses import dataclass
from typing import Final

from audit.canonical import from_base64, to_base64
from audit.checkpoint import MAX_NOTE_BYTES, MAX_SIZE
from audit.errors import LimitExceededError, MalformedError
from audit.tree import HASH_BYTES

MAX_PROOF_LINES: Final = 63
"""The specification's limit; a tree of 2^63 - 1 leaves needs no more."""
_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")
_HASH_CHARACTERS: Final = 44
_MAX_HEAD_BYTES: Final = len("old ") + 19 + 1 + MAX_PROOF_LINES * (_HASH_CHARACTERS + 1) + 1
MAX_SUBMISSION_BYTES: Final = _MAX_HEAD_BYTES + MAX_NOTE_BYTES
"""The longest body that can be well formed."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed checkpoint offered to a witness, with a consistency proof from the one that the witness holds.

    Args:
        old_size: entries under the checkpoint that the witness is thought to hold, 0 to 2^63 - 1; 0 for none.
        proof: RFC 6962 consistency proof from there, at most 63 hashes of 32 bytes; empty where `old_size` is 0.
        note: the signed checkpoint as the log made it, at most 16 KiB; not looked at here.

    Raises:
        LimitExceededError: more hashes or a longer note.
        MalformedError: a size out of range, or hashes of another length.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE:
            raise MalformedError("a submission's old size is from 0 to 2^63 - 1")
        if len(self.proof) > MAX_PROOF_LINES:
            raise LimitExceededError(f"a consistency proof of more than {MAX_PROOF_LINES} hashes")
        if any(len(node) != HASH_BYTES for node in self.proof):
            raise MalformedError(f"a consistency proof is of hashes of {HASH_BYTES} bytes")
        if len(self.note) > MAX_NOTE_BYTES:
            raise LimitExceededError(f"a note of {len(self.note)} bytes, {MAX_NOTE_BYTES} allowed")

    def encode(self) -> bytes:
        """The body: `old <size>`, one line of base64 for each hash, an empty line, the note."""
        lines = [f"old {self.old_size}", *map(to_base64, self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode("ascii") + self.note

    @classmethod
    def decode(cls, body: bytes) -> "Submission":
        """The submission in untrusted bytes.

        Raises:
            LimitExceededError: longer than `MAX_SUBMISSION_BYTES`, or more than 63 hashes.
            MalformedError: not of this form; the answer is 400 (Bad Request).
        """
        if len(body) > MAX_SUBMISSION_BYTES:
            raise LimitExceededError(f"a submission of {len(body)} bytes, {MAX_SUBMISSION_BYTES} allowed")
        head, separator, note = body.partition(b"\n\n")
        if not separator:
            raise MalformedError("a submission is an old size, a consistency proof, an empty line, and a checkpoint")
        first, *lines = head.split(b"\n")
        old = _OLD.fullmatch(first)
        if old is None:
            raise MalformedError(f"{first[:40]!r} is no old size: 'old <decimal without leading zeros>' is")
        if len(lines) > MAX_PROOF_LINES:
            raise LimitExceededError(f"a consistency proof of {len(lines)} hashes, {MAX_PROOF_LINES} allowed")
        return cls(int(old[1]), tuple(map(_hash, lines)), note)


def _hash(line: bytes) -> bytes:
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedError("a line of the consistency proof is not base64") from error
    return from_base64(text, what="a line of the consistency proof")
