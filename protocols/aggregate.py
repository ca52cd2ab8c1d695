"""Joint totals over a fixed roster: each party encrypts its part, parts are multiplied, the key's owner decrypts.

Who sees what: whoever combines sees ciphertexts and learns nothing. The owner of the key, given the combined
ciphertexts, learns every total. Given a single part it would learn that party's totals, were the part not masked; from
three parties on parts are masked, so that even the owner colluding with the combiner learns only the sum over the
parties that do not collude. Masks protect no one where all others collude.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from protocols import paillier
from protocols.errors import InconsistentTotalsError, LayoutError, MaskError, OverflowRefusedError
from protocols.executor import Advance, Executor, InlineExecutor
from protocols.masks import party_mask
from protocols.paillier_checks import check_ciphertexts
from protocols.paillier_key import PrivateKey, PublicKey
from protocols.records import RecordLayout, SlotBlock


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
class TableShape:
    """One table of a part: `cells` cells with one total for each of `bounds`."""

    cells: int
    bounds: tuple[MeasureBound, ...]


@dataclass(frozen=True, slots=True)
class AggregateLayout:
    """Where each total lies, the same at every party; made by `plan`.

    Cells are numbered through over the tables, row-major within each; a cell's totals lie side by side.
    """

    tables: tuple[TableShape, ...]
    parties: int
    modulus_bits: int
    records: RecordLayout

    @property
    def cells(self) -> int:
        """Cells of all tables."""
        return sum(table.cells for table in self.tables)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts a part."""
        return self.records.ciphertexts

    def bounds(self) -> Iterator[tuple[MeasureBound, ...]]:
        """The bounds of one party's totals, cell by cell."""
        for table in self.tables:
            for _ in range(table.cells):
                yield table.bounds


def plan(tables: Sequence[TableShape], *, parties: int, modulus_bits: int) -> AggregateLayout:
    """Return the layout for `parties` parts of these tables.

    A pure function of public declarations. Every total is stored as its offset from `lo`, which takes 0 to hi - lo; its
    slot holds parties x (hi - lo), so that the sum over the roster cannot overflow.

    Raises LayoutError: no tables, cells, bounds or parties, or a slot wider than the modulus.
    """
    if not tables or parties < 1 or any(table.cells < 1 or not table.bounds for table in tables):
        raise LayoutError(f"{len(tables)} tables, {parties} parties: each must be at least 1, with cells and measures")
    blocks = tuple(
        SlotBlock(tuple(_slot_bits(bound, parties) for bound in table.bounds), table.cells) for table in tables
    )
    return AggregateLayout(tuple(tables), parties, modulus_bits, RecordLayout(blocks, modulus_bits))


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
        totals: one row a cell, one scaled integer a measure, within the layout's bounds; closed and withheld cells 0.
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
    plaintexts = layout.records.pack(_offsets(totals, layout))
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
    """Return the exact signed totals over the whole roster, one row a cell.

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
    offsets = iter(layout.records.unpack(plaintexts))
    totals: list[list[int]] = []
    for cell, bounds in enumerate(layout.bounds()):
        row: list[int] = []
        for measure, bound in enumerate(bounds):
            offset = next(offsets)
            if offset > layout.parties * (bound.hi - bound.lo):
                raise InconsistentTotalsError(
                    f"cell {cell}, measure {measure}: the total lies outside of the declared bounds; a part is missing "
                    "or foreign, or the masks did not cancel; run the request again with the full roster"
                )
            row.append(offset + layout.parties * bound.lo)
        totals.append(row)
    return totals


def _slot_bits(bound: MeasureBound, parties: int) -> int:
    return max(1, (parties * (bound.hi - bound.lo)).bit_length())


def _offsets(totals: Sequence[Sequence[int]], layout: AggregateLayout) -> list[int]:
    """The totals as distances from their lower bounds, cell by cell; each checked before any is used."""
    if len(totals) != layout.cells:
        raise LayoutError(f"{len(totals)} cells where the layout has {layout.cells}")
    offsets: list[int] = []
    for cell, (row, bounds) in enumerate(zip(totals, layout.bounds(), strict=True)):
        if len(row) != len(bounds):
            raise LayoutError(f"cell {cell} has {len(row)} totals where the layout has {len(bounds)} measures")
        for measure, (value, bound) in enumerate(zip(row, bounds, strict=True)):
            total = operator.index(value)  # numpy integers would wrap around silently
            if not bound.lo <= total <= bound.hi:
                raise OverflowRefusedError(
                    f"cell {cell}, measure {measure}: the total lies outside of its declared bounds "
                    f"{bound.lo} to {bound.hi}; hold the data against the declarations (unseen catalog check)"
                )
            offsets.append(total - bound.lo)
    return offsets
