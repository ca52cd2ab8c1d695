"""Many small numbers in one plaintext: uniform slots of fixed width, the first number in the lowest bits.

A packed plaintext stays below 2^(bits(n) - 1), hence below n, so that sums of packed plaintexts are right as long as no
slot overflows. Slots carry numbers >= 0; signed values are stored as offsets from their lower bound (`aggregate`),
never by borrowing from the neighbouring slot, and never with a scale of their own, which would tell their magnitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import InconsistentTotalsError, LayoutError, OverflowRefusedError


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
