"""A peer that is down, or hangs: named within the deadline, no partial result, and nobody pays for what nobody got."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import grpc
import pytest
from unseen.v1 import compute_pb2

from audit.entry import Aborted, Intent, Outcome
from parties.demo_processes import COMMAND
from sandbox.errors import PeerUnavailableError

from .asking import SECONDS, ask, compute, refusal, signed
from .town import BUREAUS, COMPUTING_PARTY, MERCHANT, REGULATOR, Town

TIMEOUT = 4.0


def ask_in_vain(town: Town, contract: str) -> tuple[PeerUnavailableError, float]:
    started = time.monotonic()
    with pytest.raises(PeerUnavailableError) as caught:
        town.merchant.aggregate(contract, statistics=["count"], timeout=TIMEOUT)
    return caught.value, time.monotonic() - started


def test_a_peer_that_is_down_is_named_and_nobody_pays(town: Town) -> None:
    party = "south"
    contract = town.shared_contract
    paid = town.merchant.statement(contract).total_micro
    before = town.settled_usage(contract)
    outcomes = {name: len(town.entries(name, Outcome)) for name in BUREAUS}
    with town.without(party):
        error, seconds = ask_in_vain(town, contract)
        assert (error.party, seconds < TIMEOUT) == (party, True)
        assert "serve" in str(error)
        request = signed(town, contract)
        refused = refusal(lambda: ask(town, request))
        assert (refused.code, refused.metadata["party"]) == (grpc.StatusCode.UNAVAILABLE, party)
    assert {name: len(town.entries(name, Outcome)) for name in BUREAUS} == outcomes
    assert town.settled_usage(contract) == before
    assert town.merchant.statement(contract).total_micro == paid
    assert [entry.reason for entry in town.entries("east", Aborted)[-2:]] == ["PEER_UNAVAILABLE"] * 2
    town.works()
    town.verify()


def test_a_peer_that_hangs_is_named_within_the_deadline_and_works_again_afterwards(town: Town) -> None:
    contract = town.shared_contract
    before = town.settled_usage(contract)
    with town.frozen("north"):
        error, seconds = ask_in_vain(town, contract)
        assert error.party == "north"
        assert TIMEOUT / 2 < seconds < TIMEOUT
        assert "deadline" in str(error)
    assert town.settled_usage(contract) == before
    town.works()
    town.verify()


def test_a_computing_party_that_hangs_is_named_within_the_deadline(town: Town) -> None:
    contract = town.shared_contract
    intents = len(town.entries(MERCHANT, Intent))
    with town.frozen(COMPUTING_PARTY):
        error, seconds = ask_in_vain(town, contract)
    assert error.party == COMPUTING_PARTY
    assert seconds < TIMEOUT + 1
    assert len(town.entries(MERCHANT, Intent)) == intents, "what was never sent is not recorded as sent"
    town.works()


def test_a_computing_party_that_is_down_is_named_before_anything_is_recorded(town: Town) -> None:
    intents = len(town.entries(MERCHANT, Intent))
    with town.without(COMPUTING_PARTY):
        error, _ = ask_in_vain(town, town.shared_contract)
        assert error.party == COMPUTING_PARTY
        assert len(town.entries(MERCHANT, Intent)) == intents


def test_the_shell_names_the_party_and_exits_with_1(town: Town) -> None:
    contract, home = town.shared_contract, str(town.folder / MERCHANT)
    town.close_merchant()
    with town.without("south"):
        command = [*COMMAND, "aggregate", contract, "--count", "--home", home, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert sys.executable in command
    assert (done.returncode, done.stdout) == (1, "")
    described = json.loads(done.stderr.strip().splitlines()[-1])
    assert (described["error"], described["party"]) == ("PeerUnavailableError", "south")


def test_without_the_regulator_calls_go_on_until_the_lease_ends(town: Town) -> None:
    contract = town.shared_contract
    town.works()
    with town.frozen(REGULATOR):
        assert town.merchant.aggregate(contract, statistics=["count"]).receipts
    town.processes[REGULATOR].kill()
    try:
        assert town.merchant.aggregate(contract, statistics=["count"]).receipts
        assert town.health("east") == "SERVING"
    finally:
        town.processes[REGULATOR].start()


def test_an_answer_can_be_fetched_again_byte_for_byte_until_it_is_acknowledged(town: Town) -> None:

    request = signed(town, town.shared_contract)
    answer = ask(town, request)
    stub = compute(town.channel(MERCHANT, COMPUTING_PARTY))
    fetch = compute_pb2.GetAnswerRequest(request_id=answer.request_id)
    assert stub.GetAnswer(fetch, timeout=SECONDS).answer.SerializeToString() == answer.SerializeToString()
    town.processes[COMPUTING_PARTY].kill()
    town.processes[COMPUTING_PARTY].start()
    assert stub.GetAnswer(fetch, timeout=SECONDS).answer.SerializeToString() == answer.SerializeToString()
