"""The demo's processes: one `unseen serve` a party, and the south bureau's PostgreSQL."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Protocol, cast

import pandas as pd

from parties.demo_data import DATASET, DSN_VARIABLE
from parties.errors import WorkerError

READY_SECONDS: Final = 40.0
STOP_SECONDS: Final = 15.0
READER_ROLE: Final = "unseen_reader"
COMMAND: Final = (sys.executable, "-m", "parties.cli")


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_unseen(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run one `unseen` command as an own process and return its stdout.

    Raises:
        WorkerError: it did not exit with 0; the message carries what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [*COMMAND, *arguments], env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise WorkerError(f"`unseen {' '.join(arguments)}` exited with {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


class ServedParty:
    """One party's `unseen serve`, as a process of its own. Its log lies beside the home, in `<home>.log`."""

    command: ClassVar[Sequence[str]] = COMMAND

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        """The party's name: the home's folder."""
        return self.home.name

    @property
    def pid(self) -> int:
        """The process id; 0 while it is not running."""
        return 0 if self._process is None else self._process.pid

    def launch(self) -> None:
        """Start the process without waiting for it to be ready."""
        with self.home.with_suffix(".log").open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self.command, "serve", "--home", str(self.home), "--json"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait_ready(self) -> None:
        """Wait for the ready line.

        Raises:
            WorkerError: the process ended, or said nothing for 40 seconds.
        """
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerError(f"{self.name} was not started")
        watchdog = threading.Timer(READY_SECONDS, process.kill)
        watchdog.start()
        line = process.stdout.readline()
        watchdog.cancel()
        try:
            ready = bool(json.loads(line or "{}").get("ready"))
        except ValueError:
            ready = False
        if not ready:
            log = self.home.with_suffix(".log").read_text(encoding="utf-8")
            raise WorkerError(f"{self.name} did not start to serve: {log.strip()[-800:] or 'its log is empty'}")

    def start(self) -> None:
        """Start the process and wait until it serves."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self) -> None:
        """End the process gracefully; after 15 seconds, by force."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> ServedParty:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _PostgresServer(Protocol):
    """What we use of pgserver's server object."""

    def psql(self, command: str) -> str: ...
    def get_uri(self, database: str | None = None) -> str: ...
    def cleanup(self) -> None: ...


class Postgres:
    """A real PostgreSQL of the wheel `pgserver`, with the bureau's table and a role that can only read it."""

    def __init__(self, server: _PostgresServer) -> None:
        self._server = server

    @classmethod
    def start(cls, folder: Path) -> Postgres | None:
        """Start a server whose files lie in `folder`; None where `pgserver` or the ADBC driver is not installed."""
        try:
            import adbc_driver_postgresql  # noqa: F401, PLC0415 - optional
            import pgserver  # noqa: PLC0415 - optional
        except ImportError:
            return None
        return cls(cast("_PostgresServer", pgserver.get_server(folder, cleanup_mode="stop")))

    def load(self, frame: pd.DataFrame) -> Mapping[str, str]:
        """Create the table with `frame`'s rows and return the environment that the bureau's server needs."""
        import adbc_driver_postgresql.dbapi as postgres  # noqa: PLC0415 - optional

        with postgres.connect(self._server.get_uri()) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(DATASET, frame, mode="create")
            connection.commit()
        self._server.psql(
            f"CREATE ROLE {READER_ROLE} LOGIN; GRANT USAGE ON SCHEMA public TO {READER_ROLE}; "
            f"GRANT SELECT ON public.{DATASET} TO {READER_ROLE};"
        )
        return {DSN_VARIABLE: self._server.get_uri().replace("postgres:@", f"{READER_ROLE}:@")}

    def stop(self) -> None:
        """Stop the server."""
        with suppress(OSError):
            self._server.cleanup()
