"""A key is rotated while receipts are under way: what was signed in its time counts, what came after does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.entry import Ack
from audit.envelope import Envelope
from audit.keys import KeyPurpose, SigningKey
from audit.names import Role
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError
from sandbox.invocation_merchant import MerchantInvocation
from sandbox.receipt_checks import CLOCK_SKEW_MS, ReceiptTerms, verify_part_receipt
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import AlwaysHeard, Federation, Provider, only
from tests.sandbox.survey import AT_MS, MERCHANT, signing_key
from tests.sandbox.test_invocation import complete

OLD = signing_key(MERCHANT, Role.MERCHANT)
NEW = SigningKey.from_seed(OLD.name, b"n" * 32)
BEYOND_MS = CLOCK_SKEW_MS + 1


def rotate(federation: Federation, party: str, key: SigningKey, *, at_ms: int) -> None:
    """What every party holds a minute after `party` has rotated its message key at `at_ms`."""
    record = federation.directory.party(party).rotated({KeyPurpose.MESSAGE: key.verifying_key}, at_ms)
    parties = tuple(record if each.name == party else each for each in federation.directory.parties)
    federation.directory = replace(federation.directory, version=federation.directory.version + 1, parties=parties)


def revoke_old(federation: Federation) -> None:
    record = federation.directory.party(MERCHANT).revoked([OLD.verifying_key.keyid], AT_MS + 1)
    parties = tuple(record if each.name == MERCHANT else each for each in federation.directory.parties)
    federation.directory = replace(federation.directory, version=federation.directory.version + 1, parties=parties)


def unacknowledged(federation: Federation) -> Provider:
    """A run whose acknowledgements have not arrived yet."""
    federation.faults.drop.add(("acknowledge", "east"))
    federation.run()
    federation.faults.drop.clear()
    return federation.providers["east"]


def receipts(federation: Federation) -> list[Envelope]:
    return [Envelope.decode(data) for found in federation.merchant.invocation.outbox().values() for data in found]


def own(federation: Federation, provider: Provider) -> Envelope:
    """The provider's receipt as the merchant has countersigned it."""
    return next(found for found in receipts(federation) if provider.record.key(KeyPurpose.MESSAGE).keyid in str(found))


def test_an_acknowledgement_from_before_the_rotation_is_recorded_after_it(federate: MakeFederation) -> None:
    federation = federate(2)
    provider = unacknowledged(federation)
    signed = own(federation, provider)
    rotate(federation, MERCHANT, NEW, at_ms=federation.clock.now_ms())
    provider.invocation.acknowledge(signed)
    (ack,) = only(Ack, provider.entries())
    assert ack.signature.keyid == OLD.verifying_key.keyid


def test_a_key_that_was_retired_before_the_receipt_was_issued_acknowledges_nothing(federate: MakeFederation) -> None:
    federation = federate(2)
    federation.clock.at_ms += 2 * BEYOND_MS
    provider = unacknowledged(federation)
    signed = own(federation, provider)
    rotate(federation, MERCHANT, NEW, at_ms=federation.clock.now_ms() - BEYOND_MS)
    with pytest.raises(DeniedError) as denied:
        provider.invocation.acknowledge(signed)
    assert denied.value.reason is DenialReason.BAD_SIGNATURE
    assert not only(Ack, provider.entries())


def test_after_its_key_was_revoked_a_merchant_acknowledges_again_by_the_next(federate: MakeFederation) -> None:
    federation = federate(2)
    provider = unacknowledged(federation)
    revoke_old(federation)
    rotate(federation, MERCHANT, NEW, at_ms=federation.clock.now_ms())
    with pytest.raises(DeniedError):
        provider.invocation.acknowledge(own(federation, provider))
    merchant = federation.merchant
    context = replace(merchant.context, key=NEW)
    later = MerchantInvocation(context, merchant.ledger, merchant.calls, AlwaysHeard())
    for found in later.outbox().values():
        for data in found:
            envelope = Envelope.decode(data)
            if provider.record.key(KeyPurpose.MESSAGE).keyid in str(envelope):
                provider.invocation.acknowledge(envelope)
    (ack,) = only(Ack, provider.entries())
    assert ack.signature.keyid == NEW.verifying_key.keyid


@pytest.mark.parametrize(("moved_ms", "counts"), [(0, True), (-BEYOND_MS, False)])
def test_a_stored_answers_receipt_by_the_providers_earlier_key_counts_if_it_was_in_use(
    federate: MakeFederation, moved_ms: int, counts: bool
) -> None:
    federation = federate(2)
    federation.clock.at_ms += 2 * BEYOND_MS
    call, provider = federation.merchant.call(), federation.computing
    item = provider.authorised(call)
    receipt = complete(provider, item)
    terms = ReceiptTerms(call.parsed.call, call.parsed.request, federation.contract, item.units.ciphertexts)
    fresh = SigningKey.from_seed(signing_key(provider.name, Role.PROVIDER).name, b"p" * 32)
    rotate(federation, provider.name, fresh, at_ms=federation.clock.now_ms() + moved_ms)

    def verify() -> None:
        verify_part_receipt(receipt.encode(), provider=provider.name, terms=terms, directory=federation.directory)

    if counts:
        verify()
    else:
        with pytest.raises(PeerMisbehavedError):
            verify()
