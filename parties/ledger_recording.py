"""Recording what a party has found between ledgers, in its own ledger: from its own command line, while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.clock import Clock
from audit.discrepancy import read_discrepancy
from audit.draft import Draft
from audit.entry import DiscrepancyFound
from audit.envelope import Envelope
from audit.errors import DuplicateKeyError
from audit.keys import VerifyingKey
from audit.ledger import Ledger
from sandbox.errors import DenialReason, DeniedError

MAX_DISCREPANCY_BYTES: Final = 8 * 1024
"""Of an encoded envelope: its entry must fit into one."""


@dataclass(frozen=True, slots=True)
class LedgerRecording:
    """Writes discrepancies into one party's ledger. Threads may share one."""

    ledger: Ledger
    party: str
    clock: Clock

    def discrepancy(self, data: bytes, key: VerifyingKey) -> bool:
        """Enter a signed discrepancy; returns whether the ledger did not hold its finding yet.

        Args:
            data: the encoded envelope, as received.
            key: the party's own message key.

        Raises:
            DeniedError: IDENTITY_MISMATCH, somebody else has found it.
            BadSignatureError: it is not signed by `key`.
            MalformedError: it is no discrepancy, or too large for an entry.
            LedgerError: nothing was recorded.
        """
        envelope = Envelope.decode(data, limit=MAX_DISCREPANCY_BYTES)
        statement = read_discrepancy(envelope)
        if statement.found_by != self.party:
            detail = f"{statement.found_by} has found it, and records it itself; this is the ledger of {self.party}"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "found_by", detail)
        envelope.verify(key)
        entry = DiscrepancyFound(
            party=self.party, at_ms=self.clock.now_ms(), discrepancy_id=envelope.digest, discrepancy=envelope
        )
        try:
            self.ledger.append(Draft(entry, keys=(statement.finding.unique_key,)))
        except DuplicateKeyError:
            return False
        return True
