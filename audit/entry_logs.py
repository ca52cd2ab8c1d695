"""The entries about logs: another key for this one, another party's that was refused, going on without witnesses."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.errors import MalformedError
from audit.keys import VerifyingKey
from audit.names import PARTY_PATTERN

_KEY_NAME: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeyChanged:
    """From here on another key signs this log's checkpoints.

    The old key's last checkpoint covers exactly the entries up to and with this one, so that it vouches for the new;
    where the old key was revoked there is no such checkpoint, and the regulator's directory alone vouches.

    Args:
        old: the vkey that signed so far.
        new: the vkey that signs every checkpoint of more entries than end with this one.
        version: of the regulator's directory that lists the new key as active.

    Raises:
        MalformedError: the keys are of two logs, or equal.
    """

    party: str
    at_ms: int
    old: str
    new: str
    version: int

    def __post_init__(self) -> None:
        old, new = VerifyingKey.parse(self.old), VerifyingKey.parse(self.new)
        if old == new or old.name != new.name:
            raise MalformedError("a log-key entry names two different keys of one log")

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {"old": self.old, "new": self.new, "version": self.version}

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "LogKeyChanged":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            old=VerifyingKey.parse(fields.text("old", max_length=_KEY_NAME + 64)).vkey(),
            new=VerifyingKey.parse(fields.text("new", max_length=_KEY_NAME + 64)).vkey(),
            version=fields.integer("version", 1),
        )


class Misbehaviour(Enum):
    """What a log did that its witness does not cosign.

    FORKED: it signed a checkpoint that contradicts the one held.
    SHRUNK: it signed a checkpoint of fewer entries than the one held.
    """

    FORKED = "forked"
    SHRUNK = "shrunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRefused:
    """As a witness, this party refused to cosign a checkpoint, and keeps both signed notes as evidence.

    Args:
        subject: the party whose log it is; origin: the log.
        misbehaviour: what the log did.
        held_size, held_root: the latest checkpoint cosigned, the root in hexadecimal.
        offered_size, offered_root: the checkpoint refused, signed by the log's own key.
        evidence: SHA-256 of the evidence as `audit.witness` encodes it.
    """

    party: str
    at_ms: int
    subject: str
    origin: str
    misbehaviour: Misbehaviour
    held_size: int
    held_root: str
    offered_size: int
    offered_root: str
    evidence: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "subject": self.subject,
            "origin": self.origin,
            "misbehaviour": self.misbehaviour.value,
            "held_size": self.held_size,
            "held_root": self.held_root,
            "offered_size": self.offered_size,
            "offered_root": self.offered_root,
            "evidence": self.evidence,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "LogRefused":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            subject=fields.text("subject", pattern=PARTY_PATTERN),
            origin=fields.text("origin", max_length=_KEY_NAME),
            misbehaviour=fields.choice("misbehaviour", Misbehaviour),
            held_size=fields.integer("held_size"),
            held_root=fields.hex("held_root"),
            offered_size=fields.integer("offered_size"),
            offered_root=fields.hex("offered_root"),
            evidence=fields.hex("evidence"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessOverride:
    """This party's operator let the ledger go on although its witnesses' sizes were not known.

    Args:
        size: entries before this one.
        reason: commitment to the operator's reason.
    """

    party: str
    at_ms: int
    size: int
    reason: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {"size": self.size, "reason": self.reason}

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "WitnessOverride":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(party=party, at_ms=at_ms, size=fields.integer("size"), reason=fields.hex("reason"))
