"""The one thread that writes a ledger: bounded queue in, group commit, acknowledgement after COMMIT.

Callers hand in drafts, or guards that make one. The thread gathers what is queued, runs each guard inside the
transaction that will append its draft, commits once for all of them, and only then answers. It also signs the
checkpoints. Nothing else changes the store or the folds.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.clock import Clock
from audit.draft import MAX_KEY_CHARACTERS, Appended, Draft, Guard, LedgerConfig
from audit.entry import Entry, Seal, encode_entry
from audit.errors import (
    DuplicateKeyError,
    LedgerClosedError,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
    MalformedError,
)
from audit.keys import SigningKey
from audit.recovery import Fold, Tail, recover
from audit.store import Batch, Head, Store, StoredCheckpoint
from audit.tree import leaf_hash

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the ledger's owner, the log's origin, its key, and the clock for seals."""

    party: str
    origin: str
    key: SigningKey
    clock: Clock


@dataclass(slots=True)
class _Append:
    guard: Guard
    answer: "Future[Appended]" = field(default_factory=Future)


@dataclass(slots=True)
class _Sign:
    answer: "Future[bytes]" = field(default_factory=Future)


@dataclass(slots=True)
class _Try:
    answer: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


@dataclass(slots=True)
class _Growing:
    """A transaction being put together."""

    first: int
    entries: list[bytes] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    done: list[tuple[_Append, Appended]] = field(default_factory=list)
    refused: list[tuple[_Append, Exception]] = field(default_factory=list)


class Sequencer:
    """Owns the store's writing side; `submit` and `sign` may be called from any thread.

    Args:
        open_store: opens the store; called again after the storage failed.
        writer: who writes.
        folds: states kept in step with the entries.
        config: limits and rhythms.

    Raises:
        LedgerUnavailableError: the store cannot be opened.
        LedgerDamagedError: its entries are damaged.
    """

    def __init__(
        self, open_store: Callable[[], Store], writer: Writer, folds: Sequence[Fold], config: LedgerConfig
    ) -> None:
        self._open_store = open_store
        self._writer = writer
        self._folds = tuple(folds)
        self._config = config
        self._queue: queue.Queue[_Append | _Sign | _Try | _Stop] = queue.Queue(config.queue_entries)
        self._closing = threading.Event()
        self._finished = threading.Event()
        self._company = 1
        self._sign_at: float | None = None
        self._store: Store | None = None
        self._tail = self._load()
        self._committed = self._tail.frontier.size
        self._thread = threading.Thread(target=self._work, name=f"ledger {writer.origin}", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """Number of committed entries."""
        return self._committed

    def submit(self, guard: Guard) -> Appended:
        """Appends what `guard` gives; returns once it is durable.

        Raises:
            LedgerClosedError: closed.
            LedgerFullError: no room in the queue within `queue_timeout_ms`; nothing was recorded.
            LedgerUnavailableError: the storage failed; the entry may or may not have been recorded.
            DuplicateKeyError: one of the draft's keys is taken.
            MalformedError: the entry is not one that a verifier would accept, or is another party's.
            Exception: whatever the guard raises.
        """
        request = _Append(guard)
        self._enqueue(request)
        return request.answer.result()

    def sign(self) -> bytes:
        """Signs, stores and returns a checkpoint over everything committed.

        Raises:
            LedgerClosedError, LedgerFullError, LedgerUnavailableError: as `submit`.
            LedgerDamagedError: what is stored is not what was appended; nothing was signed.
        """
        request = _Sign()
        self._enqueue(request)
        return request.answer.result()

    def try_writing(self) -> None:
        """Writes to the storage without adding an entry.

        Raises:
            LedgerClosedError, LedgerFullError, LedgerUnavailableError: as `submit`.
            LedgerDamagedError: what is stored is not what was appended.
        """
        request = _Try()
        self._enqueue(request)
        request.answer.result()

    def stop(self) -> None:
        """Finishes what is queued, signs a last checkpoint and ends the thread; a second time does nothing."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(_Stop())
        self._thread.join()

    def close(self) -> None:
        """Closes the store, after `stop` and after every reader: the last to close tidies the file up."""
        if self._store is not None:
            self._store.close()

    def _enqueue(self, request: "_Append | _Sign | _Try") -> None:
        if threading.current_thread() is self._thread:
            raise LedgerError("a guard or fold may not append or sign: it runs inside the transaction that does")
        if self._closing.is_set():
            raise LedgerClosedError("the ledger is closed: open it again")
        try:
            self._queue.put(request, timeout=self._config.queue_timeout_ms / 1000)
        except queue.Full:
            raise LedgerFullError(
                f"{self._config.queue_entries} appends are waiting: the disk does not keep up; try again later"
            ) from None
        if self._finished.is_set():
            self._refuse_rest()

    def _work(self) -> None:
        running = True
        try:
            while running:
                requests = self._gather()
                running = not any(isinstance(each, _Stop) for each in requests)
                self._append([each for each in requests if isinstance(each, _Append)])
                self._answer_signs([each for each in requests if isinstance(each, _Sign)])
                self._answer_tries([each for each in requests if isinstance(each, _Try)])
                self._sign_if_due(last=not running)
        finally:
            self._closing.set()
            self._finished.set()
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        while True:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            if not isinstance(request, _Stop):
                request.answer.set_exception(LedgerClosedError("the ledger is closed: open it again"))

    def _gather(self) -> list[_Append | _Sign | _Try | _Stop]:
        """Waits for the first request, then takes what has come; waits for as many as came last time, but briefly."""
        wait = None if self._sign_at is None else max(0.0, self._sign_at - time.monotonic())
        try:
            requests = [self._queue.get(timeout=wait)]
        except queue.Empty:
            return []
        until = time.monotonic() + self._config.flush_ms / 1000
        while len(requests) < self._config.flush_entries:
            try:
                left = until - time.monotonic()
                if len(requests) < self._company and left > 0:
                    requests.append(self._queue.get(timeout=left))
                else:
                    requests.append(self._queue.get_nowait())
            except queue.Empty:
                break
        self._company = len(requests)
        return requests

    def _append(self, requests: list[_Append]) -> None:
        if not requests:
            return
        try:
            growing = self._commit(requests)
        except Exception as error:  # noqa: BLE001  the thread must answer every caller, whatever broke
            self._fail(requests, error)
            return
        self._committed = self._tail.frontier.size
        for request, appended in growing.done:
            request.answer.set_result(appended)
        for request, refusal in growing.refused:
            request.answer.set_exception(refusal)
        if growing.entries:
            self._sign_at = time.monotonic() + self._config.checkpoint_idle_ms / 1000

    def _commit(self, requests: list[_Append]) -> _Growing:
        store = self._ready()
        tail = self._tail
        growing = _Growing(tail.frontier.size)
        with store.transaction():
            for request in requests:
                self._seal_if_due(growing)
                try:
                    draft, data = self._judge(request.guard, growing, store)
                except Exception as error:  # noqa: BLE001  a guard's refusal is its caller's alone
                    growing.refused.append((request, error))
                    continue
                index = self._take(draft.entry, data, growing)
                growing.keys.update(dict.fromkeys(draft.keys, index))
                growing.done.append((request, Appended(index, data, draft.entry)))
            if growing.entries:
                head = Head(tail.chain.size, tail.chain.head)
                keys, tiles = list(growing.keys.items()), tail.edge.take_changed()
                store.add(Batch(growing.first, growing.entries, keys, tiles, head))
        return growing

    def _judge(self, guard: Guard, growing: _Growing, store: Store) -> tuple[Draft, bytes]:
        """Runs a guard; its draft must be the owner's, well formed, and hold no key twice."""
        draft = guard()
        if draft.entry.party != self._writer.party:
            raise MalformedError(f"an entry of {draft.entry.party!r} in the ledger of {self._writer.party!r}")
        data = encode_entry(draft.entry)
        for position, key in enumerate(draft.keys):
            if not 0 < len(key) <= MAX_KEY_CHARACTERS:
                raise MalformedError(f"a unique key has 1 to {MAX_KEY_CHARACTERS} characters, this one {len(key)}")
            if key in draft.keys[:position] or key in growing.keys or store.find(key) is not None:
                raise DuplicateKeyError(key)
        return draft, data

    def _seal_if_due(self, growing: _Growing) -> None:
        chain = self._tail.chain
        if chain.size and chain.size % self._config.seal_entries == 0:
            writer = self._writer
            now_ms = writer.clock.now_ms()
            seal = Seal(party=writer.party, at_ms=now_ms, size=chain.size, chain=chain.head.hex())
            self._take(seal, encode_entry(seal), growing)

    def _take(self, entry: Entry, data: bytes, growing: _Growing) -> int:
        """Puts an accepted entry behind the others and brings the folds up to it."""
        tail = self._tail
        index = tail.frontier.size
        leaf = leaf_hash(data)
        tail.frontier.append(leaf)
        tail.edge.append(leaf)
        tail.chain.append(leaf)
        growing.entries.append(data)
        try:
            for fold in self._folds:
                fold.apply(index, entry)
        except Exception as error:
            raise _FoldFailedError(f"a fold refused entry {index}, which its guard accepted: {error!r}") from error
        return index

    def _fail(self, requests: list[_Append], error: Exception) -> None:
        """Answers a whole batch that was not recorded, and goes back to what the store holds."""
        failure = error
        if not isinstance(error, LedgerUnavailableError):
            failure = LedgerUnavailableError(f"nothing was recorded: {error}")
            failure.__cause__ = error
        self._set_aside()
        for request in requests:
            request.answer.set_exception(failure)

    def _set_aside(self) -> None:
        """Closes a store that failed and tries at once to come back; else the next append tries again."""
        if self._store is None:
            return
        self._store.close()
        self._store = None
        try:
            self._ready()
        except Exception:  # noqa: BLE001  the thread must live on, and answer later callers with the same failure
            _LOG.exception("the ledger %s cannot be written", self._writer.origin)

    def _ready(self) -> Store:
        if self._store is None:
            self._tail = self._load()
            self._committed = self._tail.frontier.size
        assert self._store is not None
        return self._store

    def _load(self) -> Tail:
        store = self._open_store()
        try:
            tail = recover(store, self._folds, key=self._writer.key.verifying_key, origin=self._writer.origin)
        except BaseException:
            store.close()
            raise
        self._store = store
        return tail

    def _answer_signs(self, requests: list[_Sign]) -> None:
        for request in requests:
            try:
                request.answer.set_result(self._sign())
            except Exception as error:  # noqa: BLE001  the thread must answer every caller, whatever broke
                self._set_aside()
                request.answer.set_exception(error)

    def _answer_tries(self, requests: list[_Try]) -> None:
        if not requests:
            return
        try:
            store = self._ready()
            with store.transaction():
                store.touch()
        except Exception as error:  # noqa: BLE001  the thread must answer every caller, whatever broke
            self._set_aside()
            for request in requests:
                request.answer.set_exception(error)
            return
        for request in requests:
            request.answer.set_result(None)

    def _sign_if_due(self, *, last: bool) -> None:
        unsigned = self._tail.frontier.size - self._tail.signed.size
        idle = self._sign_at is not None and time.monotonic() >= self._sign_at
        if not unsigned or not (last or idle or unsigned >= self._config.checkpoint_entries):
            return
        self._sign_at = None
        try:
            self._sign()
        except Exception:  # noqa: BLE001  the thread must live on
            _LOG.exception("no checkpoint of the ledger %s was signed", self._writer.origin)
            self._set_aside()

    def _sign(self) -> bytes:
        """Reads the new leaves back, recomputes the root, signs, stores."""
        store, tail, writer = self._ready(), self._tail, self._writer
        size = tail.frontier.size
        if tail.checkpoint is not None and tail.checkpoint.size == size:
            return tail.checkpoint.note
        read_back = tail.signed.copy()
        for index, data in store.entries(read_back.size, size):
            if index != read_back.size:
                break
            read_back.append(leaf_hash(data))
        root = tail.frontier.root()
        if read_back.size != size or read_back.root() != root:
            raise LedgerDamagedError("the stored entries are not those that were appended; nothing was signed")
        stored = StoredCheckpoint(size, sign_checkpoint(Checkpoint(writer.origin, size, root), writer.key))
        with store.transaction():
            store.add_checkpoint(stored)
        tail.signed, tail.checkpoint = read_back, stored
        return stored.note


class _FoldFailedError(LedgerError):
    """A fold raised: the folds no longer agree with one another, so that all of them are computed anew."""
