"""Having a ledger's newest checkpoint cosigned by its witnesses, and giving the regulator the entries under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.clock import Clock
from audit.errors import QuorumMissingError, Refusal, WitnessRefusedError
from audit.ledger import Ledger
from audit.policy import Policy
from parties.errors import LogForkedError
from parties.telemetry import Logger
from parties.witness_contact import Moment, OwnLog, Standing, WitnessContact
from parties.witness_start import deal_with_all, tell_of_lost_records, verify_not_forked

_CONTRADICTED: Final = frozenset({Refusal.CONFLICT, Refusal.BAD_PROOF})


@dataclass(frozen=True, slots=True)
class Pusher:
    """Pushes one party's log.

    Attributes:
        ledger, log: the log.
        clock: when witnesses were asked.
        timeout_ms: what one witness may take for one answer.
        refresh_s: after so many seconds a witness is asked again, even if there are no new entries.
    """

    ledger: Ledger
    log: OwnLog
    clock: Clock
    timeout_ms: int
    refresh_s: float
    logger: Logger

    def push(self, contacts: Sequence[WitnessContact], keeper: str, until: float) -> None:
        """Do what is due with every witness that is not being left alone after a failure, until the monotonic `until`.

        `keeper` is the party that keeps the entries.

        Raises:
            LogForkedError: a witness holds a checkpoint of ours that contradicts the ledger.
            LedgerError: nothing could be signed or stored.
        """
        due = [contact for contact in contacts if contact.is_due() and self._has_work(contact, keeper)]
        if not due:
            return
        note = Note.decode(self.ledger.checkpoint())
        checkpoint = Checkpoint.from_body(note.text)
        lines = self._each(
            due,
            lambda contact: self._cosigned(contact, note, checkpoint, until),
            failing="a witness does not cosign",
            done=lambda contact: contact.named.party != keeper,
        )
        self.ledger.add_cosignatures(checkpoint.size, list(lines.values()))
        kept = [contact for contact in lines if contact.named.party == keeper]
        self._each(
            kept,
            lambda contact: contact.give_entries(note, lines[contact], checkpoint, until),
            failing="a witness cosigns and does not keep the entries",
            done=lambda _: True,
        )

    def _has_work(self, contact: WitnessContact, keeper: str) -> bool:
        size = self.ledger.size
        if contact.size != size or contact.moment is None:
            return True
        if time.monotonic() - contact.moment.monotonic > self.refresh_s:
            return True
        return contact.named.party == keeper and contact.kept < size

    def _cosigned(self, contact: WitnessContact, note: Note, checkpoint: Checkpoint, until: float) -> NoteSignature:
        left_ms = max(1, int((until - time.monotonic()) * 1000))
        try:
            return contact.cosign(note, checkpoint, self.clock.now_ms(), min(self.timeout_ms, left_ms))
        except WitnessRefusedError as error:
            if contact.is_party and error.refusal in _CONTRADICTED:
                self._verify_standing(contact, until)
            if error.refusal is Refusal.UNTRUSTED_KEY:
                detail = f"{error}. If the directory lists another log key of this party, run unseen keys rotate"
                raise WitnessRefusedError(error.refusal, detail) from error
            raise

    def _verify_standing(self, contact: WitnessContact, until: float) -> None:
        """A refusal proves nothing: the checkpoint that the witness holds does, since this party has signed it."""
        heard = contact.hear(min(self.timeout_ms, max(1, int((until - time.monotonic()) * 1000))))
        verify_not_forked(self.log, contact, heard)
        if heard.checkpoint is not None and self.log.standing(heard.checkpoint) is Standing.BEHIND:
            raise LogForkedError(
                f"{contact.name} cosigned {heard.checkpoint.size} entries of this log, the ledger here has"
                f" {self.ledger.size}: an older copy was put in place; put the right one back"
            )

    def _each(
        self,
        contacts: Sequence[WitnessContact],
        deal: Callable[[WitnessContact], NoteSignature | None],
        *,
        failing: str,
        done: Callable[[WitnessContact], bool],
    ) -> dict[WitnessContact, NoteSignature]:
        """Deal with several witnesses at once; who fails is left alone for a while. Returns what was given.

        `failing` is what to log of a failure; `done` tells with whom all is well after this.
        """

        given: dict[WitnessContact, NoteSignature] = {}
        forked: LogForkedError | None = None
        for contact, answer in deal_with_all(contacts, deal):
            if isinstance(answer, LogForkedError):
                forked = answer
            if isinstance(answer, Exception):
                if contact.failed(answer) and not isinstance(answer, LogForkedError):
                    self.logger.warning(failing, witness=contact.name, error=str(answer))
                continue
            tell_of_lost_records(contact, self.logger)
            if done(contact) and contact.answered():
                self.logger.info("a witness cosigns again", witness=contact.name)
            if answer is not None:
                given[contact] = answer
        if forked is not None:
            raise forked
        return given


def quorum_moment(policy: Policy, contacts: Sequence[WitnessContact]) -> Moment | None:
    """The latest moment since which witnesses that make the quorum have all cosigned; None if there is none."""
    heard = [(contact.moment, contact) for contact in contacts if contact.moment is not None]
    heard.sort(key=lambda each: each[0].monotonic, reverse=True)
    for count in range(1, len(heard) + 1):
        try:
            policy.verify_quorum(contact.key for _, contact in heard[:count])
        except QuorumMissingError:
            continue
        return heard[count - 1][0]
    return None
