"""A provider's compute room: from a caller's bytes to an authorised request, and on to the sessions that run it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from audit.errors import MalformedError
from parties.provider_datasets import ServedDatasets
from parties.service.edge import Caller
from protocols.errors import BadModulusError
from protocols.paillier_key import PublicKey, Scheme
from sandbox.authorise import AuthoriseContext, Authorised, AuthoriseLimits, Leg, authorise
from sandbox.contract_book import ContractBook
from sandbox.contract_record import ContractRecord
from sandbox.declaration_model import DatasetDescription
from sandbox.errors import DenialReason, DeniedError
from sandbox.ports import AckResult, AnswerMessage, OfferMessage, PartMessage, PartyContext, PublicKeyBytes, SignedBytes
from sandbox.request import parse_request
from sandbox.session_aggregate import AggregateSessions
from sandbox.session_computing import ComputingSessions


@dataclass(frozen=True, slots=True)
class ComputeRoom:
    """What stands behind the compute service. Threads may share one.

    `places` are the joint aggregates that may run here at one time: fewer than the server has threads, so that offers
    and parts for other computing parties' runs always find one, and no ring of computing parties waits for itself.
    """

    context: PartyContext
    book: ContractBook
    datasets: ServedDatasets
    own: AggregateSessions
    computing: ComputingSessions
    limits: AuthoriseLimits
    places: threading.Semaphore

    def aggregate(self, signed: SignedBytes, key: PublicKeyBytes, caller: Caller) -> AnswerMessage:
        """Run one joint aggregate as its computing party, for the contract's merchant."""
        authorised = self._authorise(signed, key, caller, Leg.DIRECT)
        if not self.places.acquire(blocking=False):
            detail = "as many joint aggregates as this provider combines at one time are running; ask again in a moment"
            raise DeniedError(DenialReason.RATE_LIMITED, "limits.threads", detail)
        try:
            return self.computing.run(authorised, signed, key)
        finally:
            self.places.release()

    def offer(self, signed: SignedBytes, key: PublicKeyBytes, caller: Caller) -> OfferMessage:
        """Admit a request that its computing party forwards, and offer."""
        return self.own.offer(self._authorise(signed, key, caller, Leg.FORWARDED))

    def part(self, call: str, offers: tuple[bytes, ...], roster: bytes, caller: Caller) -> PartMessage:
        """Give the part for one roster to the call's computing party."""
        return self.own.part(call, offers, roster, peer=caller.peer)

    def abort(self, call: str, reason: str, caller: Caller) -> None:
        """End a call on its computing party's word."""
        self.own.abort(call, reason, peer=caller.peer)

    def answer(self, call: str, caller: Caller) -> AnswerMessage:
        """Return the stored answer to the merchant whose call it is."""
        return self.computing.answer(call, peer=caller.peer)

    def acknowledge(self, receipts: tuple[bytes, ...], caller: Caller) -> AckResult:
        """Record countersigned receipts and forward those of the peers."""
        return self.computing.acknowledge(receipts, peer=caller.peer, deadline_ms=caller.deadline_ms)

    def _authorise(self, signed: SignedBytes, key: PublicKeyBytes, caller: Caller, leg: Leg) -> Authorised:
        """Run the nine checks for this caller; what a denial is about is noted for its entry as it becomes known."""
        try:
            parsed = parse_request(signed.envelope)
        except MalformedError as error:
            raise DeniedError(DenialReason.MALFORMED, "request", str(error)) from error
        request = parsed.request
        caller.merchant, caller.call, caller.contract = request.merchant, parsed.call, request.contract
        record, description = self._known(request.contract)
        context = AuthoriseContext(
            self.context.name, self.context.directory(), record, description, leg, limits=self.limits
        )
        return authorise(
            parsed,
            signed.openings,
            _public_key(key),
            peer=caller.peer,
            context=context,
            now_ms=self.context.clock.now_ms(),
            grpc_deadline_ms=caller.deadline_ms,
        )

    def _known(self, contract_id: str) -> tuple[ContractRecord | None, DatasetDescription | None]:
        """Return what this party holds of the contract and serves of its data; authorise judges what is missing."""
        try:
            record = self.book.get(contract_id)
        except DeniedError:
            return None, None
        binding = record.contract.datasets.get(self.context.name)
        try:
            return record, None if binding is None else self.datasets.describe(binding.dataset)
        except DeniedError:
            return record, None


def _public_key(key: PublicKeyBytes) -> PublicKey:
    try:
        return PublicKey.from_modulus_bytes(key.modulus, Scheme(key.scheme))
    except ValueError as error:
        known = ", ".join(scheme.value for scheme in Scheme)
        detail = f"the key's scheme {key.scheme!r} is unknown; this release knows {known}"
        raise DeniedError(DenialReason.BAD_MODULUS, "key.scheme", detail, 2) from error
    except BadModulusError as error:
        raise DeniedError(DenialReason.BAD_MODULUS, "key.modulus", str(error), 2) from error
