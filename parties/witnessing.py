"""A party's witnesses: asked before its ledger signs, shown every checkpoint, and missed when they fall silent.

A ledger alone cannot prove that it is the only one its party has shown. Witnesses can: they have seen one line of
history, so whoever replaces it is found out. Hence a party takes no call while they do not know its ledger, or have
not been heard for `[witness] max_silence_ms`; contracts, catalogue and directory go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from audit.canonical import canonicalise
from audit.checkpoint import Checkpoint, Note
from audit.clock import Clock
from audit.commitment import SALT_BYTES, Opening, commit_openings, encode_openings
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.directory import Directory
from audit.draft import Draft
from audit.entry import WitnessOverride
from audit.errors import AuditError, StaleDirectoryError
from audit.ledger import Ledger
from audit.names import Role
from audit.policy import Policy
from parties.channel import Dialler
from parties.client.witness import WitnessClient
from parties.entropy import SystemEntropy
from parties.errors import HomeError, LogForkedError, PartyError, WitnessesUnheardError
from parties.files import write_file
from parties.home import Home
from parties.lasting_trouble import LastingTrouble
from parties.telemetry import Logger
from parties.witness_contact import Moment, OwnLog, WitnessContact
from parties.witness_policy import NamedWitness, default_policy, log_keys, named_witnesses, needs_nobody, read_policy
from parties.witness_push import Pusher, quorum_moment
from parties.witness_start import hear_all, size_known, verify_known
from sandbox.errors import DenialReason, DeniedError, SandboxError
from sandbox.ports import CurrentDirectory
from sandbox.vault import Vault, VaultKind

ASK_AGAIN_SECONDS: Final = 1.0
"""How often witnesses are asked what they know while the ledger is held."""
PUSH_MS: Final = 60_000
"""How long one turn of pushing in the background may take; entries that are left are for the next."""
LAST_MS: Final = 3_000
"""How long showing the last entries to the witnesses may hold up closing."""
CUT_OFF_SECONDS: Final = 1.0
RESTS: Final = 2
"""Who has just asked in vain waits for so many times as long as that took before a call makes it ask again."""
REFRESHES: Final = 4
"""So many times within the silence allowed, witnesses are asked to cosign again what they have cosigned."""
SERVE_UNSAFE: Final = "`unseen serve --unsafe-without-witnesses REASON`"
_SEEDS: Final = 256
"""Stored checkpoints that are searched for a witness's last cosignature at start."""


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """One witness: its name, whether it was reached last time and else why not, and what it cosigned last and when.

    `size` is None before it was heard; `cosigned_s` is by the witness's clock, None where it never cosigned.
    """

    name: str
    reachable: bool
    size: int | None
    cosigned_s: int | None
    error: str


@dataclass(frozen=True, slots=True)
class WitnessingStatus:
    """Where a party stands with its witnesses.

    Attributes:
        size: entries of its ledger.
        held: it signs nothing, since what its witnesses know is unknown.
        forked: why it contradicts what it signed earlier; empty where it does not.
        silence_ms: since when too few witnesses have been heard for the policy; None: never, or none is needed.
        witnesses: each of them.
    """

    size: int
    held: bool
    forked: str
    silence_ms: int | None
    witnesses: tuple[WitnessStatus, ...]


class Witnessing:
    """One a party; `verify_heard` may be called by any thread. Opened with the ledger held, closed before it."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock, logger: Logger) -> None:
        """Raises `ConfigError` for a policy that cannot be read, and as `Home.directory`."""
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._logger = logger
        self._settings = home.config.witness
        self._known: CurrentDirectory | None = None
        self._directory = home.directory(now_ms=0)  # expired or not, it says where the witnesses are
        self._own_key = ledger.opened_with
        self._file = read_policy(home)
        self._dialler = Dialler(home, self.directory)
        self._client = WitnessClient(self._dialler)
        self._log = OwnLog(home.origin, ledger, lambda: log_keys(home.name, self.directory(), self._own_key))
        self._refresh_s = self._settings.max_silence_ms / 1000 / REFRESHES
        self._pusher = Pusher(ledger, self._log, clock, self._settings.ask_timeout_ms, self._refresh_s, logger)
        self._turn = threading.RLock()
        self._contacts: dict[NamedWitness, WitnessContact] = {}
        self._policy: Policy | None = None
        self._seen: Directory | None = None
        self._quorum: Moment | None = None
        self._forked = ""
        self._why = "they have not been asked yet"
        self._overridden = False
        self._closed = False
        self._behind = False
        self._followers: list[Callable[[], object]] = []
        self._asked = -ASK_AGAIN_SECONDS
        self._rest_until = 0.0
        self._trouble = LastingTrouble()
        self._look_up()

    def follow(self, directory: CurrentDirectory) -> None:
        """Take witnesses and their addresses from `directory` from now on."""
        self._known = directory

    def on_taken_back(self, follow: Callable[[], object]) -> None:
        """Call `follow` when the ledger has taken entries back after this, before it signs again: what else is computed
        from the entries and is no fold of the ledger. It may append, and raise as the ledger and the vault do.
        """
        self._followers.append(follow)

    def directory(self) -> Directory:
        """The newest directory, be it expired: witnesses are reached all the same."""
        if self._known is not None:
            try:
                self._directory = self._known()
            except StaleDirectoryError:
                return self._directory
        return self._directory

    # -- the gate -----------------------------------------------------------------------------------------------------

    def verify_heard(self) -> None:
        """Raise `DeniedError(WITNESSES_UNHEARD)` while calls are not to be taken: held, forked, or silence."""
        if self._overridden:
            return
        self._verify_standing()
        if self._needs_nobody:
            return
        silence_ms = self._silence_ms()
        if silence_ms is None or silence_ms > self._settings.max_silence_ms:
            since = "never" if silence_ms is None else f"not for {silence_ms // 1000} s"
            raise self._denied(f"too few of its witnesses have cosigned its ledger: {since} ({self._why})")

    def verify_serving(self) -> None:
        """Raise the same as long as health is to say NOT_SERVING; a fork is no health whatever the operator decides."""
        if self._forked:
            self._verify_standing()
        self.verify_heard()

    @property
    def _needs_nobody(self) -> bool:
        return self._policy is not None and needs_nobody(self._policy)

    def _verify_standing(self) -> None:
        if self._forked:
            raise self._denied(f"its ledger contradicts what it has signed: {self._forked}")
        if self._ledger.held:
            raise self._denied(f"its witnesses have not said what they know of its ledger: {self._why}")

    def _denied(self, detail: str) -> DeniedError:
        mend = "its operator sees more with `unseen doctor`"
        return DeniedError(
            DenialReason.WITNESSES_UNHEARD, "witness", f"{self._home.name} takes no calls: {detail}; {mend}"
        )

    def _silence_ms(self) -> int | None:
        """The stricter of two clocks: one that can be set back, and one that does not know of a sleeping machine."""
        quorum = self._quorum
        if quorum is None:
            return None
        elapsed_ms = int((time.monotonic() - quorum.monotonic) * 1000)
        return max(elapsed_ms, self._clock.now_ms() - quorum.at_ms)

    # -- start --------------------------------------------------------------------------------------------------------

    def begin(self, vault: Vault, unsafe_without_witnesses: str = "", *, show: bool = True) -> None:
        """At start, before anything is appended: ask the witnesses, take back what was lost, and sign again.

        If they cannot be heard the ledger stays held, and is asked for again in `turn`. A reason given as
        `unsafe_without_witnesses` lets the party go on all the same: it is recorded. Without `show` they are not
        asked to cosign yet.

        Raises:
            HomeError: the home was restored from a backup, and its witnesses cannot be heard.
            LedgerError, VaultError: nothing could be recorded.
        """
        self.catch_up(show=show)
        if unsafe_without_witnesses and (self._ledger.held or self._forked):
            self._override(unsafe_without_witnesses, vault)
        if self._home.restored_path.exists():
            merchant = self._home.role is Role.MERCHANT
            unsafe = "Merchant.open(unsafe_without_witnesses=REASON)" if merchant else SERVE_UNSAFE
            raise HomeError(
                f"{self._home.name} was restored from a backup, or is an older copy, and does not start before its"
                f" witnesses have said what it signed since: {self._forked or self._why}. Start it when they can be"
                f" reached; only if they never will: {unsafe}"
            )

    def catch_up(self, *, show: bool = True) -> None:
        """Ask the witnesses what they know, and if the ledger holds it, let it sign, and have it cosigned (`show`).

        Never raises for a witness. Does nothing for a ledger that is not held.
        """
        with self._turn:
            if self._closed or not self._ledger.held or self._forked:
                return
            self._asked = time.monotonic()
            restored = self._home.restored_path.exists()
            self._look_up()
            try:
                self._verify_known(restored=restored)
                if self._behind:
                    for follow in self._followers:
                        follow()
                    self._behind = False
                if not self._needs_nobody:
                    self._logger.info("the witnesses know this ledger", size=self._ledger.size)
                self._ledger.release()
                self._trouble.ended("held")
                self._home.restored_path.unlink(missing_ok=True)
            except LogForkedError as error:
                self._fork(error)
                return
            except (AuditError, SandboxError, PartyError) as error:
                self._stay_held(error)
                return
            if show and not self._needs_nobody:
                self.push_quietly(self._settings.ask_timeout_ms)

    def _stay_held(self, error: Exception) -> None:
        ended = time.monotonic()
        self._rest_until = ended + RESTS * (ended - self._asked)
        self._why = "; ".join((str(error), *self._failures()))
        kind = str(error) if isinstance(error, WitnessesUnheardError) else type(error).__name__
        if self._trouble.is_news("held", kind):
            self._logger.warning("the ledger is held: nothing is signed, no call taken", error=self._why)

    def _verify_known(self, *, restored: bool) -> None:
        contacts = tuple(self._contacts.values())
        heard = hear_all(contacts, self._settings.ask_timeout_ms, self._logger)
        if restored and not heard:
            raise WitnessesUnheardError("no witness answers")
        if restored and self._needs_nobody and len(heard) < len(contacts):
            # Where no quorum is known to have cosigned the newest entries, any one of them may be who alone knows them.
            silent = ", ".join(each.name for each in contacts if each not in heard)
            raise WitnessesUnheardError(f"of its witnesses {silent} did not answer")
        if self._policy is None:
            raise WitnessesUnheardError(self._why)
        known = size_known(heard)
        if known > self._ledger.size:
            self._await(known)
        try:
            verify_known(self._ledger, self._log, heard, self._policy, self._client)
        except LogForkedError:
            self._ledger.await_nothing()  # nothing fits into it any more
            if not restored:
                self._home.restored_path.unlink(missing_ok=True)
            raise

    def _await(self, known: int) -> None:
        """Append nothing before what is lacking is back, also after a restart: it would be another history."""
        self._behind = True
        self._ledger.await_entries(known)
        try:
            if not self._home.restored_path.exists():
                write_file(self._home.restored_path, canonicalise({"v": 1, "known_size": known}), mode=0o600)
        except OSError as error:
            raise HomeError(f"{self._home.restored_path} cannot be written ({error.strerror})") from error

    def _override(self, reason: str, vault: Vault) -> None:
        openings = {"reason": Opening(SystemEntropy().token(SALT_BYTES), reason.encode())}
        size = self._ledger.size
        vault.put(VaultKind.OPENINGS, f"witness-override/{size}", encode_openings(openings))
        self._ledger.await_nothing()
        self._ledger.append(
            Draft(
                WitnessOverride(
                    party=self._home.name,
                    at_ms=self._clock.now_ms(),
                    size=size,
                    reason=commit_openings(openings)["reason"],
                )
            )
        )
        self._ledger.release()
        self._home.restored_path.unlink(missing_ok=True)
        self._overridden, self._forked = True, ""
        self._logger.error("going on without witnesses, by the operator's decision", reason=reason, size=size)
        self.push_quietly(self._settings.ask_timeout_ms)  # a fork is shown to the witnesses, for all to see

    def _fork(self, error: LogForkedError) -> None:
        self._forked = self._why = str(error)
        self._logger.error("the ledger contradicts what this party has signed; no call is taken", error=str(error))

    # -- pushing ------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn of background work: ask while held, else push; as `push`."""
        if not self._ledger.held:
            self.push(PUSH_MS)
        elif time.monotonic() - self._asked >= ASK_AGAIN_SECONDS:
            self.catch_up()

    def push(self, budget_ms: int) -> None:
        """Have the newest checkpoint cosigned by whoever has not, and give the regulator the entries, for `budget_ms`.

        A witness that fails is left alone for a while, and never raises here. With a ledger that is held or forked
        nothing happens.

        Raises:
            LedgerError: nothing could be signed or stored.
        """
        until = time.monotonic() + budget_ms / 1000
        with self._turn:
            if self._closed or self._ledger.held or self._forked:
                return
            self._look_up()
            try:
                self._pusher.push(tuple(self._contacts.values()), self._directory.regulator, until)
            except LogForkedError as error:
                self._fork(error)
            self._count()

    def freshen(self, budget_ms: int) -> None:
        """For a party without background work, before a call: hear the witnesses again if that is long ago.

        Those of a held ledger are not waited for anew by whoever has just waited in vain; the call is refused then.
        """
        if self._ledger.held:
            if time.monotonic() >= self._rest_until:
                self.catch_up()
            return
        silence_ms = self._silence_ms()
        if silence_ms is None or silence_ms > self._refresh_s * 1000:
            self.push_quietly(budget_ms)

    def push_quietly(self, budget_ms: int) -> None:
        """As `push`, for the end of work that is done already: what fails is logged, and comes with the next push."""
        try:
            self.push(budget_ms)
        except AuditError as error:
            self._logger.warning("the newest entries were not shown to the witnesses", error=str(error))

    def _look_up(self) -> None:
        """Bring policy and witnesses up to the newest directory."""
        directory = self.directory()
        if directory is self._seen:
            return
        try:
            policy = default_policy(self._home.name, directory) if self._file is None else self._file
        except AuditError as error:  # the regulator's witness key was revoked, and another is not on record yet
            self._why = str(error)
            return
        self._policy, self._seen = policy, directory
        named = named_witnesses(policy, self._home.name, directory)
        before = self._contacts
        self._contacts = {each: before.get(each) or self._contact(each) for each in named}
        for each in before.keys() - self._contacts.keys():
            before[each].close()
        self._count()

    def _contact(self, named: NamedWitness) -> WitnessContact:
        http = None
        if named.url:
            from parties.client.witness_http import HttpWitness  # noqa: PLC0415  (few policies need it)

            # The federation's authorities too: whose cosignature it is says the key, not the certificate.
            http = HttpWitness(named.url, self._home.anchors(), self._settings.ask_timeout_ms / 1000)
        contact = WitnessContact(named, self._log, self._client, http)
        seen = self._last_cosigned(named.key)
        if seen is not None:
            contact.cosigned_size, contact.cosigned_s = seen
            at_ms = contact.cosigned_s * 1000
            contact.moment = Moment(at_ms, time.monotonic() - max(0, self._clock.now_ms() - at_ms) / 1000)
        return contact

    def _last_cosigned(self, key: CosignerKey) -> tuple[int, int] | None:
        """What size a witness last cosigned and when, as the ledger's own checkpoints say: silence goes on over a
        restart.
        """
        for data in islice(self._ledger.checkpoints_backwards(), _SEEDS):
            note = Note.decode(data)
            found = verify_cosignatures(note, [key])
            if found:
                return Checkpoint.from_body(note.text).size, found[0].timestamp_s
        return None

    def _count(self) -> None:
        if self._policy is not None:
            self._quorum = quorum_moment(self._policy, tuple(self._contacts.values()))
        if not self._forked and not self._ledger.held:
            self._why = "; ".join(self._failures()) or "they answer"

    def _failures(self) -> list[str]:
        return [each.error for each in self._contacts.values() if each.error]

    # -- telling ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Who witnesses this ledger."""
        return tuple(contact.name for contact in self._contacts.values())

    def is_silent(self, party: str) -> bool:
        """Whether that party was asked as a witness, and gave no answer the last time."""
        return any(contact.named.party == party and contact.silent for contact in self._contacts.values())

    def status(self) -> WitnessingStatus:
        """Where this party stands with its witnesses, by what is known; asks nobody."""
        contacts: Sequence[WitnessContact] = tuple(self._contacts.values())
        return WitnessingStatus(
            size=self._ledger.size,
            held=self._ledger.held,
            forked=self._forked,
            silence_ms=None if self._needs_nobody else self._silence_ms(),
            witnesses=tuple(
                WitnessStatus(
                    each.name, not each.error and each.size is not None, each.size, each.cosigned_s, each.error
                )
                for each in contacts
            ),
        )

    def finish(self) -> None:
        """Show the last entries to the witnesses, for at most `LAST_MS` in all, then `close`; before the ledger closes.

        A push that is under way is waited for as long, and then cut off.
        """
        until = time.monotonic() + LAST_MS / 1000
        if self._turn.acquire(timeout=LAST_MS / 1000):
            try:
                self.push_quietly(max(1, int((until - time.monotonic()) * 1000)))
            finally:
                self._turn.release()
        self.close()
        if self._turn.acquire(timeout=CUT_OFF_SECONDS):
            self._turn.release()

    def close(self) -> None:
        """Close the ways to the witnesses; nothing is pushed any more."""
        self._closed = True
        for contact in self._contacts.values():
            contact.close()
        self._dialler.close()
