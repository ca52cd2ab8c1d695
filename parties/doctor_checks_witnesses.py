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
from parties.doctor_examination import Examination, span
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
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
        mend = f"write {home.policy_path} after c2sp.org/tlog-policy, or take it away: then the regulator witnesses"
        yield failure(CheckName.WITNESSES, Trouble.POLICY_WRONG, str(error), mend)
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
            names = ", ".join(answer.contact.name for answer in answers) or "there are none, and none is needed"
            told = "each knows this ledger as it is" if reader.latest_checkpoint() else "no checkpoint to show yet"
            found.append(well(CheckName.WITNESSES, f"{told}: {names}"))
        yield from found
        yield _clock(examined, answers)
        for contact in contacts:
            contact.close()
    finally:
        reader.close()


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
        detail = f"{name} does not cosign: {answer.error}"
        mend = "stop the party until it is clear why: an older or another ledger may have been put in place"
        yield failure(CheckName.WITNESSES, Trouble.WITNESS_REFUSES, detail, mend)
        return
    if answer.heard is None:
        mend = f"see that {name} runs and can be reached; unseen witness policy {examined.at_home} shows who is needed"
        yield warning(CheckName.WITNESSES, Trouble.WITNESS_SILENT, f"{name}: {answer.error}", mend)
        return
    standing, checkpoint = log.standing(answer.heard.checkpoint), answer.heard.checkpoint
    if checkpoint is None:
        if reader.latest_checkpoint() is not None and answer.offset_ms is None:
            detail = f"{name} has cosigned nothing of this log"
            yield warning(CheckName.WITNESSES, Trouble.WITNESS_BEHIND, detail, "start the party, which asks it")
    elif standing is Standing.BEHIND:
        detail = (
            f"{name} has cosigned {checkpoint.size} entries, the ledger here has {reader.size}: it is an older copy. "
            "Nothing may be signed from here before the others are back"
        )
        mend = "start the party: it takes them back from the regulator; or put the newest home in place"
        yield failure(CheckName.WITNESSES, Trouble.LEDGER_BEHIND, detail, mend)
    elif standing is Standing.FORKED:
        detail = (
            f"{name} has cosigned other entries than the first {checkpoint.size} here, under this party's own "
            "signature: this is a second history"
        )
        mend = "stop the party, keep both homes, put the one that was witnessed back, and tell the regulator"
        yield failure(CheckName.WITNESSES, Trouble.LEDGER_FORKED, detail, mend)
    elif checkpoint.size < reader.size:
        (entry,) = (decode_entry(data) for data in reader.read(checkpoint.size, checkpoint.size + 1))
        age_ms = examined.clock.now_ms() - entry.at_ms
        if age_ms > USUAL_LAG_MS:
            detail = f"{name} holds {checkpoint.size} of {reader.size} entries; the next is {span(age_ms)} old"
            yield warning(
                CheckName.WITNESSES, Trouble.WITNESS_BEHIND, detail, "start the party, which shows it the rest"
            )


def _quorum(
    examined: Examination, policy: Policy, answers: Sequence[Answer], reader: LedgerReader
) -> Iterator[Finding]:
    """Whether those who answer are enough; if not, for how long that has been so."""
    if needs_nobody(policy):
        return
    try:
        policy.verify_quorum(answer.contact.key for answer in answers if answer.heard is not None)
    except QuorumMissingError as error:
        last_ms = _last_quorum(policy, reader)
        since = "never" if last_ms is None else f"{span(examined.clock.now_ms() - last_ms)} ago"
        allowed = span(examined.home.config.witness.max_silence_ms)
        detail = (
            f"{error}; last reached {since}: a party at work refuses calls after {allowed}, and one that starts, as a "
            "merchant's every command does, takes none before it is reached"
        )
        mend = "bring the witnesses back, or name others in the policy"
        yield failure(CheckName.WITNESSES, Trouble.QUORUM_OLD, detail, mend)


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
        mend = "see what is said of the witnesses; meanwhile: timedatectl status"
        return warning(CheckName.CLOCK, Trouble.CLOCK_UNKNOWN, "no witness told its time", mend)
    offset_ms = int(median(answer.offset_ms or 0 for answer in told))
    surely_ms = max(0, abs(offset_ms) - max(answer.doubt_ms for answer in told))
    allowed_ms = examined.home.config.limits.skew_ms
    way = "behind" if offset_ms > 0 else "ahead of"
    detail = f"this machine's clock is {span(abs(offset_ms))} {way} that of {', '.join(a.contact.name for a in told)}"
    mend = "set the clock and keep it by NTP: timedatectl set-ntp true"
    if surely_ms > allowed_ms:
        detail += f"; requests are refused beyond {span(allowed_ms)}"
        return failure(CheckName.CLOCK, Trouble.CLOCK_WRONG, detail, mend)
    if surely_ms > allowed_ms // 2:
        return warning(CheckName.CLOCK, Trouble.CLOCK_DRIFTING, detail, mend)
    return well(CheckName.CLOCK, f"within {span(abs(offset_ms) + 1000)} of {', '.join(a.contact.name for a in told)}")


def check_misbehaviour(examined: Examination) -> Iterator[Finding]:
    """Evidence that this party, as a witness, keeps of other parties' logs."""
    path = examined.home.witness_path
    if not path.exists():
        return
    try:
        store = WitnessStore.open(path)
    except AuditError as error:
        mend = "unseen restore the newest backup into a new home"
        yield failure(CheckName.MISBEHAVIOUR, Trouble.UNCHECKED, str(error), mend)
        return
    try:
        logs = store.logs()
        kept = [evidence for log in logs for evidence in store.evidence(log.origin)]
    finally:
        store.close()
    for evidence in kept:
        party = evidence.origin.partition(".")[0]
        if evidence.misbehaviour is Misbehaviour.FORKED:
            detail = f"{party} has signed two histories of {evidence.origin}; proof {evidence.digest[:16]} is kept"
            mend = f"unseen contract suspend each of its contracts, and unseen witness evidence {examined.at_home}"
            yield failure(CheckName.MISBEHAVIOUR, Trouble.LOG_MISBEHAVED, detail, mend)
        else:
            detail = f"{party} brought fewer entries of {evidence.origin} than before; {evidence.digest[:16]} is kept"
            mend = f"ask {party} whether an older copy was restored; a proof it is not"
            yield warning(CheckName.MISBEHAVIOUR, Trouble.LOG_MISBEHAVED, detail, mend)
    if not kept:
        yield well(CheckName.MISBEHAVIOUR, f"none seen in {len(logs)} logs that this party witnesses")
