"""Writes down what every party receives: each message of each RPC as the bytes on the wire, and what denials carry.

gRPC itself is wrapped, below all of our own code: every channel that any party opens while `recording` is on. A message
is written down by its serialiser or before its deserialiser, so the bytes are those that TLS encrypted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import grpc
import pytest
from cryptography import x509

from parties.identity import certificate_from_pem


class What(Enum):
    """What a record holds."""

    REQUEST = "request"
    RESPONSE = "response"
    CODE = "code"
    DETAILS = "details"
    METADATA = "metadata"
    STATUS = "google.rpc.Status"
    ENTRY = "ledger entry"
    LOG = "log line"
    METRIC = "metric"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Received:
    """`data` as it reached `receiver`; `sender` is the receiver itself for its own ledger, log and metrics."""

    receiver: str
    sender: str
    method: str
    what: What
    data: bytes

    def __str__(self) -> str:
        return f"{self.what.value} {self.method} from {self.sender} to {self.receiver}"


@dataclass
class Transcript:
    """Everything that anybody received, in order."""

    records: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: Received) -> None:
        with self.lock:
            self.records.append(record)

    def keep(self, party: str, what: What, data: bytes) -> None:
        """Add something of a party's own: a ledger entry, a line of its log or of its metrics."""
        self.add(Received(party, party, "", what, data))

    def select(
        self, *, receiver: str = "", sender: str = "", method: str = "", what: What | None = None
    ) -> list[Received]:
        """The records with all of the given attributes, in order."""
        return [
            record
            for record in self.records
            if receiver in {"", record.receiver}
            and sender in {"", record.sender}
            and record.method.endswith(method)
            and what in {None, record.what}
        ]

    def tampered(self, change: Callable[[bytes], bytes], **which: Any) -> Transcript:
        """A copy in which `change` was done to the records that `select` finds; there must be one."""
        chosen = {id(record) for record in self.select(**which)}
        assert chosen
        return Transcript(
            [replace(record, data=change(record.data)) if id(record) in chosen else record for record in self.records]
        )


class _Call:
    """One method of a stub, unary or with a streamed answer, that writes down what a failed call brings."""

    def __init__(self, inner: Any, note: Callable[[What, bytes], None], *, streams: bool) -> None:
        self._inner = inner
        self._note = note
        self._streams = streams

    def __call__(self, request: Any, **options: Any) -> Any:
        if self._streams:
            return self._stream(request, options)
        try:
            response, call = self._inner.with_call(request, **options)
        except grpc.RpcError as error:
            self._failed(error)
            raise
        self._metadata(call)
        return response

    def _stream(self, request: Any, options: dict[str, Any]) -> Iterator[Any]:
        call = self._inner(request, **options)
        try:
            yield from call
        except grpc.RpcError as error:
            self._failed(error)
            raise
        self._metadata(call)

    def _failed(self, error: Any) -> None:
        self._note(What.CODE, error.code().name.encode())
        self._note(What.DETAILS, (error.details() or "").encode())
        self._metadata(error)

    def _metadata(self, call: Any) -> None:
        for name, value in [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]:
            data = value if isinstance(value, bytes) else value.encode()
            if name == "grpc-status-details-bin":
                self._note(What.STATUS, data)
            else:
                self._note(What.METADATA, name.encode() + b": " + data)


class _Channel:
    """A gRPC channel from `caller` to `server` that hands every byte on and writes it down."""

    def __init__(self, inner: grpc.Channel, caller: str, server: str, transcript: Transcript) -> None:
        self._inner = inner
        self._caller = caller
        self._server = server
        self._transcript = transcript

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **options: Any) -> _Call:
        inner = self._inner.unary_unary(
            method, *self._codec(method, request_serializer, response_deserializer), **options
        )
        return _Call(inner, self._to_caller(method), streams=False)

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, **options: Any) -> _Call:
        inner = self._inner.unary_stream(
            method, *self._codec(method, request_serializer, response_deserializer), **options
        )
        return _Call(inner, self._to_caller(method), streams=True)

    def close(self) -> None:
        self._inner.close()

    def _to_caller(self, method: str) -> Callable[[What, bytes], None]:
        return lambda what, data: self._transcript.add(Received(self._caller, self._server, method, what, data))

    def _codec(self, method: str, serialise: Any, deserialise: Any) -> tuple[Any, Any]:
        def request(message: Any) -> bytes:
            data: bytes = serialise(message)
            self._transcript.add(Received(self._server, self._caller, method, What.REQUEST, data))
            return data

        def response(data: bytes) -> Any:
            self._transcript.add(Received(self._caller, self._server, method, What.RESPONSE, data))
            return deserialise(data)

        return request, response


@contextmanager
def recording(transcript: Transcript) -> Iterator[None]:
    """Write down the traffic of all channels opened meanwhile. The caller is whom its TLS certificate names."""
    callers: dict[int, tuple[Any, str]] = {}  # the credentials are kept, so that their id stays theirs
    make_credentials, make_channel = grpc.ssl_channel_credentials, grpc.secure_channel

    def credentials(roots: bytes, key: bytes, certificate: bytes) -> Any:
        made = make_credentials(roots, key, certificate)
        callers[id(made)] = (made, _party(certificate))
        return made

    def channel(target: str, used: Any, options: Any = None) -> Any:
        server = dict(options)["grpc.ssl_target_name_override"].partition(".")[0]
        return _Channel(make_channel(target, used, options=options), callers[id(used)][1], server, transcript)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc, "ssl_channel_credentials", credentials)
        patch.setattr(grpc, "secure_channel", channel)
        yield


def _party(certificate: bytes) -> str:
    names = certificate_from_pem(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uri.rpartition("/")[2]
