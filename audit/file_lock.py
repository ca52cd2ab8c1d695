"""An exclusive lock on a path, held for life: two processes never write one ledger."""

import fcntl
import os
import weakref
from pathlib import Path

from audit.errors import LedgerUnavailableError

_LONGEST_PID = 20


class FileLock:
    """Holds `<path>.lock` by flock(2); the file names the holder's process id.

    The lock goes when the holder closes it or dies, however it dies. Forked children drop it at once, so that an
    orphaned worker cannot keep its dead parent's ledger locked.

    Raises:
        LedgerUnavailableError: another holder, named by its process id, or a folder that cannot be written.
    """

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, path: Path) -> None:
        lock_path = path.with_name(f"{path.name}.lock")
        try:
            self._descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerUnavailableError(
                f"the ledger {path} cannot be locked ({error.strerror}): its folder must exist and belong to this user"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, _LONGEST_PID, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise LedgerUnavailableError(
                f"the ledger {path} is in use by process {holder}: stop that process, or go through it"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self_ref = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _drop(self_ref))

    def release(self) -> None:
        """Gives the lock back; a second time does nothing."""
        if self._descriptor >= 0:
            # Closing alone would leave it to a child that was forked a moment ago and has not dropped it yet.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._drop()

    def _drop(self) -> None:
        """Closes this process's descriptor; the lock is its parent's or, where there is none, gone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _drop(reference: "weakref.ref[FileLock]") -> None:
    lock = reference()
    if lock is not None:
        lock._drop()
