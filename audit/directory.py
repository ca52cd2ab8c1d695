"""The party directory, signed by the regulator: how everyone finds everyone, and whose keys count.

It is versioned and expires; a lower version or an expired one is refused. Rotation and revocation are its entries
(`audit.party_record`). Names, SPIFFE IDs and DNS names follow `audit.names`.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import (
    BadSignatureError,
    DirectoryConflictError,
    MalformedError,
    StaleDirectoryError,
    UnknownKeyError,
    UnknownPartyError,
)
from audit.keys import SigningKey, VerifyingKey
from audit.names import (
    DOMAIN_PATTERN,
    PARTY_PATTERN,
    KeyPurpose,
    Role,
    check_domain,
    dns_name,
    key_name,
    spiffe_id,
)
from audit.party_record import KeyRecord, KeyStatus, PartyRecord

__all__ = [
    "MAX_DIRECTORY_BYTES",
    "Directory",
    "KeyPurpose",
    "KeyRecord",
    "KeyStatus",
    "PartyRecord",
    "Role",
    "sign_directory",
    "verify_directory",
    "verify_successor",
]

MAX_DIRECTORY_BYTES: Final = 4 << 20
MAX_PARTIES: Final = 4096
MAX_TRUST_ANCHORS: Final = 32
MAX_REVOKED_CERTIFICATES: Final = 16384
_MAX_PEM: Final = 16384
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END CERTIFICATE-----\n")
_STATUS_ORDER: Final = (KeyStatus.ACTIVE, KeyStatus.RETIRED, KeyStatus.REVOKED)
"""A key's status moves this way only."""
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Directory:
    """All parties of one domain at one version.

    Names, SPIFFE IDs and key identifiers are unique; exactly one party is the regulator, and it is `regulator`; every
    name is the one its party, role and domain require.

    Args:
        domain: the federation's DNS-like domain.
        version: from 1, one higher at each change.
        issued_at_ms: milliseconds since the Unix epoch.
        expires_at_ms: from then on it is refused.
        regulator: the regulator's party name.
        parties: in order of their names.
        trust_anchors: PEM certificates of the CAs that issue the parties' TLS certificates.
        revoked_certificates: SHA-256 of the DER bytes of TLS certificates no longer believed, sorted.
    """

    domain: str
    version: int
    issued_at_ms: int
    expires_at_ms: int
    regulator: str
    parties: tuple[PartyRecord, ...]
    trust_anchors: tuple[str, ...]
    revoked_certificates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_domain(self.domain)
        if self.version < 1 or not 0 <= self.issued_at_ms < self.expires_at_ms:
            raise MalformedError("a directory has a version from 1 and expires after it is issued")
        names = [party.name for party in self.parties]
        if names != sorted(set(names)):
            raise MalformedError("the directory's parties are in order of their names, each once")
        regulators = [party.name for party in self.parties if party.role is Role.REGULATOR]
        if regulators != [self.regulator]:
            raise MalformedError(
                f"the directory lists the regulators {regulators!r:.100}, not {self.regulator!r:.40} alone"
            )
        _check_unique("key", (record.key.keyid for party in self.parties for record in party.keys))
        _check_unique("public key", (record.key.public_key.hex() for party in self.parties for record in party.keys))
        for party in self.parties:
            _check_names(party, self.domain)
        for anchor in self.trust_anchors:
            if len(anchor) > _MAX_PEM or _PEM.fullmatch(anchor) is None:
                raise MalformedError("a trust anchor of the directory is not one PEM certificate")
        if list(self.revoked_certificates) != sorted(set(self.revoked_certificates)):
            raise MalformedError("the directory's revoked certificates are sorted, each once")

    def party(self, name: str) -> PartyRecord:
        """The party of that name; raises `UnknownPartyError`."""
        for record in self.parties:
            if record.name == name:
                return record
        raise UnknownPartyError(f"{name!r:.60} is not in version {self.version} of the directory: fetch a later one?")

    def by_spiffe(self, uri: str) -> PartyRecord:
        """The party of that SPIFFE ID; raises `UnknownPartyError`."""
        for record in self.parties:
            if record.spiffe_id == uri:
                return record
        raise UnknownPartyError(f"{uri!r:.260} is not in version {self.version} of the directory: fetch a later one?")

    def providers(self) -> tuple[PartyRecord, ...]:
        """All providers, in order of their names."""
        return tuple(record for record in self.parties if record.role is Role.PROVIDER)

    def to_body(self) -> JsonObject:
        """The signed body."""
        return {
            **PayloadType.DIRECTORY.header(),
            "domain": self.domain,
            "version": self.version,
            "issued_at_ms": self.issued_at_ms,
            "expires_at_ms": self.expires_at_ms,
            "regulator": self.regulator,
            "parties": [party.to_json() for party in self.parties],
            "trust_anchors": self.trust_anchors,
            "revoked_certificates": self.revoked_certificates,
        }

    @classmethod
    def from_body(cls, obj: object) -> "Directory":
        """The inverse of `to_body`, from a parsed object, or from `Fields` whose header was taken.

        Raises:
            MalformedError: a field missing, unknown or outside its form, or names and keys that clash.
        """
        fields = obj if isinstance(obj, Fields) else Fields(obj, "directory").header(PayloadType.DIRECTORY.kind)
        directory = cls(
            fields.text("domain", pattern=DOMAIN_PATTERN),
            fields.integer("version", 1),
            fields.integer("issued_at_ms"),
            fields.integer("expires_at_ms"),
            fields.text("regulator", pattern=PARTY_PATTERN),
            tuple(PartyRecord.from_json(item) for item in fields.objects("parties", max_items=MAX_PARTIES)),
            fields.blocks("trust_anchors", max_items=MAX_TRUST_ANCHORS, max_length=_MAX_PEM),
            fields.texts("revoked_certificates", max_items=MAX_REVOKED_CERTIFICATES, pattern=_FINGERPRINT),
        )
        fields.finish()
        return directory


def sign_directory(directory: Directory, key: SigningKey) -> Envelope:
    """The directory under the regulator's message key.

    Raises:
        UnknownKeyError, RevokedKeyError: the key is not an active or retired message key of its regulator.
    """
    _check_signer(directory, key.verifying_key)
    return seal(directory.to_body(), PayloadType.DIRECTORY, key)


def verify_directory(data: bytes, regulator_key: VerifyingKey, *, now_ms: int, minimum_version: int = 0) -> Directory:
    """The directory in `data`, believed because of the pinned `regulator_key` alone.

    Args:
        data: an encoded envelope, at most 4 MiB.
        regulator_key: the regulator's message key, from this party's own configuration.
        now_ms: milliseconds since the Unix epoch.
        minimum_version: the highest version accepted before; lower ones are refused.

    Raises:
        MalformedError: not a directory, or a contradictory one.
        BadSignatureError: not signed by that key.
        UnknownKeyError, RevokedKeyError: the directory itself does not list that key as its regulator's, or revokes it.
        StaleDirectoryError: expired, or of a lower version.
    """
    envelope = Envelope.decode(data, limit=MAX_DIRECTORY_BYTES)
    if envelope.payload_type != PayloadType.DIRECTORY:
        raise MalformedError(f"a directory is wanted, this is {envelope.payload_type}")
    try:
        envelope.verify(regulator_key)
    except BadSignatureError as error:
        raise BadSignatureError(f"the directory is not signed by the pinned regulator key: {error}") from error
    directory = Directory.from_body(envelope.body(PayloadType.DIRECTORY, limit=MAX_DIRECTORY_BYTES))
    _check_signer(directory, regulator_key)
    if directory.version < minimum_version:
        raise StaleDirectoryError(
            f"directory version {directory.version} is older than {minimum_version}, which was accepted before"
        )
    if now_ms >= directory.expires_at_ms:
        raise StaleDirectoryError(
            f"directory version {directory.version} expired at {directory.expires_at_ms} ms, now is {now_ms} ms:"
            " fetch the regulator's current one"
        )
    return directory


def verify_successor(old: Directory, new: Directory) -> None:
    """Hold a newer directory against the one accepted before: what was said for good stays said.

    Blocks, for whoever has the regulator's key, a revoked key or certificate that counts again, a retired key that
    signs again, a key or a name that passes to another, and a party that vanishes so as to come back as another.

    Raises:
        StaleDirectoryError: it is of no higher version.
        DirectoryConflictError: it takes something back; the message names the party.
    """
    if new.version <= old.version:
        raise StaleDirectoryError(f"directory version {new.version} does not follow {old.version}")
    if (new.domain, new.regulator) != (old.domain, old.regulator):
        raise DirectoryConflictError(f"the directory passes from {old.regulator} of {old.domain} to {new.regulator}")
    later = {party.name: party for party in new.parties}
    for party in old.parties:
        _check_successor(party, later.get(party.name))
    if not set(old.revoked_certificates) <= set(new.revoked_certificates):
        raise DirectoryConflictError("the directory believes a revoked certificate again")


def _check_successor(old: PartyRecord, new: PartyRecord | None) -> None:
    if new is None or (new.role, new.legal_entity) != (old.role, old.legal_entity):
        raise DirectoryConflictError(f"{old.name} is no longer the {old.role.value} that it was enrolled as")
    later = {record.key: record for record in new.keys}
    for record in old.keys:
        follower = later.get(record.key)
        if follower is None or (follower.purpose, follower.since_ms) != (record.purpose, record.since_ms):
            raise DirectoryConflictError(f"{record.key.keyid} is no longer {old.name}'s key as it was recorded")
        if _STATUS_ORDER.index(follower.status) < _STATUS_ORDER.index(record.status):
            raise DirectoryConflictError(f"{record.key.keyid} was {record.status.value} and counts again")
        # An earlier revocation voids more of what the key signed, a later one would make good what it forged.
        if record.status is KeyStatus.REVOKED and (follower.until_ms or 0) > (record.until_ms or 0):
            raise DirectoryConflictError(f"{record.key.keyid} was revoked, and now from a later moment on")


def _check_signer(directory: Directory, key: VerifyingKey) -> None:
    regulator = directory.party(directory.regulator)
    listed = regulator.verifying_key(key.keyid)
    purposes = {record.purpose for record in regulator.keys if record.key == key}
    if listed != key or KeyPurpose.MESSAGE not in purposes:
        raise UnknownKeyError(f"{key.keyid} is not a message key of the regulator {regulator.name}")


def _check_names(party: PartyRecord, domain: str) -> None:
    if party.spiffe_id != spiffe_id(party.name, party.role, domain):
        raise MalformedError(f"{party.name}: the SPIFFE ID {party.spiffe_id!r:.260} is not its own")
    if party.dns_name != dns_name(party.name, party.role, domain):
        raise MalformedError(f"{party.name}: the DNS name {party.dns_name!r:.260} is not its own")
    for record in party.keys:
        if record.key.name != key_name(party.name, party.role, domain, record.purpose):
            raise MalformedError(f"{party.name}: the key {record.key.keyid} is not named after it and its purpose")


def _check_unique(what: str, values: Iterable[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise MalformedError(f"the directory lists the {what} {value} {count} times")
