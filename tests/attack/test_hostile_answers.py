"""A party answers a call with the error of another one. Its caller must name it and go on, not fall over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pytest

from audit.errors import StaleDirectoryError
from parties.errors import EnrolmentError, NotFoundError
from parties.provider import Provider
from sandbox.errors import (
    AbortedRunError,
    ContractError,
    DenialReason,
    PeerMisbehavedError,
    PeerUnavailableError,
    StateTransitionError,
)
from tests.parties.federation import CLOCK, Federation, federation

STRAY = [
    lambda: ContractError("x"),
    lambda: StateTransitionError("x"),
    lambda: NotFoundError("x"),
    lambda: EnrolmentError("x"),
    lambda: StaleDirectoryError("x"),
    lambda: AbortedRunError("00" * 32, "x"),
]


def rows(seed: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"wage": [100 + seed] * 40, "education": [4, 9, 13, 17] * 10, "parttime": ["no", "yes"] * 20, "region": "x"}
    )


def hostile(fed: Federation, party: str, method: str, error: Callable[[], Exception]) -> None:
    """The party's own process, in its own hands."""
    running = fed.providers[party].party
    assert isinstance(running, Provider)

    def answer(*_: object, **__: object) -> NoReturn:
        raise error()

    setattr(running._rooms.computing, method, answer)


def frames() -> dict[str, pd.DataFrame]:
    return {name: rows(seed).assign(region=name) for seed, name in enumerate(("east", "west"))}


def test_a_peer_that_answers_an_acknowledgement_with_nonsense_costs_the_merchant_nothing(tmp_path: Path) -> None:
    """The attack: the merchant has paid, and its result is lost, now and at every later call."""
    with federation(tmp_path, frames()) as fed:
        contract = fed.contract()
        for error in STRAY:
            hostile(fed, "west", "acknowledge", error)
            result = fed.merchant.aggregate(contract, statistics=["count"], by=["education"], timeout=8)
            assert result.frame["count"].sum() == 80


@pytest.mark.parametrize("error", STRAY[:2])
def test_a_computing_party_that_answers_with_nonsense_is_named_and_the_call_is_over(
    tmp_path: Path, error: Callable[[], Exception]
) -> None:
    """The attack: the call stays open for good, and every `resume` of the merchant fails at it."""
    with federation(tmp_path, frames()) as fed:
        contract = fed.contract()
        for method in ("run", "answer"):
            hostile(fed, "east", method, error)
            with pytest.raises(PeerUnavailableError, match="east"):
                fed.merchant.aggregate(contract, statistics=["count"], by=["education"], timeout=2)
            assert fed.merchant.resume() == ()


@pytest.mark.parametrize(
    "error", [*STRAY, lambda: PeerMisbehavedError("west", DenialReason.MALFORMED, "x")], ids=lambda made: str(made())
)
def test_a_computing_party_that_answers_a_later_question_with_nonsense_blocks_no_other(
    tmp_path: Path, error: Callable[[], Exception]
) -> None:
    with federation(tmp_path, frames()) as fed:
        hostile(fed, "east", "answer", error)
        calling = fed.merchant._rooms.calling
        with pytest.raises(PeerUnavailableError, match="east"):
            calling._session._gateway.answer("east", "00" * 32, CLOCK.now_ms() + 3_000)
