"""The hash chain and its seals."""

import hashlib

import pytest

from audit.chain import CHAIN_START, Chain, verify_seal
from audit.errors import Damage, VerificationFailedError
from audit.tree import leaf_hash

LEAVES = [leaf_hash(bytes([number])) for number in range(5)]


def chain_over(leaves: list[bytes]) -> Chain:
    chain = Chain()
    for leaf in leaves:
        chain.append(leaf)
    return chain


def test_each_link_hashes_the_one_before_and_its_leaf() -> None:
    head = CHAIN_START
    for size, leaf in enumerate(LEAVES, 1):
        head = hashlib.sha256(b"\x02" + head + leaf).digest()
        assert chain_over(LEAVES[:size]).head == head


def test_a_chain_goes_on_from_a_sealed_head() -> None:
    sealed = chain_over(LEAVES[:3])
    resumed = Chain(3, sealed.head)
    for leaf in LEAVES[3:]:
        resumed.append(leaf)
    assert resumed.head == chain_over(LEAVES).head


def test_a_copy_does_not_follow() -> None:
    chain = chain_over(LEAVES[:2])
    copy = chain.copy()
    chain.append(LEAVES[2])
    assert (copy.size, copy.head) == (2, chain_over(LEAVES[:2]).head)


def test_a_seal_over_these_entries_is_accepted() -> None:
    chain = chain_over(LEAVES)
    verify_seal(5, chain.head.hex(), chain)


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 1, 2, 3), (0, 1, 2, 3, 3)])
def test_a_seal_over_other_entries_is_refused(order: tuple[int, ...]) -> None:
    sealed = chain_over(LEAVES)
    with pytest.raises(VerificationFailedError) as caught:
        verify_seal(5, sealed.head.hex(), chain_over([LEAVES[number] for number in order]))
    assert caught.value.damage is Damage.REWRITTEN
