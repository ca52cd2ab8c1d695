"""Offline verification of a ledger: everything is derived anew from the entries' bytes, in one streaming pass.

Nothing in the file is believed because it is there. The entries are held against the recorded leaf hashes, the seals,
the recorded chain head, the tiles, the log's signed checkpoints, the signatures inside receipts, the rules of
`audit.verify_rules` on what they say, and, when given, the regulator's directory, contracts, and checkpoints that were
kept outside. Without one of the latter a rewrite of the whole ledger by whoever holds its key cannot be seen: the
report then says `anchored: false`.

A signature by a key that the directory has since revoked counts if a witness had seen its entry before
(`audit.verify_vouching`); the signer's own clock says nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.chain import Chain, verify_seal
from audit.contract_terms import ContractTerms
from audit.directory import Directory
from audit.entry import Entry, Genesis, LogKeyChanged, Seal, decode_entry
from audit.errors import (
    Damage,
    LedgerDamagedError,
    LedgerUnavailableError,
    MalformedError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.store_sqlite import SqliteReader, has_live_files
from audit.tiles import TILE_WIDTH, TileEdge
from audit.tree import Frontier, leaf_hash
from audit.verify_checkpoints import Anchors, OwnCheckpoints
from audit.verify_contents import Contents
from audit.verify_damage import StoredLeaves, missing_entry, wrong_entry
from audit.verify_log import LogHistory
from audit.verify_report import Report
from audit.verify_vouching import Vouching

__all__ = ["LEDGER_FILE", "Report", "verify_database"]

LEDGER_FILE: Final = "ledger.db"
_FAR: Final = 2**62


@dataclass(frozen=True, slots=True)
class _Given:
    """What the verifier was given beside the ledger."""

    directory: Directory | None
    anchors: Sequence[bytes]
    contracts: Sequence[ContractTerms]


def verify_database(
    path: Path,
    *,
    directory: Directory | None = None,
    anchors: Sequence[bytes] = (),
    contracts: Sequence[ContractTerms] = (),
) -> Report:
    """Verifies a ledger file, also one that its party is writing to; changes nothing.

    Args:
        path: a ledger file, or a party's home folder with its `ledger.db`.
        directory: the regulator's, verified; then log keys, receipts and cosignatures are held against it.
        anchors: checkpoint notes that were kept outside this ledger.
        contracts: whose terms its calls are held against.

    Raises:
        VerificationImpossibleError: no such file, not readable by this user, or an anchor is of another log, damaged or
            signed by a key that proves nothing.
    """
    path = path / LEDGER_FILE if path.is_dir() else path
    if not path.is_file():
        raise VerificationImpossibleError(f"no ledger at {path}: give a party's home folder, or its ledger.db")
    given = _Given(directory, anchors, contracts)
    live = has_live_files(path)
    before = path.stat()
    report = _verify_file(path, given, immutable=not live)
    after = path.stat()
    if not live and (has_live_files(path) or (before.st_mtime_ns, before.st_ino) != (after.st_mtime_ns, after.st_ino)):
        return _verify_file(path, given, immutable=False)  # its party has just started to write
    return report


def _verify_file(path: Path, given: _Given, *, immutable: bool) -> Report:
    with ExitStack() as stack:
        try:
            reader = SqliteReader(path, immutable=immutable)
            stack.callback(reader.close)
            stack.enter_context(reader.snapshot())
        except LedgerDamagedError as error:
            return Report("", "", 0, "", "", 0, anchored=False, damage=Damage.UNREADABLE, detail=str(error))
        except LedgerUnavailableError as error:
            raise VerificationImpossibleError(str(error)) from error
        verification = _Verification(reader, given)
        try:
            verification.run()
        except VerificationFailedError as error:
            return verification.report(error)
        except LedgerDamagedError as error:
            return verification.report(VerificationFailedError(Damage.UNREADABLE, verification.size, str(error)))
        except LedgerUnavailableError as error:
            raise VerificationImpossibleError(str(error)) from error
        return verification.report(None)


class _Verification:
    """One pass over one ledger."""

    def __init__(self, reader: SqliteReader, given: _Given) -> None:
        self._reader = reader
        self._given = given
        self._frontier = Frontier()
        self._chain = Chain()
        self._edge = TileEdge()
        self._stored_leaf = StoredLeaves(reader)
        self._vouching = Vouching(self._seen)
        self._genesis: Genesis | None = None
        self._sealed = 0
        self._own: OwnCheckpoints | None = None
        self._log: LogHistory | None = None
        self._anchors: Anchors | None = None
        self._contents: Contents | None = None

    @property
    def size(self) -> int:
        """Entries found good so far."""
        return self._frontier.size

    def run(self) -> None:
        """Raises `VerificationFailedError` for the first damage."""
        try:
            self._pass()
        except VerificationFailedError as error:
            first = error if self._contents is None else self._contents.first(error)
            if first is error:
                raise
            raise first from error
        if self._contents is not None and self._contents.found is not None:
            raise self._contents.found

    def report(self, failure: VerificationFailedError | None) -> Report:
        """The report as of now."""
        genesis, contents = self._genesis, self._contents
        uncounted_entries, uncounted = contents.uncounted if contents else (0, ())
        return Report(
            party=genesis.party if genesis else "",
            origin=genesis.origin if genesis else "",
            entries=self.size,
            root=self._frontier.root().hex(),
            chain=self._chain.head.hex(),
            checkpoints=self._own.count if self._own else 0,
            anchored=failure is None and bool(self._given.anchors),
            revoked_signatures=self._vouching.revoked + (contents.revoked_signatures if contents else 0),
            cosigned=self._vouching.latest,
            uncounted=uncounted,
            uncounted_entries=uncounted_entries,
            contracts_unchecked=contents.contracts_unchecked if contents else 0,
            damage=failure.damage if failure else None,
            index=failure.index if failure else None,
            detail=failure.detail if failure else "",
            rule=failure.rule if failure else None,
        )

    def _pass(self) -> None:
        head = self._reader.head()
        self._own = OwnCheckpoints(self._reader.checkpoints(), self._vouching)
        try:
            self._read_entries(head.size)
        except VerificationFailedError:
            self._own.settle()
            raise
        if self.size < head.size or self._stored_leaf(self.size):
            raise missing_entry(self._reader, self.size)
        if self._log is None or self._anchors is None or self._contents is None:
            raise VerificationFailedError(Damage.TRUNCATED, 0, "the ledger has no entries, not even its first")
        self._own.finish(self.size, self._log)
        if self._chain.head != head.chain:
            raise VerificationFailedError(
                Damage.REWRITTEN, self._good, "the chain over the entries is not the one that the ledger recorded"
            )
        self._check_tiles(last=True)
        self._anchors.finish(self.size)
        self._contents.finish()
        self._vouching.finish()

    @property
    def _good(self) -> int:
        """Up to here the entries are known to be those that a seal or a signed checkpoint covers."""
        return max(self._sealed, self._own.agreed if self._own else 0)

    def _read_entries(self, recorded: int) -> None:
        bounds = self._reader.bounds()
        if bounds is not None and bounds[0] < 0:
            raise VerificationFailedError(Damage.INSERTED, 0, f"an entry has the index {bounds[0]}")
        for index, data in self._reader.entries(0, _FAR):
            if index != self.size:
                raise missing_entry(self._reader, self.size)
            leaf = leaf_hash(data)
            stored = self._stored_leaf(index)
            if index >= recorded:
                raise VerificationFailedError(Damage.INSERTED, index, f"the ledger recorded {recorded} entries only")
            if leaf != stored:
                raise wrong_entry(self._reader, index, leaf, stored)
            self._check_entry(index, data)
            self._frontier.append(leaf)
            self._chain.append(leaf)
            self._edge.append(leaf)
            self._check_roots()
            if self.size % TILE_WIDTH == 0:
                self._check_tiles(last=False)

    def _check_entry(self, index: int, data: bytes) -> None:
        try:
            entry = decode_entry(data)
        except MalformedError as error:
            raise VerificationFailedError(Damage.ALTERED, index, f"no entry: {error}") from error
        if isinstance(entry, Genesis) != (index == 0):
            raise VerificationFailedError(Damage.ALTERED, index, "the first entry, and no other, is the genesis entry")
        if isinstance(entry, Genesis):
            self._begin(entry)
        self._check_owner(index, entry)
        if isinstance(entry, Seal):
            try:
                verify_seal(entry.size, entry.chain, self._chain)
            except VerificationFailedError as error:
                raise VerificationFailedError(error.damage, self._good, error.detail) from error
            self._sealed = index
        if isinstance(entry, LogKeyChanged):
            assert self._log is not None
            self._log.change(index, entry)
        assert self._contents is not None
        self._contents.check(index, entry)

    def _check_owner(self, index: int, entry: Entry) -> None:
        assert self._genesis is not None
        if entry.party != self._genesis.party:
            raise VerificationFailedError(
                Damage.ALTERED, index, f"an entry of {entry.party} in the ledger of {self._genesis.party}"
            )

    def _begin(self, genesis: Genesis) -> None:
        """Takes the log's keys from the first entry and, when there is one, the directory."""
        self._genesis = genesis
        self._log = LogHistory(genesis, self._given.directory)
        self._anchors = Anchors(self._given.anchors, self._log, self._vouching)
        self._contents = Contents(genesis, self._reader, self._given.directory, self._given.contracts)
        self._check_roots()  # of no entries: a witness may hold a checkpoint from before the first

    def _seen(self, size: int, time_s: int) -> None:
        assert self._contents is not None
        self._contents.seen(size, time_s)

    def _check_roots(self) -> None:
        assert self._own is not None
        assert self._log is not None
        assert self._anchors is not None
        if self.size >= min(self._own.next_size, self._anchors.next_size):
            root = self._frontier.root()
            self._own.check(self.size, root, self._log)
            self._anchors.check(self.size, root)
            self._vouching.settle()

    def _check_tiles(self, *, last: bool) -> None:
        """Compares the tiles that changed; before the last entry, those at the edge may already be stored further."""
        for level, index, hashes in self._edge.take_changed():
            stored = self._reader.tile(level, index)
            if (stored if last else stored[: len(hashes)]) != hashes:
                raise VerificationFailedError(
                    Damage.ALTERED,
                    None,
                    f"tile {index} of level {level} is not that of the entries: opening repairs it",
                )
