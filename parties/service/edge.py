"""What every service does at its edge: who calls, until when, which refusals are recorded, how lists are paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from audit.clock import Clock
from audit.errors import BadSignatureError, RevokedKeyError, UnknownKeyError
from parties.errors import RefusedByPeerError
from parties.identity import peer_identity
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError
from sandbox.invocation import Denial
from sandbox.ports import CurrentDirectory

MAX_TOKEN: Final = 300
PAGE_BYTES: Final = 4 * 1024 * 1024


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
        """Serve one call that the gate has let in, and record what this party denies inside.

        Raises:
            DeniedError: whatever is raised inside; a signature that does not verify becomes BAD_SIGNATURE.
            LedgerError: a refusal could not be recorded.
        """
        remaining_ms = int(context.time_remaining() * 1000)
        caller = Caller(peer_identity(context, self.directory()), self.clock.now_ms() + remaining_ms)
        try:
            yield caller
        except (BadSignatureError, UnknownKeyError, RevokedKeyError) as error:
            denied = DeniedError(DenialReason.BAD_SIGNATURE, "signature", str(error))
            self._record(denied, caller)
            raise denied from error
        except DeniedError as error:
            self._record(error, caller)
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

    def page(self, items: Mapping[str, int], size: int, token: str) -> tuple[tuple[str, ...], str]:
        """Choose the page after `token` out of `items` (name -> bytes), by name.

        Returns its names, and the next page's token: its last name, or empty at the end. A page has at most `size`
        items (0: the largest page) and, its first item aside, 4 MiB.
        """
        if len(token) > MAX_TOKEN:
            raise DeniedError(DenialReason.TOO_LARGE, "page_token", "a page token is one that an earlier page gave")
        after = sorted(name for name in items if name > token)
        page: list[str] = []
        room = PAGE_BYTES
        for name in after[: min(size or self.page_size, self.page_size)]:
            room -= items[name]
            if page and room < 0:
                break
            page.append(name)
        return tuple(page), page[-1] if len(after) > len(page) else ""

    def _record(self, error: DeniedError, caller: Caller) -> None:
        if isinstance(error, RefusedByPeerError):
            return  # the peer's ledger has it
        if error.reason is DenialReason.CONTRACT_UNKNOWN and not caller.call:
            return  # looking for a contract that is not here asks for nothing
        self.deny(error, Denial(caller.peer.spiffe_id, caller.merchant, caller.call, caller.contract))
