"""A ledger that cannot be written: the call fails, nothing is released, health says so, and room mends it.

The disk is taken away from a running process by its limit on file sizes: from then on every write to a file fails, the
ledger's, the vault's and the log's. A second way holds the ledger's file locked, which leaves the vault writable.
"""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from unseen.v1 import compute_pb2

from audit.entry import Ack, Intent, Outcome
from audit.errors import LedgerError
from parties.errors import RemoteError
from sandbox.errors import DeniedError, PeerUnavailableError, VaultError

from .asking import ask, compute, paillier, refusal, signed
from .town import BUREAUS, CLOCK, COMPUTING_PARTY, MERCHANT, REGULATOR, Town, eventually


@contextmanager
def no_room(town: Town, party: str) -> Iterator[None]:
    """Every write of the party's process to any file fails, as on a full disk."""
    pid = town.processes[party].pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(town: Town, party: str) -> Iterator[None]:
    """The party's ledger file is held by another writer."""
    intruder = sqlite3.connect(town.folder / party / "ledger.db", isolation_level=None, timeout=10)
    intruder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        intruder.execute("ROLLBACK")
        intruder.close()


@pytest.mark.parametrize("party", ["north", COMPUTING_PARTY])
def test_whoever_cannot_record_releases_nothing_and_nobody_else_is_charged(town: Town, party: str) -> None:
    contract = town.shared_contract
    before = town.settled_usage(contract)
    outcomes = {name: len(town.entries(name, Outcome)) for name in BUREAUS}
    acks = len(town.entries(MERCHANT, Ack))
    with no_room(town, party):
        refused = refusal(lambda: ask(town, signed(town, contract)))
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert refused.reason == ("LEDGER_UNAVAILABLE" if party == COMPUTING_PARTY else "PEER_UNAVAILABLE")
        assert refused.metadata.get("party", COMPUTING_PARTY) == party
        assert "ledger cannot record" in refused.text
        with pytest.raises(PeerUnavailableError) as caught:
            town.merchant.aggregate(contract, statistics=["count"], timeout=12)
        assert caught.value.party == party
        assert town.health(party) == "NOT_SERVING"
        assert {name: len(town.entries(name, Outcome)) for name in BUREAUS} == outcomes
    eventually(lambda: town.health(party) == "SERVING")
    town.works()
    assert town.processes[party].pid, "the process has lived through it"
    eventually(lambda: town.settled_usage(contract)["south"].calls == before["south"].calls + 1)
    for name in BUREAUS:
        assert town.usage(name, contract).calls == before[name].calls + 1
    assert len(town.entries(MERCHANT, Ack)) == acks + len(BUREAUS)
    town.verify()


def test_a_ledger_that_another_process_holds_locked_releases_nothing(town: Town) -> None:
    contract = town.shared_contract
    before, calls = town.settled_usage(contract), town.calls("north")
    with locked(town, "north"):
        refused = refusal(lambda: ask(town, signed(town, contract)))
        assert (refused.code, refused.metadata["party"]) == (grpc.StatusCode.UNAVAILABLE, "north")
        assert town.calls("north") == calls
    assert town.settled_usage(contract) == before
    town.works()


def test_a_disk_that_fills_up_in_the_middle_of_a_run_releases_nothing(town: Town) -> None:
    contract = town.shared_contract
    before = town.settled_usage(contract)
    outcomes = len(town.entries(COMPUTING_PARTY, Outcome))
    intents = len(town.entries(COMPUTING_PARTY, Intent))
    stub = compute(town.channel(MERCHANT, COMPUTING_PARTY))
    request = signed(town, contract, deadline_ms=CLOCK.now_ms() + 5_000)
    key = paillier(town.merchant.paillier_key.public_key)
    with ExitStack() as full:
        with town.frozen("south"):
            future = stub.Aggregate.future(compute_pb2.AggregateRequest(request=request, key=key), timeout=8)
            eventually(lambda: len(town.entries(COMPUTING_PARTY, Intent)) > intents)
            full.enter_context(no_room(town, COMPUTING_PARTY))
        assert refusal(future.result).code is grpc.StatusCode.UNAVAILABLE
    assert len(town.entries(COMPUTING_PARTY, Outcome)) == outcomes
    eventually(lambda: town.usage(COMPUTING_PARTY, contract) == before[COMPUTING_PARTY])
    # The peers' parts have left them: those calls stay spent, at no fee, and wait for no acknowledgement.
    for party in ("north", "south"):
        eventually(lambda party=party: town.usage(party, contract).fee_micro == before[party].fee_micro)
        assert town.usage(party, contract).calls == before[party].calls + 1
    town.works()
    town.verify()


def test_what_cannot_be_recorded_as_denied_is_refused_all_the_same(town: Town) -> None:
    request = signed(town, town.shared_contract, computing_party="north")
    calls = town.calls("north")
    with no_room(town, "north"):
        refused = refusal(lambda: ask(town, request, party="north"))
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert refused.reason == "LEDGER_UNAVAILABLE"
    assert town.calls("north") == calls
    eventually(lambda: town.health("north") == "SERVING")
    assert refusal(lambda: ask(town, request, party="north")).reason == "COMPUTING_PARTY_MISMATCH"


def test_a_regulator_without_room_puts_no_contract_in_force_and_says_that_it_does_not_serve(town: Town) -> None:
    with no_room(town, REGULATOR):
        with pytest.raises((PeerUnavailableError, DeniedError, RemoteError)):
            town.contract()
        assert town.health(REGULATOR) == "NOT_SERVING"
    eventually(lambda: town.health(REGULATOR) == "SERVING")
    town.works(town.contract())
    town.verify(REGULATOR)


def test_a_merchant_that_cannot_record_asks_nothing(town: Town) -> None:
    contract = town.shared_contract
    town.works()
    calls = {name: town.calls(name) for name in BUREAUS}
    intents = len(town.entries(MERCHANT, Intent))
    with locked(town, MERCHANT), pytest.raises((LedgerError, VaultError)):
        town.merchant.aggregate(contract, statistics=["count"])
    assert {name: town.calls(name) for name in BUREAUS} == calls
    assert len(town.entries(MERCHANT, Intent)) == intents
    town.works()
