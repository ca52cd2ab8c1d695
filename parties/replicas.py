"""The regulator's copies of the parties' ledgers, `replicas/<party>/ledger.db`, each opened when it is first needed."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Final

from audit.errors import LedgerUnavailableError
from audit.ledger_reader import open_reader
from audit.names import check_party_name
from audit.replica import Replica
from audit.verify import LEDGER_FILE

SPARE_BYTES: Final = 256 * 1024 * 1024
"""What copies leave free on the disk, for the regulator's own ledger and its witness's records."""


class Replicas:
    """Threads may share one.

    Args:
        folder: of the copies.
        spare_bytes: with less than this free on its disk, `check_room` raises.
    """

    def __init__(self, folder: Path, spare_bytes: int = SPARE_BYTES) -> None:
        self._folder = folder
        self._spare_bytes = spare_bytes
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

    def check_room(self) -> None:
        """Raise `LedgerUnavailableError` if others' entries would take the place of this party's own."""
        folder = self._folder if self._folder.exists() else self._folder.parent
        free = shutil.disk_usage(folder).free
        if free < self._spare_bytes:
            raise LedgerUnavailableError(
                f"{free} bytes are free at {self._folder}, {self._spare_bytes} are left for this party itself: no"
                " further entries of others are kept until there is room"
            )

    def find(self, party: str) -> Replica | None:
        """The copy of a party's ledger, None where nothing was sent yet; errors as `of`."""
        return self.of(party) if (self._folder / party / LEDGER_FILE).exists() else None

    def parties(self) -> tuple[str, ...]:
        """Whose ledgers there are copies of, by name."""
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"*/{LEDGER_FILE}")))

    def newest_note(self, party: str) -> bytes | None:
        """The newest checkpoint of a copy, read without keeping it open; errors as `open_reader`."""
        with open_reader(self._folder / party / LEDGER_FILE) as reader:
            return reader.latest_checkpoint()

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for replica in self._open.values():
                replica.close()
            self._open.clear()
