"""The compute service's messages, between protobuf and the sandbox's frozen messages of bytes, both ways.

Reading is bounded: each field's length is checked before anything parses it. Nothing here verifies a signature; the
bytes go on exactly as they came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from unseen.v1 import compute_pb2

from audit.envelope import MAX_ENVELOPE_BYTES
from sandbox.errors import DenialReason, DeniedError
from sandbox.ports import AckResult, AnswerMessage, OfferMessage, PartMessage, PublicKeyBytes, SignedBytes
from sandbox.request import MAX_CELLS, MAX_OPENINGS_BYTES, MAX_PARTICIPANTS, MAX_REQUEST_BYTES
from sandbox.roster import MAX_OFFER_BYTES, MAX_ROSTER_BYTES, SALT_BYTES

MAX_MODULUS_BYTES: Final = 2048
"""A Paillier modulus of 16,384 bits."""
MAX_SCHEME_LENGTH: Final = 40
MAX_RECEIPTS: Final = 256
"""Receipts in one acknowledgement; whoever has more sends them in several."""
MAX_REASON_LENGTH: Final = 500
MAX_BITMAP_BYTES: Final = (MAX_CELLS + 7) // 8
MAX_CIPHERTEXT_BYTES: Final = 2 * MAX_MODULUS_BYTES

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def signed_from_wire(request: compute_pb2.SignedRequest) -> SignedBytes:
    """Read a signed request; raises DeniedError(TOO_LARGE)."""
    return SignedBytes(
        bounded("request.envelope", request.envelope, MAX_REQUEST_BYTES),
        bounded("request.openings", request.openings, MAX_OPENINGS_BYTES),
    )


def signed_to_wire(signed: SignedBytes) -> compute_pb2.SignedRequest:
    """Write a signed request."""
    return compute_pb2.SignedRequest(envelope=signed.envelope, openings=signed.openings)


def key_from_wire(key: compute_pb2.PaillierPublicKey) -> PublicKeyBytes:
    """Read a public key; raises DeniedError(TOO_LARGE)."""
    if len(key.scheme) > MAX_SCHEME_LENGTH:
        raise DeniedError(
            DenialReason.TOO_LARGE, "key.scheme", f"a scheme's name has at most {MAX_SCHEME_LENGTH} characters"
        )
    return PublicKeyBytes(bounded("key.modulus", key.modulus, MAX_MODULUS_BYTES), key.scheme)


def key_to_wire(key: PublicKeyBytes) -> compute_pb2.PaillierPublicKey:
    """Write a public key."""
    return compute_pb2.PaillierPublicKey(modulus=key.modulus, scheme=key.scheme)


def offer_from_wire(response: compute_pb2.OfferResponse) -> OfferMessage:
    """Read a peer's offer; raises DeniedError(TOO_LARGE or MALFORMED)."""
    if len(response.salt) != SALT_BYTES:
        raise DeniedError(DenialReason.MALFORMED, "salt", f"a salt has {SALT_BYTES} bytes")
    return OfferMessage(
        bounded("offer", response.offer, MAX_OFFER_BYTES),
        bounded("withheld", response.withheld, MAX_BITMAP_BYTES),
        bounded("refused", response.refused, MAX_BITMAP_BYTES),
        response.salt,
    )


def offer_to_wire(offer: OfferMessage) -> compute_pb2.OfferResponse:
    """Write an offer."""
    return compute_pb2.OfferResponse(offer=offer.offer, withheld=offer.withheld, refused=offer.refused, salt=offer.salt)


def part_from_wire(response: compute_pb2.PartResponse) -> PartMessage:
    """Read a peer's part; raises DeniedError(TOO_LARGE or MALFORMED)."""
    return PartMessage(
        _width(response.part), response.part.data, bounded("receipt", response.receipt, MAX_ENVELOPE_BYTES)
    )


def part_to_wire(part: PartMessage) -> compute_pb2.PartResponse:
    """Write a part."""
    return compute_pb2.PartResponse(
        part=compute_pb2.CiphertextVector(width=part.width, data=part.part), receipt=part.receipt
    )


def answer_from_wire(response: compute_pb2.AggregateResponse) -> AnswerMessage:
    """Read an answer; raises DeniedError(TOO_LARGE or MALFORMED)."""
    return AnswerMessage(
        call=digest("request_id", response.request_id),
        width=_width(response.totals),
        totals=response.totals.data,
        contributors=bounded("contributors", response.contributors, MAX_CELLS),
        receipts=several("receipts", response.receipts, MAX_PARTICIPANTS, MAX_ENVELOPE_BYTES),
        roster=bounded("roster", response.roster, MAX_ROSTER_BYTES),
    )


def answer_to_wire(answer: AnswerMessage) -> compute_pb2.AggregateResponse:
    """Write an answer."""
    return compute_pb2.AggregateResponse(
        request_id=answer.call,
        totals=compute_pb2.CiphertextVector(width=answer.width, data=answer.totals),
        contributors=answer.contributors,
        receipts=answer.receipts,
        roster=answer.roster,
    )


def acknowledged_from_wire(response: compute_pb2.AcknowledgeResponse) -> AckResult:
    """Read which receipts were recorded; raises DeniedError(TOO_LARGE or MALFORMED)."""
    if len(response.recorded) + len(response.pending) > MAX_RECEIPTS:
        raise DeniedError(DenialReason.TOO_LARGE, "recorded", f"more than {MAX_RECEIPTS} receipt ids")
    return AckResult(
        tuple(digest("recorded", identifier) for identifier in response.recorded),
        tuple(digest("pending", identifier) for identifier in response.pending),
    )


def acknowledged_to_wire(result: AckResult) -> compute_pb2.AcknowledgeResponse:
    """Write which receipts were recorded."""
    return compute_pb2.AcknowledgeResponse(recorded=result.recorded, pending=result.pending)


def digest(field: str, value: str) -> str:
    """Return `value` if it is a SHA-256 in lowercase hex; raises DeniedError(MALFORMED)."""
    if _DIGEST.fullmatch(value) is None:
        raise DeniedError(DenialReason.MALFORMED, field, f"{field} is a SHA-256 in lowercase hex")
    return value


def bounded(field: str, value: bytes, limit: int) -> bytes:
    """Return `value` if it has at most `limit` bytes; raises DeniedError(TOO_LARGE)."""
    if len(value) > limit:
        raise DeniedError(DenialReason.TOO_LARGE, field, f"{field} has {len(value)} bytes, {limit} are allowed")
    return value


def several(field: str, values: Sequence[bytes], count: int, limit: int) -> tuple[bytes, ...]:
    """Return `values` if they are at most `count`, of at most `limit` bytes each; raises DeniedError(TOO_LARGE)."""
    if len(values) > count:
        raise DeniedError(DenialReason.TOO_LARGE, field, f"{field} has {len(values)} items, {count} are allowed")
    return tuple(bounded(field, value, limit) for value in values)


def _width(vector: compute_pb2.CiphertextVector) -> int:
    if not 1 <= vector.width <= MAX_CIPHERTEXT_BYTES or len(vector.data) % vector.width:
        raise DeniedError(
            DenialReason.MALFORMED,
            "ciphertexts.width",
            f"the vector's {len(vector.data)} bytes are no whole number of ciphertexts of {vector.width} bytes",
        )
    return vector.width
