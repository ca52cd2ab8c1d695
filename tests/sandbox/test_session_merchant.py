from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.entry import Aborted, Ack, Intent, Outcome
from audit.envelope import Envelope
from audit.names import KeyPurpose, Role
from audit.receipt import issue, read_receipt, verify_receipt
from audit.statement import statement
from protocols.paillier import add_plain
from protocols.paillier_checks import decode_ciphertexts, encode_ciphertexts
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError, PeerUnavailableError
from sandbox.invocation_merchant import MerchantCalls
from sandbox.ports import AnswerMessage
from sandbox.roster import Bitmap, Roster
from sandbox.session_merchant import MerchantCall
from sandbox.stored_messages import encode_answer
from sandbox.vault import VaultKind
from tests.sandbox.conftest import NAMES, MakeFederation
from tests.sandbox.federation import Federation, only
from tests.sandbox.survey import MERCHANT, TARIFF, other_paillier_key, paillier_key, signing_key, survey


def test_receipts_bear_both_signatures_and_are_recorded_on_both_sides(federate: MakeFederation) -> None:
    federation = federate(3)
    result = federation.run()
    assert len(result.receipts) == 3
    for (name, provider), receipt in zip(federation.providers.items(), result.receipts, strict=True):
        payload = verify_receipt(
            receipt,
            provider_key=federation.directory.party(name).key(KeyPurpose.MESSAGE),
            merchant_key=federation.directory.party(MERCHANT).key(KeyPurpose.MESSAGE),
        )
        assert payload.provider == name
        assert [entry.receipt_id for entry in only(Ack, provider.entries())] == [receipt.digest]
    own = federation.merchant.entries()
    (intent,) = only(Intent, own)
    assert [entry.receipt for entry in only(Outcome, own)] == list(result.receipts)
    assert len(only(Ack, own)) == 3
    assert intent.price_micro == sum(entry.price_micro for entry in only(Outcome, own)) == result.price_micro
    assert federation.merchant.calls.open_calls() == ()
    assert federation.merchant.invocation.outbox() == {}


def test_the_merchants_statement_is_the_sum_of_the_providers(federate: MakeFederation) -> None:
    federation = federate(3)
    for _ in range(2):
        federation.run()
    federation.faults.drop.add(("part", "south"))
    with pytest.raises(PeerUnavailableError):
        federation.run()
    ledgers = [provider.entries() for provider in federation.providers.values()]
    totals = [statement(entries, contract=federation.contract_id, tariff=TARIFF).total_micro for entries in ledgers]
    own = statement(federation.merchant.entries(), contract=federation.contract_id, tariff=TARIFF).total_micro
    assert own == sum(totals) > 0
    assert len(set(totals)) == 1


def test_intent_is_in_the_ledger_before_anything_is_sent(federate: MakeFederation) -> None:
    federation = federate()
    seen: list[int] = []

    def look(asked: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(len(only(Intent, federation.merchant.entries())))
        return asked

    federation.faults.requests["aggregate", "east"] = look
    federation.run()
    assert seen == [1]


def test_a_key_other_than_the_signed_one_is_refused_before_anything_is_recorded(federate: MakeFederation) -> None:
    federation = federate()
    with pytest.raises(DeniedError) as caught:
        federation.merchant.session.run(federation.merchant.call(), other_paillier_key())
    assert caught.value.reason is DenialReason.KEY_MISMATCH
    assert only(Intent, federation.merchant.entries()) == []


def test_the_same_request_is_not_sent_twice(federate: MakeFederation) -> None:
    federation = federate()
    call = federation.merchant.call()
    federation.merchant.session.run(call, paillier_key())
    with pytest.raises(DeniedError) as caught:
        federation.merchant.session.run(call, paillier_key())
    assert caught.value.reason is DenialReason.REPLAYED


def test_a_refused_request_is_aborted_in_the_merchants_ledger(federate: MakeFederation) -> None:
    federation = federate(calls=1)
    federation.run()
    with pytest.raises(DeniedError) as caught:
        federation.run()
    assert caught.value.reason is DenialReason.QUOTA_EXHAUSTED
    assert caught.value.left["calls"] == 0
    assert [entry.reason for entry in only(Aborted, federation.merchant.entries())] == ["PEER_DENIED"]


def add_to_first_slot(amount: int) -> Callable[[AnswerMessage], AnswerMessage]:
    """The computing party adds to the number of rows of the first cell; anyone can, under a homomorphic key."""

    def alter(answer: AnswerMessage) -> AnswerMessage:
        key = paillier_key().public_key
        values = decode_ciphertexts(answer.totals, answer.width, key, count=len(answer.totals) // answer.width)
        return replace(answer, totals=encode_ciphertexts([add_plain(values[0], amount, key), *values[1:]], key))

    return alter


def reroster(change: Callable[[Roster], Roster], signer: str = "east") -> Callable[[AnswerMessage], AnswerMessage]:
    def alter(answer: AnswerMessage) -> AnswerMessage:
        roster = change(Roster.from_envelope(Envelope.decode(answer.roster)))
        return replace(answer, roster=roster.sign(signing_key(signer, Role.PROVIDER)).encode())

    return alter


def dearer(answer: AnswerMessage) -> AnswerMessage:
    """The computing party overstates its own price, over its own signature."""
    payload = read_receipt(Envelope.decode(answer.receipts[0]))
    receipt = issue(replace(payload, price_micro=payload.price_micro + 1), signing_key("east", Role.PROVIDER))
    return replace(answer, receipts=(receipt.encode(), *answer.receipts[1:]))


ALTERATIONS: dict[str, Callable[[AnswerMessage], AnswerMessage]] = {
    "another call": lambda answer: replace(answer, call="00" * 32),
    "a receipt missing": lambda answer: replace(answer, receipts=answer.receipts[:-1]),
    "receipts reordered": lambda answer: replace(answer, receipts=answer.receipts[::-1]),
    "one receipt twice": lambda answer: replace(answer, receipts=(answer.receipts[0],) * 3),
    "a dearer receipt": dearer,
    "a roster of a peer": reroster(lambda roster: roster, signer="north"),
    "a roster without one": reroster(
        lambda roster: replace(roster, offers={key: roster.offers[key] for key in ("east", "north")})
    ),
    "a roster of another call": reroster(lambda roster: replace(roster, call="00" * 32)),
    "a roster that closes cells": reroster(lambda roster: replace(roster, closed=Bitmap((True,) * 8).encode())),
    "contributors below the minimum": lambda answer: replace(answer, contributors=bytes([1] * 8)),
    "contributors beyond the set": lambda answer: replace(answer, contributors=bytes([4] * 8)),
    "a cell missing": lambda answer: replace(answer, contributors=answer.contributors[:-1]),
    "zero for a ciphertext": lambda answer: replace(answer, totals=bytes(len(answer.totals))),
    "another width": lambda answer: replace(answer, width=answer.width - 1),
    "a ciphertext less": lambda answer: replace(answer, totals=answer.totals[: -answer.width]),
    "totals beyond their bounds": add_to_first_slot(3 * 2**32),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_answer_is_refused_aborted_and_never_acknowledged(federate: MakeFederation, name: str) -> None:
    federation = federate(3)
    federation.faults.replies["aggregate", "east"] = ALTERATIONS[name]
    with pytest.raises(PeerMisbehavedError):
        federation.run()
    own = federation.merchant.entries()
    assert [entry.reason for entry in only(Aborted, own)] == ["PEER_MISBEHAVED"]
    assert only(Outcome, own) == only(Ack, own) == []
    assert federation.merchant.invocation.outbox() == {}
    assert all(only(Ack, provider.entries()) == [] for provider in federation.providers.values())


def test_a_closed_cell_that_is_not_zero_is_refused(tmp_path: Path) -> None:
    data = {name: survey(seed, 60, levels=(9, 13)) for seed, name in enumerate(NAMES[:3])}
    federation = Federation(tmp_path, data)
    federation.faults.replies["aggregate", "east"] = add_to_first_slot(1)
    with pytest.raises(PeerMisbehavedError, match="cell 0 is none that 0 contributors"):
        federation.run()
    federation.faults.replies["aggregate", "east"] = add_to_first_slot(0)
    assert federation.run().contributors[0] == 0
    federation.close()


def test_fewer_rows_than_the_smallest_groups_of_all_contributors_are_refused(federate: MakeFederation) -> None:
    federation = federate(3)
    rows, contributors = federation.pooled()[0][0][0], federation.pooled()[1][0]
    too_few = rows - 3 * contributors + 1
    federation.faults.replies["aggregate", "east"] = add_to_first_slot(paillier_key().public_key.n - too_few)
    with pytest.raises(PeerMisbehavedError, match="cell 0"):
        federation.run()


def test_a_dropped_part_shows_when_the_merchant_decrypts(federate: MakeFederation) -> None:
    """A computing party that leaves a part out: the masks of the others do not cancel."""
    federation = federate(3)

    def only_one_part(answer: AnswerMessage) -> AnswerMessage:
        part = next(reply.part for method, party, reply in federation.wire if (method, party) == ("part", "north"))
        return replace(answer, totals=part)

    federation.faults.replies["aggregate", "east"] = only_one_part
    with pytest.raises(PeerMisbehavedError) as caught:
        federation.run()
    assert caught.value.reason is DenialReason.BAD_CIPHERTEXT


def lose_the_answer(federation: Federation) -> MerchantCall:
    """The computing party answers, but the line breaks."""

    def lose(answer: AnswerMessage) -> AnswerMessage:
        raise PeerUnavailableError("east", "the connection was reset")

    federation.faults.replies["aggregate", "east"] = lose
    call = federation.merchant.call()
    with pytest.raises(PeerUnavailableError):
        federation.merchant.session.run(call, paillier_key())
    federation.faults.replies.clear()
    return call


def test_an_answer_lost_on_its_way_can_be_fetched_after_a_restart(federate: MakeFederation) -> None:
    federation = federate(3)
    call = lose_the_answer(federation)
    assert only(Aborted, federation.merchant.entries()) == []
    federation.merchant.stop()
    federation.merchant.start()
    (open_call,) = federation.merchant.invocation.open_calls()
    assert open_call.call == call.parsed.call
    result = federation.merchant.session.resume(call, paillier_key())
    assert list(result.totals) == federation.pooled()[0]
    assert federation.merchant.invocation.open_calls() == ()
    assert all(len(only(Ack, provider.entries())) == 1 for provider in federation.providers.values())


def test_a_call_kept_by_a_crash_from_being_recorded_is_finished_from_the_vault(federate: MakeFederation) -> None:
    federation = federate(3)
    call = lose_the_answer(federation)
    (answer,) = [reply for method, _, reply in federation.wire if method == "aggregate"]
    federation.merchant.invocation.keep_answer(call.parsed.call, encode_answer(answer))
    federation.faults.drop.add(("answer", "east"))
    result = federation.merchant.session.resume(call, paillier_key())
    again = federation.merchant.session.resume(call, paillier_key())
    assert result == again
    assert len(only(Outcome, federation.merchant.entries())) == len(only(Ack, federation.merchant.entries())) == 3


def test_a_call_of_which_nobody_keeps_an_answer_is_aborted_past_its_deadline(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.drop.add(("aggregate", "east"))
    call = federation.merchant.call()
    with pytest.raises(PeerUnavailableError):
        federation.merchant.session.run(call, paillier_key())
    for passed, ended in ((0, 0), (60_000, 1)):
        federation.clock.at_ms += passed
        with pytest.raises(DeniedError):
            federation.merchant.session.resume(call, paillier_key())
        assert len(only(Aborted, federation.merchant.entries())) == ended


def test_acknowledgements_that_cannot_be_taken_now_are_sent_again(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.drop.add(("acknowledge", "south"))
    result = federation.run()
    south = federation.providers["south"]
    assert south.admission.outstanding(MERCHANT) == 1
    assert list(federation.merchant.invocation.outbox()) == [result.call]
    federation.merchant.stop()
    federation.merchant.start()
    assert len(federation.merchant.session.flush_acknowledgements().pending) == 1
    federation.faults.drop.clear()
    assert federation.merchant.session.flush_acknowledgements().recorded == (result.receipts[2].digest,)
    assert south.admission.outstanding(MERCHANT) == 0
    assert federation.merchant.invocation.outbox() == {}


def test_a_computing_party_that_claims_receipts_it_was_not_sent_empties_no_outbox(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.replies["acknowledge", "east"] = lambda result: replace(result, recorded=("00" * 32,))
    federation.run()
    (waiting,) = federation.merchant.invocation.outbox().values()
    assert len(waiting) == 3


def test_the_merchants_fold_rebuilt_from_the_ledger_equals_the_live_one(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.run()
    lose_the_answer(federation)
    again = MerchantCalls()
    for index, entry in enumerate(federation.merchant.entries()):
        again.apply(index, entry)
    assert again.open_calls() == federation.merchant.calls.open_calls()
    assert len(again.open_calls()) == 1


def test_both_signatures_and_the_requests_openings_are_in_the_vault(federate: MakeFederation) -> None:
    federation = federate(3)
    result = federation.run()
    vault = federation.merchant.vault
    for receipt in result.receipts:
        assert vault.get(VaultKind.RECEIPT, receipt.digest) == receipt.encode()
    assert vault.get(VaultKind.OPENINGS, f"{result.call}/request") is not None
    assert vault.get(VaultKind.MESSAGE, f"request/{result.call}") is not None
