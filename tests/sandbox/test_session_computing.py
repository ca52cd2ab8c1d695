from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.entry import Aborted, Ack, Denied, Intent, Outcome
from audit.envelope import Envelope
from audit.receipt import issue, read_receipt
from protocols.paillier_checks import encode_ciphertexts
from sandbox.admission import Usage
from sandbox.cells import CellPlan, CellTotals
from sandbox.declaration import DatasetDeclaration
from sandbox.errors import (
    AbortedRunError,
    DenialReason,
    DeniedError,
    PeerMisbehavedError,
    PeerUnavailableError,
    SourceError,
)
from sandbox.invocation import Release
from sandbox.ports import OfferMessage, PartMessage
from sandbox.request import AggregateQuery, DomainFilter, RangeFilter, Statistic, StatisticKind
from sandbox.vault import VaultKind
from tests.sandbox.conftest import NAMES, MakeFederation
from tests.sandbox.federation import KEY_BYTES, Federation, Terms, entries, only, signed_bytes
from tests.sandbox.survey import MERCHANT, identity, paillier_key, survey
from tests.sandbox.test_session_aggregate import Round


@pytest.mark.parametrize("providers", [2, 3, 4])
def test_joint_totals_are_exactly_what_pooling_gives(federate: MakeFederation, providers: int) -> None:
    federation = federate(providers)
    result = federation.run()
    totals, contributors = federation.pooled()
    assert list(result.totals) == totals
    assert list(result.contributors) == contributors
    assert any(contributors)


def test_a_cell_with_one_contributor_is_closed_and_one_withheld_by_a_single_bureau_is_not(tmp_path: Path) -> None:
    data = {name: survey(seed, 80, levels=(9, 13)) for seed, name in enumerate(NAMES)}
    data["east"] = [*data["east"], *[(50_000, 4, "cauc")] * 10]  # no other has anyone in this cell
    data["west"] = [row for row in data["west"] if row[1:] != (9, "afam")] + [(77_700, 9, "afam")] * 2
    federation = Federation(tmp_path, data)
    result = federation.run()
    assert result.contributors == (0, 0, 4, 3, 4, 4, 0, 0)
    assert result.totals[0] == (0, 0)
    assert [list(result.totals), list(result.contributors)] == list(federation.pooled())
    federation.close()


def test_a_single_provider_answers_alone_where_the_contract_says_so(federate: MakeFederation) -> None:
    federation = federate(1, min_contributors=1)
    assert list(federation.run().totals) == federation.pooled()[0]


def test_filters_and_counts_go_the_same_way(federate: MakeFederation) -> None:
    federation = federate(3)
    query = AggregateQuery(
        (Statistic(StatisticKind.SUM, "wage"),),
        ("ethnicity",),
        (RangeFilter("education", 8, 16), DomainFilter("ethnicity", ("afam",))),
    )
    result = federation.run(query=query)
    rows = [row for provider in federation.providers.values() for row in provider.rows]
    wages = [wage for wage, years, group in rows if 8 <= years < 16 and group == "afam"]
    assert result.contributors == (0, 3)
    assert result.totals == ((0, 0), (len(wages), sum(wages)))


def test_every_party_has_its_entries_of_an_answered_call(federate: MakeFederation) -> None:
    federation = federate(3)
    call = federation.merchant.call()
    federation.merchant.session.run(call, paillier_key())
    for provider in federation.providers.values():
        for kind in (Intent, Outcome, Ack):
            assert [entry.call for entry in only(kind, provider.entries())] == [call.parsed.call]
        assert only(Aborted, provider.entries()) == []


@pytest.mark.parametrize("method", ["offer", "part"])
def test_a_missing_peer_is_named_and_the_run_is_over_for_all(federate: MakeFederation, method: str) -> None:
    federation = federate(4)
    federation.faults.drop.add((method, "south"))
    with pytest.raises(PeerUnavailableError) as caught:
        federation.run()
    assert caught.value.party == "south"
    federation.computing.restart()  # whatever was on its way has arrived; aborts that it overtook are sent again
    for provider in federation.providers.values():
        assert len(only(Aborted, provider.entries())) == len(only(Intent, provider.entries())) <= 1
        used = provider.admission.usage(federation.contract_id)
        assert (used.calls, used.fee_micro) == (len(only(Outcome, provider.entries())), 0)
        assert provider.admission.open_calls() == ()
    assert only(Outcome, federation.computing.entries()) == []
    assert federation.computing.admission.usage(federation.contract_id) == Usage()
    assert [entry.reason for entry in only(Aborted, federation.merchant.entries())] == ["PEER_UNAVAILABLE"]
    assert not [reply for done, _, reply in federation.wire if done == "aggregate"]


def test_there_is_no_second_run_over_a_subset(federate: MakeFederation) -> None:
    federation = federate(4)
    federation.faults.drop.add(("offer", "south"))
    with pytest.raises(PeerUnavailableError):
        federation.run()
    with pytest.raises(DeniedError) as caught:
        federation.run(participants=("east", "north", "west"))
    assert caught.value.reason is DenialReason.PARTICIPANT_SET_MISMATCH


def test_parts_given_before_the_failure_stay_spent_and_cost_nothing(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.replies["part", "south"] = lambda part: replace(part, part=bytes(len(part.part)))
    with pytest.raises(PeerMisbehavedError):
        federation.run()
    for name in ("north", "south"):
        (aborted,) = only(Aborted, federation.providers[name].entries())
        given = len(only(Outcome, federation.providers[name].entries()))
        assert aborted.released is bool(given)
        used = federation.providers[name].admission.usage(federation.contract_id)
        assert (used.calls, used.fee_micro) == (given, 0)


def other_key_receipt(federation: Federation, **changes: Any) -> Callable[[PartMessage], PartMessage]:
    """South issues, and signs, a receipt that says something else."""

    def alter(message: PartMessage) -> PartMessage:
        payload = replace(read_receipt(Envelope.decode(message.receipt)), **changes)
        return replace(message, receipt=issue(payload, federation.providers["south"].context.key).encode())

    return alter


def swap_bitmap(message: OfferMessage) -> OfferMessage:
    return replace(message, withheld=bytes([message.withheld[0] ^ 1]))


def swap_refused(message: OfferMessage) -> OfferMessage:
    return replace(message, refused=bytes([message.refused[0] ^ 128]))


@pytest.mark.parametrize(
    ("method", "reply", "reason"),
    [
        ("offer", swap_bitmap, DenialReason.COMMITMENT_MISMATCH),
        ("offer", swap_refused, DenialReason.COMMITMENT_MISMATCH),
        ("offer", lambda m: replace(m, refused=b""), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, refused=bytes(100_000)), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, withheld=b"\xff", refused=b"\x01"), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, withheld=b""), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, salt=b"short"), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, offer=b"{}"), DenialReason.MALFORMED),
        ("offer", lambda m: replace(m, offer=m.offer[:-20] + m.offer[-20:].swapcase()), DenialReason.MALFORMED),
        ("part", lambda m: replace(m, part=bytes(len(m.part))), DenialReason.BAD_CIPHERTEXT),
        ("part", lambda m: replace(m, part=m.part[:-1]), DenialReason.BAD_CIPHERTEXT),
        ("part", lambda m: replace(m, width=m.width * 2), DenialReason.BAD_CIPHERTEXT),
        ("part", lambda m: replace(m, part=b"\xff" * len(m.part)), DenialReason.BAD_CIPHERTEXT),
        ("part", lambda m: replace(m, receipt=b""), DenialReason.MALFORMED),
    ],
)
def test_a_peer_whose_answer_fails_a_check_is_named(
    federate: MakeFederation, method: str, reply: Callable[[Any], Any], reason: DenialReason
) -> None:
    federation = federate(3)
    federation.faults.replies[method, "south"] = reply
    with pytest.raises(PeerMisbehavedError) as caught:
        federation.run()
    assert (caught.value.party, caught.value.reason) == ("south", reason)
    assert [entry.reason for entry in only(Aborted, federation.computing.entries())] == ["PEER_MISBEHAVED"]


@pytest.mark.parametrize(
    "changes",
    [
        {"price_micro": 1},
        {"call": "00" * 32},
        {"contract": "00" * 32},
        {"dataset": "south/wages@ffffffffffffffff"},
        {"key_fingerprint": "00" * 32},
        {"participants_digest": "00" * 32},
        {"merchant_nonce": "00" * 16},
        {"computing_party": "north"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_signed_receipt_that_says_something_else_is_refused(
    federate: MakeFederation, changes: dict[str, Any]
) -> None:
    federation = federate(3)
    federation.faults.replies["part", "south"] = other_key_receipt(federation, **changes)
    with pytest.raises(PeerMisbehavedError, match=next(iter(changes))) as caught:
        federation.run()
    assert (caught.value.party, caught.value.reason) == ("south", DenialReason.COMMITMENT_MISMATCH)


@pytest.mark.parametrize("skew_ms", [-400_000, 400_000])
def test_a_receipt_whose_clock_is_off_is_refused(federate: MakeFederation, skew_ms: int) -> None:
    federation = federate(3)
    changed = other_key_receipt(federation, provider_clock_ms=federation.clock.at_ms + skew_ms)
    federation.faults.replies["part", "south"] = changed
    with pytest.raises(PeerMisbehavedError, match="clock"):
        federation.run()


def test_a_replayed_offer_of_another_call_is_refused(federate: MakeFederation) -> None:
    federation = federate(3)
    old = Round(federation).messages["south"]
    federation.faults.replies["offer", "south"] = lambda message: old
    with pytest.raises(PeerMisbehavedError) as caught:
        federation.run()
    assert (caught.value.party, caught.value.reason) == ("south", DenialReason.ROSTER_MISMATCH)


def test_reordered_offers_are_refused_by_the_peer_and_end_the_run(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.requests["part", "south"] = lambda asked: (asked[0], asked[1][::-1], *asked[2:])
    with pytest.raises(DeniedError) as caught:
        federation.run()
    assert caught.value.reason is DenialReason.ROSTER_MISMATCH
    assert [entry.reason for entry in only(Denied, federation.providers["south"].entries())] == ["ROSTER_MISMATCH"]
    assert only(Outcome, federation.computing.entries()) == []


def test_a_peers_refusal_reaches_the_merchant_with_its_reason(federate: MakeFederation) -> None:
    federation = federate(3)
    south = federation.providers["south"]
    for _ in range(16):
        item = south.authorised(federation.merchant.call())
        south.invocation.complete(south.invocation.enter(item), Release(b"part", b"{}", "ab" * 32), lambda receipt: {})
    with pytest.raises(DeniedError) as caught:
        federation.run()
    assert caught.value.reason is DenialReason.ACKNOWLEDGEMENTS_OUTSTANDING
    assert [entry.reason for entry in only(Aborted, federation.computing.entries())] == ["PEER_DENIED"]
    assert federation.computing.admission.usage(federation.contract_id) == Usage()


def test_a_peer_that_cannot_read_its_data_ends_the_run_for_all(federate: MakeFederation) -> None:
    federation = federate(3)
    (federation.providers["south"].home / "wages.csv").unlink()
    with pytest.raises(AbortedRunError, match="south could not compute its cells"):
        federation.run()
    assert [entry.reason for entry in only(Aborted, federation.computing.entries())] == ["DATA_UNREADABLE"]


def test_a_peer_that_never_answers_is_given_up_at_the_deadline(federate: MakeFederation) -> None:
    federation = federate(3)

    def slow(message: OfferMessage) -> OfferMessage:
        time.sleep(2.5)
        return message

    federation.faults.replies["offer", "south"] = slow
    started = time.monotonic()
    with pytest.raises(PeerUnavailableError, match="deadline") as caught:
        federation.run(deadline_ms=federation.clock.at_ms + 200)
    assert caught.value.party == "south"
    assert time.monotonic() - started < 2.4


def test_a_replayed_request_is_denied_at_the_computing_party_before_any_peer_hears_of_it(
    federate: MakeFederation,
) -> None:
    federation = federate(3)
    call = federation.merchant.call()
    federation.merchant.session.run(call, paillier_key())
    federation.wire.clear()
    with pytest.raises(DeniedError) as caught:
        federation.merchant.gateway.aggregate("east", signed_bytes(call), KEY_BYTES, call.parsed.request.deadline_ms)
    assert caught.value.reason is DenialReason.REPLAYED
    assert federation.wire == []
    (denied,) = only(Denied, federation.computing.entries())
    assert (denied.reason, denied.clause, denied.identity) == (
        "REPLAYED",
        "nonce",
        "spiffe://stats.example/merchant/shop",
    )


def unacknowledged(federation: Federation) -> str:
    """An answered call whose acknowledgements are all still on their way."""
    federation.faults.drop.add(("acknowledge", "east"))
    federation.run()
    federation.faults.drop.clear()
    return federation.computing.admission.open_calls()[0].call


def test_the_stored_answer_is_byte_identical_until_it_is_acknowledged(federate: MakeFederation) -> None:
    federation = federate(3)
    call = unacknowledged(federation)
    (given,) = [reply for method, _, reply in federation.wire if method == "aggregate"]
    merchant = identity(federation.directory.party(MERCHANT))
    assert federation.computing.computing.answer(call, peer=merchant) == given
    federation.computing.restart()
    assert federation.computing.computing.answer(call, peer=merchant) == given
    assert federation.merchant.session.flush_acknowledgements().pending == ()
    with pytest.raises(DeniedError) as caught:
        federation.computing.computing.answer(call, peer=merchant)
    assert caught.value.reason is DenialReason.STALE


def test_nobody_but_its_merchant_is_given_the_answer(federate: MakeFederation) -> None:
    federation = federate(3)
    call = unacknowledged(federation)
    for stranger in ("north", "watch"):
        with pytest.raises(DeniedError) as caught:
            federation.computing.computing.answer(call, peer=identity(federation.directory.party(stranger)))
        assert caught.value.reason is DenialReason.IDENTITY_MISMATCH


def test_a_peer_that_is_no_computing_party_keeps_no_answer(federate: MakeFederation) -> None:
    federation = federate(3)
    call = unacknowledged(federation)
    with pytest.raises(DeniedError) as caught:
        federation.providers["north"].computing.answer(call, peer=identity(federation.directory.party(MERCHANT)))
    assert caught.value.reason is DenialReason.STALE


def test_an_abort_that_cannot_be_delivered_is_sent_again(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.drop |= {("part", "south"), ("abort", "north")}
    with pytest.raises(PeerUnavailableError):
        federation.run()
    north = federation.providers["north"]
    assert len(north.admission.open_calls()) == 1
    federation.computing.computing.sweep()
    assert len(federation.computing.vault.items(VaultKind.OUTBOX)) == 1
    federation.faults.drop.clear()
    federation.computing.computing.sweep()
    assert north.admission.open_calls() == ()
    assert federation.computing.vault.items(VaultKind.OUTBOX) == []


def test_after_a_crash_of_the_computing_party_its_peers_hear_that_the_run_died(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    made.part("north")
    federation.computing.restart()
    for name, released in (("east", False), ("north", True), ("south", False)):
        (aborted,) = only(Aborted, federation.providers[name].entries())
        assert (aborted.call, aborted.released, aborted.reason) == (made.id, released, "INTERRUPTED")
        assert federation.providers[name].admission.usage(federation.contract_id).fee_micro == 0


def test_no_message_that_a_party_receives_is_sized_by_rows(tmp_path: Path) -> None:
    sizes = []
    for number, rows in enumerate((60, 2_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = {name: survey(seed + 10 * number, rows) for seed, name in enumerate(NAMES[:3])}
        federation = Federation(folder, data, Terms())
        federation.run()
        sizes.append(sorted((method, party, repr(len_of(reply))) for method, party, reply in federation.wire))
        federation.close()
    assert sizes[0] == sizes[1]


def len_of(reply: Any) -> Any:
    if isinstance(reply, bytes | str):
        return len(reply)
    if isinstance(reply, tuple):
        return [len_of(item) for item in reply]
    if isinstance(reply, int) or reply is None:
        return reply
    return [len_of(getattr(reply, name)) for name in reply.__dataclass_fields__]


def test_forwarded_receipts_reach_only_their_provider_and_only_from_the_merchant(federate: MakeFederation) -> None:
    federation = federate(3)
    unacknowledged(federation)
    (receipts,) = federation.merchant.invocation.outbox().values()
    north = identity(federation.directory.party("north"))
    result = federation.computing.computing.acknowledge(receipts, peer=north, deadline_ms=federation.clock.at_ms)
    assert (len(result.recorded), len(result.pending)) == (1, 2)
    assert only(Ack, federation.providers["south"].entries()) == []
    shop = identity(federation.directory.party(MERCHANT))
    result = federation.computing.computing.acknowledge(receipts, peer=shop, deadline_ms=federation.clock.at_ms)
    assert (len(result.recorded), len(result.pending)) == (3, 0)
    assert len(only(Ack, entries(federation.providers["south"].ledger))) == 1


def test_ciphertexts_of_the_answer_are_none_of_the_parts(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.run()
    parts = [reply.part for method, _, reply in federation.wire if method == "part"]
    (answer,) = [reply for method, _, reply in federation.wire if method == "aggregate"]
    width = answer.width
    cut = {part[at : at + width] for part in parts for at in range(0, len(part), width)}
    assert not cut & {answer.totals[at : at + width] for at in range(0, len(answer.totals), width)}
    assert len(encode_ciphertexts([1], paillier_key().public_key)) == width


class Waiting:
    """The computing party's source: it gives its cells when both peers have been asked, or fails then."""

    def __init__(self, federation: Federation, trouble: SourceError | None = None) -> None:
        self._federation, self._trouble = federation, trouble
        self._source = federation.providers["east"].datasets.source

    def totals(self, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
        until = time.monotonic() + 5
        while not all(only(Intent, self._federation.providers[name].entries()) for name in ("north", "south")):
            assert time.monotonic() < until, "the peers were not asked while this party computed"
            time.sleep(0.01)
        if self._trouble is not None:
            raise self._trouble
        return self._source.totals(plan, declaration)


def test_peers_compute_while_the_computing_party_does(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.providers["east"].datasets.source = Waiting(federation)
    assert list(federation.run().totals) == federation.pooled()[0]


def test_a_computing_party_that_cannot_read_its_own_data_ends_the_run_for_all(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.providers["east"].datasets.source = Waiting(federation, SourceError("row 17"))
    with pytest.raises(AbortedRunError, match="east could not compute its cells"):
        federation.run()
    until = time.monotonic() + 5
    peers = [federation.providers[name] for name in ("north", "south")]
    while not all(only(Aborted, peer.entries()) for peer in peers):
        assert time.monotonic() < until, "a peer keeps the call open"
        time.sleep(0.01)
    assert all(peer.admission.usage(federation.contract_id) == Usage(tries=1) for peer in peers)
