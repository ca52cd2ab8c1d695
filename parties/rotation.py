"""Rotating a party's keys: the request, and what the regulator asks of it before its directory lists the new keys.

The request announces the new keys, each of which proves that the party holds it, and is signed by the party's current
message key, and by the new one where that is replaced. It is bound to the directory version that it was made against,
and a key that any directory has ever listed is refused, so that a request works once. The answer is the new
directory, which is believed because of the regulator's signature alone; so either file may travel by any means.

Somebody who has stolen both the message key and the TLS key can rotate as the party could. Everybody sees it in the
directory, and the party itself is refused from its next call on. Then the regulator revokes the thief's key
(`revoked`), identifies the party's officials in person, and lists their keys (`replace_revoked`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from audit.canonical import Fields, Json
from audit.directory import Directory, KeyStatus, PartyRecord
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import (
    AuditError,
    MalformedError,
    RevokedKeyError,
    StaleDirectoryError,
    UnknownKeyError,
)
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.names import PARTY_PATTERN, Role, key_name, parse_key_name
from parties.errors import KeyChangeError
from parties.key_proofs import prove, verify_proofs

MAX_ROTATION_BYTES: Final = 16 * 1024
REQUEST_DAYS: Final = 30
"""A request that is older is refused, as is one from the future."""
_DAY_MS: Final = 86_400_000
_SKEW_MS: Final = 300_000
_MAX_VKEY: Final = 320
_NONCE_BYTES: Final = 16
_PROOF_TAG: Final = "unseen:rotation-proof:v1:"


@dataclass(frozen=True, slots=True)
class RotationRequest:
    """Which new keys a party wants listed.

    Args:
        party: whose keys.
        keys: the new key of each purpose that is rotated, at least one; named after the party.
        version: of the directory that the request was made against.
        created_at_ms: by the party's clock, milliseconds since the epoch.
        nonce: 16 random bytes in hexadecimal.
    """

    party: str
    keys: Mapping[KeyPurpose, VerifyingKey]
    version: int
    created_at_ms: int
    nonce: str

    def _unproved(self) -> dict[str, Json]:
        return {
            **PayloadType.KEY_ROTATION.header(),
            "party": self.party,
            "vkeys": {purpose.value: self.keys[purpose].vkey() for purpose in KeyPurpose if purpose in self.keys},
            "version": self.version,
            "created_at_ms": self.created_at_ms,
            "nonce": self.nonce,
        }

    def seal(self, new: Mapping[KeyPurpose, SigningKey], current: SigningKey | None) -> Envelope:
        """Return the request with a proof by each new key, signed by the current message key and by a new one.

        Without `current`, which is lost, the new message key alone signs: only officials can have that listed.
        """
        announced = self._unproved()
        signers = [key for key in (current, new.get(KeyPurpose.MESSAGE)) if key is not None]
        return seal({**announced, "proofs": prove(_PROOF_TAG, announced, new)}, PayloadType.KEY_ROTATION, *signers)


def read_rotation(data: bytes) -> tuple[RotationRequest, Envelope]:
    """Decode a rotation request and verify what the new keys can prove; who else signed is `check_rotation`'s.

    Raises:
        MalformedError, BadSignatureError: the bytes are no request, or a new key has not signed it.
    """
    envelope = Envelope.decode(data, limit=MAX_ROTATION_BYTES)
    fields = envelope.body(PayloadType.KEY_ROTATION, limit=MAX_ROTATION_BYTES)
    party = fields.text("party", pattern=PARTY_PATTERN)
    vkeys, proofs = fields.object("vkeys"), fields.object("proofs")
    request = RotationRequest(
        party=party,
        keys={purpose: _read_key(vkeys, party, purpose) for purpose in KeyPurpose if purpose.value in vkeys},
        version=fields.integer("version", 1),
        created_at_ms=fields.integer("created_at_ms"),
        nonce=fields.hex("nonce", _NONCE_BYTES),
    )
    for part in (vkeys, fields):
        part.finish()
    if not request.keys:
        raise MalformedError("key_rotation: it announces no key")
    verify_proofs(_PROOF_TAG, request._unproved(), request.keys, proofs)
    if KeyPurpose.MESSAGE in request.keys:
        envelope.verify(request.keys[KeyPurpose.MESSAGE])
    return request, envelope


def _read_key(vkeys: Fields, party: str, purpose: KeyPurpose) -> VerifyingKey:
    key = VerifyingKey.parse(vkeys.text(purpose.value, max_length=_MAX_VKEY))
    name = parse_key_name(key.name)
    if (name.party, name.purpose) != (party, purpose):
        raise MalformedError(f"key_rotation: the {purpose.value} key is named {key.name:.260}, not after {party}")
    return key


def check_rotation(
    asked: tuple[RotationRequest, Envelope], directory: Directory, *, now_ms: int, replace_revoked: bool
) -> None:
    """Verify that the regulator may list the new keys.

    Args:
        asked: what `read_rotation` gave.
        directory: the newest one.
        now_ms: by the regulator's clock, milliseconds since the epoch.
        replace_revoked: officials have identified the party in person, because it has no message key left that could
            speak for it.

    Raises:
        UnknownPartyError: the directory does not list the party.
        BadSignatureError, RevokedKeyError, UnknownKeyError: the party's active message key has not signed.
        StaleDirectoryError: it was made against another version of the directory.
        KeyChangeError: a key is or was in use, the regulator's message key is to be replaced, the request is too old,
            or `replace_revoked` without need.
    """
    request, envelope = asked
    record = directory.party(request.party)
    if record.role is Role.REGULATOR and KeyPurpose.MESSAGE in request.keys:
        raise KeyChangeError(
            f"the message key of {record.name} is what every party has pinned as its root of trust: it cannot be "
            "rotated. A new one is a new federation, in which everybody enrols anew"
        )
    if not -_SKEW_MS <= now_ms - request.created_at_ms <= REQUEST_DAYS * _DAY_MS:
        raise KeyChangeError(f"the request is over {REQUEST_DAYS} days old, or a clock is wrong: make another")
    _check_unused(request, record, directory)
    _check_version(request, directory, exact=not replace_revoked)
    if replace_revoked:
        _check_speechless(request, record)
    else:
        envelope.verify(record.key(KeyPurpose.MESSAGE))


def _check_version(request: RotationRequest, directory: Directory, *, exact: bool) -> None:
    """Block a request that was kept back: what it was made against may have been overtaken by another rotation.

    Somebody whose keys are revoked may no longer be able to fetch the newest directory; officials look at the request.
    """
    if request.version > directory.version or (exact and request.version != directory.version):
        raise StaleDirectoryError(
            f"the request was made against version {request.version} of the directory, which is now at "
            f"{directory.version}: make another"
        )


def _check_unused(request: RotationRequest, record: PartyRecord, directory: Directory) -> None:
    """Block a replay, going back to a key that may be in other hands, and taking another party's key."""
    known = {item.key.public_key: party.name for party in directory.parties for item in party.keys}
    announced = [key.public_key for key in request.keys.values()]
    if len(set(announced)) != len(announced):
        raise KeyChangeError("one key is announced for two purposes: each has its own")
    for purpose, key in request.keys.items():
        if key.name != key_name(record.name, record.role, directory.domain, purpose):
            raise KeyChangeError(f"{key.keyid} is not named after {record.name}, a {record.role.value} here")
        if key.public_key in known:
            raise KeyChangeError(
                f"{key.keyid} is on record already, as a key of {known[key.public_key]}: a key is listed once and for "
                "all. If this request was answered before, its answer is the current directory"
            )


def _check_speechless(request: RotationRequest, record: PartyRecord) -> None:
    try:
        active = record.key(KeyPurpose.MESSAGE)
    except (RevokedKeyError, UnknownKeyError):
        if KeyPurpose.MESSAGE not in request.keys:
            raise KeyChangeError(f"{record.name} has no message key left, and the request brings none") from None
        return
    raise KeyChangeError(
        f"{record.name} has the active message key {active.keyid}: if others have it, revoke it first "
        f"(unseen keys revoke {record.name} --purpose message); if not, sign without --replace-revoked"
    )


def rotated(directory: Directory, request: RotationRequest, now_ms: int) -> Directory:
    """Return the directory with the new keys active from `now_ms` on; version and times are the caller's to advance.

    Raises:
        KeyChangeError: the party has as many keys on record as are allowed.
    """
    try:
        return _with(directory, directory.party(request.party).rotated(request.keys, now_ms))
    except MalformedError as error:
        raise KeyChangeError(str(error)) from error


def revoked(
    directory: Directory, party: str, keyids: Collection[str], certificates: Collection[str], now_ms: int
) -> Directory:
    """Return the directory with keys of `party` and certificates revoked at `now_ms`.

    Args:
        directory: the newest one.
        party: whose keys; may be empty where there are none.
        keyids: identifiers of its active or retired keys.
        certificates: SHA-256 of certificates' DER bytes, in hexadecimal.
        now_ms: milliseconds since the epoch. What was under a witnessed checkpoint before stays verifiable.

    Raises:
        UnknownPartyError: the directory does not list the party.
        KeyChangeError: a key is not the party's, all of it is revoked already, or it is the regulator's message key.
    """
    changed = directory
    if keyids:
        record = directory.party(party)
        keys = {item.key.keyid: item for item in record.keys}
        for keyid in keyids:
            if keyid not in keys:
                raise KeyChangeError(f"{keyid!r:.300} is no key of {party}: unseen keys list {party}")
            if record.role is Role.REGULATOR and keys[keyid].purpose is KeyPurpose.MESSAGE:
                raise KeyChangeError(
                    f"{keyid} is what every party has pinned as its root of trust: were it revoked, nobody would "
                    "believe any directory. Found a new federation, and let everybody enrol anew"
                )
        if any(keys[keyid].status is not KeyStatus.REVOKED for keyid in keyids):
            changed = _with(changed, record.revoked(keyids, now_ms))
    if not set(certificates) <= set(directory.revoked_certificates):
        believed = sorted({*directory.revoked_certificates, *certificates})
        changed = replace(changed, revoked_certificates=tuple(believed))
    if changed is directory:
        raise KeyChangeError("all of this is revoked already")
    return changed


def _with(directory: Directory, record: PartyRecord) -> Directory:
    parties = tuple(record if party.name == record.name else party for party in directory.parties)
    return replace(directory, parties=parties)


def speaks_for(record: PartyRecord, key: VerifyingKey) -> None:
    """Raise `KeyChangeError` unless `key` is the party's active message key: the party has to know what that means."""
    try:
        active = record.key(KeyPurpose.MESSAGE)
    except AuditError as error:
        raise KeyChangeError(
            f"{error}. Make a request with `unseen keys rotate --out FILE` and bring it to the regulator, who signs it "
            "after having identified you (unseen keys sign --replace-revoked)"
        ) from error
    if active != key:
        raise KeyChangeError(
            f"the directory's active message key of {record.name} is {active.keyid}, this home's is {key.keyid}. If "
            "you did not rotate it elsewhere, somebody else did: tell the regulator now, by telephone"
        )
