"""Takes messages apart down to their last field and holds two transcripts against each other.

Every byte is accounted for: a message must be what serialising its known fields gives, an envelope's payload and an
opening's value are decoded and taken apart in turn. A field is compared exactly unless it is listed in `RANDOM`, where
kind and length alone are compared. The total length of every message is compared too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from unseen.v1 import catalogue_pb2, compute_pb2, contract_pb2, directory_pb2, ledger_pb2, witness_pb2

from audit.envelope import Envelope
from audit.receipt import read_receipt
from protocols.paillier_key import PrivateKey
from tests.transcript.recorder import Received, Transcript, What

SERVICES: Final = (catalogue_pb2, compute_pb2, contract_pb2, directory_pb2, ledger_pb2, witness_pb2)
DETAILS: Final = (error_details_pb2,)
"""Imported so that their messages are in the descriptor pool."""

RANDOM: Final = (
    # Drawn afresh for every call, by merchant or provider.
    r"(payload|entry|entries\[\])\.nonce",
    r"(payload|entry|entries\[\])\.(merchant_nonce|provider_nonce)",
    r"openings\.[a-z_]+\.salt",
    r"OfferResponse\.salt",
    r"payload\.x25519",
    # Hashes and commitments over such: request ids, receipt ids, offers' digests, Merkle and chain hashes.
    r"request_id",
    r"(payload|entry|entries\[\])\.(call|receipt_id|chain)",
    r"payload\.offers\.[a-z]+",
    r"(payload|entry|entries\[\])\.commitments\.[a-z_]+",
    r"payload\.(response|released_statistic|dataset_content|withheld)",
    r"receipt_id",
    r"(recorded|pending)\[\]",
    r"(hashes|proof)\[\]",
    r"note\.(root|signature)",
    r"cosignatures\.signature",
    r"metadata\.call",
    # Signatures.
    r"(signatures\[\]|signature)\.sig",
    # Ciphertexts.
    r"(part|totals)\.data",
    # Times.
    r"(payload|entry|entries\[\])\.(at_ms|issued_at_ms|deadline_ms|merchant_clock_ms|provider_clock_ms)",
    r"log\.timestamp",
    r"metric\.[a-z_]+_created.*",
)
"""The fields of which kind and length alone are compared: patterns over the end of a field's path."""

_RANDOM: Final = re.compile(rf"(?:.*[./])?(?:{'|'.join(RANDOM)})")
_JSON: Final = re.compile(
    r".*\.(envelope|openings|offer|roster|receipt|entry|(envelopes|offers|receipts|entries)\[\d+\])"
)
"""The bytes fields that hold canonical JSON."""

_NAMES_OF_CALLS: Final = re.compile(r"\b(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64})\b")
"""Random ids inside of texts for people: a request id or its beginning, and a nonce."""

Leaf = str | int | bytes | bool
Shape = dict[str, Leaf]
"""Path of a field to its value."""


class LeakFoundError(AssertionError):
    """A transcript shows more than it may."""


def verify_same_views(one: Transcript, other: Transcript, key: PrivateKey | None = None) -> None:
    """Check that nobody can tell the two apart: same messages, lengths, clear fields and, with `key`, decrypted totals.

    `key` is the merchant's; with it the merchant's view includes what the totals decrypt to.
    Raises `LeakFoundError` naming the first difference.
    """
    differences = list(differing(one, other, key))
    if differences:
        raise LeakFoundError("; ".join(differences[:5]))


def differing(one: Transcript, other: Transcript, key: PrivateKey | None = None) -> Iterator[str]:
    """Yield every difference, as `<what> <field>`."""
    left, right = _streams(one), _streams(other)
    for stream in sorted({*left, *right}):
        records, others = left.get(stream, []), right.get(stream, [])
        if len(records) != len(others):
            yield f"{stream}: {len(records)} or {len(others)} records"
            continue
        for record, twin in zip(records, others, strict=True):
            yield from (f"{record}: {difference}" for difference in _compare(record, twin, key))


def _streams(transcript: Transcript) -> dict[str, list[Received]]:
    """Records by receiver, sender, method and kind: within one of these, order does not hang on threads."""
    streams: dict[str, list[Received]] = {}
    for record in transcript.records:
        streams.setdefault(str(record), []).append(record)
    return streams


def _compare(record: Received, twin: Received, key: PrivateKey | None) -> Iterator[str]:
    if record.what is not What.METRIC and len(record.data) != len(twin.data):
        yield f"{len(record.data)} or {len(twin.data)} bytes"
    left, right = shape(record), shape(twin)
    for path in sorted({*left, *right}):
        if path not in left or path not in right:
            yield f"{path} is there in one only"
        elif is_random(path):
            if _kind(left[path]) != _kind(right[path]):
                yield f"{path}: {_kind(left[path])} or {_kind(right[path])}"
        elif _without_ids(left[path]) != _without_ids(right[path]):
            yield f"{path}: {str(left[path])[:80]} or {str(right[path])[:80]}"
        if (
            key is not None
            and path.endswith("totals.data")
            and decrypted(left[path], key) != decrypted(right[path], key)
        ):
            yield f"{path}, decrypted"


def is_random(path: str) -> bool:
    """Whether the field is one of `RANDOM`."""
    return _RANDOM.fullmatch(re.sub(r"\[\d+\]", "[]", path)) is not None


def decrypted(data: Leaf, key: PrivateKey) -> list[int]:
    """Every ciphertext in `data`, under the merchant's key."""
    assert isinstance(data, bytes)
    width = key.public_key.ciphertext_width
    assert len(data) % width == 0
    return [key.decrypt_raw(int.from_bytes(data[at : at + width], "big")) for at in range(0, len(data), width)]


def _kind(value: Leaf) -> tuple[str, int]:
    return type(value).__name__, len(value if isinstance(value, bytes) else str(value))


def _without_ids(value: Leaf) -> Leaf:
    return (
        _NAMES_OF_CALLS.sub(lambda found: "#" * len(found[0]), value)
        if isinstance(value, str) and " " in value
        else value
    )


# -- taking apart ------------------------------------------------------------------------------------------------


def shape(record: Received) -> Shape:
    """Every field of a record."""
    match record.what:
        case What.REQUEST | What.RESPONSE:
            message = _parsed(record.data, _message_class(record.method, record.what))
            if isinstance(message, compute_pb2.AcknowledgeRequest):
                # They travel in the order of their ids, which are random.
                message.receipts.sort(key=lambda data: read_receipt(Envelope.decode(data)).provider)
            return dict(_message(message, message.DESCRIPTOR.name))
        case What.STATUS:
            return dict(_message(_parsed(record.data, status_pb2.Status), "Status"))
        case What.ENTRY:
            return dict(_json(json.loads(record.data), "entry"))
        case What.LOG:
            return dict(_json(json.loads(record.data), "log"))
        case What.METRIC:
            return dict(_metric(line) for line in record.data.decode().splitlines())
        case _:
            return {record.what.value: record.data.decode()}


def _metric(line: str) -> tuple[str, Leaf]:
    name, _, value = line.rpartition(" ")
    if name == "unseen_witness_silence_seconds":
        return f"metric.{name}", 0  # how long ago the party was opened, of any number of digits
    created = "_created" in name and not name.startswith("#")  # a time in seconds, of any number of decimals
    return f"metric.{name}", int(float(value)) if created else value


@cache
def _message_class(method: str, what: What) -> type[Message]:
    service, _, name = method.strip("/").partition("/")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    return message_factory.GetMessageClass(found.input_type if what is What.REQUEST else found.output_type)


def _parsed(data: bytes, kind: type[Message]) -> Message:
    message = kind.FromString(data)
    twin = kind.FromString(data)
    twin.DiscardUnknownFields()
    if twin.ByteSize() != len(data):
        raise LeakFoundError(f"{kind.DESCRIPTOR.name}: {len(data) - twin.ByteSize()} bytes in no known field")
    return message


def _message(message: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        inner = _any(message)
        yield from _message(inner, f"{path}.{inner.DESCRIPTOR.name}")
        return
    for field, value in message.ListFields():
        name = f"{path}.{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from ((f"{name}.{key}", value[key]) for key in value)
        elif isinstance(value, (str, bytes, int)):
            yield from _leaf(value, name)
        elif isinstance(value, Message):
            yield from _message(value, name)
        else:
            for index, item in enumerate(value):
                yield from (_message if isinstance(item, Message) else _leaf)(item, f"{name}[{index}]")


def _any(message: Any) -> Message:
    kind = descriptor_pool.Default().FindMessageTypeByName(message.TypeName())
    return _parsed(message.value, message_factory.GetMessageClass(kind))


def _leaf(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    if _JSON.fullmatch(path):
        yield from _json(json.loads(value), path)
    elif path.endswith(".note"):
        yield from _note(value.decode(), path)
    elif path.endswith(".cosignatures"):
        yield from _signatures(value.decode(), path)
    else:
        yield path, value


def _json(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, dict):
        for name, item in value.items():
            # An envelope's payload and an opening's value are canonical JSON in base64.
            nested = name == "payload" or (name == "value" and ".openings." in path)
            yield from _json(json.loads(base64.b64decode(item)) if nested else item, f"{path}.{name}")
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        for index, item in enumerate(value):
            yield from _json(item, f"{path}[{index}]")
    else:
        yield path, value


def _note(text: str, path: str) -> Iterator[tuple[str, Leaf]]:
    body, _, signatures = text.partition("\n\n")
    origin, size, root, *rest = body.splitlines()
    yield f"{path}.origin", origin
    yield f"{path}.size", size
    yield f"{path}.root", root
    yield f"{path}.extensions", "\n".join(rest)
    yield from _signatures(signatures, path)


def _signatures(signatures: str, path: str) -> Iterator[tuple[str, Leaf]]:
    for index, line in enumerate(signatures.splitlines()):
        dash, name, signature = line.split(" ")
        yield f"{path}.signer[{index}]", f"{dash} {name}"
        yield f"{path}.signature", signature
