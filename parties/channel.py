"""Dialling other parties: mutual TLS, the name from the directory, a deadline on every call, and errors that say who.

A failed handshake reaches a gRPC client as "unavailable". To say whose certificate was refused, the connection is tried
once more with Python's own TLS, which tells its side of the story.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import grpc

from audit.directory import PartyRecord
from parties.config import Limits
from parties.errors import CertificateRefusedError, Culprit, from_rpc_error
from parties.home import Home, TlsMaterial
from parties.tls_pair import load_pair
from sandbox.errors import PeerUnavailableError
from sandbox.ports import CurrentDirectory

PROBE_SECONDS: Final = 3.0
DIRECTORY_VERSION: Final = "unseen-directory"
"""The metadata key under which a caller says which version of the party directory it goes by; see `Gate`."""
_HTTP2_OPENING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""RFC 9113, section 3.4: the client's preface and an empty SETTINGS frame; a server answers it with its own."""

Request = TypeVar("Request")
Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)
Request_contra = TypeVar("Request_contra", contravariant=True)


class Method(Protocol[Request_contra, Response_co]):
    """A generated stub's method, unary or streaming; gRPC's stubs type them as differing classes."""

    def __call__(
        self,
        request: Request_contra,
        /,
        *,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str | bytes], ...] | None = None,
    ) -> Response_co:
        """Send `request`; give up after `timeout` seconds."""
        ...


class PeerChannel:
    """An open way to one party. Threads may share one; it connects at the first call and again whenever needed.

    Every call says which version of `directory` the caller goes by.
    """

    def __init__(
        self,
        record: PartyRecord,
        endpoint: str,
        tls: TlsMaterial,
        limits: Limits,
        directory: CurrentDirectory,
        *,
        proxy: bool,
    ) -> None:
        self.party = record.name
        self._directory = directory
        self.endpoint = endpoint
        self._dns_name = record.dns_name
        self._tls = tls
        self._limits = limits
        credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
        options = [
            ("grpc.ssl_target_name_override", record.dns_name),
            ("grpc.enable_http_proxy", int(proxy)),
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", limits.message_bytes),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.enable_retries", 0),  # a request is never sent twice behind our back
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        self.channel = grpc.secure_channel(endpoint, credentials, options=options)
        self._answered = False

    def call(self, method: Method[Request, Response], request: Request, *, timeout_ms: int | None = None) -> Response:
        """Call a unary method of a stub on `self.channel`, with the default deadline unless `timeout_ms` is given.

        Raises:
            PeerUnavailableError: the party is down, or silent until the deadline.
            CertificateRefusedError: one side refused the other's certificate.
            DeniedError and others: what the party answered, as `parties.errors.from_rpc_error` reads it.
            StaleDirectoryError: the directory that `Dialler.dial` found this party in has expired since.
        """
        seconds, version = self._seconds(timeout_ms), self._version()
        end = time.monotonic() + seconds
        try:
            response = method(request, timeout=seconds, metadata=version)
        except grpc.RpcError as error:
            raise self._explained(error, end) from error
        self._answered = True
        return response

    def stream(
        self, method: Method[Request, Iterator[Response]], request: Request, *, timeout_ms: int | None = None
    ) -> Iterator[Response]:
        """Call a method that streams its answer; the deadline is for the whole stream; errors as for `call`."""
        seconds, version = self._seconds(timeout_ms), self._version()
        end = time.monotonic() + seconds
        try:
            yield from method(request, timeout=seconds, metadata=version)
        except grpc.RpcError as error:
            raise self._explained(error, end) from error

    def _version(self) -> tuple[tuple[str, str | bytes], ...]:
        return ((DIRECTORY_VERSION, str(self._directory().version)),)

    def _seconds(self, timeout_ms: int | None) -> float:
        wanted = self._limits.deadline_default_ms if timeout_ms is None else timeout_ms
        return max(1, min(wanted, self._limits.deadline_max_ms)) / 1000

    def _explained(self, error: grpc.RpcError, end: float) -> Exception:
        explained = from_rpc_error(self.party, error)
        left = min(PROBE_SECONDS, end - time.monotonic())
        if type(explained) is PeerUnavailableError and explained.party == self.party and left > 0:
            refused = diagnose(self.party, self.endpoint, self._dns_name, self._tls, seconds=left)
            # A server that hangs up has refused our certificate, or has just gone: after an answer it is the latter.
            if refused is not None and not (self._answered and refused.culprit is Culprit.OURS):
                return refused
        return explained

    def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self.channel.close()


@dataclass(frozen=True, slots=True)
class _Dialled:
    key: tuple[str, str, tuple[int, ...]]
    channel: PeerChannel


class Dialler:
    """Opens and keeps one channel a party, at the endpoint that the current directory gives. Threads may share one."""

    def __init__(self, home: Home, directory: CurrentDirectory) -> None:
        self._home = home
        self._directory = directory
        self._lock = threading.Lock()
        self._open: dict[str, _Dialled] = {}
        self._replaced: list[tuple[float, PeerChannel]] = []

    def dial(self, party: str) -> PeerChannel:
        """Return the channel to `party`.

        Raises:
            UnknownPartyError: the directory does not list it.
            PeerUnavailableError: it does not listen.
            HomeError, PassphraseError: this party's own certificate or key cannot be read.
        """
        record = self._directory().party(party)
        if not record.endpoint:
            raise PeerUnavailableError(party, "the directory gives no endpoint for it: it only dials out")
        return self._channel(record, record.endpoint)

    def dial_at(self, party: str, endpoint: str) -> PeerChannel:
        """Return a channel to `party` at another endpoint than the directory's, such as this party's own socket."""
        return self._channel(self._directory().party(party), endpoint)

    def _channel(self, record: PartyRecord, endpoint: str) -> PeerChannel:
        key = (endpoint, record.dns_name, self._home.tls_stamp())
        with self._lock:
            known = self._open.get(record.name)
            if known is not None and known.key == key:
                return known.channel
            config = self._home.config
            tls, proxy = self._home.tls(), config.network.http_proxy
            channel = PeerChannel(record, endpoint, tls, config.limits, self._directory, proxy=proxy)
            self._open[record.name] = _Dialled(key, channel)
            if known is not None:
                self._replace(known.channel, config.limits.deadline_max_ms / 1000)
            return channel

    def _replace(self, channel: PeerChannel, seconds: float) -> None:
        """Close a channel later: a renewed certificate ends no call of another thread, and no call lasts longer."""
        now = time.monotonic()
        for _, earlier in (item for item in self._replaced if item[0] < now):
            earlier.close()
        self._replaced = [item for item in self._replaced if item[0] >= now]
        self._replaced.append((now + seconds, channel))

    def close(self) -> None:
        """Close all channels."""
        with self._lock:
            for channel in [*(dialled.channel for dialled in self._open.values()), *(old for _, old in self._replaced)]:
                channel.close()
            self._open.clear()
            self._replaced.clear()


def diagnose(
    party: str, endpoint: str, dns_name: str, tls: TlsMaterial, *, seconds: float = PROBE_SECONDS
) -> CertificateRefusedError | None:
    """Try a TLS handshake for at most `seconds` and tell whose certificate was refused; None if TLS is not the trouble.

    A gRPC server that refuses a certificate closes the connection without an alert. So ours was refused when the
    server's was in order and the server then hung up instead of answering HTTP/2's opening.
    """
    host, _, port = endpoint.rpartition(":")
    try:
        context = _own_context(tls)
        with socket.create_connection((host.strip("[]"), int(port)), seconds) as raw:
            return _shake(party, dns_name, context, raw)
    except (OSError, ValueError):
        return None


def _shake(party: str, dns_name: str, context: ssl.SSLContext, raw: socket.socket) -> CertificateRefusedError | None:
    refused = CertificateRefusedError(
        party,
        Culprit.OURS,
        "it refused our certificate: it was not issued by a certificate authority that it accepts, or has expired; "
        "enrol with its regulator, or look at its clock and ours",
    )
    try:
        with context.wrap_socket(raw, server_hostname=dns_name) as connection:
            connection.sendall(_HTTP2_OPENING)
            return None if connection.recv(9) else refused
    except ssl.SSLCertVerificationError as error:
        detail = (
            f"we refused its certificate: {error.verify_message}; it was not issued for {dns_name} by a certificate "
            "authority of our directory. Is the endpoint right, and its certificate of this federation?"
        )
        return CertificateRefusedError(party, Culprit.THEIRS, detail)
    except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
        return refused
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return refused
        detail = f"what listens at its endpoint does not speak TLS as we do ({error.reason}); is the endpoint right?"
        return CertificateRefusedError(party, Culprit.THEIRS, detail)


def _own_context(tls: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=tls.roots.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    load_pair(context, tls)
    return context
