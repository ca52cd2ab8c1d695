"""Data that differ in rows but not in permitted outputs look the same to everybody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.transcript.people import INVISIBLE, Data, one_more_withheld, one_total_moved, people
from tests.transcript.recorder import Transcript, What
from tests.transcript.shapes import differing, is_random, shape, verify_same_views
from tests.transcript.world import COMPUTING, MERCHANT, PROVIDERS, REGULATOR, World, live


@pytest.mark.parametrize("change", INVISIBLE, ids=lambda change: change.__name__)
def test_nobody_can_tell_data_apart_that_agree_in_their_permitted_outputs(
    world: World, base: Transcript, folder: Path, change: Callable[[Data], Data]
) -> None:
    verify_same_views(base, live(world, folder, change(people())), world.key)


def test_another_total_shows_in_what_the_merchant_decrypts_and_nowhere_else(
    world: World, base: Transcript, folder: Path
) -> None:
    found = set(differing(base, live(world, folder, one_total_moved(people())), world.key))
    assert {where.partition(": ")[2] for where in found} == {"AggregateResponse.totals.data, decrypted"}
    assert all(f"from {COMPUTING} to {MERCHANT}" in where for where in found)


def test_another_withheld_cell_shows_to_the_computing_party_and_in_the_contributors(
    world: World, base: Transcript, folder: Path
) -> None:
    found = set(differing(base, live(world, folder, one_more_withheld(people())), world.key))
    seen = {re.sub(r"response /unseen.v1.ComputeService/|: b.*", "", where) for where in found}
    assert seen == {
        "Offer from south to east: OfferResponse.withheld",
        "Aggregate from east to analyst: AggregateResponse.contributors",
        "Aggregate from east to analyst: AggregateResponse.totals.data, decrypted",
    }


def test_the_recorded_day_has_traffic_of_every_kind(base: Transcript) -> None:
    methods = {record.method.rpartition("/")[2] for record in base.records}
    assert methods >= {
        *("Aggregate", "Offer", "Part", "Abort", "GetAnswer", "Acknowledge"),
        *("GetCheckpoint", "ListEntries", "GetInclusionProof", "ListDatasets", "GetContract", "GetDirectory"),
        *("AddCheckpoint", "AddEntries", "GetWitnessed"),
    }
    assert {record.what for record in base.records} >= set(What) - {What.METADATA}
    for party in (MERCHANT, REGULATOR, *PROVIDERS):
        assert base.select(receiver=party, sender=party, what=What.ENTRY)
    reasons = {value for record in base.select(what=What.STATUS) for value in shape(record).values()}
    assert reasons >= {"COLUMN_NOT_PERMITTED", "FILTER_NOT_DECLARED", "REPLAYED", "STALE", "RUN_ABORTED"}


def test_what_tells_of_cells_is_compared_exactly_and_what_is_drawn_afresh_by_kind(base: Transcript) -> None:
    paths = {path for record in base.records for path in shape(record)}
    exact = {path for path in paths if not is_random(path)}
    for field in (
        "OfferResponse.withheld",
        "OfferResponse.refused",
        "AggregateResponse.contributors",
        "AggregateResponse.roster.payload.closed",
    ):
        assert field in exact
    for end in ("units.declared_rows", "units.ciphertexts", "price_micro", "payload.cells", "totals.width", ".length"):
        assert any(path.endswith(end) for path in exact)
    assert {path for path in paths if path.endswith((".sig", ".x25519", ".salt", "part.data"))}.isdisjoint(exact)
