"""What a party knows of one contract, and the bytes in which its vault keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, Json, canonicalise
from audit.envelope import Envelope
from sandbox.contract import MAX_CONTRACT_BYTES, Contract, parse_contract
from sandbox.contract_actions import MAX_ACTION_BYTES, StatusStatement, parse_action, parse_status
from sandbox.contract_states import ContractState, lease_end_ms, state_at

MAX_ACTIONS: Final = 256
_MAX_RECORD_BYTES: Final = 2 * MAX_CONTRACT_BYTES + 2 * MAX_ACTIONS * MAX_ACTION_BYTES


@dataclass(frozen=True, slots=True)
class ContractRecord:
    """A contract as this party knows it.

    `state` is the last that was logged, `state_at` what holds at a time. `heard_ms` is the regulator's time of its last
    word that the contract is active, None before the first. `regulator_ms` is that of its last word or action.
    `floor_ms` stands in for words of the regulator that a restored vault has lost (`sandbox.contract_log`), else 0.
    """

    contract_id: str
    contract: Contract
    envelope: Envelope
    state: ContractState
    actions: tuple[Envelope, ...]
    heard_ms: int | None
    regulator_ms: int
    transitions: int
    floor_ms: int = 0

    def state_at(self, now_ms: int) -> ContractState:
        """The state at a time, expiry included."""
        return state_at(self.state, self.contract, now_ms)

    @property
    def lease_end_ms(self) -> int:
        """Until when a provider may go on without hearing from the regulator."""
        return lease_end_ms(self.contract, self.heard_ms)

    def acted_ms(self, party: str) -> int:
        """The time of the party's last action on the contract, 0 before the first."""
        statements = map(parse_action, self.actions)
        return max((statement.at_ms for statement in statements if statement.actor == party), default=0)


def encode_record(record: ContractRecord) -> bytes:
    """The record as the vault keeps it; what was heard is kept apart, since it changes often."""
    body: dict[str, Json] = {
        "v": 1,
        "envelope": record.envelope.to_json(),
        "state": record.state.value,
        "actions": [action.to_json() for action in record.actions],
        "transitions": record.transitions,
    }
    if record.floor_ms:
        body["floor_ms"] = record.floor_ms
    return canonicalise(body)


def decode_record(data: bytes) -> ContractRecord:
    """The inverse of `encode_record`, nothing heard yet; raises `MalformedError` or `ContractError`."""
    fields = Fields.parse(data, limit=_MAX_RECORD_BYTES, where="contract record")
    fields.integer("v", 1, 1)
    envelope = Envelope.from_json(fields.object("envelope"), limit=MAX_CONTRACT_BYTES)
    actions = fields.objects("actions", max_items=MAX_ACTIONS)
    record = ContractRecord(
        contract_id=envelope.digest,
        contract=parse_contract(envelope),
        envelope=envelope,
        state=fields.choice("state", ContractState),
        actions=tuple(Envelope.from_json(action, limit=MAX_ACTION_BYTES) for action in actions),
        heard_ms=None,
        regulator_ms=0,
        transitions=fields.integer("transitions"),
        floor_ms=fields.optional_integer("floor_ms") or 0,
    )
    fields.finish()
    return record


def encode_status(envelope: Envelope, heard_ms: int | None) -> bytes:
    """The regulator's last word, and the time of its last ACTIVE, as the vault keeps them."""
    body: dict[str, Json] = {"v": 1, "envelope": envelope.to_json()}
    if heard_ms is not None:
        body["heard_ms"] = heard_ms
    return canonicalise(body)


def decode_status(data: bytes) -> tuple[StatusStatement, int | None]:
    """The inverse of `encode_status`; raises `MalformedError`."""
    fields = Fields.parse(data, limit=2 * MAX_ACTION_BYTES, where="contract status")
    fields.integer("v", 1, 1)
    statement = parse_status(Envelope.from_json(fields.object("envelope"), limit=MAX_ACTION_BYTES))
    heard_ms = fields.optional_integer("heard_ms")
    fields.finish()
    return statement, heard_ms
