"""The merchant's side of a joint aggregate: from a signed request to verified totals and countersigned receipts.

Numbered as an answer is checked:
 1 receipts        every provider's signature, and every field that contract and request fix, price included
 2 roster          the computing party's signature, exactly the signed participant set
 3 contributors    0 where the roster closes the cell, else at least the contract's minimum
 4 totals          ciphertexts under this key, as many as the layout has, and a sum of as many parts as providers
 5 bounds          each total within what its cell's contributors can add up to; closed cells zero
Only then are the receipts countersigned. A lying peer ends the call: nothing is acknowledged, nothing is owed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.commitment import Openings, encode_openings
from audit.envelope import Envelope
from audit.receipt import ReceiptPayload, read_receipt
from protocols.aggregate import AggregateLayout, decrypt_totals
from protocols.errors import BadCiphertextError, InconsistentTotalsError
from protocols.executor import Executor, InlineExecutor
from protocols.paillier_checks import decode_ciphertexts
from protocols.paillier_key import PrivateKey
from sandbox.contract import Contract
from sandbox.errors import (
    AbortedRunError,
    DenialReason,
    DeniedError,
    PeerMisbehavedError,
    PeerUnavailableError,
)
from sandbox.invocation import AbortReason
from sandbox.invocation_merchant import MerchantInvocation
from sandbox.layout import plan_aggregate
from sandbox.ports import AckResult, AnswerMessage, Gateway, PartyContext, PublicKeyBytes, SignedBytes
from sandbox.receipt_checks import ReceiptTerms, verify_part_receipt
from sandbox.request import AggregateQuery, ParsedRequest, parse_query
from sandbox.roster import Round, verify_roster
from sandbox.stored_messages import decode_answer, encode_answer

ACKNOWLEDGE_MS: Final = 10_000
"""How long a merchant waits, in all, for its acknowledgements to be taken; the rest is sent again from the outbox."""


@dataclass(frozen=True, slots=True)
class MerchantCall:
    """A signed request with its openings, its query, its contract and the layout that follows from them."""

    parsed: ParsedRequest
    openings: Openings
    query: AggregateQuery
    contract: Contract
    layout: AggregateLayout

    @classmethod
    def of(cls, parsed: ParsedRequest, openings: Openings, contract: Contract) -> MerchantCall:
        """Put together an own request, new or out of the vault.

        Raises `MalformedError`, `ContractError` or `LayoutError` when the request does not fit the contract.
        """
        query = parse_query(openings, contract.frame)
        return cls(parsed, openings, query, contract, plan_aggregate(contract, query, parsed.request.key_bits))

    @property
    def round(self) -> Round:
        """What the call's roster is held against."""
        request = self.parsed.request
        return Round(self.parsed.call, request.participants, request.computing_party, self.layout.cells)


@dataclass(frozen=True, slots=True)
class MerchantResult:
    """Verified joint totals.

    `totals[cell][measure]` are scaled integers, cells numbered through over the query's tables; a cell with 0
    `contributors` is closed, its totals mean nothing.
    `receipts` bear both signatures, in the order of the participant set; `payloads` are what they say.
    """

    call: str
    totals: tuple[tuple[int, ...], ...]
    contributors: tuple[int, ...]
    receipts: tuple[Envelope, ...]
    payloads: tuple[ReceiptPayload, ...]
    price_micro: int
    currency: str


class MerchantSession:
    """Runs a merchant's calls over the `Gateway` port. Threads may share one."""

    def __init__(
        self,
        context: PartyContext,
        invocation: MerchantInvocation,
        gateway: Gateway,
        executor: Executor | None = None,
    ) -> None:
        self._context = context
        self._invocation = invocation
        self._gateway = gateway
        self._executor = executor or InlineExecutor()

    def run(self, call: MerchantCall, key: PrivateKey) -> MerchantResult:
        """Send the request and return the verified totals; receipts are countersigned and recorded on return.

        Raises:
            DeniedError: the request was refused.
            PeerUnavailableError: naming the party; if it is the computing party, `resume` may fetch the answer.
            PeerMisbehavedError: naming the party; the call is aborted and not acknowledged.
            AbortedRunError: the run ended without an answer.
            LedgerError, VaultError: nothing could be recorded here.
        """
        _verify_key(call, key)
        request, parsed = call.parsed.request, call.parsed
        public = key.public_key
        self._invocation.enter(parsed, call.openings, call.contract, call.layout.ciphertexts)
        try:
            answer = self._gateway.aggregate(
                request.computing_party,
                SignedBytes(parsed.envelope.encode(), encode_openings(call.openings)),
                PublicKeyBytes(public.modulus_bytes, public.scheme.value),
                request.deadline_ms,
            )
        except PeerUnavailableError as error:
            if error.party != request.computing_party:  # else the run may still succeed: its answer can be fetched
                self._invocation.abort(parsed.call, AbortReason.PEER_UNAVAILABLE)
            raise
        except PeerMisbehavedError:
            self._invocation.abort(parsed.call, AbortReason.PEER_MISBEHAVED)
            raise
        except DeniedError:
            self._invocation.abort(parsed.call, AbortReason.PEER_DENIED)
            raise
        except AbortedRunError:
            self._invocation.abort(parsed.call, AbortReason.OTHER)
            raise
        return self._finish(call, key, answer)

    def resume(self, call: MerchantCall, key: PrivateKey, *, wait_ms: int = ACKNOWLEDGE_MS) -> MerchantResult:
        """Finish a call that was sent earlier: its kept answer, or the one that the computing party has stored.

        `wait_ms` is how long the computing party may take to send it.

        Raises as `run`. A call past its deadline of which the computing party keeps no answer is aborted.
        """
        _verify_key(call, key)
        request = call.parsed.request
        kept = self._invocation.kept_answer(call.parsed.call)
        if kept is not None:
            return self._finish(call, key, decode_answer(kept))
        now_ms = self._context.clock.now_ms()
        try:
            answer = self._gateway.answer(request.computing_party, call.parsed.call, now_ms + wait_ms)
        except DeniedError:
            if now_ms >= request.deadline_ms:
                self._invocation.abort(call.parsed.call, AbortReason.EXPIRED)
            raise
        return self._finish(call, key, answer)

    def flush_acknowledgements(self, *, wait_ms: int = ACKNOWLEDGE_MS) -> AckResult:
        """Send every countersigned receipt that is not known to be recorded, call by call, for `wait_ms` in all.

        What a provider cannot take now stays in the outbox. Raises `VaultError`.
        """
        recorded: list[str] = []
        pending: list[str] = []
        deadline_ms = self._context.clock.now_ms() + wait_ms
        for call, receipts in self._invocation.outbox().items():
            envelopes = [Envelope.decode(data) for data in receipts]
            sent = {envelope.digest for envelope in envelopes}
            try:
                result = self._gateway.acknowledge(
                    read_receipt(envelopes[0]).computing_party,
                    receipts,
                    deadline_ms,
                )
                done = sorted(sent & set(result.recorded))
            except (PeerUnavailableError, PeerMisbehavedError, DeniedError):
                done = []
            self._invocation.delivered(call, done)
            recorded.extend(done)
            pending.extend(sorted(sent - set(done)))
        return AckResult(tuple(recorded), tuple(pending))

    def _finish(self, call: MerchantCall, key: PrivateKey, answer: AnswerMessage) -> MerchantResult:
        try:
            receipts = self._verify_receipts(call, answer)
            contributors = self._verify_contributors(call, answer)
            totals = self._decrypt(call, key, answer)
            _verify_bounds(call, totals, contributors)
        except PeerMisbehavedError:
            self._invocation.abort(call.parsed.call, AbortReason.PEER_MISBEHAVED)
            raise
        self._invocation.keep_answer(call.parsed.call, encode_answer(answer))
        signed = self._invocation.record(call.parsed, receipts)
        self.flush_acknowledgements()
        payloads = tuple(read_receipt(receipt) for receipt in signed)
        return MerchantResult(
            call=call.parsed.call,
            totals=tuple(tuple(row) for row in totals),
            contributors=contributors,
            receipts=signed,
            payloads=payloads,
            price_micro=sum(payload.price_micro for payload in payloads),
            currency=call.contract.tariff.currency,
        )

    def _verify_receipts(self, call: MerchantCall, answer: AnswerMessage) -> tuple[Envelope, ...]:
        request = call.parsed.request
        if answer.call != call.parsed.call or len(answer.receipts) != len(request.participants):
            raise _misbehaved(
                call,
                DenialReason.MALFORMED,
                f"its answer is to call {answer.call[:16]} with {len(answer.receipts)} receipts",
            )
        terms = ReceiptTerms(call.parsed.call, request, call.contract, call.layout.ciphertexts)
        directory = self._context.directory()
        return tuple(
            verify_part_receipt(data, provider=provider, terms=terms, directory=directory)
            for provider, data in zip(request.participants, answer.receipts, strict=True)
        )

    def _verify_contributors(self, call: MerchantCall, answer: AnswerMessage) -> tuple[int, ...]:
        roster = verify_roster(answer.roster, expected=call.round, directory=self._context.directory())
        least, most = call.contract.release.min_contributors, len(call.parsed.request.participants)
        if len(answer.contributors) != call.layout.cells:
            raise _misbehaved(call, DenialReason.MALFORMED, "its answer has another number of cells than the query")
        for cell, (count, closed) in enumerate(zip(answer.contributors, roster.closed.cells, strict=True)):
            if (count != 0) if closed else not least <= count <= most:
                state = "closed" if closed else "open"
                raise _misbehaved(
                    call,
                    DenialReason.ROSTER_MISMATCH,
                    f"it counts {count} contributors in cell {cell}, which is {state}",
                )
        return tuple(answer.contributors)

    def _decrypt(self, call: MerchantCall, key: PrivateKey, answer: AnswerMessage) -> list[list[int]]:
        try:
            ciphertexts = decode_ciphertexts(answer.totals, answer.width, key.public_key, count=call.layout.ciphertexts)
            return decrypt_totals(ciphertexts, key, call.layout, executor=self._executor)
        except (BadCiphertextError, InconsistentTotalsError) as error:
            raise _misbehaved(call, DenialReason.BAD_CIPHERTEXT, f"its totals: {error}") from error


def _verify_key(call: MerchantCall, key: PrivateKey) -> None:
    if key.public_key.fingerprint != call.parsed.request.key_fingerprint:
        raise DeniedError(
            DenialReason.KEY_MISMATCH, "key", "this is not the key that the request was signed for; use that one"
        )


def _verify_bounds(call: MerchantCall, totals: Sequence[Sequence[int]], contributors: Sequence[int]) -> None:
    """Closed cells zero, open ones within what their contributors can add up to, rows at least the smallest group."""
    least_rows = call.contract.release.min_group_size
    for cell, (row, count, bounds) in enumerate(zip(totals, contributors, call.layout.bounds(), strict=True)):
        for measure, (total, bound) in enumerate(zip(row, bounds, strict=True)):
            # ROWS is the first measure of every table; a provider in the cell has at least the smallest group there.
            lo = count * (least_rows if measure == 0 else bound.lo)
            if not lo <= total <= count * bound.hi:
                raise _misbehaved(
                    call,
                    DenialReason.BAD_CIPHERTEXT,
                    f"total {measure} of cell {cell} is none that {count} contributors can add up to",
                )


def _misbehaved(call: MerchantCall, reason: DenialReason, detail: str) -> PeerMisbehavedError:
    return PeerMisbehavedError(call.parsed.request.computing_party, reason, detail)
