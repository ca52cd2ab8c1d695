"""The one table from errors to exit codes.

1 error, 2 usage, 3 not found, 4 denied, 5 verification failed, 6 verification impossible.
"""

from collections.abc import Mapping
from typing import Final, cast

import typer

from audit import errors as audit
from parties import errors as parties
from protocols.errors import ProtocolError
from sandbox import errors as sandbox
from sandbox.errors import DenialReason, DeniedError

ERROR, USAGE, NOT_FOUND, DENIED, VERIFICATION_FAILED, VERIFICATION_IMPOSSIBLE = 1, 2, 3, 4, 5, 6

HOUSE: Final = (audit.AuditError, ProtocolError, sandbox.SandboxError, parties.PartyError)
"""What a command may end with; anything else is a defect and shows its trace."""

WRONG_USAGE: Final[type[Exception]] = typer.BadParameter.__bases__[0]
"""What Typer raises for every wrong command line; it gives the class out under this name alone."""

TABLE: Final[Mapping[type[Exception], int]] = {
    audit.AuditError: ERROR,
    audit.BadSignatureError: VERIFICATION_FAILED,
    audit.CommitmentMismatchError: VERIFICATION_FAILED,
    audit.DirectoryConflictError: VERIFICATION_FAILED,
    audit.LedgerDamagedError: VERIFICATION_FAILED,
    audit.ReceiptPrefixError: USAGE,
    audit.RevokedKeyError: VERIFICATION_FAILED,
    audit.StaleDirectoryError: VERIFICATION_FAILED,
    audit.UnknownPartyError: NOT_FOUND,
    audit.UnknownReceiptError: NOT_FOUND,
    audit.VerificationFailedError: VERIFICATION_FAILED,
    audit.VerificationImpossibleError: VERIFICATION_IMPOSSIBLE,
    parties.PartyError: ERROR,
    parties.BadBackupError: VERIFICATION_FAILED,
    parties.ConfigError: USAGE,
    parties.EnrolmentError: DENIED,
    parties.HomeError: USAGE,
    parties.KeyChangeError: DENIED,
    parties.MissingExtraError: USAGE,
    parties.NotFoundError: NOT_FOUND,
    parties.PassphraseError: USAGE,
    parties.UsageError: USAGE,
    ProtocolError: ERROR,
    sandbox.SandboxError: ERROR,
    DeniedError: DENIED,
    sandbox.DeclarationError: USAGE,
    sandbox.SourceError: USAGE,
    sandbox.SourceUnavailableError: ERROR,
    sandbox.StateTransitionError: DENIED,
}
"""An exception ends the command with the code of its nearest class in here."""


def exit_code(error: Exception) -> int:
    """Return the exit code for one of `HOUSE`, a wrong command line, or a file that the system does not give."""
    if isinstance(error, WRONG_USAGE):
        return USAGE
    if isinstance(error, OSError):
        return ERROR
    if isinstance(error, DeniedError) and error.reason is DenialReason.CONTRACT_UNKNOWN:
        return NOT_FOUND
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def describe(error: Exception) -> str:
    """Return what is wrong, in one line."""
    if isinstance(error, OSError):
        name = error.filename2 or error.filename  # of a renaming, where it should have gone
        place = f"{name}: " if name is not None else ""
        return f"{place}{error.strerror or error}; check the path, its permissions, and the space left"
    if isinstance(error, WRONG_USAGE):
        return cast("typer.BadParameter", error).format_message()
    return str(error)


def as_json(error: Exception) -> dict[str, object]:
    """Return the error as the object that `--json` writes to stderr."""
    described: dict[str, object] = {
        "error": type(error).__name__,
        "message": describe(error),
        "exit": exit_code(error),
    }
    if isinstance(error, DeniedError):
        described |= {"reason": error.reason.value, "clause": error.clause, "check": error.check}
        described |= {"left": dict(error.left)} if error.left else {}
    if isinstance(error, sandbox.PeerUnavailableError | sandbox.PeerMisbehavedError | parties.RemoteError):
        described["party"] = error.party
    if isinstance(error, parties.CertificateRefusedError):
        described["certificate"] = error.culprit.value
    return described
