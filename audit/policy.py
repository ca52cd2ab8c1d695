"""Which witnesses must have cosigned a checkpoint: the policy file of c2sp.org/tlog-policy.

The file is octets; those above 0x7F mean nothing to it, and are kept exactly (as `surrogateescape` keeps them). Names
live inside the file only; what counts outside are the keys.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from audit.checkpoint import MAX_SIGNATURES, Note
from audit.cosignature import Cosignature, CosignerKey, verify_cosignatures
from audit.errors import AuditError, LimitExceededError, MalformedError, QuorumMissingError
from audit.keys import VerifyingKey

NONE: Final = "none"
"""The quorum that asks for no cosignature; no witness or group has this name."""
MAX_POLICY_BYTES: Final = 64 * 1024
MAX_LOGS: Final = 64
MAX_WITNESSES: Final = MAX_SIGNATURES - 1
"""A note holds this many cosignatures beside the log's own line."""
MAX_GROUPS: Final = 64

_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")
_BLANK: Final = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that the policy accepts; its key's name is its origin. The URL may be empty."""

    key: VerifyingKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness, and the submission prefix at which it is asked; that may be empty."""

    key: CosignerKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Witnesses and other groups, `threshold` of which make this one."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Who must have cosigned. Make one with `parse`, `of_one` or `none`, which check it.

    Attributes:
        logs: the logs accepted; empty where they are known from elsewhere.
        witnesses: by name.
        groups: by name, in the order of their definition: a group's members come before it.
        quorum: the name of a witness or group, or `NONE`.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: Mapping[str, PolicyWitness]
    groups: Mapping[str, PolicyGroup]
    quorum: str

    @classmethod
    def of_one(cls, name: str, key: CosignerKey, url: str = "") -> "Policy":
        """One witness, which must have cosigned.

        Raises:
            MalformedError: a name or URL that a policy file cannot hold.
        """
        return cls.parse(cls((), {name: PolicyWitness(key, url)}, {}, name).encode())

    @classmethod
    def none(cls, witnesses: Mapping[str, PolicyWitness] | None = None) -> "Policy":
        """No cosignature is needed; the witnesses may be asked all the same.

        Raises:
            MalformedError: a name or URL that a policy file cannot hold, or one key twice.
        """
        return cls.parse(cls((), witnesses or {}, {}, NONE).encode())

    @classmethod
    def parse(cls, data: bytes) -> "Policy":
        """The policy in a file's bytes.

        At most 64 KiB, 64 logs, 63 witnesses and 64 groups. Of the key types only Ed25519 is read: 1 for logs and 4 for
        witnesses, under names of printable ASCII.

        Raises:
            LimitExceededError: longer, or more of them.
            MalformedError: not a policy; the message names the line.
        """
        if len(data) > MAX_POLICY_BYTES:
            raise LimitExceededError(f"a policy of {len(data)} bytes, {MAX_POLICY_BYTES} allowed")
        forbidden = _FORBIDDEN.search(data)
        if forbidden is not None:
            at = data.count(b"\n", 0, forbidden.start()) + 1
            raise MalformedError(
                f"policy, line {at}: the byte 0x{forbidden[0][0]:02x}; of control characters only tab and line feed"
                " are allowed"
            )
        *lines, rest = data.split(b"\n")
        reader = _Reader()
        for number, line in enumerate(lines, 1):
            try:
                reader.read(line.decode("utf-8", "surrogateescape"))
            except LimitExceededError as error:
                raise LimitExceededError(f"policy, line {number}: {error}") from error
            except AuditError as error:
                raise MalformedError(f"policy, line {number}: {error}") from error
        if rest:
            raise MalformedError(f"policy, line {len(lines) + 1}: it does not end in a line feed; is the file cut off?")
        if reader.quorum is None:
            raise MalformedError(f"policy, line {len(lines) + 1}: the file ends without a quorum line")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def encode(self) -> bytes:
        """A policy file of this policy; `parse` gives an equal one."""
        lines = [_line("log", log.key.vkey(), log.url) for log in self.logs]
        lines += [_line("witness", name, each.key.vkey(), each.url) for name, each in self.witnesses.items()]
        lines += [_line("group", name, _threshold(each), *each.members) for name, each in self.groups.items()]
        lines.append(_line("quorum", self.quorum))
        return "".join(lines).encode("utf-8", "surrogateescape")

    def verify_quorum(self, cosigners: Iterable[CosignerKey]) -> None:
        """Checks that the witnesses whose cosignatures were verified make the quorum.

        Raises:
            QuorumMissingError: they do not; the message names who has not cosigned.
        """
        if self.quorum == NONE:
            return
        keys = set(cosigners)
        witnessed = {name for name, witness in self.witnesses.items() if witness.key in keys}
        for name, group in self.groups.items():
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(name)
        if self.quorum not in witnessed:
            absent = ", ".join(printable(name) for name in self.witnesses if name not in witnessed)
            raise QuorumMissingError(
                f"the policy's quorum {printable(self.quorum)!r} is not reached: no cosignature by {absent}"
            )

    def verify_cosigned(self, note: Note) -> tuple[Cosignature, ...]:
        """The cosignatures on a checkpoint by this policy's witnesses, which make its quorum.

        Says nothing about the log's own signature.

        Raises:
            BadSignatureError: a line by one of the witnesses does not verify.
            QuorumMissingError: there are too few.
        """
        found = verify_cosignatures(note, [witness.key for witness in self.witnesses.values()])
        self.verify_quorum(each.key for each in found)
        return found


def printable(name: str) -> str:
    """A policy's name or URL for people: octets that are not UTF-8 become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(slots=True)
class _Reader:
    """A policy as far as its lines were read."""

    logs: list[PolicyLog] = field(default_factory=list)
    witnesses: dict[str, PolicyWitness] = field(default_factory=dict)
    groups: dict[str, PolicyGroup] = field(default_factory=dict)
    quorum: str | None = None
    grouped: set[str] = field(default_factory=set)

    def read(self, line: str) -> None:
        """Takes in one line; raises `MalformedError`."""
        items = _BLANK.split(line.strip(" \t"))
        if not items[0] or items[0].startswith("#"):
            return
        match items:
            case ["log", vkey, *url] if len(url) <= 1:
                self._log(PolicyLog(VerifyingKey.parse(vkey), *url))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, PolicyWitness(CosignerKey.parse(vkey), *url))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, tuple(members))
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise MalformedError(
                    f"{printable(line)[:60]!r} is none of: log <vkey> [<url>]; witness <name> <vkey> [<url>];"
                    " group <name> all|any|<number> <name>...; quorum <name>"
                )

    def _log(self, log: PolicyLog) -> None:
        if any(log.key.public_key == each.key.public_key for each in self.logs):
            raise MalformedError(f"the key of {log.key.name} is listed as a log's twice")
        _check_room(len(self.logs), MAX_LOGS, "logs")
        self.logs.append(log)

    def _witness(self, name: str, witness: PolicyWitness) -> None:
        public = witness.key.key.public_key
        if any(public == each.key.key.public_key for each in self.witnesses.values()):
            raise MalformedError(f"the key of {witness.key.name} is listed as a witness's twice")
        self._check_new(name)
        _check_room(len(self.witnesses), MAX_WITNESSES, "witnesses")
        self.witnesses[name] = witness

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._check_new(name)
        _check_room(len(self.groups), MAX_GROUPS, "groups")
        for member in members:
            self._check_known(member)
            if member in self.grouped:
                raise MalformedError(f"{printable(member)[:60]!r} is a group's member twice; each may be once")
            self.grouped.add(member)
        self.groups[name] = PolicyGroup(_number(threshold, len(members)), members)

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise MalformedError("a second quorum line")
        if name != NONE:
            self._check_known(name)
        self.quorum = name

    def _check_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise MalformedError(f"the name {printable(name)[:60]!r} is taken")

    def _check_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise MalformedError(f"no witness or group {printable(name)[:60]!r} is defined on a line before")


def _number(text: str, members: int) -> int:
    """A group's threshold, 1 to its number of members."""
    if text == "any":
        return 1
    if text == "all":
        return members
    if _NUMBER.fullmatch(text) is None or int(text) > members:
        raise MalformedError(f"a group of {members} asks for 'all', 'any' or 1 to {members} of them")
    return int(text)


def _threshold(group: PolicyGroup) -> str:
    if group.threshold == 1:
        return "any"
    return "all" if group.threshold == len(group.members) else str(group.threshold)


def _check_room(count: int, limit: int, what: str) -> None:
    if count >= limit:
        raise LimitExceededError(f"more than {limit} {what}")


def _line(*items: str) -> str:
    return f"{' '.join(filter(None, items))}\n"
