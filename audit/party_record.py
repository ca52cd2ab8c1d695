"""What the directory records of one party: who it is in law, in certificates and on the network, and its keys.

Rotation and revocation are here: a key record has a status and the times between which the key served.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.errors import MalformedError, RevokedKeyError, UnknownKeyError
from audit.keys import VerifyingKey
from audit.names import LEGAL_ENTITY_PATTERN, PARTY_PATTERN, KeyPurpose, Role, check_party_name

MAX_KEYS_PER_PARTY: Final = 256
_ENDPOINT: Final = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([1-9][0-9]{0,4})")
_MAX_VKEY: Final = 320


class KeyStatus(Enum):
    """Whether a key signs now (active), signed until it was rotated out (retired), or is not believed (revoked)."""

    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of a party.

    Args:
        purpose: what it may sign.
        key: its name is `<party>.<role>.<domain>/<purpose>`.
        status: active, retired or revoked.
        since_ms: milliseconds since the Unix epoch from which it served.
        until_ms: when it was retired or revoked (required then); absent while active.
    """

    purpose: KeyPurpose
    key: VerifyingKey
    status: KeyStatus
    since_ms: int
    until_ms: int | None

    def __post_init__(self) -> None:
        if (self.until_ms is None) != (self.status is KeyStatus.ACTIVE):
            raise MalformedError(f"{self.key.keyid}: an active key has no until_ms; a retired or revoked one has")
        if self.until_ms is not None and self.until_ms < self.since_ms:
            raise MalformedError(f"{self.key.keyid}: until_ms lies before since_ms")

    def ended(self, status: KeyStatus, at_ms: int) -> "KeyRecord":
        """This record with its key retired or revoked at `at_ms` (or, by a clock set back, when it began to serve)."""
        return replace(self, status=status, until_ms=max(at_ms, self.since_ms))

    def to_json(self) -> JsonObject:
        """As in the directory's body."""
        obj: JsonObject = {
            "purpose": self.purpose.value,
            "vkey": self.key.vkey(),
            "status": self.status.value,
            "since_ms": self.since_ms,
        }
        if self.until_ms is not None:
            obj["until_ms"] = self.until_ms
        return obj

    @classmethod
    def from_json(cls, fields: Fields) -> "KeyRecord":
        """The inverse of `to_json`; raises `MalformedError`."""
        record = cls(
            fields.choice("purpose", KeyPurpose),
            VerifyingKey.parse(fields.text("vkey", max_length=_MAX_VKEY)),
            fields.choice("status", KeyStatus),
            fields.integer("since_ms"),
            fields.optional_integer("until_ms"),
        )
        fields.finish()
        return record


@dataclass(frozen=True, slots=True)
class PartyRecord:
    """One party: who it is in law, in certificates and on the network, and its keys.

    At most one key of each purpose is active. `endpoint` is `host:port`, or None for a party that only dials out.
    """

    name: str
    role: Role
    legal_entity: str
    spiffe_id: str
    dns_name: str
    endpoint: str | None
    keys: tuple[KeyRecord, ...]

    def __post_init__(self) -> None:
        check_party_name(self.name)
        if LEGAL_ENTITY_PATTERN.fullmatch(self.legal_entity) is None:
            raise MalformedError(f"{self.name}: {self.legal_entity!r:.80} is no legal-entity code")
        if self.endpoint is not None:
            _check_endpoint(self.name, self.endpoint)
        active = Counter(record.purpose for record in self.keys if record.status is KeyStatus.ACTIVE)
        for purpose, count in active.items():
            if count > 1:
                raise MalformedError(f"{self.name} has {count} active {purpose.value} keys: retire all but one")

    def key(self, purpose: KeyPurpose) -> VerifyingKey:
        """The active key of that purpose.

        Raises:
            RevokedKeyError: none is active and the latest was revoked.
            UnknownKeyError: none is active.
        """
        records = [record for record in self.keys if record.purpose is purpose]
        for record in records:
            if record.status is KeyStatus.ACTIVE:
                return record.key
        if records and max(records, key=_until).status is KeyStatus.REVOKED:
            raise RevokedKeyError(f"the {purpose.value} key of {self.name} is revoked and no other is on record")
        raise UnknownKeyError(f"{self.name} has no active {purpose.value} key in the directory")

    def verifying_key(self, keyid: str) -> VerifyingKey:
        """The key of that identifier, active or retired.

        Raises:
            RevokedKeyError: it is revoked.
            UnknownKeyError: it is none of this party's.
        """
        for record in self.keys:
            if record.key.keyid == keyid:
                if record.status is KeyStatus.REVOKED:
                    raise RevokedKeyError(f"{keyid} was revoked by the regulator")
                return record.key
        raise UnknownKeyError(f"{keyid!r:.300} is no key of {self.name} in the directory")

    def signer_at(self, keyids: Collection[str], purpose: KeyPurpose, at_ms: int) -> VerifyingKey:
        """The key of that purpose, out of those that signed something, that served at `at_ms`.

        The active key whatever the time, or one that was retired no earlier: what was signed before a rotation may
        arrive after it. A revoked key never counts.

        Raises:
            RevokedKeyError, UnknownKeyError: none of them does.
        """
        records = [item for item in self.keys if item.purpose is purpose and item.key.keyid in keyids]
        for record in sorted(records, key=_until):  # the active one first
            if record.status is KeyStatus.ACTIVE or (record.status is KeyStatus.RETIRED and at_ms <= _until(record)):
                return record.key
        for record in records:
            self.verifying_key(record.key.keyid)
        raise UnknownKeyError(f"none of the {purpose.value} keys that {self.name} had then has signed")

    def rotated(self, keys: Mapping[KeyPurpose, VerifyingKey], at_ms: int) -> "PartyRecord":
        """This record with new active keys from `at_ms` (ms since the epoch) on, and those that they replace retired.

        Raises:
            MalformedError: more than `MAX_KEYS_PER_PARTY` keys would be listed.
        """
        if len(self.keys) + len(keys) > MAX_KEYS_PER_PARTY:
            raise MalformedError(f"{self.name} has {len(self.keys)} keys on record, {MAX_KEYS_PER_PARTY} are allowed")
        kept = tuple(
            item.ended(KeyStatus.RETIRED, at_ms) if item.status is KeyStatus.ACTIVE and item.purpose in keys else item
            for item in self.keys
        )
        added = tuple(KeyRecord(purpose, key, KeyStatus.ACTIVE, at_ms, None) for purpose, key in keys.items())
        return replace(self, keys=(*kept, *added))

    def revoked(self, keyids: Collection[str], at_ms: int) -> "PartyRecord":
        """This record with the keys of those identifiers, active or retired, revoked at `at_ms`."""
        return replace(
            self,
            keys=tuple(
                item.ended(KeyStatus.REVOKED, at_ms)
                if item.key.keyid in keyids and item.status is not KeyStatus.REVOKED
                else item
                for item in self.keys
            ),
        )

    def to_json(self) -> JsonObject:
        """As in the directory's body."""
        obj: JsonObject = {
            "name": self.name,
            "role": self.role.value,
            "legal_entity": self.legal_entity,
            "spiffe_id": self.spiffe_id,
            "dns_name": self.dns_name,
            "keys": [record.to_json() for record in self.keys],
        }
        if self.endpoint is not None:
            obj["endpoint"] = self.endpoint
        return obj

    @classmethod
    def from_json(cls, fields: Fields) -> "PartyRecord":
        """The inverse of `to_json`; raises `MalformedError`."""
        record = cls(
            fields.text("name", pattern=PARTY_PATTERN),
            fields.choice("role", Role),
            fields.text("legal_entity", max_length=64),
            fields.text("spiffe_id"),
            fields.text("dns_name"),
            fields.optional_text("endpoint", max_length=300),
            tuple(KeyRecord.from_json(item) for item in fields.objects("keys", max_items=MAX_KEYS_PER_PARTY)),
        )
        fields.finish()
        return record


def _check_endpoint(name: str, endpoint: str) -> None:
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match.group(2)) > 65535:
        raise MalformedError(f"{name}: the endpoint {endpoint!r:.300} is not HOST:PORT")


def _until(record: KeyRecord) -> int:
    return -1 if record.until_ms is None else record.until_ms
