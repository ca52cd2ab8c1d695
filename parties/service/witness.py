"""The witness service: other parties' checkpoints cosigned, and at the regulator their entries kept."""

# ruff: noqa: N802  (gRPC calls the methods by their names on the wire)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import grpc
from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import MAX_NOTE_BYTES, MAX_SIZE
from audit.errors import Refusal, WitnessRefusedError
from audit.submission import MAX_PROOF_LINES, Submission
from audit.tree import HASH_BYTES
from parties.compute_messages import bounded
from parties.entry_bundle import BUNDLE_ENTRIES, Bundle
from parties.service.edge import Edge
from parties.witness_desk import WitnessDesk
from sandbox.errors import DenialReason, DeniedError

MAX_ORIGIN: Final = 255

REFUSALS: Final = {
    Refusal.MALFORMED: witness_pb2.REFUSAL_MALFORMED,
    Refusal.UNTRUSTED_KEY: witness_pb2.REFUSAL_UNTRUSTED_KEY,
    Refusal.UNKNOWN_LOG: witness_pb2.REFUSAL_UNKNOWN_LOG,
    Refusal.CONFLICT: witness_pb2.REFUSAL_CONFLICT,
    Refusal.BAD_PROOF: witness_pb2.REFUSAL_BAD_PROOF,
}
"""How each refusal is written on the wire."""


class WitnessService(witness_pb2_grpc.WitnessServiceServicer):
    """Bounds what it reads, then asks the desk, which decides who may do what."""

    def __init__(self, desk: WitnessDesk, edge: Edge) -> None:
        self._desk = desk
        self._edge = edge

    def AddCheckpoint(
        self, request: witness_pb2.AddCheckpointRequest, context: grpc.ServicerContext
    ) -> witness_pb2.AddCheckpointResponse:
        """Cosign a checkpoint of the caller's own log, or say why not."""
        with self._edge.serving(context) as caller:
            submission = Submission(_size("old_size", request.old_size), _proof(request.proof), _note(request.note))
            try:
                lines = self._desk.cosign(submission, caller.peer)
            except WitnessRefusedError as error:
                return witness_pb2.AddCheckpointResponse(
                    refusal=REFUSALS[error.refusal], size=error.size or 0, detail=str(error)
                )
            text = "".join(f"{line.line()}\n" for line in lines)
            return witness_pb2.AddCheckpointResponse(cosignatures=text.encode())

    def AddEntries(
        self, request: witness_pb2.AddEntriesRequest, context: grpc.ServicerContext
    ) -> witness_pb2.AddEntriesResponse:
        """Keep entries of the caller's own log."""
        with self._edge.serving(context) as caller:
            origin = self._edge.text("origin", request.origin, MAX_ORIGIN)
            start = _size("start", request.start)
            if len(request.entries) > BUNDLE_ENTRIES:
                raise DeniedError(DenialReason.TOO_LARGE, "entries", f"a bundle has at most {BUNDLE_ENTRIES} entries")
            proof, note = _proof(request.proof), _note(request.note)
            size = self._desk.keep(origin, Bundle(start, tuple(request.entries), proof, note), caller.peer)
            return witness_pb2.AddEntriesResponse(size=size)

    def GetWitnessed(
        self, request: witness_pb2.GetWitnessedRequest, context: grpc.ServicerContext
    ) -> witness_pb2.GetWitnessedResponse:
        """Tell what is cosigned and kept of a log; every enrolled party may ask."""
        with self._edge.serving(context):
            origin = self._edge.text("origin", request.origin, MAX_ORIGIN)
            held = self._desk.witnessed(origin)
            kept = self._desk.kept(origin)
            if held is None:
                return witness_pb2.GetWitnessedResponse(replica_size=kept)
            return witness_pb2.GetWitnessedResponse(size=held.size, note=held.note, replica_size=kept)

    def ListWitnessedEntries(
        self, request: witness_pb2.ListWitnessedEntriesRequest, context: grpc.ServicerContext
    ) -> Iterator[witness_pb2.ListWitnessedEntriesResponse]:
        """Stream the entries kept, each message with what proves it."""
        with self._edge.serving(context) as caller:
            origin = self._edge.text("origin", request.origin, MAX_ORIGIN)
            for bundle in self._desk.entries(origin, _size("start", request.start), caller.peer):
                yield witness_pb2.ListWitnessedEntriesResponse(
                    start=bundle.start, entries=bundle.entries, proof=bundle.proof, note=bundle.note
                )


def _size(field: str, value: int) -> int:
    if value > MAX_SIZE:
        raise DeniedError(DenialReason.MALFORMED, field, "sizes and indices are below 2^63")
    return value


def _note(data: bytes) -> bytes:
    return bounded("note", data, MAX_NOTE_BYTES)


def _proof(hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    if len(hashes) > MAX_PROOF_LINES:
        raise DeniedError(DenialReason.TOO_LARGE, "proof", f"a consistency proof has at most {MAX_PROOF_LINES} hashes")
    if any(len(each) != HASH_BYTES for each in hashes):
        raise DeniedError(DenialReason.MALFORMED, "proof", f"a proof's hashes have {HASH_BYTES} bytes each")
    return tuple(hashes)
