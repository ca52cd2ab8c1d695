"""The bracket around a merchant's calls: INTENT before sending, OUTCOME and ACK per receipt, ABORTED otherwise.

The answer and the countersigned receipts are in the vault before the ledger says so, and each receipt stays in the
outbox until its provider is known to have recorded it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from audit.commitment import Openings, encode_openings
from audit.entry import NO_UNITS, Aborted, Ack, Entry, Intent, Outcome, Side
from audit.entry_keys import ack_key, call_key, merchant_outcome_key, nonce_key, receipt_key
from audit.envelope import Envelope
from audit.errors import DuplicateKeyError
from audit.ledger import Draft, Ledger
from audit.receipt import countersign, read_receipt
from sandbox.contract import Contract
from sandbox.errors import DenialReason, DeniedError
from sandbox.invocation import ANSWER, AbortReason
from sandbox.metering import price_of, units_of
from sandbox.ports import PartyContext, WitnessWatch
from sandbox.request import ParsedRequest
from sandbox.vault import VaultKind

REQUEST: Final = "request"
_ACK: Final = "ack"


@dataclass(frozen=True, slots=True)
class SentCall:
    """A merchant's call that is neither answered by all its providers nor aborted."""

    call: str
    contract: str
    computing_party: str
    participants: tuple[str, ...]
    deadline_ms: int
    acknowledged: int = 0


class MerchantCalls:
    """The fold over a merchant's own calls (an `audit.ledger.Fold`: hand it to `Ledger.open`)."""

    def __init__(self) -> None:
        self._calls: dict[str, SentCall] = {}

    def reset(self) -> None:
        """Forget everything, before the ledger is folded from its first entry."""
        self._calls = {}

    def apply(self, index: int, entry: Entry) -> None:  # noqa: ARG002  (the ledger's Fold has it)
        """Fold one entry in."""
        match entry:
            case Intent(side=Side.MERCHANT):
                self._calls[entry.call] = SentCall(
                    entry.call, entry.contract, entry.computing_party, entry.participants, entry.deadline_ms
                )
            case Ack(side=Side.MERCHANT) if entry.call in self._calls:
                sent = self._calls[entry.call]
                sent = replace(sent, acknowledged=sent.acknowledged + 1)
                self._calls[entry.call] = sent
                if sent.acknowledged == len(sent.participants):
                    del self._calls[entry.call]
            case Aborted(side=Side.MERCHANT):
                self._calls.pop(entry.call, None)
            case _:
                pass

    def open_calls(self) -> tuple[SentCall, ...]:
        """Calls whose answer may still be fetched."""
        return tuple(self._calls.values())


class _NothingOpenError(Exception):
    """The guard found no open call to end."""


class MerchantInvocation:
    """A merchant's bracket. Threads may share one."""

    def __init__(self, context: PartyContext, ledger: Ledger, calls: MerchantCalls, watch: WitnessWatch) -> None:
        self._context = context
        self._ledger = ledger
        self._calls = calls
        self._watch = watch

    def open_calls(self) -> tuple[SentCall, ...]:
        """Calls whose answer may still be fetched."""
        return self._calls.open_calls()

    def enter(self, parsed: ParsedRequest, openings: Openings, contract: Contract, ciphertexts: int) -> None:
        """Keep request and openings, and record INTENT; only then may the request be sent.

        Raises:
            DeniedError: REPLAYED, the request's nonce was used before; WITNESSES_UNHEARD.
            LedgerError, VaultError: nothing could be recorded; send nothing.
        """
        self._watch.verify_heard()
        request, vault = parsed.request, self._context.vault
        with vault.transaction():
            vault.put(VaultKind.OPENINGS, f"{parsed.call}/{REQUEST}", encode_openings(openings))
            vault.put(VaultKind.MESSAGE, f"{REQUEST}/{parsed.call}", parsed.envelope.encode())
        intent = Intent(
            party=self._context.name,
            at_ms=self._context.clock.now_ms(),
            side=Side.MERCHANT,
            call=parsed.call,
            contract=request.contract,
            operation=request.operation,
            merchant=request.merchant,
            provider="",
            computing_party=request.computing_party,
            participants=request.participants,
            attempt=request.attempt,
            nonce=request.nonce,
            provider_nonce="",
            dataset="",
            units=sum((units_of(contract, party, ciphertexts) for party in request.participants), NO_UNITS),
            price_micro=sum(price_of(contract, party, ciphertexts).total_micro for party in request.participants),
            currency=contract.tariff.currency,
            deadline_ms=request.deadline_ms,
            commitments=request.commitments,
        )
        keys = (nonce_key(request.merchant, request.nonce), call_key(Side.MERCHANT, parsed.call))
        try:
            self._ledger.append(Draft(intent, keys=keys))
        except DuplicateKeyError as error:
            raise DeniedError(
                DenialReason.REPLAYED, "nonce", "this request was sent before; resume it, or sign a new one"
            ) from error

    def keep_answer(self, call: str, answer: bytes) -> None:
        """Keep a verified answer, so that a crash before the end of `record` costs nothing."""
        self._context.vault.put(VaultKind.MESSAGE, f"{ANSWER}/{call}", answer)

    def kept_answer(self, call: str) -> bytes | None:
        """The answer that `keep_answer` stored, or None."""
        return self._context.vault.get(VaultKind.MESSAGE, f"{ANSWER}/{call}")

    def record(self, parsed: ParsedRequest, receipts: Sequence[Envelope]) -> tuple[Envelope, ...]:
        """Countersign verified receipts and record OUTCOME and ACK for each; what was recorded before stays as it is.

        Raises `LedgerError` or `VaultError` when nothing more could be recorded; call it again.
        """
        vault = self._context.vault
        signed = tuple(countersign(receipt, self._context.key) for receipt in receipts)
        with vault.transaction():
            for receipt in signed:
                vault.put(VaultKind.RECEIPT, receipt.digest, receipt.encode())
                vault.put(VaultKind.OUTBOX, f"{_ACK}/{parsed.call}/{receipt.digest}", receipt.encode())
        for receipt in signed:
            self._record_one(parsed, receipt)
        return signed

    def abort(self, call: str, reason: AbortReason) -> None:
        """End a call without an answer. Once it was sent, parts may have left; whether they have is unknown here.

        Raises `LedgerError` when nothing could be recorded.
        """

        def guard() -> Draft:
            sent = next((sent for sent in self._calls.open_calls() if sent.call == call), None)
            if sent is None:
                raise _NothingOpenError
            return Draft(
                Aborted(
                    party=self._context.name,
                    at_ms=self._context.clock.now_ms(),
                    side=Side.MERCHANT,
                    call=call,
                    contract=sent.contract,
                    reason=reason.value,
                    released=True,
                )
            )

        with suppress(_NothingOpenError):
            self._ledger.append(guard)

    def outbox(self) -> dict[str, tuple[bytes, ...]]:
        """The countersigned receipts that are not known to be recorded at their providers, by call.

        If this merchant's key has changed since, they are countersigned again: the earlier one may be revoked.
        """
        calls: dict[str, list[bytes]] = {}
        for key, data in self._context.vault.items(VaultKind.OUTBOX, f"{_ACK}/"):
            calls.setdefault(key.split("/")[1], []).append(self._by_current_key(data))
        return {call: tuple(receipts) for call, receipts in calls.items()}

    def _by_current_key(self, data: bytes) -> bytes:
        receipt, own = Envelope.decode(data), self._context.key.verifying_key.keyid
        if any(line.keyid == own for line in receipt.signatures):
            return data
        return countersign(receipt, self._context.key).encode()

    def delivered(self, call: str, receipt_ids: Sequence[str]) -> None:
        """Take recorded receipts out of the outbox."""
        with self._context.vault.transaction() as vault:
            for receipt_id in receipt_ids:
                vault.delete(VaultKind.OUTBOX, f"{_ACK}/{call}/{receipt_id}")

    def _record_one(self, parsed: ParsedRequest, receipt: Envelope) -> None:
        payload = read_receipt(receipt)
        now_ms = self._context.clock.now_ms()
        outcome = Outcome(
            party=self._context.name,
            at_ms=now_ms,
            side=Side.MERCHANT,
            call=parsed.call,
            contract=payload.contract,
            receipt_id=receipt.digest,
            request=parsed.envelope,
            receipt=receipt,
            units=payload.units,
            price_micro=payload.price_micro,
            currency=payload.currency,
        )
        own = self._context.key.verifying_key.keyid
        ack = Ack(
            party=self._context.name,
            at_ms=now_ms,
            side=Side.MERCHANT,
            call=parsed.call,
            contract=payload.contract,
            receipt_id=receipt.digest,
            signature=next(line for line in receipt.signatures if line.keyid == own),
        )
        outcome_keys = (receipt_key(receipt.digest), merchant_outcome_key(parsed.call, payload.provider))
        with suppress(DuplicateKeyError):
            self._ledger.append(Draft(outcome, keys=outcome_keys))
        with suppress(DuplicateKeyError):
            self._ledger.append(Draft(ack, keys=(ack_key(receipt.digest),)))
