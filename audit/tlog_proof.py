"""Proofs that stand alone: the C2SP tlog-proof format (c2sp.org/tlog-proof).

c2sp.org/tlog-proof@v1
extra <base64>            only where there is extra data, which the proof does not authenticate
index <decimal>
<base64>                  one 32-byte hash a line, from the leaf's sibling up
                          an empty line
<the signed checkpoint, verbatim>
"""

from dataclasses import dataclass
from typing import Final

from audit.canonical import from_base64, to_base64
from audit.checkpoint import MAX_NOTE_BYTES, MAX_SIZE, Checkpoint, Note
from audit.errors import LimitExceededError, MalformedError
from audit.tree import HASH_BYTES, verify_inclusion
from audit.verify_checkpoints import LogKeys

HEADER: Final = "c2sp.org/tlog-proof@v1"
FILE_SUFFIX: Final = ".tlog-proof"
MAX_HASHES: Final = 63
"""A tree of at most 2^63 - 1 leaves is that high."""
MAX_EXTRA_BYTES: Final = 6 * 1024 * 1024
MAX_PROOF_BYTES: Final = 4 * (MAX_EXTRA_BYTES // 3) + MAX_NOTE_BYTES + 8192

_EXTRA: Final = "extra "
_INDEX: Final = "index "
_BASE64_HASH: Final = 44


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That some leaf stands at `index` of the tree under a signed checkpoint. Well-formed, not verified.

    Attributes:
        index: of the leaf, from 0.
        hashes: the RFC 6962 inclusion proof, bottom up, 32 bytes each.
        checkpoint: the signed note, as the log and its witnesses made it.
        extra: the application's own, at most 6 MiB; empty where there is none. Nothing vouches for it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """The proof's text.

        Raises:
            LimitExceededError: more extra data or hashes than the format's limits here.
        """
        if len(self.extra) > MAX_EXTRA_BYTES or len(self.hashes) > MAX_HASHES:
            raise LimitExceededError(f"a proof has at most {MAX_EXTRA_BYTES} bytes extra and {MAX_HASHES} hashes")
        lines = [HEADER]
        if self.extra:
            lines.append(_EXTRA + to_base64(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines += map(to_base64, self.hashes)
        return "".join(f"{line}\n" for line in lines).encode("ascii") + b"\n" + self.checkpoint

    @classmethod
    def decode(cls, data: bytes) -> "TlogProof":
        """The proof in untrusted bytes; whose checkpoint is signed, by whom `verify` looks at.

        Raises:
            LimitExceededError: longer, or more hashes, than the limits of this module.
            MalformedError: not exactly what `encode` writes.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise LimitExceededError(f"a proof of {len(data)} bytes, {MAX_PROOF_BYTES} allowed")
        head, separator, checkpoint = data.partition(b"\n\n")
        if not separator:
            raise MalformedError("a tlog-proof is header, index, hashes, an empty line, and a checkpoint: cut off?")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise MalformedError("a tlog-proof is ASCII before its checkpoint") from error
        if lines.pop(0) != HEADER:
            raise MalformedError(f"a tlog-proof begins with the line {HEADER}")
        extra = b""
        if lines and lines[0].startswith(_EXTRA):
            extra = from_base64(lines.pop(0).removeprefix(_EXTRA), what="the proof's extra data")
            if not extra:
                raise MalformedError("a tlog-proof without extra data has no extra line")
        index = _index(lines.pop(0) if lines else "")
        if len(lines) > MAX_HASHES:
            raise LimitExceededError(f"a proof of {len(lines)} hashes, {MAX_HASHES} allowed")
        Checkpoint.from_body(Note.decode(checkpoint).text)
        return cls(index, parse_hashes(lines), checkpoint, extra)

    def verify(self, leaf: bytes, log: LogKeys) -> Checkpoint:
        """The checkpoint, signed by the log, in whose tree `leaf` (a leaf hash, 32 bytes) stands at `index`.

        Raises:
            MalformedError: the checkpoint cannot be read.
            BadSignatureError: it is of another log, or not signed by one of the log's keys.
            VerificationFailedError: the hashes do not lead from the leaf to the checkpoint's root.
        """
        checkpoint = log.verify(Note.decode(self.checkpoint))
        verify_inclusion(leaf, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def parse_hashes(lines: list[str]) -> tuple[bytes, ...]:
    """The 32-byte hashes written in base64; raises `MalformedError`."""
    hashes = tuple(from_base64(line, what="a proof's hash") if len(line) == _BASE64_HASH else b"" for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise MalformedError(f"a proof's hash line is not {HASH_BYTES} bytes in base64")
    return hashes


def _index(line: str) -> int:
    digits = line.removeprefix(_INDEX)
    if not line.startswith(_INDEX) or not digits.isdigit() or len(digits) > 19 or str(int(digits)) != digits:
        raise MalformedError(f"{line[:40]!r} stands where a proof has the line `index <decimal>`")
    if int(digits) > MAX_SIZE:
        raise MalformedError(f"the index {digits} is beyond 2^63 - 1")
    return int(digits)
