"""A call that ends before its part has left is given back. Yet its offer has told the computing party which cells each
peer withholds, and has cost each peer a scan.

The attack: merchant and computing party together ask, take the offers, and abort, again and again, question after
question; the quota of one call never ends.
"""

from __future__ import annotations

import pytest

from sandbox import admission
from sandbox.admission import TRIES_A_CALL, Usage
from sandbox.errors import DenialReason, DeniedError
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import Federation
from tests.sandbox.survey import identity


def ask_and_abort(federation: Federation, times: int) -> int:
    """How many offers of north's the computing party has seen for nothing, before it is denied."""
    north, east = federation.providers["north"], identity(federation.directory.party("east"))
    seen = 0
    for _ in range(times):
        call = federation.merchant.call()
        assert north.sessions.offer(north.authorised(call)).withheld
        north.sessions.abort(call.parsed.call, "OTHER", peer=east)
        seen += 1
    return seen


def test_offers_that_lead_to_nothing_are_bounded_by_the_quota_of_calls(federate: MakeFederation) -> None:
    federation = federate(calls=1)
    north = federation.providers["north"]
    assert ask_and_abort(federation, TRIES_A_CALL) == TRIES_A_CALL
    assert north.admission.usage(federation.contract_id) == Usage()
    with pytest.raises(DeniedError) as denied:
        ask_and_abort(federation, 1)
    assert denied.value.reason is DenialReason.QUOTA_EXHAUSTED
    north.restart()
    with pytest.raises(DeniedError):
        ask_and_abort(federation, 1)


def test_without_the_bound_the_attack_goes_on(federate: MakeFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "TRIES_A_CALL", 10**6)
    assert ask_and_abort(federate(calls=1), 3 * TRIES_A_CALL) == 3 * TRIES_A_CALL


def test_a_call_that_failed_a_few_times_can_still_be_made(federate: MakeFederation) -> None:
    federation = federate(calls=1)
    for _ in range(TRIES_A_CALL - 1):
        ask_and_abort(federation, 1)
    assert any(federation.run().contributors)
