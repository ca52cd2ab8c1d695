"""A request's epsilon: what authorise refuses, which release it buys, and what that costs."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from audit.canonical import canonicalise
from audit.tariff import Tariff, Units
from protocols.dp_accountant import ORDERS, cost_of
from protocols.dp_events import NoisedVector, event_to_plain
from protocols.dp_gaussian import run_micro_epsilon
from sandbox.authorise import Authorised, authorise
from sandbox.authorised import AuthoriseContext
from sandbox.contract import Contract
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.frame import Frame, Use
from sandbox.privacy_cost import draw_distance, privacy_cost, release_plan, release_tables
from sandbox.privacy_terms import PersonLimits
from sandbox.request import AggregateQuery, Statistic, StatisticKind, parse_request, sign_request
from tests.audit.golden import assert_golden

from .agreement import (
    AT_MS,
    FRAME,
    QUERY,
    context,
    contract,
    description,
    identity,
    key,
    paillier_key,
    public_key_of_golden_files,
    record,
    request,
    wire,
)
from .private import AGREED, DELTA, TERMS, private_contract, private_description, private_record

MILLION = 1_000_000
CHEAP = AggregateQuery((Statistic(StatisticKind.COUNT, None),), (), ())


def surroundings(document: Contract, **changes: Any) -> AuthoriseContext:
    return context(**({"record": private_record(document), "description": private_description()} | changes))


def ask(
    micro_epsilon: int | None = MILLION,
    query: AggregateQuery = CHEAP,
    document: Contract | None = None,
    operation: str = "",
    **changes: Any,
) -> Authorised:
    document = document or private_contract()
    made, openings = request(query, document=document, micro_epsilon=micro_epsilon)
    made = replace(made, operation=operation or made.operation)
    parsed, opened = wire(made, openings)
    return authorise(
        parsed,
        opened,
        paillier_key().public_key,
        peer=identity("shop"),
        context=surroundings(document, **changes),
        now_ms=AT_MS,
        grpc_deadline_ms=AT_MS + 60_000,
    )


def refusal(*arguments: Any, **changes: Any) -> tuple[int, DenialReason, str]:
    with pytest.raises(DeniedError) as caught:
        ask(*arguments, **changes)
    return caught.value.check, caught.value.reason, caught.value.clause


def test_a_private_request_keeps_its_bytes_and_reads_back() -> None:
    made, _ = request(public_key=public_key_of_golden_files(), document=private_contract(), micro_epsilon=500_000)
    envelope = sign_request(made, key("shop"))
    assert_golden("aggregate_request_private", envelope.encode())
    assert parse_request(envelope.encode()).request == made
    assert (made.operation, made.micro_epsilon) == ("dp_aggregate", 500_000)


def test_the_epsilon_asked_for_is_what_quota_and_price_count() -> None:
    tariff = Tariff("CNY", 1_500_000, 20_000, 500_000, 3_000_000)
    authorised = ask(500_000, document=private_contract(tariff=tariff))
    assert authorised.units == Units(1, 1_000, authorised.layout.ciphertexts, 500_000)
    assert authorised.price.lines[3].amount_micro == 1_500_000
    assert authorised.private is not None
    assert authorised.private.entity == "LEGAL-SHOP"
    assert authorised.privacy_cost == privacy_cost(release_plan(private_contract(), CHEAP, 500_000))


def test_an_exact_request_costs_no_privacy() -> None:
    authorised = ask(None, document=contract(), record=record(contract()), description=description())
    assert (authorised.private, authorised.privacy_cost, authorised.units.micro_epsilon) == (None, None, 0)


@pytest.mark.parametrize("micro_epsilon", [0, -1, -(2**53 - 1)])
def test_epsilon_that_is_none_is_refused(micro_epsilon: int) -> None:
    assert refusal(micro_epsilon) == (5, DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon")


def test_a_private_operation_without_epsilon_is_refused() -> None:
    assert refusal(None, operation="dp_aggregate") == (5, DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon")


def test_epsilon_past_what_one_call_may_cost_is_refused() -> None:
    capped = private_contract(privacy=replace(AGREED, max_micro_epsilon_per_call=MILLION))
    past = (5, DenialReason.EPSILON_REFUSED, "privacy.max_epsilon_per_call")
    assert refusal(MILLION + 1, document=capped) == past
    assert refusal(100 * MILLION + 1) == past
    assert ask(MILLION, document=capped).units.micro_epsilon == MILLION


def test_epsilon_too_small_for_the_delta_is_refused() -> None:
    """No noise that can be drawn is enough."""
    wide = replace(FRAME.columns[0], hi=10**17)
    document = private_contract(frame=Frame((wide, *FRAME.columns[1:])), privacy=replace(AGREED, delta=DELTA**6))
    found = refusal(1, AggregateQuery((Statistic(StatisticKind.SUM, "wage"),), (), ()), document)
    assert found == (5, DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon")


def test_an_operation_of_the_other_mode_is_refused() -> None:
    wrong = (5, DenialReason.OPERATION_NOT_PERMITTED, "operations")
    assert refusal(None) == wrong
    exact = {"record": record(contract()), "description": description()}
    assert refusal(MILLION, document=contract(), **exact) == wrong
    assert refusal(MILLION, document=contract(), operation="aggregate", **exact) == (
        5,
        DenialReason.EPSILON_REFUSED,
        "authorise.micro_epsilon",
    )


def test_terms_that_the_provider_has_made_stricter_since_hold_at_once() -> None:
    stricter = private_description(terms=replace(TERMS, max_micro_epsilon_per_call=1))
    assert refusal(description=stricter) == (5, DenialReason.DECLARATION_MISMATCH, "privacy.max_epsilon_per_call")
    assert refusal(description=description()) == (5, DenialReason.DECLARATION_MISMATCH, "release.mode")


@pytest.mark.parametrize("kind", [StatisticKind.COVARIANCE, StatisticKind.CORRELATION, StatisticKind.WEIGHTED_MEAN])
def test_a_statistic_without_a_private_estimate_is_refused(kind: StatisticKind) -> None:
    uses = private_contract().uses | {"education": frozenset({Use.AGGREGATE})}
    query = AggregateQuery((Statistic(kind, "wage", ("education",)),), (), ())
    found = refusal(MILLION, query, private_contract(uses=uses))
    assert found == (6, DenialReason.COLUMN_NOT_PERMITTED, "authorise.statistics")


def test_the_release_costs_what_was_asked_for_at_most_and_nearly_all_of_it() -> None:
    plan = release_plan(private_contract(), QUERY, MILLION)
    spent = run_micro_epsilon(plan.event(), DELTA)
    assert MILLION * 0.9999 <= spent <= MILLION
    assert (plan.shape.providers, plan.shape.tolerated) == (3, 1)


def test_rows_are_released_only_where_they_are_asked_for() -> None:
    (asked,) = release_tables(QUERY, FRAME)
    (mean,) = release_tables(replace(QUERY, statistics=QUERY.statistics[:1]), FRAME)
    assert [len(table.measures) for table in (asked, mean)] == [3, 2]
    assert all(measure.present == ("wage",) for measure in mean.measures)


def test_a_person_costs_more_noise_than_a_row_for_the_same_epsilon() -> None:
    limits = PersonLimits(max_rows=4, max_rows_per_cell=2, max_cells=3, max_providers=3)
    persons = private_contract(privacy=replace(AGREED, persons=limits))
    row, person = (release_plan(document, CHEAP, MILLION) for document in (private_contract(), persons))
    ratio = person.blocks[0][0].share.variance / row.blocks[0][0].share.variance
    assert 34 < ratio < 36.1  # in the one cell 2 rows at most, at 3 providers: (2 x 3)^2, less what integers cost a row


def test_the_event_in_a_ledger_is_short_and_never_cheaper_than_the_release() -> None:
    columns = tuple(replace(FRAME.columns[1], name=f"c{index}", hi=2**index, edges=()) for index in range(17))
    names = [column.name for column in columns]
    document = private_contract(
        frame=Frame(columns),
        uses=dict.fromkeys(names, frozenset({Use.AGGREGATE})),
        grades={name: private_contract().grades["wage"] for name in names},
        datasets={
            party: replace(binding, columns={name: name for name in names})
            for party, binding in private_contract().datasets.items()
        },
    )
    query = AggregateQuery((Statistic(StatisticKind.REGRESSION, "c0", tuple(names[1:])),), (), ())
    for micro_epsilon in (MILLION // 10, 100 * MILLION):
        plan = release_plan(document, query, micro_epsilon)
        event = privacy_cost(plan)
        assert len(plan.event().blocks) == 171
        assert len(canonicalise(json.loads(json.dumps(event_to_plain(event))))) < 4_000
        whole, kept = cost_of(plan.event(draw_distance(plan))), cost_of(event)
        assert all(short >= long for short, long in zip(kept.units, whole.units, strict=True))
        assert kept.distance == whole.distance


def test_the_shortened_event_costs_hardly_more() -> None:
    plan = release_plan(private_contract(), QUERY, MILLION)
    kept = privacy_cost(plan)
    assert isinstance(kept, NoisedVector)
    place = ORDERS.index(max(order for order in ORDERS if order <= 20))
    assert cost_of(kept).units[place] - cost_of(plan.event(draw_distance(plan))).units[place] <= 2


def test_the_distance_of_noise_from_tables_is_charged_and_that_of_exact_noise_is_none() -> None:
    plan = release_plan(private_contract(), QUERY, MILLION)
    assert draw_distance(plan) == 0
    large = replace(plan, blocks=((replace(plan.blocks[0][0], cells=1 << 17),),))
    assert draw_distance(large) == Fraction(1, 1 << 112)
    assert privacy_cost(large).distance > 0


def test_an_exact_contract_buys_no_release() -> None:
    with pytest.raises(ContractError):
        release_plan(contract(), CHEAP, MILLION)
