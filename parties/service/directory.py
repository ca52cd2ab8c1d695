"""The directory service, at the regulator: directory and keys for every party, enrolment and the rest for officials."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import grpc
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.keys import KEYID_PATTERN
from parties.certificate_renewal import read_renewal
from parties.identity import FINGERPRINT_PATTERN, require_self
from parties.registry import Registry
from parties.rotation import read_rotation
from parties.service.edge import Caller, Edge
from sandbox.errors import DenialReason, DeniedError

MAX_REVOKED: Final = 1024
MAX_REASON: Final = 1000


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

    def RotateKeys(  # noqa: N802  (the name is the protocol's)
        self, request: directory_pb2.RotateKeysRequest, context: grpc.ServicerContext
    ) -> directory_pb2.RotateKeysResponse:
        """List a party's new keys; for the party itself, or for the regulator's officials, who got the request."""
        with self._edge.serving(context) as caller:
            self._require(caller, read_rotation(request.envelope)[0].party)
            if request.replace_revoked:
                require_self(caller.peer, self._party)
            signed = self._registry.rotate(request.envelope, replace_revoked=request.replace_revoked)
            return directory_pb2.RotateKeysResponse(envelope=signed)

    def RevokeKeys(  # noqa: N802  (the name is the protocol's)
        self, request: directory_pb2.RevokeKeysRequest, context: grpc.ServicerContext
    ) -> directory_pb2.RevokeKeysResponse:
        """Revoke keys and certificates; the regulator's own certificate is needed."""
        with self._edge.serving(context) as caller:
            require_self(caller.peer, self._party)
            _check_items("keyids", request.keyids, KEYID_PATTERN)
            _check_items("certificates", request.certificates, FINGERPRINT_PATTERN)
            reason = self._edge.text("reason", request.reason, MAX_REASON)
            signed = self._registry.revoke(request.party, request.keyids, request.certificates, reason)
            return directory_pb2.RevokeKeysResponse(envelope=signed)

    def RenewCertificate(  # noqa: N802  (the name is the protocol's)
        self, request: directory_pb2.RenewCertificateRequest, context: grpc.ServicerContext
    ) -> directory_pb2.RenewCertificateResponse:
        """Certify a party's next TLS key; for whom, is as for RotateKeys."""
        with self._edge.serving(context) as caller:
            self._require(caller, read_renewal(request.envelope)[0].party)
            certificate = self._registry.renew_certificate(request.envelope)
            return directory_pb2.RenewCertificateResponse(certificate=certificate.decode("ascii"))

    def _require(self, caller: Caller, party: str) -> None:
        """Block a stolen message key that comes without the party's own certificate."""
        if caller.peer.party not in {party, self._party}:
            detail = f"{caller.peer.party} asks for keys of {party}: each party asks for its own"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "party", detail)


def _check_items(field: str, items: Sequence[str], pattern: re.Pattern[str]) -> None:
    if len(items) > MAX_REVOKED:
        raise DeniedError(DenialReason.TOO_LARGE, field, f"{len(items)} {field}, {MAX_REVOKED} are allowed at a time")
    for item in items:
        if pattern.fullmatch(item) is None:
            raise DeniedError(DenialReason.MALFORMED, field, f"{item!r:.300} is none of the {field}")
