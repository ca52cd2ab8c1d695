"""The one thread that writes a ledger: bounded queue in, group commit, acknowledgement after COMMIT.

Callers hand in drafts, or guards that make one. The thread gathers what is queued, runs each guard inside the
transaction that will append its draft, commits once for all of them, and only then answers. Whatever else changes the
ledger is a task of the same thread, done between two batches.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from audit.draft import Appended, Guard, LedgerConfig
from audit.errors import (
    AuditError,
    LedgerClosedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
    SigningHeldError,
)
from audit.ledger_writer import LedgerWriter

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(slots=True)
class _Append:
    guard: Guard
    answer: "Future[Appended]" = field(default_factory=Future)

    def fail(self, error: Exception) -> None:
        self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Task:
    """Something else to do; `run` answers, `fail` answers in its place."""

    run: Callable[[], None]
    fail: Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Sequencer:
    """Runs the writer's thread; `submit` and `perform` may be called from any other.

    Args:
        writer: changes the ledger; this thread's alone from here on.
        config: limits and rhythms.
    """

    def __init__(self, writer: LedgerWriter, config: LedgerConfig) -> None:
        self._writer = writer
        self._config = config
        self._queue: queue.Queue[_Append | _Task | _Stop] = queue.Queue(config.queue_entries)
        self._closing = threading.Event()
        self._finished = threading.Event()
        self._company = 1
        self._sign_at: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"ledger {writer.origin}", daemon=True)
        self._thread.start()

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

    def perform(self, work: Callable[[], _T]) -> _T:
        """Has the thread do `work` between two batches; returns what it gives.

        Raises:
            LedgerClosedError, LedgerFullError: as `submit`.
            Exception: whatever the work raises.
        """
        answer: Future[_T] = Future()
        self._enqueue(_Task(lambda: answer.set_result(work()), answer.set_exception))
        return answer.result()

    def stop(self) -> None:
        """Finishes what is queued, signs a last checkpoint and ends the thread; a second time does nothing."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(_Stop())
        self._thread.join()

    def close(self) -> None:
        """Closes the store, after `stop` and after every reader: the last to close tidies the file up."""
        self._writer.close()

    def _enqueue(self, request: _Append | _Task) -> None:
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
                self._perform([each for each in requests if isinstance(each, _Task)])
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
                request.fail(LedgerClosedError("the ledger is closed: open it again"))

    def _gather(self) -> list[_Append | _Task | _Stop]:
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
        before = self._writer.committed
        try:
            answers = self._writer.append([request.guard for request in requests])
        except Exception as error:  # noqa: BLE001  the thread must answer every caller, whatever broke
            self._fail(requests, error)
            return
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Exception):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)
        if self._writer.committed > before:
            self._sign_soon()

    def _fail(self, requests: list[_Append], error: Exception) -> None:
        """Answers a whole batch that was not recorded, and goes back to what the store holds."""
        failure = error
        if not isinstance(error, LedgerUnavailableError):
            failure = LedgerUnavailableError(f"nothing was recorded: {error}")
            failure.__cause__ = error
        if _broke(failure):
            self._writer.set_aside()
        for request in requests:
            request.answer.set_exception(failure)

    def _perform(self, tasks: list[_Task]) -> None:
        for task in tasks:
            try:
                task.run()
            except Exception as error:  # noqa: BLE001  the thread must answer every caller, whatever broke
                if _broke(error):
                    self._writer.set_aside()
                task.fail(error)
        if tasks and self._writer.unsigned and self._sign_at is None:
            self._sign_soon()  # a ledger that was held has more to sign once it is released

    def _sign_soon(self) -> None:
        self._sign_at = time.monotonic() + self._config.checkpoint_idle_ms / 1000

    def _sign_if_due(self, *, last: bool) -> None:
        unsigned = self._writer.unsigned
        if self._writer.held or not unsigned:
            self._sign_at = None  # else the thread would not wait for the next request, but spin
        idle = self._sign_at is not None and time.monotonic() >= self._sign_at
        if self._writer.held or not unsigned or not (last or idle or unsigned >= self._config.checkpoint_entries):
            return
        self._sign_at = None
        try:
            self._writer.sign()
        except Exception:  # noqa: BLE001  the thread must live on
            _LOG.exception("no checkpoint of the ledger %s was signed", self._writer.origin)
            self._writer.set_aside()


def _broke(error: Exception) -> bool:
    """Whether the ledger may be in another state than its store; a refusal leaves it as it was."""
    if isinstance(error, AuditError):
        return isinstance(error, LedgerUnavailableError) and not isinstance(error, SigningHeldError)
    return True
