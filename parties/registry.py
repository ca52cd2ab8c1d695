"""The regulator's registry: its certificate authority and the party directory, and how parties and keys get into it.

A new directory is first laid down beside the current one, then recorded in the ledger, then put in its place. After a
crash the ledger decides: what it holds is finished, what it lacks is thrown away and was never handed out.
"""

import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from audit.clock import Clock
from audit.directory import MAX_DIRECTORY_BYTES, Directory, sign_directory, verify_directory, verify_successor
from audit.entry import Enrolled
from audit.entry_keys import directory_key, enrolled_key
from audit.errors import StaleDirectoryError
from audit.keys import KeyPurpose
from audit.ledger import Draft, Ledger
from parties.certificate_renewal import RENEW_DAYS as CERTIFICATE_RENEW_DAYS
from parties.certificate_renewal import check_renewal, read_renewal
from parties.directory_feed import record_directory
from parties.enrol import (
    BUNDLE_DAYS,
    DAY_MS,
    MAX_BUNDLE_BYTES,
    Bundle,
    EnrolmentRequest,
    check_admissible,
    read_bundle,
    read_request,
)
from parties.errors import KeyChangeError
from parties.files import write_file
from parties.founding import DIRECTORY_DAYS, install_directory
from parties.home import Home
from parties.identity import (
    CertificateAuthority,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    key_from_pem,
)
from parties.issued_certificates import IssuedCertificates
from parties.rotation import check_rotation, read_rotation, revoked, rotated
from parties.telemetry import Logger

RENEW_DAYS: Final = 30
"""A directory that expires within so many days is signed anew."""
_RENEWED_MS: Final = CERTIFICATE_RENEW_DAYS * DAY_MS
"""A certificate that is good for longer is handed out again to whoever asks for the same key."""


class Registry:
    """Threads may share one; the ledger outlives it. The regulator's process alone has one open."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock, logger: Logger) -> None:
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._logger = logger
        self._issued = IssuedCertificates(self._enrolled)
        self._key = home.signing_key(KeyPurpose.MESSAGE)
        self._lock = threading.RLock()
        self._record = record_directory(ledger, clock)
        self._finish()
        self._data = home.directory_bytes()
        self._directory = verify_directory(self._data, home.regulator_key(), now_ms=0)
        self._record(self._data, self._directory)
        self.renew()

    @property
    def _next(self) -> Path:
        return self._home.path / "directory.next"

    @property
    def _enrolled(self) -> Path:
        return self._home.path / "enrolled"

    def current(self) -> Directory:
        """Return the newest directory; raises `StaleDirectoryError` if it has expired."""
        return self.signed()[1]

    def signed(self) -> tuple[bytes, Directory]:
        """Return the newest directory, its signed bytes first; raises `StaleDirectoryError` if it has expired."""
        with self._lock:
            data, directory = self._data, self._directory
        if self._clock.now_ms() >= directory.expires_at_ms:
            raise StaleDirectoryError(f"directory version {directory.version} has expired: is the clock here right?")
        return data, directory

    def renew(self) -> None:
        """Sign a further version, otherwise equal, if the current one expires within a month."""
        with self._lock:
            if self._directory.expires_at_ms - self._clock.now_ms() < RENEW_DAYS * DAY_MS:
                self._replace_by(self._directory)

    def rotate(self, data: bytes, *, replace_revoked: bool = False) -> bytes:
        """Answer a rotation request with the next directory version, which lists the new keys.

        Args:
            data: the request.
            replace_revoked: officials have identified the party, which has no message key left.

        Raises:
            MalformedError, BadSignatureError: as `read_rotation`.
            UnknownPartyError, StaleDirectoryError, KeyChangeError and others: as `check_rotation`.
            LedgerError: it could not be recorded; nothing has changed.
        """
        asked = read_rotation(data)
        with self._lock:
            now_ms = self._clock.now_ms()
            check_rotation(asked, self._directory, now_ms=now_ms, replace_revoked=replace_revoked)
            request = asked[0]
            signed = self._replace_by(rotated(self._directory, request, now_ms))
        keys = [key.keyid for key in request.keys.values()]
        self._logger.info("keys rotated", of=request.party, keys=keys, replaced_revoked=replace_revoked)
        return signed

    def revoke(self, party: str, keyids: Collection[str], certificates: Collection[str], reason: str) -> bytes:
        """Revoke keys of a party, and certificates, from now on, and return the next directory version.

        Raises:
            UnknownPartyError, KeyChangeError: as `parties.rotation.revoked`.
            LedgerError: it could not be recorded; nothing has changed.
        """
        with self._lock:
            signed = self._replace_by(revoked(self._directory, party, keyids, certificates, self._clock.now_ms()))
        what = {"keys": list(keyids), "certificates": list(certificates)}
        self._logger.warning("revoked", of=party, reason=reason, **what)
        return signed

    def renew_certificate(self, data: bytes) -> bytes:
        """Answer a renewal request with a certificate in PEM; the same TLS key gets the same one while it is good.

        Raises:
            MalformedError, BadSignatureError, IdentityError and others: as `read_renewal` and `check_renewal`.
            KeyChangeError: the key's certificate was revoked, or the party has too many.
            PassphraseError, HomeError: the authority's key cannot be read.
        """
        asked = read_renewal(data)
        with self._lock:
            now_ms = self._clock.now_ms()
            subject, key = check_renewal(asked, self._directory, now_ms=now_ms)
            held = self._issued.find(subject.party, key)
            if held is not None and fingerprint(held) in self._directory.revoked_certificates:
                raise KeyChangeError(
                    f"{subject.party}'s certificate for this TLS key was revoked: delete keys/tls.next.pem in its "
                    "home, and ask again with another key"
                )
            if held is not None and held.not_valid_after_utc.timestamp() * 1000 > now_ms + _RENEWED_MS:
                return certificate_to_pem(held)
            certificate = self._authority().issue(key, subject, now_ms=now_ms)
            self._issued.add(subject.party, certificate, self._directory.revoked_certificates, now_ms)
        self._logger.info("certificate issued", to=subject.party, certificate=fingerprint(certificate))
        return certificate_to_pem(certificate)

    def enrol(self, data: bytes) -> bytes:
        """Answer an enrolment request with a bundle: certificate, new directory version, both recorded in the ledger.

        The request that a party was enrolled by may be sent again: it gets a fresh bundle with the same certificate.

        Raises:
            MalformedError, BadSignatureError, IdentityError: as `read_request`.
            EnrolmentError: as `check_admissible`.
            LedgerError: it could not be recorded; nothing has changed.
            PassphraseError, HomeError: the authority's key cannot be read.
        """
        request, envelope = read_request(data)
        name = request.subject.party
        with self._lock:
            if any(party.name == name for party in self._directory.parties):
                again = self._again(name, envelope.digest)
                if again is not None:
                    return again
            check_admissible(request, self._directory)
            return self._add(request, envelope.digest)

    def _add(self, request: EnrolmentRequest, digest: str) -> bytes:
        now_ms, subject = self._clock.now_ms(), request.subject
        certificate = self._authority().issue(request.tls_key(), subject, now_ms=now_ms)
        parties = sorted((*self._directory.parties, request.record(now_ms)), key=lambda party: party.name)
        directory = self._successor(replace(self._directory, parties=tuple(parties)))
        signed = sign_directory(directory, self._key).encode()
        bundle = self._bundle(digest, (certificate_to_pem(certificate).decode("ascii"),), signed)
        write_file(self._next, signed)
        self._enrolled.mkdir(exist_ok=True)
        write_file(self._enrolled / f"{subject.party}.json", bundle)
        entry = Enrolled(
            party=self._home.name,
            at_ms=now_ms,
            subject=subject.party,
            role=subject.role,
            legal_entity=request.legal_entity,
            certificate=fingerprint(certificate),
            version=directory.version,
        )
        self._ledger.append(Draft(entry, keys=(enrolled_key(directory.version),)))
        self._put_in_place(signed, directory)
        return bundle

    def _again(self, name: str, digest: str) -> bytes | None:
        path = self._enrolled / f"{name}.json"
        if not path.exists():
            return None
        bundle, _ = read_bundle(self._home.read(path, limit=MAX_BUNDLE_BYTES))
        return self._bundle(digest, bundle.certificate, self._data) if bundle.request == digest else None

    def _bundle(self, digest: str, certificate: tuple[str, ...], directory: bytes) -> bytes:
        now_ms = self._clock.now_ms()
        bundle = Bundle(
            request=digest,
            certificate=certificate,
            directory=directory,
            regulator=self._home.name,
            endpoint=self._home.config.regulator.endpoint,
            key=self._key.verifying_key,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + BUNDLE_DAYS * DAY_MS,
        )
        return bundle.seal(self._key).encode()

    def _replace_by(self, directory: Directory) -> bytes:
        """Sign `directory` as the next version, record it, and put it in its place."""
        directory = self._successor(directory)
        verify_successor(self._directory, directory)
        data = sign_directory(directory, self._key).encode()
        write_file(self._next, data)
        self._put_in_place(data, directory)
        return data

    def _successor(self, directory: Directory) -> Directory:
        now_ms = self._clock.now_ms()
        expires_at_ms = now_ms + DIRECTORY_DAYS * DAY_MS
        return replace(directory, version=directory.version + 1, issued_at_ms=now_ms, expires_at_ms=expires_at_ms)

    def _put_in_place(self, data: bytes, directory: Directory) -> None:
        self._record(data, directory)
        with self._home.writing():
            install_directory(self._home, data, directory)
        self._next.unlink(missing_ok=True)
        self._data, self._directory = data, directory

    def _finish(self) -> None:
        """Finish or throw away a change that a crash has interrupted."""
        if not self._next.exists():
            return
        data = self._home.read(self._next, limit=MAX_DIRECTORY_BYTES)
        directory = verify_directory(data, self._home.regulator_key(), now_ms=0)
        version = directory.version
        if any(self._ledger.find(key) is not None for key in (directory_key(version), enrolled_key(version))):
            self._put_in_place(data, directory)
            return
        known = {party.name for party in self._home.directory(now_ms=0).parties}
        for party in directory.parties:
            if party.name not in known:
                (self._enrolled / f"{party.name}.json").unlink(missing_ok=True)
        self._next.unlink()

    def _authority(self) -> CertificateAuthority:
        pem = self._home.read(self._home.keys / "ca.pem")
        key = key_from_pem(pem, self._home.passphrase, where="the certificate authority's key")
        anchor = self._directory.trust_anchors[0].encode("ascii")
        return CertificateAuthority(certificate_from_pem(anchor), key)
