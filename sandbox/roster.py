"""Offer and roster: the two signed bodies that fix who takes part in a joint aggregate, and which cells are open.

An *offer* is one provider's: its ephemeral X25519 key for this call and a commitment to the cells that it withholds
for itself and to those that it refuses to all. The *roster* is the computing party's: the digests of all offers and the
cells that are closed because a provider refuses them, or because fewer providers than the contract's minimum
contribute. A provider makes its part for one roster only, after `verify_round`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import and_, or_
from types import MappingProxyType
from typing import Final

from audit.canonical import JsonObject, to_base64
from audit.commitment import commit
from audit.directory import Directory
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, MalformedError
from audit.keys import SigningKey
from audit.names import PARTY_PATTERN, KeyPurpose
from sandbox.errors import DenialReason, PeerMisbehavedError
from sandbox.request import MAX_CELLS, MAX_PARTICIPANTS

MAX_OFFER_BYTES: Final = 4_096
MAX_ROSTER_BYTES: Final = 64 * 1024
MAX_BITMAP_BYTES: Final = (MAX_CELLS + 7) // 8
X25519_BYTES: Final = 32
SALT_BYTES: Final = 32

_WITHHELD_FIELD: Final = "withheld"


@dataclass(frozen=True, slots=True)
class Bitmap:
    """One truth value a cell; on the wire least significant bit first, the unused high bits zero."""

    cells: tuple[bool, ...]

    def encode(self) -> bytes:
        """Return ceil(cells / 8) bytes."""
        value = 0
        for index, cell in enumerate(self.cells):
            value |= int(cell) << index
        return value.to_bytes((len(self.cells) + 7) // 8, "little")

    @classmethod
    def decode(cls, data: bytes, *, cells: int) -> Bitmap:
        """Read the bitmap of exactly `cells` cells.

        Raises:
            MalformedError: another length, or a bit set beyond the last cell.
        """
        if len(data) != (cells + 7) // 8:
            raise MalformedError(f"a bitmap of {cells} cells has {(cells + 7) // 8} bytes, this one {len(data)}")
        value = int.from_bytes(data, "little")
        if value >> cells:
            raise MalformedError(f"a bitmap of {cells} cells has bits set beyond its last cell")
        return cls(tuple(bool(data[index >> 3] >> (index & 7) & 1) for index in range(cells)))


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider's offer for one call.

    `x25519` is its ephemeral public key for this call alone; `withheld` is the commitment (hex) to its withheld and its
    refused bitmap.
    """

    call: str
    provider: str
    x25519: bytes
    cells: int
    withheld: str

    def to_body(self) -> JsonObject:
        """Return the JSON body that is signed."""
        return PayloadType.OFFER.header() | {
            "call": self.call,
            "provider": self.provider,
            "x25519": to_base64(self.x25519),
            "cells": self.cells,
            "withheld": self.withheld,
        }

    def sign(self, key: SigningKey) -> Envelope:
        """Seal the offer with the provider's message key."""
        return seal(self.to_body(), PayloadType.OFFER, key)

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Offer:
        """Read the signed bytes as received; the signature is the caller's to verify.

        Raises `MalformedError` for anything but a canonical offer with the known fields.
        """
        fields = envelope.body(PayloadType.OFFER, limit=MAX_OFFER_BYTES)
        offer = cls(
            call=fields.hex("call", 32),
            provider=fields.text("provider", pattern=PARTY_PATTERN),
            x25519=fields.base64("x25519", max_bytes=X25519_BYTES, nbytes=X25519_BYTES),
            cells=fields.integer("cells", 1, MAX_CELLS),
            withheld=fields.hex("withheld", 32),
        )
        fields.finish()
        return offer


@dataclass(frozen=True, slots=True)
class Roster:
    """The computing party's roster: the digest (hex) of every participant's offer and the closed cells."""

    call: str
    computing_party: str
    offers: Mapping[str, str]
    closed: bytes

    def to_body(self) -> JsonObject:
        """Return the JSON body that is signed."""
        return PayloadType.ROSTER.header() | {
            "call": self.call,
            "computing_party": self.computing_party,
            "offers": dict(self.offers),
            "closed": to_base64(self.closed),
        }

    def sign(self, key: SigningKey) -> Envelope:
        """Seal the roster with the computing party's message key."""
        return seal(self.to_body(), PayloadType.ROSTER, key)

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Roster:
        """Read the signed bytes as received; the signature is the caller's to verify.

        Raises `MalformedError` for anything but a canonical roster with the known fields.
        """
        fields = envelope.body(PayloadType.ROSTER, limit=MAX_ROSTER_BYTES)
        roster = cls(
            call=fields.hex("call", 32),
            computing_party=fields.text("computing_party", pattern=PARTY_PATTERN),
            offers=fields.hex_map("offers", max_items=MAX_PARTICIPANTS),
            closed=fields.base64("closed", max_bytes=MAX_BITMAP_BYTES),
        )
        fields.finish()
        return roster


@dataclass(frozen=True, slots=True)
class Round:
    """What every participant has to know of a call to check its offers and its roster."""

    call: str
    participants: tuple[str, ...]
    computing_party: str
    cells: int


@dataclass(frozen=True, slots=True)
class VerifiedRoster:
    """A roster whose signature and shape hold: its digest (hex), its offers' digests, its closed cells."""

    digest: str
    offers: Mapping[str, str]
    closed: Bitmap


@dataclass(frozen=True, slots=True)
class VerifiedRound:
    """All offers and the roster over them, verified: the roster's digest, the closed cells, the X25519 keys."""

    digest: str
    closed: Bitmap
    x25519: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class HiddenCells:
    """The cells that a provider does not answer: withheld for itself, or refused to all; none is both."""

    withheld: Bitmap
    refused: Bitmap

    def commitment(self, salt: bytes) -> str:
        """Commit to both bitmaps (hex); `salt` has 32 random bytes."""
        return commit(_WITHHELD_FIELD, salt, self.withheld.encode() + self.refused.encode())

    @property
    def cells(self) -> tuple[bool, ...]:
        """One truth value a cell: whether it is one of them."""
        return tuple(map(or_, self.withheld.cells, self.refused.cells))

    @classmethod
    def decode(cls, withheld: bytes, refused: bytes, *, cells: int) -> HiddenCells:
        """Read both bitmaps of exactly `cells` cells.

        Raises:
            MalformedError: a bitmap is malformed, or a cell is in both.
        """
        hidden = cls(Bitmap.decode(withheld, cells=cells), Bitmap.decode(refused, cells=cells))
        if any(map(and_, hidden.withheld.cells, hidden.refused.cells)):
            raise MalformedError("a cell is both withheld and refused")
        return hidden


def close_cells(hidden: Sequence[HiddenCells], *, min_contributors: int) -> tuple[Bitmap, bytes]:
    """Count each cell's contributors and close the cells that have too few, or that a provider refuses.

    Returns the closed cells, and one byte a cell: the number of providers that contribute to it, 0 where closed.
    """
    counts = [sum(not cell for cell in column) for column in zip(*(each.cells for each in hidden), strict=True)]
    refused = [any(column) for column in zip(*(each.refused.cells for each in hidden), strict=True)]
    closed = Bitmap(tuple(count < min_contributors or shut for count, shut in zip(counts, refused, strict=True)))
    return closed, bytes(0 if shut else count for count, shut in zip(counts, closed.cells, strict=True))


def verify_offer(data: bytes, *, provider: str, expected: Round, directory: Directory) -> tuple[Envelope, Offer]:
    """Check one offer: signed by `provider`'s message key, for this call, with this number of cells.

    Blocks: an offer made up by the computing party (it would know the pair secrets), or one taken from another call.
    Raises `PeerMisbehavedError` naming `provider`.
    """
    envelope = _signed_by(provider, data, limit=2 * MAX_OFFER_BYTES, what="offer", directory=directory)
    try:
        offer = Offer.from_envelope(envelope)
    except MalformedError as error:
        raise PeerMisbehavedError(provider, DenialReason.MALFORMED, f"its offer cannot be read: {error}") from error
    if (offer.call, offer.provider, offer.cells) != (expected.call, provider, expected.cells):
        raise PeerMisbehavedError(
            provider,
            DenialReason.ROSTER_MISMATCH,
            f"its offer is for call {offer.call[:16]} by {offer.provider} with {offer.cells} cells, "
            f"not for call {expected.call[:16]} by {provider} with {expected.cells}",
        )
    return envelope, offer


def verify_roster(data: bytes, *, expected: Round, directory: Directory) -> VerifiedRoster:
    """Check the roster: signed by the computing party, for this call, exactly the participants, a whole bitmap.

    Raises `PeerMisbehavedError` naming the computing party.
    """
    party = expected.computing_party
    envelope = _signed_by(party, data, limit=2 * MAX_ROSTER_BYTES, what="roster", directory=directory)
    try:
        roster = Roster.from_envelope(envelope)
        closed = Bitmap.decode(roster.closed, cells=expected.cells)
    except MalformedError as error:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, f"its roster cannot be read: {error}") from error
    if (roster.call, roster.computing_party) != (expected.call, party):
        raise PeerMisbehavedError(
            party, DenialReason.ROSTER_MISMATCH, "its roster is for another call or another computing party"
        )
    if set(roster.offers) != set(expected.participants):
        raise PeerMisbehavedError(
            party,
            DenialReason.ROSTER_MISMATCH,
            f"its roster lists {sorted(roster.offers)}, the merchant signed for {sorted(expected.participants)}",
        )
    return VerifiedRoster(envelope.digest, roster.offers, closed)


def verify_round(offers: Sequence[bytes], roster: bytes, *, expected: Round, directory: Directory) -> VerifiedRound:
    """Check all offers, in the order of the participant set, and the roster over them.

    Blocks: a dropped, doubled or substituted provider (its masks would not cancel, or the rest could be differenced).
    Raises `PeerMisbehavedError` naming the provider whose offer is wrong, or the computing party.
    """
    verified = verify_roster(roster, expected=expected, directory=directory)
    if len(offers) != len(expected.participants):
        raise PeerMisbehavedError(
            expected.computing_party,
            DenialReason.ROSTER_MISMATCH,
            f"it sent {len(offers)} offers for {len(expected.participants)} participants",
        )
    keys: dict[str, bytes] = {}
    for provider, data in zip(expected.participants, offers, strict=True):
        envelope, offer = verify_offer(data, provider=provider, expected=expected, directory=directory)
        if verified.offers[provider] != envelope.digest:
            raise PeerMisbehavedError(
                expected.computing_party,
                DenialReason.ROSTER_MISMATCH,
                f"the roster names another offer of {provider} than the one sent with it",
            )
        keys[provider] = offer.x25519
    if len(set(keys.values())) != len(keys):
        raise PeerMisbehavedError(
            expected.computing_party, DenialReason.ROSTER_MISMATCH, "two providers offer the same X25519 key"
        )
    return VerifiedRound(verified.digest, verified.closed, MappingProxyType(keys))


def _signed_by(party: str, data: bytes, *, limit: int, what: str, directory: Directory) -> Envelope:
    try:
        envelope = Envelope.decode(data, limit=limit)
        envelope.verify(directory.party(party).key(KeyPurpose.MESSAGE))
    except MalformedError as error:
        raise PeerMisbehavedError(party, DenialReason.MALFORMED, f"its {what} cannot be read: {error}") from error
    except AuditError as error:
        raise PeerMisbehavedError(party, DenialReason.BAD_SIGNATURE, f"its {what} is not its own: {error}") from error
    return envelope
