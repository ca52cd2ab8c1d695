"""Tries the merchant's private key on everything of a ciphertext's size that anybody received.

A packed plaintext leaves the highest bits of its residue empty, a masked or foreign one is uniform modulo n: one with
`MARGIN` leading zero bits comes by chance with probability 2^-MARGIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from unseen.v1 import compute_pb2

from audit.envelope import Envelope
from audit.receipt import ReceiptPayload, read_receipt
from protocols.errors import BadCiphertextError
from protocols.paillier_key import PrivateKey
from tests.transcript.canaries import layers
from tests.transcript.recorder import Received, Transcript, What
from tests.transcript.shapes import LeakFoundError, shape

MARGIN: Final = 48


@dataclass(frozen=True, slots=True)
class Readable:
    """A field that the merchant's key opens: where, and one packed plaintext out of it."""

    record: Received
    path: str
    plaintext: int


def readable(transcript: Transcript, key: PrivateKey) -> Iterator[Readable]:
    """Yield every field with a chunk of a ciphertext's width that decrypts to a packed plaintext."""
    for record in transcript.records:
        for path, data in _fields(record):
            plaintext = _opened(data, key)
            if plaintext is not None:
                yield Readable(record, path, plaintext)


def verify_parts_hidden(transcript: Transcript, key: PrivateKey, *, between_two: str) -> None:
    """Check that the merchant's key opens nothing but the totals that the merchant received.

    Under the contract `between_two`, with two providers, a part is not masked: the computing party's view of it opens
    too, as the design says. Raises `LeakFoundError` naming record and field.
    """
    for found in readable(transcript, key):
        record = found.record
        is_total = record.method.endswith("/Aggregate") and found.path == "AggregateResponse.totals.data"
        is_part = record.method.endswith("/Part") and found.path == "PartResponse.part.data"
        if not is_total and not (is_part and part_of(record)[1].contract == between_two):
            raise LeakFoundError(f"{record}: the merchant's key opens {found.path}")


def part_of(record: Received) -> tuple[list[int], ReceiptPayload]:
    """The ciphertexts of a recorded part, and the receipt that came with it."""
    message = compute_pb2.PartResponse.FromString(record.data)
    return ciphertexts(message.part), read_receipt(Envelope.decode(message.receipt))


def ciphertexts(vector: compute_pb2.CiphertextVector) -> list[int]:
    return [
        int.from_bytes(vector.data[at : at + vector.width], "big") for at in range(0, len(vector.data), vector.width)
    ]


def _fields(record: Received) -> Iterator[tuple[str, bytes]]:
    yield "the whole record", record.data
    yield from ((path, value) for path, value in shape(record).items() if isinstance(value, bytes))
    decoded = layers(record.data)
    next(decoded)
    yield from (("something encoded", data) for data in decoded)


def _opened(data: bytes, key: PrivateKey) -> int | None:
    """The first packed plaintext among the chunks counted from the beginning and from the end."""
    width = key.public_key.ciphertext_width
    starts = {*range(0, len(data) - width + 1, width), *range(len(data) - width, -1, -width)}
    for start in sorted(starts):
        try:
            plaintext = key.decrypt_raw(int.from_bytes(data[start : start + width], "big"))
        except BadCiphertextError:
            continue
        if plaintext.bit_length() < key.public_key.bits - MARGIN:
            return plaintext
    return None


def received_parts(transcript: Transcript, contract: str) -> list[tuple[list[int], ReceiptPayload]]:
    """All parts that the computing party received under a contract, in order."""
    records = transcript.select(method="/Part", what=What.RESPONSE)
    return [part for part in map(part_of, records) if part[1].contract == contract]
