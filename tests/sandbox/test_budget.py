"""The budget of a provider's dataset, as a fold over its real ledger: nobody spends what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import Fields
from audit.clock import Clock
from audit.entry import Aborted, Entry, Intent, Side, decode_entry
from audit.entry_privacy import PrivacyTaken, read_event
from audit.ledger import Draft, Ledger, LedgerConfig, LedgerIdentity
from audit.names import KeyPurpose, Role
from protocols.dp_accountant import NOTHING, Cost, cost_of
from protocols.dp_events import (
    Composed,
    CostEvent,
    NoisedBlock,
    NoisedVector,
    PoissonSampled,
    Repeated,
    event_from_plain,
    event_to_plain,
)
from protocols.dp_filter import Budget
from sandbox.admission import Admission, Grant
from sandbox.authorise import Authorised, authorise
from sandbox.budget import PrivacyBudgets, Spend, filter_of
from sandbox.contract import Contract, DatasetBinding, Quotas
from sandbox.errors import DenialReason, DeniedError
from sandbox.privacy_terms import PrivacyTerms
from sandbox.request import AggregateQuery, Statistic, StatisticKind, build_request
from sandbox.request import RequestTerms as Terms
from tests.audit.samples import aborted, ack, outcome, private_intent
from tests.sandbox.conftest import MakeFederation

from .agreement import (
    AT_MS,
    PROVIDERS,
    PURPOSE,
    VERSION,
    FixedEntropy,
    ManualClock,
    context,
    contract,
    identity,
    key,
    paillier_key,
    signed,
    wire,
)
from .private import DELTA, TERMS, private_contract, private_description, private_record

MILLION = 1_000_000
COUNT = AggregateQuery((Statistic(StatisticKind.COUNT, None),), (), ())
ENTROPY = FixedEntropy()
MANY = Quotas(100_000, 10**9, 10**12)


class Home:
    """A provider's ledger with its admission over it; `restart` is what follows a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        log_key = key("east", KeyPurpose.LOG)
        self.admission = Admission()
        self.ledger = Ledger.open(
            self.folder / "ledger.db",
            identity=LedgerIdentity("east", Role.PROVIDER, "LEGAL-EAST", log_key.name),
            key=log_key,
            clock=ManualClock(),
            folds=[self.admission],
            config=LedgerConfig(flush_ms=0, checkpoint_idle_ms=60_000, queue_timeout_ms=60_000),
        )

    def restart(self) -> None:
        self.ledger.close()
        self.start()

    def take(self, call: Authorised) -> Grant | DeniedError:
        clock: Clock = ManualClock()
        try:
            return self.admission.take(self.ledger, call, ENTROPY.token(16).hex(), clock)
        except DeniedError as error:
            return error

    def end(self, call: Authorised, *, released: bool = False) -> None:
        self.ledger.append(
            Draft(
                Aborted(
                    party="east",
                    at_ms=AT_MS,
                    side=Side.PROVIDER,
                    call=call.call,
                    contract=call.request.contract,
                    reason="EXPIRED",
                    released=released,
                )
            )
        )

    def intents(self) -> list[Entry]:
        return [entry for entry in map(_decoded, self.ledger.read(0, self.ledger.size)) if isinstance(entry, Intent)]


def _decoded(data: bytes) -> Entry:
    return decode_entry(data)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.ledger.close()


@cache
def agreed(version: str = VERSION, nonce: str = "01" * 16) -> Contract:
    datasets = {
        party: DatasetBinding(f"{party}/workers@{version}", 1_000, binding.columns)
        for party, binding in contract().datasets.items()
    }
    return private_contract(quotas=MANY, fee_cap_micro=10**15, datasets=datasets, nonce=nonce)


def call(
    micro_epsilon: int = 100_000, document: Contract | None = None, terms: PrivacyTerms = TERMS, entity: str = ""
) -> Authorised:
    """A private request that passed all checks."""
    document = document or agreed()
    version = document.datasets["east"].dataset.partition("@")[2]
    fields = Terms(signed(document).digest, "shop", PROVIDERS, "east", 1, AT_MS, AT_MS + 60_000, micro_epsilon)
    made, openings = build_request(fields, COUNT, PURPOSE, paillier_key().public_key, ENTROPY)
    parsed, opened = wire(made, openings)
    authorised = authorise(
        parsed,
        opened,
        paillier_key().public_key,
        peer=identity("shop"),
        context=context(
            record=private_record(document),
            description=replace(private_description(terms=terms), version=version),
        ),
        now_ms=AT_MS,
        grpc_deadline_ms=AT_MS + 60_000,
    )
    if not entity:
        return authorised
    assert authorised.private is not None
    return replace(authorised, private=replace(authorised.private, entity=entity))


def alike(base: Authorised, number: int) -> list[Authorised]:
    """As many requests that differ in their nonce alone."""
    nonces = [f"{index:032x}" for index in range(number)]
    return [replace(base, request=replace(base.request, nonce=nonce), call=f"{nonce}{nonce}") for nonce in nonces]


def budget_for(calls: int, micro_epsilon: int = 100_000) -> PrivacyTerms:
    """Terms under which exactly so many calls fit, whoever makes them, and an entity may make them all."""
    cost = cost_of(call(micro_epsilon).privacy_cost or pytest.fail("no cost"))
    low, high = 1, 100 * MILLION
    while high - low > 1:
        middle = (low + high) // 2
        try:
            watched = filter_of(Budget(middle, DELTA))
            watched.check(cost.times(calls - 1), cost)
            high = middle
        except Exception:  # noqa: BLE001  (too little for delta, or for the calls)
            low = middle
    watched = filter_of(Budget(high, DELTA))
    assert watched.micro_epsilon(cost.times(calls)) <= high < watched.micro_epsilon(cost.times(calls + 1))
    return PrivacyTerms(micro_epsilon=high, micro_epsilon_total=high, delta=DELTA)


def test_1000_concurrent_requests_against_a_budget_for_100_give_exactly_100_grants(home: Home) -> None:
    terms = budget_for(100)
    with ThreadPoolExecutor(64) as threads:
        outcomes = list(threads.map(home.take, alike(call(terms=terms), 1_000)))
    denied = [each for each in outcomes if isinstance(each, DeniedError)]
    assert len(outcomes) - len(denied) == len(home.intents()) == 100
    assert {(each.reason, each.clause) for each in denied} == {(DenialReason.BUDGET_EXHAUSTED, "privacy.epsilon")}


def test_a_restart_in_between_forgets_no_spend_of_calls_that_it_stranded(home: Home) -> None:
    terms = budget_for(100)
    requests = alike(call(terms=terms), 300)
    with ThreadPoolExecutor(64) as threads:
        before = list(threads.map(home.take, requests[:60]))
        home.restart()
        after = list(threads.map(home.take, requests[60:]))
    assert sum(isinstance(each, Grant) for each in (*before, *after)) == 100
    assert all(isinstance(each, Grant) for each in before)


def test_without_the_budget_the_thousand_would_all_be_granted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = budget_for(3)
    monkeypatch.setattr(PrivacyBudgets, "verify", lambda self, spend: None)
    assert all(isinstance(home.take(call(terms=terms)), Grant) for _ in range(6))


def test_a_refusal_tells_what_is_left_and_spends_nothing(home: Home) -> None:
    terms = budget_for(2)
    assert isinstance(home.take(call(terms=terms)), Grant)
    spent = home.admission.budgets.spent("LEGAL-SHOP", "workers")
    refused = home.take(call(4 * MILLION, terms=terms))
    assert isinstance(refused, DeniedError)
    left = filter_of(terms.entity_budget).remaining(spent)
    assert dict(refused.left) == {"micro_epsilon": str(left)}
    assert 0 < left < terms.micro_epsilon
    assert home.admission.budgets.spent("LEGAL-SHOP", "workers") == spent
    assert len(home.intents()) == 1


def test_an_aborted_call_gives_back_exactly_what_it_reserved(home: Home) -> None:
    before = call(300_000)
    assert isinstance(home.take(before), Grant)
    spent = home.admission.budgets.spent("LEGAL-SHOP", "workers"), home.admission.budgets.spent_by_all("workers")
    item = call(700_000)
    assert isinstance(home.take(item), Grant)
    assert home.admission.budgets.spent_by_all("workers") != spent[1]
    home.end(item)
    assert (home.admission.budgets.spent("LEGAL-SHOP", "workers"), spent[1]) == spent
    assert home.admission.budgets.spent_by_all("workers") == spent[1]


def test_what_was_released_or_may_have_been_stays_spent(home: Home) -> None:
    item = call()
    assert isinstance(home.take(item), Grant)
    spent = home.admission.budgets.spent_by_all("workers")
    home.end(item, released=True)
    assert home.admission.budgets.spent_by_all("workers") == spent != NOTHING


def test_a_second_attempt_is_charged_again(home: Home) -> None:
    cost = cost_of(call().privacy_cost or pytest.fail("no cost"))
    for _ in range(2):
        assert isinstance(home.take(call()), Grant)
    assert home.admission.budgets.spent("LEGAL-SHOP", "workers") == cost.times(2)


def test_accounts_contracts_and_versions_share_one_budget(home: Home) -> None:
    terms = budget_for(4)
    calls = [
        call(terms=terms),
        call(terms=terms, entity="legal.shop"),
        call(terms=terms, document=agreed(nonce="02" * 16)),
        call(terms=terms, document=agreed(version="ff" * 8)),
    ]
    assert len({each.request.contract for each in calls}) == 3
    assert all(isinstance(home.take(each), Grant) for each in calls)
    for entity in ("", "LEGAL_SHOP"):
        refused = home.take(call(terms=terms, entity=entity))
        assert isinstance(refused, DeniedError)
        assert refused.clause == "privacy.epsilon"


def test_all_entities_together_have_a_budget_too(home: Home) -> None:
    terms = replace(budget_for(2), micro_epsilon=budget_for(1).micro_epsilon)
    assert isinstance(home.take(call(terms=terms, entity="LEGAL-A")), Grant)
    assert isinstance(home.take(call(terms=terms, entity="LEGAL-B")), Grant)
    refused = home.take(call(terms=terms, entity="LEGAL-C"))
    assert isinstance(refused, DeniedError)
    assert (refused.reason, refused.clause) == (DenialReason.BUDGET_EXHAUSTED, "privacy.epsilon_total")


def test_budgets_declared_later_hold_against_everything_spent_before(home: Home) -> None:
    for _ in range(3):
        assert isinstance(home.take(call(terms=budget_for(50))), Grant)
    home.restart()
    refused = home.take(call(terms=budget_for(3)))
    assert isinstance(refused, DeniedError)
    assert isinstance(home.take(call(terms=budget_for(4))), Grant)


def test_a_replayed_ledger_has_spent_the_same(home: Home) -> None:
    for micro_epsilon in (100_000, 250_000, 400_000):
        assert isinstance(home.take(call(micro_epsilon)), Grant)
    before = home.admission.budgets.spent("LEGAL-SHOP", "workers")
    home.restart()
    assert home.admission.budgets.spent("LEGAL-SHOP", "workers") == before
    assert home.admission.budgets.entities("workers") == ("legalshop",)


VECTOR = NoisedVector(2, (NoisedBlock(1, Fraction(49, 2), Fraction(1)),), Fraction(1, 1 << 112))
EVENTS: tuple[CostEvent, ...] = (
    VECTOR,
    NoisedVector(1, (NoisedBlock(3, Fraction(64), Fraction(5, 7)), NoisedBlock(1, Fraction(1, 4), Fraction(1)))),
    Repeated(VECTOR, 7),
    Composed((VECTOR, Repeated(VECTOR, 2))),
)


def folded(number: int, event: CostEvent) -> Intent:
    taken = PrivacyTaken("LEGAL-SHOP", Spend.of("", "east/wages@00", event, TERMS).taken.event)
    return replace(private_intent(number), privacy=taken)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from(["open", "acked", "aborted", "lost", "late"]))))
def test_the_fold_is_the_sum_of_what_was_not_given_back(calls: list[tuple[CostEvent, str]]) -> None:
    budgets = PrivacyBudgets()
    entries: list[Entry] = []
    expected: Cost = NOTHING
    for number, (event, end) in enumerate(calls):
        entries.append(folded(number, event))
        if end in ("acked", "late"):
            entries.append(outcome(Side.PROVIDER, "east", number))
        if end == "acked":
            entries.append(ack(Side.PROVIDER, "east", number))
        if end in ("aborted", "lost", "late"):
            entries.append(aborted("east", Side.PROVIDER, number, released=end == "lost"))
        if end != "aborted":
            expected = expected.plus(cost_of(event))
    for index, entry in enumerate(entries):
        budgets.apply(index, entry)
    assert budgets.spent("LEGAL-SHOP", "wages") == budgets.spent_by_all("wages") == expected


@pytest.mark.parametrize("event", [*EVENTS, PoissonSampled(VECTOR, Fraction(1, 100))])
def test_every_release_that_the_accountant_knows_can_stand_in_a_ledger(event: CostEvent) -> None:
    plain = Spend.of("", "east/wages@00", VECTOR, TERMS).taken.event if event is VECTOR else event_to_plain(event)
    assert event_from_plain(read_event(Fields(plain))) == event


def test_a_merchants_own_entries_spend_nothing() -> None:
    budgets = PrivacyBudgets()
    budgets.apply(
        0, replace(private_intent(), side=Side.MERCHANT, party="shop", provider="", provider_nonce="", dataset="")
    )
    assert budgets.spent_by_all("wages") == NOTHING


def test_a_private_request_that_nobody_can_answer_yet_is_refused_before_anything_is_taken(
    federate: MakeFederation,
) -> None:
    federation = federate()
    provider = federation.computing
    item = provider.authorised(federation.merchant.call())
    terms = {name: getattr(private_contract(), name) for name in ("operations", "release", "privacy", "quotas")}
    with pytest.raises(DeniedError) as caught:
        provider.sessions.offer(replace(item, contract=replace(item.contract, **terms)))
    assert (caught.value.reason, caught.value.clause) == (DenialReason.OPERATION_NOT_PERMITTED, "release.mode")
    assert not [entry for entry in provider.entries() if isinstance(entry, Intent)]
