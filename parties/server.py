"""The gRPC server of a party: mutual TLS only, bounded, every handler behind the gate, health that tells the truth."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from audit.directory import Directory
from parties.errors import ListenError, PartyError
from parties.gate import IDLE_SECONDS, DeniedHook, Gate
from parties.home import Home
from parties.service.health import HealthService, Probe
from parties.telemetry import Logger, Metrics, MetricsListener
from parties.witness_desk import WitnessDesk
from sandbox.ports import CurrentDirectory

GRACE_SECONDS: Final = 10.0
Servicer = TypeVar("Servicer")


class ServedParty(Protocol):
    """What `unseen serve` runs: a provider or the regulator."""

    def directory(self) -> Directory:
        """Return the newest verified party directory."""
        ...

    @property
    def witness(self) -> WitnessDesk:
        """This party as a witness of others."""
        ...

    def register(self, server: "PartyServer") -> None:
        """Add this party's services, probes and denial hook."""
        ...

    def start(self) -> None:
        """Begin background work; called when the server listens."""
        ...

    def close(self) -> None:
        """End background work and close ledger and vault; called when no call is running any more."""
        ...


class PartyServer:
    """Add services, then `start`, then `stop`. One is used once."""

    def __init__(self, home: Home, *, directory: CurrentDirectory, logger: Logger) -> None:
        self._home = home
        self._logger = logger
        self.limits = home.config.limits
        self.metrics = Metrics(self.limits.handshake_ms)
        self._gate = Gate(self.limits, directory, self.metrics, logger)
        self._health = HealthService()
        self._names: list[str] = []
        self._threads = ThreadPoolExecutor(self.limits.threads, thread_name_prefix="call")
        self._server = grpc.server(
            self._threads,
            interceptors=[self._gate],
            options=self._options(),
            maximum_concurrent_rpcs=self.limits.threads + self.limits.waiting_calls,
        )
        self._listener: MetricsListener | None = None
        self.add(health_pb2_grpc.add_HealthServicer_to_server, self._health, health.SERVICE_NAME)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self.limits.message_bytes),
            ("grpc.max_send_message_length", self.limits.message_bytes),
            ("grpc.server_handshake_timeout_ms", self.limits.handshake_ms),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.so_reuseport", 0),  # a second server on the same port is an error, not a half of the calls
        ]

    def add(self, register: Callable[[Servicer, grpc.Server], None], servicer: Servicer, name: str) -> None:
        """Add a service: the generated `add_...Servicer_to_server`, its servicer, and its full name."""
        register(servicer, self._server)
        self._names.append(name)
        self._health.know(name)

    def probe(self, probe: Probe) -> None:
        """Make health depend on `probe`: it returns None, or raises one of our errors while the party cannot serve."""
        self._health.add(probe)

    def on_denied(self, hook: DeniedHook) -> None:
        """Record with `hook` what the gate refuses before any service sees it."""
        self._gate.denied = hook

    def on_unknown(self, look_again: CurrentDirectory) -> None:
        """Ask `look_again` for a newer directory before refusing an unknown party, which may have been enrolled since,
        and before answering one that goes by a newer directory.
        """
        self._gate.look_again = look_again

    def start(self, listen: str = "") -> str:
        """Listen on HOST:PORT (default: as configured; port 0: any free one) and return the address bound.

        Raises:
            ListenError: no address is configured, or it is taken.
            HomeError, PassphraseError: the certificate or key cannot be read.
        """
        address = listen or self._home.listen
        if not address:
            raise ListenError(f"{self._home.name} has no address to listen on: set [network] endpoint in party.toml")
        if self._home.config.network.reflection:
            reflection.enable_server_reflection([*self._names, reflection.SERVICE_NAME], self._server)
        credentials = ServerCertificate(self._home, self.metrics.handshakes.begun, self._logger).credentials()
        try:
            port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: is it taken? see [network] listen") from error
        if self._home.config.telemetry.metrics:
            self._listener = MetricsListener(self._home.config.telemetry.metrics, self.metrics)
        self._server.start()
        self._health.open()
        self.metrics.serving.set(1)
        endpoint = f"{address.rpartition(':')[0]}:{port}"
        self._logger.info("listening", endpoint=endpoint, services=self._names)
        return endpoint

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take no new calls, give the running ones `grace` seconds, then cancel them. Stopping twice is allowed."""
        self._health.close()
        self.metrics.serving.set(0)
        self._server.stop(grace).wait()
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._logger.info("stopped")


class ServerCertificate:
    """The server's side of mutual TLS; notices a renewed certificate or directory of authorities without a restart."""

    def __init__(self, home: Home, begun: Callable[[], None], logger: Logger) -> None:
        self._home = home
        self._begun = begun
        self._logger = logger
        self._lock = threading.Lock()
        self._stamp = self._home.tls_stamp()

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that require a client certificate issued by one of the home's authorities."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._fetch, require_client_authentication=True
        )

    def _configuration(self) -> Any:
        tls = self._home.tls()
        return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], root_certificates=tls.roots)

    def _fetch(self) -> Any:
        """Return a changed configuration, or None; gRPC asks once for every handshake that begins."""
        self._begun()
        with self._lock:
            try:
                stamp = self._home.tls_stamp()
                if stamp == self._stamp:
                    return None
                configuration = self._configuration()
            except (OSError, PartyError) as error:
                self._logger.error("the renewed certificate cannot be read; the earlier one is used", error=str(error))
                return None
            self._stamp = stamp
            self._logger.info("a renewed certificate is in use")
            return configuration
