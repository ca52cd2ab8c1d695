"""The directory service, at the regulator: the signed directory for every party, enrolment for its own officials."""

from __future__ import annotations

import grpc
from unseen.v1 import directory_pb2, directory_pb2_grpc

from parties.identity import require_self
from parties.registry import Registry
from parties.service.edge import Edge


class DirectoryService(directory_pb2_grpc.DirectoryServiceServicer):
    """Serves what the registry holds."""

    def __init__(self, registry: Registry, party: str, edge: Edge) -> None:
        self._registry = registry
        self._party = party
        self._edge = edge

    def GetDirectory(  # noqa: N802  (the name is the protocol's)
        self, request: directory_pb2.GetDirectoryRequest, context: grpc.ServicerContext
    ) -> directory_pb2.GetDirectoryResponse:
        """Return the newest directory, without its bytes if the caller has them."""
        with self._edge.serving(context):
            data, directory = self._registry.signed()
            envelope = b"" if request.known_version == directory.version else data
            return directory_pb2.GetDirectoryResponse(version=directory.version, envelope=envelope)

    def Enrol(  # noqa: N802  (the name is the protocol's)
        self, request: directory_pb2.EnrolRequest, context: grpc.ServicerContext
    ) -> directory_pb2.EnrolResponse:
        """Enrol a party; the regulator's own certificate is needed."""
        with self._edge.serving(context) as caller:
            require_self(caller.peer, self._party)
            return directory_pb2.EnrolResponse(bundle=self._registry.enrol(request.envelope))
