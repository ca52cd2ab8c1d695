"""What callers hand to a ledger and get back, and its limits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from audit.entry import Entry
from audit.names import Role

MAX_KEY_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """Whose ledger it is; what its first entry says.

    Args:
        party: the owner's name.
        role: its role.
        legal_entity: its code in a public register.
        origin: the log's name, `<party>.<role>.<domain>/log`; the log key has the same name.
    """

    party: str
    role: Role
    legal_entity: str
    origin: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to append, and the keys that no other entry of the ledger may hold.

    Args:
        entry: of the ledger's owner.
        keys: such as `nonce:<signer>:<nonce>`; at most `MAX_KEY_CHARACTERS` each.
    """

    entry: Entry
    keys: tuple[str, ...] = ()


Guard: TypeAlias = Callable[[], Draft]
"""Decides on the folds' state as of now, and gives the draft or raises. It runs in the sequencer thread."""


@dataclass(frozen=True, slots=True)
class Appended:
    """A durable entry: its index, the bytes stored and hashed, and what they say."""

    index: int
    data: bytes
    entry: Entry


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """Limits and rhythms of a ledger.

    Attributes:
        queue_entries: appends that may wait; further ones are pushed back.
        queue_timeout_ms: how long an append waits for room in the queue before it is refused.
        flush_entries: most entries of one transaction, 256 to 1,024.
        flush_ms: how long a transaction waits for company, 0 to 20 ms; only while appends are coming in together.
        seal_entries: a seal every so many entries.
        checkpoint_entries: a signed checkpoint after so many new entries.
        checkpoint_idle_ms: and so long after the last append.
    """

    queue_entries: int = 4096
    queue_timeout_ms: int = 2_000
    flush_entries: int = 512
    flush_ms: int = 5
    seal_entries: int = 1_000
    checkpoint_entries: int = 1_000
    checkpoint_idle_ms: int = 1_000
