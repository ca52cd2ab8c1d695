from __future__ import annotations

import pytest

from audit.commitment import commit, decode_openings, verify_openings
from audit.entry import Aborted, Ack, Denied, Intent, Outcome
from audit.envelope import Envelope
from audit.errors import LedgerError
from audit.hashes import sha256
from audit.names import KeyPurpose, Role
from audit.receipt import countersign, read_receipt, verify_receipt
from sandbox.admission import Usage
from sandbox.authorise import Authorised
from sandbox.errors import AbortedRunError, DenialReason, DeniedError
from sandbox.invocation import PART, AbortReason, Denial, Invocation, Release
from sandbox.vault import VaultKind
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import AlwaysHeard, Federation, Provider, only
from tests.sandbox.survey import MERCHANT, signing_key

RELEASE = Release(b"the part", b'{"measures":[]}', "ab" * 32)
MERCHANT_KEY = signing_key(MERCHANT, Role.MERCHANT)


def authorised(federation: Federation) -> Authorised:
    return federation.computing.authorised(federation.merchant.call())


def complete(provider: Provider, item: Authorised) -> Envelope:
    grant = provider.invocation.enter(item)
    return provider.invocation.complete(grant, RELEASE, lambda receipt: {PART: b"stored " + receipt.encode()})


def test_intent_comes_before_and_outcome_before_the_part_may_leave(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    grant = provider.invocation.enter(item)
    assert provider.invocation.message(PART, item.call) is None
    receipt = provider.invocation.complete(grant, RELEASE, lambda receipt: {PART: b"stored"})
    (intent,), (outcome,) = only(Intent, provider.entries()), only(Outcome, provider.entries())
    assert intent.call == outcome.call == item.call
    assert outcome.receipt_id == receipt.digest
    assert outcome.request == item.envelope
    assert provider.invocation.message(PART, item.call) == b"stored"


def test_the_receipt_says_what_was_authorised_and_its_commitments_open(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    receipt = complete(provider, item)
    payload = verify_receipt(
        receipt, provider_key=federation.directory.party(provider.name).key(KeyPurpose.MESSAGE), merchant_key=None
    )
    assert (payload.call, payload.units, payload.price_micro) == (item.call, item.units, item.price_micro)
    stored = provider.vault.get(VaultKind.OPENINGS, f"{item.call}/outcome")
    assert stored is not None
    openings = decode_openings(stored, 10_000)
    commitments = {
        "response": payload.response,
        "released_statistic": payload.released_statistic,
        "dataset_content": payload.dataset_content,
    }
    verify_openings(commitments, openings)
    assert openings["dataset_content"].value.hex() == RELEASE.content
    assert openings["response"].value == sha256(RELEASE.part)
    assert commit("response", openings["response"].salt, sha256(b"another part")) != payload.response


def test_the_requests_openings_are_kept_too(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    provider.invocation.enter(item)
    stored = provider.vault.get(VaultKind.OPENINGS, f"{item.call}/request")
    assert stored is not None
    verify_openings(item.request.commitments, decode_openings(stored, 100_000))


def test_vault_holds_message_receipt_and_openings_before_the_ledger_says_outcome(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    seen: list[tuple[int, bool]] = []
    append = provider.ledger.append

    class Watching:
        """The real ledger, looked over the shoulder of."""

        find = provider.ledger.find

        def append(self, draft: object) -> object:
            kept = provider.vault.get(VaultKind.MESSAGE, f"{PART}/{item.call}") is not None
            seen.append((len(only(Outcome, provider.entries())), kept))
            return append(draft)  # type: ignore[arg-type]

    watched = Invocation(provider.context, Watching(), provider.admission, AlwaysHeard())  # type: ignore[arg-type]
    grant = watched.enter(item)
    watched.complete(grant, RELEASE, lambda receipt: {PART: b"stored"})
    assert seen == [(0, False), (0, True)]


def test_if_the_ledger_cannot_record_nothing_is_released(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    grant = provider.invocation.enter(item)
    provider.ledger.close()
    with pytest.raises(LedgerError):
        provider.invocation.complete(grant, RELEASE, lambda receipt: {PART: b"stored"})
    assert provider.vault.get(VaultKind.MESSAGE, f"{PART}/{item.call}") is None
    provider.vault.close()
    provider.start()
    assert provider.invocation.message(PART, item.call) is None


def test_a_message_in_the_vault_without_its_outcome_is_never_given(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    provider.invocation.enter(item)
    provider.vault.put(VaultKind.MESSAGE, f"{PART}/{item.call}", b"written just before a kill -9")
    assert provider.invocation.message(PART, item.call) is None
    provider.restart()
    assert provider.invocation.message(PART, item.call) is None
    assert provider.vault.get(VaultKind.MESSAGE, f"{PART}/{item.call}") is None


def test_after_a_crash_before_the_outcome_the_call_is_aborted_and_given_back(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    provider.invocation.enter(item)
    provider.restart()
    (aborted,) = only(Aborted, provider.entries())
    assert (aborted.call, aborted.released, aborted.reason) == (item.call, False, "INTERRUPTED")
    assert provider.admission.usage(federation.contract_id) == Usage()
    provider.restart()
    assert len(only(Aborted, provider.entries())) == 1


def test_after_a_crash_behind_the_outcome_nothing_is_given_back(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    receipt = complete(provider, item)
    provider.restart()
    assert only(Aborted, provider.entries()) == []
    assert provider.admission.usage(federation.contract_id).calls == 1
    assert provider.invocation.message(PART, item.call) == b"stored " + receipt.encode()


def test_a_call_that_was_ended_meanwhile_is_not_completed(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    grant = provider.invocation.enter(item)
    provider.invocation.abort(item.call, AbortReason.EXPIRED)
    with pytest.raises(AbortedRunError):
        provider.invocation.complete(grant, RELEASE, lambda receipt: {PART: b"stored"})
    assert only(Outcome, provider.entries()) == []


def test_a_call_is_not_completed_past_its_deadline_nor_twice(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    grant = provider.invocation.enter(item)
    federation.clock.at_ms = item.request.deadline_ms
    with pytest.raises(AbortedRunError):
        provider.invocation.complete(grant, RELEASE, lambda receipt: {})
    federation.clock.at_ms -= 1
    provider.invocation.complete(grant, RELEASE, lambda receipt: {})
    with pytest.raises(AbortedRunError):
        provider.invocation.complete(grant, RELEASE, lambda receipt: {})
    assert len(only(Outcome, provider.entries())) == 1


@pytest.mark.parametrize("after_outcome", [False, True])
def test_whether_a_part_may_have_left_is_read_from_the_ledger(federate: MakeFederation, after_outcome: bool) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    if after_outcome:
        complete(provider, item)
    else:
        provider.invocation.enter(item)
    assert provider.invocation.abort(item.call, AbortReason.PEER_UNAVAILABLE)
    (aborted,) = only(Aborted, provider.entries())
    assert (aborted.released, aborted.reason) == (after_outcome, "PEER_UNAVAILABLE")
    assert provider.invocation.message(PART, item.call) is None
    assert not provider.invocation.abort(item.call, AbortReason.OTHER)


def test_a_countersigned_receipt_is_recorded_once_and_closes_the_call(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    signed = countersign(complete(provider, item), MERCHANT_KEY)
    assert provider.invocation.acknowledge(signed) == provider.invocation.acknowledge(signed) == signed.digest
    (ack,) = only(Ack, provider.entries())
    assert ack.receipt_id == signed.digest
    assert provider.invocation.state(item.call) is None
    assert provider.invocation.message(PART, item.call) is None
    stored = provider.vault.get(VaultKind.RECEIPT, signed.digest)
    assert stored is not None
    assert Envelope.decode(stored) == signed
    provider.restart()
    assert provider.invocation.acknowledge(signed) == signed.digest
    assert not provider.invocation.abort(item.call, AbortReason.OTHER)


def test_only_the_merchants_signature_acknowledges(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    receipt = complete(provider, item)
    for unsigned in (receipt, receipt.sign(signing_key("north", Role.PROVIDER))):
        with pytest.raises(DeniedError) as caught:
            provider.invocation.acknowledge(unsigned)
        assert caught.value.reason is DenialReason.BAD_SIGNATURE
    assert only(Ack, provider.entries()) == []


def test_a_receipt_that_was_never_issued_here_is_denied(federate: MakeFederation) -> None:
    federation = federate()
    north = federation.providers["north"]
    call = federation.merchant.call()
    other = countersign(complete(north, north.authorised(call)), MERCHANT_KEY)
    with pytest.raises(DeniedError) as caught:
        federation.computing.invocation.acknowledge(other)
    assert caught.value.reason is DenialReason.COMMITMENT_MISMATCH


def test_an_aborted_call_takes_no_acknowledgement(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    signed = countersign(complete(provider, item), MERCHANT_KEY)
    provider.invocation.abort(item.call, AbortReason.PEER_UNAVAILABLE)
    with pytest.raises(DeniedError) as caught:
        provider.invocation.acknowledge(signed)
    assert caught.value.reason is DenialReason.STALE
    assert only(Ack, provider.entries()) == []


def test_a_signature_by_a_stranger_on_the_receipt_is_not_kept(federate: MakeFederation) -> None:
    federation = federate()
    provider, item = federation.computing, authorised(federation)
    receipt = complete(provider, item)
    stranger = signing_key("stranger", Role.MERCHANT)
    provider.invocation.acknowledge(countersign(receipt, MERCHANT_KEY).sign(stranger))
    stored = provider.vault.get(VaultKind.RECEIPT, receipt.digest)
    assert stored is not None
    assert Envelope.decode(stored) == countersign(receipt, MERCHANT_KEY)
    assert read_receipt(Envelope.decode(stored)).merchant == MERCHANT


def test_a_flood_of_denials_becomes_one_counted_entry_a_minute(federate: MakeFederation) -> None:
    federation = federate()
    provider = federation.computing
    error = DeniedError(DenialReason.BAD_SIGNATURE, "authorise.signature" * 20, "no", check=2)
    for _ in range(130):
        provider.invocation.deny(error, Denial("spiffe://stats.example/merchant/shop", merchant=MERCHANT))
    assert [entry.count for entry in only(Denied, provider.entries())] == [1] * 100
    federation.clock.at_ms += 60_000
    provider.invocation.sweep()
    assert [entry.count for entry in only(Denied, provider.entries())] == [1] * 100 + [30]
    provider.invocation.close()
    assert len(only(Denied, provider.entries())) == 101


def test_closing_writes_the_denials_that_are_still_collapsed(federate: MakeFederation) -> None:
    provider = federate().computing
    error = DeniedError(DenialReason.REPLAYED, "nonce", "again")
    for _ in range(102):
        provider.invocation.deny(error, Denial("spiffe://stats.example/merchant/shop"))
    provider.invocation.close()
    assert only(Denied, provider.entries())[-1].count == 2


@pytest.mark.parametrize(("text", "reason"), [("EXPIRED", AbortReason.EXPIRED), ("rm -rf", AbortReason.OTHER)])
def test_no_free_text_of_a_peer_becomes_a_reason(text: str, reason: AbortReason) -> None:
    assert AbortReason.read(text) is reason


class Silent:
    """Witnesses that fall silent when told to."""

    def __init__(self) -> None:
        self.silent = False

    def verify_heard(self) -> None:
        if self.silent:
            raise DeniedError(DenialReason.WITNESSES_UNHEARD, "witness", "for a test")


def test_while_its_witnesses_are_unheard_nothing_is_taken(federate: MakeFederation) -> None:
    federation = federate()
    provider, item, watch = federation.computing, authorised(federation), Silent()
    invocation = Invocation(provider.context, provider.ledger, provider.admission, watch)
    watch.silent = True
    with pytest.raises(DeniedError) as caught:
        invocation.enter(item)
    assert caught.value.reason is DenialReason.WITNESSES_UNHEARD
    assert only(Intent, provider.entries()) == []
    watch.silent = False
    invocation.enter(item)
    assert len(only(Intent, provider.entries())) == 1


def test_witnesses_that_fall_silent_during_a_call_keep_its_receipt_from_being_signed(federate: MakeFederation) -> None:
    federation = federate()
    provider, item, watch = federation.computing, authorised(federation), Silent()
    invocation = Invocation(provider.context, provider.ledger, provider.admission, watch)
    grant = invocation.enter(item)
    watch.silent = True
    with pytest.raises(DeniedError):
        invocation.complete(grant, RELEASE, lambda receipt: pytest.fail("a receipt was signed"))
    assert only(Outcome, provider.entries()) == []
    assert list(provider.vault.items(VaultKind.RECEIPT, "")) == []
