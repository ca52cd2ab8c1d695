"""Slots of different widths, one after the other over as many ciphertexts as they take.

A joint aggregate adds counts of 33 bits and sums of squares of 130; with one width for all, most of a ciphertext would
be empty. A slot lies whole in one ciphertext, least significant first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protocols.errors import InconsistentTotalsError, LayoutError, OverflowRefusedError


@dataclass(frozen=True, slots=True)
class SlotBlock:
    """`records` records of one slot for each of `widths` (bits, each at least 1)."""

    widths: tuple[int, ...]
    records: int


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """Where each slot of a list of blocks lies; the same at every party that plans the same blocks.

    A slot goes into the ciphertext of the one before it where it still fits, and else begins the next one. A ciphertext
    holds `capacity` bits: one fewer than the modulus, so that every packed plaintext is below it.

    Raises LayoutError: no slots, a width under 1, or a slot wider than the capacity.
    """

    blocks: tuple[SlotBlock, ...]
    modulus_bits: int
    _filled: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Slots in each ciphertext."""

    def __post_init__(self) -> None:
        if any(width < 1 for block in self.blocks for width in block.widths):
            raise LayoutError("a slot has at least one bit")
        widest = max((max(block.widths, default=0) for block in self.blocks if block.records > 0), default=0)
        if widest < 1:
            raise LayoutError("a layout needs at least one slot")
        if widest > self.capacity:
            modulus = self.modulus_bits
            raise LayoutError(f"a slot of {widest} bits does not fit a modulus of {modulus}; use a longer key")
        filled: list[int] = []
        used = self.capacity  # so that the first slot begins a ciphertext
        for width in self.widths():
            if used + width > self.capacity:
                filled.append(0)
                used = 0
            filled[-1] += 1
            used += width
        object.__setattr__(self, "_filled", tuple(filled))

    @property
    def capacity(self) -> int:
        """Bits of slots that a ciphertext holds."""
        return self.modulus_bits - 1

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts that the slots take."""
        return len(self._filled)

    @property
    def slots(self) -> int:
        """Slots in all."""
        return sum(self._filled)

    def widths(self) -> Iterator[int]:
        """The width of every slot, in order."""
        for block in self.blocks:
            for _ in range(block.records):
                yield from block.widths

    def pack(self, values: Sequence[int]) -> list[int]:
        """Return one plaintext a ciphertext, each in [0, 2^capacity).

        Raises LayoutError for another number of values than slots, OverflowRefusedError (before anything is packed) for
        a value out of [0, 2^width).
        """
        if len(values) != self.slots:
            raise LayoutError(f"{len(values)} values where the layout has {self.slots}")
        for position, (value, width) in enumerate(zip(values, self.widths(), strict=True)):
            if value < 0 or value >> width:
                raise OverflowRefusedError(f"value {position} does not fit its slot of {width} bits")
        plaintexts = []
        slots = zip(values, self.widths(), strict=True)
        for count in self._filled:
            plaintext = shift = 0
            for _ in range(count):
                value, width = next(slots)
                plaintext |= value << shift
                shift += width
            plaintexts.append(plaintext)
        return plaintexts

    def unpack(self, plaintexts: Sequence[int]) -> list[int]:
        """Return the numbers that (sums of) packed plaintexts hold, slot by slot.

        Raises LayoutError for another number of plaintexts, InconsistentTotalsError where one has bits beyond its last
        slot: that is no sum of packed plaintexts.
        """
        if len(plaintexts) != self.ciphertexts:
            raise LayoutError(f"{len(plaintexts)} plaintexts where the layout has {self.ciphertexts}")
        values: list[int] = []
        widths = self.widths()
        for position, (plaintext, count) in enumerate(zip(plaintexts, self._filled, strict=True)):
            rest = plaintext
            for _ in range(count):
                width = next(widths)
                values.append(rest & ((1 << width) - 1))
                rest >>= width
            if rest:  # a negative plaintext leaves -1
                raise InconsistentTotalsError(
                    f"plaintext {position} is no sum of packed numbers: a part is missing or foreign, "
                    "or the masks did not cancel; run the request again with the full roster"
                )
        return values
