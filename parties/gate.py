"""The gate before every service: identity, deadline, decoding, and the one place where exceptions become statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from audit.errors import MalformedError
from parties.channel import DIRECTORY_VERSION
from parties.config import Limits
from parties.errors import is_expected, rich_status
from parties.identity import claimed_identity, peer_identity
from parties.telemetry import Logger, Metrics
from sandbox.errors import DenialReason, DeniedError, SourceError
from sandbox.ports import CurrentDirectory

IDLE_SECONDS: Final = 300
"""gRPC closes a connection that has carried no call for so long."""

DeniedHook = Callable[[DeniedError, str], None]
"""Records a refusal at the gate; the text is the SPIFFE ID that the caller's certificate claims, or empty."""

Behaviour = Callable[[Any, grpc.ServicerContext], Any]
Decode = Callable[[bytes], Any] | None


class Gate(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs alone
    """Wraps every handler, so that services raise our exceptions and never touch a status.

    In this order: the caller must be a party of the directory (UNKNOWN_PARTY, WRONG_ROLE), and one that goes by a newer
    directory has this party ask for it too, so that keys just rotated or revoked count at once; the call must carry a
    deadline of at most `limits.deadline_max_ms` (DEADLINE_MISSING), its message must decode (MALFORMED). An exception
    that the table of `parties.errors` does not know is logged with its trace and answered INTERNAL without a word.
    """

    def __init__(self, limits: Limits, directory: CurrentDirectory, metrics: Metrics, logger: Logger) -> None:
        self._limits = limits
        self._directory = directory
        self._metrics = metrics
        self._logger = logger
        self.denied: DeniedHook | None = None
        self.look_again: CurrentDirectory | None = None

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler inside the gate; None (UNIMPLEMENTED) if there is no such method."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        # Every request is taken as a stream, which on the wire is the same. Else gRPC would wait for a unary request
        # before the gate hears of the call: strangers could begin calls, send nothing and hold every thread for good.
        # And it is decoded inside the gate: gRPC would answer undecodable bytes with INTERNAL.
        decode = None if handler.request_streaming else handler.request_deserializer
        stages = (method, decode, handler.request_streaming)
        raw = handler.request_deserializer if handler.request_streaming else None
        encode = handler.response_serializer
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(self._streaming(behaviour, *stages), raw, encode)
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return grpc.stream_unary_rpc_method_handler(self._unary(behaviour, *stages), raw, encode)

    def _unary(self, behaviour: Behaviour | None, method: str, decode: Decode, streams: bool) -> Behaviour:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            assert behaviour is not None
            try:
                self._admit(context)
                response = behaviour(requests if streams else _received(requests, decode), context)
            except Exception as error:  # noqa: BLE001  (the process boundary: translated, logged, and the call fails)
                self._refuse(error, method, context)
            self._metrics.calls.labels(method, grpc.StatusCode.OK.name).inc()
            return response

        return answer

    def _streaming(self, behaviour: Behaviour | None, method: str, decode: Decode, streams: bool) -> Behaviour:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            assert behaviour is not None
            try:
                self._admit(context)
                yield from behaviour(requests if streams else _received(requests, decode), context)
            except Exception as error:  # noqa: BLE001  (the process boundary: translated, logged, and the call fails)
                self._refuse(error, method, context)
            self._metrics.calls.labels(method, grpc.StatusCode.OK.name).inc()

        return answer

    def _admit(self, context: grpc.ServicerContext) -> None:
        self._metrics.handshakes.called(context.peer(), IDLE_SECONDS)
        try:
            self._identify(context)
            self._check_deadline(context)
        except DeniedError as error:
            if self.denied is not None:
                self.denied(error, claimed_identity(context))
            raise

    def _identify(self, context: grpc.ServicerContext) -> None:
        try:
            peer_identity(context, self._directory())
        except DeniedError:
            if self.look_again is None:
                raise
            peer_identity(context, self.look_again())
        else:
            if self.look_again is not None and _callers_version(context) > self._directory().version:
                peer_identity(context, self.look_again())

    def _check_deadline(self, context: grpc.ServicerContext) -> None:
        remaining = context.time_remaining()  # gRPC gives a call without a deadline some 9e18 seconds
        if remaining is None or remaining * 1000 > self._limits.deadline_max_ms:
            limit = self._limits.deadline_max_ms // 1000
            detail = f"every call carries a deadline of at most {limit} s, so that no caller waits for ever; set one"
            raise DeniedError(DenialReason.DEADLINE_MISSING, "deadline", detail)

    def _refuse(self, error: Exception, method: str, context: grpc.ServicerContext) -> NoReturn:
        status = rich_status(error)
        code = rpc_status.to_status(status).code
        self._metrics.calls.labels(method, code.name).inc()
        if isinstance(error, DeniedError):
            self._metrics.denials.labels(error.reason.value).inc()
            self._logger.info("denied", method=method, reason=error.reason.value, clause=error.clause)
        elif is_expected(error):
            # What a provider's data did is told to its operator alone; sources never quote rows in what they raise.
            told = {"cause": str(error.__cause__)} if isinstance(error.__cause__, SourceError) else {}
            self._logger.info("refused", method=method, code=code.name, error=type(error).__name__, **told)
        else:
            self._logger.error("a call failed", method=method, exc_info=error)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort_with_status raises")


def _callers_version(context: grpc.ServicerContext) -> int:
    """The version of the directory that the caller says it goes by; 0 where it says none, or no version."""
    said = next((value for key, value in context.invocation_metadata() if key == DIRECTORY_VERSION), "")
    # A claim costs one question to the regulator in `LOOK_SECONDS`, no more; 2**53 bounds every version.
    return int(said) if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) <= 16 else 0


def _received(requests: Iterator[bytes], decode: Decode) -> Any:
    """The one message of a unary request, decoded."""
    try:
        data = next(requests, None)
    except grpc.RpcError as error:
        raise MalformedError("the call ended before its message had come") from error
    if data is None:
        raise MalformedError("the call brought no message")
    try:
        return data if decode is None else decode(data)
    except DecodeError as error:
        raise MalformedError(
            "the message is no protobuf message of this method; do both sides run one release?"
        ) from error
