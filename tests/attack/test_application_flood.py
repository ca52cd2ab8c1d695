"""A merchant's applications cost a party vault, ledger and memory before any of its officials has looked at one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.contract import Validity
from sandbox.contract_actions import ActionStatement
from sandbox.contract_book import UNANSWERED_LIMIT
from sandbox.contract_states import ContractAction
from sandbox.errors import DenialReason, DeniedError
from tests.sandbox.agreement import AT_MS, DAY_MS, Home, ManualClock, contract, directory, key, signed

MINUTE_MS = 60_000


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path, "east", ManualClock())
    yield made
    made.close()


def apply(home: Home, number: int, *signers: str, until_ms: int = AT_MS + DAY_MS) -> str:
    document = contract(nonce=f"{number:032x}", validity=Validity(AT_MS, until_ms))
    return home.book.receive(signed(document, "shop", *signers), directory()).contract_id


def flood(home: Home, until_ms: int = AT_MS + DAY_MS) -> list[str]:
    return [apply(home, number, until_ms=until_ms) for number in range(UNANSWERED_LIMIT)]


def test_applications_that_nobody_answered_are_bounded(home: Home) -> None:
    first, *_ = flood(home)
    with pytest.raises(DeniedError) as denied:
        apply(home, UNANSWERED_LIMIT)
    assert denied.value.reason is DenialReason.RATE_LIMITED
    assert len(home.book.all()) == UNANSWERED_LIMIT
    apply(home, 0)  # a known one, again
    home.book.reject(first, "no", key("east"))
    apply(home, UNANSWERED_LIMIT)


def test_ending_or_outliving_ones_own_applications_makes_no_room(home: Home) -> None:
    ids = flood(home, until_ms=AT_MS + MINUTE_MS)
    ended = ActionStatement(ids[0], ContractAction.TERMINATE, "shop", AT_MS, "", "ab" * 16)
    home.book.act(ended.sign(key("shop")), directory())
    home.clock.at_ms += 2 * MINUTE_MS
    with pytest.raises(DeniedError):
        apply(home, UNANSWERED_LIMIT)
    home.clock.at_ms += 31 * DAY_MS
    apply(home, UNANSWERED_LIMIT, until_ms=AT_MS + 40 * DAY_MS)


def test_what_was_approved_counts_no_more(home: Home) -> None:
    home.book.approve(flood(home)[7], key("east"), directory())
    apply(home, UNANSWERED_LIMIT)


def test_the_regulator_counts_what_not_all_providers_have_signed(tmp_path: Path) -> None:
    watch = Home(tmp_path, "watch", ManualClock())
    flood(watch)
    with pytest.raises(DeniedError):
        apply(watch, UNANSWERED_LIMIT, "east", "north")
    apply(watch, UNANSWERED_LIMIT, "east", "north", "south")
    watch.close()
