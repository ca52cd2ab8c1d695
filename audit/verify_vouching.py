"""What the checkpoints that agree with a ledger vouch for: up to which entry a key that counts, and a witness when.

A signature that a directory has revoked the key of counts if a witness had seen its entry before; the signer's own
clock says nothing. An honest party signs on until it hears of the revocation, and nobody may have witnessed its last
entries yet. Those are told as not counted, and are no damage; what a witness saw first long after is a thief's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from audit.errors import Damage, VerificationFailedError
from audit.verify_cosignatures import MILLISECONDS, Cosigned, Vouched

HEARD_MS: Final = 3_600_000
"""How long after its revocation a key's signature may first be seen by a witness and be an honest party's, who had not
heard: an hour, the longest silence of witnesses that a party is allowed by default."""

MAX_UNCOUNTED: Final = 1000
"""Entries that a report names one by one."""

Seen = Callable[[int, int], None]
"""Is told that a witness had seen the first `size` entries at `time_s`."""


class Vouching:
    """Is told of every checkpoint that agrees, in order of size.

    Args:
        seen: told of each size that a believed witness cosigned, once, with the earliest time.
    """

    __slots__ = ("_believed_s", "_doubtful", "_seen", "_size", "covered", "latest", "revoked")

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._doubtful = 0
        self._size = 0
        self._believed_s: int | None = None
        self.covered = 0
        self.latest: Cosigned | None = None
        self.revoked = 0

    def take(self, vouched: Vouched) -> None:
        """Takes in one checkpoint whose root is that of the entries."""
        self._size = vouched.checkpoint.size
        self.revoked += vouched.revoked_ms is not None
        if vouched.counts:
            self.covered = self._size
        else:
            self._doubtful = self._size
        if vouched.cosigned is not None:
            self.latest = _merged(self.latest, vouched.cosigned)
            times = [time for time in (self._believed_s, vouched.cosigned.believed_s) if time is not None]
            self._believed_s = min(times, default=None)

    def settle(self) -> None:
        """After all checkpoints of one size: passes on what witnesses say of it."""
        if self._believed_s is not None:
            time_s, self._believed_s = self._believed_s, None
            self._seen(self._size, time_s)

    def finish(self) -> None:
        """After the last entry.

        Raises:
            VerificationFailedError: `bad-signature` at the first entry that only a revoked key vouches for.
        """
        if self._doubtful > self.covered:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                self.covered,
                f"the checkpoint over {self._doubtful} entries is signed by a key that was revoked before any witness"
                " had seen it, and no other covers them: the log needs another key",
            )


@dataclass(slots=True)
class _Waiting:
    """Entries of which no witness has said yet when it saw them; the indices of the first thousand."""

    count: int = 0
    indices: list[int] = field(default_factory=list)


class Revocations:
    """Judges signatures by keys that were revoked since, entry by entry, in constant memory.

    Attributes:
        count: entries with such a signature that no witness had seen in time.
        uncounted: the indices of the first thousand of them.
    """

    __slots__ = ("_waiting", "count", "uncounted")

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}  # by when the key was revoked
        self.count = 0
        self.uncounted: list[int] = []

    def add(self, index: int, revoked_ms: int) -> None:
        """The entry at `index` bears a signature by a key revoked at `revoked_ms`, the earliest of several."""
        waiting = self._waiting.setdefault(revoked_ms, _Waiting())
        waiting.count += 1
        if len(waiting.indices) < MAX_UNCOUNTED:
            waiting.indices.append(index)

    def seen(self, size: int, time_s: int) -> None:
        """A witness had seen all entries so far at `time_s`.

        Raises:
            VerificationFailedError: `bad-signature` at the first entry that it saw too late for an honest party's.
        """
        judged, self._waiting = self._waiting, {}
        time_ms = time_s * MILLISECONDS
        late = [waiting.indices[0] for revoked_ms, waiting in judged.items() if time_ms >= revoked_ms + HEARD_MS]
        if late:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                min(late),
                f"signed by a key that had been revoked for an hour or more when a witness first saw {size} entries",
            )
        for revoked_ms, waiting in judged.items():
            if time_ms >= revoked_ms:
                self._leave_out(waiting)

    def finish(self) -> None:
        """After the last entry: what no witness has seen yet is left out too."""
        for waiting in self._waiting.values():
            self._leave_out(waiting)
        self._waiting = {}

    def _leave_out(self, waiting: _Waiting) -> None:
        self.count += waiting.count
        self.uncounted = sorted([*self.uncounted, *waiting.indices])[:MAX_UNCOUNTED]


def _merged(one: Cosigned | None, other: Cosigned) -> Cosigned:
    """The larger; of one size, both together."""
    if one is None or one.size < other.size:
        return other
    return Cosigned(
        one.size,
        min(one.time_s, other.time_s),
        tuple(sorted({*one.by, *other.by})),
        min((time for time in (one.believed_s, other.believed_s) if time is not None), default=None),
    )
