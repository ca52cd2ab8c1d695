"""c2sp.org/tlog-witness over HTTPS: against a log and a witness made by hand from the specification's text.

The log of these tests knows HTTP as bytes on a socket, Ed25519 from `cryptography` and nothing of this project; so does
the witness. Neither uses our encoders.
"""

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Note, NoteSignature
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.errors import LedgerUnavailableError, Refusal, WitnessRefusedError
from audit.keys import KeyPurpose, VerifyingKey
from audit.names import Role
from audit.submission import MAX_SUBMISSION_BYTES, Submission
from audit.witness import Witness
from audit.witness_store import WitnessStore
from parties.client.witness_http import HttpWitness, WitnessUrl
from parties.config import Overrides
from parties.errors import ConfigError, ListenError
from parties.home import Home
from parties.identity import CertificateAuthority, Subject, certificate_from_pem, certificate_to_pem, key_from_pem
from parties.telemetry import make_logger
from parties.witness_http import WitnessHttpServer
from sandbox.errors import PeerUnavailableError
from tests.parties.homes import CLOCK, DOMAIN, free_port, new_home, opened

ORIGIN = "log.example/by-hand"
WITNESS = f"watch.regulator.{DOMAIN}"
OTHER = "an unknown log"


class HandLog:
    """A log of a few entries, its notes written out by hand."""

    def __init__(self, origin: str = ORIGIN, entries: tuple[bytes, ...] = (b"a", b"b", b"c", b"d")) -> None:
        self.origin = origin
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(origin.encode()).digest())
        self.leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def root(self, size: int) -> bytes:
        def node(left: bytes, right: bytes) -> bytes:
            return hashlib.sha256(b"\x01" + left + right).digest()

        one, two, three, four = self.leaves
        pair = node(one, two)
        return [hashlib.sha256().digest(), one, pair, node(pair, three), node(pair, node(three, four))][size]

    def text(self, size: int, root: bytes | None = None) -> bytes:
        shown = base64.b64encode(root or self.root(size))
        return b"%b\n%d\n%b\n" % (self.origin.encode(), size, shown)

    def line(self, text: bytes) -> bytes:
        key_id = hashlib.sha256(self.origin.encode() + b"\n\x01" + self.public).digest()[:4]
        return "— ".encode() + self.origin.encode() + b" " + base64.b64encode(key_id + self.key.sign(text)) + b"\n"

    def note(self, size: int, root: bytes | None = None) -> bytes:
        text = self.text(size, root)
        return text + b"\n" + self.line(text)

    def body(self, old: int, size: int, *proof: bytes, root: bytes | None = None) -> bytes:
        lines = [b"old %d" % old, *map(base64.b64encode, proof), b""]
        return b"\n".join(lines) + b"\n" + self.note(size, root)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = new_home(tmp_path_factory.mktemp("witness"), "watch", Role.REGULATOR)
    with opened(home):
        return Home.open(home.path)


class Served:
    """A witness served over HTTPS at a free port, and raw lines to it."""

    def __init__(self, home: Home, add: Callable[[Submission], tuple[NoteSignature, ...]]) -> None:
        self.home = home
        self.log = StringIO()
        logger = make_logger(home.config.telemetry, home.name, self.log)
        self.server = WitnessHttpServer(home, add, "127.0.0.1:0", logger)
        self.port = int(self.server.start().rpartition(":")[2])
        self.context = ssl.create_default_context(cadata=home.anchors_path.read_text())

    def connect(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), 10)
        return self.context.wrap_socket(raw, server_hostname=WITNESS)

    def send(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.connect() as line:
            line.sendall(data)
            return answered(line)

    def post(self, body: bytes, path: str = "/add-checkpoint") -> tuple[int, dict[str, str], bytes]:
        return self.send(request(body, path))


def request(body: bytes, path: str = "/add-checkpoint", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {WITNESS}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answered(line: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        received = line.recv(65536)
        assert received, f"hung up after {data!r}"
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    while len(body) < int(headers["content-length"]):
        received = line.recv(65536)
        assert received
        body += received
    assert first.startswith("HTTP/1.1 ")
    return int(first.split(" ")[1]), headers, body


@contextmanager
def serving(home: Home, add: Callable[[Submission], tuple[NoteSignature, ...]]) -> Iterator[Served]:
    made = Served(home, add)
    try:
        yield made
    finally:
        made.server.close()


@pytest.fixture
def witness(home: Home, tmp_path: Path) -> Iterator[Served]:
    """The real witness, which knows the log made by hand."""
    log = HandLog()
    known = {ORIGIN: (VerifyingKey(ORIGIN, log.public),)}
    with contextlib.closing(WitnessStore.open(tmp_path / "witness.db")) as store:
        real = Witness(
            home.signing_key(KeyPurpose.WITNESS),
            lambda origin: known.get(origin, ()),
            store,
            CLOCK,
            lambda origin, size: None,
            lambda evidence: None,
        )
        with serving(home, real.add_checkpoint) as made:
            yield made


def verify_by_hand(answer: bytes, text: bytes, home: Home) -> int:
    """Check a cosignature as c2sp.org/tlog-cosignature describes it; returns its time."""
    public = home.signing_key(KeyPurpose.WITNESS).verifying_key.public_key
    name = f"{WITNESS}/witness"
    found = re.fullmatch(r"— (\S+) (\S+)\n", answer.decode())
    assert found is not None
    assert found[1] == name
    data = base64.b64decode(found[2], validate=True)
    assert data[:4] == hashlib.sha256(name.encode() + b"\n\x04" + public).digest()[:4]
    seconds = int.from_bytes(data[4:12], "big")
    message = b"cosignature/v1\ntime %d\n" % seconds + text
    Ed25519PublicKey.from_public_bytes(public).verify(data[12:], message)
    return seconds


# -- our witness, a foreign log -------------------------------------------------------------------------------------


def test_a_log_made_by_hand_is_cosigned_as_it_grows_over_one_connection(witness: Served) -> None:
    log = HandLog()
    one, two, three, _ = log.leaves
    bodies = [(log.body(0, 1), 1), (log.body(1, 3, two, three), 3), (log.body(3, 3), 3)]
    with witness.connect() as line:
        for body, size in bodies:
            line.sendall(request(body))
            status, headers, answer = answered(line)
            assert (status, headers.get("connection")) == (200, None)
            assert abs(verify_by_hand(answer, log.text(size), witness.home) - time.time()) < 60
    with pytest.raises(InvalidSignature):
        verify_by_hand(answer, log.text(1), witness.home)
    del one


def test_each_refusal_has_the_specifications_status(witness: Served) -> None:
    log = HandLog()
    one, two, three, _ = log.leaves
    assert witness.post(log.body(0, 2))[0] == 200
    stranger = HandLog("somebody.example/log")
    stranger.origin = ORIGIN  # the origin, under another key
    statuses = {
        "an unknown log": (HandLog("unknown.example/log").body(0, 1), 404),
        "a key that is not the log's": (stranger.body(2, 3, three), 403),
        "an old size beyond the checkpoint's": (log.body(3, 2), 400),
        "an old size that is not the witness's": (log.body(0, 3), 409),
        "another root of the same size": (log.body(2, 2, root=bytes(32)), 409),
        "a proof that does not verify": (log.body(2, 3, two), 422),
        "no checkpoint": (b"old 0\n\nhello\n", 400),
        "no old size": (b"\n" + log.note(3), 400),
        "a zero in front": (log.body(2, 3, three).replace(b"old 2", b"old 02"), 400),
        "a line end of another system": (log.body(2, 3, three).replace(b"old 2\n", b"old 2\r\n"), 400),
        "more than 63 proof lines": (log.body(2, 3, *[three] * 64), 400),
    }
    for what, (body, wanted) in statuses.items():
        status, headers, answer = witness.post(body)
        assert status == wanted, f"{what}: {answer!r}"
        if what == "an old size that is not the witness's":
            assert (headers["content-type"], answer) == ("text/x.tlog.size", b"2\n")
    assert witness.post(log.body(2, 3, three))[0] == 200
    del one


def test_signatures_of_unknown_keys_beside_the_logs_are_ignored(witness: Served) -> None:
    log, other = HandLog(), HandLog("other.example/x")
    note = log.note(1) + other.line(log.text(1))
    assert witness.post(b"old 0\n\n" + note)[0] == 200


def test_other_paths_and_methods_are_refused(witness: Served) -> None:
    body = HandLog().body(0, 1)
    assert witness.post(body, "/")[0] == 404
    assert witness.post(body, "/add-checkpoint/")[0] == 404
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = witness.send(request(body, method=method))
        assert (status, headers["allow"]) == (405, "POST")
    with witness.connect() as line:
        line.sendall(request(b"", method="HEAD"))
        assert line.recv(65536).startswith(b"HTTP/1.1 405 ")


def test_what_is_too_large_or_no_http_is_refused_and_the_connection_closed(witness: Served) -> None:
    long = b"x" * (MAX_SUBMISSION_BYTES + 1)
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 900) for number in range(30))
    chunked = b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused = {
        413: [request(long), chunked + b"".join(b"1000\r\n%s\r\n" % (b"x" * 4096) for _ in range(8)) + b"0\r\n\r\n"],
        431: [b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\n" + headers, b"POST /" + b"a" * 17_000],
        400: [
            b"hello\r\n\r\n",
            b"POST /add-checkpoint HTTP/1.1\r\n\r\n",  # no Host
            b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        ],
    }
    for wanted, requests in refused.items():
        for data in requests:
            status, answer_headers, _ = witness.send(data)
            assert (status, answer_headers["connection"]) == (wanted, "close"), data[:60]
    body = HandLog().body(0, 1)
    assert witness.send(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))[0] == 200


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_body_gets_a_status_of_the_specification(data: st.DataObject, fuzzed: Served) -> None:
    log = HandLog()
    good = log.body(0, 3)
    lines = st.sampled_from(
        [b"old 0", b"old 1", b"old 3", b"", *good.split(b"\n"), b"old 99999999999999999999", b"\xff"]
    )
    body = data.draw(
        st.one_of(
            st.binary(max_size=400),
            st.lists(lines, max_size=12).map(b"\n".join),
            st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)).map(
                lambda at: good[: at[0]] + bytes([at[1]]) + good[at[0] + 1 :]
            ),
        )
    )
    status, _, answer = fuzzed.post(body)
    assert status in {200, 400, 403, 404, 409, 422}
    assert b"Traceback" not in answer
    assert "failed" not in fuzzed.log.getvalue()


@pytest.fixture(scope="module")
def fuzzed(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = HandLog()
    path = tmp_path_factory.mktemp("fuzzed") / "witness.db"
    with contextlib.closing(WitnessStore.open(path)) as store:
        real = Witness(
            home.signing_key(KeyPurpose.WITNESS),
            lambda origin: (VerifyingKey(ORIGIN, log.public),) if origin == ORIGIN else (),
            store,
            CLOCK,
            lambda origin, size: None,
            lambda evidence: None,
        )
        with serving(home, real.add_checkpoint) as made:
            yield made


def test_a_witness_that_cannot_record_says_so_and_no_more(home: Home) -> None:
    def full(submission: Submission) -> tuple[NoteSignature, ...]:
        raise LedgerUnavailableError("/secret/path: No space left on device")

    def broken(submission: Submission) -> tuple[NoteSignature, ...]:
        raise RuntimeError("secret")

    body = HandLog().body(0, 1)
    for add, wanted in ((full, 503), (broken, 500)):
        with serving(home, add) as made:
            status, _, answer = made.post(body)
            assert (status, b"secret" in answer) == (wanted, False)
            assert made.post(body)[0] == wanted


# -- hostile lines ------------------------------------------------------------------------------------------------


def nobody(submission: Submission) -> tuple[NoteSignature, ...]:
    raise WitnessRefusedError(Refusal.UNKNOWN_LOG, "no log is known here")


def limited(home: Home, **limits: int) -> Home:
    overrides: Overrides = {"limits": limits}
    return Home.open(home.path, overrides=overrides)


def test_connections_that_say_nothing_hold_up_nobody_and_are_ended(home: Home) -> None:
    with serving(limited(home, threads=8, handshake_ms=700), nobody) as made:
        silent = [socket.create_connection(("127.0.0.1", made.port), 10) for _ in range(7)]
        started = time.monotonic()
        assert made.post(b"")[0] == 400
        assert time.monotonic() - started < 0.6  # no handshake waits for another's
        silent += [socket.create_connection(("127.0.0.1", made.port), 10) for _ in range(7)]
        with pytest.raises((OSError, AssertionError)):
            made.post(b"")  # all threads are taken
        for line in silent:
            assert hangs_up(line)
        assert made.post(b"")[0] == 400


def test_where_most_threads_are_in_use_connections_are_not_kept_open(home: Home) -> None:
    with serving(limited(home, threads=8), nobody) as made, contextlib.ExitStack() as kept:
        lines = [kept.enter_context(made.connect()) for _ in range(6)]
        for line in lines:
            line.sendall(request(b""))
            assert "connection" not in answered(line)[1]
        for _ in range(3):
            assert made.post(b"")[1]["connection"] == "close"


def test_a_request_that_comes_byte_by_byte_is_ended_at_its_deadline(home: Home) -> None:
    with serving(limited(home, handshake_ms=500), nobody) as made, made.connect() as line:
        line.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 5:
                line.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - started < 2


def test_closing_breaks_open_connections_and_waits_for_them(home: Home) -> None:
    with serving(home, nobody) as made:
        with made.connect() as idle, socket.create_connection(("127.0.0.1", made.port), 10) as silent:
            assert made.post(b"")[0] == 400
            before = threading.active_count()
            started = time.monotonic()
            made.server.close()
            assert time.monotonic() - started < 2
            assert (hangs_up(idle), hangs_up(silent)) == (True, True)
            assert threading.active_count() < before
        made.server.close()
        with pytest.raises(OSError):  # noqa: PT011  (refused)
            made.connect()


def hangs_up(line: socket.socket) -> bool:
    line.settimeout(5)
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_taken_address_is_told(home: Home) -> None:
    with serving(home, nobody) as made:
        logger = make_logger(home.config.telemetry, home.name, StringIO())
        with pytest.raises(ListenError, match="taken"):
            WitnessHttpServer(home, nobody, f"127.0.0.1:{made.port}", logger).start()


def test_a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(tmp_path: Path) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home):
        pass
    with serving(home, nobody) as made:

        def shown() -> bytes:
            with made.connect() as line:
                certificate = line.getpeercert(binary_form=True)
                assert certificate is not None
                return certificate

        first = shown()
        renew(home, home.subject)
        second = shown()
        assert second != first
        home.certificate_path.write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
        assert shown() == second
    assert "cannot be read" in made.log.getvalue()


def renew(home: Home, subject: Subject) -> None:
    """Issue a certificate anew, for the key that the home has."""
    authority_key = key_from_pem((home.keys / "ca.pem").read_bytes(), None, where="the CA")
    authority = CertificateAuthority(certificate_from_pem(home.anchors_path.read_bytes()), authority_key)
    key = key_from_pem((home.keys / "tls.pem").read_bytes(), None, where="the key")
    certificate = authority.issue(key.public_key(), subject, now_ms=CLOCK.now_ms())
    home.certificate_path.write_bytes(certificate_to_pem(certificate))


# -- a foreign witness, our log ----------------------------------------------------------------------------------------


class HandWitness:
    """Answers whatever it is told to, over plain HTTP on the loopback, one thread for each connection."""

    def __init__(self, *answers: bytes, close: bool = False) -> None:
        self.received: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)
        self._close = close
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with line:
                while self._answers and self._one(line):
                    pass

    def _one(self, line: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            received = line.recv(65536)
            if not received:
                return False
            data += received
        found = re.search(rb"content-length: (\d+)", data, re.IGNORECASE)
        assert found is not None
        while len(data.partition(b"\r\n\r\n")[2]) < int(found[1]):
            data += line.recv(65536)
        self.received.append(data)
        line.sendall(self._answers.pop(0))
        return not self._close

    def __enter__(self) -> "HandWitness":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def http(status: str, body: bytes, kind: str = "text/plain") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Cosigner:
    """A witness's key, and its line by hand."""

    name = "witness.example/w1"
    key = Ed25519PrivateKey.from_private_bytes(b"w" * 32)

    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def line(self, text: bytes, seconds: int) -> bytes:
        key_id = hashlib.sha256(self.name.encode() + b"\n\x04" + self.public()).digest()[:4]
        message = b"cosignature/v1\ntime %d\n" % seconds + text
        signed = key_id + seconds.to_bytes(8, "big") + self.key.sign(message)
        return "— ".encode() + self.name.encode() + b" " + base64.b64encode(signed) + b"\n"


def ask(port: int, submission: Submission, timeout_s: float = 3.0) -> tuple[NoteSignature, ...]:
    asked = HttpWitness(f"http://127.0.0.1:{port}/w1/", None, timeout_s)
    try:
        return asked.add_checkpoint(submission)
    finally:
        asked.close()


def test_a_foreign_witness_is_sent_the_specifications_bytes_and_its_line_verifies() -> None:
    log, cosigner = HandLog(), Cosigner()
    line = cosigner.line(log.text(3), 1_700_000_000)
    with HandWitness(http("200 OK", line)) as foreign:
        lines = ask(foreign.port, Submission(2, (log.leaves[2],), log.note(3)))
    head, _, body = foreign.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /w1/add-checkpoint HTTP/1.1\r\n")
    assert body == log.body(2, 3, log.leaves[2])
    key = CosignerKey(VerifyingKey(cosigner.name, cosigner.public()))
    (found,) = verify_cosignatures(Note(log.text(3), lines), [key])
    assert found.timestamp_s == 1_700_000_000


def test_a_witness_that_closes_its_connections_is_asked_again_over_a_new_one() -> None:
    log, cosigner = HandLog(), Cosigner()
    answers = [http("200 OK", cosigner.line(log.text(1), 1)) for _ in range(3)]
    for close in (True, False):
        with HandWitness(*answers, close=close) as foreign:
            asked = HttpWitness(f"http://localhost:{foreign.port}")
            for _ in range(3):
                assert asked.add_checkpoint(Submission(0, (), log.note(1)))
            asked.close()
            assert foreign.connections == (3 if close else 1)


def test_each_status_of_the_specification_is_a_refusal_with_its_size() -> None:
    submission = Submission(0, (), HandLog().note(1))
    answers = {
        http("400 Bad Request", b"no\n"): (Refusal.MALFORMED, None),
        http("403 Forbidden", b""): (Refusal.UNTRUSTED_KEY, None),
        http("404 Not Found", b"what?\x1b[2J\n"): (Refusal.UNKNOWN_LOG, None),
        http("409 Conflict", b"20852014\n", "text/x.tlog.size"): (Refusal.CONFLICT, 20852014),
        http("409 Conflict", b"0\n", "text/x.tlog.size; charset=utf-8"): (Refusal.CONFLICT, 0),
        http("409 Conflict", b"the roots differ\n"): (Refusal.CONFLICT, None),
        http("422 Unprocessable Entity", b"no\n"): (Refusal.BAD_PROOF, None),
    }
    for answer, (refusal, size) in answers.items():
        with HandWitness(answer) as foreign, pytest.raises(WitnessRefusedError) as raised:
            ask(foreign.port, submission)
        assert (raised.value.refusal, raised.value.size) == (refusal, size)
        assert "\x1b" not in str(raised.value)


def test_whatever_else_a_witness_answers_is_no_answer() -> None:
    log = HandLog()
    submission = Submission(0, (), log.note(1))
    line = Cosigner().line(log.text(1), 1)
    elsewhere = b"HTTP/1.1 308 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + line * 200
    for answer in (
        elsewhere,
        http("500 Oops", b"no\n"),
        http("413 Too Large", b""),
        http("200 OK", b""),
        http("200 OK", b"hello\n"),
        http("200 OK", line[:-1]),
        http("200 OK", line + b"\n"),
        http("200 OK", log.text(1)),
        http("409 Conflict", b"05\n", "text/x.tlog.size"),
        http("409 Conflict", b"5", "text/x.tlog.size"),
        http("409 Conflict", b"9" * 20 + b"\n", "text/x.tlog.size"),
        http("200 OK", line * 200),
        endless,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"ssh-2.0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"",
    ):
        with HandWitness(answer, close=True) as foreign, pytest.raises(PeerUnavailableError):
            ask(foreign.port, submission)


def test_a_witness_that_answers_byte_by_byte_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line:
                try:
                    while True:
                        line.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                        time.sleep(0.05)
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        with pytest.raises(PeerUnavailableError, match="within"):
            ask(server.getsockname()[1], Submission(0, (), HandLog().note(1)), 0.6)
        assert time.monotonic() - started < 2
        dripping.join()


def test_a_witness_that_nobody_serves_is_unavailable() -> None:
    with pytest.raises(PeerUnavailableError, match=r"127\.0\.0\.1 is unavailable"):
        ask(free_port(), Submission(0, (), HandLog().note(1)))


# -- both ours, over TLS -----------------------------------------------------------------------------------------------


class AtLocalhost(Subject):
    """Whose certificate is for localhost too, as a witness's is for the host in its submission prefix."""

    @property
    def dns_name(self) -> str:
        return "localhost"


@pytest.fixture
def at_localhost(tmp_path: Path) -> Home:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home):
        pass
    renew(home, AtLocalhost("watch", Role.REGULATOR, DOMAIN))
    return home


def test_our_log_is_refused_with_the_size_by_our_witness_over_tls(at_localhost: Home) -> None:
    def behind(submission: Submission) -> tuple[NoteSignature, ...]:
        raise WitnessRefusedError(Refusal.CONFLICT, "elsewhere", 7)

    with serving(at_localhost, behind) as made:
        url, roots = f"https://localhost:{made.port}", at_localhost.anchors_path.read_bytes()
        asked = HttpWitness(url, roots)
        for _ in range(2):
            with pytest.raises(WitnessRefusedError) as raised:
                asked.add_checkpoint(Submission(0, (), HandLog().note(1)))
            assert raised.value.size == 7
        asked.close()
        with pytest.raises(PeerUnavailableError, match="certificate is refused"):
            HttpWitness(url).add_checkpoint(Submission(0, (), HandLog().note(1)))  # of no public authority
        with pytest.raises(PeerUnavailableError, match="certificate is refused"):
            HttpWitness(f"https://127.0.0.1:{made.port}", roots).add_checkpoint(Submission(0, (), HandLog().note(1)))


def test_a_submission_prefix_is_https_or_on_this_machine() -> None:
    assert WitnessUrl.parse("https://witness.example/a/b/") == WitnessUrl(
        "witness.example", 443, True, "/a/b/add-checkpoint"
    )
    assert WitnessUrl.parse("http://[::1]:8080") == WitnessUrl("::1", 8080, False, "/add-checkpoint")
    for url in (
        "http://witness.example",
        "http://127.0.0.1.example",
        "ftp://witness.example",
        "https://",
        "https://user@witness.example",
        "https://witness.example/?a=b",
        "https://witness.example/#a",
        "https://witness.example:0",
        "https://witness.example:99999",
        "https://a..b",
        f"https://{'a' * 64}.example",
        "https://witness.example/\r\nX: y",
        "https://w\u00eftness.example",
    ):
        with pytest.raises(ConfigError):
            WitnessUrl.parse(url)
    with pytest.raises(ConfigError, match="PEM"):
        HttpWitness("https://witness.example", b"none")
