"""The C2SP tlog-proof format: the specification's shape, exact bytes, and refusal of everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import to_base64
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import (
    AuditError,
    BadSignatureError,
    LimitExceededError,
    MalformedError,
    VerificationFailedError,
)
from audit.names import KeyPurpose
from audit.tlog_proof import MAX_EXTRA_BYTES, MAX_HASHES, MAX_PROOF_BYTES, TlogProof
from audit.tree import inclusion_proof, leaf_hash, node_hash, root_of
from audit.verify_checkpoints import LogKeys
from tests.audit.samples import signing_key

KEY = signing_key("east", KeyPurpose.LOG)
LOG = LogKeys(KEY.name, (KEY.verifying_key,))
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(7)]


def node(level: int, index: int) -> bytes:
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def root(size: int) -> bytes:

    return root_of(LEAVES[:size])


def proof(index: int = 3, size: int = 7, extra: bytes = b"") -> TlogProof:
    note = sign_checkpoint(Checkpoint(KEY.name, size, root(size)), KEY)
    return TlogProof(index, tuple(inclusion_proof(index, size, node)), note, extra)


def lines(data: bytes) -> list[str]:
    return data.decode().split("\n")


def test_the_text_is_the_specifications() -> None:
    made = proof(extra=b"more")
    head, _, note = made.encode().partition(b"\n\n")
    assert lines(head) == [
        "c2sp.org/tlog-proof@v1",
        "extra bW9yZQ==",
        "index 3",
        to_base64(LEAVES[2]),
        to_base64(node(1, 0)),
        to_base64(node_hash(node(1, 2), LEAVES[6])),
    ]
    assert note == made.checkpoint
    assert b"extra" not in proof().encode()


@pytest.mark.parametrize("size", range(1, 8))
def test_every_leaf_is_proven_and_read_back(size: int) -> None:
    for index in range(size):
        made = proof(index, size, b"x" * index)
        assert TlogProof.decode(made.encode()) == made
        assert made.verify(LEAVES[index], LOG).size == size


def test_a_proof_of_the_only_leaf_has_no_hashes() -> None:
    assert lines(proof(0, 1).encode())[:3] == ["c2sp.org/tlog-proof@v1", "index 0", ""]


def test_another_leaf_or_index_is_refused() -> None:
    made = proof()
    with pytest.raises(VerificationFailedError):
        made.verify(LEAVES[2], LOG)
    for index in (0, 2, 4, 6, 7, 2**62):
        with pytest.raises(VerificationFailedError):
            TlogProof(index, made.hashes, made.checkpoint).verify(LEAVES[3], LOG)


def test_a_checkpoint_of_another_log_or_key_is_refused() -> None:
    other = signing_key("north", KeyPurpose.LOG)
    with pytest.raises(BadSignatureError):
        proof().verify(LEAVES[3], LogKeys(other.name, (other.verifying_key,)))
    foreign = sign_checkpoint(Checkpoint(other.name, 7, root(7)), KEY)
    with pytest.raises(BadSignatureError, match="of the log"):
        TlogProof(3, proof().hashes, foreign).verify(LEAVES[3], LOG)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 3\n", ""),
        ("index 3\n", "index 3\nindex 3\n"),
        ("index 3", "index 03"),
        ("index 3", "index -3"),
        ("index 3", "index \u0663"),
        ("index 3", "index 9223372036854775808"),
        ("index 3", "index " + "9" * 5000),
        ("index 3", "Index 3"),
        ("index 3\n", "index 3\r\n"),
        ("extra bW9yZQ==\n", "extra \n"),
        ("extra bW9yZQ==\n", "extra bW9yZQ==\nextra bW9yZQ==\n"),
        ("extra bW9yZQ==", "extra bW9yZR=="),
        ("extra bW9yZQ==\nindex 3\n", "index 3\nextra bW9yZQ==\n"),
        (to_base64(LEAVES[2]), to_base64(LEAVES[2])[:-4]),
        (to_base64(LEAVES[2]), to_base64(LEAVES[2]) + "AAAA"),
        (to_base64(LEAVES[2]), ""),
    ],
)
def test_another_text_is_refused(old: str, new: str) -> None:
    text = proof(extra=b"more").encode().decode()
    assert text.count(old) == 1
    with pytest.raises(MalformedError):
        TlogProof.decode(text.replace(old, new).encode())


def test_a_proof_cut_off_anywhere_is_refused() -> None:
    data = proof(extra=b"more").encode()
    for end in range(len(data)):
        with pytest.raises(MalformedError):
            TlogProof.decode(data[:end])


def test_limits_are_held_on_both_sides() -> None:
    with pytest.raises(LimitExceededError):
        TlogProof.decode(b"c" * (MAX_PROOF_BYTES + 1))
    with pytest.raises(LimitExceededError):
        TlogProof(0, (), proof().checkpoint, b"x" * (MAX_EXTRA_BYTES + 1)).encode()
    with pytest.raises(LimitExceededError):
        TlogProof(0, (bytes(32),) * (MAX_HASHES + 1), proof().checkpoint).encode()
    text = proof().encode().decode()
    many = "index 3\n" + f"{to_base64(bytes(32))}\n" * MAX_HASHES
    with pytest.raises(LimitExceededError):
        TlogProof.decode(text.replace("index 3\n", many).encode())
    largest = TlogProof(2**63 - 1, (bytes(32),) * MAX_HASHES, proof().checkpoint, b"x" * MAX_EXTRA_BYTES)
    assert TlogProof.decode(largest.encode()) == largest


@given(st.data())
def test_any_bytes_are_a_proof_or_our_error(data: st.DataObject) -> None:
    good = proof(extra=b"more").encode()
    if data.draw(st.booleans()):
        raw = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        candidate = bytes(raw)
    else:
        candidate = b"c2sp.org/tlog-proof@v1\nindex 0\n" + data.draw(st.binary())
    try:
        read = TlogProof.decode(candidate)
    except AuditError:
        return
    assert read.encode() == candidate
    if candidate != good:
        try:
            read.verify(LEAVES[3], LOG)
        except AuditError:
            return
        # What the proof does not cover may differ: extra data, and signature lines of keys unknown here.
        assert read.extra != b"more" or read.checkpoint != proof().checkpoint
