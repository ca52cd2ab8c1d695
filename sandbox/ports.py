"""What reaches the sandbox from outside: time, randomness, progress, the network, the data sets.

Everything here is a `typing.Protocol` or a frozen message of bytes. `parties` supplies the real ones; tests supply
in-memory ones with fault switches. Messages carry the very bytes that were signed, hashed or encrypted: whoever
receives one decodes and checks it, nobody re-serialises it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from audit.clock import Clock
from audit.directory import Directory
from audit.keys import SigningKey
from sandbox.errors import SourceError
from sandbox.vault import Vault

if TYPE_CHECKING:
    from sandbox.declaration import DatasetDeclaration
    from sandbox.overlap import OverlapGuard
    from sandbox.source import Source

__all__ = [
    "AckResult",
    "AnswerMessage",
    "Clock",
    "CurrentDirectory",
    "Datasets",
    "Entropy",
    "Gateway",
    "OfferMessage",
    "OpenedDataset",
    "PartMessage",
    "PartyContext",
    "Peers",
    "Progress",
    "PublicKeyBytes",
    "SignedBytes",
    "WitnessWatch",
]


class Entropy(Protocol):
    """A cryptographically secure random source."""

    def token(self, nbytes: int) -> bytes:
        """Return `nbytes` fresh, uniformly random bytes."""
        ...


class Progress(Protocol):
    """Where a long run tells how far it is; it never learns anything that depends on rows."""

    def advance(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps of `stage` are finished (0 <= done <= total)."""
        ...


class WitnessWatch(Protocol):
    """Whether this party's witnesses know its ledger, so that it cannot be replaced by another unseen."""

    def verify_heard(self) -> None:
        """Raise `DeniedError(WITNESSES_UNHEARD)` while they have not been heard for too long."""
        ...


CurrentDirectory = Callable[[], Directory]
"""Returns the newest verified party directory; raises `StaleDirectoryError` when it has expired."""


@dataclass(frozen=True, slots=True)
class PartyContext:
    """What every session of one party works with: its name, its message key, its vault and its ports."""

    name: str
    key: SigningKey
    vault: Vault
    directory: CurrentDirectory
    clock: Clock
    entropy: Entropy


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """The merchant's request as received: the DSSE envelope and, for those who must know the query, its openings."""

    envelope: bytes
    openings: bytes


@dataclass(frozen=True, slots=True)
class PublicKeyBytes:
    """A Paillier public key as received: `modulus` big-endian without leading zeros, `scheme` as named on the wire."""

    modulus: bytes
    scheme: str


@dataclass(frozen=True, slots=True)
class OfferMessage:
    """Round one, provider to computing party: the signed offer, and what its commitment opens to.

    The bitmaps of the cells that the provider withholds for itself and of those that it refuses to all, no cell in
    both, and the 32-byte salt.
    """

    offer: bytes
    withheld: bytes
    refused: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class PartMessage:
    """Round two, provider to computing party: ciphertexts of `width` bytes each, and the provider's receipt."""

    width: int
    part: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """The computing party's answer to the merchant.

    `contributors` has one byte a cell (0 = closed); `receipts` are in the order of the participant set.
    """

    call: str
    width: int
    totals: bytes
    contributors: bytes
    receipts: tuple[bytes, ...]
    roster: bytes


@dataclass(frozen=True, slots=True)
class AckResult:
    """Which receipt ids are in their provider's ledger, and which have to be sent again."""

    recorded: tuple[str, ...]
    pending: tuple[str, ...]


class Peers(Protocol):
    """The computing party's way to the other providers.

    Every method returns by `deadline_ms` (milliseconds since the epoch) or raises: `PeerUnavailableError` naming the
    party when it cannot be reached, `DeniedError` when it refused, `PeerMisbehavedError` when its answer is malformed.
    """

    def offer(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> OfferMessage:
        """Forward the merchant's request as it is and return the peer's offer."""
        ...

    def part(self, party: str, call: str, offers: tuple[bytes, ...], roster: bytes, deadline_ms: int) -> PartMessage:
        """Hand over all offers and the roster; return the peer's part."""
        ...

    def abort(self, party: str, call: str, reason: str) -> None:
        """Tell the peer that the run has ended without an answer."""
        ...

    def acknowledge(self, party: str, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        """Forward receipts that the merchant has countersigned."""
        ...


class Gateway(Protocol):
    """The merchant's way to a contract's computing party; errors as for `Peers`."""

    def aggregate(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> AnswerMessage:
        """Ask for one joint aggregate."""
        ...

    def answer(self, party: str, call: str, deadline_ms: int) -> AnswerMessage:
        """Fetch the stored answer of an earlier request."""
        ...

    def acknowledge(self, party: str, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        """Hand over countersigned receipts of all participants."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedDataset:
    """One version of a data set. `content` is the hex SHA-256 of its rows: it leaves inside a commitment only.

    `guard` remembers what the data set was answered for, all versions alike; None where it is never answered exactly.
    """

    declaration: DatasetDeclaration
    source: Source
    content: str
    guard: OverlapGuard | None

    def exact_guard(self) -> OverlapGuard:
        """The guard of a data set that is answered exactly; raises `SourceError` where there is none."""
        if self.guard is None:
            raise SourceError(f"{self.declaration.name} is answered exactly without memory of what it was answered for")
        return self.guard


class Datasets(Protocol):
    """A provider's own data sets."""

    def open(self, reference: str) -> OpenedDataset:
        """Return what is served as `<party>/<dataset>@<version>`.

        Raises `DeniedError(DATASET_VERSION_MISMATCH)` when that version is no longer the one served.
        """
        ...
