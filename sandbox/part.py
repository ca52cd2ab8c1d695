"""A provider's part: from its own totals and a verified round to ciphertexts under the merchant's key."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import gt, or_
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from audit.canonical import canonicalise
from protocols.aggregate import encrypt_part
from protocols.errors import MaskError
from protocols.executor import Executor
from protocols.masks import pair_secret
from protocols.paillier_checks import encode_ciphertexts
from sandbox.admission import Grant
from sandbox.authorise import Authorised
from sandbox.cells import CellTotals
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError
from sandbox.invocation import Release
from sandbox.overlap import OverlapGuard
from sandbox.ports import PartyContext
from sandbox.roster import Bitmap, HiddenCells, Round, VerifiedRound, verify_round

MASKED_FROM: Final = 3
"""From so many providers on parts are masked; between two, each would see the other's total in the sum anyway."""

_MASK_INFO: Final = b"unseen:aggregate-mask:v1"


@dataclass(frozen=True, slots=True)
class Scanned:
    """A provider's own cells: totals, which of them it does not answer, and the hash of the rows that they come from.

    `guard` has what the call would be answered reserved; None where earlier answers have no bearing.
    """

    totals: CellTotals
    hidden: HiddenCells
    content: str
    guard: OverlapGuard | None = None


@dataclass(slots=True)
class OpenCall:
    """A call between its offer and its part: what is kept in memory, and nowhere else."""

    grant: Grant
    offer: bytes
    scanned: Scanned
    private: X25519PrivateKey
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """A part that is encrypted and not yet given; `ciphertexts` for the computing party, which combines its own."""

    grant: Grant
    ciphertexts: tuple[int, ...]
    release: Release
    width: int
    guard: OverlapGuard | None


def verify_own_round(opened: OpenCall, offers: Sequence[bytes], roster: bytes, context: PartyContext) -> VerifiedRound:
    """Check the round that a provider's part is asked for: everyone's offers, the roster, its own offer unchanged.

    Raises `DeniedError(ROSTER_MISMATCH)`.
    """
    request = opened.grant.authorised.request
    expected = Round(opened.grant.call, request.participants, request.computing_party, len(opened.scanned.hidden.cells))
    try:
        verified = verify_round(offers, roster, expected=expected, directory=context.directory())
    except PeerMisbehavedError as error:
        raise DeniedError(DenialReason.ROSTER_MISMATCH, "roster", str(error)) from error
    if offers[request.participants.index(context.name)] != opened.offer:
        detail = f"the offer sent back is not the one that {context.name} made"
        raise DeniedError(DenialReason.ROSTER_MISMATCH, "roster", detail)
    if any(map(gt, opened.scanned.hidden.refused.cells, verified.closed.cells)):
        detail = f"the roster leaves cells open that {context.name} refuses to all"
        raise DeniedError(DenialReason.ROSTER_MISMATCH, "roster", detail)
    return verified


def pair_secrets(opened: OpenCall, verified: VerifiedRound, own: str) -> dict[str, bytes]:
    """Agree on the pair secrets with every other provider; none where there are fewer than three providers.

    Raises `DeniedError(ROSTER_MISMATCH)` for an X25519 key with which no secret can be had.
    """
    request = opened.grant.authorised.request
    if len(request.participants) < MASKED_FROM:
        return {}
    peers = [peer for peer in request.participants if peer != own]
    try:
        return {
            peer: pair_secret(
                opened.private,
                verified.x25519[peer],
                mask_info(opened.grant.call, verified.digest, request.attempt, (own, peer)),
            )
            for peer in peers
        }
    except MaskError as error:
        raise DeniedError(DenialReason.ROSTER_MISMATCH, "roster", str(error)) from error


def mask_info(call: str, roster: str, attempt: int, pair: tuple[str, str]) -> bytes:
    """What a pair secret is bound to: request hash, roster digest, attempt, and the pair in the order of names."""
    return _MASK_INFO + b"\x00" + canonicalise([call, roster, attempt, *sorted(pair)])


def make_part(
    opened: OpenCall, closed: Bitmap, secrets: Mapping[str, bytes], *, own: str, executor: Executor
) -> PreparedPart:
    """Encrypt the totals, cells that are not answered zero, and mask them.

    Raises `OverflowRefusedError` for a total outside of its declared bounds.
    """
    authorised = opened.grant.authorised
    hidden = map(or_, opened.scanned.hidden.cells, closed.cells)
    totals = [(0,) * len(row) if hide else row for hide, row in zip(hidden, opened.scanned.totals.cells(), strict=True)]
    ciphertexts = encrypt_part(totals, authorised.layout, authorised.key, secrets=secrets, own=own, executor=executor)
    release = Release(encode_ciphertexts(ciphertexts, authorised.key), _statistic(authorised), opened.scanned.content)
    width = authorised.key.ciphertext_width
    return PreparedPart(opened.grant, tuple(ciphertexts), release, width, opened.scanned.guard)


def _statistic(authorised: Authorised) -> bytes:
    """The sufficient statistic that is released, whole: tables with their measures, and filters, as canonical JSON."""
    query = authorised.query
    return canonicalise(
        {
            "tables": [table.to_json() for table in query.tables(authorised.contract.frame)],
            "filters": [condition.to_json() for condition in query.filters],
        }
    )
