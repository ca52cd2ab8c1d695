"""Joint totals over a fixed roster: each party encrypts its part, parts are multiplied, the key's owner decrypts.

Who sees what: whoever combines sees ciphertexts and learns nothing. The owner of the key, given the combined
ciphertexts, learns every total. Given a single part it would learn that party's totals, were the part not masked; from
three parties on parts are masked, so that even the owner colluding with the combiner learns only the sum over the
parties that do not collude. Masks protect no one where all others collude.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols import paillier
from protocols.errors import InconsistentTotalsError, LayoutError, MaskError, OverflowRefusedError
from protocols.executor import Advance, Executor, InlineExecutor
from protocols.masks import party_mask
from protocols.packing import SlotLayout
from protocols.paillier_checks import check_ciphertexts
from protocols.paillier_key import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class MeasureBound:
    """Public bounds of ONE party's total in one cell, in scaled integers: lo <= total <= hi.

    0 lies within, since an empty, withheld or closed cell contributes 0; LayoutError otherwise.
    """

    lo: int
    hi: int

    def __post_init__(self) -> None:
        if not self.lo <= 0 <= self.hi:
            raise LayoutError(f"bounds {self.lo} to {self.hi} exclude 0, which an empty cell contributes; widen them")


@dataclass(frozen=True, slots=True)
class AggregateLayout:
    """Where each total lies, the same at every party; made by `plan`. Cells are row-major, measures within a cell."""

    bounds: tuple[MeasureBound, ...]
    cells: int
    parties: int
    modulus_bits: int
    slots: SlotLayout

    @property
    def measures(self) -> int:
        """Numbers a cell."""
        return len(self.bounds)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts a part."""
        return self.slots.ciphertexts


def plan(bounds: Sequence[MeasureBound], *, cells: int, parties: int, modulus_bits: int) -> AggregateLayout:
    """Return the layout for `parties` parts of `cells` cells with one total for each of `bounds`.

    A pure function of public declarations. Every total is stored as its offset from `lo`, which takes 0 to hi - lo; a
    slot holds parties x (the largest hi - lo), so that the sum over the roster cannot overflow.

    Raises LayoutError: no bounds, no cells, no parties, or a slot wider than the modulus.
    """
    if not bounds or cells < 1 or parties < 1:
        raise LayoutError(f"{len(bounds)} measures, {cells} cells, {parties} parties: each must be at least 1")
    widest = max(bound.hi - bound.lo for bound in bounds)
    slot_bits = max(1, (parties * widest).bit_length())
    slots = SlotLayout.fit(slot_bits, cells * len(bounds), modulus_bits)
    return AggregateLayout(tuple(bounds), cells, parties, modulus_bits, slots)


def encrypt_part(
    totals: Sequence[Sequence[int]],
    layout: AggregateLayout,
    key: PublicKey,
    *,
    secrets: Mapping[str, bytes],
    own: str,
    executor: Executor | None = None,
    progress: Advance | None = None,
) -> list[int]:
    """Return one party's encrypted part: `layout.ciphertexts` fresh ciphertexts.

    Args:
        totals: cells x measures, scaled integers within the layout's bounds; closed and withheld cells 0.
        layout: from `plan`, for this key's length.
        key: the result party's key, which passed `check_public_key`.
        secrets: peer name to pair secret (`masks.pair_secret`), for every other party of the roster; empty: no masks.
        own: this party's name; the sign of its masks follows from the order of names.
        executor: where to encrypt; inline by default.
        progress: told after each ciphertext.

    Raises:
        LayoutError: `totals` has another shape than the layout, or the key another length.
        MaskError: `secrets` covers another number of peers than the roster, or `own` is among them.
        OverflowRefusedError: a total lies outside of its bounds; nothing was encrypted.

    """
    if key.bits != layout.modulus_bits:
        raise LayoutError(f"the key has {key.bits} bits where the layout was planned for {layout.modulus_bits}")
    if secrets and len(secrets) != layout.parties - 1:
        raise MaskError(
            f"{len(secrets)} pair secrets where the roster has {layout.parties - 1} peers; masks would stay"
        )
    plaintexts = layout.slots.pack(_offsets(totals, layout))
    if secrets:
        plaintexts = [
            (plaintext + party_mask(secrets, own, index, key.n)) % key.n for index, plaintext in enumerate(plaintexts)
        ]
    return paillier.encrypt_batch(plaintexts, key, executor=executor or InlineExecutor(), progress=progress)


def combine(parts: Sequence[Sequence[int]], key: PublicKey) -> list[int]:
    """Return the encrypted totals: the parts multiplied position by position.

    The combiner adds a fresh part of its own, hence the result needs no re-randomisation. Every ciphertext is checked.
    Raises LayoutError where there are no parts or their lengths differ, BadCiphertextError as `check_ciphertexts`.
    """
    if not parts or len({len(part) for part in parts}) != 1:
        raise LayoutError(
            f"parts of {sorted({len(part) for part in parts})} ciphertexts; all must have the same number"
        )
    for part in parts:
        check_ciphertexts(part, key)
    return [paillier.sum_ciphertexts(position, key) for position in zip(*parts, strict=True)]


def decrypt_totals(
    ciphertexts: Sequence[int],
    key: PrivateKey,
    layout: AggregateLayout,
    *,
    executor: Executor | None = None,
    progress: Advance | None = None,
) -> list[list[int]]:
    """Return the exact signed totals over the whole roster, cells x measures.

    Raises:
        LayoutError: another number of ciphertexts than the layout, or a key of another length.
        BadCiphertextError: a ciphertext that cannot be decrypted.
        InconsistentTotalsError: what decrypts is no sum of `layout.parties` parts within their bounds.

    """
    if key.public_key.bits != layout.modulus_bits:
        raise LayoutError(f"the key has {key.public_key.bits} bits, the layout was planned for {layout.modulus_bits}")
    if len(ciphertexts) != layout.ciphertexts:
        raise LayoutError(f"{len(ciphertexts)} ciphertexts where the layout has {layout.ciphertexts}")
    plaintexts = paillier.decrypt_batch(ciphertexts, key, executor=executor or InlineExecutor(), progress=progress)
    slots = layout.slots.unpack(plaintexts)
    totals: list[list[int]] = []
    for cell in range(layout.cells):
        row: list[int] = []
        for measure, bound in enumerate(layout.bounds):
            offset = slots[cell * layout.measures + measure]
            if offset > layout.parties * (bound.hi - bound.lo):
                raise InconsistentTotalsError(
                    f"cell {cell}, measure {measure}: the total lies outside of the declared bounds; a part is missing "
                    "or foreign, or the masks did not cancel; run the request again with the full roster"
                )
            row.append(offset + layout.parties * bound.lo)
        totals.append(row)
    return totals


def _offsets(totals: Sequence[Sequence[int]], layout: AggregateLayout) -> list[int]:
    """The totals as distances from their lower bounds, cell by cell; each checked before any is used."""
    if len(totals) != layout.cells:
        raise LayoutError(f"{len(totals)} cells where the layout has {layout.cells}")
    offsets: list[int] = []
    for cell, row in enumerate(totals):
        if len(row) != layout.measures:
            raise LayoutError(f"cell {cell} has {len(row)} totals where the layout has {layout.measures} measures")
        for measure, (value, bound) in enumerate(zip(row, layout.bounds, strict=True)):
            total = operator.index(value)  # numpy integers would wrap around silently
            if not bound.lo <= total <= bound.hi:
                raise OverflowRefusedError(
                    f"cell {cell}, measure {measure}: the total lies outside of its declared bounds "
                    f"{bound.lo} to {bound.hi}; hold the data against the declarations (unseen catalog check)"
                )
            offsets.append(total - bound.lo)
    return offsets
