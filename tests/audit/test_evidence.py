"""What proves that a log forked, what does not, and that nobody proves it of an honest log."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Misbehaviour
from audit.errors import (
    BadSignatureError,
    Damage,
    LimitExceededError,
    MalformedError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.evidence import MAX_EVIDENCE_BYTES, Evidence, contradiction, prefix_root
from audit.keys import SigningKey
from audit.names import KeyPurpose
from tests.audit.samples import AT_MS, signing_key
from tests.audit.witnessed import KEYS, ORIGIN, SmallLog

EAST = SmallLog()
FORK = EAST.fork(7)


def evidence(misbehaviour: Misbehaviour = Misbehaviour.FORKED, held: int = 30, offered: int = 30) -> Evidence:
    return Evidence(
        origin=ORIGIN,
        misbehaviour=misbehaviour,
        held=EAST.note(held),
        offered=FORK.note(offered),
        shown=() if held == offered else FORK.shown(*sorted((held, offered))),
        at_ms=AT_MS,
    )


def forked(one: bytes, other: bytes, shown: tuple[bytes, ...] = ()) -> bool:
    try:
        contradiction(one, other, KEYS, shown)
    except VerificationFailedError as error:
        return error.damage is Damage.FORKED
    return False


def test_two_roots_of_one_size_are_a_fork_in_either_order() -> None:
    assert forked(EAST.note(30), FORK.note(30))
    assert forked(FORK.note(30), EAST.note(30))
    assert not forked(EAST.note(30), EAST.note(30))
    assert not forked(EAST.note(7), FORK.note(7))


def test_extensions_that_differ_contradict_nothing() -> None:
    other = sign_checkpoint(Checkpoint(ORIGIN, 30, EAST.root(30), ("more",)), EAST.key)
    assert not forked(EAST.note(30), other)


@pytest.mark.parametrize(("small", "large"), [(10, 30), (16, 30), (30, 256), (1, 2)])
def test_of_two_sizes_a_consistency_proof_tells(small: int, large: int) -> None:
    fork = EAST.fork(0)
    assert forked(fork.note(small), EAST.note(large), EAST.shown(small, large))
    assert forked(EAST.note(large), fork.note(small), EAST.shown(small, large))
    assert forked(EAST.note(small), fork.note(large), fork.shown(small, large))
    assert not forked(EAST.note(small), EAST.note(large), EAST.shown(small, large))


def test_of_two_sizes_without_a_proof_nobody_can_tell() -> None:
    with pytest.raises(VerificationImpossibleError, match="consistency proof"):
        contradiction(EAST.note(10), FORK.note(30), KEYS)


@pytest.mark.parametrize(
    "shown",
    [(bytes(32),), (bytes(32), *EAST.proof(10, 30)), (bytes(32), *FORK.proof(10, 30)), (b"short",), EAST.proof(10, 30)],
)
def test_a_proof_that_leads_nowhere_shows_nothing(shown: tuple[bytes, ...]) -> None:
    with pytest.raises(VerificationImpossibleError):
        contradiction(EAST.note(10), EAST.note(30), KEYS, shown)


def test_the_empty_tree_has_one_root() -> None:
    full = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), EAST.key)
    assert forked(full, EAST.note(30))
    assert not forked(EAST.note(0), EAST.note(30))


def test_only_the_logs_own_signatures_count() -> None:
    forger = SmallLog(FORK.leaves, SigningKey.generate(ORIGIN))
    with pytest.raises(BadSignatureError):
        contradiction(EAST.note(30), forger.note(30), KEYS)
    with pytest.raises(MalformedError):
        contradiction(EAST.note(30), b"no note", KEYS)


def test_two_logs_do_not_contradict_each_other() -> None:
    north = SmallLog(FORK.leaves, signing_key("north", KeyPurpose.LOG))
    with pytest.raises(VerificationImpossibleError):
        contradiction(EAST.note(30), north.note(30), (*KEYS, north.key.verifying_key))


def test_a_fork_under_two_keys_of_one_log_is_a_fork() -> None:
    rotated = SmallLog(FORK.leaves, signing_key("east", KeyPurpose.LOG, 1))
    with pytest.raises(VerificationFailedError):
        contradiction(EAST.note(30), rotated.note(30), (*KEYS, rotated.key.verifying_key))


def test_a_proof_shows_the_root_it_was_made_from() -> None:
    for new in range(2, 40):
        for old in range(1, new):
            root = prefix_root(old, new, EAST.root(new), EAST.proof(old, new))
            assert root == (None if old & (old - 1) == 0 else EAST.root(old))


def test_no_proof_shows_another_root_of_an_honest_log() -> None:
    """Every proof between sizes up to 20, tried as the proof between every other pair of sizes."""
    proofs = {EAST.proof(old, new) for new in range(2, 20) for old in range(1, new)}
    for new in range(2, 20):
        for old in range(1, new):
            for proof in proofs:
                assert prefix_root(old, new, EAST.root(new), proof) in (None, EAST.root(old))


NODES = st.sampled_from([node for old in range(1, 13) for node in EAST.proof(old, 13)] + [bytes(32)])


@given(st.integers(1, 12), st.lists(NODES, max_size=6))
def test_nobody_proves_a_fork_of_an_honest_log(old: int, shown: list[bytes]) -> None:
    try:
        contradiction(EAST.note(old), EAST.note(13), KEYS, shown)
    except VerificationImpossibleError:
        return
    assert shown[0] == EAST.root(old)


@pytest.mark.parametrize(("held", "offered"), [(30, 30), (30, 40), (30, 20), (16, 20)])
def test_evidence_of_a_fork_verifies_after_travelling(held: int, offered: int) -> None:
    sent = evidence(held=held, offered=offered)
    if held > offered:
        sent = dataclasses.replace(sent, shown=EAST.shown(offered, held))
    received = Evidence.decode(sent.encode())
    assert received == sent
    assert received.digest == sent.digest
    received.verify(KEYS)


def test_a_digest_pins_the_format() -> None:
    """LOG_REFUSED entries name evidence by it for ever."""
    assert evidence().digest == "4afa2dc9c60f09f8c5bb87d16097d49304c71c54baf706539441c9d3ae894b5b"


def test_evidence_that_shows_no_misbehaviour_is_refused() -> None:
    good = evidence()
    with pytest.raises(MalformedError):
        dataclasses.replace(good, offered=EAST.note(30)).verify(KEYS)
    with pytest.raises(MalformedError):
        dataclasses.replace(good, misbehaviour=Misbehaviour.SHRUNK).verify(KEYS)
    with pytest.raises(MalformedError):
        dataclasses.replace(good, origin="another.example/log").verify(KEYS)
    with pytest.raises(BadSignatureError):
        good.verify([signing_key("north", KeyPurpose.LOG).verifying_key])
    with pytest.raises(VerificationImpossibleError):
        dataclasses.replace(evidence(held=40), shown=()).verify(KEYS)


def test_a_smaller_checkpoint_is_all_that_shrunk_says() -> None:
    evidence(Misbehaviour.SHRUNK, 30, 20).verify(KEYS)
    dataclasses.replace(evidence(Misbehaviour.SHRUNK, 30, 20), offered=EAST.note(20)).verify(KEYS)


def test_evidence_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitExceededError):
        Evidence.decode(b" " * (MAX_EVIDENCE_BYTES + 1))
    largest = dataclasses.replace(
        evidence(), held=b"h" * 16384, offered=b"o" * 16384, shown=(bytes(32),) * 64, origin="o" * 255
    )
    assert Evidence.decode(largest.encode()) == largest
    with pytest.raises(MalformedError):
        Evidence.decode(dataclasses.replace(largest, shown=(bytes(32),) * 65).encode())
    with pytest.raises(MalformedError):
        Evidence.decode(dataclasses.replace(largest, shown=(bytes(31),)).encode())


SAMPLE = evidence().encode()


@given(st.one_of(st.binary(max_size=100), st.tuples(st.integers(0, len(SAMPLE)), st.binary(max_size=3))))
def test_any_bytes_are_evidence_or_our_error(data: bytes | tuple[int, bytes]) -> None:
    body = data if isinstance(data, bytes) else SAMPLE[: data[0]] + data[1] + SAMPLE[data[0] + 1 :]
    try:
        read = Evidence.decode(body)
    except MalformedError:
        return
    assert read.encode() == body
