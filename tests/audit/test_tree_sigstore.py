"""Our inclusion proofs as sigstore-python's verifier of Rekor's tree sees them: it knows nothing of our code."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from audit.tree import inclusion_proof, leaf_hash, node_hash, root_of

ENTRIES = [f"entry {index}".encode() for index in range(260)]
LEAVES = [leaf_hash(data) for data in ENTRIES]


def node(level: int, index: int) -> bytes:
    """The definition, without tiles."""
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


@dataclass(frozen=True)
class Proof:
    """The fields that sigstore reads of its log entry."""

    log_index: int
    tree_size: int
    hashes: list[bytes]
    root_hash: bytes


def check(index: int, size: int, root: bytes, data: bytes) -> None:
    proof = Proof(index, size, inclusion_proof(index, size, node), root)
    verify_merkle_inclusion(SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=data)))


SIZES = [*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257, 260]


@pytest.mark.parametrize("size", SIZES)
def test_sigstore_accepts_every_inclusion_proof(size: int) -> None:
    root = root_of(LEAVES[:size])
    for index in range(size):
        check(index, size, root, ENTRIES[index])


@pytest.mark.parametrize("size", [2, 7, 64, 257])
def test_sigstore_refuses_them_for_another_entry_or_root(size: int) -> None:
    root = root_of(LEAVES[:size])
    with pytest.raises(VerificationError):
        check(0, size, root, ENTRIES[1])
    with pytest.raises(VerificationError):
        check(0, size, root_of(LEAVES[1 : size + 1]), ENTRIES[0])
