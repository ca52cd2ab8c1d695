import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from audit.directory import PartyRecord
from audit.names import Role
from parties.errors import IdentityError, PassphraseError
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    check_certificate,
    generate_tls_key,
    identify,
    key_from_pem,
    key_to_pem,
    make_csr,
    public_key_of_csr,
    require_role,
    require_self,
    spiffe_id_of,
)
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError

from .homes import CLOCK, DAY_MS, DOMAIN, join, new_home, opened

NOW_MS = CLOCK.now_ms()
EAST = Subject("east", Role.PROVIDER, DOMAIN)
AUTHORITY = CertificateAuthority.create(DOMAIN, now_ms=NOW_MS)
KEY = generate_tls_key()


def record(subject: Subject = EAST) -> PartyRecord:
    return PartyRecord(subject.party, subject.role, "X1", subject.spiffe_id, subject.dns_name, "h:1", ())


def certificate_with(*names: x509.GeneralName) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(KEY.public_key()).serial_number(1).not_valid_before(now).not_valid_after(now)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def test_an_issued_certificate_carries_one_spiffe_id_and_the_dns_name() -> None:
    certificate = AUTHORITY.issue(KEY.public_key(), EAST, now_ms=NOW_MS)
    assert spiffe_id_of(certificate) == "spiffe://test.example/provider/east"
    check_certificate(certificate, record(), (AUTHORITY.certificate,), now_ms=NOW_MS)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert certificate_from_pem(certificate_to_pem(certificate)) == certificate


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("east.provider.test.example"),),
        (x509.UniformResourceIdentifier("https://test.example/provider/east"),),
        (x509.UniformResourceIdentifier(EAST.spiffe_id), x509.UniformResourceIdentifier("spiffe://test.example/x")),
    ],
)
def test_a_certificate_without_exactly_one_spiffe_id_names_nobody(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(IdentityError):
        spiffe_id_of(certificate_with(*names))


def test_another_partys_an_expired_and_a_foreign_certificate_are_refused() -> None:
    certificate = AUTHORITY.issue(KEY.public_key(), EAST, now_ms=NOW_MS, days=10)
    anchors = (AUTHORITY.certificate,)
    west = Subject("west", Role.PROVIDER, DOMAIN)
    with pytest.raises(IdentityError, match="not spiffe"):
        check_certificate(certificate, record(west), anchors, now_ms=NOW_MS)
    for when in (NOW_MS - DAY_MS, NOW_MS + 11 * DAY_MS):
        with pytest.raises(IdentityError, match="valid"):
            check_certificate(certificate, record(), anchors, now_ms=when)
    foreign = CertificateAuthority.create(DOMAIN, now_ms=NOW_MS)  # of the same name, with another key
    with pytest.raises(IdentityError, match="none of the directory"):
        check_certificate(certificate, record(), (foreign.certificate,), now_ms=NOW_MS)
    with pytest.raises(IdentityError, match="do not belong together"):
        CertificateAuthority(AUTHORITY.certificate, KEY)


def test_a_certificate_that_only_has_the_uri_cannot_be_dialled_and_is_refused() -> None:
    bare = certificate_with(x509.UniformResourceIdentifier(EAST.spiffe_id))
    with pytest.raises(IdentityError, match="lacks the DNS name"):
        check_certificate(bare, record(), (AUTHORITY.certificate,), now_ms=NOW_MS)


def test_a_signing_request_counts_for_its_own_subject_and_key_only() -> None:
    der = make_csr(KEY, EAST)
    assert public_key_of_csr(der, EAST) == KEY.public_key()
    with pytest.raises(IdentityError, match="made for"):
        public_key_of_csr(der, Subject("west", Role.PROVIDER, DOMAIN))
    with pytest.raises(IdentityError, match="not signed by its own key"):
        public_key_of_csr(der[:-1] + bytes([der[-1] ^ 1]), EAST)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, EAST.dns_name)])
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        with pytest.raises(IdentityError, match="P-256"):
            public_key_of_csr(csr.public_bytes(serialization.Encoding.DER), EAST)


@example(b"ENCRYPTED")
@given(st.binary(max_size=400))
def test_random_bytes_are_no_certificate_key_or_request(data: bytes) -> None:
    for decode in (
        lambda: certificate_from_pem(data),
        lambda: public_key_of_csr(data, EAST),
        lambda: key_from_pem(data, None, where="a key"),
    ):
        with pytest.raises((IdentityError, PassphraseError)):
            decode()


def test_a_key_survives_storage() -> None:
    for passphrase in (None, b"secret"):
        pem = key_to_pem(KEY, passphrase)
        assert key_from_pem(pem, passphrase, where="a key").private_numbers() == KEY.private_numbers()


def test_a_spiffe_id_is_a_party_only_in_the_role_that_the_directory_gives(tmp_path: Path) -> None:
    with opened(new_home(tmp_path, "watch", Role.REGULATOR)) as regulator:
        join(regulator, new_home(tmp_path, "east", Role.PROVIDER))
        directory = regulator.directory()
    peer = identify(EAST.spiffe_id, directory)
    assert peer == PeerIdentity("east", Role.PROVIDER, EAST.spiffe_id, "91110000-east")
    for uri, reason in {
        "spiffe://test.example/merchant/east": DenialReason.WRONG_ROLE,
        "spiffe://test.example/provider/west": DenialReason.UNKNOWN_PARTY,
        "spiffe://other.example/provider/east": DenialReason.UNKNOWN_PARTY,
        "": DenialReason.UNKNOWN_PARTY,
    }.items():
        with pytest.raises(DeniedError) as caught:
            identify(uri, directory)
        assert caught.value.reason is reason


def test_roles_and_own_certificates_are_required() -> None:
    east = PeerIdentity("east", Role.PROVIDER, EAST.spiffe_id, "X1")
    require_role(east, Role.MERCHANT, Role.PROVIDER)
    require_self(east, "east")
    for check in (lambda: require_role(east, Role.MERCHANT), lambda: require_self(east, "watch")):
        with pytest.raises(DeniedError) as caught:
            check()
        assert caught.value.reason is DenialReason.WRONG_ROLE
