"""What every service does at its edge: who calls, until when they wait, which refusals are logged, how lists are paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from audit.clock import Clock
from audit.errors import BadSignatureError, RevokedKeyError, UnknownKeyError, UnknownPartyError
from parties.errors import IdentityError
from parties.identity import certificate_from_pem, peer_identity, spiffe_id_of
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError
from sandbox.invocation import Denial
from sandbox.ports import CurrentDirectory

MAX_TOKEN: Final = 300
MAX_PAGE: Final = 100
MAX_IDENTITY: Final = 256


@dataclass(slots=True)
class Caller:
    """One call being served. The request's own fields are filled in as they become known, for the entry of a denial."""

    peer: PeerIdentity
    deadline_ms: int
    merchant: str = ""
    call: str = ""
    contract: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """Shared by the services of one party.

    `deny` records a refusal in the party's ledger (`Invocation.deny` at a provider). `page_size` is the largest page.
    """

    directory: CurrentDirectory
    clock: Clock
    page_size: int
    deny: Callable[[DeniedError, Denial], None]

    @contextmanager
    def serving(self, context: grpc.ServicerContext) -> Iterator[Caller]:
        """Serve one call: identify the caller first, and record whatever is denied inside.

        Raises:
            DeniedError: UNKNOWN_PARTY, WRONG_ROLE, DEADLINE_MISSING, and whatever is raised inside; a signature that
                does not verify inside becomes BAD_SIGNATURE.
            LedgerError: a refusal could not be recorded.
        """
        caller: Caller | None = None
        try:
            caller = Caller(peer_identity(context, self.directory()), self._deadline_ms(context))
            yield caller
        except (BadSignatureError, UnknownKeyError, RevokedKeyError, UnknownPartyError) as error:
            reason = DenialReason.BAD_SIGNATURE
            if isinstance(error, UnknownPartyError):
                reason = DenialReason.UNKNOWN_PARTY
            denied = DeniedError(reason, "signature", str(error))
            self._record(denied, context, caller)
            raise denied from error
        except DeniedError as error:
            self._record(error, context, caller)
            raise

    def text(self, field: str, value: str, limit: int) -> str:
        """Return `value` if it has 1 to `limit` characters; raises DeniedError(MALFORMED or TOO_LARGE)."""
        if not value:
            raise DeniedError(DenialReason.MALFORMED, field, f"{field} is missing")
        if len(value) > limit:
            raise DeniedError(
                DenialReason.TOO_LARGE, field, f"{field} has {len(value)} characters, {limit} are allowed"
            )
        return value

    def page(self, names: Sequence[str], size: int, token: str, *, most: int = MAX_PAGE) -> tuple[frozenset[str], str]:
        """Return the names (sorted, each once) of the page after `token`, and the next page's token: empty at the end."""
        if len(token) > MAX_TOKEN:
            raise DeniedError(DenialReason.TOO_LARGE, "page_token", "a page token is one that an earlier page gave")
        after = [name for name in names if name > token]
        page = after[: min(size or most, most, self.page_size)]
        return frozenset(page), page[-1] if len(after) > len(page) else ""

    def _deadline_ms(self, context: grpc.ServicerContext) -> int:
        seconds = context.time_remaining()
        if seconds is None:
            raise DeniedError(DenialReason.DEADLINE_MISSING, "deadline", "every call carries a deadline; set a timeout")
        return self.clock.now_ms() + int(seconds * 1000)

    def _record(self, error: DeniedError, context: grpc.ServicerContext, caller: Caller | None) -> None:
        if caller is None:
            self.deny(error, Denial(_claimed_identity(context)))
        else:
            self.deny(error, Denial(caller.peer.spiffe_id, caller.merchant, caller.call, caller.contract))


def _claimed_identity(context: grpc.ServicerContext) -> str:
    """Return the SPIFFE ID of a certificate that TLS has verified but the directory does not list."""
    chain = context.auth_context().get("x509_pem_cert", ())
    try:
        return spiffe_id_of(certificate_from_pem(bytes(chain[0])))[:MAX_IDENTITY] if chain else ""
    except IdentityError:
        return ""
