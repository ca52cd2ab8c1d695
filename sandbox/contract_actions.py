"""What is signed about a contract after it was made: actions by its parties, statuses by the regulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.canonical import Json
from audit.directory import Directory
from audit.envelope import Envelope, PayloadType, seal
from audit.keys import SigningKey
from audit.names import PARTY_PATTERN
from sandbox.contract_checks import active_message_key, known_party, verify_by_key
from sandbox.contract_states import SIGNED_ACTIONS, ContractAction, ContractState
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.frame import is_printable

MAX_ACTION_BYTES: Final = 8 * 1024  # the envelope
MAX_REASON: Final = 500  # characters
NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class ActionStatement:
    """A rejection, suspension, resumption, revocation or termination.

    The 16-byte nonce keeps the reason secret where the statement's hash is in clear: in the ledger.

    Raises:
        ContractError: the action is none that is signed this way, or the reason is unprintable or too long.
    """

    contract: str
    action: ContractAction
    actor: str
    at_ms: int
    reason: str
    nonce: str

    def __post_init__(self) -> None:
        if self.action not in SIGNED_ACTIONS:
            raise ContractError(f"{self.action.value} is a signature over the contract itself, no action of its own")
        check_reason(self.reason)

    def to_body(self) -> dict[str, Json]:
        """The body that is signed."""
        return PayloadType.CONTRACT_ACTION.header() | {
            "contract": self.contract,
            "action": self.action.value,
            "actor": self.actor,
            "at_ms": self.at_ms,
            "reason": self.reason,
            "nonce": self.nonce,
        }

    def sign(self, key: SigningKey) -> Envelope:
        """Seal with the actor's message key."""
        return seal(self.to_body(), PayloadType.CONTRACT_ACTION, key)


@dataclass(frozen=True, slots=True)
class StatusStatement:
    """The regulator's word that a contract is in a state at a time; ACTIVE renews the providers' lease."""

    contract: str
    state: ContractState
    at_ms: int

    def to_body(self) -> dict[str, Json]:
        """The body that is signed."""
        return PayloadType.CONTRACT_STATUS.header() | {
            "contract": self.contract,
            "state": self.state.value,
            "at_ms": self.at_ms,
        }

    def sign(self, key: SigningKey) -> Envelope:
        """Seal with the regulator's message key."""
        return seal(self.to_body(), PayloadType.CONTRACT_STATUS, key)


def check_reason(reason: str) -> None:
    """Raise ContractError unless a reason is at most `MAX_REASON` printable characters; it may be empty."""
    if len(reason) > MAX_REASON or not is_printable(reason):
        raise ContractError(f"a reason is at most {MAX_REASON} printable characters on one line")


def parse_action(envelope: Envelope) -> ActionStatement:
    """Read an action. No signature is verified.

    Raises:
        MalformedError: another kind of body, or a malformed one.
        ContractError: as for `ActionStatement`.
    """
    fields = envelope.body(PayloadType.CONTRACT_ACTION, limit=MAX_ACTION_BYTES)
    statement = ActionStatement(
        contract=fields.hex("contract"),
        action=fields.choice("action", ContractAction),
        actor=fields.text("actor", pattern=PARTY_PATTERN),
        at_ms=fields.integer("at_ms"),
        reason=fields.text("reason", max_length=MAX_REASON, min_length=0),
        nonce=fields.hex("nonce", NONCE_BYTES),
    )
    fields.finish()
    return statement


def verify_action(envelope: Envelope, directory: Directory) -> ActionStatement:
    """Read an action that its actor has signed with its active message key.

    Raises:
        DeniedError: UNKNOWN_PARTY or BAD_SIGNATURE.
        MalformedError, ContractError: as `parse_action`.
    """
    statement = parse_action(envelope)
    record = known_party(directory, statement.actor, "actor")
    verify_by_key(envelope, active_message_key(record, "actor"), "actor")
    return statement


def parse_status(envelope: Envelope) -> StatusStatement:
    """Read a status. No signature is verified.

    Raises:
        MalformedError: another kind of body, or a malformed one.
    """
    fields = envelope.body(PayloadType.CONTRACT_STATUS, limit=MAX_ACTION_BYTES)
    statement = StatusStatement(fields.hex("contract"), fields.choice("state", ContractState), fields.integer("at_ms"))
    fields.finish()
    return statement


def verify_status(envelope: Envelope, directory: Directory) -> StatusStatement:
    """Read a status that the directory's regulator has signed with its active message key.

    Raises:
        DeniedError: UNKNOWN_PARTY or BAD_SIGNATURE.
        MalformedError: as `parse_status`.
    """
    statement = parse_status(envelope)
    record = known_party(directory, directory.regulator, "regulator")
    verify_by_key(envelope, active_message_key(record, "regulator"), "regulator")
    return statement


def check_not_ahead(at_ms: int, now_ms: int, skew_ms: int) -> None:
    """Refuse a statement from the future: it would outlast the next true one.

    Raises:
        DeniedError: STALE.
    """
    if at_ms > now_ms + skew_ms:
        detail = f"it is dated {at_ms - now_ms} ms ahead of this party's clock; set the clocks (NTP)"
        raise DeniedError(DenialReason.STALE, "at_ms", detail)
