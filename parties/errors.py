"""The errors of the parties room, and the one table that says how every error of the house looks on the wire.

Going out, `rich_status` turns an exception into a gRPC status with the details of google.rpc (AIP-193): `ErrorInfo`
(reason, clause, check, and what is left), `BadRequest`, `QuotaFailure`, `RetryInfo`. Coming in, `from_rpc_error` turns
it back into the exception that a local caller would have got. An exception that the table does not know answers
INTERNAL and nothing else: its text may stem from rows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from audit import errors as audit
from protocols import errors as protocols
from sandbox import errors as sandbox
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError, PeerUnavailableError

ERROR_DOMAIN: Final = "unseen"
MAX_MESSAGE: Final = 2000
"""Longest message sent, in characters: gRPC's metadata limit is 8 KiB and the message travels twice."""
RETRY_SECONDS: Final = 2


class PartyError(Exception):
    """Whatever this room raises."""


class ConfigError(PartyError):
    """A setting is wrong; names the file and, where there is one, the line (counted from 1)."""

    def __init__(self, detail: str, *, file: str = "", line: int | None = None) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {detail}" if place else detail)
        self.file = file
        self.line = line


class HomeError(PartyError):
    """A home folder is missing, exists already, lacks a file, or is readable by others."""


class PassphraseError(PartyError):
    """The keys are encrypted and no passphrase, or a wrong one, was given."""


class IdentityError(PartyError):
    """A certificate is not of the form that this house issues and accepts."""


class EnrolmentError(PartyError):
    """An enrolment request or bundle is refused."""


class BackupError(PartyError):
    """A backup cannot be made or restored; nothing is left half done."""


class BadBackupError(BackupError):
    """The archive is not one that `unseen backup` wrote, or is not as it was written."""


class KeyChangeError(PartyError):
    """A rotation or revocation of keys, or the renewal of a certificate, is refused or cannot be carried out."""


class NotFoundError(PartyError):
    """No such contract, dataset, party or file."""


class ListenError(PartyError):
    """The server could not listen on its address."""


class WitnessesUnheardError(PartyError):
    """Too few witnesses say what they know of this party's log, or its ledger lacks entries that they know."""


class LogForkedError(PartyError):
    """This party's ledger contradicts a checkpoint that the party has signed: it was replaced, or cut."""


class UsageError(PartyError):
    """What the caller asked for cannot be read: an argument, a condition, an abbreviation that is not unique."""


class WorkerError(PartyError):
    """A worker process of this party died."""


class MissingExtraError(PartyError):
    """A package that only some uses need is not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{package} is not installed and {purpose} needs it: run pip install 'unseen[{extra}]'")
        self.package = package


class DemoFailedError(PartyError):
    """The demo ran, and something that it claims does not hold."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__(f"the demo does not hold what it claims: not true that {'; nor that '.join(failures)}")
        self.failures = tuple(failures)


class Culprit(Enum):
    """Whose certificate a failed TLS handshake was about."""

    OURS = "ours"
    THEIRS = "theirs"


class CertificateRefusedError(PeerUnavailableError):
    """The TLS handshake with `party` failed because one side did not accept the other's certificate."""

    def __init__(self, party: str, culprit: Culprit, detail: str) -> None:
        super().__init__(party, detail)
        self.culprit = culprit


class RefusedByPeerError(DeniedError):
    """A peer of the computing party refused: its own ledger says so, the detail names it."""

    def __init__(self, party: str, error: DeniedError) -> None:
        super().__init__(error.reason, error.clause, f"{party}: {error.detail}", error.check, error.left)
        self.party = party


class PeerCannotRecordError(PeerUnavailableError):
    """The party answers, but its ledger cannot record: it has released nothing, and no answer need be waited for."""


class RemoteError(PartyError):
    """A peer failed or refused with a status that no typed exception stands for."""

    def __init__(self, party: str, code: grpc.StatusCode, reason: str, detail: str) -> None:
        super().__init__(f"{party} answered {code.name}" + (f" {reason}" if reason else "") + f": {detail}")
        self.party = party
        self.code = code
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of the table: gRPC code, machine-readable reason, and the text to send if the exception's own may not."""

    code: grpc.StatusCode
    reason: str
    instead: str = ""
    retry: bool = False


_UNAUTHENTICATED: Final = (DenialReason.UNKNOWN_PARTY, DenialReason.BAD_SIGNATURE)
_INVALID_ARGUMENT: Final = (
    DenialReason.MALFORMED,
    DenialReason.DEADLINE_MISSING,
    DenialReason.BAD_MODULUS,
    DenialReason.BAD_CIPHERTEXT,
    DenialReason.EPSILON_REFUSED,
)
_RESOURCE_EXHAUSTED: Final = (
    DenialReason.QUOTA_EXHAUSTED,
    DenialReason.FEE_CAP_REACHED,
    DenialReason.ACKNOWLEDGEMENTS_OUTSTANDING,
    DenialReason.RATE_LIMITED,
    DenialReason.TOO_LARGE,
    DenialReason.BUDGET_EXHAUSTED,
)
DENIALS: Final[Mapping[DenialReason, grpc.StatusCode]] = {
    **dict.fromkeys(DenialReason, grpc.StatusCode.PERMISSION_DENIED),
    **dict.fromkeys(_UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED),
    **dict.fromkeys(_INVALID_ARGUMENT, grpc.StatusCode.INVALID_ARGUMENT),
    **dict.fromkeys(_RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
    DenialReason.LEDGER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    DenialReason.WITNESSES_UNHEARD: grpc.StatusCode.UNAVAILABLE,
}
"""Every denial reason's gRPC code; what is not listed by name above is PERMISSION_DENIED."""
_BAD_NUMBERS: Final = frozenset({DenialReason.BAD_CIPHERTEXT, DenialReason.BAD_MODULUS})
"""A number that fails its checks is INVALID_ARGUMENT whoever sent it; a peer that sent it is named in the details."""

_FAILED: Final = "the party could not answer; its own log says why"
_INTERNAL: Final = Answer(grpc.StatusCode.INTERNAL, "INTERNAL", _FAILED)
_LEDGER: Final = Answer(
    grpc.StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", "the party's ledger cannot record, so nothing is released", True
)
TABLE: Final[Mapping[type[BaseException], Answer]] = {
    audit.AuditError: _INTERNAL,
    audit.MalformedError: Answer(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
    audit.LimitExceededError: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"),
    audit.BadSignatureError: Answer(grpc.StatusCode.UNAUTHENTICATED, "BAD_SIGNATURE"),
    audit.UnknownKeyError: Answer(grpc.StatusCode.UNAUTHENTICATED, "BAD_SIGNATURE"),
    audit.RevokedKeyError: Answer(grpc.StatusCode.UNAUTHENTICATED, "BAD_SIGNATURE"),
    audit.UnknownPartyError: Answer(grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_PARTY"),
    audit.StaleDirectoryError: Answer(grpc.StatusCode.FAILED_PRECONDITION, "STALE_DIRECTORY"),
    audit.CommitmentMismatchError: Answer(grpc.StatusCode.PERMISSION_DENIED, "COMMITMENT_MISMATCH"),
    audit.LedgerError: _LEDGER,
    audit.DuplicateKeyError: Answer(grpc.StatusCode.PERMISSION_DENIED, "REPLAYED"),
    protocols.ProtocolError: Answer(
        grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED", "the request does not fit the protocol's layout"
    ),
    protocols.BadModulusError: Answer(grpc.StatusCode.INVALID_ARGUMENT, "BAD_MODULUS"),
    protocols.BadCiphertextError: Answer(grpc.StatusCode.INVALID_ARGUMENT, "BAD_CIPHERTEXT"),
    protocols.OverflowRefusedError: _INTERNAL,
    sandbox.SandboxError: _INTERNAL,
    sandbox.ContractError: Answer(grpc.StatusCode.INVALID_ARGUMENT, "CONTRACT"),
    sandbox.StateTransitionError: Answer(grpc.StatusCode.FAILED_PRECONDITION, "CONTRACT_STATE"),
    sandbox.SourceUnavailableError: Answer(
        grpc.StatusCode.UNAVAILABLE, "SOURCE_UNAVAILABLE", "the provider's data source does not answer", True
    ),
    sandbox.VaultError: _LEDGER,
    sandbox.PeerUnavailableError: Answer(grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE", retry=True),
    sandbox.PeerMisbehavedError: Answer(grpc.StatusCode.ABORTED, "PEER_MISBEHAVED"),
    sandbox.AbortedRunError: Answer(grpc.StatusCode.ABORTED, "RUN_ABORTED"),
    NotImplementedError: Answer(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "this party does not offer that call"),
    PartyError: _INTERNAL,
    NotFoundError: Answer(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    EnrolmentError: Answer(grpc.StatusCode.FAILED_PRECONDITION, "ENROLMENT_REFUSED"),
    KeyChangeError: Answer(grpc.StatusCode.FAILED_PRECONDITION, "KEY_CHANGE_REFUSED"),
}
"""An exception is answered by its nearest class in here; `DeniedError` by `DENIALS`."""


def is_expected(error: BaseException) -> bool:
    """Tell whether the table answers `error` with something better than INTERNAL (then it needs no stack trace)."""
    return _answer(error).code is not grpc.StatusCode.INTERNAL


def _answer(error: BaseException) -> Answer:
    if isinstance(error, DeniedError):
        return Answer(DENIALS[error.reason], error.reason.value, retry=error.reason is DenialReason.RATE_LIMITED)
    if isinstance(error, PeerMisbehavedError) and error.reason in _BAD_NUMBERS:
        return Answer(grpc.StatusCode.INVALID_ARGUMENT, "PEER_MISBEHAVED")
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), _INTERNAL)


def rich_status(error: BaseException) -> status_pb2.Status:
    """Return the status to answer `error` with; never the text of an exception whose text may stem from rows."""
    answer = _answer(error)
    own_text = error.detail if isinstance(error, DeniedError) else str(error)
    text = (answer.instead or own_text)[:MAX_MESSAGE]
    details: list[message.Message] = [
        error_details_pb2.ErrorInfo(reason=answer.reason, domain=ERROR_DOMAIN, metadata=_metadata(error))
    ]
    if answer.code is grpc.StatusCode.INVALID_ARGUMENT:
        field = error.clause if isinstance(error, DeniedError) else ""
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED and isinstance(error, DeniedError):
        exceeded = error_details_pb2.QuotaFailure.Violation(subject=error.clause, description=text)
        details.append(error_details_pb2.QuotaFailure(violations=[exceeded]))
    if answer.retry:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_SECONDS)))
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return status_pb2.Status(code=answer.code.value[0], message=text, details=packed)


def _metadata(error: BaseException) -> dict[str, str]:
    if isinstance(error, DeniedError):
        left = {f"left.{name}": str(value) for name, value in error.left.items()}
        return {"clause": error.clause[:500], "check": str(error.check), **left}
    if isinstance(error, PeerUnavailableError):
        return {"party": error.party, "detail": error.detail[:500]}
    if isinstance(error, PeerMisbehavedError):
        return {"party": error.party, "reason": error.reason.value, "detail": error.detail[:500]}
    if isinstance(error, sandbox.AbortedRunError):
        return {"call": error.call, "detail": error.detail[:500]}
    return {}


def from_rpc_error(party: str, error: grpc.RpcError) -> Exception:
    """Return the exception that stands for a failed call to `party`.

    Everything in `error` but its code comes from the peer or the network: it is read with limits and only ever becomes
    one of our own exceptions. A peer that is down, or silent until the deadline, is a `PeerUnavailableError`.
    """
    call = cast("grpc.Call", error)  # gRPC raises nothing else from an invocation
    code, text = call.code(), str(call.details() or "")[:MAX_MESSAGE]
    info = _error_info(call)
    if info is None:
        return _from_bare_status(party, code, text)
    metadata = dict(info.metadata)
    if info.reason in DenialReason.__members__:
        return _denied(DenialReason[info.reason], text, metadata)
    if info.reason in _BY_REASON:
        return _BY_REASON[info.reason](f"{party}: {text}")
    named, detail = metadata.get("party", party)[:64], metadata.get("detail", text)
    if info.reason == "PEER_UNAVAILABLE":
        return PeerUnavailableError(named, detail)
    if info.reason == "SOURCE_UNAVAILABLE":
        return PeerUnavailableError(party, text)
    if info.reason == "PEER_MISBEHAVED" and metadata.get("reason", "") in DenialReason.__members__:
        return PeerMisbehavedError(named, DenialReason[metadata["reason"]], detail)
    if info.reason == "RUN_ABORTED":
        return sandbox.AbortedRunError(metadata.get("call", ""), detail)
    return RemoteError(party, code, info.reason[:64], text)


_BY_REASON: Final[Mapping[str, Callable[[str], Exception]]] = {
    "CONTRACT": sandbox.ContractError,
    "CONTRACT_STATE": sandbox.StateTransitionError,
    "ENROLMENT_REFUSED": EnrolmentError,
    "KEY_CHANGE_REFUSED": KeyChangeError,
    "NOT_FOUND": NotFoundError,
    "STALE_DIRECTORY": audit.StaleDirectoryError,
}


def _denied(reason: DenialReason, text: str, metadata: Mapping[str, str]) -> DeniedError:
    left = {name[5:]: value for name, value in metadata.items() if name.startswith("left.")}
    number = metadata.get("check", "")
    check = int(number) if re.fullmatch("[0-9]{1,2}", number) else 0
    return DeniedError(reason, metadata.get("clause", ""), text, check, left)


def _error_info(error: grpc.Call) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(error)
    except (ValueError, message.DecodeError):
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        try:
            unpacked = detail.Unpack(info)
        except message.DecodeError:
            return None
        if unpacked and info.domain == ERROR_DOMAIN:
            return info
    return None


def _from_bare_status(party: str, code: grpc.StatusCode, text: str) -> Exception:
    if code is grpc.StatusCode.UNAVAILABLE:
        return PeerUnavailableError(party, f"no connection ({text}); is `unseen serve` running there?")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PeerUnavailableError(party, "no answer within the deadline")
    if code is grpc.StatusCode.CANCELLED:
        return PeerUnavailableError(party, "the call was cancelled")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return DeniedError(DenialReason.TOO_LARGE, "message", f"{party}: {text}")
    return RemoteError(party, code, "", text)
