from __future__ import annotations

import ast
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from audit.entry import Ack, Intent, Units, decode_entry
from audit.errors import LedgerError
from sandbox.admission import OUTSTANDING_LIMIT, Admission, Grant, Usage
from sandbox.authorise import Authorised
from sandbox.errors import DenialReason, DeniedError
from sandbox.invocation import AbortReason, Release
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import Federation, Provider, entries, only

ROOT = Path(__file__).parents[2]
RELEASE = Release(b"part", b"{}", "ab" * 32)


def authorised(federation: Federation) -> Authorised:
    return federation.computing.authorised(federation.merchant.call())


def take(provider: Provider, item: Authorised) -> Grant | DenialReason:
    try:
        return provider.invocation.enter(item)
    except DeniedError as error:
        return error.reason


def finish(provider: Provider, item: Authorised) -> None:
    provider.invocation.complete(provider.invocation.enter(item), RELEASE, lambda receipt: {})


def test_200_concurrent_calls_against_a_quota_of_50_give_exactly_50_grants(federate: MakeFederation) -> None:
    federation = federate(calls=50)
    provider = federation.computing
    requests = [authorised(federation) for _ in range(200)]
    together = Barrier(200)

    def take_at_once(item: Authorised) -> Grant | DenialReason:
        together.wait()
        return take(provider, item)

    with ThreadPoolExecutor(200) as threads:
        outcomes = list(threads.map(take_at_once, requests))
    grants = [outcome for outcome in outcomes if isinstance(outcome, Grant)]
    assert len(grants) == len({grant.intent_index for grant in grants}) == 50
    assert outcomes.count(DenialReason.QUOTA_EXHAUSTED) == 150
    assert len(only(Intent, provider.entries())) == 50
    assert provider.admission.usage(federation.contract_id).calls == 50


def test_the_same_request_taken_by_twenty_threads_is_granted_once(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(lambda _: take(federation.computing, item), range(20)))
    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 1
    assert outcomes.count(DenialReason.REPLAYED) == 19


def test_a_grant_exists_only_with_its_intent_in_the_ledger(federate: MakeFederation) -> None:
    federation = federate()
    provider = federation.computing
    grant = provider.invocation.enter(authorised(federation))
    entry = decode_entry(next(iter(provider.ledger.read(grant.intent_index, grant.intent_index + 1))))
    assert isinstance(entry, Intent)
    assert (entry.call, entry.provider_nonce, entry.at_ms) == (grant.call, grant.provider_nonce, grant.at_ms)


def test_a_ledger_that_cannot_record_gives_no_grant(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    federation.computing.ledger.close()
    with pytest.raises(LedgerError):
        federation.computing.invocation.enter(item)


def test_a_grant_cannot_be_constructed_copied_pickled_or_altered(federate: MakeFederation) -> None:
    federation = federate()
    grant = federation.computing.invocation.enter(authorised(federation))
    with pytest.raises(TypeError):
        Grant(grant.authorised, grant.provider_nonce, grant.intent_index, grant.at_ms, object())
    with pytest.raises(TypeError):
        Grant(grant.authorised, grant.provider_nonce, grant.intent_index, grant.at_ms)  # type: ignore[call-arg]
    for forge in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            forge(grant)  # type: ignore[operator]
    with pytest.raises((TypeError, ValueError)):
        replace(grant, intent_index=0)
    with pytest.raises(AttributeError):
        grant.intent_index = 0  # type: ignore[misc]


def test_nobody_but_admission_constructs_a_grant_or_touches_its_seal() -> None:
    offenders = []
    for path in (
        path for package in ("sandbox", "parties", "protocols", "audit") for path in (ROOT / package).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and _name(node.func) == "Grant"
            passed = isinstance(node, ast.Call) and any(_name(argument) == "Grant" for argument in node.args)
            sealed = _name(node) == "_SEAL"
            if called or passed or sealed:
                offenders.append(path.relative_to(ROOT).as_posix())
    assert set(offenders) == {"sandbox/admission.py"}


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_completing_a_call_takes_a_real_grant(federate: MakeFederation) -> None:
    federation = federate()
    forged = object.__new__(Grant)
    with pytest.raises((TypeError, AttributeError)):
        federation.computing.invocation.complete(forged, RELEASE, lambda receipt: {})
    with pytest.raises(TypeError):
        federation.computing.invocation.complete(object(), RELEASE, lambda receipt: {})  # type: ignore[arg-type]


def test_a_replayed_nonce_is_denied_after_a_restart_and_with_the_quota_spent(federate: MakeFederation) -> None:
    federation = federate(calls=1)
    item = authorised(federation)
    federation.computing.invocation.enter(item)
    assert take(federation.computing, item) is DenialReason.REPLAYED
    federation.computing.stop()
    federation.computing.start()
    assert take(federation.computing, item) is DenialReason.REPLAYED
    assert take(federation.computing, authorised(federation)) is DenialReason.QUOTA_EXHAUSTED


def test_a_request_that_grew_stale_while_it_waited_is_denied(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    federation.clock.at_ms = item.request.deadline_ms
    assert take(federation.computing, item) is DenialReason.STALE


def test_the_quota_of_ciphertexts_is_kept_and_what_is_left_is_told(federate: MakeFederation) -> None:
    federation = federate()
    one = authorised(federation)
    federation.computing.stop()
    contract = replace(one.contract, quotas=replace(one.contract.quotas, ciphertexts=2 * one.units.ciphertexts + 1))
    federation.computing.start()
    for _ in range(2):
        federation.computing.invocation.enter(replace(authorised(federation), contract=contract))
    with pytest.raises(DeniedError) as caught:
        federation.computing.invocation.enter(replace(authorised(federation), contract=contract))
    assert (caught.value.reason, caught.value.clause) == (DenialReason.QUOTA_EXHAUSTED, "quotas.ciphertexts")
    assert caught.value.left["ciphertexts"] == 1


def test_the_fee_cap_is_kept_to_the_micro_unit(federate: MakeFederation) -> None:
    price = authorised(federation := federate(fee_cap_micro=10**12)).price_micro
    contract = replace(federation.contract, fee_cap_micro=2 * price)
    for _ in range(2):
        federation.computing.invocation.enter(replace(authorised(federation), contract=contract))
    with pytest.raises(DeniedError) as caught:
        federation.computing.invocation.enter(replace(authorised(federation), contract=contract))
    assert (caught.value.reason, caught.value.left["fee_micro"]) == (DenialReason.FEE_CAP_REACHED, "0")


def test_privacy_beyond_the_contracts_quota_is_denied(federate: MakeFederation) -> None:
    item = authorised(federation := federate())
    private = replace(item, units=replace(item.units, micro_epsilon=1))
    with pytest.raises(DeniedError, match="micro_epsilon"):
        federation.computing.invocation.enter(private)


def test_sixteen_unacknowledged_outcomes_suspend_the_merchant_until_it_acknowledges(federate: MakeFederation) -> None:
    federation = federate()
    provider = federation.computing
    for _ in range(OUTSTANDING_LIMIT):
        finish(provider, authorised(federation))
    assert take(provider, authorised(federation)) is DenialReason.ACKNOWLEDGEMENTS_OUTSTANDING
    call = provider.admission.open_calls()[0].call
    provider.invocation.abort(call, AbortReason.OTHER)
    assert isinstance(take(provider, authorised(federation)), Grant)


def test_open_calls_do_not_count_as_outstanding(federate: MakeFederation) -> None:
    federation = federate()
    for _ in range(OUTSTANDING_LIMIT + 1):
        assert isinstance(take(federation.computing, authorised(federation)), Grant)
    assert federation.computing.admission.outstanding("shop") == 0


def test_an_abort_before_the_outcome_gives_everything_back(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    federation.computing.invocation.enter(item)
    federation.computing.invocation.abort(item.call, AbortReason.OTHER)
    assert federation.computing.admission.usage(federation.contract_id) == Usage()


def test_an_abort_after_the_outcome_keeps_the_call_spent_and_costs_nothing(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    finish(federation.computing, item)
    federation.computing.invocation.abort(item.call, AbortReason.OTHER)
    used = federation.computing.admission.usage(federation.contract_id)
    assert used == Usage(calls=1, ciphertexts=item.units.ciphertexts)
    assert federation.computing.admission.outstanding("shop") == 0


def test_the_fold_rebuilt_from_the_ledger_equals_the_live_one(federate: MakeFederation) -> None:
    federation = federate(providers=3)
    federation.run()  # acknowledged
    provider = federation.computing
    finish(provider, authorised(federation))  # outstanding
    provider.invocation.enter(authorised(federation))  # open
    for ended in (authorised(federation), authorised(federation)):
        provider.invocation.enter(ended)
        provider.invocation.abort(ended.call, AbortReason.OTHER)
    assert only(Ack, provider.entries())
    live = provider.admission
    again = Admission()
    for index, entry in enumerate(entries(provider.ledger)):
        again.apply(index, entry)
    provider.stop()
    provider.start()
    for rebuilt in (again, provider.admission):
        assert rebuilt.usage(federation.contract_id) == live.usage(federation.contract_id)
        assert rebuilt.usage(federation.contract_id).calls == 3
        assert rebuilt.outstanding("shop") == live.outstanding("shop") == 1
        assert rebuilt.open_calls() == live.open_calls()
        assert len(rebuilt.open_calls()) == 2


def test_a_finished_call_leaves_only_its_contracts_usage_behind(federate: MakeFederation) -> None:
    federation = federate()
    federation.run()
    assert federation.computing.admission.open_calls() == ()
    assert federation.computing.admission.usage(federation.contract_id).calls == 1
    assert federation.computing.admission.usage("other") == Usage()


def test_units_are_the_authorised_ones(federate: MakeFederation) -> None:
    federation = federate()
    item = authorised(federation)
    federation.computing.invocation.enter(item)
    (intent,) = only(Intent, federation.computing.entries())
    assert intent.units == item.units == Units(1, 1_000, item.layout.ciphertexts, 0)
    assert intent.price_micro == item.price_micro
