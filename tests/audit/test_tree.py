"""The Merkle tree against RFC 6962, its own definition, and pymerkle."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import ConsistencyProof, InclusionProof, InmemoryTree
from pymerkle import verify_consistency as pymerkle_verify_consistency
from pymerkle import verify_inclusion as pymerkle_verify_inclusion

from audit.errors import LedgerError, VerificationFailedError
from audit.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# certificate-transparency-go, merkletree/merkle_tree_test.go: the reference inputs of RFC 6962's authors, and the roots
# over the first 1 to 8 of them.
REFERENCE_INPUTS = tuple(
    map(
        bytes.fromhex,
        ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
)
REFERENCE_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
ENTRIES = [f"entry {number}".encode() for number in range(70)]
LEAVES = [leaf_hash(data) for data in ENTRIES]


def node(level: int, index: int) -> bytes:
    """The definition: no tiles, no frontier."""
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


ROOTS = [root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def test_the_roots_are_those_of_rfc_6962s_reference_trees() -> None:
    leaves = [leaf_hash(data) for data in REFERENCE_INPUTS]
    assert [root_of(leaves[: size + 1]).hex() for size in range(8)] == list(REFERENCE_ROOTS)


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_pymerkle_computes_the_same_roots() -> None:
    tree = InmemoryTree(algorithm="sha256")
    for size, data in enumerate(ENTRIES, 1):
        tree.append_entry(data)
        assert tree.get_root() == ROOTS[size]


def test_a_frontier_loaded_from_nodes_goes_on_as_if_it_had_seen_every_leaf() -> None:
    for size in range(len(LEAVES)):
        frontier = Frontier.load(size, node)
        frontier.append(LEAVES[size])
        assert (frontier.size, frontier.root()) == (size + 1, ROOTS[size + 1])


def test_every_inclusion_proof_verifies_here_and_in_pymerkle() -> None:
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries(ENTRIES)
    for size in range(1, len(LEAVES) + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            rule = tree.prove_inclusion(index + 1, size).rule
            foreign = InclusionProof("sha256", True, size, index + 1, rule, [LEAVES[index], *proof])
            pymerkle_verify_inclusion(LEAVES[index], ROOTS[size], foreign, index=index + 1, size=size)


def rfc_6962_rule(old: int, new: int) -> tuple[list[int], list[int]]:
    """On which side each node of an RFC 6962 consistency proof goes, as pymerkle says it: (rule, subset)."""
    start, end, side = 0, new, 0
    rule: list[int] = []
    subset: list[int] = []
    while old != end:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        left = old <= split
        rule.append(side)
        subset.append(0 if left else 1)
        side = 0 if left else 1
        start, end = (start, split) if left else (split, end)
    return [side, *reversed(rule)], [1, *reversed(subset)]


def test_every_consistency_proof_leads_pymerkle_to_both_roots() -> None:
    for new in range(1, len(LEAVES) + 1):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, node)
            verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
            rule, subset = rfc_6962_rule(old, new)
            complete = old & (old - 1) == 0 or old == new  # then RFC 6962 leaves the old root out
            path = [ROOTS[old], *proof] if complete else proof
            foreign = ConsistencyProof("sha256", True, new, old, rule, subset, path)
            assert foreign.retrieve_prior_state() == ROOTS[old]
            assert foreign.compute_root() == ROOTS[new]


def test_pymerkles_verifier_accepts_our_consistency_proofs() -> None:
    """Its own form begins with the first new leaf; with an odd old size that only swaps the first two nodes of ours."""
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries(ENTRIES)
    for new in range(2, len(LEAVES) + 1):
        for old in range(3, new, 2):
            last_old, first_new, *rest = consistency_proof(old, new, node)
            template = tree.prove_consistency(old, new)
            path = [first_new, last_old, *rest]
            foreign = ConsistencyProof("sha256", True, new, old, template.rule, template.subset, path)
            pymerkle_verify_consistency(ROOTS[old], ROOTS[new], foreign, prior_size=old, later_size=new)


def test_pymerkles_proofs_of_the_same_entries_verify_against_our_roots() -> None:
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries(ENTRIES)
    for new in (1, 2, 3, 7, 8, 9, 64, 70):
        for old in range(1, new + 1):
            pymerkle_verify_consistency(ROOTS[old], ROOTS[new], tree.prove_consistency(old, new))


@given(st.integers(1, 70), st.data())
def test_no_changed_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, node)
    change = data.draw(st.sampled_from(["flip", "drop", "add", "index", "leaf", "root"]))
    leaf, root, place = LEAVES[index], ROOTS[size], index
    if change == "flip" and proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    elif change == "drop" and proof:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    elif change == "add":
        proof.append(LEAVES[0])
    elif change == "index":
        place = data.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    elif change == "leaf":
        leaf = node_hash(leaf, leaf)
    else:
        root = EMPTY_ROOT
    with pytest.raises(VerificationFailedError):
        verify_inclusion(leaf, place, size, proof, root)


@given(st.integers(1, 70), st.data())
def test_no_changed_consistency_proof_verifies(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, node)
    old_root, new_root = ROOTS[old], ROOTS[new]
    change = data.draw(st.sampled_from(["flip", "drop", "add", "old root", "new root"]))
    if change == "flip" and proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    elif change == "drop" and proof:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    elif change == "add":
        proof.append(LEAVES[0])
    elif change == "old root":
        old_root = EMPTY_ROOT
    else:
        new_root = EMPTY_ROOT
    with pytest.raises(VerificationFailedError):
        verify_consistency(old, new, old_root, new_root, proof)


@given(st.integers(-2, 80), st.integers(-2, 80), st.lists(st.binary(min_size=0, max_size=33), max_size=9))
def test_random_proofs_are_refused_with_our_error(one: int, other: int, proof: list[bytes]) -> None:
    with pytest.raises(VerificationFailedError):
        verify_inclusion(LEAVES[0], one, other, proof, b"\x01" * 32)
    with pytest.raises(VerificationFailedError):
        verify_consistency(one, other, b"\x01" * 32, b"\x02" * 32, proof)


def test_a_leaf_cannot_pass_for_a_node() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


def test_proofs_of_what_is_not_there_are_refused() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(LedgerError):
            inclusion_proof(index, size, node)
    with pytest.raises(LedgerError):
        consistency_proof(4, 3, node)
