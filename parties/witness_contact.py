"""One witness of this party's log, and the dealings with it: what it holds, when it last cosigned, when to ask it.

Whatever a witness says is verified before it counts: that it holds a checkpoint, by the log's own signature on it;
that it has cosigned, by its line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.cosignature import CosignerKey, add_lines, verify_cosignatures
from audit.errors import BadSignatureError, MalformedError, Refusal, WitnessRefusedError
from audit.evidence import verify_log_signature
from audit.keys import VerifyingKey
from audit.ledger import LedgerReader
from audit.submission import Submission
from parties.client.witness import WitnessClient
from parties.entry_bundle import BUNDLE_BYTES, bundles
from parties.witness_policy import NamedWitness
from sandbox.errors import DenialReason, PeerMisbehavedError, PeerUnavailableError

if TYPE_CHECKING:
    from parties.client.witness_http import HttpWitness

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 30.0
"""A witness that fails is asked again after 1, 2, 4 ... seconds, at most so many."""
_TRIES: Final = 3
"""Submissions in a row, each from the size that the witness has just told."""


class Standing(Enum):
    """How this party's ledger stands to a checkpoint that it has signed.

    HERE: it holds those entries. BEHIND: it holds fewer; an older copy was put in place. FORKED: it holds others.
    """

    HERE = "here"
    BEHIND = "behind"
    FORKED = "forked"


@dataclass(frozen=True, slots=True)
class OwnLog:
    """This party's log as its witnesses are shown it.

    Attributes:
        origin: its name.
        ledger: the entries.
        keys: every key that may have signed a checkpoint of it.
    """

    origin: str
    ledger: LedgerReader
    keys: Callable[[], tuple[VerifyingKey, ...]]

    def standing(self, checkpoint: Checkpoint | None) -> Standing:
        """How the ledger stands to a verified checkpoint of its own; None is that of no entries."""
        if checkpoint is None or checkpoint.size == 0:
            return Standing.HERE
        if checkpoint.size > self.ledger.size:
            return Standing.BEHIND
        return Standing.HERE if self.ledger.root(checkpoint.size) == checkpoint.root else Standing.FORKED


@dataclass(frozen=True, slots=True)
class Heard:
    """What a witness holds of this log, verified: the latest checkpoint that it cosigned, and how many entries."""

    checkpoint: Checkpoint | None
    kept: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Milliseconds since the epoch, and seconds of the monotonic clock, which nobody can set back."""

    at_ms: int
    monotonic: float


class WitnessContact:
    """Used by one thread at a time; its attributes may be read by any.

    Attributes:
        named: which witness.
        size: of the latest checkpoint that it is known to have cosigned, None before it was heard.
        kept: how many entries it keeps.
        moment: when it was last asked and then cosigned.
        cosigned_s: the time in that cosignature, by its own clock, in seconds since the epoch.
        cosigned_size: the largest size that it is known to have cosigned, by its line.
        forgot: it has said that it holds less than that, and nobody was told yet.
        error: why it last failed, empty after a success.
        silent: it failed by giving no answer at all.
    """

    def __init__(self, named: NamedWitness, log: OwnLog, client: WitnessClient, http: HttpWitness | None) -> None:
        self.named = named
        self.size: int | None = None
        self.kept = 0
        self.moment: Moment | None = None
        self.cosigned_s: int | None = None
        self.cosigned_size = 0
        self.forgot = False
        self.error = ""
        self.silent = False
        self._log = log
        self._client = client
        self._http = http
        self._backoff_s = 0.0
        self._next = 0.0

    @property
    def key(self) -> CosignerKey:
        """The key of its cosignatures."""
        return self.named.key

    @property
    def name(self) -> str:
        """What to call it: its party, or else its key's name."""
        return self.named.party or self.named.key.name

    @property
    def is_party(self) -> bool:
        """Whether it is an enrolled party, which tells what it holds."""
        return self._http is None

    def is_due(self) -> bool:
        """Whether it may be asked now, after it has failed."""
        return time.monotonic() >= self._next

    def failed(self, error: Exception) -> bool:
        """Note a failure, and wait longer each time; returns whether this is news."""
        self._backoff_s = min(LONGEST_BACKOFF_S, self._backoff_s * 2 or FIRST_BACKOFF_S)
        self._next = time.monotonic() + self._backoff_s
        self.silent = isinstance(error, PeerUnavailableError)
        news, self.error = not self.error, str(error)
        return news

    def answered(self) -> bool:
        """Note a success; returns whether it had failed before."""
        self._backoff_s = self._next = 0.0
        self.silent = False
        news, self.error = bool(self.error), ""
        return news

    def hear(self, timeout_ms: int) -> Heard:
        """Ask what it holds of this log.

        A witness that is no party tells nothing of its own accord: the latest checkpoint signed is submitted again.

        Raises:
            PeerUnavailableError and others of `PeerChannel.call`: it does not answer.
            PeerMisbehavedError: what it says does not verify.
            WitnessRefusedError: it does not know this log, or contradicts the latest checkpoint.
        """
        heard = self._hear_party(timeout_ms) if self.is_party else self._hear_url(timeout_ms)
        self.size = 0 if heard.checkpoint is None else heard.checkpoint.size
        self.kept = heard.kept
        self._notice(self.size)
        return heard

    def cosign(self, note: Note, checkpoint: Checkpoint, now_ms: int, timeout_ms: int) -> NoteSignature:
        """Have it cosign a checkpoint; returns its verified line.

        Raises:
            WitnessRefusedError: it does not; a CONFLICT that remains means that it holds what this ledger does not.
            PeerMisbehavedError: its line does not verify.
            Others as `PeerChannel.call`.
        """
        asked = Moment(now_ms, time.monotonic())
        line = self._submit(note, checkpoint, timeout_ms)
        self.cosigned_s = self.key.verify(note.text, line)
        self.size, self.moment = checkpoint.size, asked
        self.cosigned_size = max(self.cosigned_size, checkpoint.size)
        return line

    def give_entries(self, note: Note, line: NoteSignature, checkpoint: Checkpoint, until: float) -> None:
        """Hand it the entries that it lacks up to a checkpoint that it has cosigned, until the monotonic time `until`.

        Raises:
            PeerMisbehavedError: it takes entries and keeps none.
            Others as `PeerChannel.call`.
        """
        cosigned = add_lines(note, [line]).encode()
        ledger, size = self._log.ledger, checkpoint.size
        restarts = 0
        while self.kept < size and restarts < _TRIES:
            restarts += 1
            for bundle in bundles(ledger, self.kept, size, cosigned, BUNDLE_BYTES):
                left_ms = int((until - time.monotonic()) * 1000)
                if left_ms <= 0:
                    return
                end = bundle.start + len(bundle.entries)
                self.kept = self._client.add_entries(self.named.party, self._log.origin, bundle, left_ms)
                if self.kept != end:
                    break  # it continues elsewhere: go on from there
        if self.kept < size:
            raise PeerMisbehavedError(self.name, DenialReason.MALFORMED, f"it keeps {self.kept} of {size} entries sent")

    def took_back(self) -> bool:
        """Whether it holds less than it has cosigned, told once: its records were lost or set back."""
        forgot, self.forgot = self.forgot, False
        return forgot

    def _notice(self, size: int) -> None:
        self.forgot = self.forgot or size < self.cosigned_size

    def close(self) -> None:
        """Close the connection to a witness that is no party; the others' are the dialler's."""
        if self._http is not None:
            self._http.close()

    def _hear_party(self, timeout_ms: int) -> Heard:
        if not self.named.party:
            raise PeerUnavailableError(
                self.name, "the policy gives no URL for it, and the directory lists no such witness key"
            )
        said = self._client.witnessed(self.named.party, self._log.origin, timeout_ms)
        if not said.note:
            return Heard(None, said.kept)
        try:
            note = Note.decode(said.note)
            checkpoint = Checkpoint.from_body(note.text)
            verify_log_signature(note, self._log.keys())
            # The log's own signature says all that counts. The witness's line may be by another of its keys: an earlier
            # one, if this log has sent it nothing since, or one that a directory out of a backup does not list yet.
            verify_cosignatures(note, [self.key])
        except (MalformedError, BadSignatureError) as error:
            detail = (
                f"what it says that it cosigned does not verify: {error}. Is this home a copy from before the party's"
                " log key was rotated?"
            )
            raise PeerMisbehavedError(self.name, DenialReason.BAD_SIGNATURE, detail) from error
        if checkpoint.origin != self._log.origin:
            raise PeerMisbehavedError(self.name, DenialReason.MALFORMED, "it answers for another log")
        return Heard(checkpoint, said.kept)

    def _hear_url(self, timeout_ms: int) -> Heard:
        data = self._log.ledger.latest_checkpoint()
        if data is None:
            return Heard(None, 0)  # nothing was signed yet, so there is nothing that it could hold
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
        self._submit(note, checkpoint, timeout_ms)
        return Heard(checkpoint, 0)

    def _submit(self, note: Note, checkpoint: Checkpoint, timeout_ms: int) -> NoteSignature:
        old, until = min(self.size or 0, checkpoint.size), time.monotonic() + timeout_ms / 1000
        for attempt in range(_TRIES):
            left_ms = max(1, int((until - time.monotonic()) * 1000))
            proof = self._log.ledger.consistency_proof(old, checkpoint.size)
            try:
                return self._line(note.text, self._add(Submission(old, tuple(proof), note.encode()), left_ms))
            except WitnessRefusedError as error:
                told = error.size if error.refusal is Refusal.CONFLICT else None
                if told is None or told == old or told > checkpoint.size or attempt + 1 == _TRIES:
                    raise
                old = told
                self._notice(told)
            except BadSignatureError as error:
                raise PeerMisbehavedError(self.name, DenialReason.BAD_SIGNATURE, str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    def _add(self, submission: Submission, timeout_ms: int) -> tuple[NoteSignature, ...]:
        if self._http is not None:
            return self._http.add_checkpoint(submission, timeout_ms / 1000)
        return self._client.add_checkpoint(self.named.party, submission, timeout_ms)

    def _line(self, text: bytes, lines: tuple[NoteSignature, ...], keys: tuple[CosignerKey, ...] = ()) -> NoteSignature:
        """The first line that is this witness's, by one of `keys` or else its key; raises `BadSignatureError`."""
        for key in keys or (self.key,):
            for line in lines:
                if key.made(line):
                    key.verify(text, line)
                    return line
        raise BadSignatureError(f"there is no cosignature by {self.key.vkey()}")
