"""The witness service: who may call what, what is refused and recorded, and what is an ordinary answer."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from unseen.v1 import witness_pb2, witness_pb2_grpc

from audit.checkpoint import Checkpoint, Note
from audit.entry import Denied
from audit.errors import Refusal, WitnessRefusedError
from audit.submission import Submission
from parties.channel import Dialler
from parties.client.witness import WitnessClient
from parties.entry_bundle import BUNDLE_ENTRIES, Bundle, bundles
from parties.errors import NotFoundError, RemoteError
from sandbox.errors import DenialReason, DeniedError
from tests.parties.federation import federation
from tests.parties.test_federation import rows
from tests.parties.witnesses import cosigned_size, decoded, entries_of, eventually, set_witness, witness_key

WAIT_MS = 5_000
EAST, NORTH = "east.provider.test.example/log", "north.provider.test.example/log"


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path_factory.mktemp("fed"), frames, prepare=set_witness) as running:
        settled(running)
        yield running


def settled(fed):
    """Wait until the regulator has everything of east."""
    ledger = fed.providers["east"].party.ledger
    key = witness_key(fed.regulator.party.directory(), "authority")
    replica = fed.regulator.home.replicas / "east"
    eventually(lambda: cosigned_size(ledger, key) == ledger.size and len(entries_of(replica)) == ledger.size)


@contextmanager
def client_of(fed, party):
    dialler = Dialler(fed.homes()[party], fed.regulator.party.directory)
    try:
        yield WitnessClient(dialler)
    finally:
        dialler.close()


def denied(fed, party, call, *, at="authority"):
    """The reason with which `party`'s call is refused, which is the last one recorded."""
    with client_of(fed, party) as client, pytest.raises(DeniedError) as caught:
        call(client)
    home = fed.homes()[at]
    recorded = [entry for entry in decoded(home.path) if isinstance(entry, Denied)][-1]
    assert recorded.reason == caught.value.reason.value
    assert recorded.identity == fed.homes()[party].identity.spiffe_id
    return caught.value.reason


def newest(fed, name="east"):
    """East's newest cosigned note, and its checkpoint."""
    settled(fed)
    note = fed.providers[name].party.ledger.latest_checkpoint()
    return note, Checkpoint.from_body(Note.decode(note).text)


def bundle_of(fed, start=0):
    note, checkpoint = newest(fed)
    return next(iter(bundles(fed.providers["east"].party.ledger, start, checkpoint.size, note)))


def test_a_checkpoint_of_another_partys_log_is_refused_and_recorded(fed):
    note, checkpoint = newest(fed)
    submission = Submission(checkpoint.size, (), note)
    reason = denied(fed, "north", lambda client: client.add_checkpoint("authority", submission, WAIT_MS))
    assert reason is DenialReason.IDENTITY_MISMATCH
    reason = denied(fed, "analyst", lambda client: client.add_checkpoint("north", submission, WAIT_MS), at="north")
    assert reason is DenialReason.IDENTITY_MISMATCH


def test_a_checkpoint_that_is_not_cosigned_is_an_ordinary_answer_with_the_size_held(fed):
    note, checkpoint = newest(fed)
    with client_of(fed, "east") as client:
        with pytest.raises(WitnessRefusedError) as caught:
            client.add_checkpoint("authority", Submission(0, (), note), WAIT_MS)
        assert (caught.value.refusal, caught.value.size) == (Refusal.CONFLICT, checkpoint.size)
        with pytest.raises(WitnessRefusedError) as caught:
            client.add_checkpoint("authority", Submission(0, (), b"no checkpoint"), WAIT_MS)
        assert (caught.value.refusal, caught.value.size) == (Refusal.MALFORMED, None)
        unsigned = Note(Note.decode(note).text, Note.decode(note).signatures[-1:]).encode()
        with pytest.raises(WitnessRefusedError) as caught:
            client.add_checkpoint("authority", Submission(checkpoint.size, (), unsigned), WAIT_MS)
        assert caught.value.refusal is Refusal.UNTRUSTED_KEY
        (line,) = client.add_checkpoint("authority", Submission(checkpoint.size, (), note), WAIT_MS)
    witness_key(fed.regulator.party.directory(), "authority").verify(Note.decode(note).text, line)


def test_providers_witness_too_and_keep_no_entries(fed):
    note, checkpoint = newest(fed)
    bundle = bundle_of(fed)
    with client_of(fed, "east") as client:
        (line,) = client.add_checkpoint("north", Submission(0, (), note), WAIT_MS)
        witness_key(fed.regulator.party.directory(), "north").verify(Note.decode(note).text, line)
        said = client.witnessed("north", EAST, WAIT_MS)
        assert Checkpoint.from_body(Note.decode(said.note).text) == checkpoint
        assert said.kept == 0
        with pytest.raises(RemoteError) as caught:
            client.add_entries("north", EAST, bundle, WAIT_MS)
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(NotFoundError):
            list(client.entries("north", EAST, 0, WAIT_MS))


def test_entries_of_another_partys_log_are_refused_and_recorded(fed):
    bundle = bundle_of(fed)
    reason = denied(fed, "north", lambda client: client.add_entries("authority", EAST, bundle, WAIT_MS))
    assert reason is DenialReason.IDENTITY_MISMATCH


def test_entries_are_kept_under_a_checkpoint_that_this_witness_cosigned_alone(fed):
    bundle = bundle_of(fed)
    own = Note.decode(bundle.note)
    without = replace(bundle, note=Note(own.text, own.signatures[:1]).encode())
    other = replace(bundle, note=fed.providers["north"].party.ledger.latest_checkpoint())
    for wrong in (without, other):
        reason = denied(fed, "east", lambda client, wrong=wrong: client.add_entries("authority", EAST, wrong, WAIT_MS))
        assert reason is DenialReason.BAD_SIGNATURE


def test_entries_that_do_not_lead_to_the_checkpoint_are_refused_and_nothing_is_kept(fed):
    kept = entries_of(fed.regulator.home.replicas / "east")
    size = len(kept)
    bundle = replace(bundle_of(fed), start=size, entries=(b"{}",), proof=())
    reason = denied(fed, "east", lambda client: client.add_entries("authority", EAST, bundle, WAIT_MS))
    assert reason is DenialReason.COMMITMENT_MISMATCH
    assert entries_of(fed.regulator.home.replicas / "east") == kept


def test_entries_that_start_elsewhere_are_answered_with_where_to_go_on(fed):
    bundle = bundle_of(fed)
    size = len(entries_of(fed.regulator.home.replicas / "east"))
    with client_of(fed, "east") as client:
        assert client.add_entries("authority", EAST, bundle, WAIT_MS) == size


def test_the_entries_kept_are_for_their_own_party_and_the_regulator(fed):
    _, checkpoint = newest(fed)
    for party in ("east", "authority"):
        with client_of(fed, party) as client:
            given = [data for each in client.entries("authority", EAST, 2, WAIT_MS) for data in each.entries]
        assert given == entries_of(fed.providers["east"].home.path)[2 : checkpoint.size]
    for party in ("north", "analyst"):
        reason = denied(fed, party, lambda client: list(client.entries("authority", EAST, 0, WAIT_MS)))
        assert reason is DenialReason.IDENTITY_MISMATCH


def test_every_party_may_ask_what_is_witnessed_and_unknown_logs_are_not(fed):
    note, checkpoint = newest(fed)
    with client_of(fed, "analyst") as client:
        said = client.witnessed("authority", EAST, WAIT_MS)
        assert said.kept == checkpoint.size
        assert Note.decode(said.note).text == Note.decode(note).text
        unknown = client.witnessed("authority", "stranger.provider.test.example/log", WAIT_MS)
        assert (unknown.note, unknown.kept) == (b"", 0)


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("AddCheckpoint", witness_pb2.AddCheckpointRequest(note=b"x" * 17_000), DenialReason.TOO_LARGE),
        ("AddCheckpoint", witness_pb2.AddCheckpointRequest(note=b"x", old_size=2**63), DenialReason.MALFORMED),
        ("AddCheckpoint", witness_pb2.AddCheckpointRequest(note=b"x", proof=[b"h" * 32] * 64), DenialReason.TOO_LARGE),
        ("AddCheckpoint", witness_pb2.AddCheckpointRequest(note=b"x", proof=[b"h"]), DenialReason.MALFORMED),
        ("AddEntries", witness_pb2.AddEntriesRequest(note=b"x"), DenialReason.MALFORMED),
        (
            "AddEntries",
            witness_pb2.AddEntriesRequest(origin=EAST, note=b"x", entries=[b""] * (BUNDLE_ENTRIES + 1)),
            DenialReason.TOO_LARGE,
        ),
        ("AddEntries", witness_pb2.AddEntriesRequest(origin=EAST, note=b"x"), DenialReason.MALFORMED),
        ("GetWitnessed", witness_pb2.GetWitnessedRequest(), DenialReason.MALFORMED),
        ("GetWitnessed", witness_pb2.GetWitnessedRequest(origin="x" * 256), DenialReason.TOO_LARGE),
    ],
)
def test_what_is_malformed_or_beyond_its_bounds_is_refused(fed, method, request_, reason):
    dialler = Dialler(fed.homes()["east"], fed.regulator.party.directory)
    try:
        channel = dialler.dial("authority")
        stub = witness_pb2_grpc.WitnessServiceStub(channel.channel)
        with pytest.raises(DeniedError) as caught:
            channel.call(getattr(stub, method), request_, timeout_ms=WAIT_MS)
        assert caught.value.reason is reason
    finally:
        dialler.close()


def test_bundles_hold_every_entry_once_and_no_more_than_their_limit(fed):
    note, checkpoint = newest(fed)
    ledger = fed.providers["east"].party.ledger
    made = list(bundles(ledger, 1, checkpoint.size, note, limit=100))
    assert len(made) > 1
    assert [data for each in made for data in each.entries] == list(ledger.read(1, checkpoint.size))
    assert all(sum(map(len, each.entries[:-1])) < 100 for each in made)
    assert isinstance(made[0], Bundle)
