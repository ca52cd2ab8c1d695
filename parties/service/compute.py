"""The compute service: bounded reading, the caller's identity and deadline, and on to the provider's compute room."""

# ruff: noqa: N802  (gRPC calls the methods by their names on the wire)

from __future__ import annotations

import grpc
from unseen.v1 import compute_pb2, compute_pb2_grpc

from audit.envelope import MAX_ENVELOPE_BYTES
from parties import compute_messages as wire
from parties.provider_compute import ComputeRoom
from parties.service.edge import Edge
from sandbox.request import MAX_PARTICIPANTS
from sandbox.roster import MAX_OFFER_BYTES, MAX_ROSTER_BYTES


class ComputeService(compute_pb2_grpc.ComputeServiceServicer):
    """Who may call what is decided behind it: merchants ask and acknowledge, the computing party offers and parts."""

    def __init__(self, room: ComputeRoom, edge: Edge) -> None:
        self._room = room
        self._edge = edge

    def Aggregate(
        self, request: compute_pb2.AggregateRequest, context: grpc.ServicerContext
    ) -> compute_pb2.AggregateResponse:
        """Run one joint aggregate for the contract's merchant."""
        with self._edge.serving(context) as caller:
            signed, key = wire.signed_from_wire(request.request), wire.key_from_wire(request.key)
            return wire.answer_to_wire(self._room.aggregate(signed, key, caller))

    def Offer(self, request: compute_pb2.OfferRequest, context: grpc.ServicerContext) -> compute_pb2.OfferResponse:
        """Admit the merchant's request, forwarded by the computing party, and fix this provider's cells."""
        with self._edge.serving(context) as caller:
            signed, key = wire.signed_from_wire(request.request), wire.key_from_wire(request.key)
            return wire.offer_to_wire(self._room.offer(signed, key, caller))

    def Part(self, request: compute_pb2.PartRequest, context: grpc.ServicerContext) -> compute_pb2.PartResponse:
        """Give this provider's part for one roster."""
        with self._edge.serving(context) as caller:
            caller.call = wire.digest("request_id", request.request_id)
            offers = wire.several("offers", request.offers, MAX_PARTICIPANTS, MAX_OFFER_BYTES)
            roster = wire.bounded("roster", request.roster, MAX_ROSTER_BYTES)
            return wire.part_to_wire(self._room.part(caller.call, offers, roster, caller))

    def Abort(self, request: compute_pb2.AbortRequest, context: grpc.ServicerContext) -> compute_pb2.AbortResponse:
        """End a run without an answer."""
        with self._edge.serving(context) as caller:
            caller.call = wire.digest("request_id", request.request_id)
            self._room.abort(caller.call, request.reason[: wire.MAX_REASON_LENGTH], caller)
            return compute_pb2.AbortResponse()

    def GetAnswer(
        self, request: compute_pb2.GetAnswerRequest, context: grpc.ServicerContext
    ) -> compute_pb2.GetAnswerResponse:
        """Return the stored answer to the merchant that asked."""
        with self._edge.serving(context) as caller:
            caller.call = wire.digest("request_id", request.request_id)
            return compute_pb2.GetAnswerResponse(answer=wire.answer_to_wire(self._room.answer(caller.call, caller)))

    def Acknowledge(
        self, request: compute_pb2.AcknowledgeRequest, context: grpc.ServicerContext
    ) -> compute_pb2.AcknowledgeResponse:
        """Record countersigned receipts, this provider's own and those it forwards to its peers."""
        with self._edge.serving(context) as caller:
            receipts = wire.several("receipts", request.receipts, wire.MAX_RECEIPTS, MAX_ENVELOPE_BYTES)
            return wire.acknowledged_to_wire(self._room.acknowledge(receipts, caller))
