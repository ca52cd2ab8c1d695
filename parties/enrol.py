"""Joining a federation by two files: the party's request, and the regulator's bundle that answers it.

The request announces the party's keys and proves that it holds each. The bundle brings the certificate, the party
directory and the regulator's own key, which the party pins. Either file may travel by any means: what matters is
signed, and the regulator's verifying key is compared out of band (`--regulator-vkey`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from audit.canonical import Fields, Json, to_base64
from audit.directory import MAX_DIRECTORY_BYTES, Directory, KeyRecord, KeyStatus, PartyRecord, Role, verify_directory
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, MalformedError
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.names import DOMAIN_PATTERN, LEGAL_ENTITY_PATTERN, PARTY_PATTERN, key_name
from parties.config import check_endpoint
from parties.errors import ConfigError, EnrolmentError
from parties.identity import Subject, certificate_from_pem, check_certificate, public_key_of_csr
from parties.key_proofs import prove, verify_proofs

MAX_REQUEST_BYTES: Final = 64 * 1024
MAX_BUNDLE_BYTES: Final = 3 * MAX_DIRECTORY_BYTES
BUNDLE_DAYS: Final = 30
DAY_MS: Final = 86_400_000
_MAX_CSR: Final = 4096
_MAX_PEM: Final = 16_384
_MAX_VKEY: Final = 320
_NONCE_BYTES: Final = 16
_PROOF_TAG: Final = "unseen:enrolment-proof:v1:"


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """Who wants to join, with which keys. `endpoint` is empty for a party that only dials out; `csr` is DER."""

    subject: Subject
    legal_entity: str
    endpoint: str
    keys: Mapping[KeyPurpose, VerifyingKey]
    csr: bytes
    created_at_ms: int
    nonce: str

    def record(self, since_ms: int) -> PartyRecord:
        """Return what the directory will say of this party; its keys are active from `since_ms`."""
        keys = tuple(KeyRecord(purpose, self.keys[purpose], KeyStatus.ACTIVE, since_ms, None) for purpose in KeyPurpose)
        names = (self.subject.spiffe_id, self.subject.dns_name)
        return PartyRecord(
            self.subject.party, self.subject.role, self.legal_entity, *names, self.endpoint or None, keys
        )

    def tls_key(self) -> ec.EllipticCurvePublicKey:
        """Return the TLS key that the certificate is asked for; raise `IdentityError` unless the CSR proves it."""
        return public_key_of_csr(self.csr, self.subject)

    def _unproved(self) -> dict[str, Json]:
        return {
            **PayloadType.ENROLMENT.header(),
            "name": self.subject.party,
            "role": self.subject.role.value,
            "domain": self.subject.domain,
            "legal_entity": self.legal_entity,
            "endpoint": self.endpoint,
            "vkeys": {purpose.value: self.keys[purpose].vkey() for purpose in KeyPurpose},
            "csr": to_base64(self.csr),
            "created_at_ms": self.created_at_ms,
            "nonce": self.nonce,
        }

    def seal(self, keys: Mapping[KeyPurpose, SigningKey]) -> Envelope:
        """Return the request with a proof by each key, signed by the message key."""
        announced = self._unproved()
        proofs = prove(_PROOF_TAG, announced, keys)
        return seal({**announced, "proofs": proofs}, PayloadType.ENROLMENT, keys[KeyPurpose.MESSAGE])

    def verify_proofs(self, proofs: Fields) -> None:
        """Raise `BadSignatureError` unless each announced key signed this request (blocks enrolling another's key)."""
        verify_proofs(_PROOF_TAG, self._unproved(), self.keys, proofs)


def read_request(data: bytes) -> tuple[EnrolmentRequest, Envelope]:
    """Decode and verify an enrolment request: the self-signature, a proof by every key, and the CSR's.

    Raises:
        MalformedError, BadSignatureError: the bytes are no request, or a proof is missing or wrong.
        IdentityError: the CSR proves nothing.
    """
    envelope = Envelope.decode(data, limit=MAX_REQUEST_BYTES)
    fields = envelope.body(PayloadType.ENROLMENT, limit=MAX_REQUEST_BYTES)
    subject = Subject(
        fields.text("name", pattern=PARTY_PATTERN),
        fields.choice("role", Role),
        fields.text("domain", pattern=DOMAIN_PATTERN),
    )
    vkeys, proofs = fields.object("vkeys"), fields.object("proofs")
    request = EnrolmentRequest(
        subject=subject,
        legal_entity=fields.text("legal_entity", pattern=LEGAL_ENTITY_PATTERN),
        endpoint=fields.text("endpoint", min_length=0, max_length=300),
        keys={purpose: _read_key(vkeys, subject, purpose) for purpose in KeyPurpose},
        csr=fields.base64("csr", max_bytes=_MAX_CSR),
        created_at_ms=fields.integer("created_at_ms"),
        nonce=fields.hex("nonce", _NONCE_BYTES),
    )
    for part in (vkeys, fields):
        part.finish()
    if request.endpoint:
        try:
            check_endpoint(request.endpoint)
        except ConfigError as error:
            raise MalformedError(f"enrolment: endpoint: {error}") from error
    envelope.verify(request.keys[KeyPurpose.MESSAGE])
    request.verify_proofs(proofs)
    request.tls_key()
    return request, envelope


def _read_key(vkeys: Fields, subject: Subject, purpose: KeyPurpose) -> VerifyingKey:
    key = VerifyingKey.parse(vkeys.text(purpose.value, max_length=_MAX_VKEY))
    wanted = key_name(subject.party, subject.role, subject.domain, purpose)
    if key.name != wanted:
        raise MalformedError(f"enrolment: the {purpose.value} key is named {key.name}, not {wanted}")
    return key


def check_admissible(request: EnrolmentRequest, directory: Directory) -> None:
    """Verify that the regulator may add `request` to `directory`.

    Raises:
        EnrolmentError: it asks to be a regulator, is for another domain, its name is taken (by the same or another
            legal entity), one of its keys is another party's, or a provider gives no endpoint.
    """
    subject = request.subject
    if subject.role is Role.REGULATOR:
        raise EnrolmentError(f"{subject.party} asks to be a regulator; {directory.regulator} is this domain's")
    if subject.domain != directory.domain:
        raise EnrolmentError(
            f"the request is for the domain {subject.domain}, this is {directory.domain}: "
            f"repeat `unseen init` with --domain {directory.domain}"
        )
    for known in directory.parties:
        if known.name == subject.party:
            raise EnrolmentError(_taken(request, known))
        theirs = {record.key.public_key for record in known.keys}
        if any(key.public_key in theirs for key in request.keys.values()):
            raise EnrolmentError(f"{subject.party} announces a key of {known.name}: run `unseen init` in a new folder")
    if subject.role is Role.PROVIDER and not request.endpoint:
        raise EnrolmentError("a provider needs an endpoint: repeat `unseen init` with --endpoint HOST:PORT")


def _taken(request: EnrolmentRequest, known: PartyRecord) -> str:
    name = known.name
    if known.legal_entity != request.legal_entity:
        return (
            f"{name} is enrolled for the legal entity {known.legal_entity}; the request says {request.legal_entity}. "
            "A party never changes hands: choose another name"
        )
    if known.role is not request.subject.role:
        return f"{name} is enrolled as a {known.role.value}, not as a {request.subject.role.value}: choose another name"
    return f"{name} is enrolled already, by another request with other keys: for a new party choose another name"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The regulator's answer. `request` is the digest of the request that it answers; `certificate` a PEM chain."""

    request: str
    certificate: tuple[str, ...]
    directory: bytes
    regulator: str
    endpoint: str
    key: VerifyingKey
    issued_at_ms: int
    expires_at_ms: int

    def seal(self, key: SigningKey) -> Envelope:
        """Return the bundle signed by the regulator's message key."""
        body = {
            **PayloadType.ENROLMENT_BUNDLE.header(),
            "request": self.request,
            "certificate": self.certificate,
            "directory": Envelope.decode(self.directory, limit=MAX_DIRECTORY_BYTES).to_json(),
            "regulator": self.regulator,
            "endpoint": self.endpoint,
            "vkey": self.key.vkey(),
            "issued_at_ms": self.issued_at_ms,
            "expires_at_ms": self.expires_at_ms,
        }
        return seal(body, PayloadType.ENROLMENT_BUNDLE, key)


def read_bundle(data: bytes) -> tuple[Bundle, Envelope]:
    """Decode a bundle and verify it under the key that it names itself; whether to believe that key is another matter.

    Raises:
        MalformedError, BadSignatureError: the bytes are no bundle, or were changed.
    """
    envelope = Envelope.decode(data, limit=MAX_BUNDLE_BYTES)
    fields = envelope.body(PayloadType.ENROLMENT_BUNDLE, limit=MAX_BUNDLE_BYTES)
    bundle = Bundle(
        request=fields.hex("request"),
        certificate=fields.blocks("certificate", max_items=4, max_length=_MAX_PEM),
        directory=Envelope.from_json(fields.object("directory"), limit=MAX_DIRECTORY_BYTES).encode(),
        regulator=fields.text("regulator", pattern=PARTY_PATTERN),
        endpoint=fields.text("endpoint", min_length=0, max_length=300),
        key=VerifyingKey.parse(fields.text("vkey", max_length=_MAX_VKEY)),
        issued_at_ms=fields.integer("issued_at_ms"),
        expires_at_ms=fields.integer("expires_at_ms"),
    )
    fields.finish()
    if not bundle.certificate or not all(pem.isascii() for pem in bundle.certificate):
        raise MalformedError("enrolment_bundle: it brings no certificate in PEM")
    envelope.verify(bundle.key)
    return bundle, envelope


def verify_bundle(
    bundle: Bundle, request: tuple[EnrolmentRequest, Envelope], *, now_ms: int, skew_ms: int, minimum_version: int
) -> Directory:
    """Verify that `bundle` answers this party's own `request`, and return the directory that it brings.

    Raises:
        EnrolmentError: it answers another request, has expired, or the directory says of this party anything else than
            was asked for (name, role, legal entity, endpoint, keys).
        IdentityError: the certificate is not for this party's TLS key and names, or not by the directory's authorities.
        StaleDirectoryError, BadSignatureError, MalformedError: the directory is refused.
    """
    asked, envelope = request
    if bundle.request != envelope.digest:
        raise EnrolmentError(f"the bundle answers another request than this home's {asked.subject.party}: take its own")
    if not bundle.issued_at_ms - skew_ms <= now_ms < bundle.expires_at_ms:
        raise EnrolmentError("the bundle has expired (or the clock here is wrong): ask the regulator to sign again")
    directory = verify_directory(bundle.directory, bundle.key, now_ms=now_ms, minimum_version=minimum_version)
    try:
        record = directory.party(asked.subject.party)
    except AuditError as error:
        raise EnrolmentError(f"the bundle's directory does not list {asked.subject.party}") from error
    if directory.domain != asked.subject.domain or directory.regulator != bundle.regulator:
        raise EnrolmentError(f"the bundle is for the domain {directory.domain} of {directory.regulator}: a mix-up?")
    wanted = asked.record(0)
    for what, got, want in (
        ("role", record.role, wanted.role),
        ("legal entity", record.legal_entity, wanted.legal_entity),
        ("endpoint", record.endpoint, wanted.endpoint),
        ("keys", {key.key for key in record.keys}, {key.key for key in wanted.keys}),
    ):
        if got != want:
            raise EnrolmentError(f"the directory's {what} of {record.name} is not what was asked for; do not accept")
    if directory.party(directory.regulator).endpoint != (bundle.endpoint or None):
        raise EnrolmentError("the bundle names another endpoint of the regulator than its directory; do not accept")
    certificate = certificate_from_pem(bundle.certificate[0].encode("ascii"))
    anchors = tuple(certificate_from_pem(anchor.encode("ascii")) for anchor in directory.trust_anchors)
    check_certificate(certificate, record, anchors, now_ms=now_ms)
    if certificate.public_key() != asked.tls_key():
        raise EnrolmentError(f"the certificate is for another TLS key than this home's: ask {bundle.regulator} again")
    return directory
