"""The regulator's registry: its certificate authority and the party directory, and how a party is added to it.

A new directory is first laid down beside the current one, then recorded in the ledger, then put in its place. After a
crash the ledger decides: what it holds is finished, what it lacks is thrown away and was never handed out.
"""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

from audit.clock import Clock
from audit.directory import MAX_DIRECTORY_BYTES, Directory, sign_directory, verify_directory
from audit.entry import Enrolled
from audit.errors import StaleDirectoryError
from audit.keys import KeyPurpose
from audit.ledger import Draft, Ledger
from parties.directory_feed import directory_key, record_directory
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

RENEW_DAYS: Final = 30
"""A directory that expires within so many days is signed anew."""


class Registry:
    """Threads may share one; the ledger outlives it. The regulator's process alone has one open."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock) -> None:
        self._home = home
        self._ledger = ledger
        self._clock = clock
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
            now_ms = self._clock.now_ms()
            if self._directory.expires_at_ms - now_ms < RENEW_DAYS * DAY_MS:
                directory = self._successor(self._directory)
                data = sign_directory(directory, self._key).encode()
                write_file(self._next, data)
                self._put_in_place(data, directory)

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
        self._ledger.append(Draft(entry, keys=(_enrolled_key(directory.version),)))
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
        if any(self._ledger.find(key) is not None for key in (directory_key(version), _enrolled_key(version))):
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


def _enrolled_key(version: int) -> str:
    return f"enrolled:{version}"
