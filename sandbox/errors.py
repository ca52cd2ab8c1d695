"""Everything that sandbox raises, on one page.

`SandboxError` is ours and complete: an official, a merchant or a peer may read any of its messages, so none of them
names a row, a value found in a row, or a count of rows. "We were denied" (`DeniedError`), "the peer could not be
reached" (`PeerUnavailableError`) and "the peer lied" (`PeerMisbehavedError`) are different errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class SandboxError(Exception):
    """Root of this package's errors."""


class DeclarationError(SandboxError):
    """A declaration or an application file is wrong; names the file, the line or column and what mends it."""

    def __init__(self, file: str, line: int | None, column: str, detail: str) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.detail = detail
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {column}: {detail}" if column else f"{place}: {detail}")


class SourceError(SandboxError):
    """A data source does not fit its declaration, or its data cannot be read as declared."""


class SourceUnavailableError(SourceError):
    """A data source cannot be reached now; trying again later may help."""


class ContractError(SandboxError):
    """A contract, or an action or status about one, is incomplete, contradictory or unknown."""


class StateTransitionError(ContractError):
    """The contract's state does not allow this action by this role."""


class DenialReason(StrEnum):
    """Why a request was refused. The wire carries the value; it never changes its meaning."""

    UNKNOWN_PARTY = "UNKNOWN_PARTY"
    WRONG_ROLE = "WRONG_ROLE"
    IDENTITY_MISMATCH = "IDENTITY_MISMATCH"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    MALFORMED = "MALFORMED"
    STALE = "STALE"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"
    DEADLINE_MISSING = "DEADLINE_MISSING"
    CONTRACT_UNKNOWN = "CONTRACT_UNKNOWN"
    CONTRACT_NOT_ACTIVE = "CONTRACT_NOT_ACTIVE"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    OPERATION_NOT_PERMITTED = "OPERATION_NOT_PERMITTED"
    COLUMN_NOT_PERMITTED = "COLUMN_NOT_PERMITTED"
    FILTER_NOT_DECLARED = "FILTER_NOT_DECLARED"
    IDENTIFYING_COLUMN = "IDENTIFYING_COLUMN"
    PURPOSE_MISMATCH = "PURPOSE_MISMATCH"
    PARTICIPANT_SET_MISMATCH = "PARTICIPANT_SET_MISMATCH"
    COMPUTING_PARTY_MISMATCH = "COMPUTING_PARTY_MISMATCH"
    GRADE_REFUSED = "GRADE_REFUSED"
    REPLAYED = "REPLAYED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    FEE_CAP_REACHED = "FEE_CAP_REACHED"
    ACKNOWLEDGEMENTS_OUTSTANDING = "ACKNOWLEDGEMENTS_OUTSTANDING"
    KEY_MISMATCH = "KEY_MISMATCH"
    COMMITMENT_MISMATCH = "COMMITMENT_MISMATCH"
    GROUP_SIZE_TOO_SMALL = "GROUP_SIZE_TOO_SMALL"
    DECLARATION_MISMATCH = "DECLARATION_MISMATCH"
    DATASET_VERSION_MISMATCH = "DATASET_VERSION_MISMATCH"
    PART_ALREADY_GIVEN = "PART_ALREADY_GIVEN"
    ROSTER_MISMATCH = "ROSTER_MISMATCH"
    RATE_LIMITED = "RATE_LIMITED"
    LEDGER_UNAVAILABLE = "LEDGER_UNAVAILABLE"
    WITNESSES_UNHEARD = "WITNESSES_UNHEARD"
    LEGAL_ENTITY_CLASH = "LEGAL_ENTITY_CLASH"
    BAD_MODULUS = "BAD_MODULUS"
    BAD_CIPHERTEXT = "BAD_CIPHERTEXT"
    TOO_LARGE = "TOO_LARGE"
    EPSILON_REFUSED = "EPSILON_REFUSED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"


class DeniedError(SandboxError):
    """A request was refused: the reason, the contract's clause or the request's field concerned, the check's number.

    `check` is 1 to 9 for authorise, 0 elsewhere. `left` tells what remains of a quota or a cap, never of a row count.
    """

    def __init__(
        self,
        reason: DenialReason,
        clause: str,
        detail: str,
        check: int = 0,
        left: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        self.reason = reason
        self.clause = clause
        self.detail = detail
        self.check = check
        self.left = MappingProxyType(dict(left))
        super().__init__(f"{reason.value} ({clause}): {detail}")


class PeerUnavailableError(SandboxError):
    """A peer could not be reached or did not answer within the deadline."""

    def __init__(self, party: str, detail: str) -> None:
        self.party = party
        self.detail = detail
        super().__init__(f"{party} is unavailable: {detail}")


class PeerMisbehavedError(SandboxError):
    """A peer answered with something that the protocol does not allow."""

    def __init__(self, party: str, reason: DenialReason, detail: str) -> None:
        self.party = party
        self.reason = reason
        self.detail = detail
        super().__init__(f"{party} broke the protocol, {reason.value}: {detail}")


class AbortedRunError(SandboxError):
    """A run ended without an answer; `call` is its request id."""

    def __init__(self, call: str, detail: str) -> None:
        self.call = call
        self.detail = detail
        super().__init__(f"the run {call[:16]} was aborted: {detail}")


class VaultError(SandboxError):
    """The party's vault cannot be opened, read or written."""
