"""The ledger service: checkpoints and proofs to counterparties, entries to the regulator; own findings come in."""

# ruff: noqa: N802  (gRPC calls the methods by their names on the wire)

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
from unseen.v1 import ledger_pb2, ledger_pb2_grpc

from audit.names import KeyPurpose
from parties.compute_messages import bounded, digest
from parties.identity import require_self
from parties.ledger_reading import LedgerReading
from parties.ledger_recording import MAX_DISCREPANCY_BYTES, LedgerRecording
from parties.service.edge import Edge
from sandbox.errors import DenialReason, DeniedError

_MAX_SIZE: Final = 2**63 - 1


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Reads one party's ledger; writes what the party itself has found, and nothing else."""

    def __init__(self, reading: LedgerReading, edge: Edge) -> None:
        self._reading = reading
        self._recording = LedgerRecording(reading.ledger, reading.party, edge.clock)
        self._edge = edge

    def GetCheckpoint(
        self, request: ledger_pb2.GetCheckpointRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetCheckpointResponse:
        """Return the newest signed checkpoint."""
        del request
        with self._edge.serving(context):
            return ledger_pb2.GetCheckpointResponse(note=self._reading.checkpoint())

    def ListEntries(
        self, request: ledger_pb2.ListEntriesRequest, context: grpc.ServicerContext
    ) -> Iterator[ledger_pb2.ListEntriesResponse]:
        """Stream entries in order."""
        with self._edge.serving(context) as caller:
            for start, entries in self._reading.entries(_size(request.start), _size(request.end), caller.peer):
                yield ledger_pb2.ListEntriesResponse(start=start, entries=entries)

    def GetInclusionProof(
        self, request: ledger_pb2.GetInclusionProofRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetInclusionProofResponse:
        """Prove one entry, named by its index or by the receipt in it."""
        with self._edge.serving(context) as caller:
            match request.WhichOneof("entry"):
                case "index":
                    proved = self._reading.prove_index(_size(request.index), _size(request.size), caller.peer)
                case "receipt_id":
                    receipt_id = digest("receipt_id", request.receipt_id)
                    proved = self._reading.prove_receipt(receipt_id, _size(request.size), caller.peer)
                case _:
                    raise DeniedError(DenialReason.MALFORMED, "entry", "name the entry by its index or its receipt id")
            return ledger_pb2.GetInclusionProofResponse(
                index=proved.index, size=proved.size, entry=proved.entry, hashes=proved.hashes, note=proved.note
            )

    def GetConsistencyProof(
        self, request: ledger_pb2.GetConsistencyProofRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetConsistencyProofResponse:
        """Prove that the tree of one size is a prefix of another's."""
        with self._edge.serving(context):
            hashes = self._reading.consistency(_size(request.old_size), _size(request.new_size))
            return ledger_pb2.GetConsistencyProofResponse(hashes=hashes)

    def RecordDiscrepancy(
        self, request: ledger_pb2.RecordDiscrepancyRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.RecordDiscrepancyResponse:
        """Enter a discrepancy that this party's own officials have found."""
        with self._edge.serving(context) as caller:
            party = self._reading.party
            require_self(caller.peer, party)
            envelope = bounded("envelope", request.envelope, MAX_DISCREPANCY_BYTES)
            key = self._edge.directory().party(party).key(KeyPurpose.MESSAGE)
            return ledger_pb2.RecordDiscrepancyResponse(added=self._recording.discrepancy(envelope, key))


def _size(value: int) -> int:
    if value > _MAX_SIZE:
        raise DeniedError(DenialReason.MALFORMED, "size", "sizes and indices are below 2^63")
    return value
