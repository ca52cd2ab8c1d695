"""A party as a witness: whose logs it cosigns, what it keeps of them, and what it records of those that it refused.

| check | blocks |
|---|---|
| 1 the log is the caller's own | answering for somebody else; sending around another's old checkpoints |
| 2 the checkpoint is signed by the log key in use (`audit.witness`) | a log that nobody enrolled; a key rotated out |
| 3 it extends the one cosigned before (`audit.witness`) | a ledger rewritten, cut, or shown in two versions |
| 4 entries lead to a checkpoint that this witness cosigned (`audit.replica`) | a replica that differs from its log |
"""

from __future__ import annotations

from collections.abc import Iterator

from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.clock import Clock
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.draft import Draft
from audit.entry import LogRefused
from audit.entry_keys import log_refused_key
from audit.errors import (
    BadSignatureError,
    DuplicateKeyError,
    LedgerDamagedError,
    LedgerError,
    LimitExceededError,
    MalformedError,
    OutOfStepError,
    VerificationFailedError,
    WitnessRefusedError,
)
from audit.keys import VerifyingKey
from audit.ledger import Ledger
from audit.names import KeyPurpose, Role, key_name
from audit.party_record import KeyRecord, KeyStatus, PartyRecord
from audit.replica import Replica
from audit.tree import verify_consistency
from audit.witness import Evidence, Submission, Witness, WitnessedLog
from audit.witness_store import WitnessStore
from parties.entry_bundle import Bundle, bundles
from parties.errors import NotFoundError
from parties.home import Home
from parties.replicas import Replicas
from parties.telemetry import Logger
from sandbox.authorise import PeerIdentity
from sandbox.errors import DenialReason, DeniedError
from sandbox.ports import CurrentDirectory


class WitnessDesk:
    """Opened by providers and the regulator. Threads may share one; the ledger outlives it."""

    def __init__(self, home: Home, ledger: Ledger, directory: CurrentDirectory, clock: Clock, logger: Logger) -> None:
        self._home = home
        self._ledger = ledger
        self._directory = directory
        self._clock = clock
        self._logger = logger
        self.refused = 0
        """How many logs' misbehaviours were recorded since the start."""
        self._store = WitnessStore.open(home.witness_path)
        self._replicas = Replicas(home.replicas) if home.role is Role.REGULATOR else None
        key = home.signing_key(KeyPurpose.WITNESS)
        self._witness = Witness(key, self._log_keys, self._store, clock, self._root, self._record)
        if self._replicas is not None:
            self._recall(self._replicas)

    def _recall(self, replicas: Replicas) -> None:
        """Remember what the copies of the logs say that was cosigned, where the witness's own records have lost it."""
        own = self._home.directory(now_ms=0).party(self._home.name)
        keys = [CosignerKey(each.key) for each in own.keys if each.purpose is KeyPurpose.WITNESS]
        for party in replicas.parties():
            try:
                note = replicas.newest_note(party)
                if note is not None and self._witness.recall(note, keys):
                    self._logger.error(
                        "the witness's records were behind its copy of a log: are they old ones?", of=party
                    )
            except (LedgerError, MalformedError, BadSignatureError) as error:
                self._logger.error("a copy of a party's ledger cannot be read", of=party, error=str(error))

    def start(self) -> None:
        """Record the evidence that a crash or a full disk kept from being recorded."""
        try:
            self._witness.report_pending()
        except LedgerError as error:
            self._logger.error("evidence of a log's misbehaviour could not be recorded; it is kept", error=str(error))

    def add_checkpoint(self, submission: Submission) -> tuple[NoteSignature, ...]:
        """Cosign for whoever brings a log's checkpoint: its signature authenticates it.

        Raises:
            WitnessRefusedError: it is not cosigned.
            LedgerError: nothing could be recorded, nothing was cosigned.
        """
        return self._witness.add_checkpoint(submission, by_log=False)

    def cosign(self, submission: Submission, peer: PeerIdentity) -> tuple[NoteSignature, ...]:
        """Cosign for a party; as `add_checkpoint`, and DeniedError(IDENTITY_MISMATCH) for another party's log."""
        try:
            origin = Checkpoint.from_body(Note.decode(submission.note).text).origin
        except MalformedError:
            return self._witness.add_checkpoint(submission)  # which says what is wrong with it
        self._verify_own(origin, peer)
        return self._witness.add_checkpoint(submission)

    def keep(self, origin: str, bundle: Bundle, peer: PeerIdentity) -> int:
        """Keep entries of the caller's own log; returns how many are kept now.

        A bundle that starts elsewhere adds nothing: the answer says where to go on.

        Raises:
            DeniedError: IDENTITY_MISMATCH (another party's log), BAD_SIGNATURE (not under a checkpoint cosigned here),
                COMMITMENT_MISMATCH (the entries do not lead to it), MALFORMED, TOO_LARGE.
            NotImplementedError: this party keeps no entries.
            LedgerError: nothing could be stored.
        """
        replicas = self._kept_here()
        self._verify_own(origin, peer)
        note = self._cosigned(origin, bundle.note)
        replicas.check_room()
        replica = replicas.of(peer.party)
        try:
            return replica.extend(bundle.entries, bundle.proof, note, start=bundle.start)
        except OutOfStepError as error:
            return error.size
        except VerificationFailedError as error:
            raise DeniedError(DenialReason.COMMITMENT_MISMATCH, "entries", error.detail) from error
        except LimitExceededError as error:
            raise DeniedError(DenialReason.TOO_LARGE, "entries", str(error)) from error
        except MalformedError as error:
            raise DeniedError(DenialReason.MALFORMED, "note", str(error)) from error

    def witnessed(self, origin: str) -> WitnessedLog | None:
        """The latest checkpoint cosigned of a log."""
        return self._witness.witnessed(origin)

    def kept(self, origin: str) -> int:
        """How many entries of a log are kept here; none where the copy is damaged, which keeps nobody from starting."""
        try:
            replica = self._replica(origin)
            return 0 if replica is None else replica.size
        except LedgerError as error:
            self._logger.error("a copy of a party's ledger cannot be read", log=origin, error=str(error))
            return 0

    def entries(self, origin: str, start: int, peer: PeerIdentity) -> Iterator[Bundle]:
        """The entries kept of a log from `start` on, up to the last checkpoint that they reach.

        Raises:
            DeniedError: `peer` is neither the log's own party nor this one.
            NotFoundError: there are none.
        """
        if peer.party != self._home.name:
            self._verify_own(origin, peer)
        replica = self._replica(origin)
        note = None if replica is None else replica.latest_checkpoint()
        if replica is None or note is None:
            raise NotFoundError(f"no entries of {origin} are kept at {self._home.name}")
        size = Checkpoint.from_body(Note.decode(note).text).size
        if start > size:
            raise NotFoundError(f"{size} entries of {origin} are kept at {self._home.name}; {start} is beyond them")
        return bundles(replica, start, size, note)

    def close(self) -> None:
        """Close the records and the replicas."""
        self._store.close()
        if self._replicas is not None:
            self._replicas.close()

    def _verify_own(self, origin: str, peer: PeerIdentity) -> None:
        own = key_name(peer.party, peer.role, self._home.config.party.domain, KeyPurpose.LOG)
        if origin != own:
            detail = f"{peer.party} answers for its own log, {own}, alone; this is {origin!r:.100}"
            raise DeniedError(DenialReason.IDENTITY_MISMATCH, "origin", detail, 1)

    def _cosigned(self, origin: str, data: bytes) -> bytes:
        """The note as it was recorded when it was cosigned; of what was sent, only the text counts."""
        try:
            note = Note.decode(data)
            named = Checkpoint.from_body(note.text).origin
        except MalformedError as error:
            raise DeniedError(DenialReason.MALFORMED, "note", str(error)) from error
        try:
            cosigned = verify_cosignatures(note, [self._witness.key])
        except BadSignatureError:
            cosigned = ()
        if named != origin or not cosigned:
            detail = f"entries are kept under a checkpoint of {origin!r:.100} that {self._home.name} has cosigned"
            raise DeniedError(DenialReason.BAD_SIGNATURE, "note", detail, 4)
        try:
            return self._witness.cosigned(data).note
        except WitnessRefusedError as error:
            raise DeniedError(DenialReason.BAD_SIGNATURE, "note", str(error), 4) from error

    def _kept_here(self) -> Replicas:
        if self._replicas is None:
            raise NotImplementedError("entries are kept by the regulator alone")
        return self._replicas

    def _replica(self, origin: str) -> Replica | None:
        record = self._party(origin)
        return None if record is None or self._replicas is None else self._replicas.find(record.name)

    def _party(self, origin: str) -> PartyRecord | None:
        directory = self._directory()
        for record in directory.parties:
            if origin == key_name(record.name, record.role, directory.domain, KeyPurpose.LOG):
                return record
        return None

    def _log_keys(self, origin: str) -> tuple[VerifyingKey, ...]:
        record = self._party(origin)
        return () if record is None else tuple(each.key for each in record.keys if _signs_logs(each))

    def _root(self, origin: str, size: int) -> bytes | None:
        """A root out of the copy of a log, which its last cosigned checkpoint bears out: a damaged disk accuses nobody.

        Raises:
            LedgerDamagedError: it does not.
        """
        replica = self._replica(origin)
        note = None if replica is None else replica.latest_checkpoint()
        kept = None if note is None else Checkpoint.from_body(Note.decode(note).text)
        if replica is None or kept is None or size > kept.size:
            return None
        try:
            root = replica.root(size)
            verify_consistency(size, kept.size, root, kept.root, replica.consistency_proof(size, kept.size))
        except (MalformedError, VerificationFailedError) as error:
            raise LedgerDamagedError(f"the copy kept of {origin} is damaged ({error}): verify it") from error
        return root

    def _record(self, evidence: Evidence) -> None:
        """Enter a log's misbehaviour into this party's own ledger, once for each evidence."""
        held, offered = (Checkpoint.from_body(Note.decode(note).text) for note in (evidence.held, evidence.offered))
        subject = evidence.origin.partition(".")[0]
        entry = LogRefused(
            party=self._home.name,
            at_ms=self._clock.now_ms(),
            subject=subject,
            origin=evidence.origin,
            misbehaviour=evidence.misbehaviour,
            held_size=held.size,
            held_root=held.root.hex(),
            offered_size=offered.size,
            offered_root=offered.root.hex(),
            evidence=evidence.digest,
        )
        try:
            self._ledger.append(Draft(entry, keys=(log_refused_key(evidence.digest),)))
        except DuplicateKeyError:
            return
        self.refused += 1
        self._logger.error(
            "a log contradicts what was cosigned of it; the evidence is kept",
            log=evidence.origin,
            misbehaviour=evidence.misbehaviour.value,
            held_size=held.size,
            offered_size=offered.size,
            evidence=evidence.digest,
        )


def _signs_logs(record: KeyRecord) -> bool:
    """Whether it is the log key in use: a retired one needs no further word, since the next key signs the hand-over."""
    return record.purpose is KeyPurpose.LOG and record.status is KeyStatus.ACTIVE
