"""Follows what a ledger's entries refer to: the states of contracts, versions of directories, sizes.

Rules 5 and 6 of `audit.verify_rules`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from audit.entry import (
    ContractTransition,
    DirectoryAccepted,
    Enrolled,
    Entry,
    Intent,
    LogKeyChanged,
    Side,
    WitnessOverride,
)
from audit.errors import Rule
from audit.verify_rules import broken

ACTIVE: Final = "active"
ENDED: Final = frozenset({"revoked", "terminated", "rejected"})
NEXT: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"signed"}),
    "signed": frozenset({"approved"}) | ENDED,
    "approved": frozenset({"countersigned", ACTIVE}) | ENDED,
    "countersigned": frozenset({ACTIVE}) | ENDED,
    ACTIVE: frozenset({"suspended"}) | ENDED,
    "suspended": frozenset({ACTIVE}) | ENDED,
}
"""From which state a contract comes into which, whoever brings it there. A state that is reached again is let pass: a
party that was restored from a backup writes down a second time what its ledger already held."""

UNDER_WAY_MS: Final = 60_000
"""A call that was authorised just before its contract was suspended or ended may be taken just after: within a minute,
as its owner's clock has it."""


@dataclass(slots=True)
class _Standing:
    """A contract's state, and when it last left being active, in milliseconds since the epoch."""

    state: str = ""
    left_ms: int | None = None


class References:
    """The contracts, directories and enrolments that a ledger has named so far."""

    __slots__ = ("_accepted", "_awaited", "_contracts", "_enrolled")

    def __init__(self) -> None:
        self._contracts: dict[str, _Standing] = {}
        self._accepted = 0
        self._enrolled = 0
        self._awaited = 0

    def check(self, index: int, entry: Entry) -> None:
        """Checks an entry that is not about a call.

        Raises:
            VerificationFailedError: by the rule references or state.
        """
        match entry:
            case ContractTransition():
                self._move(index, entry)
            case DirectoryAccepted():
                if entry.version < max(self._accepted, self._awaited):
                    raise broken(Rule.REFERENCES, index, f"directory version {entry.version} after a later one")
                self._accepted, self._awaited = entry.version, 0
            case Enrolled():
                if entry.version < self._enrolled:
                    raise broken(Rule.REFERENCES, index, f"enrolled in version {entry.version}, after a later one")
                self._enrolled = entry.version
            case LogKeyChanged():
                # Accepted before, or the next one that is accepted.
                self._awaited = entry.version if entry.version > self._accepted else 0
            case WitnessOverride():
                if entry.size != index:
                    raise broken(Rule.REFERENCES, index, f"it says that {entry.size} entries stand before it")
            case _:
                pass

    def check_call(self, index: int, intent: Intent) -> None:
        """Checks the contract of a call that a provider takes: known, and active.

        A merchant's INTENT is a try, which its providers may refuse; see `check_answered`.
        """
        standing = self._contracts.get(intent.contract)
        if standing is None:
            raise broken(Rule.REFERENCES, index, f"contract {intent.contract[:16]} is not in this ledger")
        if intent.side is not Side.PROVIDER or standing.state == ACTIVE:
            return
        if standing.left_ms is None or intent.at_ms > standing.left_ms + UNDER_WAY_MS:
            raise broken(Rule.STATE, index, f"a call was taken under a contract that is {standing.state}, not active")

    def has_ended(self, contract: str) -> bool:
        """Whether the contract was revoked, terminated or rejected."""
        standing = self._contracts.get(contract)
        return standing is not None and standing.state in ENDED

    def _move(self, index: int, entry: ContractTransition) -> None:
        standing = self._contracts.setdefault(entry.contract, _Standing())
        if entry.state != standing.state and entry.state not in NEXT.get(standing.state, frozenset()):
            before = standing.state or "unknown"
            raise broken(Rule.STATE, index, f"a contract that is {before} does not become {entry.state}")
        if standing.state == ACTIVE and entry.state != ACTIVE:
            standing.left_ms = entry.at_ms
        standing.state = entry.state
