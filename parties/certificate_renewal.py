"""Renewing a party's TLS certificate before it expires: another TLS key, and the regulator's certificate for it.

The request holds a signing request by the new TLS key and is signed by the party's active message key, so that a stolen
TLS key alone renews nothing. The answer is the certificate itself, believed because an authority of the directory
issued it; either file may travel by any means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from audit.canonical import Json, to_base64
from audit.clock import Clock
from audit.directory import Directory
from audit.envelope import Envelope, PayloadType, seal
from audit.keys import KeyPurpose, SigningKey
from audit.names import PARTY_PATTERN, Role
from parties.certificate_files import install_certificate, next_tls_key
from parties.entropy import SystemEntropy
from parties.errors import KeyChangeError
from parties.home import Home
from parties.identity import Subject, certificate_from_pem, make_csr, public_key_of_csr
from parties.telemetry import Logger
from sandbox.ports import CurrentDirectory

MAX_RENEWAL_BYTES: Final = 16 * 1024
RENEW_DAYS: Final = 30
"""A certificate that expires within so many days is renewed."""
REQUEST_DAYS: Final = 30
"""A request that is older is refused, as is one from the future."""
_DAY_MS: Final = 86_400_000
_SKEW_MS: Final = 300_000
_MAX_CSR: Final = 4096
_NONCE_BYTES: Final = 16

KEEPER_SECONDS: Final = 3600.0
"""How often a `CertificateKeeper` looks."""

Issue = Callable[[bytes], bytes]
"""Brings a renewal request to the regulator and returns its answer, one certificate in PEM."""


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """A party wants a certificate for another TLS key. `csr` is DER; times are milliseconds since the epoch."""

    party: str
    csr: bytes
    created_at_ms: int
    nonce: str

    def seal(self, key: SigningKey) -> Envelope:
        """Return the request signed by the party's message key."""
        body: dict[str, Json] = {
            **PayloadType.CERTIFICATE_RENEWAL.header(),
            "party": self.party,
            "csr": to_base64(self.csr),
            "created_at_ms": self.created_at_ms,
            "nonce": self.nonce,
        }
        return seal(body, PayloadType.CERTIFICATE_RENEWAL, key)


def read_renewal(data: bytes) -> tuple[RenewalRequest, Envelope]:
    """Decode a renewal request; who signed it is `check_renewal`'s. Raises `MalformedError`."""
    envelope = Envelope.decode(data, limit=MAX_RENEWAL_BYTES)
    fields = envelope.body(PayloadType.CERTIFICATE_RENEWAL, limit=MAX_RENEWAL_BYTES)
    request = RenewalRequest(
        party=fields.text("party", pattern=PARTY_PATTERN),
        csr=fields.base64("csr", max_bytes=_MAX_CSR),
        created_at_ms=fields.integer("created_at_ms"),
        nonce=fields.hex("nonce", _NONCE_BYTES),
    )
    fields.finish()
    return request, envelope


def check_renewal(
    asked: tuple[RenewalRequest, Envelope], directory: Directory, *, now_ms: int
) -> tuple[Subject, ec.EllipticCurvePublicKey]:
    """Verify that the regulator may issue a certificate; return for whom and for which key.

    Raises:
        UnknownPartyError: the directory does not list the party.
        BadSignatureError, RevokedKeyError, UnknownKeyError: its active message key has not signed.
        IdentityError: the signing request does not prove its key, or is for another subject.
        KeyChangeError: the request is too old.
    """
    request, envelope = asked
    record = directory.party(request.party)
    envelope.verify(record.key(KeyPurpose.MESSAGE))
    if not -_SKEW_MS <= now_ms - request.created_at_ms <= REQUEST_DAYS * _DAY_MS:
        raise KeyChangeError(f"the request is over {REQUEST_DAYS} days old, or a clock is wrong: make another")
    subject = Subject(record.name, record.role, directory.domain)
    return subject, public_key_of_csr(request.csr, subject)


def ask_for_certificate(home: Home, clock: Clock) -> bytes:
    """Return a renewal request for the home's next TLS key, which is made if there is none yet."""
    csr = make_csr(next_tls_key(home), home.subject)
    nonce = SystemEntropy().token(_NONCE_BYTES).hex()
    request = RenewalRequest(home.name, csr, clock.now_ms(), nonce)
    return request.seal(home.signing_key(KeyPurpose.MESSAGE)).encode()


def check_issuer(home: Home, directory: Directory) -> x509.Certificate:
    """Return the home's certificate, if it is the regulator's to renew.

    Raises:
        KeyChangeError: another authority issued it, such as a company's; whoever runs that renews it.
    """
    held = certificate_from_pem(home.read(home.certificate_path))
    anchor = certificate_from_pem(directory.trust_anchors[0].encode("ascii"))
    try:
        held.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature):
        raise KeyChangeError(
            f"the certificate of {home.name} was issued by {held.issuer.rfc4514_string():.200}, not by "
            f"{directory.regulator}: renew it there, and replace keys/tls.pem and certificate.pem; a running server "
            "notices"
        ) from None
    return held


def renew_certificate(home: Home, directory: Directory, issue: Issue, clock: Clock) -> x509.Certificate:
    """Obtain and install another certificate; a server that runs from this home goes over to it by itself.

    Raises:
        KeyChangeError: as `check_issuer`, it has expired already, or the regulator refuses.
        IdentityError: what it sent is not a certificate for this party and key; nothing was installed.
        PeerUnavailableError, DeniedError: the regulator cannot be reached, or refuses the caller.
    """
    held = check_issuer(home, directory)
    if home.role is not Role.REGULATOR and _left_ms(held, clock) < 0:
        raise KeyChangeError(
            f"the certificate of {home.name} expired on {held.not_valid_after_utc:%Y-%m-%d}, so nobody lets it in: "
            "make a request with `unseen certificate renew --out FILE` and bring it to the regulator"
        )
    return install_certificate(home, issue(ask_for_certificate(home, clock)), directory, now_ms=clock.now_ms())


def _left_ms(certificate: x509.Certificate, clock: Clock) -> int:
    return int(certificate.not_valid_after_utc.timestamp() * 1000) - clock.now_ms()


class CertificateKeeper:
    """Renews the certificate of a party at work in time.

    Args:
        home: whose certificate.
        directory: the newest one.
        issue: the way to the regulator.
        clock: says how long the certificate is still good.
        logger: hears of renewals.
    """

    def __init__(self, home: Home, directory: CurrentDirectory, issue: Issue, clock: Clock, logger: Logger) -> None:
        self._home = home
        self._directory = directory
        self._issue = issue
        self._clock = clock
        self._logger = logger

    def turn(self) -> None:
        """Renew if less than `RENEW_DAYS` are left, and leave alone what another authority issued.

        Raises as `renew_certificate`; call it again later.
        """
        if self.is_due():
            renewed = renew_certificate(self._home, self._directory(), self._issue, self._clock)
            self._logger.info("certificate renewed", valid_until=f"{renewed.not_valid_after_utc:%Y-%m-%d}")

    def is_due(self) -> bool:
        """Whether `turn` would renew now. Raises as `check_issuer`, but for what another authority issued."""
        try:
            held = check_issuer(self._home, self._directory())
        except KeyChangeError:
            return False
        return _left_ms(held, self._clock) < RENEW_DAYS * _DAY_MS
