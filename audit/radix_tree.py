"""A hashed radix tree over keyed leaves, by which two large sets are compared at the cost of their differences.

Equal subtrees are passed over after one comparison; unequal ones are walked down to the leaves that differ: about
16 comparisons a level for each difference, whatever the size. Keys end in SHA-256 identifiers, which nobody can bunch.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from audit.errors import MalformedError

BLOCK: Final = 16
"""A node of at most so many leaves is not divided further; others are divided by their next four bits."""
_RADIX: Final = 16


class RadixLeaf(NamedTuple):
    """One member of the set.

    Attributes:
        key: unique; all keys of a tree are of one length.
        tag: what else must be equal, at most 255 bytes.
        weights: summed over the subtrees, all of one length.
    """

    key: bytes
    tag: bytes
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RadixNode:
    """A subtree: the leaves whose keys begin alike.

    Attributes:
        digest: SHA-256 over everything below; equal for equal sets only.
        count: number of leaves.
        weights: sums of the leaves' weights.
        leaves: in order of their keys, where there are at most `BLOCK`; else empty.
        children: by their next four bits, None where there is nothing; empty where there are leaves.
    """

    digest: bytes
    count: int
    weights: tuple[int, ...]
    leaves: tuple[RadixLeaf, ...]
    children: tuple["RadixNode | None", ...]

    def all_leaves(self) -> Iterator[RadixLeaf]:
        """Every leaf below, in order of the keys."""
        yield from self.leaves
        for child in self.children:
            if child is not None:
                yield from child.all_leaves()


@dataclass(frozen=True, slots=True)
class SetDifference:
    """What one tree has and the other has not; a leaf whose tag alone differs is in both lists.

    Attributes:
        left, right: the leaves, in no particular order.
        comparisons: how many nodes and blocks were compared.
    """

    left: tuple[RadixLeaf, ...]
    right: tuple[RadixLeaf, ...]
    comparisons: int


def radix_tree(leaves: Iterable[RadixLeaf]) -> RadixNode:
    """The tree over `leaves`, in any order.

    Raises:
        MalformedError: a key comes twice, or keys are of different lengths.
    """
    ordered = sorted(leaves)
    for one, other in pairwise(ordered):
        if one.key == other.key or len(one.key) != len(other.key):
            raise MalformedError("the keys of a radix tree are of one length, each once")
    return _node(ordered, 0, len(ordered), 0)


def difference(left: RadixNode, right: RadixNode) -> SetDifference:
    """Walks both trees down to what differs."""
    only_left: list[RadixLeaf] = []
    only_right: list[RadixLeaf] = []
    comparisons = 0
    waiting: list[tuple[RadixNode | None, RadixNode | None]] = [(left, right)]
    while waiting:
        one, other = waiting.pop()
        comparisons += 1
        if one is None or other is None:
            only_left += [] if one is None else one.all_leaves()
            only_right += [] if other is None else other.all_leaves()
        elif (one.count, one.weights, one.digest) != (other.count, other.weights, other.digest):
            if one.children and other.children:
                waiting += zip(one.children, other.children, strict=True)
            else:  # one has at most BLOCK leaves; whatever more the other has are differences
                here, there = set(one.all_leaves()), set(other.all_leaves())
                only_left += here - there
                only_right += there - here
    return SetDifference(tuple(only_left), tuple(only_right), comparisons)


def _node(ordered: list[RadixLeaf], low: int, high: int, depth: int) -> RadixNode:
    """The subtree over ordered[low:high], whose keys agree in their first `depth` half-bytes."""
    if high - low <= BLOCK:
        block = tuple(ordered[low:high])
        whole = b"".join([b"%b%c%b" % (leaf.key, len(leaf.tag), leaf.tag) for leaf in block])
        digest = hashlib.sha256(b"\x00" + whole).digest()
        return RadixNode(digest, len(block), _sums([leaf.weights for leaf in block]), block, ())
    prefix, before = ordered[low].key[: depth // 2], 0
    if depth % 2:
        before = ordered[low].key[depth // 2] & 0xF0
    children: list[RadixNode | None] = []
    hashed = hashlib.sha256(b"\x01")
    start = low
    for digit in range(_RADIX):
        end = high
        if digit < _RADIX - 1:
            step = before + digit + 1 if depth % 2 else (digit + 1) << 4
            bound = RadixLeaf(prefix + bytes([step]), b"", ())
            end = bisect_left(ordered, bound, start, high)
        child = _node(ordered, start, end, depth + 1) if end > start else None
        hashed.update(bytes(32) if child is None else child.digest)
        children.append(child)
        start = end
    present = [child for child in children if child is not None]
    weights = _sums([child.weights for child in present])
    return RadixNode(hashed.digest(), high - low, weights, (), tuple(children))


def _sums(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))
