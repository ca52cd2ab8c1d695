"""What a doctor's check may find, and how grave it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from parties.doctor_words import Words


class CheckName(Enum):
    """What is looked at; in the order of the report."""

    SETTINGS = "settings"
    FILES = "files"
    DISK = "disk"
    DIRECTORY = "directory"
    KEYS = "keys"
    KEY_STRENGTH = "key strength"
    CERTIFICATE = "certificate"
    LEDGER = "ledger"
    VAULT = "vault"
    CLOCK = "clock"
    WITNESSES = "witnesses"
    MISBEHAVIOUR = "misbehaviour"
    SERVER = "own server"
    REGULATOR = "regulator"
    PEERS = "peers"
    DATA = "data"
    CONTRACTS = "contracts"
    CALLS = "calls"
    OUTBOX = "outbox"
    REPLICAS = "replicas"
    PARTIES = "parties"


class Severity(Enum):
    """OK: in order. WARNING: works, and will not for ever. FAILURE: something does not work, or must not go on."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Trouble(Enum):
    """What is wrong, for programs; the finding's words have the particulars."""

    UNCHECKED = "unchecked"
    SETTINGS_WRONG = "settings wrong"
    FILE_MISSING = "file missing"
    FILE_EXPOSED = "file exposed"
    FILE_FOREIGN = "file foreign"
    DISK_FULL = "disk full"
    DISK_LOW = "disk low"
    DISK_UNWRITABLE = "disk unwritable"
    LOG_LONG = "write-ahead log long"
    NOT_ENROLLED = "not enrolled"
    DIRECTORY_UNTRUSTED = "directory untrusted"
    DIRECTORY_EXPIRED = "directory expired"
    DIRECTORY_EXPIRES = "directory expires"
    DIRECTORY_OLD = "directory old"
    UNLISTED = "unlisted"
    ENDPOINT_DIFFERS = "endpoint differs"
    KEYS_LOCKED = "keys locked"
    KEYS_IN_CLEAR = "keys in clear"
    KEY_UNUSABLE = "key unusable"
    KEY_UNLISTED = "key unlisted"
    KEY_RETIRED = "key retired"
    KEY_REVOKED = "key revoked"
    KEY_WEAK = "key weak"
    KEY_SHORT = "key short"
    WEAK_KEYS_ACCEPTED = "weak keys accepted"
    CERTIFICATE_UNUSABLE = "certificate unusable"
    CERTIFICATE_EXPIRED = "certificate expired"
    CERTIFICATE_EXPIRES = "certificate expires"
    CERTIFICATE_REVOKED = "certificate revoked"
    LEDGER_MISSING = "ledger missing"
    LEDGER_DAMAGED = "ledger damaged"
    LEDGER_FOREIGN = "ledger foreign"
    LEDGER_RESTORED = "ledger restored"
    LEDGER_BEHIND = "ledger behind its witnesses"
    LEDGER_FORKED = "ledger forked"
    VAULT_MISSING = "vault missing"
    VAULT_UNREADABLE = "vault unreadable"
    VAULT_BEHIND = "vault behind"
    CLOCK_WRONG = "clock wrong"
    CLOCK_DRIFTING = "clock drifting"
    CLOCK_UNKNOWN = "clock unknown"
    POLICY_WRONG = "policy wrong"
    WITNESS_SILENT = "witness silent"
    WITNESS_BEHIND = "witness behind"
    WITNESS_REFUSES = "witness refuses"
    QUORUM_OLD = "quorum old"
    LOG_MISBEHAVED = "log misbehaved"
    NOT_RUNNING = "not running"
    NOT_SERVING = "not serving"
    UNREACHABLE = "unreachable"
    DATA_REFUSED = "data refused"
    DATA_IMPERFECT = "data imperfect"
    NO_DATA = "no data"
    LEASE_ENDED = "lease ended"
    RECEIPTS_OUTSTANDING = "receipts outstanding"
    CALLS_SUSPENDED = "calls suspended"
    CALLS_UNFINISHED = "calls unfinished"
    UNDELIVERED = "undelivered"
    REPLICA_BEHIND = "replica behind"
    REPLICA_DAMAGED = "replica damaged"
    PARTY_UNHEARD = "party unheard"
    PARTY_CERTIFICATE_EXPIRES = "party's certificate expires"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: the check.
        severity: how grave.
        said: what is so, with its particulars; one line.
        cure: what to do about it, as a command where there is one; None when all is well.
        trouble: what is wrong; None when all is well.
    """

    check: CheckName
    severity: Severity
    said: Words
    cure: Words | None = None
    trouble: Trouble | None = None

    @property
    def detail(self) -> str:
        """What is so, in English."""
        return self.said.english

    @property
    def mend(self) -> str:
        """What to do about it, in English; empty when all is well."""
        return "" if self.cure is None else self.cure.english


def well(check: CheckName, said: Words) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, said)


def warning(check: CheckName, trouble: Trouble, said: Words, cure: Words) -> Finding:
    """It works, and will not for ever."""
    return Finding(check, Severity.WARNING, said, cure, trouble)


def failure(check: CheckName, trouble: Trouble, said: Words, cure: Words) -> Finding:
    """Something does not work, or must not go on."""
    return Finding(check, Severity.FAILURE, said, cure, trouble)
