"""The bytes of a ledger entry: versioned canonical JSON of at most 8 KiB, written once and hashed as written."""

from typing import Final, TypeAlias

from audit.canonical import Fields, JsonObject, canonicalise
from audit.entry_calls import Aborted, Ack, Denied, Intent, Outcome
from audit.entry_kinds import (
    ContractTransition,
    DirectoryAccepted,
    DiscrepancyFound,
    Enrolled,
    EntryKind,
    Genesis,
    Seal,
    Side,
)
from audit.entry_logs import LogKeyChanged, LogRefused, Misbehaviour, WitnessOverride
from audit.errors import LimitExceededError, MalformedError
from audit.hashes import HashAlgorithm
from audit.names import PARTY_PATTERN, Role
from audit.tariff import NO_UNITS, Units

__all__ = [
    "MAX_ENTRY_BYTES",
    "NO_UNITS",
    "Aborted",
    "Ack",
    "ContractTransition",
    "Denied",
    "DirectoryAccepted",
    "DiscrepancyFound",
    "Enrolled",
    "Entry",
    "EntryKind",
    "Genesis",
    "Intent",
    "LogKeyChanged",
    "LogRefused",
    "Misbehaviour",
    "Outcome",
    "Role",
    "Seal",
    "Side",
    "Units",
    "WitnessOverride",
    "decode_entry",
    "encode_entry",
    "kind_of",
]

MAX_ENTRY_BYTES: Final = 8192

Entry: TypeAlias = (
    Genesis
    | Seal
    | DirectoryAccepted
    | Enrolled
    | ContractTransition
    | Intent
    | Outcome
    | Ack
    | Denied
    | Aborted
    | DiscrepancyFound
    | LogKeyChanged
    | LogRefused
    | WitnessOverride
)

_TYPES: Final[dict[EntryKind, type[Entry]]] = {
    EntryKind.GENESIS: Genesis,
    EntryKind.SEAL: Seal,
    EntryKind.DIRECTORY: DirectoryAccepted,
    EntryKind.ENROLLED: Enrolled,
    EntryKind.CONTRACT: ContractTransition,
    EntryKind.INTENT: Intent,
    EntryKind.OUTCOME: Outcome,
    EntryKind.ACK: Ack,
    EntryKind.DENIED: Denied,
    EntryKind.ABORTED: Aborted,
    EntryKind.DISCREPANCY: DiscrepancyFound,
    EntryKind.LOG_KEY: LogKeyChanged,
    EntryKind.LOG_REFUSED: LogRefused,
    EntryKind.WITNESS_OVERRIDE: WitnessOverride,
}
_KINDS: Final = {entry_type: kind for kind, entry_type in _TYPES.items()}


def kind_of(entry: Entry) -> EntryKind:
    """The entry's kind."""
    return _KINDS[type(entry)]


def encode_entry(entry: Entry) -> bytes:
    """The entry's canonical bytes.

    They are read back before they are given out, so that nothing enters a ledger that its verifier would refuse.

    Raises:
        LimitExceededError: longer than 8 KiB: fewer participants or commitments.
        MalformedError: a field outside its form.
    """
    fields: JsonObject = {
        "v": 1,
        "kind": kind_of(entry).value,
        "hash": HashAlgorithm.SHA256.value,
        "party": entry.party,
        "at_ms": entry.at_ms,
        **entry.to_fields(),
    }
    data = canonicalise(fields)
    if len(data) > MAX_ENTRY_BYTES:
        raise LimitExceededError(f"an entry of {len(data)} bytes, {MAX_ENTRY_BYTES} allowed: name fewer participants")
    if decode_entry(data) != entry:
        raise MalformedError(f"the {kind_of(entry).value} entry does not read back as it was written")
    return data


def decode_entry(data: bytes) -> Entry:
    """The entry whose canonical bytes are exactly `data`.

    Raises:
        LimitExceededError: longer than 8 KiB.
        MalformedError: not canonical, an unknown kind or version, or a field missing, unknown or outside its form.
    """
    fields = Fields.parse(data, limit=MAX_ENTRY_BYTES, where="entry")
    version = fields.integer("v")
    if version != 1:
        raise MalformedError(f"an entry of version {version}; this release reads version 1: use a later one")
    kind = fields.choice("kind", EntryKind)
    fields.choice("hash", HashAlgorithm)
    party = fields.text("party", pattern=PARTY_PATTERN)
    at_ms = fields.integer("at_ms")
    entry: Entry = _TYPES[kind].from_fields(fields, party, at_ms)
    fields.finish()
    return entry
