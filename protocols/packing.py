"""Many numbers in one plaintext: uniform slots of fixed width, the first number in the lowest bits.

A packed plaintext stays below 2^(bits(n) - 1), hence below n, so that sums of packed plaintexts are right as long as no
slot overflows. Slots carry numbers >= 0; signed values are stored as distances from a public lower bound, never by
borrowing from the neighbouring slot, and never with a scale of their own, which would tell their magnitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import InconsistentTotalsError, LayoutError, OverflowRefusedError
from protocols.fixed_point import MAXIMUM_DECIMALS


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """How `length` numbers lie in plaintexts of `slots_per_ciphertext` slots of `slot_bits` bits each.

    Raises LayoutError unless all three are at least 1.
    """

    slot_bits: int
    slots_per_ciphertext: int
    length: int

    def __post_init__(self) -> None:
        if min(self.slot_bits, self.slots_per_ciphertext, self.length) < 1:
            raise LayoutError(
                f"{self.length} numbers in {self.slots_per_ciphertext} slots of {self.slot_bits} bits: each must be 1+"
            )

    @classmethod
    def fit(cls, slot_bits: int, length: int, modulus_bits: int) -> "SlotLayout":
        """Return the layout with as many slots as fit below 2^(modulus_bits - 1); LayoutError where none does."""
        if slot_bits < 1 or slot_bits > modulus_bits - 1:
            raise LayoutError(
                f"a slot of {slot_bits} bits does not fit a modulus of {modulus_bits} bits; "
                "narrow the declared bounds or decimals, or use a longer key"
            )
        return cls(slot_bits, (modulus_bits - 1) // slot_bits, length)

    @property
    def ciphertexts(self) -> int:
        """Number of plaintexts, hence of ciphertexts."""
        return -(-self.length // self.slots_per_ciphertext)

    @property
    def largest(self) -> int:
        """The largest number that a slot holds, 2^slot_bits - 1."""
        return (1 << self.slot_bits) - 1

    def pack(self, values: Sequence[int]) -> list[int]:
        """Return the plaintexts that hold `values`.

        Raises LayoutError for another number of values than `length`, OverflowRefusedError (before anything is packed)
        for a value out of [0, 2^slot_bits).
        """
        if len(values) != self.length:
            raise LayoutError(f"{len(values)} values where the layout has {self.length}")
        limit = 1 << self.slot_bits
        for position, value in enumerate(values):
            if not 0 <= value < limit:
                raise OverflowRefusedError(f"value {position} does not fit its slot of {self.slot_bits} bits")
        size = self.slots_per_ciphertext
        return [self._join(values[start : start + size]) for start in range(0, self.length, size)]

    def unpack(self, plaintexts: Sequence[int]) -> list[int]:
        """Return the `length` numbers that (sums of) packed plaintexts hold.

        Raises LayoutError for another number of plaintexts, InconsistentTotalsError where one has bits beyond its last
        slot: that is no sum of packed plaintexts.
        """
        if len(plaintexts) != self.ciphertexts:
            raise LayoutError(f"{len(plaintexts)} plaintexts where the layout has {self.ciphertexts}")
        slot_mask = (1 << self.slot_bits) - 1
        values: list[int] = []
        for position, plaintext in enumerate(plaintexts):
            filled = min(self.slots_per_ciphertext, self.length - len(values))
            if plaintext < 0 or plaintext >> (filled * self.slot_bits):
                raise InconsistentTotalsError(
                    f"plaintext {position} is no sum of packed numbers: a part is missing or foreign, "
                    "or the masks did not cancel; run the request again with the full roster"
                )
            values.extend(plaintext >> (slot * self.slot_bits) & slot_mask for slot in range(filled))
        return values

    def _join(self, values: Sequence[int]) -> int:
        plaintext = 0
        for slot, value in enumerate(values):
            plaintext |= value << (slot * self.slot_bits)
        return plaintext


@dataclass(frozen=True, slots=True)
class ValueRange:
    """What one number of a vector may be: an integer in [lo, hi] that stands for itself / 10^decimals. All public.

    Raises LayoutError where lo > hi or `decimals` is not within 0 to 18.
    """

    lo: int
    hi: int
    decimals: int = 0

    def __post_init__(self) -> None:
        if self.lo > self.hi or not 0 <= self.decimals <= MAXIMUM_DECIMALS:
            raise LayoutError(
                f"range: {self.lo} to {self.hi} at {self.decimals} decimals; lo must not exceed hi, "
                f"decimals lie within 0 to {MAXIMUM_DECIMALS}"
            )

    @classmethod
    def signed(cls, bits: int, decimals: int = 0) -> "ValueRange":
        """Return the range of two's complement integers of `bits` bits (1 or more)."""
        if bits < 1:
            raise LayoutError(f"range: a signed number of {bits} bits; it has at least 1")
        return cls(-(1 << (bits - 1)), (1 << (bits - 1)) - 1, decimals)


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """Where the numbers of a vector lie, and what each may be before anything is computed with them; see `plan`.

    Raises LayoutError where the range does not fit a slot.
    """

    values: ValueRange
    slots: SlotLayout

    def __post_init__(self) -> None:
        if self.values.hi - self.values.lo > self.slots.largest:
            raise LayoutError(f"range: {self.values.lo} to {self.values.hi} does not fit {self.slots.slot_bits} bits")

    @classmethod
    def plan(
        cls, values: ValueRange, length: int, *, modulus_bits: int, additions: int = 1, weight_bits: int = 0
    ) -> "VectorLayout":
        """Return the layout of `length` numbers with room for what will be computed; a pure function of declarations.

        Args:
            values: range and decimals of one number.
            length: numbers in the vector, 1 or more.
            modulus_bits: length of the key.
            additions: vectors that one sum adds, or ciphertexts of this one (`sum_within`), 1 or more.
            weight_bits: room for factors of that many bits.

        Raises:
            LayoutError: a slot would be wider than the modulus, or an argument is out of range.

        """
        if additions < 1 or weight_bits < 0:
            raise LayoutError(f"room: {additions} additions (1 or more), {weight_bits} weight bits (0 or more)")
        slot_bits = max(1, ((values.hi - values.lo) * additions).bit_length() + weight_bits)
        return cls(values, SlotLayout.fit(slot_bits, length, modulus_bits))
