"""Checks of the ledger's head against the witnesses, of the clock against theirs, and of what this party refused.

A cosignature carries its witness's time, signed. So having the newest checkpoint cosigned once more is at the same time
the question how late it is elsewhere. Nothing is signed for it here: the checkpoint is one that the party has signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Final

from audit.checkpoint import Checkpoint, Note
from audit.entry import decode_entry
from audit.entry_logs import Misbehaviour
from audit.errors import AuditError, BadSignatureError, QuorumMissingError, WitnessRefusedError
from audit.ledger import LedgerReader, open_reader
from audit.policy import Policy
from audit.witness_store import WitnessStore
from parties.doctor_details import Detail
from parties.doctor_examination import Examination, why
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.doctor_words import Words, entries, many, span
from parties.errors import ConfigError, HomeError, PartyError
from parties.witness_contact import Heard, OwnLog, Standing, WitnessContact
from parties.witness_policy import default_policy, named_witnesses, needs_nobody, read_policy
from sandbox.errors import SandboxError

USUAL_LAG_MS: Final = 60_000
"""A running party has its entries cosigned within seconds; so long nobody need worry."""
ANSWER_MS: Final = 5_000
THREADS: Final = 16
SEARCHED: Final = 256
"""Stored checkpoints that are searched for the last one with the policy's cosignatures."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one witness said, verified.

    Attributes:
        contact: the witness.
        heard: what it held of this log before it was asked to cosign; None where it failed, by `error`.
        offset_ms: how much later it is at the witness than here; None where it did not cosign.
        doubt_ms: by how much `offset_ms` may be off, for the time that the answer took.
    """

    contact: WitnessContact
    heard: Heard | None
    error: Exception | None = None
    offset_ms: int | None = None
    doubt_ms: int = 0


def check_witnesses(examined: Examination) -> Iterator[Finding]:
    """Every witness can be reached and holds this ledger as it is; together they make the policy's quorum.

    Tells of the clock too: the witnesses' is the outside clock.
    """
    home, directory, network = examined.home, examined.directory, examined.network
    if directory is None or network is None or not home.ledger_path.exists():
        return
    try:
        policy = read_policy(home) or default_policy(home.name, directory)
        named = named_witnesses(policy, home.name, directory)
    except (ConfigError, HomeError, AuditError) as error:
        said, mend = Detail.POLICY_WRONG.of(error=error), Mend.POLICY.of(path=home.policy_path)
        yield failure(CheckName.WITNESSES, Trouble.POLICY_WRONG, said, mend)
        return
    reader = open_reader(home.ledger_path)
    try:
        log = network.own_log(reader)
        contacts = [network.contact(witness, log) for witness in named]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="witness") as threads:
            answers = list(threads.map(lambda contact: _ask(contact, log, examined), contacts))
        found = [finding for answer in answers for finding in _standing(examined, answer, log)]
        found += _quorum(examined, policy, answers, reader)
        if not found:
            found.append(well(CheckName.WITNESSES, _well(answers, reader)))
        yield from found
        yield _clock(examined, answers)
        for contact in contacts:
            contact.close()
    finally:
        reader.close()


def _well(answers: Sequence[Answer], reader: LedgerReader) -> Words:
    if not answers:
        return Detail.WITNESSES_NONE.of()
    told = Detail.WITNESSES_WELL if reader.latest_checkpoint() else Detail.WITNESSES_NOTHING
    return told.of(witnesses=", ".join(answer.contact.name for answer in answers))


def _ask(contact: WitnessContact, log: OwnLog, examined: Examination) -> Answer:
    """Hear what the witness holds; if that is consistent with the ledger, have it cosign the newest checkpoint."""
    try:
        heard = contact.hear(ANSWER_MS)
        data = log.ledger.latest_checkpoint()
        if data is None or log.standing(heard.checkpoint) is not Standing.HERE:
            return Answer(contact, heard)
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
        if heard.checkpoint is not None and heard.checkpoint.size > checkpoint.size:
            return Answer(contact, heard)
        before_ms = examined.clock.now_ms()
        contact.cosign(note, checkpoint, before_ms, ANSWER_MS)
        after_ms = examined.clock.now_ms()
    except (AuditError, SandboxError, PartyError) as error:
        return Answer(contact, None, error)
    if contact.cosigned_s is None:
        return Answer(contact, heard)
    middle_ms, half_ms = (before_ms + after_ms) // 2, (after_ms - before_ms) // 2
    # The time is in whole seconds: half a second late on average, and off by at most that much.
    return Answer(contact, heard, None, contact.cosigned_s * 1000 + 500 - middle_ms, half_ms + 500)


def _standing(examined: Examination, answer: Answer, log: OwnLog) -> Iterator[Finding]:
    name, reader = answer.contact.name, log.ledger
    if isinstance(answer.error, WitnessRefusedError):
        said = Detail.WITNESS_REFUSES.of(witness=name, error=answer.error)
        yield failure(CheckName.WITNESSES, Trouble.WITNESS_REFUSES, said, Mend.STOP_UNTIL_CLEAR.of())
        return
    if answer.heard is None:
        said = Detail.WITNESS_SILENT.of(witness=name, error="" if answer.error is None else why(answer.error))
        mend = Mend.WITNESS_BACK.of(witness=name, at_home=examined.at_home)
        yield warning(CheckName.WITNESSES, Trouble.WITNESS_SILENT, said, mend)
        return
    standing, checkpoint = log.standing(answer.heard.checkpoint), answer.heard.checkpoint
    if checkpoint is None:
        if reader.latest_checkpoint() is not None and answer.offset_ms is None:
            said = Detail.WITNESS_EMPTY.of(witness=name)
            yield warning(CheckName.WITNESSES, Trouble.WITNESS_BEHIND, said, Mend.START_TO_ASK.of())
    elif standing is Standing.BEHIND:
        said = Detail.LEDGER_BEHIND.of(witness=name, cosigned=entries(checkpoint.size), entries=reader.size)
        yield failure(CheckName.WITNESSES, Trouble.LEDGER_BEHIND, said, Mend.TAKE_BACK.of())
    elif standing is Standing.FORKED:
        said = Detail.LEDGER_FORKED.of(witness=name, cosigned=checkpoint.size)
        yield failure(CheckName.WITNESSES, Trouble.LEDGER_FORKED, said, Mend.KEEP_BOTH_HOMES.of())
    elif checkpoint.size < reader.size:
        (entry,) = (decode_entry(data) for data in reader.read(checkpoint.size, checkpoint.size + 1))
        age_ms = examined.clock.now_ms() - entry.at_ms
        if age_ms > USUAL_LAG_MS:
            said = Detail.WITNESS_BEHIND.of(
                witness=name, cosigned=checkpoint.size, entries=entries(reader.size), age=span(age_ms)
            )
            yield warning(CheckName.WITNESSES, Trouble.WITNESS_BEHIND, said, Mend.START_TO_SHOW.of())


def _quorum(
    examined: Examination, policy: Policy, answers: Sequence[Answer], reader: LedgerReader
) -> Iterator[Finding]:
    """Whether those who answer are enough; if not, for how long that has been so."""
    if needs_nobody(policy):
        return
    try:
        policy.verify_quorum(answer.contact.key for answer in answers if answer.heard is not None)
    except QuorumMissingError:
        silent = ", ".join(answer.contact.name for answer in answers if answer.heard is None) or "-"
        last_ms = _last_quorum(policy, reader)
        allowed = span(examined.home.config.witness.max_silence_ms)
        said = Detail.QUORUM_NEVER.of(silent=silent, allowed=allowed)
        if last_ms is not None:
            since = span(examined.clock.now_ms() - last_ms)
            said = Detail.QUORUM_OLD.of(silent=silent, since=since, allowed=allowed)
        yield failure(CheckName.WITNESSES, Trouble.QUORUM_OLD, said, Mend.WITNESSES_BACK.of())


def _last_quorum(policy: Policy, reader: LedgerReader) -> int | None:
    for data in islice(reader.checkpoints_backwards(), SEARCHED):
        try:
            return 1000 * min(each.timestamp_s for each in policy.verify_cosigned(Note.decode(data)))
        except (QuorumMissingError, BadSignatureError):
            continue
    return None


def _clock(examined: Examination, answers: Sequence[Answer]) -> Finding:
    """The median of the witnesses' clocks against this machine's; others allow `skew_ms` and refuse beyond it."""
    told = [answer for answer in answers if answer.offset_ms is not None]
    if not told:
        return warning(CheckName.CLOCK, Trouble.CLOCK_UNKNOWN, Detail.CLOCK_UNKNOWN.of(), Mend.CLOCK_UNKNOWN.of())
    names = ", ".join(answer.contact.name for answer in told)
    offset_ms = int(median(answer.offset_ms or 0 for answer in told))
    surely_ms = max(0, abs(offset_ms) - max(answer.doubt_ms for answer in told))
    allowed_ms = examined.home.config.limits.skew_ms
    way = Detail.CLOCK_BEHIND if offset_ms > 0 else Detail.CLOCK_AHEAD
    said = way.of(offset=span(abs(offset_ms)), witnesses=names)
    if surely_ms > allowed_ms:
        refused = Detail.CLOCK_REFUSED.of(difference=said, allowed=span(allowed_ms))
        return failure(CheckName.CLOCK, Trouble.CLOCK_WRONG, refused, Mend.SET_CLOCK.of())
    if surely_ms > allowed_ms // 2:
        return warning(CheckName.CLOCK, Trouble.CLOCK_DRIFTING, said, Mend.SET_CLOCK.of())
    return well(CheckName.CLOCK, Detail.CLOCK_WELL.of(offset=span(abs(offset_ms) + 1000), witnesses=names))


def check_misbehaviour(examined: Examination) -> Iterator[Finding]:
    """Evidence that this party, as a witness, keeps of other parties' logs."""
    path = examined.home.witness_path
    if not path.exists():
        return
    try:
        store = WitnessStore.open(path)
    except AuditError as error:
        said = Detail.UNCHECKED.of(error=error)
        yield failure(CheckName.MISBEHAVIOUR, Trouble.UNCHECKED, said, Mend.RESTORE.of())
        return
    try:
        logs = store.logs()
        kept = [evidence for log in logs for evidence in store.evidence(log.origin)]
    finally:
        store.close()
    for evidence in kept:
        party = evidence.origin.partition(".")[0]
        if evidence.misbehaviour is Misbehaviour.FORKED:
            said = Detail.LOG_FORKED.of(party=party, origin=evidence.origin, digest=evidence.digest[:16])
            mend = Mend.SUSPEND_FORKED.of(at_home=examined.at_home)
            yield failure(CheckName.MISBEHAVIOUR, Trouble.LOG_MISBEHAVED, said, mend)
        else:
            said = Detail.LOG_SHRUNK.of(party=party, origin=evidence.origin, digest=evidence.digest[:16])
            mend = Mend.ASK_OF_OLDER_COPY.of(party=party)
            yield warning(CheckName.MISBEHAVIOUR, Trouble.LOG_MISBEHAVED, said, mend)
    if not kept:
        yield well(CheckName.MISBEHAVIOUR, Detail.MISBEHAVIOUR_WELL.of(logs=many(len(logs), "log")))
