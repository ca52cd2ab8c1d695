import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.directory import Directory, sign_directory
from audit.entry import Denied, decode_entry
from audit.keys import KeyPurpose
from audit.names import Role
from parties.channel import DIRECTORY_VERSION, Dialler, PeerChannel, diagnose
from parties.errors import (
    CertificateRefusedError,
    Culprit,
    ListenError,
    NotFoundError,
    from_rpc_error,
)
from parties.files import write_file
from parties.founding import found
from parties.home import Home, TlsMaterial
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    generate_tls_key,
    key_from_pem,
    key_to_pem,
)
from parties.server import PartyServer
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError

from .homes import CLOCK, DOMAIN, Served, founding, join, new_home, served

HANDSHAKE_MS = 400


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, {"limits": {"handshake_ms": HANDSHAKE_MS}}) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, watch: Served) -> Home:
    return join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))


def tls_of(watch: Served, subject: Subject, authority: CertificateAuthority | None = None) -> TlsMaterial:
    """A key and certificate for any subject, by the regulator's authority or another."""
    home = watch.home
    anchor = certificate_from_pem(home.anchors_path.read_bytes())
    own = CertificateAuthority(anchor, key_from_pem((home.keys / "ca.pem").read_bytes(), None, where="ca"))
    key = generate_tls_key()
    certificate = (authority or own).issue(key.public_key(), subject, now_ms=CLOCK.now_ms())
    return TlsMaterial(key_to_pem(key, None), certificate_to_pem(certificate), certificate_to_pem(anchor))


def peer(watch: Served, tls: TlsMaterial) -> PeerChannel:
    record = watch.directory().party("watch")
    return PeerChannel(record, watch.endpoint, tls, watch.home.config.limits, watch.directory, proxy=False)


def ask(channel: PeerChannel, version: int = 0) -> int:
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    request = directory_pb2.GetDirectoryRequest(known_version=version)
    return int(channel.call(stub.GetDirectory, request, timeout_ms=5000).version)


def denied(act: Callable[[], object]) -> DeniedError:
    with pytest.raises(DeniedError) as caught:
        act()
    return caught.value


def denials(watch: Served) -> list[Denied]:
    entries = [decode_entry(data) for data in watch.regulator.ledger.read(0, watch.regulator.ledger.size)]
    return [entry for entry in entries if isinstance(entry, Denied)]


def settled(watch: Served) -> int:
    time.sleep(HANDSHAKE_MS / 1000 + 0.2)
    return watch.server.metrics.handshakes.refused


def test_an_enrolled_party_is_served_and_its_handshake_is_not_counted_as_refused(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    for _ in range(3):
        assert ask(channel) == 2
    assert settled(watch) == 0
    dialler.close()


def test_a_certificate_of_a_foreign_authority_fails_the_handshake_says_whose_and_is_counted(watch: Served) -> None:
    foreign = CertificateAuthority.create(DOMAIN, now_ms=CLOCK.now_ms())
    channel = peer(watch, tls_of(watch, Subject("shop", Role.MERCHANT, DOMAIN), foreign))
    with pytest.raises(CertificateRefusedError, match="watch is unavailable: it refused our certificate") as caught:
        ask(channel)
    assert caught.value.culprit is Culprit.OURS
    channel.close()
    assert settled(watch) >= 2  # the call's handshake, and the one that found out why
    text = watch.server.metrics.registry
    assert text.get_sample_value("unseen_tls_handshakes_refused_total") == watch.server.metrics.handshakes.refused
    assert not denials(watch)  # nobody was identified, so nobody was denied


def test_a_server_of_a_foreign_authority_is_refused_and_named(watch: Served, shop: Home) -> None:
    foreign = CertificateAuthority.create(DOMAIN, now_ms=CLOCK.now_ms())
    own = shop.tls()
    channel = peer(watch, TlsMaterial(own.key, own.certificate, certificate_to_pem(foreign.certificate)))
    with pytest.raises(CertificateRefusedError, match="we refused its certificate") as caught:
        ask(channel)
    assert caught.value.culprit is Culprit.THEIRS
    channel.close()


def test_another_party_at_the_endpoint_is_refused_by_its_name(watch: Served, shop: Home) -> None:
    record = replace(watch.directory().party("watch"), dns_name=f"watch.provider.{DOMAIN}")
    channel = PeerChannel(record, watch.endpoint, shop.tls(), watch.home.config.limits, watch.directory, proxy=False)
    with pytest.raises(CertificateRefusedError, match=rf"watch\.provider\.{DOMAIN}") as caught:
        ask(channel)
    assert caught.value.culprit is Culprit.THEIRS
    channel.close()


def test_no_certificate_and_no_tls_get_no_answer_and_are_counted(watch: Served, shop: Home) -> None:
    roots = shop.tls().roots
    options = [("grpc.ssl_target_name_override", watch.home.subject.dns_name)]
    for channel in (
        grpc.secure_channel(watch.endpoint, grpc.ssl_channel_credentials(roots), options),
        grpc.insecure_channel(watch.endpoint),
    ):
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetDirectory(directory_pb2.GetDirectoryRequest(), timeout=3)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        channel.close()
    assert settled(watch) == 2


def test_a_plaintext_server_at_the_endpoint_is_refused(watch: Served, shop: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        plain = grpc.server(ThreadPoolExecutor(1))
        listener.close()
        plain.add_insecure_port(endpoint)
        plain.start()
        found_out = diagnose("watch", endpoint, watch.home.subject.dns_name, shop.tls())
        assert found_out is not None
        assert found_out.culprit is Culprit.THEIRS
        plain.stop(0).wait()


def test_tls_below_1_2_is_not_spoken(watch: Served) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, _, port = watch.endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), 3) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw)


def test_a_known_authority_but_unknown_party_is_unauthenticated_and_logged(watch: Served) -> None:
    channel = peer(watch, tls_of(watch, Subject("ghost", Role.MERCHANT, DOMAIN)))
    error = denied(lambda: ask(channel))
    assert error.reason is DenialReason.UNKNOWN_PARTY
    assert "has it been enrolled" in error.detail
    assert [(entry.identity, entry.reason) for entry in denials(watch)] == [
        ("spiffe://test.example/merchant/ghost", "UNKNOWN_PARTY")
    ]
    channel.close()


def test_a_known_party_in_another_role_is_denied(watch: Served, shop: Home) -> None:
    channel = peer(watch, tls_of(watch, Subject("shop", Role.PROVIDER, DOMAIN)))
    assert denied(lambda: ask(channel)).reason is DenialReason.WRONG_ROLE
    assert denials(watch)[-1].identity == "spiffe://test.example/provider/shop"
    channel.close()


def test_a_revoked_certificate_is_denied(watch: Served, shop: Home, tmp_path: Path) -> None:
    _, channel = watch.channel(shop)
    assert ask(channel) == 2
    revoked = fingerprint(certificate_from_pem(shop.tls().certificate))
    directory = replace(watch.directory(), revoked_certificates=(revoked,))
    logger = make_logger(watch.home.config.telemetry, "watch")
    server = PartyServer(watch.home, directory=lambda: directory, logger=logger)
    endpoint = server.start("127.0.0.1:0")
    dialler = Dialler(shop, lambda: directory)
    stub = health_pb2_grpc.HealthStub(dialler.dial_at("watch", endpoint).channel)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=3)
    finally:
        server.stop(0)
        dialler.close()
    error = from_rpc_error("watch", caught.value)
    assert isinstance(error, DeniedError)
    assert error.reason is DenialReason.UNKNOWN_PARTY
    assert "revoked" in error.detail


def test_a_call_without_a_deadline_or_with_one_too_far_is_refused(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    beyond = watch.home.config.limits.deadline_max_ms / 1000 + 60
    for timeout in (None, beyond):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetDirectory(directory_pb2.GetDirectoryRequest(), timeout=timeout)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = from_rpc_error("watch", caught.value)
        assert isinstance(error, DeniedError)
        assert error.reason is DenialReason.DEADLINE_MISSING
    assert [entry.reason for entry in denials(watch)] == ["DEADLINE_MISSING"] * 2
    dialler.close()


def test_an_oversized_message_is_refused_before_it_is_parsed(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    limit = watch.home.config.limits.message_bytes
    raw = channel.channel.unary_unary("/unseen.v1.DirectoryService/GetDirectory")  # bytes as they are: no protobuf
    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff" * limit, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # of the limit's size: read, and no protobuf
    wide = [("grpc.max_send_message_length", -1), ("grpc.ssl_target_name_override", watch.home.subject.dns_name)]
    tls = shop.tls()
    credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
    with grpc.secure_channel(watch.endpoint, credentials, wide) as boundless:
        with pytest.raises(grpc.RpcError) as caught:
            boundless.unary_unary("/unseen.v1.DirectoryService/GetDirectory")(b"\xff" * (limit + 1), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        error = from_rpc_error("watch", caught.value)
        assert isinstance(error, DeniedError)
        assert error.reason is DenialReason.TOO_LARGE
    dialler.close()


def test_bytes_that_are_no_protobuf_are_malformed(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    raw = channel.channel.unary_unary("/unseen.v1.DirectoryService/GetDirectory")
    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff\xff", timeout=5)
    error = from_rpc_error("watch", caught.value)
    assert isinstance(error, DeniedError)
    assert error.reason is DenialReason.MALFORMED
    dialler.close()


def test_a_party_that_is_down_is_named_within_the_deadline(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    watch.server.stop(0)
    began = time.monotonic()
    with pytest.raises(PeerUnavailableError, match="watch is unavailable") as caught:
        ask(channel)
    assert type(caught.value) is PeerUnavailableError
    assert time.monotonic() - began < 5
    dialler.close()


def test_a_party_that_does_not_answer_is_named_at_the_deadline(watch: Served, shop: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        record = watch.directory().party("watch")
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        channel = PeerChannel(record, endpoint, shop.tls(), shop.config.limits, watch.directory, proxy=False)
        stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
        began = time.monotonic()
        with pytest.raises(PeerUnavailableError, match="within the deadline"):
            channel.call(stub.GetDirectory, directory_pb2.GetDirectoryRequest(), timeout_ms=700)
        assert time.monotonic() - began < 2
        channel.close()


def test_health_tells_the_truth(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    stub = health_pb2_grpc.HealthStub(channel.channel)

    def status(service: str = "") -> int:
        return int(channel.call(stub.Check, health_pb2.HealthCheckRequest(service=service)).status)

    assert status() == status("unseen.v1.DirectoryService") == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(NotFoundError):
        status("unseen.v1.ComputeService")
    watch.regulator.ledger.close()
    assert status() == health_pb2.HealthCheckResponse.NOT_SERVING
    dialler.close()


def test_reflection_is_off_unless_configured(watch: Served, shop: Home) -> None:
    dialler, channel = watch.channel(shop)
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    reflect = channel.channel.stream_stream(method)
    with pytest.raises(grpc.RpcError) as caught:
        list(reflect(iter([b""]), timeout=3))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    dialler.close()


def test_a_renewed_certificate_is_used_without_a_restart(watch: Served, shop: Home) -> None:
    home = watch.home

    def serial() -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host, _, port = watch.endpoint.rpartition(":")
        with socket.create_connection((host, int(port)), 3) as raw, context.wrap_socket(raw) as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        pem = ssl.DER_cert_to_PEM_cert(der).encode()
        return certificate_from_pem(pem).serial_number

    before = serial()
    tls = tls_of(watch, home.subject)
    write_file(home.keys / "tls.pem", tls.key, mode=0o600)
    write_file(home.certificate_path, tls.certificate)
    assert serial() != before
    dialler, channel = watch.channel(shop)
    assert ask(channel) == 2
    write_file(home.certificate_path, b"broken")  # a renewal that went wrong keeps the certificate in use
    assert serial() == certificate_from_pem(tls.certificate).serial_number
    dialler.close()


def test_a_second_server_on_the_port_is_refused(watch: Served) -> None:
    logger = make_logger(watch.home.config.telemetry, "watch")
    second = PartyServer(watch.home, directory=watch.directory, logger=logger)
    with pytest.raises(ListenError, match="is it taken"):
        second.start(watch.endpoint)
    second.stop(0)


def test_a_party_enrolled_a_moment_ago_is_known_at_once(watch: Served, tmp_path: Path) -> None:
    """The server asks for a newer directory before it refuses somebody."""
    held = watch.directory()
    logger = make_logger(watch.home.config.telemetry, "watch")
    server = PartyServer(watch.home, directory=lambda: held, logger=logger)
    server.on_unknown(watch.directory)
    endpoint = server.start("127.0.0.1:0")
    late = join(watch.regulator, new_home(tmp_path, "late", Role.MERCHANT))
    dialler = Dialler(late, watch.directory)
    channel = dialler.dial_at("watch", endpoint)
    stub = health_pb2_grpc.HealthStub(channel.channel)
    assert channel.call(stub.Check, health_pb2.HealthCheckRequest()).status == 1
    dialler.close()
    server.stop(0)


@pytest.mark.parametrize(("said", "looks"), [("2", True), ("1", False), ("", False), ("9" * 17, False), ("-3", False)])
def test_a_caller_with_a_newer_directory_has_the_server_look_for_it(
    said: str, looks: bool, watch: Served, shop: Home
) -> None:
    held = replace(watch.directory(), version=1)
    looked: list[Directory] = []

    def look_again() -> Directory:
        looked.append(watch.directory())
        return looked[-1]

    server = PartyServer(watch.home, directory=lambda: held, logger=make_logger(watch.home.config.telemetry, "watch"))
    server.on_unknown(look_again)
    dialler = Dialler(shop, watch.directory)
    channel = dialler.dial_at("watch", server.start("127.0.0.1:0"))
    check = health_pb2_grpc.HealthStub(channel.channel).Check
    metadata = ((DIRECTORY_VERSION, said),)
    assert check(health_pb2.HealthCheckRequest(), timeout=10, metadata=metadata).status == 1
    assert bool(looked) is looks
    dialler.close()
    server.stop(0)


def test_a_second_federation_of_the_same_names_is_a_stranger(watch: Served, tmp_path: Path) -> None:
    other = found(tmp_path / "other", founding("watch", Role.REGULATOR), passphrase=None, clock=CLOCK)
    directory = other.directory(now_ms=CLOCK.now_ms())
    signed = sign_directory(directory, other.signing_key(KeyPurpose.MESSAGE))
    assert signed.digest
    dialler = Dialler(other, lambda: directory)
    with pytest.raises(CertificateRefusedError):
        ask(dialler.dial_at("watch", watch.endpoint))
    dialler.close()
