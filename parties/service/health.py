"""The standard gRPC health service (grpc.health.v1), answered by probes at the time of asking."""

import threading
from collections.abc import Callable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audit.errors import AuditError
from parties.errors import NotFoundError, PartyError
from sandbox.errors import SandboxError

Probe = Callable[[], object]
"""Returns while the party can serve, else raises one of the house's errors."""

MAX_NAME: Final = 200


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """SERVING only while the server takes calls and every probe passes. `Watch` is not offered: ask again."""

    def __init__(self) -> None:
        self._known: set[str] = {""}
        self._probes: list[Probe] = []
        self._open = threading.Event()

    def know(self, service: str) -> None:
        """Answer for `service` too."""
        self._known.add(service)

    def add(self, probe: Probe) -> None:
        """Ask `probe` at each check."""
        self._probes.append(probe)

    def open(self) -> None:
        """Begin to answer SERVING."""
        self._open.set()

    def close(self) -> None:
        """Answer NOT_SERVING from now on."""
        self._open.clear()

    def Check(  # noqa: N802  (the name is the protocol's)
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> health_pb2.HealthCheckResponse:
        """Answer for the whole server (empty name) or one service; NOT_FOUND for one that is not served."""
        if request.service not in self._known:
            raise NotFoundError(f"no service {request.service[:MAX_NAME]!r} is served here")
        return health_pb2.HealthCheckResponse(status=self._status())

    def _status(self) -> int:
        if not self._open.is_set():
            return int(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            for probe in self._probes:
                probe()
        except (AuditError, SandboxError, PartyError):
            return int(health_pb2.HealthCheckResponse.NOT_SERVING)
        return int(health_pb2.HealthCheckResponse.SERVING)
