"""Calling other parties' contract services: applications and decisions out, contracts with their signatures in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from unseen.v1 import contract_pb2, contract_pb2_grpc

from audit.envelope import Envelope
from audit.errors import MalformedError
from parties.channel import Dialler, PeerChannel
from parties.compute_messages import digest
from parties.service.contract import DECISIONS, STATES
from sandbox.contract import MAX_CONTRACT_BYTES
from sandbox.contract_actions import MAX_ACTION_BYTES
from sandbox.contract_record import MAX_ACTIONS
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError

MAX_PAGES: Final = 10_000

_STATES: Final = {number: state for state, number in STATES.items()}
_DECISIONS: Final = {action: number for number, action in DECISIONS.items()}


@dataclass(frozen=True, slots=True)
class HeldContract:
    """A contract as another party says that it holds it. Nothing in it is verified."""

    contract_id: str
    state: ContractState
    envelope: Envelope
    actions: tuple[Envelope, ...]


class ContractClient:
    """Threads may share one. Every method raises what `PeerChannel.call` raises, and PeerMisbehavedError."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    def apply(self, party: str, envelope: Envelope) -> HeldContract:
        """Lay a contract before a party."""
        channel, stub = self._stub(party)
        request = contract_pb2.ApplyRequest(envelope=envelope.encode())
        return _held(party, channel.call(stub.Apply, request).contract)

    def get(self, party: str, contract_id: str, *, timeout_ms: int | None = None) -> HeldContract:
        """Fetch one contract with the signatures and actions that a party holds, in `timeout_ms` or the default."""
        channel, stub = self._stub(party)
        request = contract_pb2.GetContractRequest(contract_id=contract_id)
        return _held(party, channel.call(stub.GetContract, request, timeout_ms=timeout_ms).contract)

    def list(self, party: str) -> Iterator[HeldContract]:
        """Fetch every contract that a party holds and this one is a party of, page by page."""
        channel, stub = self._stub(party)
        token = ""
        for _ in range(MAX_PAGES):
            page = channel.call(stub.ListContracts, contract_pb2.ListContractsRequest(page_token=token))
            yield from (_held(party, contract) for contract in page.contracts)
            token = page.next_page_token
            if not token:
                return
        raise PeerMisbehavedError(party, DenialReason.TOO_LARGE, f"its list of contracts has over {MAX_PAGES} pages")

    def activate(self, party: str, envelope: Envelope) -> HeldContract:
        """Hand over a contract with all its signatures."""
        channel, stub = self._stub(party)
        request = contract_pb2.ActivateRequest(envelope=envelope.encode())
        return _held(party, channel.call(stub.Activate, request).contract)

    def submit(self, party: str, action: Envelope) -> HeldContract:
        """Deliver a signed action."""
        channel, stub = self._stub(party)
        request = contract_pb2.SubmitActionRequest(envelope=action.encode())
        return _held(party, channel.call(stub.SubmitAction, request).contract)

    def status(self, regulator: str, contract_id: str) -> Envelope:
        """Ask the regulator for its signed word on a contract's state."""
        channel, stub = self._stub(regulator)
        response = channel.call(stub.GetStatus, contract_pb2.GetStatusRequest(contract_id=contract_id))
        return _envelope(regulator, response.envelope, MAX_ACTION_BYTES)

    def decide(self, channel: PeerChannel, contract_id: str, action: ContractAction, reason: str) -> HeldContract:
        """Have this party's own running server carry out its officials' decision; `channel` leads to it."""
        stub = contract_pb2_grpc.ContractServiceStub(channel.channel)
        request = contract_pb2.DecideRequest(contract_id=contract_id, decision=_DECISIONS[action], reason=reason)
        return _held(channel.party, channel.call(stub.Decide, request).contract)

    def _stub(self, party: str) -> tuple[PeerChannel, contract_pb2_grpc.ContractServiceStub]:
        channel = self._dialler.dial(party)
        return channel, contract_pb2_grpc.ContractServiceStub(channel.channel)


def _held(party: str, contract: contract_pb2.Contract) -> HeldContract:
    if contract.state not in _STATES or len(contract.actions) > MAX_ACTIONS:
        raise PeerMisbehavedError(
            party, DenialReason.MALFORMED, "its contract has an unknown state or too many actions"
        )
    envelope = _envelope(party, contract.envelope, MAX_CONTRACT_BYTES)
    try:
        contract_id = digest("contract_id", contract.contract_id)
    except DeniedError as error:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, error.detail) from error
    if contract_id != envelope.digest:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, "its contract is not the one that its id names")
    actions = tuple(_envelope(party, action, MAX_ACTION_BYTES) for action in contract.actions)
    return HeldContract(contract_id, _STATES[contract.state], envelope, actions)


def _envelope(party: str, data: bytes, limit: int) -> Envelope:
    try:
        return Envelope.decode(data, limit=limit)
    except MalformedError as error:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, f"an envelope of its answer: {error}") from error
