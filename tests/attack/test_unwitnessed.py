"""A party that keeps its history from its witnesses, and witnesses that lie: over TLS, with the defence off and on.

Off is a policy that asks for nobody's cosignature, or a silence of a week: then the party is believed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import add_lines, cosign
from audit.entry import Outcome
from audit.keys import SigningKey
from audit.names import KeyPurpose
from audit.verify import verify_database
from parties.errors import HomeError
from parties.home import Home
from parties.provider import Provider
from parties.server import PartyServer
from parties.telemetry import make_logger
from sandbox.errors import DenialReason, DeniedError
from tests.parties.federation import Federation, Policy, Terms, federation
from tests.parties.test_federation import provider_entries, rows
from tests.parties.witnesses import (
    copy_books,
    entries_of,
    eventually,
    put_back,
    set_witness,
    start_provider,
    start_regulator,
    stop_regulator,
)

UNWITNESSED = b"quorum none\n"


@contextmanager
def running(folder: Path, *names: str, **settings: object) -> Iterator[Federation]:
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(names or ("east", "north"))}
    policy = Policy(3, 1, "public") if len(frames) == 1 else Policy()
    with federation(folder, frames, policy=policy, prepare=lambda home: set_witness(home, **settings)) as fed:
        yield fed


def without_witnesses(fed: Federation) -> None:
    """The defence off: nobody has to know east's ledger."""
    home = fed.providers["east"].home
    (home.path / "witness.policy").write_bytes(UNWITNESSED)
    fed.restart("east")


def ask(fed: Federation, contract: str) -> object:
    return fed.merchant.aggregate(contract, statistics=["count"])


def refused(fed: Federation, contract: str) -> DenialReason:
    with pytest.raises(DeniedError) as caught:
        ask(fed, contract)
    return caught.value.reason


def outcomes(fed: Federation) -> int:
    return sum(isinstance(entry, Outcome) for entry in provider_entries(fed, "east"))


def east(fed: Federation) -> Provider:
    party = fed.providers["east"].party
    assert isinstance(party, Provider)
    return party


def set_back(fed: Federation, folder: Path, contract: str) -> None:
    """East answers a call and then puts back the books from before it, as if it had never been."""
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    copy_books(home.path, folder / "before")
    start_provider(fed, "east")
    ask(fed, contract)
    eventually(lambda: entries_of(fed.regulator.home.replicas / "east") == entries_of(home.path))
    fed.providers["east"].stop()
    put_back(folder / "before", home.path)


# -- history forgotten behind a cut line ---------------------------------------------------------------------------


def test_without_witnesses_a_ledger_set_back_answers_twice_what_it_may_answer_once(tmp_path: Path) -> None:
    with running(tmp_path, "east") as fed:
        contract = fed.contract(Terms(calls=1))
        without_witnesses(fed)
        set_back(fed, tmp_path, contract)
        stop_regulator(fed)
        start_provider(fed, "east")
        assert ask(fed, contract)
        assert outcomes(fed) == 1, "of the two calls it has answered"
        assert verify_database(
            fed.providers["east"].home.path, directory=fed.merchant_home.directory(now_ms=0)
        ).verified
        start_regulator(fed)
        eventually(lambda: east(fed).witnessing.status().forked, seconds=40)
        assert refused(fed, contract) is DenialReason.WITNESSES_UNHEARD, "found out as soon as the line is there again"


def test_with_witnesses_it_waits_for_the_line_and_then_remembers(tmp_path: Path) -> None:
    with running(tmp_path, "east") as fed:
        contract = fed.contract(Terms(calls=1))
        set_back(fed, tmp_path, contract)
        stop_regulator(fed)
        with pytest.raises(HomeError):
            start_marked(fed)
        start_regulator(fed)
        start_provider(fed, "east")
        assert outcomes(fed) == 1
        assert refused(fed, contract) is DenialReason.QUOTA_EXHAUSTED


def test_with_witnesses_and_no_mark_of_a_restored_home_it_takes_no_call_either(tmp_path: Path) -> None:
    with running(tmp_path, "east") as fed:
        contract = fed.contract()
        set_back(fed, tmp_path, contract)
        stop_regulator(fed)
        start_provider(fed, "east")
        assert refused(fed, contract) is DenialReason.WITNESSES_UNHEARD
        assert (outcomes(fed), east(fed).ledger.held) == (0, True)
        start_regulator(fed)


def start_marked(fed: Federation) -> None:
    """Start east as `unseen restore` leaves a home."""
    fed.providers["east"].home.restored_path.write_text("{}")
    start_provider(fed, "east")


@pytest.mark.parametrize("defended", [False, True])
def test_a_party_that_cuts_the_line_to_its_witnesses_takes_calls_until_the_silence_is_too_long(
    tmp_path: Path, defended: bool
) -> None:
    with running(tmp_path, max_silence_ms=2_000 if defended else 604_800_000) as fed:
        contract = fed.contract()
        stop_regulator(fed)
        assert ask(fed, contract)
        eventually(lambda: (east(fed).witnessing.status().silence_ms or 0) > 2_000)
        if defended:
            assert refused(fed, contract) is DenialReason.WITNESSES_UNHEARD
        else:
            assert ask(fed, contract)
        start_regulator(fed)


# -- witnesses that lie ------------------------------------------------------------------------------------------------

Say = Callable[[str, SigningKey], bytes]
"""(origin, the regulator's witness key) -> the note that it says it has cosigned."""


class Liar(witness_pb2_grpc.WitnessServiceServicer):
    """The regulator's witness in other hands: it says what it likes and cosigns whatever comes."""

    def __init__(self, home: Home, say: Say) -> None:
        self._key = home.signing_key(KeyPurpose.WITNESS)
        self._say = say

    def GetWitnessed(self, request: witness_pb2.GetWitnessedRequest, context: object) -> object:
        note = self._say(request.origin, self._key)
        return witness_pb2.GetWitnessedResponse(size=1_000, note=note, replica_size=1_000)


def another_history(origin: str, key: SigningKey) -> bytes:
    """A longer history of the log that the log never signed, under the witness's true line."""
    text = Checkpoint(origin, 1_000, bytes(32)).body()
    return add_lines(Note(text, ()), [cosign(text, key, 1)]).encode()


def forged(origin: str, key: SigningKey) -> bytes:
    """The same, signed with a key of the log's name that is not the log's."""
    thief = SigningKey.generate(origin)
    return Note.decode(another_history(origin, key)).sign(thief).encode()


def not_a_note(origin: str, key: SigningKey) -> bytes:
    return b"\x00"


@pytest.mark.parametrize("say", [another_history, forged, not_a_note])
def test_a_witness_cannot_make_a_ledger_look_forked_which_has_signed_one_history(tmp_path: Path, say: Say) -> None:
    """Believed unverified, a size of 1,000 would have the ledger held for ever as an old copy."""
    with running(tmp_path) as fed:
        contract = fed.contract()
        before = entries_of(fed.providers["east"].home.path)
        stop_regulator(fed)
        home = fed.regulator.home
        directory = home.directory(now_ms=0)
        server = PartyServer(home, directory=lambda: directory, logger=make_logger(home.config.telemetry, home.name))
        server.add(witness_pb2_grpc.add_WitnessServiceServicer_to_server, Liar(home, say), "unseen.v1.WitnessService")
        server.start()
        try:
            fed.restart("east")
            status = east(fed).witnessing.status()
            assert (status.held, status.forked) == (True, "")
            assert status.witnesses[0].error
            assert refused(fed, contract) is DenialReason.WITNESSES_UNHEARD
        finally:
            server.stop(0)
        start_regulator(fed)
        eventually(lambda: not east(fed).witnessing.status().held)
        assert ask(fed, contract)
        assert entries_of(fed.providers["east"].home.path)[: len(before)] == before
