"""The entries that one transaction puts behind a ledger's others, with everything that grows in step with them."""

from collections.abc import Iterable, Sequence

from audit.entry import Entry, Seal, encode_entry
from audit.errors import LedgerUnavailableError
from audit.log_keys import schedule_after
from audit.recovery import Fold, Tail
from audit.store import Batch, Head
from audit.tree import leaf_hash


class Growing:
    """One transaction. Should it fail, tail and folds are ahead of the store and are to be computed anew.

    Args:
        tail: where the ledger stands; grows.
        folds: states kept in step with it.
    """

    __slots__ = ("_entries", "_first", "_folds", "_keys", "_tail")

    def __init__(self, tail: Tail, folds: Sequence[Fold]) -> None:
        self._tail = tail
        self._folds = folds
        self._first = tail.frontier.size
        self._entries: list[bytes] = []
        self._keys: dict[str, int] = {}

    def holds(self, key: str) -> bool:
        """Whether an entry of this transaction has that unique key."""
        return key in self._keys

    def seal(self, party: str, at_ms: int) -> None:
        """Takes a seal of the owner's over the entries so far."""
        chain = self._tail.chain
        seal = Seal(party=party, at_ms=at_ms, size=chain.size, chain=chain.head.hex())
        self.take(seal, encode_entry(seal))

    def take(self, entry: Entry, data: bytes, keys: Iterable[str] = ()) -> int:
        """Puts an accepted entry, of which `data` are the bytes, behind the others; returns its index.

        Raises:
            LedgerUnavailableError: a fold raised; the folds no longer agree with one another.
            LedgerDamagedError: the entry names a log key that cannot follow.
        """
        tail = self._tail
        index = tail.frontier.size
        leaf = leaf_hash(data)
        tail.frontier.append(leaf)
        tail.edge.append(leaf)
        tail.chain.append(leaf)
        tail.schedule = schedule_after(tail.schedule, index, entry)
        self._entries.append(data)
        self._keys.update(dict.fromkeys(keys, index))
        try:
            for fold in self._folds:
                fold.apply(index, entry)
        except Exception as error:
            raise LedgerUnavailableError(
                f"nothing was recorded: a fold refused entry {index}, which its guard accepted: {error!r}"
            ) from error
        return index

    def batch(self) -> Batch | None:
        """What the store is to add; None where there are no entries."""
        if not self._entries:
            return None
        chain = self._tail.chain
        head = Head(chain.size, chain.head)
        return Batch(self._first, self._entries, list(self._keys.items()), self._tail.edge.take_changed(), head)
