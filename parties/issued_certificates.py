"""Which certificates the regulator has issued to whom, so that a party's can be revoked by its name.

The bundle that a party was enrolled with lies in `enrolled/NAME.json`; what was issued since, in `enrolled/NAME.pem`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from parties.enrol import MAX_BUNDLE_BYTES, read_bundle
from parties.errors import IdentityError, KeyChangeError
from parties.files import write_file
from parties.identity import certificate_from_pem, certificate_to_pem, fingerprint

MAX_CERTIFICATES: Final = 64
"""Certificates of one party that are good; one more is refused."""


class IssuedCertificates:
    """A folder of the regulator's home. The caller sees to it that one thread changes it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, party: str) -> tuple[x509.Certificate, ...]:
        """Return the party's certificates, oldest first; expired ones may be missing."""
        bundle = self._folder / f"{party}.json"
        if not bundle.exists():
            return self._renewed(party)
        chain = read_bundle(bundle.read_bytes()[: MAX_BUNDLE_BYTES + 1])[0].certificate
        return (certificate_from_pem(chain[0].encode("ascii")), *self._renewed(party))

    def _renewed(self, party: str) -> tuple[x509.Certificate, ...]:
        path = self._folder / f"{party}.pem"
        if not path.exists():
            return ()
        try:
            return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
        except ValueError as error:
            raise IdentityError(f"{path} is damaged ({error}): restore it from the backup") from error

    def find(self, party: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate | None:
        """Return the latest certificate that the party has for a TLS key."""
        return next((found for found in reversed(self.of(party)) if found.public_key() == key), None)

    def add(self, party: str, certificate: x509.Certificate, revoked: Collection[str], now_ms: int) -> None:
        """Keep a certificate, durably, before it is handed out.

        Args:
            party: to whom.
            certificate: the fresh one.
            revoked: fingerprints of certificates that are believed no longer.
            now_ms: milliseconds since the epoch.

        Raises:
            KeyChangeError: the party has `MAX_CERTIFICATES` that are neither expired nor revoked.
        """
        kept = [held for held in self._renewed(party) if held.not_valid_after_utc.timestamp() * 1000 > now_ms]
        good = sum(fingerprint(held) not in revoked for held in kept)
        if good >= MAX_CERTIFICATES:
            raise KeyChangeError(
                f"{party} has {good} good certificates: it renews without end, or somebody does in its name. Revoke "
                f"them (unseen keys revoke --certificate {party})"
            )
        self._folder.mkdir(exist_ok=True)
        pem = b"".join(certificate_to_pem(held) for held in [*kept, certificate])
        write_file(self._folder / f"{party}.pem", pem)
