"""A party's book of contracts: what it has received, signed and heard, durable in the vault, each transition logged.

A transition is first laid down in the vault as pending, then appended to the ledger under a key of its own
(`contract:<id>:<number>`), then made current. After a crash the ledger decides: what it holds is made current, what it
lacks is forgotten; where a restored vault is behind the ledger, no contract falls back (`sandbox.contract_log`). The
ledger has the actor's reason as a salted commitment only; the opening stays in the vault.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from audit.commitment import Opening, commit, encode_openings
from audit.directory import Directory, Role
from audit.entry import ContractTransition
from audit.entry_keys import contract_key
from audit.envelope import Envelope
from audit.keys import SigningKey
from audit.ledger import Draft, Ledger
from audit.names import KeyPurpose, key_name
from sandbox.contract import Contract, parse_contract
from sandbox.contract_actions import (
    NONCE_BYTES,
    ActionStatement,
    StatusStatement,
    check_not_ahead,
    check_reason,
    verify_action,
    verify_status,
)
from sandbox.contract_checks import check_contract, verify_complete, verify_known_signatures, verify_signed_by
from sandbox.contract_log import caught_up, logged_transition
from sandbox.contract_record import (
    MAX_ACTIONS,
    ContractRecord,
    decode_record,
    decode_status,
    encode_record,
    encode_status,
)
from sandbox.contract_states import (
    ContractAction,
    ContractState,
    heard_state,
    next_state,
)
from sandbox.errors import ContractError, DenialReason, DeniedError, StateTransitionError
from sandbox.ports import Clock, Entropy
from sandbox.vault import Vault, VaultKind

__all__ = ["SKEW_MS", "UNANSWERED_LIMIT", "ContractBook", "ContractRecord"]

SKEW_MS: Final = 60_000  # how far a signed statement may be ahead of this party's clock
UNANSWERED_LIMIT: Final = 200  # applications of one merchant that nobody here has answered
UNANSWERED_MS: Final = 30 * 24 * 3_600_000  # how long after its validity an unanswered application counts
_SALT_BYTES: Final = 32
_PENDING: Final = "pending:"


class ContractBook:
    """The contracts of one party. Threads may share it; `Ledger` and `Vault` outlive it.

    Every method that takes a foreign envelope verifies it first. Besides what each says, all raise `VaultError` and
    `LedgerError` when nothing could be recorded; the contract then stays as it was.
    """

    def __init__(self, vault: Vault, ledger: Ledger, party: str, role: Role, clock: Clock, entropy: Entropy) -> None:
        self._vault = vault
        self._ledger = ledger
        self._party = party
        self._role = role
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.RLock()
        self._records: dict[str, ContractRecord] = {}
        for key, value in vault.items(VaultKind.CONTRACT):
            if not key.startswith(_PENDING):
                self._records[key] = self._with_status(decode_record(value))
        for key, _ in vault.items(VaultKind.CONTRACT, _PENDING):
            self._settle(key.removeprefix(_PENDING))
        self.catch_up()

    def catch_up(self) -> None:
        """Take over the state of each contract from a ledger that is ahead of the vault, as after a restored backup.

        Done at opening; to be done again when the ledger has taken entries back meanwhile (`Ledger.adopt`).
        """
        with self._lock:
            for record in tuple(self._records.values()):
                further = caught_up(record, self._ledger, SKEW_MS)
                if further is not record:
                    self._make_current(further)

    def get(self, contract_id: str) -> ContractRecord:
        """One contract.

        Raises:
            DeniedError: CONTRACT_UNKNOWN.
        """
        with self._lock:
            record = self._records.get(contract_id)
        if record is None:
            detail = f"{self._party} holds no contract {contract_id[:64]!r}; lay it before it (unseen contract apply)"
            raise DeniedError(DenialReason.CONTRACT_UNKNOWN, "contract", detail)
        return record

    def all(self) -> tuple[ContractRecord, ...]:
        """Every contract, by id."""
        with self._lock:
            return tuple(self._records[key] for key in sorted(self._records))

    def receive(self, envelope: Envelope, directory: Directory) -> ContractRecord:
        """Take in a contract that its merchant has signed, or further signatures to one that is known.

        Raises:
            DeniedError: as `check_contract` and `verify_known_signatures`; PARTICIPANT_SET_MISMATCH when this party has
                no part in it; RATE_LIMITED when too many of the merchant's applications wait for an answer.
            MalformedError, ContractError: the document is wrong, or its validity is over.
        """
        contract = parse_contract(envelope)
        if self._party not in contract.parties:
            detail = f"{self._party} has no part in this contract; send it to the parties that it names"
            raise DeniedError(DenialReason.PARTICIPANT_SET_MISMATCH, "providers", detail)
        check_contract(contract, directory)
        verify_known_signatures(envelope, contract, directory)
        verify_signed_by(envelope, directory.party(contract.merchant))
        with self._lock:
            self._settle(envelope.digest)
            known = self._records.get(envelope.digest)
            if known is None:
                if self._clock.now_ms() >= contract.validity.not_after_ms:
                    raise ContractError("the contract's validity is over; sign one with a later not_after")
                fresh = ContractRecord(envelope.digest, contract, envelope, ContractState.DRAFT, (), None, 0, 0)
                known = caught_up(fresh, self._ledger, SKEW_MS)
                if known is fresh:
                    self._verify_room(known, directory)
            merged = replace(known, envelope=known.envelope.merge(envelope))
            return self._follow_signatures(merged, directory)

    def approve(self, contract_id: str, key: SigningKey, directory: Directory, *, reason: str = "") -> ContractRecord:
        """Add this party's signature: a provider's approval or the regulator's countersignature.

        A provider calls `check_fit` with its own declaration first. The signature is over the contract alone; the
        reason stays here, in the vault, and the ledger commits to it.

        Raises:
            DeniedError: CONTRACT_UNKNOWN, or as `check_contract`.
            StateTransitionError: the contract's state does not allow it.
            ContractError: the reason is unprintable or too long.
        """
        check_reason(reason)
        opening = self._opening(reason) if reason else None
        with self._lock:
            record = self._current(contract_id)
            next_state(record.state_at(self._clock.now_ms()), ContractAction.APPROVE, self._role)
            check_contract(record.contract, directory)
            return self._follow_signatures(replace(record, envelope=record.envelope.sign(key)), directory, opening)

    def activate(self, envelope: Envelope, directory: Directory) -> ContractRecord:
        """Take in the complete set of signatures and put the contract in force. A second time changes nothing.

        Raises:
            DeniedError: as `verify_complete` and `receive`.
            StateTransitionError: this party has not approved it, or it has ended.
        """
        verify_complete(envelope, directory)
        with self._lock:
            record = self.receive(envelope, directory)
            if record.state_at(self._clock.now_ms()) is ContractState.ACTIVE:
                return record
            state = next_state(record.state_at(self._clock.now_ms()), ContractAction.ACTIVATE, Role.MERCHANT)
            return self._transition(replace(record, state=state), record.contract.merchant, record.contract_id, None)

    def decide(self, contract_id: str, action: ContractAction, reason: str, key: SigningKey) -> ContractRecord:
        """Sign and carry out an action of this party; the signed envelope is the last of the record's `actions`.

        Raises:
            DeniedError: CONTRACT_UNKNOWN.
            StateTransitionError: the state does not allow it by this role.
            ContractError: the reason is unprintable or too long.
        """
        with self._lock:
            record = self._current(contract_id)
            at_ms = max(self._clock.now_ms(), self._latest_ms(record, self._party) + 1)
            nonce = self._entropy.token(NONCE_BYTES).hex()
            statement = ActionStatement(contract_id, action, self._party, at_ms, reason, nonce)
            return self._apply(record, statement, statement.sign(key))

    def reject(self, contract_id: str, reason: str, key: SigningKey) -> ContractRecord:
        """Refuse a contract before it is in force; as `decide`."""
        return self.decide(contract_id, ContractAction.REJECT, reason, key)

    def act(self, envelope: Envelope, directory: Directory) -> ContractRecord:
        """Take in a signed action of another party. The same action a second time changes nothing.

        Raises:
            DeniedError: BAD_SIGNATURE, UNKNOWN_PARTY, CONTRACT_UNKNOWN, WRONG_ROLE (no party of the contract), or STALE
                (dated ahead, or not after the actor's last one).
            StateTransitionError: the state does not allow it by the actor's role.
            MalformedError, ContractError: it is malformed.
        """
        statement = verify_action(envelope, directory)
        check_not_ahead(statement.at_ms, self._clock.now_ms(), SKEW_MS)
        with self._lock:
            record = self._current(statement.contract)
            if any(known.digest == envelope.digest for known in record.actions):
                return record
            return self._apply(record, statement, envelope)

    def status(self, contract_id: str, key: SigningKey) -> Envelope:
        """The regulator's signed word on a contract's state now.

        Raises:
            DeniedError: CONTRACT_UNKNOWN; WRONG_ROLE when this party is not the regulator.
        """
        if self._role is not Role.REGULATOR:
            raise DeniedError(DenialReason.WRONG_ROLE, "role", "the regulator alone states a contract's status; ask it")
        record = self.get(contract_id)
        now_ms = self._clock.now_ms()
        at_ms = max(now_ms, self._latest_ms(record, self._party))
        return StatusStatement(contract_id, record.state_at(now_ms), at_ms).sign(key)

    def hear_status(self, envelope: Envelope, directory: Directory) -> ContractRecord:
        """Take in the regulator's status: renew the lease if it says ACTIVE, follow it if it says otherwise.

        Raises:
            DeniedError: BAD_SIGNATURE, CONTRACT_UNKNOWN, or STALE (dated ahead, or older than what was heard before).
            MalformedError: it is malformed.
        """
        statement = verify_status(envelope, directory)
        check_not_ahead(statement.at_ms, self._clock.now_ms(), SKEW_MS)
        with self._lock:
            record = self._current(statement.contract)
            state = heard_state(record.state, statement.state)
            if statement.at_ms < record.regulator_ms or (
                statement.at_ms == record.regulator_ms and state is not record.state
            ):
                detail = f"the regulator was heard at {record.regulator_ms} ms, this is of {statement.at_ms} ms"
                raise DeniedError(DenialReason.STALE, "at_ms", detail)
            active = statement.state is ContractState.ACTIVE
            heard_ms = statement.at_ms if active else record.heard_ms
            heard = replace(record, heard_ms=heard_ms, regulator_ms=statement.at_ms)
            if state is not record.state:
                heard = self._transition(replace(heard, state=state), directory.regulator, envelope.digest, None)
            self._vault.put(VaultKind.STATUS, record.contract_id, encode_status(envelope, heard_ms))
            self._records[record.contract_id] = heard
            return heard

    def _apply(self, record: ContractRecord, statement: ActionStatement, envelope: Envelope) -> ContractRecord:
        contract = record.contract
        if statement.actor not in contract.parties:
            detail = f"{statement.actor} is no party of this contract"
            raise DeniedError(DenialReason.WRONG_ROLE, "actor", detail)
        if len(record.actions) >= MAX_ACTIONS:
            raise StateTransitionError(
                f"the contract has had {MAX_ACTIONS} actions, no further is taken; make a new one"
            )
        latest = self._latest_ms(record, statement.actor)
        if statement.at_ms <= latest:
            detail = f"the last word of {statement.actor} is of {latest} ms, this is of {statement.at_ms} ms"
            raise DeniedError(DenialReason.STALE, "at_ms", detail)
        role = _role_in(contract, statement.actor)
        state = next_state(record.state_at(self._clock.now_ms()), statement.action, role)
        regulator_ms = statement.at_ms if role is Role.REGULATOR else record.regulator_ms
        acted = replace(record, state=state, actions=(*record.actions, envelope), regulator_ms=regulator_ms)
        return self._transition(acted, statement.actor, envelope.digest, self._opening(statement.reason))

    def _opening(self, reason: str) -> Opening:
        return Opening(self._entropy.token(_SALT_BYTES), reason.encode())

    def _verify_room(self, record: ContractRecord, directory: Directory) -> None:
        """Blocks a merchant that fills vault, ledger and memory with applications that nobody has agreed to.

        Ending its own applications, or letting them run out, makes it no room before a month has passed.
        """
        if self._party == record.contract.merchant or self._is_answered(record, directory):
            return
        since_ms = self._clock.now_ms() - UNANSWERED_MS
        waiting = sum(
            known.contract.merchant == record.contract.merchant
            and known.contract.validity.not_after_ms > since_ms
            and not self._is_answered(known, directory)
            for known in self._records.values()
        )
        if waiting >= UNANSWERED_LIMIT:
            detail = f"{waiting} applications of {record.contract.merchant} wait for an answer here; ask for it first"
            raise DeniedError(DenialReason.RATE_LIMITED, "applications", detail)

    def _is_answered(self, record: ContractRecord, directory: Directory) -> bool:
        """Whether it was rejected, or whoever has to approve it before this party goes on has signed it."""
        if record.state is ContractState.REJECTED:
            return True
        needed = (self._party,) if self._role is Role.PROVIDER else record.contract.providers
        keys = (key_name(name, Role.PROVIDER, directory.domain, KeyPurpose.MESSAGE) for name in needed)
        return all(record.envelope.signed_by(name) for name in keys)

    @staticmethod
    def _latest_ms(record: ContractRecord, actor: str) -> int:
        """The time of the actor's last word on the contract; a later action must be after it."""
        return record.regulator_ms if actor == record.contract.regulator else record.acted_ms(actor)

    def _follow_signatures(
        self, record: ContractRecord, directory: Directory, reason: Opening | None = None
    ) -> ContractRecord:
        """Bring the state up to what the signatures, all verified, say; store them also where it stays.

        `reason` is this party's own, for its signature.
        """
        start = record
        while (step := self._signature_step(record, directory)) is not None:
            state, actor = step
            own = reason if actor == self._party else None
            record = self._transition(replace(record, state=state), actor, record.contract_id, own)
        if record is start:
            self._vault.put(VaultKind.CONTRACT, record.contract_id, encode_record(record))
            self._records[record.contract_id] = record
        return record

    def _signature_step(self, record: ContractRecord, directory: Directory) -> tuple[ContractState, str] | None:
        """The next state that the signatures call for, and the party whose signature does."""
        contract = record.contract
        signers = {name for name in contract.parties if _has_signed(record.envelope, name, directory)}
        if record.state is ContractState.DRAFT and contract.merchant in signers:
            return next_state(record.state, ContractAction.SIGN, Role.MERCHANT), contract.merchant
        needed = {self._party} if self._role is Role.PROVIDER else set(contract.providers)
        if record.state is ContractState.SIGNED and needed <= signers:
            return next_state(record.state, ContractAction.APPROVE, Role.PROVIDER), max(needed)
        if record.state is ContractState.APPROVED and contract.regulator in signers:
            return next_state(record.state, ContractAction.APPROVE, Role.REGULATOR), contract.regulator
        return None

    def _transition(self, record: ContractRecord, actor: str, digest: str, reason: Opening | None) -> ContractRecord:
        """Lay down, log, make current."""
        record = replace(record, transitions=record.transitions + 1)
        ident = record.contract_id
        key = contract_key(ident, record.transitions)
        entry = ContractTransition(
            party=self._party,
            at_ms=self._clock.now_ms(),
            contract=ident,
            state=record.state.value,
            actor=actor,
            digest=digest,
            reason="" if reason is None else commit("reason", reason.salt, reason.value),
        )
        with self._vault.transaction():
            self._vault.put(VaultKind.CONTRACT, _PENDING + ident, encode_record(record))
            if reason is not None:
                self._vault.put(VaultKind.OPENINGS, key, encode_openings({"reason": reason}))
        self._ledger.append(Draft(entry, keys=(key,)))
        self._make_current(record)
        return record

    def _make_current(self, record: ContractRecord) -> None:
        with self._vault.transaction():
            self._vault.put(VaultKind.CONTRACT, record.contract_id, encode_record(record))
            self._vault.delete(VaultKind.CONTRACT, _PENDING + record.contract_id)
        self._records[record.contract_id] = record

    def _current(self, contract_id: str) -> ContractRecord:
        self._settle(contract_id)
        return self.get(contract_id)

    def _settle(self, contract_id: str) -> None:
        """Finish or forget a transition of which it was not known whether the ledger has it.

        Beside a vault that is behind, the ledger may have another one under its number.
        """
        value = self._vault.get(VaultKind.CONTRACT, _PENDING + contract_id)
        if value is None:
            return
        record = self._with_status(decode_record(value))
        logged = logged_transition(self._ledger, contract_id, record.transitions)
        if logged is not None and logged.state == record.state.value:
            self._make_current(record)
        else:
            self._vault.delete(VaultKind.CONTRACT, _PENDING + contract_id)

    def _with_status(self, record: ContractRecord) -> ContractRecord:
        """The record with what the regulator last said."""
        acted = max(record.acted_ms(record.contract.regulator), record.floor_ms)
        value = self._vault.get(VaultKind.STATUS, record.contract_id)
        if value is None:
            return replace(record, regulator_ms=acted)
        statement, heard_ms = decode_status(value)
        return replace(record, heard_ms=heard_ms, regulator_ms=max(acted, statement.at_ms))


def _role_in(contract: Contract, party: str) -> Role:
    if party == contract.merchant:
        return Role.MERCHANT
    return Role.REGULATOR if party == contract.regulator else Role.PROVIDER


def _has_signed(envelope: Envelope, party: str, directory: Directory) -> bool:
    keys = {item.key.keyid for item in directory.party(party).keys}
    return any(line.keyid in keys for line in envelope.signatures)
