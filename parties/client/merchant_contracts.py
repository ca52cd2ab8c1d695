"""A merchant's contracts: signed and laid before the providers, their signatures gathered, put in force everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from audit.envelope import Envelope
from audit.keys import SigningKey
from parties.client.contracts import ContractClient, HeldContract
from parties.contract_ids import find_contract
from sandbox.contract import Contract, sign_contract
from sandbox.contract_book import ContractBook
from sandbox.contract_checks import required_signers
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import FINAL_STATES, ContractAction, ContractState
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError, StateTransitionError
from sandbox.ports import CurrentDirectory

_IN_FORCE: Final = frozenset({ContractState.ACTIVE, ContractState.SUSPENDED})


class MerchantContracts:
    """Threads may share one. `say` hears what a person at the merchant should know."""

    def __init__(
        self,
        book: ContractBook,
        client: ContractClient,
        directory: CurrentDirectory,
        key: SigningKey,
        say: Callable[[str], None],
    ) -> None:
        self._book = book
        self._client = client
        self._directory = directory
        self._key = key
        self._say = say

    def all(self) -> tuple[ContractRecord, ...]:
        """Return every contract of this merchant, by id."""
        return self._book.all()

    def find(self, prefix: str) -> ContractRecord:
        """Return the one contract whose id starts with `prefix` (the whole id, or at least six characters of it).

        Raises:
            UsageError: the abbreviation is too short, or several contracts start so.
            DeniedError: CONTRACT_UNKNOWN.
        """
        return find_contract(self._book.all(), prefix)

    def lay(self, contract: Contract) -> ContractRecord:
        """Sign a contract, keep it, and lay it before its providers.

        A provider that cannot be reached gets it with the next `refresh`. If one refuses it, which is raised, the
        contract is ended, here and at those that have it already.
        """
        record = self._book.receive(sign_contract(contract, self._key), self._directory())
        for provider in contract.providers:
            try:
                with self._tolerating():
                    self._client.apply(provider, record.envelope)
            except DeniedError as error:
                self.terminate(record.contract_id, f"refused by {provider}: {error.reason.value}")
                detail = f"{provider}: {error.detail}"
                raise DeniedError(error.reason, error.clause, detail, error.check, error.left) from error
        return record

    def refresh(self, contract_id: str) -> ContractRecord:
        """Gather signatures and actions, and put the contract in force once everyone who must has signed.

        Parties that cannot be reached are told of through `say`; calling again goes on where this stopped.
        """
        record = self._book.get(contract_id)
        for provider in record.contract.providers:
            with self._tolerating():
                record = self._gather(provider, record)
        if self._is_for_the_regulator(record):
            with self._tolerating():
                record = self._gather(record.contract.regulator, record)
        if record.state is ContractState.TERMINATED:
            self._tell(record)
        if record.state not in FINAL_STATES | _IN_FORCE and not self._missing(record):
            record = self._put_in_force(record)
        return record

    def terminate(self, contract_id: str, reason: str) -> ContractRecord:
        """Sign the end of a contract and tell everyone who holds it."""
        record = self._book.decide(contract_id, ContractAction.TERMINATE, reason, self._key)
        self._tell(record)
        return record

    def missing(self, record: ContractRecord) -> tuple[str, ...]:
        """Return who has still to sign."""
        return self._missing(record)

    def _gather(self, party: str, record: ContractRecord) -> ContractRecord:
        try:
            held = self._client.get(party, record.contract_id)
        except DeniedError as error:
            if error.reason is not DenialReason.CONTRACT_UNKNOWN:
                raise
            try:
                held = self._client.apply(party, record.envelope)
            except DeniedError as refusal:
                self._say(f"{party} refuses contract {record.contract_id[:12]}: {refusal}")
                return record
        return self._merge(held, record)

    def _merge(self, held: HeldContract, record: ContractRecord) -> ContractRecord:
        directory = self._directory()
        record = self._book.receive(held.envelope, directory)
        known = {action.digest for action in record.actions}
        for action in held.actions:
            if action.digest not in known:
                record = self._hear(action, record)
        return record

    def _hear(self, action: Envelope, record: ContractRecord) -> ContractRecord:
        try:
            return self._book.act(action, self._directory())
        except StateTransitionError:  # it ended in another way before
            return record

    def _is_for_the_regulator(self, record: ContractRecord) -> bool:
        """Whether the regulator holds it, or is the only one that has still to sign."""
        return record.state in _IN_FORCE or self._missing(record) == (record.contract.regulator,)

    def _missing(self, record: ContractRecord) -> tuple[str, ...]:
        directory = self._directory()
        return tuple(
            name
            for name in required_signers(record.contract)
            if not any(
                line.keyid == item.key.keyid
                for line in record.envelope.signatures
                for item in directory.party(name).keys
            )
        )

    def _put_in_force(self, record: ContractRecord) -> ContractRecord:
        """The regulator first, since providers ask it at once."""
        contract = record.contract
        reached = []
        for party in (contract.regulator, *contract.providers):
            with self._tolerating():
                if party == contract.regulator or self._client.get(party, record.contract_id).state not in _IN_FORCE:
                    self._client.activate(party, record.envelope)
                reached.append(party)
        if len(reached) <= len(contract.providers):
            return record
        return self._book.activate(record.envelope, self._directory())

    def _tell(self, record: ContractRecord) -> None:
        """Bring the merchant's last action to everyone who holds the contract; a party that has it already keeps it."""
        for party in (record.contract.regulator, *record.contract.providers):
            # One that never held the contract, or has ended it itself, refuses: it has nothing to end.
            with self._tolerating(), suppress(DeniedError, StateTransitionError):
                self._client.submit(party, record.actions[-1])

    @contextmanager
    def _tolerating(self) -> Iterator[None]:
        try:
            yield
        except PeerUnavailableError as error:
            self._say(f"{error}; `unseen contract refresh` tries again")
