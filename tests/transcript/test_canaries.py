"""No row's value and no cell's total is in anything that anybody else received, nor in a ledger, log or metric."""

from __future__ import annotations

import base64
import json
import os
import struct
from decimal import Decimal

import pytest
from google.protobuf import wrappers_pb2
from unseen.v1 import compute_pb2

from tests.transcript.canaries import Search, canaries_of, holders, verify_no_canary
from tests.transcript.people import people
from tests.transcript.recorder import Transcript, What
from tests.transcript.terms import PURPOSE
from tests.transcript.world import COMPUTING, World

NUMBER = 734_912_860_157_331
TEXT = "Canary-5f0c1e"


def test_no_value_of_any_row_and_no_providers_total_is_anywhere(base: Transcript) -> None:
    verify_no_canary(base, canaries_of(people()))


def test_no_value_of_any_row_is_in_what_the_parties_told_one_another_until_the_contracts_were_in_force(
    world: World,
) -> None:
    assert world.founding.select(method="/Activate")
    verify_no_canary(world.founding, canaries_of(people()))


def test_ledgers_say_nothing_of_columns_filters_and_purposes(base: Transcript) -> None:
    words = (
        "household_income",
        "wealth_score",
        "education_years",
        "settlement",
        "harbour",
        "upland",
        PURPOSE,
        "quayside",
    )
    ledgers = Transcript(
        [*base.select(what=What.ENTRY), *base.select(method="/ListEntries"), *base.select(method="/GetInclusionProof")]
    )
    assert len(ledgers.select(what=What.ENTRY)) > 50
    verify_no_canary(ledgers, words)


def test_withheld_cells_go_to_the_computing_party_and_nobody_can_open_their_commitments(base: Transcript) -> None:
    offers = base.select(method="/Offer", what=What.RESPONSE)
    assert {record.receiver for record in offers} == {COMPUTING}
    salts = [compute_pb2.OfferResponse.FromString(record.data).salt for record in offers]
    assert holders(base, salts) == offers


def test_the_merchants_key_is_in_nothing_that_was_sent(base: Transcript, world: World) -> None:
    primes = (world.key.p, world.key.q)
    verify_no_canary(
        base, [prime.to_bytes((prime.bit_length() + 7) // 8, order) for prime in primes for order in ("big", "little")]
    )
    verify_no_canary(base, [str(prime) for prime in primes])


def varint(value: int) -> bytes:
    """As protobuf writes it: the message of a single field, less its tag."""
    return wrappers_pb2.UInt64Value(value=value).SerializeToString()[1:]


@pytest.mark.parametrize(
    ("canary", "leak"),
    [
        (TEXT, TEXT.encode()),
        (TEXT, TEXT.encode("utf-16-le")),
        (TEXT, TEXT.encode("utf-16-be")),
        (TEXT, TEXT.encode().hex().encode()),
        (NUMBER, str(NUMBER).encode()),
        (NUMBER, b"7349128601573.31"),
        (Decimal("7349128601573.31"), str(NUMBER).encode()),
        (NUMBER, struct.pack("<q", NUMBER)),
        (NUMBER, struct.pack(">Q", NUMBER)),
        (NUMBER, struct.pack("<q", NUMBER * 100)),
        (NUMBER, struct.pack("<d", NUMBER)),
        (NUMBER, struct.pack(">d", NUMBER / 100)),
        (Decimal("7349128601573.31"), struct.pack(">d", 7349128601573.31)),
        (7349128601573.31, struct.pack("<d", 7349128601573.31)),
        (7349128601573.31, b"7349128601573.31"),
        (NUMBER, varint(NUMBER)),
        (NUMBER, varint(2 * NUMBER)),
        (NUMBER, varint(100 * NUMBER)),
        (NUMBER, json.dumps({"a": base64.b64encode(json.dumps({"b": NUMBER}).encode()).decode()}).encode()),
    ],
    ids=str,
)
def test_a_leak_is_found_however_it_is_written(canary: object, leak: bytes) -> None:
    search = Search([canary])  # type: ignore[list-item]
    for alignment in range(3):
        whole = os.urandom(100 + alignment) + leak + os.urandom(50)
        for written in (whole, whole.hex().encode(), base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            assert search.occurrences(b'{"payload":"' + written + b'"}')
            assert search.occurrences(base64.b64encode(b'{"payload":"' + written + b'"}'))
        # Even where base64 runs on beyond what can be decoded.
        assert search.occurrences(base64.b64encode(whole)[1:])


@pytest.mark.parametrize("form", ["<I", ">i", "<f", ">f"])
def test_a_leaking_column_is_found_in_four_byte_numbers(form: str) -> None:
    column = [row.phone for row in people()["north"]]
    leak = b"".join(struct.pack(form, value) for value in column)
    assert Search(column).occurrences(os.urandom(1000) + leak)


def test_random_bytes_hold_no_canary() -> None:
    """Records of the size that travels: in a megabyte at once, three of the shortest patterns do occur by chance."""
    search = Search(canaries_of(people()))
    for _ in range(50):
        assert not search.occurrences(os.urandom(10_000))
