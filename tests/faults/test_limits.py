"""Quotas, caps and sizes: what is left is told, and what is too large is refused before anybody parses it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from unseen.v1 import catalogue_pb2, catalogue_pb2_grpc, compute_pb2, contract_pb2, contract_pb2_grpc

from audit.canonical import Json
from audit.entry import Denied
from audit.envelope import Envelope
from parties.errors import MAX_MESSAGE
from sandbox.contract import MAX_CONTRACT_BYTES
from sandbox.errors import DenialReason, DeniedError
from sandbox.request import MAX_OPENINGS_BYTES, MAX_REQUEST_BYTES, AggregateQuery, Statistic, StatisticKind
from sandbox.roster import MAX_OFFER_BYTES, MAX_ROSTER_BYTES
from tests.parties.federation import Terms

from .asking import SECONDS, ask, compute, forward, paillier, refusal, signed, signed_fields
from .town import BUREAUS, MERCHANT, Town, eventually

RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB = 1 << 20


# -- quota and cap ----------------------------------------------------------------------------------------------------


def test_over_the_quota_is_resource_exhausted_with_what_is_left(town: Town) -> None:
    contract = town.contract(Terms(calls=2))
    for _ in range(2):
        town.merchant.aggregate(contract, statistics=["count"])
    request = signed(town, contract)
    refused = refusal(lambda: ask(town, request))
    assert (refused.code, refused.reason, refused.clause) == (RESOURCE_EXHAUSTED, "QUOTA_EXHAUSTED", "quotas.calls")
    assert refused.left == {"calls": "0", "ciphertexts": "99998", "micro_epsilon": "0"}
    assert refused.quota_violations == ("quotas.calls",)
    assert town.last_denial("east").reason == "QUOTA_EXHAUSTED"
    for party in BUREAUS:
        assert town.usage(party, contract).calls == 2


def test_over_the_fee_cap_is_resource_exhausted_with_what_is_left(town: Town) -> None:
    contract = town.contract(Terms(fee_cap="2"))
    result = town.merchant.aggregate(contract, statistics=["count"])
    request = signed(town, contract)
    refused = refusal(lambda: ask(town, request))
    assert (refused.code, refused.reason, refused.clause) == (RESOURCE_EXHAUSTED, "FEE_CAP_REACHED", "fee_cap")
    spent = next(receipt.payload.price_micro for receipt in result.receipts if receipt.provider == "east")
    assert refused.left == {"fee_micro": str(2_000_000 - spent)}
    assert refused.quota_violations == ("fee_cap",)
    assert Decimal(town.merchant.statement(contract).total_micro).scaleb(-6) == result.price


def test_a_quota_that_only_a_peer_has_used_up_ends_the_call_for_all_and_costs_nobody(town: Town) -> None:
    contract = town.contract(Terms(calls=1))
    taken = signed(town, contract)
    forward(town, taken, by="east", to="north")  # a computing party that takes a place at one peer, and goes no further
    before = {party: town.usage(party, contract) for party in BUREAUS}
    with pytest.raises(DeniedError) as caught:
        town.merchant.aggregate(contract, statistics=["count"])
    assert caught.value.reason is DenialReason.QUOTA_EXHAUSTED
    assert caught.value.left["calls"] == "0"
    # South may still have been busy with its offer when the run ended; it is told once more, within seconds.
    eventually(lambda: {party: town.usage(party, contract) for party in BUREAUS} == before)
    envelope = Envelope.decode(taken.envelope)
    abort = compute_pb2.AbortRequest(request_id=envelope.digest, reason="OTHER")
    compute(town.channel("east", "north")).Abort(abort, timeout=SECONDS)
    assert town.usage("north", contract).calls == 0


# -- sizes ------------------------------------------------------------------------------------------------------------


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_message_over_8_mib_is_refused_by_the_transport_and_not_held_in_memory(town: Town) -> None:
    stub = compute(town.channel(MERCHANT, "east"))
    town.merchant.aggregate(town.shared_contract, statistics=["count"])
    before = peak_kib(town.processes["east"].pid)
    for size in (8 * MIB + 1, 200 * MIB):
        message = compute_pb2.AcknowledgeRequest(receipts=[b"x" * size])
        assert refusal(lambda message=message: stub.Acknowledge(message, timeout=SECONDS)).code is RESOURCE_EXHAUSTED
    assert peak_kib(town.processes["east"].pid) - before < 64 * 1024


def test_an_8_mib_message_of_other_bytes_than_protobuf_is_an_invalid_argument(town: Town) -> None:
    channel = town.channel(MERCHANT, "east").channel
    raw = channel.unary_unary("/unseen.v1.ComputeService/Aggregate", lambda data: data, lambda data: data)
    refused = refusal(lambda: raw(b"\xff" * (7 * MIB), timeout=SECONDS))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")


def fields(town: Town) -> dict[str, Callable[[], object]]:
    """Every bounded field of every message, one byte, item or character too long."""
    good = signed(town, town.shared_contract)
    stub = compute(town.channel(MERCHANT, "east"))
    contracts = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, "east").channel)
    own = contract_pb2_grpc.ContractServiceStub(town.channel("east", "east").channel)
    catalogue = catalogue_pb2_grpc.CatalogueServiceStub(town.channel(MERCHANT, "east").channel)
    key = paillier(town.merchant.paillier_key.public_key)
    call = "00" * 32
    long_envelope = compute_pb2.SignedRequest(envelope=b"{" * (MAX_REQUEST_BYTES + 1), openings=good.openings)
    long_openings = compute_pb2.SignedRequest(envelope=good.envelope, openings=b"{" * (MAX_OPENINGS_BYTES + 1))
    long_key = compute_pb2.PaillierPublicKey(modulus=b"\xff" * 2049, scheme=key.scheme)
    long_scheme = compute_pb2.PaillierPublicKey(modulus=key.modulus, scheme="x" * 41)
    decision = contract_pb2.DecideRequest(contract_id=call, decision=contract_pb2.DECISION_APPROVE, reason="x" * 501)
    return {
        "envelope": lambda: ask(town, long_envelope),
        "openings": lambda: ask(town, long_openings),
        "modulus": lambda: stub.Aggregate(compute_pb2.AggregateRequest(request=good, key=long_key), timeout=SECONDS),
        "scheme": lambda: stub.Aggregate(compute_pb2.AggregateRequest(request=good, key=long_scheme), timeout=SECONDS),
        "offers": lambda: stub.Part(compute_pb2.PartRequest(request_id=call, offers=[b"x"] * 21), timeout=SECONDS),
        "offer": lambda: stub.Part(
            compute_pb2.PartRequest(request_id=call, offers=[b"x" * (MAX_OFFER_BYTES + 1)]), timeout=SECONDS
        ),
        "roster": lambda: stub.Part(
            compute_pb2.PartRequest(request_id=call, roster=b"x" * (MAX_ROSTER_BYTES + 1)), timeout=SECONDS
        ),
        "receipts": lambda: stub.Acknowledge(compute_pb2.AcknowledgeRequest(receipts=[b"x"] * 257), timeout=SECONDS),
        "receipt": lambda: stub.Acknowledge(
            compute_pb2.AcknowledgeRequest(receipts=[b"x" * (64 * 1024 + 1)]), timeout=SECONDS
        ),
        "contract": lambda: contracts.Apply(
            contract_pb2.ApplyRequest(envelope=b"x" * (MAX_CONTRACT_BYTES + 1)), timeout=SECONDS
        ),
        "activation": lambda: contracts.Activate(
            contract_pb2.ActivateRequest(envelope=b"x" * (MAX_CONTRACT_BYTES + 1)), timeout=SECONDS
        ),
        "action": lambda: contracts.SubmitAction(
            contract_pb2.SubmitActionRequest(envelope=b"x" * (16 * 1024 + 1)), timeout=SECONDS
        ),
        "reason": lambda: own.Decide(decision, timeout=SECONDS),
        "dataset": lambda: catalogue.GetDataset(
            catalogue_pb2.GetDatasetRequest(dataset="east/" + "x" * 300), timeout=SECONDS
        ),
        "page-token": lambda: catalogue.ListDatasets(
            catalogue_pb2.ListDatasetsRequest(page_token="x" * 301), timeout=SECONDS
        ),
    }


FIELDS = (
    *("envelope", "openings", "modulus", "scheme", "offers", "offer", "roster", "receipts", "receipt"),
    *("contract", "activation", "action", "reason", "dataset", "page-token"),
)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_over_its_limit_is_refused_recorded_and_takes_nothing(town: Town, name: str) -> None:
    attempts = fields(town)
    assert set(attempts) == set(FIELDS)
    calls, denials = town.calls("east"), len(town.entries("east", Denied))
    refused = refusal(attempts[name])
    assert (refused.code, refused.reason) == (RESOURCE_EXHAUSTED, "TOO_LARGE")
    assert refused.clause
    assert town.calls("east") == calls
    assert [entry.reason for entry in town.entries("east", Denied)[denials:]] == ["TOO_LARGE"]


def test_a_request_id_that_is_no_hash_is_an_invalid_argument_however_long(town: Town) -> None:
    stub = compute(town.channel(MERCHANT, "east"))
    for value in ("", "00" * 31, "Z" * 64, "0" * MIB):
        refused = refusal(lambda v=value: stub.GetAnswer(compute_pb2.GetAnswerRequest(request_id=v), timeout=SECONDS))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
        assert refused.field_violations == ("request_id",)
        assert len(refused.text) <= MAX_MESSAGE


LARGE_QUERIES: dict[str, tuple[dict[str, Json], str]] = {
    "statistics": ({"statistics": [{"kind": "count"}] * 65}, "MALFORMED"),
    "group-by": ({"group_by": [f"column{number}" for number in range(9)]}, "MALFORMED"),
    "filters": (
        {"filters": [{"kind": "domain", "column": f"c{number}", "values": ["no"]} for number in range(17)]},
        "MALFORMED",
    ),
    "column-name": ({"statistics": [{"kind": "count", "column": "x" * 64}]}, "MALFORMED"),
    "filter-value": ({"filters": [{"kind": "domain", "column": "parttime", "values": ["x" * 201]}]}, "MALFORMED"),
    "filter-values": ({"filters": [{"kind": "domain", "column": "parttime", "values": ["x"] * 10_001}]}, "MALFORMED"),
    "purpose-text": ({"purpose": {"code": "test.wages", "text": "x" * 1001}}, "MALFORMED"),
    "bound": (
        {"filters": [{"kind": "range", "column": "education", "lo": "9" * 30}]},
        "MALFORMED",
    ),
}


@pytest.mark.parametrize("name", LARGE_QUERIES)
def test_a_query_with_too_much_of_anything_is_refused(town: Town, name: str) -> None:
    query, reason = LARGE_QUERIES[name]
    calls = town.calls("east")
    refused = refusal(lambda: ask(town, signed_fields(town, town.shared_contract, query)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), refused
    assert town.last_denial("east").reason == reason
    assert town.calls("east") == calls


def test_too_many_cells_are_refused_and_take_nothing(town: Town) -> None:
    contract = town.wide_contract()
    query = AggregateQuery((Statistic(StatisticKind.COUNT, None),), ("first", "second"), ())
    calls = town.calls("east")
    refused = refusal(lambda: ask(town, signed(town, contract, query=query)))
    assert (refused.code, refused.reason) == (RESOURCE_EXHAUSTED, "TOO_LARGE")
    assert refused.clause.endswith("group_by")
    assert town.calls("east") == calls
    assert town.merchant.aggregate(contract, statistics=["count"], by=["first"]).receipts
