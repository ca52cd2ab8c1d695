"""The bracket around every call of a provider; of the calls' machinery it alone writes to the ledger.

INTENT before anything is computed; OUTCOME durable before anything leaves; ABORTED when a call ends without an answer;
DENIED for whatever was refused. What leaves is written to the vault before OUTCOME is committed, so that a crash can
lose neither: an OUTCOME in the ledger always has its message, its openings and its receipt beside it, and a message
without an OUTCOME was never given and never will be. If the ledger cannot record, or its witnesses are unheard, nothing
is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from audit.commitment import SALT_BYTES, Opening, Openings, commit_openings, encode_openings
from audit.entry import Aborted, Ack, Denied, Outcome, Side
from audit.entry_keys import ack_key, provider_outcome_key, receipt_key
from audit.envelope import Envelope, Signature
from audit.errors import AuditError, DuplicateKeyError, LedgerError
from audit.hashes import sha256
from audit.ledger import Draft, Ledger
from audit.names import KeyPurpose
from audit.receipt import ReceiptPayload, issue, participants_digest, read_receipt
from sandbox.admission import Admission, CallState, Grant
from sandbox.authorise import Authorised
from sandbox.denials import DenialWindows, recorded_clause
from sandbox.errors import AbortedRunError, DenialReason, DeniedError, VaultError
from sandbox.ports import PartyContext, WitnessWatch
from sandbox.receipt_checks import CLOCK_SKEW_MS
from sandbox.vault import VaultKind

NONCE_BYTES: Final = 16

PART: Final = "part"
ANSWER: Final = "answer"
_MESSAGES: Final = (PART, ANSWER)


class AbortReason(StrEnum):
    """Why a call ended without an answer. Entries carry the value: no free text from a peer enters the ledger."""

    EXPIRED = "EXPIRED"
    DATA_UNREADABLE = "DATA_UNREADABLE"
    PEER_UNAVAILABLE = "PEER_UNAVAILABLE"
    PEER_MISBEHAVED = "PEER_MISBEHAVED"
    PEER_DENIED = "PEER_DENIED"
    INTERRUPTED = "INTERRUPTED"
    OTHER = "OTHER"

    @classmethod
    def read(cls, text: str) -> AbortReason:
        """Read a peer's word; anything unknown is OTHER."""
        return cls(text) if text in cls.__members__ else cls.OTHER


@dataclass(frozen=True, slots=True)
class Release:
    """What is about to leave: the part's bytes, the canonical description of the statistic that it releases.

    `content` is the hex SHA-256 of the rows that it was computed from.
    """

    part: bytes
    statistic: bytes
    content: str


@dataclass(frozen=True, slots=True)
class Denial:
    """Who was refused. `identity` is the connection's SPIFFE ID; fields of the request are empty where unreadable."""

    identity: str
    merchant: str = ""
    call: str = ""
    contract: str = ""


class _NothingOpenError(Exception):
    """The guard found no open call to end."""


class Invocation:
    """A provider's bracket. Threads may share one."""

    def __init__(self, context: PartyContext, ledger: Ledger, admission: Admission, watch: WitnessWatch) -> None:
        self._context = context
        self._ledger = ledger
        self._admission = admission
        self._watch = watch
        self._denials = DenialWindows()

    def state(self, call: str) -> CallState | None:
        """The state of a call that is neither acknowledged nor aborted."""
        return self._admission.state(call)

    def message(self, name: str, call: str) -> bytes | None:
        """The stored message `name` of a call, once its OUTCOME is committed and until it is acknowledged or aborted.

        The ledger is asked, not the fold: the fold runs ahead of the commit, and nothing leaves before it.
        """
        if self._ledger.find(provider_outcome_key(call)) is None or self._admission.state(call) is None:
            return None
        return self._context.vault.get(VaultKind.MESSAGE, f"{name}/{call}")

    def enter(self, authorised: Authorised) -> Grant:
        """Take the call: INTENT is durable on return, and the openings of its commitments are kept.

        Raises:
            DeniedError: WITNESSES_UNHEARD, before anything is taken; or as `Admission.take`.
            LedgerError: nothing could be recorded, nothing is taken.
            VaultError: the openings could not be kept; the call is given back.
        """
        self._watch.verify_heard()
        nonce = self._context.entropy.token(NONCE_BYTES).hex()
        grant = self._admission.take(self._ledger, authorised, nonce, self._context.clock)
        try:
            # After the take, so that refused requests leave nothing behind.
            self._context.vault.put(VaultKind.OPENINGS, f"{grant.call}/request", encode_openings(authorised.openings))
        except VaultError:
            self.abort(grant.call, AbortReason.OTHER)
            raise
        return grant

    def complete(self, grant: Grant, release: Release, messages: Callable[[Envelope], Mapping[str, bytes]]) -> Envelope:
        """Issue the receipt, store what leaves, and record OUTCOME; only after this has returned may the part leave.

        `messages` turns the receipt into what the vault is to keep of this call: name -> bytes.

        Raises:
            DeniedError: WITNESSES_UNHEARD; no receipt is signed and nothing may leave.
            AbortedRunError: the call was ended or its deadline passed meanwhile.
            LedgerError, VaultError: nothing could be recorded; nothing may leave.
        """
        if type(grant) is not Grant:
            raise TypeError("complete takes the Grant that enter gave out")
        self._watch.verify_heard()
        now_ms = self._context.clock.now_ms()
        receipt, openings = self._receipt(grant, release, now_ms)
        vault = self._context.vault
        kept = messages(receipt)
        with vault.transaction():
            vault.put(VaultKind.OPENINGS, f"{grant.call}/outcome", encode_openings(openings))
            vault.put(VaultKind.RECEIPT, receipt.digest, receipt.encode())
            for name, data in kept.items():
                vault.put(VaultKind.MESSAGE, f"{name}/{grant.call}", data)

        def guard() -> Draft:
            state = self._admission.state(grant.call)
            if state is None or state.released or now_ms >= state.deadline_ms:
                raise AbortedRunError(grant.call, "it was ended, or its deadline passed, before its part was ready")
            return Draft(
                _outcome(grant, receipt, now_ms), keys=(receipt_key(receipt.digest), provider_outcome_key(grant.call))
            )

        try:
            self._ledger.append(guard)
        except (AbortedRunError, LedgerError):
            self._forget(grant.call, kept)
            raise
        return receipt

    def acknowledge(self, envelope: Envelope) -> str:
        """Record the merchant's countersignature; recording it again is no error. Returns the receipt id.

        Raises:
            DeniedError: no such receipt was issued here, the call was aborted, or the merchant has not signed it.
            LedgerError, VaultError: nothing could be recorded.
        """
        receipt_id = envelope.digest
        stored = self._context.vault.get(VaultKind.RECEIPT, receipt_id)
        if stored is None:
            raise DeniedError(
                DenialReason.COMMITMENT_MISMATCH, "receipt", f"{self._context.name} issued no receipt {receipt_id[:16]}"
            )
        receipt = Envelope.decode(stored)
        payload = read_receipt(receipt)
        signature = self._countersignature(envelope, payload)
        signed = receipt.merge(replace(envelope, signatures=(signature,)))
        self._context.vault.put(VaultKind.RECEIPT, receipt_id, signed.encode())

        def guard() -> Draft:
            state = self._admission.state(payload.call)
            if state is None or state.receipt_id != receipt_id:
                raise _NothingOpenError
            return Draft(
                Ack(
                    party=self._context.name,
                    at_ms=self._context.clock.now_ms(),
                    side=Side.PROVIDER,
                    call=payload.call,
                    contract=payload.contract,
                    receipt_id=receipt_id,
                    signature=signature,
                ),
                keys=(ack_key(receipt_id),),
            )

        try:
            self._ledger.append(guard)
        except (_NothingOpenError, DuplicateKeyError) as error:
            if self._ledger.find(ack_key(receipt_id)) is None:
                raise DeniedError(
                    DenialReason.STALE, "receipt", f"call {payload.call[:16]} was aborted and costs nothing"
                ) from error
        self._forget(payload.call, _MESSAGES)
        return receipt_id

    def abort(self, call: str, reason: AbortReason) -> bool:
        """End a call without an answer; returns whether there was one to end.

        Whether its part may have left is read inside the ledger's transaction: with an OUTCOME it may, and call and
        ciphertexts stay spent; without one they are given back. The fee is zero either way.

        Raises `LedgerError` when nothing could be recorded.
        """

        def guard() -> Draft:
            state = self._admission.state(call)
            if state is None:
                raise _NothingOpenError
            return Draft(
                Aborted(
                    party=self._context.name,
                    at_ms=self._context.clock.now_ms(),
                    side=Side.PROVIDER,
                    call=call,
                    contract=state.contract,
                    reason=reason.value,
                    released=state.released,
                )
            )

        try:
            self._ledger.append(guard)
        except _NothingOpenError:
            return False
        self._forget(call, _MESSAGES)
        return True

    def deny(self, error: DeniedError, denial: Denial) -> None:
        """Record a refusal; past a hundred a minute for one identity they are collapsed into one counted entry.

        Raises `LedgerError` when nothing could be recorded.
        """
        self._write(
            self._denials.admit(
                Denied(
                    party=self._context.name,
                    at_ms=self._context.clock.now_ms(),
                    side=Side.PROVIDER,
                    identity=denial.identity,
                    merchant=denial.merchant,
                    call=denial.call,
                    contract=denial.contract,
                    reason=error.reason.value,
                    clause=recorded_clause(error.clause),
                    check=error.check,
                    count=1,
                )
            )
        )

    def sweep(self) -> None:
        """Record the refusals of the minutes that have ended. Call it every few seconds."""
        self._write(self._denials.ended(self._context.clock.now_ms()))

    def interrupted(self) -> tuple[CallState, ...]:
        """The calls that have an INTENT and no OUTCOME; before serving, those that a crash interrupted."""
        return tuple(state for state in self._admission.open_calls() if not state.released)

    def recover(self) -> None:
        """After a restart, before serving: abort every interrupted call.

        A part leaves only after its OUTCOME is durable, so none of theirs has left: everything is given back.
        """
        for state in self.interrupted():
            self.abort(state.call, AbortReason.INTERRUPTED)

    def close(self) -> None:
        """Record all collapsed refusals; call it before the ledger is closed."""
        self._write(self._denials.close())

    def _receipt(self, grant: Grant, release: Release, now_ms: int) -> tuple[Envelope, Openings]:
        request = grant.authorised.request
        openings: Openings = {
            "response": Opening(self._context.entropy.token(SALT_BYTES), sha256(release.part)),
            "released_statistic": Opening(self._context.entropy.token(SALT_BYTES), release.statistic),
            "dataset_content": Opening(self._context.entropy.token(SALT_BYTES), bytes.fromhex(release.content)),
        }
        commitments = commit_openings(openings)
        payload = ReceiptPayload(
            call=grant.call,
            contract=request.contract,
            provider=self._context.name,
            merchant=request.merchant,
            computing_party=request.computing_party,
            participants_digest=participants_digest(request.participants),
            dataset=grant.authorised.dataset,
            scheme=request.key_scheme,
            key_fingerprint=request.key_fingerprint,
            response=commitments["response"],
            units=grant.authorised.units,
            price_micro=grant.authorised.price_micro,
            currency=grant.authorised.contract.tariff.currency,
            merchant_nonce=request.nonce,
            provider_nonce=grant.provider_nonce,
            merchant_clock_ms=request.issued_at_ms,
            provider_clock_ms=now_ms,
            released_statistic=commitments["released_statistic"],
            dataset_content=commitments["dataset_content"],
        )
        return issue(payload, self._context.key), openings

    def _countersignature(self, envelope: Envelope, payload: ReceiptPayload) -> Signature:
        """The merchant's line, by its active key, or by the one that it had when the receipt was issued."""
        merchant, signers = payload.merchant, [line.keyid for line in envelope.signatures]
        issued_ms = payload.provider_clock_ms - CLOCK_SKEW_MS
        try:
            key = self._context.directory().party(merchant).signer_at(signers, KeyPurpose.MESSAGE, issued_ms)
            envelope.verify(key)
        except AuditError as error:
            raise DeniedError(
                DenialReason.BAD_SIGNATURE, "receipt", f"the receipt is not countersigned by {merchant}: {error}"
            ) from error
        return next(line for line in envelope.signatures if line.keyid == key.keyid)

    def _forget(self, call: str, names: Iterable[str]) -> None:
        # What is left behind is never given: `message` asks the ledger's fold first.
        with suppress(VaultError):
            for name in names:
                self._context.vault.delete(VaultKind.MESSAGE, f"{name}/{call}")

    def _write(self, entries: Iterable[Denied]) -> None:
        for entry in entries:
            self._ledger.append(Draft(entry))


def _outcome(grant: Grant, receipt: Envelope, now_ms: int) -> Outcome:
    authorised = grant.authorised
    return Outcome(
        party=authorised.provider,
        at_ms=now_ms,
        side=Side.PROVIDER,
        call=grant.call,
        contract=authorised.request.contract,
        receipt_id=receipt.digest,
        request=authorised.envelope,
        receipt=receipt,
        units=authorised.units,
        price_micro=authorised.price_micro,
        currency=authorised.contract.tariff.currency,
    )
