"""Encrypted vectors of fixed-point numbers: sums, weights and totals of whole columns under one Paillier key.

Every slot holds value - lo, a number >= 0 (see `packing`), where lo..hi are public bounds of all values of the vector.
Operations compute with the bounds first: with a result that could need more than a slot they refuse, before they touch
a ciphertext. As every packed plaintext is below n, no result wraps around n either. Bounds, weights, scalars and
lengths are public: they follow from declarations and from the operations, never from the encrypted values.

A factor w < 0 takes each slot from x to K - |w| x with the public K = |w| (hi - lo), the largest that |w| x can be: no
slot goes below 0, and none borrows from its neighbour. The result's bounds are w hi..w lo.

Only `encrypt_vector` makes ciphertexts that are unlike all others. What is computed from stored ones alone is a
function of them, which whoever knows them can repeat and recognise; and `add_plain` shows its addend to whoever has
seen the vector before. Call `rerandomise` before such a result is handed on; a sum with a fresh vector needs none.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from protocols import paillier
from protocols.errors import BadCiphertextError, BadKeyError, InconsistentTotalsError, LayoutError, OverflowRefusedError
from protocols.executor import Advance, Cancelled, Executor, InlineExecutor
from protocols.multiexp import weighted_product
from protocols.packing import SlotLayout, VectorLayout
from protocols.paillier_checks import check_ciphertexts
from protocols.paillier_key import PrivateKey, PublicKey
from protocols.paillier_noise import NoiseSource


@dataclass(frozen=True, slots=True)
class EncryptedVector:
    """Numbers under encryption with their public bounds; every slot holds value - lo.

    Made by `encrypt_vector`, by the operations, and from ciphertexts of others by `received`; the constructor checks
    shapes alone. Raises LayoutError: the bounds do not fit a slot, the slots not the key; BadCiphertextError: another
    number of ciphertexts than the layout has.
    """

    key: PublicKey
    layout: VectorLayout
    ciphertexts: tuple[int, ...] = field(repr=False)
    lo: int
    hi: int

    def __post_init__(self) -> None:
        slots = self.layout.slots
        _check_fits(slots, self.key)
        if not 0 <= self.hi - self.lo <= slots.largest:
            raise LayoutError(f"bounds: {self.lo} to {self.hi} do not fit slots of {slots.slot_bits} bits")
        if len(self.ciphertexts) != slots.ciphertexts:
            raise BadCiphertextError(
                f"count: {len(self.ciphertexts)} ciphertexts where the layout has {slots.ciphertexts}"
            )

    @classmethod
    def received(
        cls,
        ciphertexts: Sequence[int],
        layout: VectorLayout,
        key: PublicKey,
        *,
        lo: int | None = None,
        hi: int | None = None,
    ) -> "EncryptedVector":
        """Return the vector that another party says these ciphertexts are: the one way in for foreign ciphertexts.

        Args:
            ciphertexts: checked here (number, range, coprime to n).
            layout: as agreed with the sender.
            key: a key that passed `check_public_key`.
            lo: lower bound of the values, as agreed; by default that of the layout, which holds before any operation.
            hi: upper bound, likewise.

        Raises:
            BadCiphertextError: a check failed; the first word names it.
            LayoutError: the bounds do not fit a slot, or the layout not the key.

        What a ciphertext holds cannot be checked: a sender that lies about its bounds spoils the neighbouring slots of
        results that its vector enters, which `decrypt_vector` may or may not notice.

        """
        low = layout.values.lo if lo is None else lo
        high = layout.values.hi if hi is None else hi
        vector = cls(key, layout, tuple(ciphertexts), low, high)
        check_ciphertexts(vector.ciphertexts, key)
        return vector


@dataclass(frozen=True, slots=True)
class EncryptedTotal:
    """The sum of a vector's numbers, in one ciphertext whose slots are still to be added (`decrypt_total`)."""

    key: PublicKey
    layout: VectorLayout
    ciphertext: int = field(repr=False)
    lo: int
    """Lower bound of each number that was added."""
    hi: int


def encrypt_vector(
    values: Sequence[int],
    layout: VectorLayout,
    key: PublicKey,
    *,
    executor: Executor | None = None,
    progress: Advance | None = None,
    cancelled: Cancelled | None = None,
) -> EncryptedVector:
    """Return fresh encryptions of `values`.

    Args:
        values: `layout.slots.length` integers in the layout's range, scaled by its decimals (`fixed_point.to_scaled`).
        layout: from `VectorLayout.plan`, for this key's length.
        key: own, or foreign and checked by `check_public_key`.
        executor: where to encrypt; inline by default.
        progress: told after each ciphertext.
        cancelled: asked between ciphertexts.

    Raises:
        OverflowRefusedError: a value out of range; nothing was encrypted.
        LayoutError: another number of values than the layout, or a layout that does not fit the key.
        BatchCancelledError: as asked.

    """
    _check_fits(layout.slots, key)
    plaintexts = layout.slots.pack(_offsets(values, layout))
    ciphertexts = paillier.encrypt_batch(
        plaintexts, key, executor=executor or InlineExecutor(), progress=progress, cancelled=cancelled
    )
    return EncryptedVector(key, layout, tuple(ciphertexts), layout.values.lo, layout.values.hi)


def add(left: EncryptedVector, right: EncryptedVector) -> EncryptedVector:
    """Return the sum, number by number; raises as `sum_over`."""
    return sum_over([left, right])


def sum_over(vectors: Sequence[EncryptedVector]) -> EncryptedVector:
    """Return the sum of vectors, number by number.

    Raises:
        BadKeyError, LayoutError: no vectors, or not all have one key and one layout.
        OverflowRefusedError: the sum could overflow a slot; nothing was computed.

    """
    first = _common(vectors)
    lo, hi = _room(first, sum(vector.lo for vector in vectors), sum(vector.hi for vector in vectors))
    positions = zip(*(vector.ciphertexts for vector in vectors), strict=True)
    sums = tuple(paillier.sum_ciphertexts(position, first.key) for position in positions)
    return EncryptedVector(first.key, first.layout, sums, lo, hi)


def add_plain(vector: EncryptedVector, addend: int | Sequence[int]) -> EncryptedVector:
    """Return the vector plus one public number, or plus a vector of numbers within the layout's declared range.

    A single number only moves the bounds. Both are scaled integers at the layout's decimals. Not re-randomised: see the
    module. Raises LayoutError for another number of addends than the layout, OverflowRefusedError for an addend out of
    range or a result that could overflow a slot; nothing was computed then.
    """
    if isinstance(addend, int):
        return EncryptedVector(vector.key, vector.layout, vector.ciphertexts, vector.lo + addend, vector.hi + addend)
    declared = vector.layout.values
    lo, hi = _room(vector, vector.lo + declared.lo, vector.hi + declared.hi)
    plaintexts = vector.layout.slots.pack(_offsets(addend, vector.layout))
    sums = tuple(
        paillier.add_plain(ciphertext, plaintext, vector.key)
        for ciphertext, plaintext in zip(vector.ciphertexts, plaintexts, strict=True)
    )
    return EncryptedVector(vector.key, vector.layout, sums, lo, hi)


def mul_plain(vector: EncryptedVector, factor: int) -> EncryptedVector:
    """Return the vector times one public integer of any sign; raises as `weighted_sum`. Not re-randomised."""
    return weighted_sum([vector], [factor])


def weighted_sum(
    vectors: Sequence[EncryptedVector],
    weights: Sequence[int],
    *,
    executor: Executor | None = None,
    progress: Advance | None = None,
    cancelled: Cancelled | None = None,
) -> EncryptedVector:
    """Return weights[0] x vectors[0] + weights[1] x vectors[1] + ..., by one multi-exponentiation a ciphertext.

    Args:
        vectors: one or more, under one key and in one layout.
        weights: one public integer of any sign for each. Decimal weights are scaled by the caller, to integers.
        executor: where to compute; inline by default.
        progress: told after each ciphertext of the result.
        cancelled: asked between ciphertexts.

    Raises:
        BadKeyError, LayoutError: no vectors, not all of one key and layout, or another number of weights.
        OverflowRefusedError: the result could overflow a slot; nothing was computed.
        BatchCancelledError: as asked.

    The result is not re-randomised, and 1 (a fixed encryption of 0) where all weights are 0.

    """
    first = _common(vectors)
    if len(vectors) != len(weights):
        raise LayoutError(f"weights: {len(weights)} for {len(vectors)} vectors; give one for each")
    ends = [sorted((vector.lo * weight, vector.hi * weight)) for vector, weight in zip(vectors, weights, strict=True)]
    lo, hi = _room(first, sum(low for low, _ in ends), sum(high for _, high in ends))
    positions = list(zip(*(vector.ciphertexts for vector in vectors), strict=True))
    products = (executor or InlineExecutor()).map(
        partial(weighted_product, weights=tuple(weights), key=first.key),
        positions,
        progress=progress,
        cancelled=cancelled,
    )
    lift = sum(-weight * (vector.hi - vector.lo) for vector, weight in zip(vectors, weights, strict=True) if weight < 0)
    if lift:
        lifts = first.layout.slots.pack([lift] * first.layout.slots.length)
        products = [
            paillier.add_plain(product, plaintext, first.key)
            for product, plaintext in zip(products, lifts, strict=True)
        ]
    return EncryptedVector(first.key, first.layout, tuple(products), lo, hi)


def sum_within(vector: EncryptedVector) -> EncryptedTotal:
    """Return the sum of all numbers of the vector, at one multiplication a ciphertext.

    Slots are not added to each other under encryption: the key's owner does it, and so sees a partial sum for each slot
    of a ciphertext (31 of them, with slots of 96 bits under 3072) rather than the total alone. Where the owner may not
    see those, pack one number a ciphertext, or use `aggregate`. Not re-randomised.

    Raises OverflowRefusedError where a slot could overflow (plan the layout with `additions` of at least its number of
    ciphertexts); nothing was computed then.
    """
    count = len(vector.ciphertexts)
    _room(vector, count * vector.lo, count * vector.hi)
    total = paillier.sum_ciphertexts(vector.ciphertexts, vector.key)
    return EncryptedTotal(vector.key, vector.layout, total, vector.lo, vector.hi)


def rerandomise(vector: EncryptedVector, noise: NoiseSource) -> EncryptedVector:
    """Return the same vector in ciphertexts that only the key's owner can link to these.

    Obligatory before a combination of stored ciphertexts is forwarded. `noise` gives one value a ciphertext:
    `noise_source(key, count)`, or a `NoisePool` filled beforehand. Raises BadKeyError where it is for another key.
    """
    fresh = tuple(paillier.rerandomise(ciphertext, vector.key, noise) for ciphertext in vector.ciphertexts)
    return EncryptedVector(vector.key, vector.layout, fresh, vector.lo, vector.hi)


def decrypt_vector(
    vector: EncryptedVector,
    key: PrivateKey,
    *,
    executor: Executor | None = None,
    progress: Advance | None = None,
    cancelled: Cancelled | None = None,
) -> list[int]:
    """Return the numbers, scaled integers at the layout's decimals (`fixed_point.from_scaled`).

    Raises BadKeyError for another key, BadCiphertextError as `paillier.decrypt`, InconsistentTotalsError as `unpack`,
    BatchCancelledError.
    """
    _check_owner(vector.key, key)
    plaintexts = paillier.decrypt_batch(
        vector.ciphertexts, key, executor=executor or InlineExecutor(), progress=progress, cancelled=cancelled
    )
    return unpack(vector, plaintexts)


def unpack(vector: EncryptedVector, plaintexts: Sequence[int]) -> list[int]:
    """Return the numbers of the vector from its decrypted plaintexts, in [0, n), whoever decrypted them.

    Raises InconsistentTotalsError where a number is out of the vector's bounds: a ciphertext was not what its sender
    said. LayoutError for another number of plaintexts.
    """
    slots = vector.layout.slots.unpack(plaintexts)
    widest = vector.hi - vector.lo
    for position, slot in enumerate(slots):
        if slot > widest:
            raise InconsistentTotalsError(
                f"number {position} is out of the bounds {vector.lo} to {vector.hi} of this vector: a ciphertext in it "
                "did not hold what was declared; ask its sender"
            )
    return [slot + vector.lo for slot in slots]


def decrypt_total(total: EncryptedTotal, key: PrivateKey) -> int:
    """Return the sum of the vector's numbers, a scaled integer; raises as `decrypt_vector`."""
    _check_owner(total.key, key)
    slots = total.layout.slots
    filled = min(slots.length, slots.slots_per_ciphertext)
    partial_sums = SlotLayout(slots.slot_bits, filled, filled).unpack([paillier.decrypt(total.ciphertext, key)])
    for slot, partial_sum in enumerate(partial_sums):
        added = -(-(slots.length - slot) // slots.slots_per_ciphertext)
        if partial_sum > added * (total.hi - total.lo):
            raise InconsistentTotalsError(
                f"slot {slot} is out of the bounds of {added} numbers from {total.lo} to {total.hi}: a ciphertext in "
                "the sum did not hold what was declared; ask its sender"
            )
    return sum(partial_sums) + slots.length * total.lo


def _offsets(values: Sequence[int], layout: VectorLayout) -> list[int]:
    """Distances from the range's lower end; each value checked before any is used."""
    lo, hi = layout.values.lo, layout.values.hi
    offsets: list[int] = []
    for position, value in enumerate(values):
        number = operator.index(value)  # numpy integers would wrap around silently
        if not lo <= number <= hi:
            raise OverflowRefusedError(f"value: number {position} is out of the declared range {lo} to {hi}")
        offsets.append(number - lo)
    return offsets


def _common(vectors: Sequence[EncryptedVector]) -> EncryptedVector:
    if not vectors:
        raise LayoutError("vectors: there are none to add; give at least one")
    first = vectors[0]
    for position, vector in enumerate(vectors):
        if vector.key != first.key:
            raise BadKeyError(f"key: vector {position} is under another key than vector 0")
        if vector.layout != first.layout:
            raise LayoutError(f"layout: vector {position} has another layout, range or decimals than vector 0")
    return first


def _room(vector: EncryptedVector, lo: int, hi: int) -> tuple[int, int]:
    """The bounds of a result, which must fit the vector's slots."""
    if hi - lo > vector.layout.slots.largest:
        raise OverflowRefusedError(
            f"bounds: the result could need {(hi - lo).bit_length()} bits a number where the layout has "
            f"{vector.layout.slots.slot_bits}; plan it with more additions or weight bits"
        )
    return lo, hi


def _check_fits(slots: SlotLayout, key: PublicKey) -> None:
    if slots.slot_bits * slots.slots_per_ciphertext >= key.bits:
        raise LayoutError(
            f"layout: {slots.slots_per_ciphertext} slots of {slots.slot_bits} bits leave [0, n) of a key of "
            f"{key.bits} bits; plan the layout for this key"
        )


def _check_owner(public_key: PublicKey, key: PrivateKey) -> None:
    if key.public_key.n != public_key.n:
        raise BadKeyError("key: the numbers are under another key than this private key's")
