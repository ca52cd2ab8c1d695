"""Every method of every service of the wire: truncated, oversized, random, wrongly signed, replayed.

Whatever comes in, the answer is one of ours, no call is taken, and the party goes on serving.
"""

from __future__ import annotations

import pkgutil
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
import unseen.v1
from grpc_health.v1 import health_pb2
from unseen.v1 import (
    catalogue_pb2,
    compute_pb2,
    contract_pb2,
    contract_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    ledger_pb2,
    witness_pb2,
)

from audit.entry import Ack, ContractTransition, Enrolled
from audit.envelope import Envelope
from audit.keys import SigningKey
from parties.enrol import read_bundle
from sandbox.contract_actions import ActionStatement
from sandbox.contract_states import ContractAction
from tests.parties.federation import DOMAIN, Terms

from .asking import SECONDS, Refusal, ask, compute, forward, refusal, signed
from .town import BUREAUS, CLOCK, COMPUTING_PARTY, MERCHANT, REGULATOR, Town

MODULES = (catalogue_pb2, compute_pb2, contract_pb2, directory_pb2, ledger_pb2, witness_pb2, health_pb2)
PARTIES = {
    "DirectoryService": (REGULATOR,),
    "ContractService": (COMPUTING_PARTY, REGULATOR),
    "LedgerService": (COMPUTING_PARTY, REGULATOR),
    "WitnessService": (COMPUTING_PARTY, REGULATOR),
}
"""Who serves what; the computing party everything else."""
NOT_OFFERED = {(COMPUTING_PARTY, "List"), (COMPUTING_PARTY, "Watch"), (COMPUTING_PARTY, "AddEntries")}
"""Of gRPC's health service; and entries are kept by the regulator alone."""
OVERSIZED = 9 << 20
OURS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
SAME_NAMED_KEY = SigningKey.generate(f"{MERCHANT}.merchant.{DOMAIN}/message")


def methods() -> Iterator[tuple[str, str]]:
    """(party, method's path) of everything that is served."""
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for party in PARTIES.get(service.name, (COMPUTING_PARTY,)):
                for method in service.methods:
                    if (party, method.name) not in NOT_OFFERED:
                        yield party, f"/{service.full_name}/{method.name}"


METHODS = tuple(methods())
STREAMS = {
    f"/{service.full_name}/{method.name}"
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.server_streaming
}


def raw(town: Town, party: str, path: str) -> Callable[[bytes], object]:
    """Call a method with bytes of one's own; a stream is read to its end."""
    channel = town.channel(MERCHANT, party).channel
    if path in STREAMS:
        stream = channel.unary_stream(path, lambda data: data, lambda data: data)
        return lambda data: list(stream(data, timeout=SECONDS))
    unary = channel.unary_unary(path, lambda data: data, lambda data: data)
    return lambda data: unary(data, timeout=SECONDS)


def test_every_service_of_the_wire_is_covered() -> None:
    names = {path.split("/")[2] for _, path in METHODS}
    assert {"Aggregate", "Offer", "Part", "Abort", "GetAnswer", "Acknowledge", "Apply", "Enrol", "ListEntries"} <= names
    assert len(METHODS) > 25
    wire = {name for _, name, _ in pkgutil.iter_modules(unseen.v1.__path__) if name.endswith("_pb2")}
    assert wire <= {module.__name__.rpartition(".")[2] for module in MODULES}


@pytest.mark.parametrize(("party", "path"), METHODS)
def test_a_truncated_message_is_an_invalid_argument(town: Town, party: str, path: str) -> None:
    call = raw(town, party, path)
    for data in (b"\x0a", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f"):
        refused = refusal(lambda data=data: call(data))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")


@pytest.mark.parametrize(("party", "path"), METHODS)
def test_an_oversized_message_is_refused_before_it_is_read(town: Town, party: str, path: str) -> None:
    call = raw(town, party, path)
    assert refusal(lambda: call(bytes(OVERSIZED))).code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(("party", "path"), METHODS)
def test_random_bytes_are_accepted_or_refused_by_an_error_of_ours(town: Town, party: str, path: str) -> None:
    call, chance = raw(town, party, path), random.Random(path)
    calls = town.calls(COMPUTING_PARTY)
    for _ in range(8):
        body = chance.randbytes(chance.choice((1, 8, 64, 3000)))
        wrapped = b"\x0a" + _varint(len(body)) + body  # field 1, as bytes, text or a message
        for data in (body, wrapped):
            assert outcome(lambda data=data: call(data)) in OURS | {grpc.StatusCode.OK}, data
    assert town.calls(COMPUTING_PARTY) == calls


def outcome(attempt: Callable[[], object]) -> grpc.StatusCode:
    """The status that a call ends with."""
    try:
        attempt()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_after_all_of_it_everyone_serves(town: Town) -> None:
    for party in (REGULATOR, *BUREAUS):
        assert town.health(party) == "SERVING"
    town.works()


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


# -- wrongly signed ---------------------------------------------------------------------------------------------------


def forged(envelope: Envelope, key: SigningKey = SAME_NAMED_KEY) -> bytes:
    """The same payload, signed by a key that the directory does not know."""
    return replace(envelope, signatures=()).sign(key).encode()


def wrongly_signed(town: Town) -> dict[str, Callable[[], object]]:
    contract = town.merchant.contract(town.shared_contract)
    contracts = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, COMPUTING_PARTY).channel)
    at_regulator = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, REGULATOR).channel)
    stub = compute(town.channel(MERCHANT, COMPUTING_PARTY))
    request = signed(town, town.shared_contract, signer=SAME_NAMED_KEY)
    receipt = town.merchant.aggregate(town.shared_contract, statistics=["count"]).receipts[0].envelope
    action = ActionStatement(
        contract.contract_id, ContractAction.TERMINATE, MERCHANT, CLOCK.now_ms(), "finished", "00" * 16
    ).sign(SAME_NAMED_KEY)
    return {
        "Aggregate": lambda: ask(town, request),
        "Offer": lambda: forward(town, request, by="east", to="north"),
        "Acknowledge": lambda: stub.Acknowledge(
            compute_pb2.AcknowledgeRequest(receipts=[forged(receipt)]), timeout=SECONDS
        ),
        "Apply": lambda: contracts.Apply(
            contract_pb2.ApplyRequest(envelope=forged(contract.envelope)), timeout=SECONDS
        ),
        "Activate": lambda: contracts.Activate(
            contract_pb2.ActivateRequest(envelope=forged(contract.envelope)), timeout=SECONDS
        ),
        "Activate at the regulator": lambda: at_regulator.Activate(
            contract_pb2.ActivateRequest(envelope=forged(contract.envelope)), timeout=SECONDS
        ),
        "SubmitAction": lambda: contracts.SubmitAction(
            contract_pb2.SubmitActionRequest(envelope=action.encode()), timeout=SECONDS
        ),
    }


SIGNED = ("Aggregate", "Offer", "Acknowledge", "Apply", "Activate", "Activate at the regulator", "SubmitAction")


@pytest.mark.parametrize("name", SIGNED)
def test_what_is_wrongly_signed_is_unauthenticated_and_changes_nothing(town: Town, name: str) -> None:
    attempts = wrongly_signed(town)
    assert set(attempts) == set(SIGNED)
    state = {party: (town.calls(party), len(town.entries(party, ContractTransition))) for party in BUREAUS}
    refused = refusal(attempts[name])
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "BAD_SIGNATURE"), refused
    assert {party: (town.calls(party), len(town.entries(party, ContractTransition))) for party in BUREAUS} == state


def test_an_enrolment_that_is_not_the_regulators_own_is_denied(town: Town) -> None:
    request = directory_pb2.EnrolRequest(envelope=b"{}")
    stub = directory_pb2_grpc.DirectoryServiceStub(town.channel(MERCHANT, REGULATOR).channel)
    refused: Refusal = refusal(lambda: stub.Enrol(request, timeout=SECONDS))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_ROLE")


def test_a_forged_or_spoiled_enrolment_is_refused_even_from_the_regulators_own_officials(town: Town) -> None:
    """What an official was handed: a request signed by another key, cut short, or too large to be one."""
    request = Envelope.decode(town.home(MERCHANT).request_path.read_bytes())
    forged = replace(request, signatures=()).sign(SAME_NAMED_KEY)
    attempts = {
        grpc.StatusCode.UNAUTHENTICATED: [forged.encode()],
        grpc.StatusCode.INVALID_ARGUMENT: [request.encode()[:-20], b""],
        grpc.StatusCode.RESOURCE_EXHAUSTED: [b"x" * (1 << 20)],
    }
    before = len(town.entries(REGULATOR, Enrolled))
    stub = directory_pb2_grpc.DirectoryServiceStub(town.channel(REGULATOR, REGULATOR).channel)
    for code, envelopes in attempts.items():
        for envelope in envelopes:
            asked = directory_pb2.EnrolRequest(envelope=envelope)
            assert refusal(lambda asked=asked: stub.Enrol(asked, timeout=SECONDS)).code == code
    assert len(town.entries(REGULATOR, Enrolled)) == before


# -- replayed ---------------------------------------------------------------------------------------------------------


def books(town: Town) -> dict[str, Any]:
    return {party: (town.calls(party), len(town.entries(party, ContractTransition))) for party in BUREAUS}


def test_an_enrolment_signed_again_brings_the_same_certificate_and_no_second_party(town: Town) -> None:
    envelope = town.home(MERCHANT).request_path.read_bytes()
    before = len(town.entries(REGULATOR, Enrolled))
    stub = directory_pb2_grpc.DirectoryServiceStub(town.channel(REGULATOR, REGULATOR).channel)
    again = stub.Enrol(directory_pb2.EnrolRequest(envelope=envelope), timeout=SECONDS).bundle
    bundle, _ = read_bundle(again)
    assert "".join(bundle.certificate).encode() == town.home(MERCHANT).certificate_path.read_bytes()
    assert len(town.entries(REGULATOR, Enrolled)) == before


def test_a_contract_laid_before_a_party_again_and_put_in_force_again_changes_nothing(town: Town) -> None:
    envelope = town.merchant.contract(town.shared_contract).envelope.encode()
    before = books(town)
    for party in (COMPUTING_PARTY, REGULATOR):
        stub = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, party).channel)
        again = stub.Activate(contract_pb2.ActivateRequest(envelope=envelope), timeout=SECONDS)
        assert again.contract.state == contract_pb2.CONTRACT_STATE_ACTIVE
    stub = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, COMPUTING_PARTY).channel)
    assert stub.Apply(contract_pb2.ApplyRequest(envelope=envelope), timeout=SECONDS).contract.state in {
        contract_pb2.CONTRACT_STATE_ACTIVE
    }
    assert books(town) == before


def test_an_application_cannot_revive_a_contract_that_was_ended(town: Town) -> None:
    contract = town.contract(Terms())
    town.merchant.terminate(contract, "finished")
    envelope = town.merchant.contract(contract).envelope.encode()
    action = town.merchant.contract(contract).actions[-1].encode()
    before = books(town)
    stub = contract_pb2_grpc.ContractServiceStub(town.channel(MERCHANT, COMPUTING_PARTY).channel)
    for replay in (
        lambda: stub.Apply(contract_pb2.ApplyRequest(envelope=envelope), timeout=SECONDS),
        lambda: stub.Activate(contract_pb2.ActivateRequest(envelope=envelope), timeout=SECONDS),
        lambda: stub.SubmitAction(contract_pb2.SubmitActionRequest(envelope=action), timeout=SECONDS),
    ):
        assert outcome(replay) in OURS | {grpc.StatusCode.OK}
        held = stub.GetContract(contract_pb2.GetContractRequest(contract_id=contract), timeout=SECONDS)
        assert held.contract.state == contract_pb2.CONTRACT_STATE_TERMINATED
    assert books(town) == before
    refused = refusal(lambda: ask(town, signed(town, contract)))
    assert refused.reason == "CONTRACT_NOT_ACTIVE"


def test_an_acknowledgement_brought_again_is_no_second_entry(town: Town) -> None:
    town.merchant.flush()
    result = town.merchant.aggregate(town.shared_contract, statistics=["count"])
    own = [receipt.envelope.encode() for receipt in result.receipts]
    acks = {party: len(town.entries(party, Ack)) for party in BUREAUS}
    stub = compute(town.channel(MERCHANT, COMPUTING_PARTY))
    answer = stub.Acknowledge(compute_pb2.AcknowledgeRequest(receipts=own), timeout=SECONDS)
    assert sorted(answer.recorded) == sorted(receipt.receipt_id for receipt in result.receipts)
    assert {party: len(town.entries(party, Ack)) for party in BUREAUS} == acks


def test_a_part_asked_for_again_is_the_same_bytes_and_another_roster_gets_none(town: Town) -> None:
    request = signed(town, town.shared_contract)
    answer = ask(town, request)
    stub = compute(town.channel(COMPUTING_PARTY, "north"))
    call = answer.request_id
    outcomes = town.calls("north")
    wrong = compute_pb2.PartRequest(request_id=call, offers=[b"x"], roster=answer.roster)
    refused = refusal(lambda: stub.Part(wrong, timeout=SECONDS))
    assert refused.reason == "PART_ALREADY_GIVEN"
    stranger = compute(town.channel("south", "north"))
    assert refusal(lambda: stranger.Part(wrong, timeout=SECONDS)).reason == "IDENTITY_MISMATCH"
    assert (
        refusal(
            lambda: stranger.Abort(compute_pb2.AbortRequest(request_id=call, reason="OTHER"), timeout=SECONDS)
        ).reason
        == "IDENTITY_MISMATCH"
    )
    assert (
        refusal(
            lambda: compute(town.channel("south", COMPUTING_PARTY)).GetAnswer(
                compute_pb2.GetAnswerRequest(request_id=call), timeout=SECONDS
            )
        ).reason
        == "IDENTITY_MISMATCH"
    )
    assert town.calls("north") == outcomes
