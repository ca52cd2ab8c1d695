"""The contract service, the same for a provider and the regulator: what is behind it is a `ContractDesk`."""

# ruff: noqa: N802  (gRPC calls the methods by their names on the wire)

from __future__ import annotations

from typing import Final

import grpc
from unseen.v1 import contract_pb2, contract_pb2_grpc

from parties.compute_messages import bounded, digest
from parties.desk import ContractDesk
from parties.identity import require_self
from parties.service.edge import Edge
from sandbox.contract import MAX_CONTRACT_BYTES
from sandbox.contract_book import ContractRecord
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import DenialReason, DeniedError

MAX_REASON: Final = 500
MAX_ACTION_BYTES: Final = 16 * 1024

STATES: Final = {state: contract_pb2.ContractState.Value(f"CONTRACT_STATE_{state.name}") for state in ContractState}
"""How each state is written on the wire."""
DECISIONS: Final = {
    contract_pb2.DECISION_APPROVE: ContractAction.APPROVE,
    contract_pb2.DECISION_REJECT: ContractAction.REJECT,
    contract_pb2.DECISION_SUSPEND: ContractAction.SUSPEND,
    contract_pb2.DECISION_RESUME: ContractAction.RESUME,
    contract_pb2.DECISION_REVOKE: ContractAction.REVOKE,
    contract_pb2.DECISION_TERMINATE: ContractAction.TERMINATE,
}
"""What each decision on the wire means."""


class ContractService(contract_pb2_grpc.ContractServiceServicer):
    """Lays signed bytes before the desk; who may do what, the desk decides."""

    def __init__(self, desk: ContractDesk, party: str, edge: Edge) -> None:
        self._desk = desk
        self._party = party
        self._edge = edge

    def Apply(self, request: contract_pb2.ApplyRequest, context: grpc.ServicerContext) -> contract_pb2.ApplyResponse:
        """Take in a contract that its merchant has signed."""
        with self._edge.serving(context) as caller:
            record = self._desk.apply(bounded("envelope", request.envelope, MAX_CONTRACT_BYTES), caller.peer)
            return contract_pb2.ApplyResponse(contract=contract_to_wire(record))

    def GetContract(
        self, request: contract_pb2.GetContractRequest, context: grpc.ServicerContext
    ) -> contract_pb2.GetContractResponse:
        """Return one contract of the caller's."""
        with self._edge.serving(context) as caller:
            record = self._desk.get(digest("contract_id", request.contract_id), caller.peer)
            return contract_pb2.GetContractResponse(contract=contract_to_wire(record))

    def ListContracts(
        self, request: contract_pb2.ListContractsRequest, context: grpc.ServicerContext
    ) -> contract_pb2.ListContractsResponse:
        """Page through the caller's contracts by id; a page's token is its last id."""
        with self._edge.serving(context) as caller:
            held = {record.contract_id: contract_to_wire(record) for record in self._desk.list(caller.peer)}
            sizes = {contract_id: contract.ByteSize() for contract_id, contract in held.items()}
            page, token = self._edge.page(sizes, request.page_size, request.page_token)
            return contract_pb2.ListContractsResponse(contracts=[held[name] for name in page], next_page_token=token)

    def Activate(
        self, request: contract_pb2.ActivateRequest, context: grpc.ServicerContext
    ) -> contract_pb2.ActivateResponse:
        """Take in the contract with all its signatures."""
        with self._edge.serving(context) as caller:
            record = self._desk.activate(bounded("envelope", request.envelope, MAX_CONTRACT_BYTES), caller.peer)
            return contract_pb2.ActivateResponse(contract=contract_to_wire(record))

    def Decide(self, request: contract_pb2.DecideRequest, context: grpc.ServicerContext) -> contract_pb2.DecideResponse:
        """Carry out the decision of this party's own officials."""
        with self._edge.serving(context) as caller:
            require_self(caller.peer, self._party)
            action = DECISIONS.get(request.decision)
            if action is None:
                raise DeniedError(
                    DenialReason.MALFORMED, "decision", "the decision is missing or unknown to this release"
                )
            if len(request.reason) > MAX_REASON:
                raise DeniedError(DenialReason.TOO_LARGE, "reason", f"a reason has at most {MAX_REASON} characters")
            record = self._desk.decide(digest("contract_id", request.contract_id), action, request.reason)
            return contract_pb2.DecideResponse(contract=contract_to_wire(record))

    def SubmitAction(
        self, request: contract_pb2.SubmitActionRequest, context: grpc.ServicerContext
    ) -> contract_pb2.SubmitActionResponse:
        """Take in another party's signed action."""
        with self._edge.serving(context) as caller:
            record = self._desk.submit_action(bounded("envelope", request.envelope, MAX_ACTION_BYTES), caller.peer)
            return contract_pb2.SubmitActionResponse(contract=contract_to_wire(record))

    def GetStatus(
        self, request: contract_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> contract_pb2.GetStatusResponse:
        """Return the regulator's signed word on a contract's state."""
        with self._edge.serving(context) as caller:
            return contract_pb2.GetStatusResponse(
                envelope=self._desk.status(digest("contract_id", request.contract_id), caller.peer)
            )


def contract_to_wire(record: ContractRecord) -> contract_pb2.Contract:
    """Write a contract as this party holds it."""
    return contract_pb2.Contract(
        contract_id=record.contract_id,
        state=STATES[record.state],
        envelope=record.envelope.encode(),
        actions=[action.encode() for action in record.actions],
    )
