"""One HTTP/1.1 connection, either side of it, whose every wait ends: h11 reads and writes, this moves the bytes.

Whoever is at the other end may be anybody. A head is at most 16 KiB (h11 refuses a longer one), a body is at most what
the reader allows, and a deadline is for a whole message: a byte now and then does not put it off.
"""

from __future__ import annotations

import socket
import time
from typing import Final

import h11

_CHUNK: Final = 16 * 1024
_DISCARDED: Final = 1024 * 1024
_EVENTS: Final = (
    h11.Request,
    h11.InformationalResponse,
    h11.Response,
    h11.Data,
    h11.EndOfMessage,
    h11.ConnectionClosed,
)

HttpEvent = h11.Request | h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage | h11.ConnectionClosed


class HttpConnection:
    """A connected socket, plain or TLS, and the state of HTTP/1.1 on it. For one thread.

    Every method may raise TimeoutError (the deadline has come), OSError (the line broke) and h11.ProtocolError (what
    the other side sent is no HTTP/1.1).
    """

    def __init__(self, line: socket.socket, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._line = line
        self._http = h11.Connection(role, max_incomplete_event_size=_CHUNK)
        self._deadline = time.monotonic()

    def allow(self, seconds: float) -> None:
        """Let everything until the next `allow` take `seconds` together."""
        self._deadline = time.monotonic() + seconds

    def next_event(self) -> HttpEvent:
        """Return what the other side sent next, waiting for it."""
        while True:
            event = self._http.next_event()
            if isinstance(event, _EVENTS):
                return event
            if event is h11.PAUSED:
                raise h11.RemoteProtocolError("more was sent than this message")
            if self._http.they_are_waiting_for_100_continue:
                self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._line.settimeout(self._left())
            self._http.receive_data(self._line.recv(_CHUNK))

    def body(self, limit: int) -> bytes:
        """Return the rest of the message that has begun; a longer one than `limit` bytes is an `h11.ProtocolError`.

        What is too long is still read, up to 1 MiB: hung up on in mid-sentence, its sender would not read the answer.
        """
        received, length = bytearray(), 0
        while not isinstance(event := self.next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the connection ended within a message")
            length += len(event.data)
            if length <= limit:
                received += event.data
            elif length > _DISCARDED:
                break
        if length > limit:
            raise h11.RemoteProtocolError(f"a body of more than {limit} bytes", error_status_hint=413)
        return bytes(received)

    def send(self, *events: h11.Event) -> None:
        """Send events that belong together."""
        data = b"".join([self._http.send(event) or b"" for event in events])
        self._line.settimeout(self._left())
        self._line.sendall(data)

    @property
    def can_answer(self) -> bool:
        """Whether a response may still be sent, as after a request that is no HTTP."""
        return self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    def again(self) -> bool:
        """Make ready for another message on the same line; False when either side wants it closed."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def close(self) -> None:
        """Close the line. Twice is allowed."""
        self._line.close()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has come")
        return left
