"""The merchant's private key opens joint totals; one provider's part only where the design says so."""

from __future__ import annotations

from itertools import combinations

import pytest
from unseen.v1 import compute_pb2

from protocols.aggregate import AggregateLayout, combine, decrypt_totals
from protocols.errors import InconsistentTotalsError
from sandbox.layout import plan_aggregate
from sandbox.request import AggregateQuery, DomainFilter, RangeFilter, Statistic, StatisticKind
from tests.transcript.hidden_parts import ciphertexts, readable, received_parts, verify_parts_hidden
from tests.transcript.people import MIN_GROUP, SETTLEMENTS, YEARS, people, totals
from tests.transcript.recorder import Transcript, What
from tests.transcript.world import BY, BY_OF_TWO, PROVIDERS, World

MEAN = Statistic(StatisticKind.MEAN, "household_income")
INCOMES = AggregateQuery((MEAN,), BY, ())
OF_TWO = AggregateQuery(
    (MEAN,), BY_OF_TWO, (DomainFilter("settlement", ("harbour",)), RangeFilter("education_years", 8, 16))
)
CELLS = [(years, settlement) for years in YEARS for settlement in SETTLEMENTS]


def layout_of(world: World, contract: str) -> AggregateLayout:
    return plan_aggregate(world.contracts[contract], INCOMES, world.key.public_key.bits)


def packed(world: World, contract: str, party: str) -> list[int]:
    """What a provider packs for `INCOMES`: its own totals, withheld and closed cells zero."""
    data = people()
    providers = world.contracts[contract].providers
    rows: list[int] = []
    for cell in CELLS:
        counts = [totals(data[name], cell)[0] for name in providers]
        closed = sum(count >= MIN_GROUP for count in counts) < 2
        own = totals(data[party], cell)
        rows.extend((0, 0) if closed or own[0] < MIN_GROUP else own)
    return layout_of(world, contract).records.pack(rows)


def joint_totals(base: Transcript, call: str) -> list[int]:
    answers = [
        compute_pb2.AggregateResponse.FromString(record.data)
        for record in base.select(method="/Aggregate", what=What.RESPONSE)
    ]
    (answer,) = [answer for answer in answers if answer.request_id == call]
    return ciphertexts(answer.totals)


def first_joint(base: Transcript, world: World) -> tuple[dict[str, list[int]], list[int]]:
    """The first joint aggregate: every provider's part, the computing party's own derived, and the totals."""
    received = received_parts(base, world.joint)
    call = received[0][1].call
    parts = {receipt.provider: part for part, receipt in received if receipt.call == call}
    whole = joint_totals(base, call)
    square = world.key.public_key.n_squared
    others = combine(list(parts.values()), world.key.public_key)
    own = [total * pow(other, -1, square) % square for total, other in zip(whole, others, strict=True)]
    return {"east": own, **parts}, whole


def test_the_merchants_key_opens_nothing_that_it_should_not(base: Transcript, world: World) -> None:
    verify_parts_hidden(base, world.key, between_two=world.pair)


def test_the_key_is_tried_on_totals_and_on_unmasked_parts_and_opens_them(base: Transcript, world: World) -> None:
    vectors = Transcript([*base.select(method="/Aggregate"), *base.select(method="/Part")])
    opened = [(found.record.receiver, found.path) for found in readable(vectors, world.key)]
    assert opened.count(("analyst", "AggregateResponse.totals.data")) == 3
    assert opened.count(("east", "PartResponse.part.data")) == 1
    assert len(opened) == 4


def test_a_part_of_three_decrypts_to_a_uniform_number_and_not_to_what_was_packed(
    base: Transcript, world: World
) -> None:
    key, layout = world.key, layout_of(world, world.joint)
    parts, _ = first_joint(base, world)
    for party in PROVIDERS:
        plaintexts = [key.decrypt_raw(ciphertext) for ciphertext in parts[party]]
        hidden = packed(world, world.joint, party)
        for plaintext, own in zip(plaintexts, hidden, strict=True):
            assert plaintext != own
            assert plaintext >> sum(layout.records.widths())
            # The difference is the mask: about half of its bits are set, all over its length.
            mask = (plaintext - own) % key.public_key.n
            assert abs(mask.bit_count() - 512) < 160  # ten standard deviations
            assert all((mask >> bit) & (2**64 - 1) for bit in range(0, 960, 64))


def test_no_proper_subset_of_three_parts_decrypts_to_totals_and_all_of_them_do(base: Transcript, world: World) -> None:
    key, layout = world.key, layout_of(world, world.joint)
    parts, whole = first_joint(base, world)
    for size in (1, 2):
        for subset in combinations(PROVIDERS, size):
            with pytest.raises(InconsistentTotalsError):
                decrypt_totals(combine([parts[party] for party in subset], key.public_key), key, layout)
    expected = [sum(column) for column in zip(*(packed(world, world.joint, party) for party in PROVIDERS), strict=True)]
    assert [key.decrypt_raw(ciphertext) for ciphertext in whole] == expected


def test_between_two_providers_the_computing_partys_view_and_the_merchants_key_give_the_other_part(
    base: Transcript, world: World
) -> None:
    """The residual leak that DESIGN names: a collusion of merchant and computing party against the second provider."""
    ((part, receipt),) = received_parts(base, world.pair)
    assert receipt.provider == "north"
    rows = [row.income for row in people()["north"] if row.settlement == "harbour" and row.years in {9, 13}]
    layout = plan_aggregate(world.contracts[world.pair], OF_TWO, world.key.public_key.bits)
    own = layout.records.pack([len(rows), sum(rows), 0, 0])
    assert [world.key.decrypt_raw(ciphertext) for ciphertext in part] == own
