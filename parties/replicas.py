"""The regulator's copies of the parties' ledgers, `replicas/<party>/ledger.db`, each opened when it is first needed."""

from __future__ import annotations

import threading
from pathlib import Path

from audit.names import check_party_name
from audit.replica import Replica
from audit.verify import LEDGER_FILE


class Replicas:
    """Threads may share one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, Replica] = {}

    def of(self, party: str) -> Replica:
        """The copy of a party's ledger, made at the first use.

        Raises:
            LedgerUnavailableError, LedgerDamagedError: as `Replica.open`.
        """
        with self._lock:
            if party not in self._open:
                check_party_name(party)
                self._open[party] = Replica.open(self._folder / party / LEDGER_FILE)
            return self._open[party]

    def find(self, party: str) -> Replica | None:
        """The copy of a party's ledger, None where nothing was sent yet; errors as `of`."""
        return self.of(party) if (self._folder / party / LEDGER_FILE).exists() else None

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for replica in self._open.values():
                replica.close()
            self._open.clear()
