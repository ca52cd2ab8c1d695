"""Salted commitments: a ledger holds the hash, the owner keeps the opening, one field can be opened alone.

`SHA-256(len8(tag) || tag || salt || u64be(len(value)) || value)` with tag `unseen:commitment:v1:<field>`. The 32-byte
random salt hides a guessable value; the tag and the lengths leave one reading only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from audit.canonical import Fields, canonicalise, parse_canonical, to_base64
from audit.errors import CommitmentMismatchError, MalformedError
from audit.hashes import hex_sha256

SALT_BYTES: Final = 32
MAX_FIELD_NAME: Final = 64
MAX_OPENINGS: Final = 64
_TAG: Final = b"unseen:commitment:v1:"


@dataclass(frozen=True, slots=True)
class Opening:
    """What was committed: a 32-byte random salt and the value's bytes."""

    salt: bytes
    value: bytes

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise MalformedError(f"a commitment's salt has {SALT_BYTES} bytes, this one {len(self.salt)}")

    def __repr__(self) -> str:
        return f"Opening({len(self.value)} bytes)"


Openings: TypeAlias = dict[str, Opening]


def commit(field: str, salt: bytes, value: bytes) -> str:
    """The commitment to `value` as `field`, 64 hexadecimal digits.

    Args:
        field: 1 to 64 ASCII characters; a commitment to one field never opens as another.
        salt: 32 random bytes, fresh for every commitment.
        value: any bytes.

    Raises:
        MalformedError: another field name or salt length.
    """
    if not field.isascii() or not 1 <= len(field) <= MAX_FIELD_NAME:
        raise MalformedError(f"{field!r:.80} is no field name of 1 to {MAX_FIELD_NAME} ASCII characters")
    if len(salt) != SALT_BYTES:
        raise MalformedError(f"a commitment's salt has {SALT_BYTES} bytes, this one {len(salt)}")
    tag = _TAG + field.encode("ascii")
    return hex_sha256(bytes([len(tag)]) + tag + salt + len(value).to_bytes(8, "big") + value)


def commit_openings(openings: Mapping[str, Opening]) -> dict[str, str]:
    """The commitment of every opening, by field."""
    return {field: commit(field, opening.salt, opening.value) for field, opening in openings.items()}


def verify_openings(commitments: Mapping[str, str], openings: Mapping[str, Opening]) -> None:
    """Raise `CommitmentMismatchError`, naming the field, unless every commitment is opened and nothing beside."""
    for field, commitment in commitments.items():
        opening = openings.get(field)
        if opening is None:
            raise CommitmentMismatchError(f"the committed field {field!r:.80} is not opened: send its salt and value")
        if commit(field, opening.salt, opening.value) != commitment:
            raise CommitmentMismatchError(f"the opened {field!r:.80} is not the value that was committed")
    for field in openings:
        if field not in commitments:
            raise CommitmentMismatchError(f"the field {field!r:.80} is opened but was never committed")


def encode_openings(openings: Mapping[str, Opening]) -> bytes:
    """Canonical JSON `{field: {"salt": hex, "value": base64}}`."""
    return canonicalise(
        {field: {"salt": opening.salt.hex(), "value": to_base64(opening.value)} for field, opening in openings.items()}
    )


def decode_openings(data: bytes, limit: int) -> Openings:
    """The openings of `encode_openings`' bytes, at most `limit` of them and at most 64 fields.

    Raises:
        LimitExceededError: too long or too many.
        MalformedError: not exactly the encoding of openings.
    """
    openings: Openings = {}
    members = Fields({"openings": parse_canonical(data, limit=limit)}, "openings message")
    for field, fields in members.object_map("openings", max_items=MAX_OPENINGS).items():
        if not field.isascii() or len(field) > MAX_FIELD_NAME:
            raise MalformedError(f"openings: {field!r:.80} is no field name of 1 to {MAX_FIELD_NAME} ASCII characters")
        openings[field] = Opening(
            bytes.fromhex(fields.hex("salt", SALT_BYTES)),
            fields.base64("value", max_bytes=limit),
        )
        fields.finish()
    return openings
