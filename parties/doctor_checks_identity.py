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
from parties.doctor_details import Detail
from parties.doctor_examination import Examination, day, keys_locked
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.doctor_words import Words, span
from parties.errors import HomeError, IdentityError, PassphraseError
from parties.identity import certificate_from_pem, check_certificate, fingerprint, key_from_pem
from parties.key_encryption import keys_in_clear

DAY_MS: Final = 86_400_000
DIRECTORY_DAYS: Final = 14
"""The regulator renews a directory a month before it expires: with less left, this party has not heard of it."""
CERTIFICATE_DAYS: Final = 30
SHORTEST_PAILLIER: Final = 2048
RECOMMENDED_PAILLIER: Final = 3072


def check_directory(examined: Examination) -> Iterator[Finding]:
    """The directory is the pinned regulator's, has not expired, and lists this party as its settings have it."""
    home, directory = examined.home, examined.directory
    if directory is None:
        yield _no_directory(examined)
        return
    left_ms = directory.expires_at_ms - examined.clock.now_ms()
    version, until = directory.version, day(directory.expires_at_ms)
    refetch = Mend.REFETCH_DIRECTORY.of()
    found = []
    if left_ms <= 0:
        said = Detail.DIRECTORY_EXPIRED.of(version=version, until=until)
        found.append(failure(CheckName.DIRECTORY, Trouble.DIRECTORY_EXPIRED, said, refetch))
    elif left_ms < DIRECTORY_DAYS * DAY_MS:
        said = Detail.DIRECTORY_EXPIRES.of(version=version, until=until)
        if home.role is Role.REGULATOR:
            said = Detail.OWN_DIRECTORY_EXPIRES.of(version=version, until=until)
            refetch = Mend.SERVE_RENEWS.of(at_home=examined.at_home)
        found.append(warning(CheckName.DIRECTORY, Trouble.DIRECTORY_EXPIRES, said, refetch))
    try:
        record = directory.party(home.name)
    except UnknownPartyError:
        said = Detail.UNLISTED.of(version=version, until=until, party=home.name)
        yield failure(CheckName.DIRECTORY, Trouble.UNLISTED, said, Mend.ENROL.of(at_home=examined.at_home))
        return
    if (record.endpoint or "") != home.config.network.endpoint:
        said = Detail.ENDPOINT_DIFFERS.of(listed=record.endpoint or "-", own=home.config.network.endpoint or "-")
        found.append(warning(CheckName.DIRECTORY, Trouble.ENDPOINT_DIFFERS, said, Mend.ENDPOINT.of()))
    parties = Words(f"{len(directory.parties)} parties", str(len(directory.parties)))
    yield from found or [
        well(CheckName.DIRECTORY, Detail.DIRECTORY_WELL.of(version=version, until=until, parties=parties))
    ]


def _no_directory(examined: Examination) -> Finding:
    try:
        examined.home.directory(now_ms=0)
    except HomeError as error:
        mend, missing = Mend.ENROL.of(at_home=examined.at_home), not examined.home.directory_path.exists()
        said = Detail.NOT_ENROLLED.of() if missing else Detail.DIRECTORY_UNUSABLE.of(error=error)
        return failure(CheckName.DIRECTORY, Trouble.NOT_ENROLLED, said, mend)
    except AuditError as error:
        said = Detail.DIRECTORY_UNTRUSTED.of(error=error)
        return failure(CheckName.DIRECTORY, Trouble.DIRECTORY_UNTRUSTED, said, Mend.COMPARE_VKEY.of())
    raise AssertionError("a directory that verifies was handed to the examination")


def check_keys(examined: Examination) -> Iterator[Finding]:
    """The signing keys here are those that the directory lists as active, and lie encrypted."""
    home, directory = examined.home, examined.directory
    if keys_locked(home):
        yield warning(CheckName.KEYS, Trouble.KEYS_LOCKED, Detail.KEYS_LOCKED.of(), Mend.UNLOCK.of())
        return
    record = _record(directory, home.name)
    present = [purpose for purpose in KeyPurpose if (home.keys / f"{purpose.value}.pem").exists()]
    found = []
    for purpose in present:  # the check of files names those that are missing
        try:
            key = home.signing_key(purpose).verifying_key
        except (HomeError, PassphraseError, AuditError) as error:
            said = Detail.KEY_UNUSABLE.of(error=error)
            found.append(failure(CheckName.KEYS, Trouble.KEY_UNUSABLE, said, Mend.KEY_BACK.of()))
            continue
        if record is not None:
            statuses = [each.status for each in record.keys if each.purpose is purpose and each.key == key]
            found += _standing(examined, purpose, statuses[0] if statuses else None)
    if keys_in_clear(home):
        mend = Mend.ENCRYPT.of(at_home=examined.at_home)
        found.append(warning(CheckName.KEYS, Trouble.KEYS_IN_CLEAR, Detail.KEYS_IN_CLEAR.of(), mend))
    if not found and len(present) == len(KeyPurpose):
        found.append(well(CheckName.KEYS, Detail.KEYS_WELL.of()))
    yield from found


def _standing(examined: Examination, purpose: KeyPurpose, status: KeyStatus | None) -> Iterator[Finding]:
    where = f"keys/{purpose.value}.pem"
    if status is None:
        said = Detail.KEY_UNLISTED.of(key=where)
        yield failure(CheckName.KEYS, Trouble.KEY_UNLISTED, said, Mend.LISTED_KEY_BACK.of())
    elif status is KeyStatus.RETIRED:
        said, mend = Detail.KEY_RETIRED.of(key=where), Mend.NEWER_KEY_BACK.of()
        if examined.home.next_key_path(purpose).exists():
            said, mend = Detail.KEY_SUCCEEDED.of(key=where), Mend.ROTATE.of(at_home=examined.at_home)
        yield failure(CheckName.KEYS, Trouble.KEY_RETIRED, said, mend)
    elif status is KeyStatus.REVOKED:
        said, mend = Detail.KEY_REVOKED.of(key=where), Mend.ROTATE_AND_SPEAK.of(at_home=examined.at_home)
        yield failure(CheckName.KEYS, Trouble.KEY_REVOKED, said, mend)


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
        said, mend = Detail.WEAK_KEYS_ACCEPTED.of(bits=minimum), Mend.NO_WEAK_KEYS.of(path=home.path / "party.toml")
        found.append(warning(CheckName.KEY_STRENGTH, Trouble.WEAK_KEYS_ACCEPTED, said, mend))
    for path in (home.certificate_path, home.anchors_path):
        if path.exists() and not _is_strong(home.read(path)):
            said = Detail.CURVE_WEAK.of(path=path)
            found.append(warning(CheckName.KEY_STRENGTH, Trouble.KEY_WEAK, said, Mend.P256.of()))
    if home.role is Role.MERCHANT:
        found += _paillier(examined)
    yield from found or [well(CheckName.KEY_STRENGTH, Detail.KEY_STRENGTH_WELL.of())]


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
    which = Detail.PAILLIER_SETTING.of(bits=bits)
    if path is not None:
        if path.name == PAILLIER_SEALED and home.passphrase is None:
            return  # the check of keys says that they are locked
        try:
            bits = load_paillier_key(home, lambda _: None).public_key.bits
        except (HomeError, PassphraseError) as error:
            said = Detail.KEY_UNUSABLE.of(error=error)
            yield failure(CheckName.KEY_STRENGTH, Trouble.KEY_UNUSABLE, said, Mend.PAILLIER_BACK.of())
            return
        which = Detail.PAILLIER_KEY.of(path=path, bits=bits)
    mend = Mend.LONGER_PAILLIER.of(recommended=RECOMMENDED_PAILLIER, file=paths[0].name)
    if bits < SHORTEST_PAILLIER:
        yield failure(CheckName.KEY_STRENGTH, Trouble.KEY_WEAK, Detail.PAILLIER_WEAK.of(which=which), mend)
    elif bits < RECOMMENDED_PAILLIER:
        said = Detail.PAILLIER_SHORT.of(which=which, recommended=RECOMMENDED_PAILLIER)
        yield warning(CheckName.KEY_STRENGTH, Trouble.KEY_SHORT, said, mend)


def check_own_certificate(examined: Examination) -> Iterator[Finding]:
    """The certificate is this party's, of the directory's authority, of this TLS key, valid and not revoked."""
    home, directory = examined.home, examined.directory
    if directory is None or not home.certificate_path.exists():
        return  # the checks of directory and files say so
    renew = Mend.RENEW.of(at_home=examined.at_home)
    try:
        certificate = certificate_from_pem(home.read(home.certificate_path))
    except (IdentityError, HomeError) as error:
        said = Detail.CERTIFICATE_UNUSABLE.of(error=error)
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_UNUSABLE, said, renew)
        return
    now_ms = examined.clock.now_ms()
    ends_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
    if fingerprint(certificate) in directory.revoked_certificates:
        said, mend = Detail.CERTIFICATE_REVOKED.of(), Mend.RENEW_AND_SPEAK.of(at_home=examined.at_home)
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_REVOKED, said, mend)
        return
    if now_ms > ends_ms:
        said = Detail.CERTIFICATE_EXPIRED.of(since=span(now_ms - ends_ms))
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_EXPIRED, said, renew)
        return
    try:
        _verify(examined, directory, certificate, now_ms)
        paired = _is_paired(examined, certificate)
    except (IdentityError, UnknownPartyError, HomeError) as error:
        said = Detail.CERTIFICATE_UNUSABLE.of(error=error)
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_UNUSABLE, said, renew)
        return
    if not paired:
        said, mend = Detail.CERTIFICATE_FOREIGN.of(), Mend.TLS_PAIR_BACK.of(at_home=examined.at_home)
        yield failure(CheckName.CERTIFICATE, Trouble.CERTIFICATE_UNUSABLE, said, mend)
    elif ends_ms - now_ms < CERTIFICATE_DAYS * DAY_MS:
        said = Detail.CERTIFICATE_EXPIRES.of(until=day(ends_ms), left=span(ends_ms - now_ms))
        yield warning(CheckName.CERTIFICATE, Trouble.CERTIFICATE_EXPIRES, said, renew)
    else:
        yield well(CheckName.CERTIFICATE, Detail.CERTIFICATE_WELL.of(until=day(ends_ms)))


def _verify(examined: Examination, directory: Directory, certificate: x509.Certificate, now_ms: int) -> None:
    home = examined.home
    record = directory.party(home.name)
    anchors = tuple(certificate_from_pem(anchor.encode("ascii")) for anchor in directory.trust_anchors)
    check_certificate(certificate, record, anchors, now_ms=now_ms)


def _is_paired(examined: Examination, certificate: x509.Certificate) -> bool:
    """Whether the TLS key here is the certificate's; of one that is missing the check of files tells, of locked ones
    that of keys.
    """
    home, path = examined.home, examined.home.keys / "tls.pem"
    if keys_locked(home) or not path.exists():
        return True
    key = key_from_pem(home.read(path), home.passphrase, where="keys/tls.pem")
    return key.public_key() == certificate.public_key()
