"""The computing party's and the merchant's ways over gRPC: the sandbox's `Peers` and `Gateway` ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from unseen.v1 import compute_pb2, compute_pb2_grpc

from audit.clock import Clock
from audit.errors import StaleDirectoryError, UnknownPartyError
from parties import compute_messages as wire
from parties.channel import Dialler, Method
from parties.errors import EnrolmentError, NotFoundError, PeerCannotRecordError, RefusedByPeerError, RemoteError
from sandbox.errors import (
    AbortedRunError,
    ContractError,
    DenialReason,
    DeniedError,
    PeerMisbehavedError,
    PeerUnavailableError,
    StateTransitionError,
)
from sandbox.ports import AckResult, AnswerMessage, OfferMessage, PartMessage, PublicKeyBytes, SignedBytes

ABORT_MS: Final = 5_000
"""How long telling a peer that a run has ended may take; the peer's own deadline ends it otherwise."""

_STRAY: Final = (ContractError, StateTransitionError, NotFoundError, EnrolmentError, StaleDirectoryError)
"""What a party can claim has happened and no call of this service ends with. No caller is to fall over it."""
_RUNS: Final = (compute_pb2.AggregateRequest, compute_pb2.OfferRequest, compute_pb2.PartRequest)
"""The calls that may end with an aborted run."""

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Message = TypeVar("_Message")


class ComputeClient:
    """Calls other parties' compute services; implements both ports. Threads may share one."""

    def __init__(self, dialler: Dialler, clock: Clock) -> None:
        self._dialler = dialler
        self._clock = clock

    def offer(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> OfferMessage:
        """Forward the merchant's request as it is and return the peer's offer."""
        request = compute_pb2.OfferRequest(request=wire.signed_to_wire(signed), key=wire.key_to_wire(key))
        response = self._call_peer(party, lambda stub: stub.Offer, request, deadline_ms)
        return _read(party, wire.offer_from_wire, response)

    def part(self, party: str, call: str, offers: tuple[bytes, ...], roster: bytes, deadline_ms: int) -> PartMessage:
        """Hand over all offers and the roster; return the peer's part."""
        request = compute_pb2.PartRequest(request_id=call, offers=offers, roster=roster)
        response = self._call_peer(party, lambda stub: stub.Part, request, deadline_ms)
        return _read(party, wire.part_from_wire, response)

    def abort(self, party: str, call: str, reason: str) -> None:
        """Tell the peer that the run has ended without an answer."""
        request = compute_pb2.AbortRequest(request_id=call, reason=reason)
        self._call(party, lambda stub: stub.Abort, request, self._clock.now_ms() + ABORT_MS)

    def acknowledge(self, party: str, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        """Hand over receipts that the merchant has countersigned."""
        request = compute_pb2.AcknowledgeRequest(receipts=receipts)
        return _read(
            party, wire.acknowledged_from_wire, self._call(party, lambda stub: stub.Acknowledge, request, deadline_ms)
        )

    def aggregate(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> AnswerMessage:
        """Ask the computing party for one joint aggregate."""
        request = compute_pb2.AggregateRequest(request=wire.signed_to_wire(signed), key=wire.key_to_wire(key))
        return _read(party, wire.answer_from_wire, self._call(party, lambda stub: stub.Aggregate, request, deadline_ms))

    def answer(self, party: str, call: str, deadline_ms: int) -> AnswerMessage:
        """Fetch the stored answer of an earlier request."""
        request = compute_pb2.GetAnswerRequest(request_id=call)
        try:
            response = self._call(party, lambda stub: stub.GetAnswer, request, deadline_ms)
            return _read(party, wire.answer_from_wire, response.answer)
        except PeerMisbehavedError as error:
            raise PeerUnavailableError(party, f"it keeps no answer that can be read: {error.detail}") from error

    def _call_peer(
        self,
        party: str,
        method: Callable[[compute_pb2_grpc.ComputeServiceStub], Method[_Request, _Response]],
        request: _Request,
        deadline_ms: int,
    ) -> _Response:
        """Call on a merchant's behalf: a refusal is the peer's, which has recorded it, and not this party's own."""
        try:
            return self._call(party, method, request, deadline_ms)
        except DeniedError as error:
            raise RefusedByPeerError(party, error) from error

    def _call(
        self,
        party: str,
        method: Callable[[compute_pb2_grpc.ComputeServiceStub], Method[_Request, _Response]],
        request: _Request,
        deadline_ms: int,
    ) -> _Response:
        left_ms = deadline_ms - self._clock.now_ms()
        if left_ms <= 0:
            raise PeerUnavailableError(party, "the deadline passed before it could be asked")
        try:
            channel = self._dialler.dial(party)
            return channel.call(
                method(compute_pb2_grpc.ComputeServiceStub(channel.channel)), request, timeout_ms=left_ms
            )
        except RemoteError as error:
            raise PeerUnavailableError(party, f"it failed: {error.detail or error.code.name}") from error
        except UnknownPartyError as error:
            raise PeerUnavailableError(party, str(error)) from error
        except _STRAY as error:
            raise PeerUnavailableError(party, f"it failed: {error}") from error
        except AbortedRunError as error:
            if isinstance(request, _RUNS):
                raise
            raise PeerUnavailableError(party, f"it failed: {error}") from error
        except DeniedError as error:
            if error.reason is DenialReason.LEDGER_UNAVAILABLE:
                raise PeerCannotRecordError(party, "its ledger cannot record, so it releases nothing") from error
            raise


def _read(party: str, read: Callable[[_Response], _Message], response: _Response) -> _Message:
    """Read a peer's answer; what is malformed in it is the peer's fault, not a denial."""
    try:
        return read(response)
    except DeniedError as error:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, f"its answer is refused: {error.detail}") from error
