"""A merchant's calls: signed, sent, fetched again when the line breaks, and turned into results."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from audit.commitment import decode_openings
from parties.client.contracts import ContractClient
from parties.client.merchant_contracts import MerchantContracts
from parties.client.presentation import present
from parties.client.result import MICRO, AggregateResult, Receipt, amount
from parties.client.result_cells import ReleasedCells
from parties.errors import PeerCannotRecordError
from parties.witnessing import Witnessing
from protocols.paillier_key import PrivateKey
from sandbox.contract_record import ContractRecord
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError, VaultError
from sandbox.invocation import AbortReason
from sandbox.invocation_merchant import REQUEST, MerchantInvocation, SentCall
from sandbox.ports import AckResult, PartyContext, Progress
from sandbox.request import (
    MAX_OPENINGS_BYTES,
    AggregateQuery,
    RequestTerms,
    build_request,
    parse_request,
    sign_request,
)
from sandbox.session_merchant import ACKNOWLEDGE_MS, MerchantCall, MerchantResult, MerchantSession
from sandbox.vault import VaultKind

RETRY_SECONDS: Final = 1.0
LAST_ASK_MS: Final = 1_000
"""How long the answer to a lost call may take that is asked for when the deadline has come."""
FIRST_ATTEMPT: Final = 1
WITNESS_MS: Final = 3_000
"""How long hearing the witnesses before a call, and showing them its entries after it, may take."""
ASKING: Final = "asking"
"""The stage of `Progress` from sending a request to its answer."""


class MerchantCalling:
    """One merchant's calls, over its session."""

    def __init__(
        self,
        context: PartyContext,
        invocation: MerchantInvocation,
        session: MerchantSession,
        contracts: ContractClient,
        progress: Progress,
        witnessing: Witnessing,
    ) -> None:
        self._context = context
        self._invocation = invocation
        self._session = session
        self._contracts = contracts
        self._progress = progress
        self._witnessing = witnessing

    @property
    def open_calls(self) -> int:
        """How many calls were sent and neither answered nor given up."""
        return len(self._invocation.open_calls())

    def flush(self) -> AckResult:
        """Send the acknowledgements that are due."""
        return self._session.flush_acknowledgements()

    def ask(self, record: ContractRecord, query: AggregateQuery, key: PrivateKey, timeout_ms: int) -> AggregateResult:
        """Send the acknowledgements due, sign and send one request, return its result; see `Merchant.aggregate`."""
        contract = record.contract
        deadline_ms = self._context.clock.now_ms() + timeout_ms
        # Is it there? Nothing is recorded before.
        self._contracts.get(contract.computing_party, record.contract_id, timeout_ms=timeout_ms)
        self._witnessing.freshen(min(WITNESS_MS, timeout_ms // 4))
        self._session.flush_acknowledgements(wait_ms=min(ACKNOWLEDGE_MS, timeout_ms // 4))
        terms = RequestTerms(
            contract=record.contract_id,
            merchant=self._context.name,
            participants=contract.providers,
            computing_party=contract.computing_party,
            attempt=FIRST_ATTEMPT,
            issued_at_ms=self._context.clock.now_ms(),
            deadline_ms=deadline_ms,
        )
        request, openings = build_request(terms, query, contract.purpose, key.public_key, self._context.entropy)
        envelope = sign_request(request, self._context.key)
        call = MerchantCall.of(parse_request(envelope.encode()), openings, contract)
        self._progress.advance(ASKING, 0, 1)
        try:
            result = self._run(call, key)
        finally:
            self._witnessing.push_quietly(WITNESS_MS)
        self._progress.advance(ASKING, 1, 1)
        return _result(record, call, result)

    def resume(self, contracts: MerchantContracts, key: Callable[[], PrivateKey]) -> tuple[AggregateResult, ...]:
        """Fetch the answers of unfinished calls; those that have none, and are past their deadline, are given up."""
        results = []
        for sent in self._invocation.open_calls():
            record = contracts.find(sent.contract)
            call = self._load(sent, record)
            try:
                results.append(_result(record, call, self._session.resume(call, key())))
            except (DeniedError, PeerUnavailableError):
                continue
        return tuple(results)

    def _run(self, call: MerchantCall, key: PrivateKey) -> MerchantResult:
        computing_party, deadline_ms = call.parsed.request.computing_party, call.parsed.request.deadline_ms
        try:
            return self._session.run(call, key)
        except PeerCannotRecordError:
            self._invocation.abort(call.parsed.call, AbortReason.PEER_UNAVAILABLE)  # nothing was taken
            raise
        except PeerUnavailableError as error:
            if error.party != computing_party:
                raise
            return self._fetch(call, key, deadline_ms, error)

    def _fetch(
        self, call: MerchantCall, key: PrivateKey, deadline_ms: int, lost: PeerUnavailableError
    ) -> MerchantResult:
        """The line broke after the request may have been sent: fetch the stored answer until the deadline.

        Asked after the deadline, a computing party that has no answer ends the call here too. One that is silent may
        have an answer that all providers have recorded: the call stays open, and `resume` fetches it or ends it.
        """
        while (left_ms := deadline_ms - self._context.clock.now_ms()) > 0:
            time.sleep(min(RETRY_SECONDS, left_ms / 1000))
            try:
                return self._session.resume(call, key, wait_ms=max(LAST_ASK_MS, left_ms))
            except PeerUnavailableError:
                continue
            except DeniedError as error:
                if error.reason is not DenialReason.STALE:
                    raise
        raise lost

    def _load(self, sent: SentCall, record: ContractRecord) -> MerchantCall:
        vault = self._context.vault
        envelope = vault.get(VaultKind.MESSAGE, f"{REQUEST}/{sent.call}")
        openings = vault.get(VaultKind.OPENINGS, f"{sent.call}/{REQUEST}")
        if envelope is None or openings is None:
            raise VaultError(f"the vault lacks the request of call {sent.call[:16]}: restore it from the backup")
        return MerchantCall.of(parse_request(envelope), decode_openings(openings, MAX_OPENINGS_BYTES), record.contract)


def _result(record: ContractRecord, call: MerchantCall, result: MerchantResult) -> AggregateResult:
    participants = call.parsed.request.participants
    cells = ReleasedCells(result.totals, result.contributors, len(participants))
    shown = present(call.query, record.contract.frame, cells)
    return AggregateResult(
        frame=shown.frame,
        tables=shown.tables,
        exact=shown.exact,
        units=shown.units,
        notes=shown.notes,
        call=result.call,
        contract=record.contract_id,
        providers=record.contract.providers,
        receipts=tuple(
            Receipt(envelope.digest, payload, envelope)
            for envelope, payload in zip(result.receipts, result.payloads, strict=True)
        ),
        price=amount(result.price_micro),
        currency=result.currency,
        epsilon=Decimal(sum(payload.units.micro_epsilon for payload in result.payloads)) / MICRO,
        cells=shown.cells,
        withheld=shown.withheld,
    )
