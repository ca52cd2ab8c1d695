"""Signed messages: DSSE envelopes around canonical JSON bodies.

A signature covers the pre-authentication encoding of payload type and payload
(https://github.com/secure-systems-lab/dsse, protocol.md), so that bytes signed as one kind never pass for another.
The payload is kept, hashed and verified as received.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from audit.canonical import Fields, Json, JsonObject, body_header, canonicalise, to_base64
from audit.errors import BadSignatureError, MalformedError
from audit.hashes import hex_sha256
from audit.keys import KEYID_PATTERN, SIGNATURE_BYTES, SignatureAlgorithm, SigningKey, VerifyingKey

MAX_ENVELOPE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 64
_MAX_KEYID: Final = 264
_PAYLOAD_TYPE: Final = re.compile(r"application/vnd\.unseen\.([a-z][a-z0-9_]{0,40})\.v1\+json")


class PayloadType(StrEnum):
    """The kinds of signed body. The body's own "type" is the word between "unseen." and ".v1"."""

    DIRECTORY = "application/vnd.unseen.directory.v1+json"
    ENROLMENT = "application/vnd.unseen.enrolment.v1+json"
    ENROLMENT_BUNDLE = "application/vnd.unseen.enrolment_bundle.v1+json"
    KEY_ROTATION = "application/vnd.unseen.key_rotation.v1+json"
    CERTIFICATE_RENEWAL = "application/vnd.unseen.certificate_renewal.v1+json"
    DATASET = "application/vnd.unseen.dataset.v1+json"
    CONTRACT = "application/vnd.unseen.contract.v1+json"
    CONTRACT_ACTION = "application/vnd.unseen.contract_action.v1+json"
    CONTRACT_STATUS = "application/vnd.unseen.contract_status.v1+json"
    AGGREGATE_REQUEST = "application/vnd.unseen.aggregate_request.v1+json"
    OFFER = "application/vnd.unseen.offer.v1+json"
    ROSTER = "application/vnd.unseen.roster.v1+json"
    RECEIPT = "application/vnd.unseen.receipt.v1+json"
    DISCREPANCY = "application/vnd.unseen.discrepancy.v1+json"

    @property
    def kind(self) -> str:
        """The body's "type"."""
        return _kind_of(self)

    def header(self) -> JsonObject:
        """Type, version and hash algorithm, from which a body is built."""
        return body_header(self.kind)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: which key, by what algorithm, 64 bytes."""

    keyid: str
    algorithm: SignatureAlgorithm
    signature: bytes

    def to_json(self) -> JsonObject:
        """As it stands in an envelope."""
        return {"alg": self.algorithm.value, "keyid": self.keyid, "sig": to_base64(self.signature)}

    @classmethod
    def from_json(cls, obj: object) -> "Signature":
        """The inverse of `to_json`; raises `MalformedError`."""
        fields = obj if isinstance(obj, Fields) else Fields(obj, "signature")
        signature = cls(
            fields.text("keyid", max_length=_MAX_KEYID, pattern=KEYID_PATTERN),
            fields.choice("alg", SignatureAlgorithm),
            fields.base64("sig", max_bytes=SIGNATURE_BYTES, nbytes=SIGNATURE_BYTES),
        )
        fields.finish()
        return signature


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: `DSSEv1 SP len SP type SP len SP payload`, lengths in decimal bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and its signatures, at most 64, at most one a key, in order of their key identifiers.

    An envelope is well-formed, not verified: only `verify` says anything about who signed.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _kind_of(self.payload_type)
        keyids = [line.keyid for line in self.signatures]
        if keyids != sorted(set(keyids)):
            raise MalformedError("an envelope's signatures are one a key, in order of their key identifiers")
        if len(keyids) > MAX_SIGNATURES:
            raise MalformedError(f"an envelope of {len(keyids)} signatures, {MAX_SIGNATURES} allowed")

    @property
    def digest(self) -> str:
        """SHA-256 of the payload in hexadecimal: the identity of the signed document, whoever signs it."""
        return hex_sha256(self.payload)

    def sign(self, key: SigningKey) -> "Envelope":
        """This envelope with `key`'s signature added (or made again: Ed25519 is deterministic)."""
        made = Signature(
            key.verifying_key.keyid, SignatureAlgorithm.ED25519, key.sign(pae(self.payload_type, self.payload))
        )
        others = [line for line in self.signatures if line.keyid != made.keyid]
        return replace(self, signatures=_in_order([*others, made]))

    def verify(self, key: VerifyingKey) -> None:
        """Raise `BadSignatureError` unless this very key's signature is present and valid over the payload."""
        for line in self.signatures:
            if line.keyid == key.keyid:
                key.verify(pae(self.payload_type, self.payload), line.signature)
                return
        raise BadSignatureError(f"{key.keyid} has not signed this {_kind_of(self.payload_type)}")

    def signed_by(self, name: str) -> bool:
        """Whether a line by a key of that name is present. Says nothing about its validity: that is `verify`."""
        return any(line.keyid.rpartition("+")[0] == name for line in self.signatures)

    def merge(self, other: "Envelope") -> "Envelope":
        """The same payload with the signatures of both.

        Raises:
            MalformedError: another payload, or two different signatures under one key identifier (one of them is bad:
                verify before merging).
        """
        if (self.payload_type, self.payload) != (other.payload_type, other.payload):
            raise MalformedError("envelopes of two different payloads have no common signatures")
        lines = {line.keyid: line for line in self.signatures}
        for line in other.signatures:
            if lines.setdefault(line.keyid, line) != line:
                raise MalformedError(
                    f"two different signatures by {line.keyid} over the same payload: one is not its own"
                )
        return replace(self, signatures=_in_order(list(lines.values())))

    def body(self, payload_type: PayloadType, *, limit: int = MAX_ENVELOPE_BYTES) -> Fields:
        """The payload's fields, its type, version and hash algorithm taken and checked.

        Raises:
            MalformedError: the envelope is of another kind, or the payload is not canonical JSON of that kind.
        """
        if self.payload_type != payload_type:
            raise MalformedError(f"a {_kind_of(self.payload_type)} came where a {payload_type.kind} is wanted")
        return Fields.parse(self.payload, limit=limit, where=payload_type.kind).header(payload_type.kind)

    def to_json(self) -> JsonObject:
        """As it stands inside a ledger entry."""
        return {
            "payload": to_base64(self.payload),
            "payloadType": str(self.payload_type),
            "signatures": [line.to_json() for line in self.signatures],
        }

    @classmethod
    def from_json(cls, obj: object, *, limit: int = MAX_ENVELOPE_BYTES) -> "Envelope":
        """The inverse of `to_json`; `limit` bounds the payload. Raises `MalformedError`."""
        fields = obj if isinstance(obj, Fields) else Fields(obj, "envelope")
        envelope = cls(
            fields.text("payloadType", max_length=96, pattern=_PAYLOAD_TYPE),
            fields.base64("payload", max_bytes=limit),
            tuple(Signature.from_json(line) for line in fields.objects("signatures", max_items=MAX_SIGNATURES)),
        )
        fields.finish()
        return envelope

    def encode(self) -> bytes:
        """Canonical JSON, as it travels and is stored."""
        return canonicalise(self.to_json())

    @classmethod
    def decode(cls, data: bytes, *, limit: int = MAX_ENVELOPE_BYTES) -> "Envelope":
        """The envelope of `encode`'s bytes.

        Raises:
            LimitExceededError: more than `limit` bytes.
            MalformedError: anything that is not exactly the encoding of an envelope.
        """
        return cls.from_json(Fields.parse(data, limit=limit, where="envelope"), limit=limit)


def seal(body: Mapping[str, Json], payload_type: str, *keys: SigningKey) -> Envelope:
    """`body` as canonical JSON, signed by every key.

    Raises:
        MalformedError: the body's "type" is not that of the payload type, or it has no canonical form.
    """
    kind = _kind_of(payload_type)
    if body.get("type") != kind:
        raise MalformedError(f"a body of type {body.get('type')!r:.60} cannot be signed as {kind}")
    envelope = Envelope(str(payload_type), canonicalise(body), ())
    for key in keys:
        envelope = envelope.sign(key)
    return envelope


def _kind_of(payload_type: str) -> str:
    match = _PAYLOAD_TYPE.fullmatch(payload_type)
    if match is None:
        raise MalformedError(f"{payload_type!r:.100} is no payload type of this system")
    return match.group(1)


def _in_order(lines: list[Signature]) -> tuple[Signature, ...]:
    return tuple(sorted(lines, key=lambda line: line.keyid))
