"""Hears the regulator on every contract in force, before its lease ends, and brings it the officials' decisions."""

from __future__ import annotations

from typing import Final

from audit.clock import Clock
from audit.errors import AuditError
from parties.errors import PartyError
from parties.lasting_trouble import LastingTrouble
from parties.provider_desk import ProviderDesk
from parties.telemetry import Logger
from sandbox.contract_book import ContractBook
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import ContractState
from sandbox.errors import SandboxError

LONGEST_MS: Final = 60_000
"""A contract in force is asked about at least so often, so that a suspension is heard within a minute."""
RETRY_MS: Final = 5_000

_WATCHED: Final = frozenset({ContractState.ACTIVE, ContractState.SUSPENDED})


class LeaseKeeper:
    """Call `turn` every second; it asks about a contract every third of its lease, at most a minute apart."""

    def __init__(self, book: ContractBook, desk: ProviderDesk, clock: Clock, logger: Logger) -> None:
        self._book = book
        self._desk = desk
        self._clock = clock
        self._logger = logger
        self._trouble = LastingTrouble()
        self._due_ms: dict[str, int] = {}
        self._deliver_ms = 0

    def turn(self) -> None:
        """Do what is due."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._deliver_ms:
            self._deliver_ms = now_ms + LONGEST_MS
            self._desk.deliver()
        watched = {record.contract_id: record for record in self._book.all() if record.state_at(now_ms) in _WATCHED}
        self._due_ms = {contract_id: due for contract_id, due in self._due_ms.items() if contract_id in watched}
        for contract_id, record in watched.items():
            if now_ms >= self._due_ms.get(contract_id, 0):
                self._due_ms[contract_id] = now_ms + self._hear(record)

    def _hear(self, record: ContractRecord) -> int:
        """Ask about one contract; return after how many milliseconds to ask again."""
        interval_ms = min(record.contract.lease_ms // 3, LONGEST_MS)
        try:
            self._desk.hear(record.contract_id)
        except (SandboxError, PartyError, AuditError) as error:
            self._tell(record, error)
            return min(interval_ms, RETRY_MS)
        if self._trouble.ended(record.contract_id):
            self._logger.info("the regulator was heard again", contract=record.contract_id)
        return interval_ms

    def _tell(self, record: ContractRecord, error: Exception) -> None:
        ended = self._clock.now_ms() >= record.lease_end_ms
        if self._trouble.is_news(record.contract_id, f"{type(error).__name__} {ended}"):
            self._logger.warning(
                "the regulator was not heard; the contract's lease has ended"
                if ended
                else "the regulator was not heard; the contract's lease runs on",
                contract=record.contract_id,
                lease_end_ms=record.lease_end_ms,
                error=str(error),
            )
