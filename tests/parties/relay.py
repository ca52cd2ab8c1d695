"""A TCP relay that a test can hold up or cut, in place of a network that fails."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Listens on `port` and passes bytes to `target_port` and back, both on the loopback; counts connections."""

    def __init__(self, port: int, target_port: int) -> None:
        self._target = target_port
        self._passing = threading.Event()
        self._passing.set()
        self._large: int | None = None
        self._hanging_up = False
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_the_answer_to(self, nbytes: int) -> None:
        """Nothing comes back any more once a request of `nbytes` or more has been seen, until `cut`."""
        self._large = nbytes

    def hang_up(self) -> None:
        """From now on break every connection in the midst of its handshake, at the caller's second flight."""
        self._hanging_up = True

    def cut(self) -> None:
        """Break every connection; new ones work."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()
        self._large = None
        self._passing.set()

    def close(self) -> None:
        """Stop listening and break every connection."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody serves there yet: the regulator looks for a party as soon as it is enrolled
                near.close()
                continue
            self._open += [near, far]
            self.connections += 1
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, held: bool) -> None:
        flights = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                flights += 1
                if self._hanging_up and not held and flights > 1:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                if held:
                    self._passing.wait(30)
                elif self._large is not None and len(data) >= self._large:
                    self._passing.clear()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
