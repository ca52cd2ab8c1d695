"""Requests made by hand, and refusals read as they come over the wire: what an attacker with a certificate can send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from unseen.v1 import compute_pb2, compute_pb2_grpc

from audit.canonical import Json, canonicalise
from audit.commitment import Opening, commit_openings, encode_openings
from audit.keys import KeyPurpose, SigningKey
from parties.channel import PeerChannel
from parties.entropy import SystemEntropy
from protocols.paillier_key import PublicKey
from sandbox.request import (
    AggregateQuery,
    AggregateRequest,
    RequestTerms,
    Statistic,
    StatisticKind,
    build_request,
    sign_request,
)

from .town import BUREAUS, CLOCK, COMPUTING_PARTY, MERCHANT, Town

COUNT = AggregateQuery((Statistic(StatisticKind.COUNT, None),), (), ())
SECONDS = 20
Change = Callable[[AggregateRequest], AggregateRequest]


@dataclass(frozen=True)
class Refusal:
    """A gRPC status with its rich details."""

    code: grpc.StatusCode
    reason: str = ""
    clause: str = ""
    check: int = 0
    left: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    quota_violations: tuple[str, ...] = ()
    field_violations: tuple[str, ...] = ()
    text: str = ""


def refusal(attempt: Callable[[], object]) -> Refusal:
    """The refusal that an attempt runs into; the test fails if it runs into none."""
    with pytest.raises(grpc.RpcError) as caught:
        attempt()
    call: Any = caught.value
    found: dict[str, Any] = {"code": call.code(), "text": call.details() or ""}
    status = rpc_status.from_call(call)
    for detail in status.details if status is not None else ():
        info, quota = error_details_pb2.ErrorInfo(), error_details_pb2.QuotaFailure()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            metadata = dict(info.metadata)
            left = {key.removeprefix("left."): value for key, value in metadata.items() if key.startswith("left.")}
            found |= {"reason": info.reason, "clause": metadata.get("clause", ""), "metadata": metadata, "left": left}
            found["check"] = int(metadata.get("check", "0"))
        elif detail.Unpack(quota):
            found["quota_violations"] = tuple(violation.subject for violation in quota.violations)
        elif detail.Unpack(bad):
            found["field_violations"] = tuple(violation.field for violation in bad.field_violations)
    return Refusal(**found)


def terms(contract: str, **changes: Any) -> RequestTerms:
    now_ms = CLOCK.now_ms()
    usual: dict[str, Any] = {
        "contract": contract,
        "merchant": MERCHANT,
        "participants": BUREAUS,
        "computing_party": COMPUTING_PARTY,
        "attempt": 1,
        "issued_at_ms": now_ms,
        "deadline_ms": now_ms + SECONDS * 1000,
    }
    return RequestTerms(**(usual | changes))


def signed(
    town: Town,
    contract: str,
    *,
    change: Change | None = None,
    signer: SigningKey | None = None,
    query: AggregateQuery = COUNT,
    **changes: Any,
) -> compute_pb2.SignedRequest:
    """A request of the merchant's, changed before (or wrongly) signed."""
    purpose = town.merchant.contract(contract).contract.purpose
    key = town.merchant.paillier_key.public_key
    request, openings = build_request(terms(contract, **changes), query, purpose, key, SystemEntropy())
    own = signer or town.home(MERCHANT).signing_key(KeyPurpose.MESSAGE)
    envelope = sign_request(change(request) if change else request, own)
    return compute_pb2.SignedRequest(envelope=envelope.encode(), openings=encode_openings(openings))


def signed_fields(town: Town, contract: str, fields: Mapping[str, Json]) -> compute_pb2.SignedRequest:
    """A rightly signed request over query fields that our own client would refuse to write."""
    purpose = town.merchant.contract(contract).contract.purpose
    key = town.merchant.paillier_key.public_key
    request, openings = build_request(terms(contract), COUNT, purpose, key, SystemEntropy())
    for name, value in fields.items():
        openings[name] = Opening(openings[name].salt, canonicalise(value))
    request = replace(request, commitments=commit_openings(openings))
    envelope = sign_request(request, town.home(MERCHANT).signing_key(KeyPurpose.MESSAGE))
    return compute_pb2.SignedRequest(envelope=envelope.encode(), openings=encode_openings(openings))


def paillier(key: PublicKey) -> compute_pb2.PaillierPublicKey:
    return compute_pb2.PaillierPublicKey(modulus=key.modulus_bytes, scheme=key.scheme.value)


def ask(town: Town, request: compute_pb2.SignedRequest, *, party: str = COMPUTING_PARTY, key: PublicKey | None = None):
    """Send a request straight to a party, with the merchant's certificate."""
    public = paillier(key or town.merchant.paillier_key.public_key)
    message = compute_pb2.AggregateRequest(request=request, key=public)
    return compute(town.channel(MERCHANT, party)).Aggregate(message, timeout=SECONDS)


def forward(town: Town, request: compute_pb2.SignedRequest, *, by: str, to: str, key: PublicKey | None = None):
    """Forward a request to a peer, with the certificate of `by`."""
    public = paillier(key or town.merchant.paillier_key.public_key)
    message = compute_pb2.OfferRequest(request=request, key=public)
    return compute(town.channel(by, to)).Offer(message, timeout=SECONDS)


def compute(channel: PeerChannel) -> compute_pb2_grpc.ComputeServiceStub:
    return compute_pb2_grpc.ComputeServiceStub(channel.channel)
