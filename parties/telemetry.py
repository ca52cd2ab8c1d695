"""What an operator sees: log lines on stderr and Prometheus metrics on a loopback address.

Neither holds anything that depends on rows: no durations of computations, no counts of rows, no values; only who called
what, when, and with which outcome. Nothing is process-wide: each server has its own logger and its own registry.
"""

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TextIO, cast
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from parties.config import TelemetrySection
from parties.errors import ListenError

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
KNOWN_CONNECTIONS: Final = 65_536
REFUSED_HELP: Final = (
    "Connections on which a TLS handshake was begun and that brought no call within the handshake limit: a certificate "
    "refused by either side, none sent, no TLS at all, or a peer that went away. gRPC does not say which."
)

Logger = structlog.typing.FilteringBoundLogger


def beside_a_command(settings: TelemetrySection) -> TelemetrySection:
    """Return what a person reads beside a command's own words: warnings, as text, unless the settings say otherwise."""
    level = "warning" if settings.level == "info" else settings.level
    return replace(settings, log="console" if settings.log == "auto" else settings.log, level=level)


def make_logger(settings: TelemetrySection, party: str, stream: TextIO | None = None) -> Logger:
    """Return a logger that writes to stderr (or `stream`): JSON lines, or a console form when that is a terminal."""
    out = stream if stream is not None else sys.stderr
    as_json = settings.log == "json" or (settings.log == "auto" and not out.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Forgiving(out))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
    ).bind(party=party)
    return logger


class _Forgiving:
    """A stream that drops what it cannot write: a full disk under the log must not decide how a call is answered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class HandshakeMeter(Collector):
    """Counts TLS handshakes, of which gRPC's Python server tells nothing when they fail.

    What can be known: the credentials' fetcher runs once for each handshake begun, and a call arrives only on a
    connection whose handshake succeeded. So a handshake is *refused* when, `limit_ms` after it began, it cannot be
    paired with a connection that has brought a call. gRPC ends unfinished handshakes after the same limit, and clients
    of this house connect only to make a call at once; a peer that completes the handshake and then stays silent
    for longer than the limit is counted too. Pairs are counted, not identified: refusals show `limit_ms` late.
    """

    def __init__(self, limit_ms: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_ms / 1000
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pending: deque[float] = deque()
        self._seen: dict[str, float] = {}
        self._started = 0
        self._refused = 0

    def begun(self) -> None:
        """Note that a handshake begins."""
        with self._lock:
            self._settle()
            self._started += 1
            self._pending.append(self._monotonic())

    def called(self, connection: str, idle_limit: float) -> None:
        """Note a call on `connection` (the peer's address and port).

        An address silent for longer than `idle_limit` seconds, after which gRPC closes a connection, is a new one.
        """
        with self._lock:
            now = self._monotonic()
            last = self._seen.pop(connection, None)
            self._seen[connection] = now
            if len(self._seen) > KNOWN_CONNECTIONS:
                self._seen.pop(next(iter(self._seen)))
            if last is None or now - last > idle_limit:
                if self._pending:
                    self._pending.pop()
                self._settle()

    @property
    def refused(self) -> int:
        """How many handshakes were refused so far."""
        with self._lock:
            self._settle()
            return self._refused

    def _settle(self) -> None:
        oldest = self._monotonic() - self._limit
        while self._pending and self._pending[0] <= oldest:
            self._pending.popleft()
            self._refused += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the two counters."""
        refused = self.refused
        yield CounterMetricFamily("unseen_tls_handshakes_started", "TLS handshakes begun.", value=self._started)
        yield CounterMetricFamily("unseen_tls_handshakes_refused", REFUSED_HELP, value=refused)


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self, handshake_limit_ms: int) -> None:
        self.registry = CollectorRegistry()
        self.handshakes = HandshakeMeter(handshake_limit_ms)
        self.registry.register(self.handshakes)
        self.calls = Counter(
            "unseen_rpc", "Calls answered, by method and gRPC code.", ["method", "code"], registry=self.registry
        )
        self.denials = Counter("unseen_denials", "Calls refused, by reason code.", ["reason"], registry=self.registry)
        self.serving = Gauge("unseen_serving", "1 while the party answers calls, else 0.", registry=self.registry)


class MetricsListener:
    """Serves one registry over HTTP on a loopback address until closed."""

    def __init__(self, address: str, metrics: Metrics) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
        except OSError as error:
            raise ListenError(
                f"metrics cannot be served on {address}: {error.strerror}; see [telemetry] metrics"
            ) from error

    @property
    def port(self) -> int:
        """The port bound."""
        server: WSGIServer = self._server
        return server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
