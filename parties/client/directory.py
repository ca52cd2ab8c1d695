"""Calling the regulator's directory service: rotation, revocation and renewal."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from unseen.v1 import directory_pb2, directory_pb2_grpc

from parties.channel import Dialler, PeerChannel
from sandbox.ports import CurrentDirectory

ANSWER_MS: Final = 10_000
"""How long the regulator may take to write a change down and answer."""


class DirectoryClient:
    """Threads may share one. Every method raises what `PeerChannel.call` raises, and KeyChangeError.

    Args:
        dialler: the way to the regulator.
        directory: says who the regulator is. May give an expired one, which is enough for that.
    """

    def __init__(self, dialler: Dialler, directory: CurrentDirectory) -> None:
        self._dialler = dialler
        self._directory = directory

    def rotate(self, data: bytes, *, replace_revoked: bool = False) -> bytes:
        """Hand in a rotation request; return the new directory, which nothing has verified yet."""
        channel, stub = self._stub()
        message = directory_pb2.RotateKeysRequest(envelope=data, replace_revoked=replace_revoked)
        return channel.call(stub.RotateKeys, message, timeout_ms=ANSWER_MS).envelope

    def revoke(self, party: str, keyids: Collection[str], certificates: Collection[str], reason: str) -> bytes:
        """Have keys and certificates revoked; return the new directory, which nothing has verified yet."""
        channel, stub = self._stub()
        message = directory_pb2.RevokeKeysRequest(party=party, keyids=keyids, certificates=certificates, reason=reason)
        return channel.call(stub.RevokeKeys, message, timeout_ms=ANSWER_MS).envelope

    def renew_certificate(self, data: bytes) -> bytes:
        """Hand in a renewal request; return the certificate in PEM, which nothing has verified yet."""
        channel, stub = self._stub()
        message = directory_pb2.RenewCertificateRequest(envelope=data)
        answer = channel.call(stub.RenewCertificate, message, timeout_ms=ANSWER_MS)
        return answer.certificate.encode("utf-8")

    def _stub(self) -> tuple[PeerChannel, directory_pb2_grpc.DirectoryServiceStub]:
        channel = self._dialler.dial(self._directory().regulator)
        return channel, directory_pb2_grpc.DirectoryServiceStub(channel.channel)
