"""Who may read what of a party's ledger: the regulator everything, a counterparty the proofs of its own receipts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from audit.checkpoint import Checkpoint, Note
from audit.directory import Role
from audit.entry import Outcome, decode_entry
from audit.ledger import Ledger
from audit.receipt import read_receipt
from parties.errors import NotFoundError
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError

BATCH_ENTRIES: Final = 256
"""Entries a streamed message holds at most."""
BATCH_BYTES: Final = 1024 * 1024
"""Bytes of entries after which a streamed message is full."""


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """One entry, its place, its RFC 6962 inclusion proof in the tree of `size`, and a checkpoint to hold it against."""

    index: int
    size: int
    entry: bytes
    hashes: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """Reading of one party's ledger by others. Everything answered lies under a signed checkpoint."""

    ledger: Ledger
    party: str

    def checkpoint(self) -> bytes:
        """Return the newest signed checkpoint, with whatever cosignatures it has.

        It covers everything committed so far, unless the ledger is held: then it is the last one that was signed.

        Raises:
            SigningHeldError: held, and none was ever signed.
        """
        if self.ledger.held:
            stored = self.ledger.latest_checkpoint()
            if stored is not None:
                return stored
        return self.ledger.checkpoint()

    def entries(self, start: int, end: int, peer: PeerIdentity) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (index of the first, entries) in order, in batches; `end` 0 means up to the newest checkpoint.

        Raises:
            DeniedError: `peer` is neither the regulator nor the ledger's own party.
            NotFoundError: no such range.
        """
        self._only_regulator_or_own(peer)
        size = self._size_at(end)
        if start > size:
            raise NotFoundError(f"the ledger has {size} entries; {start} is beyond its end")
        return self._batches(start, size)

    def _batches(self, start: int, end: int) -> Iterator[tuple[int, list[bytes]]]:
        first, batch, length = start, list[bytes](), 0
        for data in self.ledger.read(start, end):
            batch.append(data)
            length += len(data)
            if len(batch) == BATCH_ENTRIES or length >= BATCH_BYTES:
                yield first, batch
                first, batch, length = first + len(batch), [], 0
        if batch:
            yield first, batch

    def prove_index(self, index: int, size: int, peer: PeerIdentity) -> ProvedEntry:
        """Prove the entry at `index` in the tree of `size` (0: the newest checkpoint's); errors as `entries`."""
        self._only_regulator_or_own(peer)
        return self._prove(index, size)

    def prove_receipt(self, receipt_id: str, size: int, peer: PeerIdentity) -> ProvedEntry:
        """Prove the OUTCOME entry that carries a receipt.

        Raises:
            NotFoundError: no such receipt, or `peer` is neither a counterparty of it nor the regulator.
        """
        unknown = NotFoundError(f"no receipt {receipt_id[:16]} between {peer.party} and {self.party} is in this ledger")
        index = self.ledger.find(f"receipt:{receipt_id}")
        if index is None:
            raise unknown
        entry = decode_entry(next(iter(self.ledger.read(index, index + 1))))
        if not isinstance(entry, Outcome):
            raise unknown
        receipt = read_receipt(entry.receipt)
        counterparties = {receipt.merchant, receipt.provider, receipt.computing_party}
        if peer.role is not Role.REGULATOR and peer.party not in counterparties | {self.party}:
            raise unknown
        return self._prove(index, size)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the RFC 6962 consistency proof between two sizes.

        Raises:
            NotFoundError: the sizes are not 0 < old <= new <= the ledger's.
        """
        if not 0 < old_size <= new_size <= self.ledger.size:
            raise NotFoundError(
                f"no consistency proof from {old_size} to {new_size}: the ledger has {self.ledger.size} entries"
            )
        return tuple(self.ledger.consistency_proof(old_size, new_size))

    def _prove(self, index: int, size: int) -> ProvedEntry:
        note = self.checkpoint()
        size = size or Checkpoint.from_body(Note.decode(note).text).size
        if not 0 <= index < size <= self.ledger.size:
            raise NotFoundError(f"entry {index} is not in a tree of {size}; the ledger has {self.ledger.size} entries")
        data = next(iter(self.ledger.read(index, index + 1)))
        return ProvedEntry(index, size, data, tuple(self.ledger.inclusion_proof(index, size)), note)

    def _size_at(self, end: int) -> int:
        size = Checkpoint.from_body(Note.decode(self.checkpoint()).text).size
        if end > size:
            raise NotFoundError(f"the ledger's newest checkpoint covers {size} entries, not {end}")
        return end or size

    def _only_regulator_or_own(self, peer: PeerIdentity) -> None:
        if peer.role is not Role.REGULATOR and peer.party != self.party:
            raise DeniedError(
                DenialReason.WRONG_ROLE,
                "ledger.entries",
                f"the entries of {self.party} are for the regulator; ask for the proof of a receipt of your own",
            )
