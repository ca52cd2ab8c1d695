"""Asking a witness of any make to cosign: the client's side of c2sp.org/tlog-witness over HTTPS."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final

import h11

from audit.checkpoint import MAX_NOTE_BYTES, Note, NoteSignature
from audit.errors import MalformedError, Refusal, WitnessRefusedError
from audit.submission import Submission
from parties.errors import ConfigError
from parties.http_connection import HttpConnection
from sandbox.errors import PeerUnavailableError

SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type under which a witness tells the size that it cosigned last."""
_MAX_DETAIL: Final = 200
_SIZE_LINE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_URL: Final = re.compile(
    r"(https?)://(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9_.-]{1,253}))(?::([0-9]{1,5}))?((?:/[!\"$->@-~]*)?)"
)
_REFUSALS: Final = {refusal.value: refusal for refusal in Refusal}


@dataclass(frozen=True, slots=True)
class WitnessUrl:
    """A submission prefix, taken apart.

    Attributes:
        host, port: whom to connect to.
        encrypted: False for http, which is taken for loopback addresses alone.
        path: of add-checkpoint.
    """

    host: str
    port: int
    encrypted: bool
    path: str

    @classmethod
    def parse(cls, url: str) -> WitnessUrl:
        """Read `https://HOST[:PORT][/PATH]`; raise `ConfigError` for anything else."""
        found = _URL.fullmatch(url)
        if found is None or not all(0 < len(label) < 64 for label in (found[2] or found[3]).split(".")):
            raise ConfigError(
                f"{url!r:.120} is no submission prefix of a witness: https://HOST[:PORT][/PATH] is wanted"
            )
        encrypted, host, path = found[1] == "https", found[2] or found[3], found[5].rstrip("/")
        if not encrypted and not _is_loopback(host):
            raise ConfigError(f"{url!r:.120} would send in clear: witnesses are asked over https")
        port = int(found[4] or (443 if encrypted else 80))
        if not 0 < port < 65536:
            raise ConfigError(f"{url!r:.120} names port {port}; ports are from 1 to 65535")
        return cls(host, port, encrypted, f"{path}/add-checkpoint")


class HttpWitness:
    """One witness at its submission prefix. Threads may share one; it keeps one connection open between calls.

    A redirect is not followed and no proxy is used: whom a log trusts with its checkpoints stands in its policy.
    """

    def __init__(self, url: str, tls_roots: bytes | None = None, timeout_s: float = 10.0) -> None:
        """Args: the submission prefix; PEM of certificate authorities to accept beside the system's; seconds that one
        call may take in all. Raises `ConfigError`: a URL that is none, or would send in clear.
        """
        self._url = WitnessUrl.parse(url)
        self._timeout_s = timeout_s
        self._context = _client_context(tls_roots) if self._url.encrypted else None
        self._lock = threading.Lock()
        self._open: HttpConnection | None = None

    def add_checkpoint(self, submission: Submission, timeout_s: float | None = None) -> tuple[NoteSignature, ...]:
        """Submit a checkpoint and return the witness's signature lines. They are not verified: the caller knows by
        whose keys, and ignores others'. `timeout_s` may allow this call less.

        Raises:
            WitnessRefusedError: the witness does not cosign; with the size it holds, where it told it.
            PeerUnavailableError: it was not reached, did not answer in time, or answered what no witness answers.
        """
        body = submission.encode()
        with self._lock:
            status, content_type, answer = self._post(body, min(self._timeout_s, timeout_s or self._timeout_s))
        if status == 200:
            return self._lines(submission, answer)
        if status not in _REFUSALS:
            raise self._unavailable(f"it answered {status}: {_told(answer)}")
        refusal = _REFUSALS[status]
        size = None
        if refusal is Refusal.CONFLICT and content_type.partition(";")[0].strip().lower() == SIZE_TYPE:
            found = _SIZE_LINE.fullmatch(answer)
            if found is None:
                raise self._unavailable(f"it told no size: {_told(answer)}")
            size = int(found[1])
        told = f"it has cosigned {size} entries" if size is not None else _told(answer) or refusal.name
        raise WitnessRefusedError(refusal, f"{self._url.host} answered {status}: {told}", size)

    def close(self) -> None:
        """Close the connection, if one is open."""
        with self._lock:
            self._hang_up()

    def _post(self, body: bytes, seconds: float) -> tuple[int, str, bytes]:
        """Over the open connection, and once more over a new one if that had been closed since."""
        end = time.monotonic() + seconds
        try:
            if self._open is not None:
                try:
                    return self._exchange(self._open, body, end)
                except TimeoutError:
                    raise
                except (OSError, h11.ProtocolError):
                    self._hang_up()
            self._open = self._connect(end)
            return self._exchange(self._open, body, end)
        except TimeoutError as error:
            raise self._unavailable(f"no answer within {seconds:.3g} s") from error
        except ssl.SSLCertVerificationError as error:
            detail = f"its certificate is refused: {error.verify_message}; is the URL's host the one it was issued for?"
            raise self._unavailable(detail) from error
        except OSError as error:
            raise self._unavailable(f"no connection ({error.strerror or error})") from error
        except h11.ProtocolError as error:
            raise self._unavailable("its answer is no HTTP that a witness sends") from error
        finally:
            if self._open is not None and not self._open.again():
                self._hang_up()

    def _exchange(self, connection: HttpConnection, body: bytes, end: float) -> tuple[int, str, bytes]:
        connection.allow(end - time.monotonic())
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        headers = [
            ("Host", f"{host}:{self._url.port}"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("User-Agent", "unseen"),
        ]
        request = h11.Request(method="POST", target=self._url.path, headers=headers)
        connection.send(request, h11.Data(data=body), h11.EndOfMessage())
        event = connection.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = connection.next_event()
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("the connection ended before an answer")
        kinds = [value for name, value in event.headers if name == b"content-type"]
        return event.status_code, kinds[0].decode("latin-1") if kinds else "", connection.body(MAX_NOTE_BYTES)

    def _connect(self, end: float) -> HttpConnection:
        line = socket.create_connection((self._url.host, self._url.port), max(end - time.monotonic(), 0.001))
        try:
            line.settimeout(max(end - time.monotonic(), 0.001))
            if self._context is not None:
                line = self._context.wrap_socket(line, server_hostname=self._url.host)
        except BaseException:
            line.close()
            raise
        return HttpConnection(line, h11.CLIENT)

    def _hang_up(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _lines(self, submission: Submission, answer: bytes) -> tuple[NoteSignature, ...]:
        """As the specification reads an answer: put behind the checkpoint's text, it makes a signed note."""
        try:
            return Note.decode(Note.decode(submission.note).text + b"\n" + answer).signatures
        except MalformedError as error:
            raise self._unavailable(f"its answer is no signature lines: {error}") from error

    def _unavailable(self, detail: str) -> PeerUnavailableError:
        return PeerUnavailableError(self._url.host, detail)


def _client_context(roots: bytes | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if roots is not None:
            context.load_verify_locations(cadata=roots.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("the certificate authorities for a witness cannot be read as PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _told(answer: bytes) -> str:
    """The beginning of a stranger's text, without what drives a terminal."""
    text = answer[: 4 * _MAX_DETAIL].decode("utf-8", "replace")[:_MAX_DETAIL].strip()
    return "".join(char if char.isprintable() else " " for char in text)
