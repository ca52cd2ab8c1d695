"""The doctor's way to other parties: the party's own TLS identity, short deadlines, nothing that changes their state.

A checkpoint that a witness is shown once more is one that the party has signed, as the party itself would show it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from grpc_health.v1 import health_pb2, health_pb2_grpc
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.directory import Directory
from audit.keys import KeyPurpose
from audit.ledger import LedgerReader
from parties.channel import Dialler
from parties.client.witness import WitnessClient
from parties.client.witness_http import HttpWitness
from parties.home import Home
from parties.witness_contact import OwnLog, WitnessContact
from parties.witness_policy import NamedWitness, log_keys

ANSWER_MS: Final = 5_000
HEALTH_MS: Final = 12_000
"""A server whose disk does not write says so once it has waited for it itself, five seconds or ten."""


class PartyNetwork:
    """Implements `Network` for one home. Threads may share one."""

    def __init__(self, home: Home, directory: Directory) -> None:
        """Raises `HomeError` or `PassphraseError` where the home's TLS key and certificate cannot be used."""
        home.tls()
        self._home = home
        self._directory = directory
        self._own_key = home.signing_key(KeyPurpose.LOG).verifying_key
        self._dialler = Dialler(home, lambda: directory)

    def is_serving(self, party: str) -> bool:
        """Ask the party's health service."""
        channel = self._dialler.dial(party)
        stub = health_pb2_grpc.HealthStub(channel.channel)
        answer = channel.call(stub.Check, health_pb2.HealthCheckRequest(), timeout_ms=HEALTH_MS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def newer_directory(self, known_version: int) -> bytes:
        """Ask the regulator for a later directory."""
        channel = self._dialler.dial(self._directory.regulator)
        stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
        request = directory_pb2.GetDirectoryRequest(known_version=known_version)
        return bytes(channel.call(stub.GetDirectory, request, timeout_ms=ANSWER_MS).envelope)

    def own_log(self, ledger: LedgerReader) -> OwnLog:
        """This party's log over `ledger`, with every key that may have signed it."""
        keys = log_keys(self._home.name, self._directory, self._own_key)
        return OwnLog(self._home.origin, ledger, lambda: keys)

    def contact(self, witness: NamedWitness, log: OwnLog) -> WitnessContact:
        """A way to one witness."""
        http = HttpWitness(witness.url, self._home.anchors(), ANSWER_MS / 1000) if witness.url else None
        return WitnessContact(witness, log, WitnessClient(self._dialler), http)

    def close(self) -> None:
        """Close all channels."""
        self._dialler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
