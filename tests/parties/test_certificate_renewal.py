"""A certificate is renewed while everybody goes on calling; whoever has a stolen TLS key alone renews nothing."""

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, BadSignatureError, RevokedKeyError
from audit.keys import KeyPurpose, SigningKey
from audit.names import Role, key_name
from parties import certificate_files
from parties.certificate_files import install_certificate, next_tls_key
from parties.certificate_renewal import (
    CertificateKeeper,
    RenewalRequest,
    ask_for_certificate,
    check_renewal,
    read_renewal,
    renew_certificate,
)
from parties.channel import Dialler
from parties.client.directory import DirectoryClient
from parties.errors import HomeError, IdentityError, KeyChangeError, PartyError
from parties.files import write_file
from parties.home import Home
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    generate_tls_key,
    key_from_pem,
    key_to_pem,
    make_csr,
)
from parties.issued_certificates import MAX_CERTIFICATES, IssuedCertificates
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError
from tests.audit.golden import assert_golden
from tests.audit.mutations import mutated

from .homes import CLOCK, DAY_MS, Served, SetClock, join, new_home, served


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))


def renew(watch: Served, home: Home) -> x509.Certificate:
    return renew_certificate(home, watch.directory(), watch.regulator.registry.renew_certificate, CLOCK)


def held(home: Home) -> x509.Certificate:
    return certificate_from_pem(home.tls().certificate)


def assert_pair(home: Home) -> None:
    """What the home gives out belongs together."""
    tls = home.tls()
    assert key_from_pem(tls.key, None, where="?").public_key() == certificate_from_pem(tls.certificate).public_key()


def serial_of_server(watch: Served) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = watch.endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), 3) as raw, context.wrap_socket(raw) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_a_renewal_brings_another_key_and_a_certificate_for_it(watch: Served, shop: Home) -> None:
    before = held(shop)
    renewed = renew(watch, shop)
    assert held(shop) == renewed != before
    assert renewed.public_key() != before.public_key()
    assert_pair(shop)
    assert not shop.next_tls_path.exists()
    assert IssuedCertificates(watch.home.path / "enrolled").of("shop") == (before, renewed)


def test_an_encrypted_key_stays_encrypted(watch: Served, tmp_path: Path) -> None:
    home = new_home(tmp_path, "shop", Role.MERCHANT, passphrase=b"open sesame")
    join(watch.regulator, home)
    home = Home.open(home.path, passphrase=lambda: b"open sesame")
    renew(watch, home)
    assert b"ENCRYPTED" in (home.keys / "tls.pem").read_bytes()
    assert_pair(home)


def test_not_one_call_fails_while_both_sides_renew(watch: Served, shop: Home) -> None:
    """Four threads call without a pause, on one dialler; client and server renew five times each meanwhile."""
    dialler = Dialler(shop, watch.directory)
    over = threading.Event()
    first = serial_of_server(watch)

    def call() -> int:
        calls = 0
        while not over.is_set():
            channel = dialler.dial("watch")
            stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
            channel.call(stub.GetDirectory, directory_pb2.GetDirectoryRequest(), timeout_ms=10_000)
            calls += 1
        return calls

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(call) for _ in range(4)]
        try:
            serials = []
            for _ in range(5):
                renew(watch, shop)
                serials.append(renew(watch, watch.home).serial_number)
                assert serial_of_server(watch) == serials[-1]  # new connections see the new certificate at once
        finally:
            over.set()
        counts = [caller.result(30) for caller in callers]
    dialler.close()
    assert min(counts) > 0
    assert len({first, *serials}) == 6


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize(
    ("name", "after"), [("write_file", 1), ("write_file", 2), ("_finish", 1), ("_finish", 2), ("_finish", 3)]
)
@pytest.mark.parametrize("then", [False, True], ids=["before", "after"])
def test_after_a_crash_at_any_point_there_is_a_pair_and_the_renewal_is_finished_later(
    watch: Served, shop: Home, name: str, after: int, then: bool
) -> None:
    before = held(shop)
    real: Callable[..., object] = getattr(certificate_files, name)
    calls = 0

    def stop(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls < after:
            return real(*arguments, **named)
        if then:
            real(*arguments, **named)
        raise CrashError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate_files, name, stop)
        with pytest.raises(CrashError):
            renew(watch, shop)
    assert_pair(shop)
    interrupted = held(shop)
    dialler, channel = watch.channel(shop)
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    assert channel.call(stub.GetDirectory, directory_pb2.GetDirectoryRequest()).version == 2
    dialler.close()
    renewed = renew(watch, shop)
    assert_pair(shop)
    assert not shop.next_tls_path.exists()
    assert renewed not in {before, interrupted}
    assert b"PRIVATE KEY" in (shop.keys / "tls.pem").read_bytes()


def test_an_answer_that_got_lost_is_given_again(watch: Served, shop: Home) -> None:
    registry = watch.regulator.registry
    first = registry.renew_certificate(ask_for_certificate(shop, CLOCK))
    assert registry.renew_certificate(ask_for_certificate(shop, CLOCK)) == first
    assert len(IssuedCertificates(watch.home.path / "enrolled").of("shop")) == 2


def test_a_pair_that_does_not_belong_together_is_named(watch: Served, shop: Home) -> None:
    write_file(shop.keys / "tls.pem", key_to_pem(generate_tls_key(), None), mode=0o600)
    with pytest.raises(HomeError, match="not for the key"):
        shop.tls()


# -- in time, by itself -----------------------------------------------------------------------------------------------


def keeper(watch: Served, home: Home, clock: SetClock) -> tuple[CertificateKeeper, StringIO]:
    log = StringIO()
    logger = make_logger(home.config.telemetry, home.name, log)
    issue = watch.regulator.registry.renew_certificate
    directory = watch.directory()
    return CertificateKeeper(home, lambda: directory, issue, clock, logger), log


def test_a_certificate_is_renewed_when_less_than_thirty_days_are_left(watch: Served, shop: Home) -> None:
    clock = SetClock()
    watch.regulator.registry._clock = clock
    minder, log = keeper(watch, shop, clock)
    first = held(shop)
    for ahead, same in ((0, True), (334, True), (336, False)):
        clock.ahead_ms = ahead * DAY_MS
        minder.turn()
        assert (held(shop) == first) is same
    assert "certificate renewed" in log.getvalue()
    assert_pair(shop)


def foreign(home: Home) -> CertificateAuthority:
    """Another authority's certificate in the home, as where a company issues its own."""
    authority = CertificateAuthority.create("company.example", now_ms=CLOCK.now_ms())
    key = key_from_pem((home.keys / "tls.pem").read_bytes(), None, where="?")
    certificate = authority.issue(key.public_key(), home.subject, now_ms=CLOCK.now_ms(), days=1)
    write_file(home.certificate_path, certificate_to_pem(certificate))
    return authority


def test_another_authoritys_certificate_is_left_to_it(watch: Served, shop: Home) -> None:
    foreign(shop)
    before = held(shop)
    with pytest.raises(KeyChangeError, match=r"Unseen CA company\.example.*renew it there"):
        renew(watch, shop)
    keeper(watch, shop, SetClock())[0].turn()
    assert held(shop) == before
    assert not shop.next_tls_path.exists()


def test_an_expired_certificate_is_not_tried_over_the_network(watch: Served, shop: Home) -> None:
    clock = SetClock()
    clock.ahead_ms = 366 * DAY_MS
    dialler = Dialler(shop, watch.directory)
    issue = DirectoryClient(dialler, watch.directory).renew_certificate
    with pytest.raises(KeyChangeError, match="--out FILE"):
        renew_certificate(shop, watch.directory(), issue, clock)
    dialler.close()


# -- who may --------------------------------------------------------------------------------------------------------


def test_a_party_renews_over_the_network_and_nobody_for_another(watch: Served, shop: Home, tmp_path: Path) -> None:
    dialler = Dialler(shop, watch.directory)
    client = DirectoryClient(dialler, watch.directory)
    renewed = renew_certificate(shop, watch.directory(), client.renew_certificate, CLOCK)
    assert held(shop) == renewed
    east = join(watch.regulator, new_home(tmp_path, "east", Role.PROVIDER))
    with pytest.raises(DeniedError) as denied:
        client.renew_certificate(ask_for_certificate(east, CLOCK))
    assert denied.value.reason is DenialReason.IDENTITY_MISMATCH
    dialler.close()


def test_a_stolen_tls_key_alone_renews_nothing(watch: Served, shop: Home) -> None:
    """The thief calls with the party's certificate; without its check the registry would answer."""
    csr = make_csr(generate_tls_key(), shop.subject)
    thief = SigningKey.generate(shop.key_name(KeyPurpose.MESSAGE))
    request = RenewalRequest("shop", csr, CLOCK.now_ms(), "00" * 16)
    dialler = Dialler(shop, watch.directory)
    client = DirectoryClient(dialler, watch.directory)
    with pytest.raises(DeniedError) as denied:
        client.renew_certificate(request.seal(thief).encode())
    assert denied.value.reason is DenialReason.BAD_SIGNATURE
    own = shop.signing_key(KeyPurpose.MESSAGE)
    assert client.renew_certificate(request.seal(own).encode())  # by the right key, the same request is answered
    dialler.close()


def test_a_revoked_message_key_renews_nothing(watch: Served, shop: Home) -> None:
    keyid = shop.signing_key(KeyPurpose.MESSAGE).verifying_key.keyid
    watch.regulator.registry.revoke("shop", [keyid], (), "stolen")
    with pytest.raises(RevokedKeyError):
        renew(watch, shop)


def test_a_key_whose_certificate_was_revoked_gets_no_other(watch: Served, shop: Home) -> None:
    registry = watch.regulator.registry
    request = ask_for_certificate(shop, CLOCK)
    certificate = certificate_from_pem(registry.renew_certificate(request))
    registry.revoke("", (), [fingerprint(certificate)], "stolen")
    for again in (request, ask_for_certificate(shop, CLOCK)):
        with pytest.raises(KeyChangeError, match=r"delete keys/tls\.next\.pem"):
            registry.renew_certificate(again)


def test_a_party_that_renews_without_end_is_stopped(watch: Served, shop: Home) -> None:
    issued = IssuedCertificates(watch.home.path / "enrolled")
    certificate = held(shop)
    for _ in range(MAX_CERTIFICATES):
        issued.add("shop", certificate, (), CLOCK.now_ms())
    with pytest.raises(KeyChangeError, match="without end"):
        renew(watch, shop)
    watch.regulator.registry.revoke("", (), [fingerprint(certificate)], "renewed without end")
    renew(watch, shop)  # what was revoked does not count
    issued.add("shop", held(shop), (), CLOCK.now_ms() + 366 * DAY_MS)  # nor what has expired
    assert len(issued.of("shop")) == 2  # the enrolment's, and the one just added


def test_each_refusal_of_a_request(watch: Served, shop: Home) -> None:
    now_ms, key = CLOCK.now_ms(), shop.signing_key(KeyPurpose.MESSAGE)
    directory = watch.directory()
    request, envelope = read_renewal(ask_for_certificate(shop, CLOCK))
    check_renewal((request, envelope), directory, now_ms=now_ms)
    for days in (31, -1):
        with pytest.raises(KeyChangeError, match="days old"):
            check_renewal((request, envelope), directory, now_ms=now_ms + days * DAY_MS)
    stolen = replace(request, csr=make_csr(generate_tls_key(), watch.home.subject))  # made for another subject
    with pytest.raises(IdentityError, match="was made for"):
        check_renewal((stolen, stolen.seal(key)), directory, now_ms=now_ms)
    with pytest.raises(BadSignatureError):
        check_renewal((request, request.seal(watch.home.signing_key(KeyPurpose.MESSAGE))), directory, now_ms=now_ms)


def test_what_is_no_certificate_for_this_home_is_not_installed(watch: Served, shop: Home) -> None:
    before = shop.tls()
    key = next_tls_key(shop)
    anchor = certificate_from_pem(watch.home.anchors_path.read_bytes())
    ca_key = key_from_pem((watch.home.keys / "ca.pem").read_bytes(), None, where="?")
    ours, others = CertificateAuthority(anchor, ca_key), CertificateAuthority.create("x.example", now_ms=CLOCK.now_ms())
    now_ms = CLOCK.now_ms()
    for certificate in (
        ours.issue(generate_tls_key().public_key(), shop.subject, now_ms=now_ms),
        ours.issue(key.public_key(), Subject("shop", Role.PROVIDER, "test.example"), now_ms=now_ms),
        ours.issue(key.public_key(), shop.subject, now_ms=now_ms - 3 * DAY_MS, days=1),
        others.issue(key.public_key(), shop.subject, now_ms=now_ms),
    ):
        with pytest.raises(IdentityError):
            install_certificate(shop, certificate_to_pem(certificate), watch.directory(), now_ms=now_ms)
    assert shop.tls() == before
    right = certificate_to_pem(ours.issue(key.public_key(), shop.subject, now_ms=now_ms))
    for _ in range(2):
        install_certificate(shop, right, watch.directory(), now_ms=now_ms)
    assert shop.tls().certificate == right


# -- the format -------------------------------------------------------------------------------------------------------


def seeded() -> SigningKey:
    seed = hashlib.sha256(b"unseen renewal test key").digest()
    return SigningKey.from_seed(key_name("east", Role.PROVIDER, "stats.example", KeyPurpose.MESSAGE), seed)


def golden() -> tuple[RenewalRequest, Envelope]:
    scalar = int.from_bytes(hashlib.sha256(b"unseen renewal test TLS key").digest()) >> 8
    subject = Subject("east", Role.PROVIDER, "stats.example")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.dns_name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = csr.sign(ec.derive_private_key(scalar, ec.SECP256R1()), hashes.SHA256(), ecdsa_deterministic=True)
    der = signed.public_bytes(serialization.Encoding.DER)
    request = RenewalRequest("east", der, 1_760_000_000_000, "00" * 16)
    return request, request.seal(seeded())


def test_the_golden_file_is_what_this_release_writes_and_reads() -> None:
    request, envelope = golden()
    assert_golden("certificate_renewal", envelope.encode())
    assert read_renewal(envelope.encode()) == (request, envelope)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_our_error(data: bytes) -> None:
    try:
        read_renewal(data)
    except AuditError:
        return


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_body_is_a_request_or_our_error(data: st.DataObject) -> None:
    _, envelope = golden()
    body = json.loads(data.draw(mutated(envelope.payload)))
    if body.get("type") != "certificate_renewal":
        return
    try:
        request, _ = read_renewal(seal(body, PayloadType.CERTIFICATE_RENEWAL, seeded()).encode())
        Subject(request.party, Role.PROVIDER, "stats.example")
    except (AuditError, PartyError):
        return
