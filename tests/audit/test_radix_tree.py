"""The radix tree finds exactly what two sets differ in, and looks at little else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import MalformedError
from audit.radix_tree import BLOCK, RadixLeaf, difference, radix_tree


def leaf(number: int, tag: bytes = b"a", *, bunched: bool = False) -> RadixLeaf:
    """Bunched keys agree in their first 31 bytes; the others are hashes."""
    key = number.to_bytes(32, "big") if bunched else hashlib.sha256(b"%d" % number).digest()
    return RadixLeaf(key, tag, (1, number))


numbers = st.dictionaries(st.integers(0, 200), st.sampled_from([b"a", b"b", b""]), max_size=120)


@given(numbers, numbers, st.booleans())
def test_the_difference_is_that_of_the_sets(left: dict[int, bytes], right: dict[int, bytes], bunched: bool) -> None:
    one = {leaf(number, tag, bunched=bunched) for number, tag in left.items()}
    other = {leaf(number, tag, bunched=bunched) for number, tag in right.items()}
    found = difference(radix_tree(one), radix_tree(other))
    assert set(found.left) == one - other
    assert set(found.right) == other - one
    assert len(found.left) + len(found.right) == len(one ^ other)


@given(numbers)
def test_nodes_carry_count_and_sums_and_equal_sets_equal_digests(members: dict[int, bytes]) -> None:
    leaves = [leaf(number, tag) for number, tag in members.items()]
    tree = radix_tree(leaves)
    assert tree.count == len(leaves)
    assert tree.weights == ((len(leaves), sum(members)) if leaves else ())
    assert sorted(tree.all_leaves()) == sorted(leaves)
    assert radix_tree(reversed(leaves)).digest == tree.digest


def test_the_work_grows_with_the_differences_and_not_with_the_sets() -> None:
    base = [leaf(number) for number in range(20_000)]
    tree = radix_tree(base)
    assert difference(tree, radix_tree(base)).comparisons == 1
    one = difference(tree, radix_tree(base[:-1]))
    ten = difference(tree, radix_tree(base[:-10]))
    assert len(one.left) == 1
    assert len(ten.left) == 10
    levels = 5  # 16^4 > 20,000 / BLOCK
    assert one.comparisons <= 1 + BLOCK * levels
    assert ten.comparisons <= 1 + 10 * BLOCK * levels


def test_keys_come_once_and_are_of_one_length() -> None:
    with pytest.raises(MalformedError):
        radix_tree([leaf(1), leaf(1, b"b")])
    with pytest.raises(MalformedError):
        radix_tree([leaf(1), RadixLeaf(b"short", b"", (1, 1))])
