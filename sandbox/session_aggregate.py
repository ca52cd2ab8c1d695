"""A provider's two rounds of a joint aggregate: the offer, and the part.

Offer: the call is taken, the provider's cells are computed and pass the release gate inside its domain, and it gives
the computing party an ephemeral X25519 key and a commitment to the cells that it withholds or refuses. Part: having
checked everyone's offers and the roster over them, it encrypts its totals - what is not answered zero - under the
merchant's key, masked pairwise from three providers on. One call has one part, for one roster; the part is remembered,
and the same question gets the same bytes. So are the rows that it answers for, before it leaves (`sandbox.overlap`).

Nothing that a provider sends depends on its rows in length or kind. Whatever goes wrong with the data is one error with
one message; the operator finds the cause in the provider's own log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from audit.envelope import Envelope
from audit.errors import LedgerError, MalformedError
from audit.receipt import ReceiptPayload, read_receipt
from protocols.errors import OverflowRefusedError
from protocols.executor import Executor, InlineExecutor
from protocols.masks import new_pair_key
from sandbox.admission import Grant
from sandbox.authorise import Authorised, PeerIdentity
from sandbox.cells import CellPlan
from sandbox.errors import AbortedRunError, DenialReason, DeniedError, SourceError
from sandbox.invocation import PART, AbortReason, Invocation
from sandbox.overlap import OverlapError, OverlapGuard, Question
from sandbox.part import OpenCall, PreparedPart, Scanned, make_part, pair_secrets, verify_own_round
from sandbox.ports import AckResult, Datasets, OfferMessage, PartMessage, PartyContext
from sandbox.release import gate, stricter, verify_exact
from sandbox.request import MAX_CELLS
from sandbox.roster import SALT_BYTES, Bitmap, HiddenCells, Offer
from sandbox.stored_messages import asked, decode_part, encode_part

OPEN_CALLS: Final = 64
"""Calls whose offers may be open at one time; each holds its cells in memory until its part or its end."""

_DATA_MESSAGE: Final = "{provider} could not compute its cells; its operator's log says why"


class AggregateSessions:
    """A provider's open calls. Threads may share one."""

    def __init__(
        self, context: PartyContext, invocation: Invocation, datasets: Datasets, executor: Executor | None = None
    ) -> None:
        self._context = context
        self._invocation = invocation
        self._datasets = datasets
        self._executor = executor or InlineExecutor()
        self._open: dict[str, OpenCall] = {}
        self._guards: dict[str, OverlapGuard] = {}
        self._entering = 0
        self._lock = threading.Lock()

    def offer(self, authorised: Authorised, *, taken: Callable[[], None] | None = None) -> OfferMessage:
        """Round one: take the call, compute the cells, and offer.

        `taken` is called once the call is taken, before any row is read.

        Raises:
            DeniedError: the call is not admitted, is too large, or too many are open.
            AbortedRunError: the provider's data could not be read; the call is given back.
            LedgerError, VaultError: nothing could be recorded.
        """
        if authorised.layout.cells > MAX_CELLS:
            detail = f"{authorised.layout.cells} cells, at most {MAX_CELLS}; group by less"
            raise DeniedError(DenialReason.TOO_LARGE, "group_by", detail)
        verify_exact(authorised.contract.release)  # before anything is taken: a private release is not served here
        with self._place():
            grant = self._invocation.enter(authorised)
            with self._ending_on_error(grant.call, AbortReason.DATA_UNREADABLE):
                if taken is not None:
                    taken()
                opened, message = self._make_offer(grant, self._scan(grant))
                with self._lock:
                    self._open[grant.call] = opened
                if self._invocation.state(grant.call) is None:  # ended while its cells were computed
                    raise AbortedRunError(grant.call, "it was ended before its offer was ready")
        return message

    def part(self, call: str, offers: Sequence[bytes], roster: bytes, *, peer: PeerIdentity) -> PartMessage:
        """Round two: check offers and roster, and give the part; the same question again gets the same bytes.

        Raises:
            DeniedError: IDENTITY_MISMATCH (not this call's computing party), ROSTER_MISMATCH, PART_ALREADY_GIVEN (for
                another roster), STALE (no such open call).
            AbortedRunError, LedgerError, VaultError: as `offer`; nothing was given.
        """
        self._verify_computing_party(call, peer)
        given = self._given(call, offers, roster)
        if given is not None:
            return given
        try:
            opened = self._opened(call)
        except DeniedError:
            given = self._given(call, offers, roster)  # it may have been given, and let go of, in between
            if given is None:
                raise
            return given
        with opened.lock:
            given = self._given(call, offers, roster)  # an identical request may have been served meanwhile
            if given is not None:
                return given
            prepared = self._prepare(opened, offers, roster)
            kept: list[PartMessage] = []

            def messages(receipt: Envelope) -> Mapping[str, bytes]:
                kept.append(PartMessage(prepared.width, prepared.release.part, receipt.encode()))
                return {PART: encode_part(kept[0], asked(offers, roster))}

            with self._ending_on_error(call, AbortReason.OTHER):
                self.remember(prepared)
                self._invocation.complete(prepared.grant, prepared.release, messages)
            self.forget(call)
            return kept[0]

    def prepare(self, call: str, offers: Sequence[bytes], roster: bytes) -> PreparedPart:
        """Make the part and keep it: the computing party gives its own only when all others have come in.

        Raises as `part`.
        """
        opened = self._opened(call)
        with opened.lock:
            return self._prepare(opened, offers, roster)

    def remember(self, prepared: PreparedPart) -> None:
        """Make durable which rows the call is about to be answered over; only after this may its OUTCOME be recorded.

        Raises:
            AbortedRunError: the call was ended meanwhile.
            VaultError: nothing could be kept; nothing may leave.
        """
        if prepared.guard is not None:
            try:
                prepared.guard.remember(prepared.grant.call)
            except OverlapError as error:
                raise AbortedRunError(prepared.grant.call, "it was ended before its part was ready") from error

    def forget(self, call: str) -> None:
        """Let go of an open call's cells and key, and of what it reserved; nothing happens if there is none."""
        with self._lock:
            self._open.pop(call, None)
            guard = self._guards.pop(call, None)
        if guard is not None:
            guard.release(call)

    def abort(self, call: str, reason: str, *, peer: PeerIdentity) -> None:
        """End a call on its computing party's word; nothing happens if there is none (any more).

        Raises `DeniedError(IDENTITY_MISMATCH)` when `peer` is another party.
        """
        if self._invocation.state(call) is not None:
            self._verify_computing_party(call, peer)
            self.end(call, AbortReason.read(reason))

    def end(self, call: str, reason: AbortReason) -> None:
        """End a call without an answer, on this party's own account; nothing happens if there is none."""
        self.forget(call)
        self._invocation.abort(call, reason)

    def acknowledge(self, receipts: Sequence[bytes]) -> AckResult:
        """Record countersignatures of this provider's own receipts; what is not its own stays pending.

        Whoever brings a receipt, the merchant's signature on it is what counts.

        Raises:
            DeniedError: MALFORMED, or as `Invocation.acknowledge`.
            LedgerError, VaultError: nothing more was recorded; send them again.
        """
        recorded: list[str] = []
        pending: list[str] = []
        for data in receipts:
            envelope = read_envelope(data)
            if read_payload(envelope).provider == self._context.name:
                recorded.append(self._invocation.acknowledge(envelope))
            else:
                pending.append(envelope.digest)
        return AckResult(tuple(recorded), tuple(pending))

    def sweep(self) -> None:
        """End the calls whose deadline has passed before their part was given. Call it every few seconds.

        The ledger's fold is asked, not the open calls: one that failed while nothing could be recorded is ended here.
        """
        now_ms = self._context.clock.now_ms()
        for state in self._invocation.interrupted():
            if now_ms >= state.deadline_ms:
                self.end(state.call, AbortReason.EXPIRED)

    def _scan(self, grant: Grant) -> Scanned:
        authorised = grant.authorised
        contract, query = authorised.contract, authorised.query
        tables = query.tables(contract.frame)
        try:
            dataset = self._datasets.open(authorised.dataset)
            # The contract's policy was held against the declaration's when it was approved; the stricter one holds.
            policy = stricter(contract.release, dataset.declaration.release)
            verify_exact(policy)
            plan = CellPlan(
                tables=tables,
                filters=query.filters,
                frame=contract.frame,
                mapping=contract.datasets[self._context.name].columns,
                shares=policy.dominance_percent is not None,
                rows=policy.guarded,
            )
            totals = dataset.source.totals(plan, dataset.declaration)
            withheld = gate(tables, totals, policy)
            if not policy.guarded:
                return Scanned(totals, HiddenCells(Bitmap(withheld), Bitmap((False,) * len(withheld))), dataset.content)
            question = Question.of(tables, totals, withheld, authorised.request.participants, policy)
            guard = dataset.exact_guard()
            verdict = guard.reserve(grant.call, question)
        except SourceError as error:
            raise AbortedRunError(grant.call, _DATA_MESSAGE.format(provider=self._context.name)) from error
        with self._lock:
            self._guards[grant.call] = guard
        kept = replace(totals, tables=tuple(replace(table, rows=None, missing=()) for table in totals.tables))
        hidden = HiddenCells(Bitmap(verdict.withheld), Bitmap(verdict.refused))
        return Scanned(kept, hidden, dataset.content, guard)

    def _make_offer(self, grant: Grant, scanned: Scanned) -> tuple[OpenCall, OfferMessage]:
        private, public = new_pair_key()
        hidden = scanned.hidden
        salt = self._context.entropy.token(SALT_BYTES)
        offer = Offer(
            call=grant.call,
            provider=self._context.name,
            x25519=public,
            cells=len(hidden.cells),
            withheld=hidden.commitment(salt),
        )
        data = offer.sign(self._context.key).encode()
        message = OfferMessage(data, hidden.withheld.encode(), hidden.refused.encode(), salt)
        return OpenCall(grant, data, scanned, private), message

    def _prepare(self, opened: OpenCall, offers: Sequence[bytes], roster: bytes) -> PreparedPart:
        verified = verify_own_round(opened, offers, roster, self._context)
        secrets = pair_secrets(opened, verified, self._context.name)
        with self._ending_on_error(opened.grant.call, AbortReason.DATA_UNREADABLE):
            try:
                if opened.scanned.guard is not None:
                    opened.scanned.guard.settle(opened.grant.call, verified.closed.cells)
                return make_part(opened, verified.closed, secrets, own=self._context.name, executor=self._executor)
            except (OverflowRefusedError, OverlapError) as error:
                raise AbortedRunError(opened.grant.call, _DATA_MESSAGE.format(provider=self._context.name)) from error

    def _verify_computing_party(self, call: str, peer: PeerIdentity) -> None:
        state = self._invocation.state(call)
        if state is None:
            raise DeniedError(
                DenialReason.STALE, "request_id", f"no open call {call[:16]} here: never offered, expired, or ended"
            )
        if peer.party != state.computing_party:
            raise DeniedError(
                DenialReason.IDENTITY_MISMATCH,
                "computing_party",
                f"{peer.party} is not the computing party that the merchant signed for: {state.computing_party} is",
            )

    def _given(self, call: str, offers: Sequence[bytes], roster: bytes) -> PartMessage | None:
        stored = self._invocation.message(PART, call)
        if stored is None:
            return None
        message, asked_for = decode_part(stored)
        if asked_for != asked(offers, roster):
            raise DeniedError(
                DenialReason.PART_ALREADY_GIVEN,
                "roster",
                f"the part of call {call[:16]} was given for another roster; a call has one part",
            )
        return message

    def _opened(self, call: str) -> OpenCall:
        with self._lock:
            opened = self._open.get(call)
        if opened is None:
            raise DeniedError(DenialReason.STALE, "request_id", f"call {call[:16]} is not open here any more")
        return opened

    @contextmanager
    def _place(self) -> Iterator[None]:
        with self._lock:
            if len(self._open) + self._entering >= OPEN_CALLS:
                raise DeniedError(
                    DenialReason.RATE_LIMITED, "open_calls", f"{OPEN_CALLS} calls are open here; ask again later"
                )
            self._entering += 1
        try:
            yield
        finally:
            with self._lock:
                self._entering -= 1

    @contextmanager
    def _ending_on_error(self, call: str, reason: AbortReason) -> Iterator[None]:
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                with suppress(LedgerError):  # the error on its way says more; `sweep` ends the call later
                    self.end(call, reason)


def read_envelope(data: bytes) -> Envelope:
    """Decode a receipt's envelope; raises `DeniedError(MALFORMED)`."""
    try:
        return Envelope.decode(data)
    except MalformedError as error:
        raise DeniedError(DenialReason.MALFORMED, "receipts", f"a receipt cannot be read: {error}") from error


def read_payload(envelope: Envelope) -> ReceiptPayload:
    """Read a receipt's payload, unverified; raises `DeniedError(MALFORMED)`."""
    try:
        return read_receipt(envelope)
    except MalformedError as error:
        raise DeniedError(DenialReason.MALFORMED, "receipts", f"a receipt cannot be read: {error}") from error
