"""Refused calls in the regulator's ledger, a flood of them as one counted entry. A provider's bracket has its own."""

from collections.abc import Iterable

from audit.clock import Clock
from audit.entry import Denied, Side
from audit.ledger import Draft, Ledger
from sandbox.denials import DenialWindows, recorded_clause
from sandbox.errors import DeniedError
from sandbox.invocation import Denial


class DenialLog:
    """Threads may share one; the ledger outlives it."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._windows = DenialWindows()

    def deny(self, error: DeniedError, denial: Denial) -> None:
        """Record a refusal; raises `LedgerError` if that is not possible."""
        entry = Denied(
            party=self._ledger.identity.party,
            at_ms=self._clock.now_ms(),
            side=Side.REGULATOR,
            identity=denial.identity,
            merchant=denial.merchant,
            call=denial.call,
            contract=denial.contract,
            reason=error.reason.value,
            clause=recorded_clause(error.clause),
            check=error.check,
            count=1,
        )
        self._write(self._windows.admit(entry))

    def sweep(self) -> None:
        """Record the refusals of the minutes that have ended."""
        self._write(self._windows.ended(self._clock.now_ms()))

    def close(self) -> None:
        """Record what is left, before the ledger closes."""
        self._write(self._windows.close())

    def _write(self, entries: Iterable[Denied]) -> None:
        for entry in entries:
            self._ledger.append(Draft(entry))
