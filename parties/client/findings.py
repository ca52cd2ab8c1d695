"""Having this party's own running server record what its command line has found."""

from __future__ import annotations

from unseen.v1 import ledger_pb2, ledger_pb2_grpc

from parties.channel import PeerChannel


def record_discrepancy(channel: PeerChannel, envelope: bytes) -> bool:
    """Have a signed discrepancy entered; returns whether the ledger did not hold its finding yet.

    Args:
        channel: to this party's own server.
        envelope: signed by this party's message key, encoded.

    Raises:
        DeniedError and others: as `PeerChannel.call`.
    """
    stub = ledger_pb2_grpc.LedgerServiceStub(channel.channel)
    request = ledger_pb2.RecordDiscrepancyRequest(envelope=envelope)
    return channel.call(stub.RecordDiscrepancy, request).added
