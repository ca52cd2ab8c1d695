"""A party's witness for logs of any make: `POST /add-checkpoint` of c2sp.org/tlog-witness, over HTTPS.

Anybody may ask, as the specification has it: what authenticates a request is the log's signature on its checkpoint. So
everything is bounded: connections by `[limits] threads`, handshake and request by `[limits] handshake_ms`, heads and
bodies by size. TLS is this party's own; no client certificate is asked for.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import h11

from audit.checkpoint import NoteSignature
from audit.errors import AuditError, MalformedError, Refusal, WitnessRefusedError
from audit.submission import MAX_SUBMISSION_BYTES, Submission
from parties.errors import ListenError, PartyError
from parties.home import Home
from parties.http_connection import HttpConnection
from parties.telemetry import Logger
from parties.tls_pair import load_pair
from sandbox.errors import SandboxError

ADD_CHECKPOINT: Final = "/add-checkpoint"
"""Its path; the submission prefix is https://HOST:PORT."""
KEPT_OPEN_SECONDS: Final = 30.0
"""How long a connection may wait for its next request; the request's head is to come within it too."""
_BACKLOG: Final = 128
_TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"

AddCheckpoint: TypeAlias = Callable[[Submission], tuple[NoteSignature, ...]]
"""The witness: its cosignatures, or `WitnessRefusedError`. Called from several threads at once."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


class WitnessHttpServer:
    """Start it once, close it once. Threads answer, at most `[limits] threads`; further connections are hung up on."""

    def __init__(self, home: Home, add: AddCheckpoint, address: str, logger: Logger) -> None:
        """Args: whose certificate, key and limits; the witness; HOST:PORT to listen on (port 0: any free one)."""
        self._home = home
        self._add = add
        self._address = address
        self._logger = logger
        self._certificate: _Certificate | None = None
        self._server: _Listener | None = None
        self._accepting: threading.Thread | None = None

    def start(self) -> str:
        """Listen, and return the HOST:PORT bound.

        Raises:
            ListenError: the address is taken, or none of this machine's.
            HomeError, PassphraseError: certificate and key cannot be read, or do not belong together.
        """
        host, _, port = self._address.rpartition(":")
        self._certificate = _Certificate(self._home, self._logger)
        try:
            self._server = _Listener((host.strip("[]"), int(port)), self._home.config.limits.threads, self._serve)
        except (OSError, ValueError) as error:
            raise ListenError(f"the witness cannot listen on {self._address}: {error}; is it taken?") from error
        self._accepting = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="witness-http")
        self._accepting.start()
        endpoint = f"{host}:{self._server.server_address[1]}"
        self._logger.info("witnessing over https", endpoint=endpoint)
        return endpoint

    def close(self) -> None:
        """Take no more connections, break those that are open, wait for their threads. Twice is allowed."""
        if self._server is not None and self._accepting is not None:
            self._server.shutdown()
            self._accepting.join()
            self._server.hang_up()
            self._server.server_close()
            self._server = None

    def _serve(self, line: socket.socket, keep: Callable[[socket.socket], None]) -> None:
        """One connection, from its handshake to its end. Whatever a stranger does here ends with it."""
        assert self._certificate is not None
        seconds = self._home.config.limits.handshake_ms / 1000
        line.settimeout(seconds)
        try:
            context = self._certificate.context()
            secured = context.wrap_socket(line, server_side=True, do_handshake_on_connect=False)  # `line` is empty now
            keep(secured)
            secured.do_handshake()
        except OSError as error:
            self._logger.debug("a TLS handshake failed", error=str(error))
            return
        connection = HttpConnection(secured, h11.SERVER)
        try:
            while self._exchange(connection, seconds):
                pass
        except (OSError, h11.ProtocolError) as error:
            self._logger.debug("a connection broke", error=str(error))

    def _exchange(self, connection: HttpConnection, seconds: float) -> bool:
        """One request and its answer; whether another may come."""
        connection.allow(KEPT_OPEN_SECONDS)
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return False
            connection.allow(seconds)
            body = connection.body(MAX_SUBMISSION_BYTES)
        except h11.RemoteProtocolError as error:
            if connection.can_answer:
                self._send(connection, _Answer(error.error_status_hint, _sentence(str(error))), last=True)
            return False
        answer = self._route(request, body)
        connection.allow(seconds)
        last = self._server is None or self._server.is_crowded
        self._send(connection, answer, last=last, bodiless=request.method == b"HEAD")
        return connection.again()

    def _route(self, request: h11.Request, body: bytes) -> _Answer:
        if request.target != ADD_CHECKPOINT.encode():
            return _Answer(404, _sentence(f"this is a witness: POST {ADD_CHECKPOINT}"))
        if request.method != b"POST":
            return _Answer(405, _sentence(f"this is a witness: POST {ADD_CHECKPOINT}"), headers=(("Allow", "POST"),))
        try:
            lines = self._add(Submission.decode(body))
        except WitnessRefusedError as error:
            # The first three a stranger can have at will; the others a log's own signature stands behind.
            signed = error.refusal in {Refusal.CONFLICT, Refusal.BAD_PROOF}
            tell = self._logger.info if signed else self._logger.debug
            tell("a checkpoint was not cosigned", status=error.refusal.value, why=str(error))
            if error.size is not None:
                return _Answer(error.refusal.value, b"%d\n" % error.size, _SIZE)
            return _Answer(error.refusal.value, _sentence(str(error)))
        except MalformedError as error:
            return _Answer(400, _sentence(str(error)))
        except (AuditError, PartyError, SandboxError, OSError) as error:
            self._logger.error("the witness could not record", error=str(error))
            return _Answer(503, _sentence("the witness cannot record now: try again later"))
        except Exception as error:  # the process boundary: logged, and the call fails
            self._logger.error("a submission failed", exc_info=error)
            return _Answer(500, _sentence("the witness failed; its own log says why"))
        return _Answer(200, "".join(f"{line.line()}\n" for line in lines).encode())

    def _send(self, connection: HttpConnection, answer: _Answer, *, last: bool = False, bodiless: bool = False) -> None:
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("X-Content-Type-Options", "nosniff"),
            *answer.headers,
            *([("Connection", "close")] if last else []),
        ]
        data = [] if bodiless else [h11.Data(data=answer.body)]
        connection.send(h11.Response(status_code=answer.status, headers=headers), *data, h11.EndOfMessage())


class _Certificate:
    """This party's TLS, read from its files; notices when they are renewed."""

    def __init__(self, home: Home, logger: Logger) -> None:
        self._home = home
        self._logger = logger
        self._lock = threading.Lock()
        self._stamp = home.tls_stamp()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return what a handshake that begins now uses."""
        with self._lock:
            try:
                stamp = self._home.tls_stamp()
                if stamp != self._stamp:
                    self._context, self._stamp = self._load(), stamp
                    self._logger.info("a renewed certificate is in use")
            except (OSError, PartyError) as error:
                self._logger.error("the renewed certificate cannot be read; the earlier one is used", error=str(error))
            return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        load_pair(context, self._home.tls())
        return context


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Accepts; each connection has a thread, in which its handshake happens too, so that none waits for another's."""

    allow_reuse_address = True
    request_queue_size = _BACKLOG

    def __init__(
        self,
        address: tuple[str, int],
        most: int,
        serve: Callable[[socket.socket, Callable[[socket.socket], None]], None],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._serve = serve
        self._most = most
        self._busy = 0
        self._lock = threading.Lock()
        self._lines: set[socket.socket] = set()
        self._ending = False
        super().__init__(address, socketserver.BaseRequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread; hang up where all are in use."""
        with self._lock:
            full = self._busy >= self._most
            self._busy += not full
        if full:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no more threads
            self._leave()
            self.shutdown_request(request)

    @property
    def is_crowded(self) -> bool:
        """Whether most threads are in use, so that connections are no longer kept open for another request."""
        with self._lock:
            return 4 * self._busy > 3 * self._most

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection; run in its thread."""
        del client_address
        lines = [request]

        def keep(line: socket.socket) -> None:
            lines.append(line)
            self._keep(line)

        try:
            self._keep(request)
            self._serve(request, keep)
        finally:
            with self._lock:
                self._lines.difference_update(lines)
            for line in lines:
                line.close()
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1

    def _keep(self, line: socket.socket) -> None:
        with self._lock:
            self._lines.add(line)
            if self._ending:
                _break(line)

    def hang_up(self) -> None:
        """Break every open connection, and those that have just been accepted."""
        with self._lock:
            self._ending = True
            for line in self._lines:
                _break(line)


def _break(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have gone, or TLS have taken the socket over
        socket.socket.shutdown(line, socket.SHUT_RDWR)  # ssl's own would forget its state under the reading thread


def _sentence(text: str) -> bytes:
    return f"{text[:500]}\n".encode("utf-8", "replace")
