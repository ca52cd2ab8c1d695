"""Holds the times in entries against those of witnesses, which the ledger's owner cannot set.

Entries between two checkpoints were written after a witness had seen the first and before it saw the second. That finds
a clock that was set back, and entries dated back (into a contract's validity, or before a key was revoked).
"""

from collections.abc import Callable, Iterator
from typing import Final

from audit.entry import Denied, Entry, decode_entry
from audit.errors import Damage, Rule, VerificationFailedError
from audit.verify_cosignatures import MILLISECONDS

TOLERANCE_MS: Final = 300_000
"""Five minutes either way: two for clocks that differ, as parties allow each other; the rest for the way from a signed
checkpoint to its cosignature, for entries that waited for their turn, and for whole seconds."""

Entries = Callable[[int, int], Iterator[tuple[int, bytes]]]


class Times:
    """Is shown every entry, and every size that a witness had seen, in order.

    Refusals (DENIED) may be dated long before they are written, when a minute's worth of them becomes one entry; they
    are held against the later bound alone.

    Args:
        entries: reads entries again, to find the first bad one.
    """

    __slots__ = ("_entries", "_latest_ms", "_seen_s", "_size")

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._seen_s: int | None = None
        self._size = 0
        self._latest_ms = 0

    def check(self, index: int, entry: Entry) -> None:
        """Checks an entry against what a witness had seen before it.

        Raises:
            VerificationFailedError: `altered`, dated before a witness had seen the entries before it.
        """
        self._latest_ms = max(self._latest_ms, entry.at_ms)
        if self._seen_s is None or isinstance(entry, Denied):
            return
        if entry.at_ms < self._seen_s * MILLISECONDS - TOLERANCE_MS:
            raise VerificationFailedError(
                Damage.ALTERED,
                index,
                f"dated {entry.at_ms} ms, but written after a witness had seen the first {self._size} entries at"
                f" {self._seen_s} s: dated back, or by a clock that was set back",
                rule=Rule.TIMES,
            )

    def seen(self, size: int, time_s: int) -> None:
        """A witness had seen the first `size` entries, which are those so far, at `time_s`.

        Raises:
            VerificationFailedError: `altered` at the first entry dated after that.
        """
        limit_ms = time_s * MILLISECONDS + TOLERANCE_MS
        if self._latest_ms > limit_ms:
            raise VerificationFailedError(
                Damage.ALTERED,
                self._first_after(limit_ms, size),
                f"dated after a witness had seen it, at {time_s} s: by a clock that is ahead",
                rule=Rule.TIMES,
            )
        self._seen_s, self._size, self._latest_ms = time_s, size, 0

    def _first_after(self, limit_ms: int, size: int) -> int | None:
        found = self._entries(self._size, size)
        return next((index for index, data in found if decode_entry(data).at_ms > limit_ms), None)
