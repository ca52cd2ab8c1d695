"""The errors of the audit room: one tree, one page.

Whatever bytes a decoder of this room is given, it accepts them or raises an `AuditError`. Every message says what was
wrong, why that matters, and what mends it.
"""

from enum import Enum


class Damage(Enum):
    """What a verifier found wrong with a ledger."""

    ALTERED = "altered"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    FORKED = "forked"
    BAD_SIGNATURE = "bad-signature"
    UNREADABLE = "unreadable"


class Rule(Enum):
    """Which rule about its content an entry breaks, where its owner signed a lie; see `audit.verify_semantics`."""

    SIDE = "side"
    ORDER = "order"
    CALL = "call"
    ONCE = "once"
    REFERENCES = "references"
    STATE = "state"
    ACKNOWLEDGEMENTS = "acknowledgements"
    TERMS = "terms"
    PRICE = "price"
    QUOTA = "quota"
    FEE_CAP = "fee-cap"
    TIMES = "times"


class AuditError(Exception):
    """Whatever this room raises."""


class MalformedError(AuditError):
    """Bytes or values that are not in the one accepted form."""


class ReceiptPrefixError(MalformedError):
    """What was given names no one receipt: too little of its identifier, or no identifier."""


class LimitExceededError(MalformedError):
    """Longer, deeper or larger than the documented limit."""


class BadSignatureError(AuditError):
    """A signature is missing, made by another key, or over other bytes."""


class UnknownKeyError(AuditError):
    """No key of that identifier or purpose is on record."""


class RevokedKeyError(AuditError):
    """The key was revoked by the regulator's directory."""


class BadPassphraseError(AuditError):
    """A sealed secret could not be opened: wrong passphrase, or its bytes were changed."""


class UnknownPartyError(AuditError):
    """The regulator's directory does not list that party."""


class UnknownReceiptError(AuditError):
    """The ledger holds no receipt of that identifier."""


class StaleDirectoryError(AuditError):
    """A directory that is expired, or older than one already accepted."""


class DirectoryConflictError(AuditError):
    """A directory that takes back what an earlier one said for good: a revocation, whose a key is, who a party is."""


class CommitmentMismatchError(AuditError):
    """An opened value is not the one that was committed; the message names the field."""


class LedgerError(AuditError):
    """The ledger did not record."""


class LedgerUnavailableError(LedgerError):
    """The ledger cannot be opened or written; nothing may be released."""


class LedgerDamagedError(LedgerUnavailableError):
    """The ledger's file or its entries are damaged; verification tells where."""


class DuplicateKeyError(LedgerError):
    """A unique key (a nonce, a receipt, a call) is already in the ledger."""

    def __init__(self, key: str, detail: str = "") -> None:
        super().__init__(detail or f"the ledger already holds the unique key {key!r}: send it with a fresh value")
        self.key = key


class LedgerClosedError(LedgerError):
    """The ledger was closed; open it again."""


class LedgerFullError(LedgerError):
    """The sequencer's queue is full; try again later."""


class SigningHeldError(LedgerUnavailableError):
    """The ledger signs and records nothing until its witnesses' sizes are known."""


class CopyFailedError(AuditError):
    """A database could not be copied; there is no copy."""


class QuorumMissingError(AuditError):
    """A checkpoint carries too few of the cosignatures that the policy asks for."""


class Refusal(Enum):
    """Why a witness does not cosign; the value is the HTTP status of c2sp.org/tlog-witness."""

    MALFORMED = 400
    UNTRUSTED_KEY = 403
    UNKNOWN_LOG = 404
    CONFLICT = 409
    BAD_PROOF = 422


class WitnessRefusedError(AuditError):
    """A witness does not cosign a checkpoint.

    Attributes:
        refusal: why.
        size: of the latest checkpoint that it cosigned for the log, where `refusal` is CONFLICT; else None.
    """

    def __init__(self, refusal: Refusal, detail: str, size: int | None = None) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.size = size


class OutOfStepError(AuditError):
    """Entries for a replica that do not continue it.

    Attributes:
        size: where it continues.
    """

    def __init__(self, size: int, detail: str) -> None:
        super().__init__(detail)
        self.size = size


class VerificationFailedError(AuditError):
    """Verification was carried out and found damage.

    Attributes:
        damage: the kind of damage.
        index: the first bad entry's index, or None where no entry can be named.
        rule: which rule about its content that entry breaks, None where the damage is of another kind.
    """

    def __init__(self, damage: Damage, index: int | None, detail: str = "", *, rule: Rule | None = None) -> None:
        place = "" if index is None else f" at entry {index}"
        super().__init__(f"{damage.value}{place}" + (f": {detail}" if detail else ""))
        self.damage = damage
        self.index = index
        self.detail = detail
        self.rule = rule


class VerificationImpossibleError(AuditError):
    """Verification could not be carried out: a file or a trust root is missing."""
