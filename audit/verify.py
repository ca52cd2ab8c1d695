"""Offline verification of a ledger: everything is derived anew from the entries' bytes, in one streaming pass.

Nothing in the file is believed because it is there. The entries are held against the recorded leaf hashes, the seals,
the recorded chain head, the tiles, the log's signed checkpoints, the signatures inside receipts, and, when given, the
regulator's directory and checkpoints that were kept outside. Without one of the latter a rewrite of the whole ledger by
whoever holds its key cannot be seen: the report then says `anchored: false`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.canonical import JsonObject
from audit.chain import Chain, verify_seal
from audit.directory import Directory
from audit.entry import Entry, Genesis, Seal, decode_entry
from audit.errors import (
    AuditError,
    Damage,
    LedgerDamagedError,
    LedgerUnavailableError,
    MalformedError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyStatus
from audit.store_sqlite import SqliteReader, has_live_files
from audit.tiles import TILE_WIDTH, TileEdge
from audit.tree import Frontier, leaf_hash
from audit.verify_checkpoints import Anchors, LogKeys, OwnCheckpoints
from audit.verify_damage import StoredLeaves, missing_entry, wrong_entry
from audit.verify_receipts import ReceiptCheck

LEDGER_FILE: Final = "ledger.db"
_FAR: Final = 2**62


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Attributes:
        party, origin: whose ledger, by its first entry; empty where that cannot be read.
        entries: how many were found good.
        root, chain: over those, lowercase hexadecimal.
        checkpoints: the log's own, verified.
        anchored: compared with a checkpoint from outside, and equal.
        revoked_signatures: made by keys that the directory has since revoked.
        damage: None when nothing is wrong.
        index: the first bad entry, as near as the evidence tells.
        detail: what is wrong.
    """

    party: str
    origin: str
    entries: int
    root: str
    chain: str
    checkpoints: int
    anchored: bool
    revoked_signatures: int = 0
    damage: Damage | None = None
    index: int | None = None
    detail: str = ""

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return self.damage is None

    def to_json(self) -> JsonObject:
        """For `--json`; damage, index and detail only where there are any."""
        body: JsonObject = {
            "verified": self.verified,
            "party": self.party,
            "origin": self.origin,
            "entries": self.entries,
            "root": self.root,
            "chain": self.chain,
            "checkpoints": self.checkpoints,
            "anchored": self.anchored,
            "revoked_signatures": self.revoked_signatures,
        }
        if self.damage is not None:
            body |= {"damage": self.damage.value, "detail": self.detail}
            if self.index is not None:
                body["index"] = self.index
        return body


def verify_database(path: Path, *, directory: Directory | None = None, anchors: Sequence[bytes] = ()) -> Report:
    """Verifies a ledger file, also one that its party is writing to; changes nothing.

    Args:
        path: a ledger file, or a party's home folder with its `ledger.db`.
        directory: the regulator's, verified; then log key and receipts are held against it.
        anchors: checkpoint notes that were kept outside this ledger.

    Raises:
        VerificationImpossibleError: no such file, not readable by this user, or an anchor is of another log.
    """
    path = path / LEDGER_FILE if path.is_dir() else path
    if not path.is_file():
        raise VerificationImpossibleError(f"no ledger at {path}: give a party's home folder, or its ledger.db")
    live = has_live_files(path)
    before = path.stat()
    report = _verify_file(path, directory, anchors, immutable=not live)
    after = path.stat()
    if not live and (has_live_files(path) or (before.st_mtime_ns, before.st_ino) != (after.st_mtime_ns, after.st_ino)):
        return _verify_file(path, directory, anchors, immutable=False)  # its party has just started to write
    return report


def _verify_file(path: Path, directory: Directory | None, anchors: Sequence[bytes], *, immutable: bool) -> Report:
    with ExitStack() as stack:
        try:
            reader = SqliteReader(path, immutable=immutable)
            stack.callback(reader.close)
            stack.enter_context(reader.snapshot())
        except LedgerDamagedError as error:
            return Report("", "", 0, "", "", 0, anchored=False, damage=Damage.UNREADABLE, detail=str(error))
        except LedgerUnavailableError as error:
            raise VerificationImpossibleError(str(error)) from error
        verification = _Verification(reader, directory, anchors)
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

    def __init__(self, reader: SqliteReader, directory: Directory | None, anchors: Sequence[bytes]) -> None:
        self._reader = reader
        self._directory = directory
        self._anchor_notes = anchors
        self._frontier = Frontier()
        self._chain = Chain()
        self._edge = TileEdge()
        self._stored_leaf = StoredLeaves(reader)
        self._receipts = ReceiptCheck(directory)
        self._genesis: Genesis | None = None
        self._sealed = 0
        self._own: OwnCheckpoints | None = None
        self._log: LogKeys | None = None
        self._anchors: Anchors | None = None

    @property
    def size(self) -> int:
        """Entries found good so far."""
        return self._frontier.size

    def run(self) -> None:
        """Raises `VerificationFailedError` at the first damage."""
        head = self._reader.head()
        self._own = OwnCheckpoints(self._reader.checkpoints())
        try:
            self._read_entries(head.size)
        except VerificationFailedError:
            self._own.settle()
            raise
        if self.size < head.size or self._stored_leaf(self.size):
            raise missing_entry(self._reader, self.size)
        if self._log is None or self._anchors is None:
            raise VerificationFailedError(Damage.TRUNCATED, 0, "the ledger has no entries, not even its first")
        self._own.finish(self.size, self._log)
        if self._chain.head != head.chain:
            raise VerificationFailedError(
                Damage.REWRITTEN, self._good, "the chain over the entries is not the one that the ledger recorded"
            )
        self._check_tiles(last=True)
        self._anchors.finish(self.size)

    def report(self, failure: VerificationFailedError | None) -> Report:
        """The report as of now."""
        genesis = self._genesis
        return Report(
            party=genesis.party if genesis else "",
            origin=genesis.origin if genesis else "",
            entries=self.size,
            root=self._frontier.root().hex(),
            chain=self._chain.head.hex(),
            checkpoints=self._own.count if self._own else 0,
            anchored=failure is None and bool(self._anchor_notes),
            revoked_signatures=self._receipts.revoked,
            damage=failure.damage if failure else None,
            index=failure.index if failure else None,
            detail=failure.detail if failure else "",
        )

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
        self._receipts.check(index, entry)

    def _check_owner(self, index: int, entry: Entry) -> None:
        assert self._genesis is not None
        if entry.party != self._genesis.party:
            raise VerificationFailedError(
                Damage.ALTERED, index, f"an entry of {entry.party} in the ledger of {self._genesis.party}"
            )

    def _begin(self, genesis: Genesis) -> None:
        """Takes the log's keys from the first entry and, when there is one, the directory."""
        self._genesis = genesis
        named = VerifyingKey.parse(genesis.log_key)
        if genesis.origin != named.name:
            # A key that serves two origins has two histories, and no outside checkpoint is of both.
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE, 0, f"the log calls itself {genesis.origin}, its key is that of {named.name}"
            )
        keys = [named]
        if self._directory is not None:
            try:
                record = self._directory.party(genesis.party)
            except AuditError as error:
                raise VerificationFailedError(Damage.BAD_SIGNATURE, 0, str(error)) from error
            if record.role is not genesis.role:
                raise VerificationFailedError(
                    Damage.BAD_SIGNATURE, 0, f"{genesis.party} is a {record.role.value} in the regulator's directory"
                )
            listed = [each for each in record.keys if each.purpose is KeyPurpose.LOG]
            if named not in (each.key for each in listed):
                raise VerificationFailedError(
                    Damage.BAD_SIGNATURE,
                    0,
                    f"{named.keyid} is no log key of {genesis.party} in the regulator's directory",
                )
            self._receipts.revoked += sum(each.key == named and each.status is KeyStatus.REVOKED for each in listed)
            keys += [each.key for each in listed if each.key != named and each.status is not KeyStatus.REVOKED]
        self._log = LogKeys(genesis.origin, tuple(keys))
        self._anchors = Anchors(self._anchor_notes, self._log)
        self._check_roots()  # of no entries: a witness may hold a checkpoint from before the first

    def _check_roots(self) -> None:
        assert self._own is not None
        assert self._log is not None
        assert self._anchors is not None
        if self.size >= min(self._own.next_size, self._anchors.next_size):
            root = self._frontier.root()
            self._own.check(self.size, root, self._log)
            self._anchors.check(self.size, root)

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
