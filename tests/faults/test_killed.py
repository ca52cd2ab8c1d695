"""`kill -9` of any process at any moment, while calls run. Afterwards the books are held against one another.

The seed is fixed, `UNSEEN_FAULTS_SEED` gives another; `UNSEEN_FAULTS_SECONDS` says for how long (`make faults`: 600).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from audit.entry import Aborted, Ack, Intent, Outcome
from parties.demo_processes import COMMAND, ServedParty
from sandbox.errors import DeniedError, PeerUnavailableError

from .town import BUREAUS, COMPUTING_PARTY, MERCHANT, REGULATOR, Terms, Town, eventually

SECONDS = float(os.environ.get("UNSEEN_FAULTS_SECONDS", "20"))
SEED = int(os.environ.get("UNSEEN_FAULTS_SEED", "20260729"))
VICTIMS = (REGULATOR, COMPUTING_PARTY, COMPUTING_PARTY, "north", "south", MERCHANT)


@dataclass
class CallingMerchant:
    """The merchant's process, and every answer that it has told of over all its lives."""

    home: Path
    contract: str
    told: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        log = self.home.with_suffix(".log").open("a")
        command = [sys.executable, "-m", "tests.faults.caller", str(self.home), self.contract]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        died = self.process.poll()
        self.process.kill()
        lines = self.process.stdout.read().splitlines()
        self.process.wait()
        self.process.stdout.close()
        self.told += [line for line in lines if line.count(" ")]
        assert died is None, self.home.with_suffix(".log").read_text()[-2000:]

    @property
    def done(self) -> list[str]:
        return [line.split()[1] for line in self.told if line.startswith("done")]


def storm(town: Town, merchant: CallingMerchant, seconds: float, seed: int) -> Counter[str]:
    """Kill one process after the other at random moments, and start it again a moment later."""
    chance, killed = random.Random(seed), Counter[str]()
    queue: list[str] = []
    merchant.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.2, 1.6))
        queue = queue or chance.sample(VICTIMS, len(VICTIMS))  # everyone's turn comes, in an order of chance
        victim = queue.pop()
        killed[victim] += 1
        if victim == MERCHANT:
            merchant.kill()
            merchant.start()
            time.sleep(chance.uniform(1.0, 2.0))  # it takes a while to come to its first call
        else:
            town.processes[victim].kill()
            time.sleep(chance.uniform(0, 0.5))
            town.processes[victim].start()
    merchant.kill()
    return killed


def settle(town: Town) -> None:
    """The merchant comes back, fetches what was answered, and sends what it owes."""
    end = time.monotonic() + 30
    while True:
        town.merchant.resume()
        with suppress(PeerUnavailableError, DeniedError):
            if not town.merchant._rooms.calling.open_calls and not town.merchant.flush().pending:
                return
        assert time.monotonic() < end, "calls stay open, or acknowledgements undelivered"
        time.sleep(0.5)


def assert_the_books_agree(town: Town, contract: str, done: list[str]) -> None:
    """Nothing acknowledged is lost, nothing that may have left is refunded, and all count alike."""
    own = town.entries(MERCHANT, Outcome)
    paid = {(entry.call, entry.receipt_id) for entry in own if entry.contract == contract}
    countersigned = {entry.receipt_id for entry in town.entries(MERCHANT, Ack)}
    for call in done:
        receipts = {receipt for answered, receipt in paid if answered == call}
        assert len(receipts) == len(BUREAUS), f"the answer to {call[:16]} was told of and is not in the books"
        assert receipts <= countersigned
    statement = town.merchant.statement(contract)
    for party in BUREAUS:
        intents = {entry.call: entry for entry in town.entries(party, Intent) if entry.contract == contract}
        outcomes = {entry.call: entry for entry in town.entries(party, Outcome) if entry.contract == contract}
        aborted = {entry.call: entry for entry in town.entries(party, Aborted) if entry.contract == contract}
        assert set(outcomes) <= set(intents)
        refunded = {call for call, entry in aborted.items() if not entry.released}
        assert not refunded & set(outcomes), "a part that may have left was refunded"
        used = town.usage(party, contract)
        assert used.calls == len(intents) - len(refunded)
        spent = [entry for call, entry in intents.items() if call not in refunded]
        assert used.ciphertexts == sum(entry.units.ciphertexts for entry in spent)
        assert used.fee_micro == sum(entry.price_micro for call, entry in intents.items() if call not in aborted)
        nonces = [entry.nonce for entry in intents.values()]
        assert len(set(nonces)) == len(nonces)
        acknowledged = {entry.receipt_id for entry in town.entries(party, Ack)}
        mine = {entry.receipt_id for entry in own if entry.contract == contract} & {
            entry.receipt_id for entry in outcomes.values()
        }
        assert mine <= acknowledged, "an acknowledgement was lost"
        books = town.statement(party, contract)
        assert books.subtotal(party) == statement.subtotal(party)
        assert books.differences == ()
    assert statement.total_micro == sum(town.statement(party, contract).total_micro for party in BUREAUS)


@pytest.mark.timeout(SECONDS * 2 + 100)
def test_kill_9_of_any_process_at_any_moment_loses_and_refunds_nothing(town: Town) -> None:
    contract = town.contract(Terms(calls=100_000, fee_cap="1000000"))
    town.close_merchant()
    merchant = CallingMerchant(town.folder / MERCHANT, contract)
    try:
        killed = storm(town, merchant, SECONDS, SEED)
    finally:
        if merchant.process is not None and merchant.process.poll() is None:
            merchant.kill()
    for process in town.processes.values():
        process.kill()
        process.launch()
    for process in town.processes.values():
        process.wait_ready()
    settle(town)
    assert sum(killed.values()) >= SECONDS / 6
    assert merchant.done, merchant.told
    town.settled_usage(contract)
    assert_the_books_agree(town, contract, merchant.done)
    print(f"killed {dict(killed)}; {len(merchant.done)} calls done, {len(merchant.told)} told")
    town.works(contract)
    town.verify()


def test_a_killed_partys_workers_do_not_outlive_it(town: Town) -> None:
    home = town.folder / "north"
    with town.without("north"):
        process = ServedParty(home, {"UNSEEN_COMPUTE__WORKERS": "2"})
        process.start()
        children = children_of(process.pid)
        assert len(children) >= 2
        process.kill()
        eventually(lambda: not any(map(lives, children)), seconds=5)


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_second_server_of_a_home_is_refused_while_the_first_lives(town: Town) -> None:
    command = [*COMMAND, "serve", "--home", str(town.folder / "north"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert json.loads(done.stderr.strip().splitlines()[-1])["error"] == "LedgerUnavailableError"
    assert str(town.processes["north"].pid) in done.stderr
    assert town.health("north") == "SERVING"
