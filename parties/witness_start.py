"""What a party does before its ledger signs again: it asks its witnesses what they know, and takes back what it lost.

A ledger that was put back to an older state would give signed sizes other entries. The party's own signature on the
checkpoint that a witness holds tells; nobody has to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from audit.checkpoint import Checkpoint
from audit.errors import AuditError, LedgerUnavailableError, QuorumMissingError
from audit.evidence import signed_checkpoint
from audit.ledger import Ledger
from audit.policy import Policy
from audit.tree import Frontier, leaf_hash
from parties.client.witness import WitnessClient
from parties.errors import LogForkedError, NotFoundError, PartyError, WitnessesUnheardError
from parties.telemetry import Logger
from parties.witness_contact import Heard, OwnLog, Standing, WitnessContact
from sandbox.errors import DenialReason, PeerMisbehavedError, SandboxError

_T = TypeVar("_T")

FETCH_MS: Final = 600_000
"""How long fetching lost entries may take."""
ASKING_THREADS: Final = 64
"""A policy's witnesses are asked all at once, so that those which are away cost one wait."""


def hear_all(contacts: Iterable[WitnessContact], timeout_ms: int, logger: Logger) -> Mapping[WitnessContact, Heard]:
    """Ask every witness at once what it holds; those that do not answer are left out, and know why."""

    found: dict[WitnessContact, Heard] = {}
    for contact, said in deal_with_all(contacts, lambda contact: contact.hear(timeout_ms)):
        if isinstance(said, Exception):
            if contact.failed(said):
                logger.info("a witness was not heard", witness=contact.name, error=str(said))
            continue
        contact.answered()
        tell_of_lost_records(contact, logger)
        found[contact] = said
    return found


def deal_with_all(
    contacts: Iterable[WitnessContact], deal: Callable[[WitnessContact], _T]
) -> list[tuple[WitnessContact, _T | Exception]]:
    """Deal with all at once; what each gave, or why it did not, in their order, so that it is logged in one order."""

    def attempt(contact: WitnessContact) -> _T | Exception:
        try:
            return deal(contact)
        except (AuditError, SandboxError, PartyError) as error:
            return error

    asked = tuple(contacts)
    if len(asked) <= 1:
        return [(contact, attempt(contact)) for contact in asked]
    with ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="witness") as threads:
        return list(zip(asked, threads.map(attempt, asked), strict=True))


def tell_of_lost_records(contact: WitnessContact, logger: Logger) -> None:
    """Say so, once, where a witness holds less than it has cosigned: it cannot tell a fork of older entries now."""
    if contact.took_back():
        logger.error(
            "a witness has lost what it cosigned of this log, and of others' it may be: tell its operator",
            witness=contact.name,
            cosigned=contact.cosigned_size,
        )


def verify_known(
    ledger: Ledger, log: OwnLog, heard: Mapping[WitnessContact, Heard], policy: Policy, client: WitnessClient
) -> None:
    """Check that the ledger holds what its witnesses know, and take back what it lacks; after this it may sign.

    Raises:
        LogForkedError: it contradicts what they know.
        WitnessesUnheardError: it lacks entries of which there is no copy, or too few have answered.
        PeerUnavailableError and others of `PeerChannel.call`: the lost entries could not be fetched.
        LedgerUnavailableError: they could not be recorded.
    """
    for contact, said in heard.items():
        verify_not_forked(log, contact, said)
    if size_known(heard) > ledger.size:
        _take_back(ledger, log, heard, client)
    for contact, said in heard.items():
        verify_not_forked(log, contact, said)
        if said.checkpoint is not None and log.standing(said.checkpoint) is Standing.BEHIND:
            raise WitnessesUnheardError(
                f"{contact.name} cosigned {said.checkpoint.size} entries of this log, the ledger here has {ledger.size}"
                " and no copy of the others can be had: put the newest copy of the home in place"
            )
    try:
        policy.verify_quorum(contact.key for contact in heard)
    except QuorumMissingError as error:
        raise WitnessesUnheardError(str(error)) from error


def size_known(heard: Mapping[WitnessContact, Heard]) -> int:
    """The largest size of this log that the party has signed, as far as witnesses hold its signature."""
    return max((said.checkpoint.size for said in heard.values() if said.checkpoint is not None), default=0)


def verify_not_forked(log: OwnLog, contact: WitnessContact, heard: Heard) -> None:
    """Raise `LogForkedError` if a witness holds a checkpoint of ours, signed by us, over other entries than ours."""
    if heard.checkpoint is not None and log.standing(heard.checkpoint) is Standing.FORKED:
        raise LogForkedError(
            f"{contact.name} cosigned other entries of this log than the first {heard.checkpoint.size} here: the ledger"
            " was replaced by another; put the right one back"
        )


def _take_back(ledger: Ledger, log: OwnLog, heard: Mapping[WitnessContact, Heard], client: WitnessClient) -> None:
    """Adopt what is lacking from whoever keeps it; who gives what is not this log's is passed over."""
    trouble: list[Exception] = []
    for contact in sorted(heard, key=lambda each: heard[each].kept, reverse=True):
        if not contact.named.party or heard[contact].kept <= ledger.size:
            continue
        try:
            for bundle in client.entries(contact.named.party, log.origin, ledger.size, FETCH_MS):
                ledger.adopt(bundle.entries, bundle.note, bundle.proof)
        except LedgerUnavailableError:
            raise
        except NotFoundError:
            continue  # what is lacking is said by the caller
        except AuditError as error:
            trouble.append(_judge(log, contact, client, error))
        except (SandboxError, PartyError) as error:
            trouble.append(error)
        else:
            return
    if trouble:
        raise trouble[0]


def _judge(log: OwnLog, contact: WitnessContact, client: WitnessClient, refused: AuditError) -> Exception:
    """What it means that entries which somebody keeps of this log do not continue the ledger.

    Either the ledger is another history, and then all that is kept leads from another root of the ledger's size to a
    checkpoint that this party has signed. Or it proves nothing, and whoever sent it is not to be believed.

    Raises:
        LogForkedError: the former.
        PeerUnavailableError and others of `PeerChannel.call`: the entries could not be fetched.
    """
    kept, here, there, note = Frontier(), log.ledger.size, b"", b""
    try:
        for bundle in client.entries(contact.named.party, log.origin, 0, FETCH_MS):
            for data in bundle.entries:
                kept.append(leaf_hash(data))
                there = kept.root() if kept.size == here else there
            note = bundle.note
        signed = signed_checkpoint(note, log.keys())
        proved = signed == Checkpoint(log.origin, kept.size, kept.root(), signed.extensions)
    except (AuditError, SandboxError, PartyError) as error:
        return error
    if proved and there and there != log.ledger.root(here):
        raise LogForkedError(
            f"the entries that {contact.name} keeps of this log do not continue the {here} here ({refused}): an older"
            " copy of the ledger was put in place and written to; put the right one back"
        )
    detail = f"the entries that it gives back are not what this party has signed: {refused}"
    return PeerMisbehavedError(contact.name, DenialReason.MALFORMED, detail)
