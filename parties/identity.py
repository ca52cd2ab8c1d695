"""Who is at the other end: certificates, the small CA of a first try, and the party behind a connection.

A party's certificate names it once as a SPIFFE ID (URI SAN; SPIFFE X.509-SVID, section 2) and once in DNS, because
gRPC clients check DNS names. TLS keys are ECDSA P-256. Nothing in a certificate is taken from a signing request but
its key.
"""

import datetime
import re
from dataclasses import dataclass
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.directory import Directory, PartyRecord, Role
from audit.errors import UnknownPartyError
from audit.hashes import hex_sha256
from audit.names import dns_name, spiffe_id
from parties.errors import IdentityError, PassphraseError
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError

CA_YEARS: Final = 10
CERTIFICATE_DAYS: Final = 365
BACKDATED: Final = datetime.timedelta(minutes=5)
"""A fresh certificate is valid from a little before now, so that a clock slightly behind accepts it."""
MAX_PEM_BYTES: Final = 64 * 1024
MAX_SPIFFE_ID: Final = 256
FINGERPRINT_PATTERN: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is for."""

    party: str
    role: Role
    domain: str

    @property
    def spiffe_id(self) -> str:
        """`spiffe://<domain>/<role>/<party>`."""
        return spiffe_id(self.party, self.role, self.domain)

    @property
    def dns_name(self) -> str:
        """`<party>.<role>.<domain>`."""
        return dns_name(self.party, self.role, self.domain)


def generate_tls_key() -> ec.EllipticCurvePrivateKey:
    """Return a fresh ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    """Encode a TLS or CA key as PKCS#8 PEM, encrypted when there is a passphrase."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def key_from_pem(pem: bytes, passphrase: bytes | None, *, where: str) -> ec.EllipticCurvePrivateKey:
    """Decode `key_to_pem`'s output.

    Raises:
        PassphraseError: the key is encrypted and the passphrase missing or wrong.
        IdentityError: it is no elliptic-curve key in PEM.
    """
    try:
        key = serialization.load_pem_private_key(pem, passphrase if b"ENCRYPTED" in pem else None)
    except TypeError as error:
        raise PassphraseError(f"{where} is encrypted: give --passphrase-file or UNSEEN_PASSPHRASE") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in pem:
            raise PassphraseError(f"{where} does not open: the passphrase is wrong") from error
        raise IdentityError(f"{where} is not a PKCS#8 PEM key; restore it from the backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{where} holds no elliptic-curve key; TLS keys here are ECDSA P-256")
    return key


def make_csr(key: ec.EllipticCurvePrivateKey, subject: Subject) -> bytes:
    """Return a DER signing request that proves possession of the TLS key to whoever reads it, for `subject` alone."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.dns_name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def public_key_of_csr(der: bytes, subject: Subject) -> ec.EllipticCurvePublicKey:
    """Return the key that a signing request proves possession of.

    Raises:
        IdentityError: it cannot be read, proves nothing, was made for another subject, or its key is not P-256.
    """
    try:
        request = x509.load_der_x509_csr(der)
        key, valid = request.public_key(), request.is_signature_valid
        names = [str(name.value) for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise IdentityError(f"the certificate signing request cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the certificate signing request's key is not ECDSA P-256")
    if not valid:
        raise IdentityError("the certificate signing request is not signed by its own key")
    if names != [subject.dns_name[:64]]:
        raise IdentityError(f"the certificate signing request was made for {names!r:.100}, not {subject.dns_name}")
    return key


def certificate_from_pem(pem: bytes) -> x509.Certificate:
    """Decode one PEM certificate; raise `IdentityError` if it is none."""
    if len(pem) > MAX_PEM_BYTES:
        raise IdentityError("the certificate is too large")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError(f"the certificate cannot be read: {error}") from error


def certificate_to_pem(certificate: x509.Certificate) -> bytes:
    """Encode a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's DER, in hex."""
    return hex_sha256(certificate.public_bytes(serialization.Encoding.DER))


class CertificateAuthority:
    """The regulator's small CA: one self-signed P-256 certificate that issues parties' certificates directly."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if certificate.public_key() != key.public_key():
            raise IdentityError("the CA's certificate and key do not belong together; restore both from one backup")
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, domain: str, *, now_ms: int) -> "CertificateAuthority":
        """Make a CA for `domain`, valid ten years from `now_ms`."""
        key, now = generate_tls_key(), _time(now_ms)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Unseen CA {domain}"[:64])])
        builder = _builder(key.public_key(), key.public_key(), name, name)
        builder = builder.not_valid_before(now - BACKDATED).not_valid_after(
            now.replace(year=now.year + CA_YEARS, day=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    def issue(
        self, public_key: ec.EllipticCurvePublicKey, subject: Subject, *, now_ms: int, days: int = CERTIFICATE_DAYS
    ) -> x509.Certificate:
        """Certify `public_key` as `subject`'s for `days` from `now_ms`."""
        now = _time(now_ms)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.dns_name[:64])])
        builder = _builder(public_key, self._key.public_key(), name, self.certificate.subject)
        end = min(now + datetime.timedelta(days=days), self.certificate.not_valid_after_utc)
        builder = builder.not_valid_before(now - BACKDATED).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        names = [x509.UniformResourceIdentifier(subject.spiffe_id), x509.DNSName(subject.dns_name)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def key_to_pem(self, passphrase: bytes | None) -> bytes:
        """Encode the CA's private key for storage."""
        return key_to_pem(self._key, passphrase)


def _time(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms // 1000, tz=datetime.UTC)


def _builder(
    key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey, subject: x509.Name, issuer: x509.Name
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def spiffe_id_of(certificate: x509.Certificate) -> str:
    """Return the certificate's one SPIFFE ID.

    Raises:
        IdentityError: it has no URI SAN, more than one (X.509-SVID section 2 forbids it), or one that is no SPIFFE ID.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise IdentityError("the certificate carries no subject alternative names, so no SPIFFE ID") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise IdentityError(f"the certificate carries {len(uris)} URI names; exactly one, a SPIFFE ID, is accepted")
    return uris[0]


def check_certificate(
    certificate: x509.Certificate, record: PartyRecord, anchors: tuple[x509.Certificate, ...], *, now_ms: int
) -> None:
    """Verify that `certificate` is `record`'s, issued directly by one of `anchors`, and valid at `now_ms`.

    Raises:
        IdentityError: another SPIFFE ID, no such DNS name, not issued by an anchor, not yet or no longer valid.
    """
    if spiffe_id_of(certificate) != record.spiffe_id:
        raise IdentityError(f"the certificate is {spiffe_id_of(certificate)}'s, not {record.spiffe_id}'s")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if record.dns_name not in names.get_values_for_type(x509.DNSName):
        raise IdentityError(f"the certificate lacks the DNS name {record.dns_name}, by which it would be dialled")
    if not certificate.not_valid_before_utc <= _time(now_ms) <= certificate.not_valid_after_utc:
        span = f"{certificate.not_valid_before_utc:%F} to {certificate.not_valid_after_utc:%F}"
        raise IdentityError(f"the certificate is valid {span} only; is this machine's clock right?")
    for anchor in anchors:
        try:
            certificate.verify_directly_issued_by(anchor)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    raise IdentityError("the certificate was issued by none of the directory's certificate authorities")


def peer_identity(context: grpc.ServicerContext, directory: Directory) -> PeerIdentity:
    """Return the directory's party behind a connection.

    TLS has verified that a trust anchor issued the certificate. The party is looked up by SPIFFE ID alone.

    Raises:
        DeniedError: UNKNOWN_PARTY when the certificate names no party of the directory, or was revoked; WRONG_ROLE when
            it names one by a role that the directory does not give it.
    """
    try:
        certificate = _peer_certificate(context)
        uri = spiffe_id_of(certificate)
    except IdentityError as error:
        raise DeniedError(DenialReason.UNKNOWN_PARTY, "certificate", str(error)) from error
    if fingerprint(certificate) in directory.revoked_certificates:
        detail = (
            f"the regulator has revoked this certificate of {uri}: make a request with `unseen certificate renew --out "
            "FILE` and bring it to the regulator"
        )
        raise DeniedError(DenialReason.UNKNOWN_PARTY, "certificate", detail)
    return identify(uri, directory)


def claimed_identity(context: grpc.ServicerContext) -> str:
    """Return the SPIFFE ID that the connection's certificate claims, be it in the directory or not; empty if none."""
    try:
        return spiffe_id_of(_peer_certificate(context))[:MAX_SPIFFE_ID]
    except IdentityError:
        return ""


def _peer_certificate(context: grpc.ServicerContext) -> x509.Certificate:
    chain = context.auth_context().get("x509_pem_cert", ())
    if not chain:
        raise IdentityError("the connection carries no client certificate")
    return certificate_from_pem(bytes(chain[0]))


def identify(uri: str, directory: Directory) -> PeerIdentity:
    """Return the party of a SPIFFE ID; errors as for `peer_identity`."""
    try:
        record = directory.by_spiffe(uri)
    except UnknownPartyError as error:
        for other in directory.parties:
            if uri in {spiffe_id(other.name, role, directory.domain) for role in Role}:
                detail = f"{uri} claims another role than the directory's: {other.name} is a {other.role.value}"
                raise DeniedError(DenialReason.WRONG_ROLE, "certificate", detail) from error
        detail = f"{uri} is not in version {directory.version} of the party directory: has it been enrolled?"
        raise DeniedError(DenialReason.UNKNOWN_PARTY, "certificate", detail) from error
    return PeerIdentity(record.name, record.role, record.spiffe_id, record.legal_entity)


def require_role(peer: PeerIdentity, *roles: Role) -> None:
    """Raise `DeniedError(WRONG_ROLE)` unless `peer` has one of `roles`."""
    if peer.role not in roles:
        wanted = " or ".join(role.value for role in roles)
        detail = f"this call is for a {wanted}; {peer.party} is a {peer.role.value}"
        raise DeniedError(DenialReason.WRONG_ROLE, "role", detail)


def require_self(peer: PeerIdentity, party: str) -> None:
    """Raise `DeniedError(WRONG_ROLE)` unless `peer` is `party`: officials' calls need their party's own certificate."""
    if peer.party != party:
        detail = f"this call takes the decisions of {party}'s officials and needs {party}'s own certificate"
        raise DeniedError(DenialReason.WRONG_ROLE, "own certificate", detail)
