"""Which certificates the regulator has issued to whom, so that a party's can be revoked by its name.

The bundle that a party was enrolled with lies in `enrolled/NAME.json`; what was issued since, in `enrolled/NAME.pem`.
"""

from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from parties.enrol import MAX_BUNDLE_BYTES, read_bundle
from parties.errors import IdentityError, KeyChangeError
from parties.files import write_file
from parties.identity import certificate_from_pem, certificate_to_pem

MAX_CERTIFICATES: Final = 64
"""Certificates of one party that have not expired; one more is refused."""


class IssuedCertificates:
    """A folder of the regulator's home. The caller sees to it that one thread changes it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, party: str) -> tuple[x509.Certificate, ...]:
        """Return the party's certificates, oldest first; expired ones may be missing."""
        found: list[x509.Certificate] = []
        bundle, renewed = self._folder / f"{party}.json", self._folder / f"{party}.pem"
        if bundle.exists():
            chain = read_bundle(bundle.read_bytes()[: MAX_BUNDLE_BYTES + 1])[0].certificate
            found.append(certificate_from_pem(chain[0].encode("ascii")))
        if renewed.exists():
            try:
                found += x509.load_pem_x509_certificates(renewed.read_bytes())
            except ValueError as error:
                raise IdentityError(f"{renewed} is damaged ({error}): restore it from the backup") from error
        return tuple(found)

    def find(self, party: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate | None:
        """Return the latest certificate that the party has for a TLS key."""
        return next((found for found in reversed(self.of(party)) if found.public_key() == key), None)

    def add(self, party: str, certificate: x509.Certificate, now_ms: int) -> None:
        """Keep a certificate, durably, before it is handed out.

        Raises:
            KeyChangeError: the party has `MAX_CERTIFICATES` that have not expired at `now_ms`.
        """
        kept = [held for held in self.of(party) if held.not_valid_after_utc.timestamp() * 1000 > now_ms]
        if len(kept) >= MAX_CERTIFICATES:
            raise KeyChangeError(
                f"{party} has {len(kept)} certificates that have not expired: it renews without end, or somebody does "
                f"in its name. Revoke them (unseen keys revoke --certificate {party})"
            )
        self._folder.mkdir(exist_ok=True)
        pem = b"".join(certificate_to_pem(held) for held in [*kept, certificate])
        write_file(self._folder / f"{party}.pem", pem)
