"""The computing party's orchestration of one joint aggregate, over the `Peers` port.

It forwards the merchant's request as it is, gathers all offers, closes the cells that a provider refuses or that have
too few contributors, signs the roster, gathers all parts, multiplies them and answers. It sees which cells each peer
withholds and refuses, and ciphertexts.
All participants or nobody: a peer that is missing, refuses or misbehaves ends the run for all, there is no partial
answer and no second run over a subset. Its own part is recorded last, together with the stored answer, when all others
have come in and passed their checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from audit.envelope import Envelope
from audit.errors import AuditError, LedgerError, MalformedError
from audit.names import Role
from protocols.aggregate import combine
from protocols.errors import BadCiphertextError
from protocols.paillier_checks import decode_ciphertexts, encode_ciphertexts
from sandbox.authorise import Authorised, PeerIdentity
from sandbox.errors import (
    AbortedRunError,
    DenialReason,
    DeniedError,
    PeerMisbehavedError,
    PeerUnavailableError,
    VaultError,
)
from sandbox.invocation import ANSWER, AbortReason, Invocation
from sandbox.ports import (
    AckResult,
    AnswerMessage,
    OfferMessage,
    PartMessage,
    PartyContext,
    Peers,
    PublicKeyBytes,
    SignedBytes,
)
from sandbox.receipt_checks import ReceiptTerms, verify_part_receipt
from sandbox.roster import HiddenCells, Roster, Round, close_cells, verify_offer
from sandbox.session_aggregate import AggregateSessions, read_envelope, read_payload
from sandbox.stored_messages import decode_answer, encode_answer
from sandbox.vault import VaultKind

GRACE_S: Final = 1.0
"""How long past the peers' deadline an answer on its way is waited for."""

RESERVE_MS: Final = 3_000
"""How much sooner than the merchant's own deadline the peers must have answered, at most a quarter of what is left:
the time to tell the merchant, while it still listens, which of them did not."""

ABORT_WAIT_S: Final = 1.0
"""How long a failed run waits for its aborts to be delivered; undelivered ones are sent again by `sweep`."""

_ABORT: Final = "abort"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Joined:
    """The fixed roster of a run: all offers in the participants' order, the signed roster, contributors a cell."""

    offers: tuple[bytes, ...]
    roster: bytes
    contributors: bytes


class ComputingSessions:
    """Runs joint aggregates at the computing party. Threads may share one.

    `threads` runs the calls to peers; it needs as many workers as the largest participant set has peers.
    """

    def __init__(
        self, context: PartyContext, invocation: Invocation, own: AggregateSessions, peers: Peers, threads: Executor
    ) -> None:
        self._context = context
        self._invocation = invocation
        self._own = own
        self._peers = peers
        self._threads = threads

    def run(self, authorised: Authorised, signed: SignedBytes, key: PublicKeyBytes) -> AnswerMessage:
        """Run one aggregate; the answer is stored and this party's OUTCOME durable on return.

        Raises:
            DeniedError: this party or a peer refused.
            PeerUnavailableError, PeerMisbehavedError: naming the peer; the run is ended everywhere.
            AbortedRunError: a provider could not compute its cells, or the deadline passed.
            LedgerError, VaultError: nothing could be recorded here.
        """
        asked: dict[str, Future[OfferMessage]] = {}
        deadline_ms = self._peers_deadline(authorised.request.deadline_ms)
        own_offer: OfferMessage | None = None
        reason: AbortReason | None = None  # while nobody else has been asked there is nothing to end

        def ask() -> None:
            # Only a call that is taken here is asked of others; they compute while this party does.
            nonlocal reason
            reason = AbortReason.OTHER
            asked.update(self._start(self._offers(authorised, signed, key, deadline_ms)))

        try:
            own_offer = self._own.offer(authorised, taken=ask)
            joined = self._join(authorised, own_offer, self._finish(authorised.call, asked, deadline_ms))
            answer = self._gather_parts(authorised, joined)
            reason = None
        except PeerUnavailableError:
            reason = reason and AbortReason.PEER_UNAVAILABLE
            raise
        except PeerMisbehavedError:
            reason = reason and AbortReason.PEER_MISBEHAVED
            raise
        except DeniedError:
            reason = reason and AbortReason.PEER_DENIED
            raise
        except AbortedRunError:
            reason = reason and AbortReason.DATA_UNREADABLE
            raise
        finally:
            if reason is not None:
                if own_offer is None:
                    self._let_go(authorised.call, asked)
                self._end(authorised, reason)
        return answer

    def answer(self, call: str, *, peer: PeerIdentity) -> AnswerMessage:
        """Return the stored answer, byte-identical, to the merchant whose call it is, until it is acknowledged.

        Raises `DeniedError`: IDENTITY_MISMATCH, or STALE when there is no such answer (any more).
        """
        state = self._invocation.state(call)
        if state is not None and peer.party != state.merchant:
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "merchant", f"call {call[:16]} is not {peer.party}'s")
        stored = self._invocation.message(ANSWER, call)
        if stored is None:
            raise DeniedError(
                DenialReason.STALE,
                "request_id",
                f"{self._context.name} keeps no answer to call {call[:16]}: not ready, aborted or acknowledged",
            )
        return decode_answer(stored)

    def acknowledge(self, receipts: Sequence[bytes], *, peer: PeerIdentity, deadline_ms: int) -> AckResult:
        """Record this party's own receipts and forward the others, when the merchant itself brings them.

        Raises as `AggregateSessions.acknowledge`; a peer that cannot be reached leaves its receipts pending.
        """
        own: list[bytes] = []
        others: dict[str, list[bytes]] = {}
        stay: list[str] = []
        for data in receipts:
            envelope = read_envelope(data)
            payload = read_payload(envelope)
            if payload.provider == self._context.name:
                own.append(data)
            elif peer.party == payload.merchant and self._is_provider(payload.provider):
                others.setdefault(payload.provider, []).append(data)
            else:
                stay.append(envelope.digest)
        result = self._own.acknowledge(own)
        futures = {
            provider: self._threads.submit(self._peers.acknowledge, provider, tuple(batch), deadline_ms)
            for provider, batch in others.items()
        }
        recorded, pending = set(result.recorded), {*result.pending, *stay}
        for provider, future in futures.items():
            sent = {read_envelope(data).digest for data in others[provider]}
            try:
                answer = set(future.result().recorded) & sent
            except (PeerUnavailableError, PeerMisbehavedError, DeniedError):
                answer = set()
            recorded |= answer
            pending |= sent - answer
        return AckResult(tuple(sorted(recorded)), tuple(sorted(pending)))

    def sweep(self) -> None:
        """Tell the peers of runs that could not be ended in time, and send again what could not be delivered.

        Call it every few seconds, before `AggregateSessions.sweep`, which ends such runs here.
        """
        now_ms = self._context.clock.now_ms()
        for state in self._invocation.interrupted():
            if state.computing_party == self._context.name and now_ms >= state.deadline_ms:
                self._queue_aborts(state.call, state.participants, AbortReason.EXPIRED)
        self._send_aborts(self._context.vault.items(VaultKind.OUTBOX, f"{_ABORT}/"))

    def recover(self) -> None:
        """At start, before serving: end what a crash interrupted here, and tell the peers of the runs that died."""
        for state in self._invocation.interrupted():
            if state.computing_party == self._context.name:
                self._queue_aborts(state.call, state.participants, AbortReason.INTERRUPTED)
        self._invocation.recover()
        self.sweep()

    def _offers(
        self, authorised: Authorised, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int
    ) -> dict[str, Callable[[], OfferMessage]]:
        return {
            peer: partial(self._peers.offer, peer, signed, key, deadline_ms)
            for peer in self._others(authorised.request.participants)
        }

    def _join(self, authorised: Authorised, own_offer: OfferMessage, others: Mapping[str, OfferMessage]) -> _Joined:
        request = authorised.request
        messages = {**others, self._context.name: own_offer}
        expected = self._round(authorised)
        digests: dict[str, str] = {}
        hidden: list[HiddenCells] = []
        for party in request.participants:
            digests[party], cells = self._read_offer(party, messages[party], expected)
            hidden.append(cells)
        closed, contributors = close_cells(hidden, min_contributors=authorised.contract.release.min_contributors)
        roster = Roster(authorised.call, self._context.name, digests, closed.encode()).sign(self._context.key)
        return _Joined(tuple(messages[party].offer for party in request.participants), roster.encode(), contributors)

    def _read_offer(self, party: str, message: OfferMessage, expected: Round) -> tuple[str, HiddenCells]:
        envelope, offer = verify_offer(
            message.offer, provider=party, expected=expected, directory=self._context.directory()
        )
        try:
            hidden = HiddenCells.decode(message.withheld, message.refused, cells=expected.cells)
            commitment = hidden.commitment(message.salt)
        except MalformedError as error:
            detail = f"its withheld and refused cells: {error}"
            raise PeerMisbehavedError(party, DenialReason.MALFORMED, detail) from error
        if commitment != offer.withheld:
            detail = "its withheld and refused cells are not those that its offer commits to"
            raise PeerMisbehavedError(party, DenialReason.COMMITMENT_MISMATCH, detail)
        return envelope.digest, hidden

    def _gather_parts(self, authorised: Authorised, joined: _Joined) -> AnswerMessage:
        request, call = authorised.request, authorised.call
        deadline_ms = self._peers_deadline(request.deadline_ms)
        tasks = {
            peer: partial(self._peers.part, peer, call, joined.offers, joined.roster, deadline_ms)
            for peer in self._others(request.participants)
        }
        started = self._start(tasks)
        prepared = self._own.prepare(call, joined.offers, joined.roster)
        messages = self._finish(call, started, deadline_ms)
        terms = ReceiptTerms(call, request, authorised.contract, authorised.layout.ciphertexts)
        parts = [prepared.ciphertexts, *(self._read_part(peer, messages[peer], authorised) for peer in messages)]
        receipts = {
            peer: verify_part_receipt(
                message.receipt, provider=peer, terms=terms, directory=self._context.directory()
            ).encode()
            for peer, message in messages.items()
        }
        totals = encode_ciphertexts(combine(parts, authorised.key), authorised.key)
        kept: list[AnswerMessage] = []

        def store(receipt: Envelope) -> Mapping[str, bytes]:
            all_receipts = receipts | {self._context.name: receipt.encode()}
            kept.append(
                AnswerMessage(
                    call=call,
                    width=prepared.width,
                    totals=totals,
                    contributors=joined.contributors,
                    receipts=tuple(all_receipts[party] for party in request.participants),
                    roster=joined.roster,
                )
            )
            return {ANSWER: encode_answer(kept[0])}

        self._own.remember(prepared)
        self._invocation.complete(prepared.grant, prepared.release, store)
        self._own.forget(call)
        return kept[0]

    def _read_part(self, peer: str, message: PartMessage, authorised: Authorised) -> Sequence[int]:
        try:
            return decode_ciphertexts(message.part, message.width, authorised.key, count=authorised.layout.ciphertexts)
        except BadCiphertextError as error:
            raise PeerMisbehavedError(peer, DenialReason.BAD_CIPHERTEXT, f"its part: {error}") from error

    def _start(self, tasks: Mapping[str, Callable[[], T]]) -> dict[str, Future[T]]:
        return {party: self._threads.submit(task) for party, task in tasks.items()}

    def _finish(self, call: str, futures: Mapping[str, Future[T]], deadline_ms: int) -> dict[str, T]:
        """Wait for all answers, or for the first failure; one that has not come by the deadline is a failure."""
        left = max(0, deadline_ms - self._context.clock.now_ms()) / 1000 + GRACE_S
        done, late = wait(futures.values(), timeout=left, return_when=FIRST_EXCEPTION)
        self._let_go(call, {party: future for party, future in futures.items() if future in late})
        for future in futures.values():
            if future in done and (error := future.exception()) is not None:
                raise error
        for party, future in futures.items():
            if future in late:
                raise PeerUnavailableError(party, "it did not answer within the request's deadline")
        return {party: future.result() for party, future in futures.items()}

    def _let_go(self, call: str, futures: Mapping[str, Future[T]]) -> None:
        for party, future in futures.items():
            if not future.done() and not future.cancel():
                # The abort of this run may overtake what the peer is still working on: it is sent once more.
                future.add_done_callback(partial(self._abort_again, party, call))

    def _peers_deadline(self, deadline_ms: int) -> int:
        left_ms = deadline_ms - self._context.clock.now_ms()
        return deadline_ms - max(0, min(RESERVE_MS, left_ms // 4))

    def _abort_again(self, peer: str, call: str, _: Future[T]) -> None:
        with suppress(VaultError):  # this party is closing; the peer ends the call at its deadline
            self._queue_aborts(call, (peer,), AbortReason.OTHER)

    def _end(self, authorised: Authorised, reason: AbortReason) -> None:
        with suppress(VaultError):  # the run's own error says more; the peers end the call at its deadline
            self._queue_aborts(authorised.call, authorised.request.participants, reason)
        with suppress(LedgerError):  # likewise; `AggregateSessions.sweep` ends the call once the ledger records again
            self._own.end(authorised.call, reason)
        left_s = max(0, authorised.request.deadline_ms - self._context.clock.now_ms()) / 1000
        items = self._context.vault.items(VaultKind.OUTBOX, f"{_ABORT}/")
        self._send_aborts([item for item in items if item[0].endswith(authorised.call)], left_s / 2)

    def _queue_aborts(self, call: str, participants: Sequence[str], reason: AbortReason) -> None:
        vault = self._context.vault
        with vault.transaction():
            for peer in self._others(participants):
                vault.put(VaultKind.OUTBOX, f"{_ABORT}/{peer}/{call}", reason.value.encode())

    def _send_aborts(self, items: Sequence[tuple[str, bytes]], wait_s: float = ABORT_WAIT_S) -> None:
        sent = [self._threads.submit(self._send_abort, *item) for item in items]
        wait(sent, timeout=min(wait_s, ABORT_WAIT_S))

    def _send_abort(self, key: str, reason: bytes) -> None:
        _, peer, call = key.split("/")
        try:
            self._peers.abort(peer, call, reason.decode())
        except (PeerUnavailableError, PeerMisbehavedError):
            return  # it stays in the outbox
        except DeniedError:
            pass  # the peer knows no such open call: it never admitted it, or has ended it
        self._context.vault.delete(VaultKind.OUTBOX, key)

    def _round(self, authorised: Authorised) -> Round:
        request = authorised.request
        return Round(authorised.call, request.participants, request.computing_party, authorised.layout.cells)

    def _others(self, participants: Sequence[str]) -> tuple[str, ...]:
        return tuple(party for party in participants if party != self._context.name)

    def _is_provider(self, party: str) -> bool:
        try:
            return self._context.directory().party(party).role is Role.PROVIDER
        except AuditError:
            return False
