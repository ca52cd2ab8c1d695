"""The regulator's contract desk: contracts in, countersignatures and suspensions out, and the word on their state."""

from __future__ import annotations

from typing import Final

from audit.envelope import Envelope
from audit.keys import SigningKey
from audit.names import Role
from parties.client.contracts import ContractClient
from parties.errors import PartyError
from parties.identity import require_role
from parties.telemetry import Logger
from sandbox.authorise import PeerIdentity
from sandbox.contract import MAX_CONTRACT_BYTES, parse_contract
from sandbox.contract_actions import MAX_ACTION_BYTES, parse_action
from sandbox.contract_book import ContractBook, ContractRecord
from sandbox.contract_states import ContractAction
from sandbox.errors import DenialReason, DeniedError, SandboxError
from sandbox.ports import CurrentDirectory
from sandbox.vault import Vault, VaultKind

_ACTION: Final = "action/"


class RegulatorDesk:
    """Implements `ContractDesk`. Threads may share one."""

    def __init__(
        self,
        key: SigningKey,
        book: ContractBook,
        vault: Vault,
        directory: CurrentDirectory,
        contracts: ContractClient,
        logger: Logger,
    ) -> None:
        self._key = key
        self._book = book
        self._vault = vault
        self._directory = directory
        self._contracts = contracts
        self._logger = logger
        self._waiting: set[str] = set()

    def apply(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in a contract that needs the regulator's countersignature, from its merchant."""
        return self._book.receive(self._from_merchant(envelope, peer), self._directory())

    def get(self, contract_id: str, peer: PeerIdentity) -> ContractRecord:
        """Return one contract that `peer` is a party of; the regulator is a party of all."""
        record = self._book.get(contract_id)
        if peer.party not in record.contract.parties:
            detail = f"no contract {contract_id[:16]} of {peer.party} is held here"
            raise DeniedError(DenialReason.CONTRACT_UNKNOWN, "contract", detail)
        return record

    def list(self, peer: PeerIdentity) -> tuple[ContractRecord, ...]:
        """Return the contracts that `peer` is a party of; the regulator is a party of all."""
        return tuple(record for record in self._book.all() if peer.party in record.contract.parties)

    def activate(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in the contract with all its signatures, from its merchant."""
        return self._book.activate(self._from_merchant(envelope, peer), self._directory())

    def decide(self, contract_id: str, action: ContractAction, reason: str) -> ContractRecord:
        """Carry out the officials' decision: countersign (APPROVE), or sign and log an action.

        `deliver` pushes it to the providers; until one has got it, its lease bounds how long it goes on.
        """
        if action is ContractAction.APPROVE:
            return self._book.approve(contract_id, self._key, self._directory(), reason=reason)
        record = self._book.decide(contract_id, action, reason, self._key)
        envelope = record.actions[-1]
        for provider in record.contract.providers:
            self._vault.put(VaultKind.OUTBOX, f"{_ACTION}{envelope.digest}/{provider}", envelope.encode())
        return record

    def submit_action(self, envelope: bytes, peer: PeerIdentity) -> ContractRecord:
        """Take in a party's own signed action."""
        action = Envelope.decode(envelope, limit=MAX_ACTION_BYTES)
        actor = parse_action(action).actor
        if actor != peer.party:
            detail = f"{peer.party} brings an action of {actor}; its actor brings it"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "actor", detail)
        return self._book.act(action, self._directory())

    def status(self, contract_id: str, peer: PeerIdentity) -> bytes:
        """Return the signed word on the contract's state, to its parties."""
        return self._book.status(self.get(contract_id, peer).contract_id, self._key).encode()

    def deliver(self) -> None:
        """Push the decisions that providers have not got yet; what cannot be pushed now stays."""
        for key, value in self._vault.items(VaultKind.OUTBOX, _ACTION):
            provider = key.rpartition("/")[2]
            try:
                self._contracts.submit(provider, Envelope.decode(value, limit=MAX_ACTION_BYTES))
            except DeniedError as error:  # it never held the contract, or has ended it itself
                self._logger.info("a provider took no action", provider=provider, reason=error.reason.value)
            except (SandboxError, PartyError) as error:
                if key not in self._waiting:
                    self._logger.warning("a decision waits for a provider", provider=provider, error=str(error))
                self._waiting.add(key)
                continue
            self._waiting.discard(key)
            self._vault.delete(VaultKind.OUTBOX, key)

    def _from_merchant(self, envelope: bytes, peer: PeerIdentity) -> Envelope:
        require_role(peer, Role.MERCHANT)
        decoded = Envelope.decode(envelope, limit=MAX_CONTRACT_BYTES)
        merchant = parse_contract(decoded).merchant
        if merchant != peer.party:
            detail = f"{peer.party} brings a contract of {merchant}; its merchant brings it"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "merchant", detail)
        return decoded
