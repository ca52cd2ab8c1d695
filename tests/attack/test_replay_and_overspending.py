"""The same request twice, the last call of a quota many times, a second contract out of the first one's signatures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from audit.envelope import PayloadType, seal
from audit.ledger import Draft
from sandbox.admission import _intent, _verify_quota
from sandbox.contract_checks import verify_complete
from sandbox.errors import DenialReason, DeniedError
from tests.sandbox.agreement import contract, directory, key, signed
from tests.sandbox.conftest import MakeFederation

NONCE = "ab" * 16


def test_without_the_ledgers_key_a_replay_is_taken_twice(federate: MakeFederation) -> None:
    federation = federate()
    provider = federation.computing
    once = provider.authorised(federation.merchant.call())
    for _ in range(2):  # what `Admission.take` appends, without the key that makes a nonce unique
        provider.ledger.append(Draft(_intent(once, NONCE, federation.clock.now_ms(), spend=None)))
    assert provider.admission.usage(federation.contract_id).calls == 2
    taken = provider.authorised(federation.merchant.call())
    provider.invocation.enter(taken)
    with pytest.raises(DeniedError) as denied:
        provider.invocation.enter(taken)
    assert denied.value.reason is DenialReason.REPLAYED


def test_a_quota_looked_at_before_the_transaction_is_overspent(federate: MakeFederation) -> None:
    """`Admission.take` looks inside of it: test_200_concurrent_calls_against_a_quota_of_50_give_exactly_50_grants."""
    federation = federate(calls=5)
    provider = federation.computing
    requests = [provider.authorised(federation.merchant.call()) for _ in range(12)]
    together = Barrier(len(requests))

    def look_then_take(number: int) -> None:
        used = provider.admission.usage(federation.contract_id)
        _verify_quota(used, requests[number].units, requests[number].contract)
        together.wait()
        provider.ledger.append(Draft(_intent(requests[number], NONCE, federation.clock.now_ms(), spend=None)))

    with ThreadPoolExecutor(len(requests)) as threads:
        list(threads.map(look_then_take, range(len(requests))))
    assert provider.admission.usage(federation.contract_id).calls == 12


def test_a_second_contract_needs_every_providers_signature_anew() -> None:
    """The attack: the signatures under a contract of 100 calls, put under the same contract of a million."""
    first = signed()
    assert verify_complete(first, directory()).quotas.calls == 100
    larger = contract(quotas=replace(contract().quotas, calls=1_000_000))
    second = seal(larger.to_body(), PayloadType.CONTRACT, key("shop"))
    shop = key("shop").verifying_key.keyid
    others = tuple(line for line in first.signatures if line.keyid != shop)
    lines = sorted((*second.signatures, *others), key=lambda line: line.keyid)
    with pytest.raises(DeniedError) as denied:
        verify_complete(replace(second, signatures=tuple(lines)), directory())
    assert denied.value.reason is DenialReason.BAD_SIGNATURE
