from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.commitment import commit
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, MalformedError
from audit.hashes import hex_sha256, sha256
from sandbox.errors import DenialReason, PeerMisbehavedError
from sandbox.roster import (
    Bitmap,
    HiddenCells,
    Offer,
    Roster,
    Round,
    close_cells,
    verify_offer,
    verify_roster,
    verify_round,
)
from tests.audit.golden import GOLDEN, assert_golden
from tests.audit.samples import directory, signing_key

CALL = hex_sha256(b"request")
EXPECTED = Round(CALL, ("east", "north"), "east", 12)
DIRECTORY = directory()


def bitmap(*cells: int, of: int = 12) -> bytes:
    return Bitmap(tuple(index in cells for index in range(of))).encode()


def offer(provider: str = "east", **changes: object) -> Offer:
    plain = Offer(
        call=CALL,
        provider=provider,
        x25519=sha256(provider.encode()),
        cells=12,
        withheld=commit("withheld", sha256(b"salt"), bitmap(3, 11)),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def offer_bytes(provider: str = "east", signer: str | None = None, **changes: object) -> bytes:
    return offer(provider, **changes).sign(signing_key(signer or provider)).encode()


OFFERS = (offer_bytes("east"), offer_bytes("north"))


def roster(**changes: object) -> Roster:
    digests = {name: Envelope.decode(data).digest for name, data in zip(("east", "north"), OFFERS, strict=True)}
    return replace(Roster(CALL, "east", digests, bitmap(0, 11)), **changes)  # type: ignore[arg-type]


def roster_bytes(signer: str = "east", **changes: object) -> bytes:
    return roster(**changes).sign(signing_key(signer)).encode()


def test_the_offer_keeps_its_bytes() -> None:
    assert_golden("offer", offer_bytes())
    assert Offer.from_envelope(Envelope.decode((GOLDEN / "offer.json").read_bytes())) == offer()


def test_the_roster_keeps_its_bytes() -> None:
    assert_golden("roster", roster_bytes())
    assert Roster.from_envelope(Envelope.decode((GOLDEN / "roster.json").read_bytes())) == roster()


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_a_bitmap_reads_back_as_it_was_written(cells: list[bool]) -> None:
    written = Bitmap(tuple(cells))
    assert Bitmap.decode(written.encode(), cells=len(cells)) == written


def test_a_bitmap_is_least_significant_bit_first() -> None:
    assert bitmap(0, 9) == bytes([1, 2])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00", b"\x00\x10"])
def test_a_bitmap_of_another_length_or_with_bits_beyond_its_cells_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Bitmap.decode(data, cells=12)


def hidden(withheld: str, refused: str = "....") -> HiddenCells:
    return HiddenCells(*(Bitmap(tuple(cell == "x" for cell in cells)) for cells in (withheld, refused)))


def test_a_cell_with_too_few_contributors_is_closed_and_counts_none() -> None:
    closed, contributors = close_cells([hidden(".xx."), hidden("..xx"), hidden("....")], min_contributors=2)
    assert closed == Bitmap((False, False, True, False))
    assert contributors == bytes([3, 2, 0, 2])


def test_a_cell_that_one_provider_refuses_is_closed_for_all() -> None:
    closed, contributors = close_cells([hidden(".x..", "x..."), hidden("...."), hidden("....")], min_contributors=2)
    assert closed == Bitmap((True, False, False, False))
    assert contributors == bytes([0, 2, 3, 3])


def test_the_commitment_is_to_which_cells_are_withheld_and_which_refused() -> None:
    salt = sha256(b"salt")
    commitments = {each.commitment(salt) for each in (hidden("x..."), hidden("....", "x..."), hidden("....", ".x.."))}
    assert len(commitments) == 3


def test_a_cell_is_not_both_withheld_and_refused() -> None:
    assert HiddenCells.decode(bitmap(1), bitmap(2), cells=12).cells[:4] == (False, True, True, False)
    with pytest.raises(MalformedError, match="both"):
        HiddenCells.decode(bitmap(1, 2), bitmap(2, 3), cells=12)


def test_offers_and_roster_of_all_participants_are_accepted() -> None:
    verified = verify_round(OFFERS, roster_bytes(), expected=EXPECTED, directory=DIRECTORY)
    assert verified.closed.encode() == bitmap(0, 11)
    assert verified.x25519 == {"east": sha256(b"east"), "north": sha256(b"north")}
    assert verified.digest == Envelope.decode(roster_bytes()).digest


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (offer_bytes("north", signer="east"), DenialReason.BAD_SIGNATURE),
        (offer_bytes("east"), DenialReason.BAD_SIGNATURE),
        (offer_bytes("north", call=hex_sha256(b"another")), DenialReason.ROSTER_MISMATCH),
        (offer_bytes("north", cells=11), DenialReason.ROSTER_MISMATCH),
        (offer("east").sign(signing_key("north")).encode(), DenialReason.ROSTER_MISMATCH),
        (roster(computing_party="north").sign(signing_key("north")).encode(), DenialReason.MALFORMED),
        (b"{}", DenialReason.MALFORMED),
        (b"", DenialReason.MALFORMED),
        (b"[" * 9_000, DenialReason.MALFORMED),
    ],
)
def test_an_offer_that_is_not_the_providers_own_for_this_call_is_refused_by_name(
    data: bytes, reason: DenialReason
) -> None:
    with pytest.raises(PeerMisbehavedError) as caught:
        verify_offer(data, provider="north", expected=EXPECTED, directory=DIRECTORY)
    assert (caught.value.party, caught.value.reason) == ("north", reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (roster_bytes(signer="north"), DenialReason.BAD_SIGNATURE),
        (roster_bytes(call=hex_sha256(b"another")), DenialReason.ROSTER_MISMATCH),
        (roster_bytes(computing_party="north"), DenialReason.ROSTER_MISMATCH),
        (roster_bytes(offers={"east": CALL}), DenialReason.ROSTER_MISMATCH),
        (roster_bytes(offers={"east": CALL, "north": CALL, "west": CALL}), DenialReason.ROSTER_MISMATCH),
        (roster_bytes(closed=bitmap(0, of=20)), DenialReason.MALFORMED),
        (roster_bytes(closed=b"\xff\xff"), DenialReason.MALFORMED),
        (offer_bytes(), DenialReason.MALFORMED),
        (b"null", DenialReason.MALFORMED),
    ],
)
def test_a_roster_that_is_not_the_computing_partys_for_this_call_is_refused(data: bytes, reason: DenialReason) -> None:
    with pytest.raises(PeerMisbehavedError) as caught:
        verify_roster(data, expected=EXPECTED, directory=DIRECTORY)
    assert (caught.value.party, caught.value.reason) == ("east", reason)


@pytest.mark.parametrize(
    "offers",
    [
        (OFFERS[0],),
        (*OFFERS, OFFERS[1]),
        (OFFERS[1], OFFERS[0]),
        (OFFERS[0], OFFERS[0]),
        (OFFERS[0], offer_bytes("north", x25519=sha256(b"another key"))),
    ],
    ids=["dropped", "doubled", "reordered", "substituted", "another offer of the same provider"],
)
def test_a_round_with_other_offers_than_the_roster_names_is_refused(offers: tuple[bytes, ...]) -> None:
    with pytest.raises(PeerMisbehavedError):
        verify_round(offers, roster_bytes(), expected=EXPECTED, directory=DIRECTORY)


def test_two_providers_with_one_key_are_refused() -> None:
    twin = offer_bytes("north", x25519=sha256(b"east"))
    digests = {"east": Envelope.decode(OFFERS[0]).digest, "north": Envelope.decode(twin).digest}
    with pytest.raises(PeerMisbehavedError, match="same X25519 key"):
        verify_round((OFFERS[0], twin), roster_bytes(offers=digests), expected=EXPECTED, directory=DIRECTORY)


BODIES = st.dictionaries(
    st.sampled_from(["type", "v", "hash", "call", "provider", "x25519", "cells", "withheld", "offers", "closed", "x"]),
    st.one_of(
        st.text(max_size=70),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.booleans(),
        st.just(CALL),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    ),
)


@given(BODIES, st.sampled_from([PayloadType.OFFER, PayloadType.ROSTER]))
def test_any_body_is_accepted_or_refused_with_our_own_error(body: dict[str, object], kind: PayloadType) -> None:
    envelope = seal(kind.header() | {key: value for key, value in body.items() if key != "type"}, kind)  # type: ignore[arg-type,operator]
    for read in (Offer.from_envelope, Roster.from_envelope):
        try:
            read(envelope)
        except AuditError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_our_own_error(data: bytes) -> None:
    with pytest.raises(PeerMisbehavedError):
        verify_offer(data, provider="north", expected=EXPECTED, directory=DIRECTORY)
    with pytest.raises(PeerMisbehavedError):
        verify_roster(data, expected=EXPECTED, directory=DIRECTORY)


def test_the_largest_roster_and_offer_fit_their_limits() -> None:
    names = [f"{'p' * 29}{index:02d}" for index in range(20)]
    largest = Roster(CALL, names[0], dict.fromkeys(names, CALL), bytes(12_500))
    envelope = largest.sign(signing_key("east"))
    assert Roster.from_envelope(Envelope.decode(envelope.encode())) == largest
