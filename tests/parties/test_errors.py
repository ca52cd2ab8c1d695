"""Every error's way over the wire and back, through a real server and channel."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from unseen.v1 import directory_pb2, directory_pb2_grpc

import audit.errors as audit
import protocols.errors as protocols
import sandbox.errors as sandbox
from audit.names import Role
from parties import errors
from parties.channel import Dialler, PeerChannel
from parties.errors import DENIALS, MAX_MESSAGE, TABLE, rich_status
from parties.server import PartyServer
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError, PeerUnavailableError

from .homes import new_home, opened

SECRET = "row 17 holds 4211"


class Raises(directory_pb2_grpc.DirectoryServiceServicer):
    """Raises what it is told to."""

    error: BaseException = RuntimeError(SECRET)

    def GetDirectory(
        self, request: directory_pb2.GetDirectoryRequest, context: grpc.ServicerContext
    ) -> directory_pb2.GetDirectoryResponse:
        raise self.error

    def Enrol(self, request: directory_pb2.EnrolRequest, context: grpc.ServicerContext) -> directory_pb2.EnrolResponse:
        raise NotImplementedError


@pytest.fixture(scope="module")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Raises, PeerChannel, Path]]:
    folder = tmp_path_factory.mktemp("errors")
    home = new_home(folder, "watch", Role.REGULATOR)
    servicer, log = Raises(), folder / "log"
    with opened(home) as regulator, log.open("w") as stream:
        server = PartyServer(
            home, directory=regulator.directory, logger=make_logger(home.config.telemetry, "watch", stream)
        )
        server.add(directory_pb2_grpc.add_DirectoryServiceServicer_to_server, servicer, "unseen.v1.DirectoryService")
        server.start()
        dialler = Dialler(home, regulator.directory)
        yield servicer, dialler.dial("watch"), log
        dialler.close()
        server.stop(0)


def sent(raising: tuple[Raises, PeerChannel, Path], error: BaseException) -> tuple[Exception, grpc.StatusCode]:
    servicer, channel, _ = raising
    servicer.error = error
    stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is what the tests ask)
        channel.call(stub.GetDirectory, directory_pb2.GetDirectoryRequest())
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.RpcError)
    return caught.value, cause.code()


@pytest.mark.parametrize("reason", list(DenialReason))
def test_a_denial_arrives_as_it_was_raised(raising: tuple[Raises, PeerChannel, Path], reason: DenialReason) -> None:
    denied = DeniedError(reason, "quotas.calls", "fifty calls are used up", 6, {"calls": 0, "fee": "1.500000"})
    got, code = sent(raising, denied)
    assert isinstance(got, DeniedError)
    assert (got.reason, got.clause, got.detail, got.check) == (reason, denied.clause, denied.detail, 6)
    assert got.left == {"calls": "0", "fee": "1.500000"}
    assert code is DENIALS[reason]


def test_the_statuses_that_the_issue_names() -> None:
    code = grpc.StatusCode
    for reason in ("UNKNOWN_PARTY", "BAD_SIGNATURE"):
        assert DENIALS[DenialReason[reason]] is code.UNAUTHENTICATED
    for reason in ("WRONG_ROLE", "STALE", "REPLAYED", "WRONG_AUDIENCE", "KEY_MISMATCH"):
        assert DENIALS[DenialReason[reason]] is code.PERMISSION_DENIED
    for reason in ("QUOTA_EXHAUSTED", "FEE_CAP_REACHED"):
        assert DENIALS[DenialReason[reason]] is code.RESOURCE_EXHAUSTED
    for reason in ("BAD_MODULUS", "BAD_CIPHERTEXT", "DEADLINE_MISSING"):
        assert DENIALS[DenialReason[reason]] is code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("error", "back", "code"),
    [
        (audit.MalformedError("no envelope"), DeniedError, grpc.StatusCode.INVALID_ARGUMENT),
        (audit.LimitExceededError("too long"), DeniedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (audit.BadSignatureError("not theirs"), DeniedError, grpc.StatusCode.UNAUTHENTICATED),
        (audit.DuplicateKeyError("nonce:shop:00"), DeniedError, grpc.StatusCode.PERMISSION_DENIED),
        (audit.LedgerUnavailableError("disk full"), DeniedError, grpc.StatusCode.UNAVAILABLE),
        (audit.StaleDirectoryError("expired"), audit.StaleDirectoryError, grpc.StatusCode.FAILED_PRECONDITION),
        (protocols.BadModulusError("even"), DeniedError, grpc.StatusCode.INVALID_ARGUMENT),
        (protocols.BadCiphertextError("zero"), DeniedError, grpc.StatusCode.INVALID_ARGUMENT),
        (sandbox.ContractError("no provider"), sandbox.ContractError, grpc.StatusCode.INVALID_ARGUMENT),
        (
            sandbox.StateTransitionError("it is revoked"),
            sandbox.StateTransitionError,
            grpc.StatusCode.FAILED_PRECONDITION,
        ),
        (sandbox.AbortedRunError("ab" * 32, "a peer left"), sandbox.AbortedRunError, grpc.StatusCode.ABORTED),
        (errors.NotFoundError("no data set"), errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
        (errors.EnrolmentError("taken"), errors.EnrolmentError, grpc.StatusCode.FAILED_PRECONDITION),
        (NotImplementedError(), errors.RemoteError, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_an_error_arrives_as_what_the_caller_can_act_on(
    raising: tuple[Raises, PeerChannel, Path], error: Exception, back: type[Exception], code: grpc.StatusCode
) -> None:
    got, status = sent(raising, error)
    assert type(got) is back
    assert status is code


def test_a_third_partys_failure_names_that_party(raising: tuple[Raises, PeerChannel, Path]) -> None:
    got, _ = sent(raising, PeerUnavailableError("west", "no connection"))
    assert isinstance(got, PeerUnavailableError)
    assert got.party == "west"
    got, _ = sent(raising, PeerMisbehavedError("west", DenialReason.ROSTER_MISMATCH, "another roster"))
    assert isinstance(got, PeerMisbehavedError)
    assert (got.party, got.reason) == ("west", DenialReason.ROSTER_MISMATCH)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        ValueError(SECRET),
        sandbox.SourceError(SECRET),
        sandbox.SourceUnavailableError(SECRET),
        sandbox.DeclarationError("persons.toml", 3, "wage", SECRET),
        sandbox.SandboxError(SECRET),
        protocols.OverflowRefusedError(SECRET),
        protocols.LayoutError(SECRET),
        audit.LedgerDamagedError(SECRET),
        errors.HomeError(SECRET),
    ],
)
def test_text_that_may_stem_from_rows_or_files_does_not_leave(
    raising: tuple[Raises, PeerChannel, Path], error: Exception
) -> None:
    got, _ = sent(raising, error)
    assert SECRET not in str(got)
    assert SECRET.encode() not in rich_status(error).SerializeToString()


def test_an_unexpected_error_is_logged_where_it_happened(raising: tuple[Raises, PeerChannel, Path]) -> None:
    got, code = sent(raising, ZeroDivisionError("a defect"))
    assert isinstance(got, errors.RemoteError)
    assert code is grpc.StatusCode.INTERNAL
    assert "its own log says why" in str(got)
    assert "ZeroDivisionError" in raising[2].read_text()


def test_a_long_message_is_cut_and_still_arrives(raising: tuple[Raises, PeerChannel, Path]) -> None:
    got, _ = sent(raising, DeniedError(DenialReason.MALFORMED, "c" * 5000, "名" * 5000, 1))
    assert isinstance(got, DeniedError)
    assert len(got.detail) <= MAX_MESSAGE


def test_every_error_of_the_house_has_a_row() -> None:
    for package in (audit, protocols, sandbox, errors):
        for kind in vars(package).values():
            if isinstance(kind, type) and issubclass(kind, Exception) and kind is not DeniedError:
                assert any(base in TABLE for base in kind.__mro__), kind


def details(error: Exception) -> dict[str, any_pb2.Any]:
    return {detail.type_url.rpartition(".")[2]: detail for detail in rich_status(error).details}


def test_quota_bad_request_and_retry_are_told_in_googles_words() -> None:
    quota = details(DeniedError(DenialReason.QUOTA_EXHAUSTED, "quotas.calls", "used up", 0, {"calls": 0}))
    failure = error_details_pb2.QuotaFailure()
    quota["QuotaFailure"].Unpack(failure)
    assert failure.violations[0].subject == "quotas.calls"
    bad = details(DeniedError(DenialReason.MALFORMED, "offers", "missing"))
    request = error_details_pb2.BadRequest()
    bad["BadRequest"].Unpack(request)
    assert request.field_violations[0].field == "offers"
    assert "RetryInfo" in details(PeerUnavailableError("west", "down"))
    assert "RetryInfo" not in quota
