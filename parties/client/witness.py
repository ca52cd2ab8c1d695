"""Asking other parties to witness this party's log, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import Note, NoteSignature
from audit.errors import MalformedError, WitnessRefusedError
from audit.submission import Submission
from parties.channel import Dialler, Method, PeerChannel
from parties.entry_bundle import Bundle
from parties.service.witness import REFUSALS
from sandbox.errors import DenialReason, PeerMisbehavedError

_REFUSALS: Final = {number: refusal for refusal, number in REFUSALS.items()}
_MAX_DETAIL: Final = 300
_Entries: TypeAlias = Method[
    witness_pb2.ListWitnessedEntriesRequest, Iterator[witness_pb2.ListWitnessedEntriesResponse]
]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What a witness says that it holds of a log. Nothing in it is verified.

    Attributes:
        note: the latest checkpoint that it cosigned, empty for none.
        kept: how many entries it keeps.
    """

    note: bytes
    kept: int


class WitnessClient:
    """Threads may share one. Every method raises what `PeerChannel.call` raises."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    def add_checkpoint(self, party: str, submission: Submission, timeout_ms: int) -> tuple[NoteSignature, ...]:
        """Submit a checkpoint; returns the signature lines, which are not verified.

        Raises:
            WitnessRefusedError: the party does not cosign it.
            PeerMisbehavedError: its answer is none.
        """
        channel, stub = self._stub(party)
        request = witness_pb2.AddCheckpointRequest(
            old_size=submission.old_size, proof=submission.proof, note=submission.note
        )
        answer = channel.call(stub.AddCheckpoint, request, timeout_ms=timeout_ms)
        if answer.refusal != witness_pb2.REFUSAL_UNSPECIFIED:
            if answer.refusal not in _REFUSALS:
                raise PeerMisbehavedError(
                    party, DenialReason.MALFORMED, "it refuses a checkpoint for an unknown reason"
                )
            refusal = _REFUSALS[answer.refusal]
            size = answer.size if answer.refusal == witness_pb2.REFUSAL_CONFLICT else None
            raise WitnessRefusedError(refusal, f"{party}: {answer.detail[:_MAX_DETAIL]}", size)
        try:
            text = Note.decode(submission.note).text
            return Note.decode(text + b"\n" + answer.cosignatures).signatures
        except MalformedError as error:
            detail = f"its answer is no signature lines: {error}"
            raise PeerMisbehavedError(party, DenialReason.MALFORMED, detail) from error

    def witnessed(self, party: str, origin: str, timeout_ms: int) -> Witnessed:
        """What the party has cosigned and keeps of a log."""
        channel, stub = self._stub(party)
        answer = channel.call(stub.GetWitnessed, witness_pb2.GetWitnessedRequest(origin=origin), timeout_ms=timeout_ms)
        return Witnessed(answer.note, answer.replica_size)

    def add_entries(self, party: str, origin: str, bundle: Bundle, timeout_ms: int) -> int:
        """Hand entries to the regulator; returns how many it keeps now, which tells where to go on."""
        channel, stub = self._stub(party)
        request = witness_pb2.AddEntriesRequest(
            origin=origin, start=bundle.start, entries=bundle.entries, proof=bundle.proof, note=bundle.note
        )
        return int(channel.call(stub.AddEntries, request, timeout_ms=timeout_ms).size)

    def entries(self, party: str, origin: str, start: int, timeout_ms: int) -> Iterator[Bundle]:
        """The entries that the regulator keeps of this party's log, from `start` on."""
        channel, stub = self._stub(party)
        request = witness_pb2.ListWitnessedEntriesRequest(origin=origin, start=start)
        method = cast("_Entries", stub.ListWitnessedEntries)
        for message in channel.stream(method, request, timeout_ms=timeout_ms):
            yield Bundle(message.start, tuple(message.entries), tuple(message.proof), message.note)

    def _stub(self, party: str) -> tuple[PeerChannel, witness_pb2_grpc.WitnessServiceStub]:
        channel = self._dialler.dial(party)
        return channel, witness_pb2_grpc.WitnessServiceStub(channel.channel)
