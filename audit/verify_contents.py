"""Checks what entries say and who signed it, apart from how they hang together.

A finding here is kept, not raised: someone without the log's key may have changed the entry, which its signed
checkpoints show further on. Only where the bytes are those that were signed is the finding its owner's lie.
"""

from collections.abc import Callable, Iterable

from audit.contract_terms import ContractTerms
from audit.directory import Directory
from audit.entry import Entry, Genesis, Outcome
from audit.errors import VerificationFailedError
from audit.names import Role
from audit.store import StoreReader
from audit.verify_calls import OnlyOnce
from audit.verify_receipts import ReceiptCheck, read_outcome
from audit.verify_semantics import Semantics
from audit.verify_times import Times
from audit.verify_vouching import Revocations


class Contents:
    """Is shown every entry, and every size that a witness had seen, in order.

    Args:
        genesis: the first entry.
        reader: the ledger's storage.
        directory: the regulator's, verified, or None.
        terms: of the contracts whose documents are at hand.

    Attributes:
        found: the first entry at fault, None while there is none. After it no further entry is looked at.
    """

    __slots__ = ("_receipts", "_revocations", "_semantics", "_times", "found")

    def __init__(
        self, genesis: Genesis, reader: StoreReader, directory: Directory | None, terms: Iterable[ContractTerms]
    ) -> None:
        self._semantics = Semantics(genesis, OnlyOnce(reader.find, _entry_of(reader)), terms)
        self._receipts = ReceiptCheck(directory)
        self._revocations = Revocations()
        # The others' times on the regulator's own log are not worth an accusation.
        self._times = None if genesis.role is Role.REGULATOR else Times(reader.entries)
        self.found: VerificationFailedError | None = None

    @property
    def revoked_signatures(self) -> int:
        """Signatures by keys that were revoked since."""
        return self._receipts.revoked

    @property
    def uncounted(self) -> tuple[int, tuple[int, ...]]:
        """How many entries with such signatures no witness had seen in time, and the indices of the first thousand."""
        return self._revocations.count, tuple(self._revocations.uncounted)

    @property
    def contracts_unchecked(self) -> int:
        """Contracts with calls here whose document was not at hand."""
        return self._semantics.contracts_unchecked

    def check(self, index: int, entry: Entry) -> None:
        """Looks at one entry."""
        if self.found is not None:
            return
        try:
            receipt = read_outcome(index, entry) if isinstance(entry, Outcome) else None
            self._semantics.check(index, entry, receipt)
            revoked_ms = self._receipts.check(index, entry, receipt)
            if self._times is not None:
                self._times.check(index, entry)
        except VerificationFailedError as error:
            self.found = error
            return
        if revoked_ms is not None:
            self._revocations.add(index, revoked_ms)

    def seen(self, size: int, time_s: int) -> None:
        """A believed witness had seen the first `size` entries, which are those so far, at `time_s`."""
        judges = [self._revocations.seen] + ([] if self._times is None else [self._times.seen])
        for judge in judges:
            try:
                judge(size, time_s)
            except VerificationFailedError as error:
                if self.found is None or _place(error) < _place(self.found):
                    self.found = error

    def finish(self) -> None:
        """After the last entry."""
        self._revocations.finish()

    def first(self, error: VerificationFailedError) -> VerificationFailedError:
        """Of another finding and the one kept here, that which lies before; of one place, the other."""
        return self.found if self.found is not None and _place(self.found) < _place(error) else error


def _place(error: VerificationFailedError) -> float:
    return float("inf") if error.index is None else error.index


def _entry_of(reader: StoreReader) -> Callable[[int], bytes | None]:
    return lambda index: next((data for _, data in reader.entries(index, index + 1)), None)
