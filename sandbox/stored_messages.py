"""The bytes in which a party keeps what it has given, so that the same request gets the very same answer.

A list of byte strings, each preceded by its length (u32, big-endian). These bytes stay in the party's own vault.
"""

from __future__ import annotations

from collections.abc import Sequence

from audit.hashes import sha256
from sandbox.errors import VaultError
from sandbox.ports import AnswerMessage, PartMessage

_LENGTH_BYTES = 4


def frame(fields: Sequence[bytes]) -> bytes:
    """Join byte strings, each of at most 2^32 - 1 bytes."""
    return b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)


def unframe(data: bytes) -> tuple[bytes, ...]:
    """Split what `frame` joined.

    Raises `VaultError` when the bytes are no such list: the vault was damaged.
    """
    fields: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(data[position:start], "big")
        if start > len(data) or end > len(data):
            raise VaultError("a stored message is cut short; restore the vault from its backup")
        fields.append(data[start:end])
        position = end
    return tuple(fields)


def asked(offers: Sequence[bytes], roster: bytes) -> bytes:
    """Identify what a part was asked for with: SHA-256 over the offers and the roster."""
    return sha256(frame([*offers, roster]))


def encode_part(message: PartMessage, asked_for: bytes) -> bytes:
    """Keep a part together with what asked for it (`asked`)."""
    return frame([asked_for, str(message.width).encode(), message.part, message.receipt])


def decode_part(data: bytes) -> tuple[PartMessage, bytes]:
    """Read what `encode_part` wrote; raises `VaultError`."""
    match unframe(data):
        case (asked_for, width, part, receipt):
            return PartMessage(int(width), part, receipt), asked_for
    raise VaultError("a stored part has another form than this release writes; restore the vault from its backup")


def encode_answer(message: AnswerMessage) -> bytes:
    """Keep the computing party's answer."""
    head = [message.call.encode(), str(message.width).encode(), message.totals, message.contributors, message.roster]
    return frame([*head, *message.receipts])


def decode_answer(data: bytes) -> AnswerMessage:
    """Read what `encode_answer` wrote; raises `VaultError`."""
    match unframe(data):
        case (call, width, totals, contributors, roster, *receipts):
            return AnswerMessage(call.decode(), int(width), totals, contributors, tuple(receipts), roster)
    raise VaultError("a stored answer has another form than this release writes; restore the vault from its backup")
