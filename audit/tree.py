"""The Merkle tree of RFC 6962, section 2.1: the authority on what a ledger holds.

Leaves are hashed behind 0x00 and nodes behind 0x01, so that no node can pass for a leaf. Proofs are lists of 32-byte
hashes, bottom up, exactly those of RFC 6962; they never rest on the hash chain.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from audit.errors import Damage, LedgerError, VerificationFailedError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""The root of the empty tree: SHA-256 of nothing (RFC 6962, section 2.1)."""

NodeReader: TypeAlias = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree over leaves [index * 2^level, (index + 1) * 2^level)."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00, data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01, left, right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees along a growing tree's right edge: enough to append and to know the root.

    At most 64 hashes whatever the size; an append costs two hashes on average.
    """

    __slots__ = ("_nodes", "_size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(nodes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {max(size, 0).bit_count()} edge subtrees, not {len(nodes)}")
        self._size = size
        self._nodes = list(nodes)

    @classmethod
    def load(cls, size: int, node: NodeReader) -> "Frontier":
        """The frontier of the first `size` leaves, read from stored nodes."""
        return cls(size, [node(level, index) for level, index in _complete_subtrees(0, size)])

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Adds one leaf hash (32 bytes)."""
        node = leaf
        size = self._size
        while size & 1:
            node = node_hash(self._nodes.pop(), node)
            size >>= 1
        self._nodes.append(node)
        self._size += 1

    def root(self) -> bytes:
        """The root over all leaves so far (32 bytes)."""
        return _fold(self._nodes)

    def copy(self) -> "Frontier":
        """An independent frontier of the same leaves."""
        return Frontier(self._size, self._nodes)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, all in memory."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962, section 2.1.1.

    Raises:
        LedgerError: not 0 <= index < size.
    """
    if not 0 <= index < size:
        raise LedgerError(f"no inclusion proof: entry {index} is not among the first {size} (indices start at 0)")
    start, end = 0, size
    siblings: list[tuple[int, int]] = []
    while end - start > 1:
        split = start + _largest_power_below(end - start)
        if index < split:
            siblings.append((split, end))
            end = split
        else:
            siblings.append((start, split))
            start = split
    return [_range_root(low, high, node) for low, high in reversed(siblings)]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962, section 2.1.2; empty when old is 0 or equals new.

    Raises:
        LedgerError: not 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise LedgerError(f"no consistency proof from size {old} to {new}: the older must be the smaller one")
    if old in (0, new):
        return []
    start, end = 0, new
    siblings: list[tuple[int, int]] = []
    while old != end:
        split = start + _largest_power_below(end - start)
        if old <= split:
            siblings.append((split, end))
            end = split
        else:
            siblings.append((start, split))
            start = split
    if start:  # else the old tree is itself a subtree, whose root the verifier holds
        siblings.append((start, end))
    return [_range_root(low, high, node) for low, high in reversed(siblings)]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that `leaf` (a leaf hash) stands at `index` of the tree of `size` leaves with `root` (RFC 9162, 2.1.3.2).

    Raises:
        VerificationFailedError: it does not, or the proof has another shape.
    """
    if not 0 <= index < size:
        raise VerificationFailedError(Damage.ALTERED, None, f"index {index} is outside a tree of {size} leaves")
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise _bad_inclusion(index, size)
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or result != root:
        raise _bad_inclusion(index, size)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree of `new` leaves extends the one of `old` leaves (RFC 9162, section 2.1.4.2).

    Raises:
        VerificationFailedError: it does not, or the proof has another shape.
    """
    if not 0 <= old <= new:
        raise VerificationFailedError(Damage.TRUNCATED, new, f"a tree of {new} leaves cannot extend one of {old}")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise _bad_consistency(old, new)
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path or any(len(node) != HASH_BYTES for node in path):
        raise _bad_consistency(old, new)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _bad_consistency(old, new)
        if node & 1 or node == last:
            old_result, new_result = node_hash(sibling, old_result), node_hash(sibling, new_result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_result = node_hash(new_result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old_result != old_root or new_result != new_root:
        raise _bad_consistency(old, new)


def _bad_inclusion(index: int, size: int) -> VerificationFailedError:
    return VerificationFailedError(
        Damage.ALTERED, index, f"the inclusion proof does not lead to the root of size {size}"
    )


def _bad_consistency(old: int, new: int) -> VerificationFailedError:
    return VerificationFailedError(Damage.FORKED, None, f"the tree of {new} leaves does not extend the one of {old}")


def _largest_power_below(width: int) -> int:
    """The largest power of two smaller than `width` (at least 2)."""
    return 1 << ((width - 1).bit_length() - 1)


def _complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """(level, index) of the complete subtrees that tile [start, end), where start is a multiple of their sizes."""
    found: list[tuple[int, int]] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _range_root(start: int, end: int, node: NodeReader) -> bytes:
    return _fold([node(level, index) for level, index in _complete_subtrees(start, end)])


def _fold(nodes: Sequence[bytes]) -> bytes:
    """The root over edge subtrees, left to right."""
    if not nodes:
        return EMPTY_ROOT
    result = nodes[-1]
    for left in reversed(nodes[:-1]):
        result = node_hash(left, result)
    return result
