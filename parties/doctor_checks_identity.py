"""Checks of who the party is to others: the directory, its keys in it, their strength, and its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.directory import Directory, KeyStatus
from audit.errors import AuditError, UnknownPartyError
from audit.names import KeyPurpose, Role
from audit.party_record import PartyRecord
from parties.client.paillier_keys import FILE as PAILLIER_FILE
from parties.client.paillier_keys import SEALED_FILE as PAILLIER_SEALED
from parties.client.paillier_keys import load_paillier_key
from parties.doctor_examination import Examination, day, keys_encrypted, keys_locked, span
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.errors import HomeError, IdentityError, PassphraseError
from parties.identity import certificate_from_pem, check_certificate, fingerprint, key_from_pem

DAY_MS: Final = 86_400_000
DIRECTORY_DAYS: Final = 14
"""The regulator renews a directory a month before it expires: with less left, this party has not heard of it."""
CERTIFICATE_DAYS: Final = 30
SHORTEST_PAILLIER: Final = 2048
RECOMMENDED_PAILLIER: Final = 3072
_UNLOCK: Final = "give --passphrase-file, or set UNSEEN_PASSPHRASE"


def check_directory(examined: Examination) -> Iterator[Finding]:
    """The directory is the pinned regulator's, has not expired, and lists this party as its settings have it."""
    home, directory = examined.home, examined.directory
    if directory is None:
        yield _no_directory(examined)
        return
    left_ms = directory.expires_at_ms - examined.clock.now_ms()
    about = f"version {directory.version}, valid until {day(directory.expires_at_ms)}"
    refetch = "see that the regulator can be reached; a running party fetches the newest within a minute"
    found = []
    if left_ms <= 0:
        found.append(failure(CheckName.DIRECTORY, Trouble.DIRECTORY_EXPIRED, f"expired: {about}", refetch))
    elif left_ms < DIRECTORY_DAYS * DAY_MS:
        detail = f"{about}: the regulator has renewed it, and this party has not heard"
        if home.role is Role.REGULATOR:
            detail, refetch = f"{about}", f"unseen serve {examined.at_home}, which renews it"
        found.append(warning(CheckName.DIRECTORY, Trouble.DIRECTORY_EXPIRES, detail, refetch))
    try:
        record = directory.party(home.name)
    except UnknownPartyError:
        detail = f"{about}, which does not list {home.name}"
        mend = f"unseen enrol accept BUNDLE {examined.at_home}"
        yield failure(CheckName.DIRECTORY, Trouble.UNLISTED, detail, mend)
        return
    if (record.endpoint or "") != home.config.network.endpoint:
        detail = (
            f"others dial {record.endpoint or 'nothing'}, but party.toml says {home.config.network.endpoint or '-'}"
        )
        mend = "set [network] endpoint back, or have the regulator list the new one"
        found.append(warning(CheckName.DIRECTORY, Trouble.ENDPOINT_DIFFERS, detail, mend))
    yield from found or [well(CheckName.DIRECTORY, f"{about}, {len(directory.parties)} parties")]


def _no_directory(examined: Examination) -> Finding:
    try:
        examined.home.directory(now_ms=0)
    except HomeError as error:
        mend = f"unseen enrol accept BUNDLE {examined.at_home}"
        return failure(CheckName.DIRECTORY, Trouble.NOT_ENROLLED, str(error), mend)
    except AuditError as error:
        mend = "compare [regulator] vkey with the regulator by telephone, and accept its bundle anew"
        return failure(CheckName.DIRECTORY, Trouble.DIRECTORY_UNTRUSTED, str(error), mend)
    raise AssertionError("a directory that verifies was handed to the examination")


def check_keys(examined: Examination) -> Iterator[Finding]:
    """The signing keys here are those that the directory lists as active, and lie encrypted."""
    home, directory = examined.home, examined.directory
    if keys_locked(home):
        detail = "the keys are encrypted, and were not looked at; nor was anybody asked over the network"
        yield warning(CheckName.KEYS, Trouble.KEYS_LOCKED, detail, _UNLOCK)
        return
    record = _record(directory, home.name)
    found = []
    for purpose in KeyPurpose:
        try:
            key = home.signing_key(purpose).verifying_key
        except (HomeError, PassphraseError, AuditError) as error:
            mend = "put it back from where the keys are kept, or restore a backup with keys"
            found.append(failure(CheckName.KEYS, Trouble.KEY_UNUSABLE, str(error), mend))
            continue
        if record is not None:
            statuses = [each.status for each in record.keys if each.purpose is purpose and each.key == key]
            found += _standing(examined, purpose, statuses[0] if statuses else None)
    if not keys_encrypted(home):
        detail = "the private keys lie in clear: whoever can read this disk or a backup of it has them"
        mend = "keep the disk encrypted and the backups as you keep keys; unseen init --encrypt makes encrypted ones"
        found.append(warning(CheckName.KEYS, Trouble.KEYS_IN_CLEAR, detail, mend))
    yield from found or [well(CheckName.KEYS, "encrypted, and each is the one that the directory lists as active")]


def _standing(examined: Examination, purpose: KeyPurpose, status: KeyStatus | None) -> Iterator[Finding]:
    rotate = f"unseen keys rotate {examined.at_home}"
    where = f"keys/{purpose.value}.pem"
    if status is None:
        detail = f"{where} is not listed in the directory: what it signs is believed by nobody"
        mend = "put the listed key back; or fetch the newest directory, if the key is new"
        yield failure(CheckName.KEYS, Trouble.KEY_UNLISTED, detail, mend)
    elif status is KeyStatus.RETIRED:
        detail = f"{where} was rotated out: a newer key is active"
        mend = "put the newer key in place: an older backup may have been restored"
        if examined.home.next_key_path(purpose).exists():
            detail, mend = f"{where} was rotated out, and its successor is not in use yet", rotate
        yield failure(CheckName.KEYS, Trouble.KEY_RETIRED, detail, mend)
    elif status is KeyStatus.REVOKED:
        detail = f"{where} was revoked by the regulator: what it signs is refused everywhere"
        yield failure(CheckName.KEYS, Trouble.KEY_REVOKED, detail, f"{rotate}, and speak with the regulator")


def _record(directory: Directory | None, name: str) -> PartyRecord | None:
    try:
        return None if directory is None else directory.party(name)
    except UnknownPartyError:
        return None


def check_key_strength(examined: Examination) -> Iterator[Finding]:
    """Keys are as long as they should be: TLS on P-256, Paillier from 3072 bits on; and no weak ones are accepted.

    Signing keys are Ed25519 by their format, so that there is nothing to look at.
    """
    home = examined.home
    found = []
    minimum = home.config.compute.unsafe_minimum_modulus_bits
    if minimum < SHORTEST_PAILLIER:
        detail = f"unsafe_minimum_modulus_bits = {minimum}: Paillier keys that can be factored are accepted"
        mend = f"take [compute] unsafe_minimum_modulus_bits out of {home.path / 'party.toml'}"
        found.append(warning(CheckName.KEY_STRENGTH, Trouble.WEAK_KEYS_ACCEPTED, detail, mend))
    for path in (home.certificate_path, home.anchors_path):
        if path.exists() and not _is_strong(home.read(path)):
            detail = f"{path} has a key that is neither on P-256 nor on a longer curve"
            mend = "have the certificate authority issue one on P-256"
            found.append(warning(CheckName.KEY_STRENGTH, Trouble.KEY_WEAK, detail, mend))
    if home.role is Role.MERCHANT:
        found += _paillier(examined)
    yield from found or [well(CheckName.KEY_STRENGTH, "as recommended")]


def _is_strong(pem: bytes) -> bool:
    try:
        keys = [certificate.public_key() for certificate in x509.load_pem_x509_certificates(pem)]
    except ValueError:
        return True  # the certificate's own check says that it cannot be read
    return all(isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= 256 for key in keys)


def _paillier(examined: Examination) -> Iterator[Finding]:
    home = examined.home
    paths = [home.keys / PAILLIER_FILE, home.keys / PAILLIER_SEALED]
    path = next((path for path in paths if path.exists()), None)
    bits = home.config.compute.paillier_bits
    where = f"[compute] paillier_bits = {bits}, for the key that is made on first use"
    if path is not None:
        if path.name == PAILLIER_SEALED and home.passphrase is None:
            return  # the check of keys says that they are locked
        try:
            bits = load_paillier_key(home, lambda _: None).public_key.bits
        except (HomeError, PassphraseError) as error:
            mend = "restore it from a backup, or move it away: then a new one is made"
            yield failure(CheckName.KEY_STRENGTH, Trouble.KEY_UNUSABLE, str(error), mend)
            return
        where = f"the Paillier key {path} has {bits} bits"
    mend = f"set paillier_bits = {RECOMMENDED_PAILLIER} or more, and move {paths[0].name} away when no call is open"
    if bits < SHORTEST_PAILLIER:
        detail = f"{where}: it can be factored, and then every result be read"
        yield failure(CheckName.KEY_STRENGTH, Trouble.KEY_WEAK, detail, mend)
    elif bits < RECOMMENDED_PAILLIER:
        detail = f"{where}: fewer than the {RECOMMENDED_PAILLIER} that are recommended for results that stay secret"
        yield warning(CheckName.KEY_STRENGTH, Trouble.KEY_SHORT, detail, mend)


def check_own_certificate(examined: Examination) -> Iterator[Finding]:
    """The certificate is this party's, of the directory's authority, of this TLS key, valid and not revoked."""
    home, directory = examined.home, examined.directory
    if directory is None or not home.certificate_path.exists():
        return  # the checks of directory and files say so
    renew = f"unseen certificate renew {examined.at_home}"
    try:
        certificate = certificate_from_pem(home.read(home.certificate_path))
    except (IdentityError, HomeError) as error:
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_UNUSABLE, str(error), renew)
        return
    now_ms = examined.clock.now_ms()
    ends_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
    until = f"valid until {day(ends_ms)}"
    if fingerprint(certificate) in directory.revoked_certificates:
        detail = "the regulator has revoked it: nobody talks to this party"
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_REVOKED, detail, f"{renew}, and speak with it")
        return
    if now_ms > ends_ms:
        detail = f"expired {span(now_ms - ends_ms)} ago: nobody talks to this party"
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_EXPIRED, detail, renew)
        return
    try:
        _verify(examined, directory, certificate, now_ms)
    except (IdentityError, UnknownPartyError, HomeError) as error:
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_UNUSABLE, str(error), renew)
        return
    if ends_ms - now_ms < CERTIFICATE_DAYS * DAY_MS:
        detail = f"{until}: {span(ends_ms - now_ms)} left"
        yield warning(CheckName.CERTIFICATE, Trouble.CERTIFICATE_EXPIRES, detail, renew)
    else:
        yield well(CheckName.CERTIFICATE, until)


def _verify(examined: Examination, directory: Directory, certificate: x509.Certificate, now_ms: int) -> None:
    home = examined.home
    record = directory.party(home.name)
    anchors = tuple(certificate_from_pem(anchor.encode("ascii")) for anchor in directory.trust_anchors)
    check_certificate(certificate, record, anchors, now_ms=now_ms)
    if keys_locked(home):
        return
    key = key_from_pem(home.read(home.keys / "tls.pem"), home.passphrase, where="keys/tls.pem")
    if key.public_key() != certificate.public_key():
        raise IdentityError(
            "the certificate is of another key than keys/tls.pem: put back the pair that belongs together"
        )
