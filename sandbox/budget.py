"""Privacy budgets of a provider's datasets: what each legal entity has spent of them, and all entities together.

What was spent is a fold over the provider's own ledger: an INTENT reserves the cost of its release; ABORTED gives back
exactly that where nothing was released; in all other cases, what becomes of the call unknown among them, it stays.
Spends are kept by legal entity and by the dataset's name, so that accounts, contracts and versions share a budget, and
as Renyi divergences at all orders, so that any budget that is declared later holds against all of them.

`verify` decides inside the ledger's transaction (`sandbox.admission`); costs are computed before it. Soundness of the
decision, however adaptively releases are chosen: `protocols.dp_filter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import sub
from typing import Final

from audit.canonical import JsonObject, canonicalise, parse_canonical
from audit.entry import MAX_ENTRY_BYTES, Aborted, Ack, Entry, Intent, Outcome, Side
from audit.entry_privacy import PrivacyTaken
from protocols.dp_accountant import NOTHING, Cost, cost_of
from protocols.dp_events import CostEvent, event_from_plain, event_to_plain
from protocols.dp_filter import Budget, PrivacyFilter
from protocols.errors import BudgetExhaustedError
from sandbox.errors import DenialReason, DeniedError
from sandbox.privacy_terms import PrivacyTerms

MEMORY: Final = 4_096
"""Costs that are remembered by their event: most calls ask again what was asked before."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What a call would take, ready for a decision in microseconds.

    Args:
        entity: the merchant's legal entity, as the directory writes it.
        dataset: the dataset's name, without party and version.
        event: the release.
        cost: of the event.
        terms: the dataset's, as declared now.
    """

    entity: str
    dataset: str
    event: CostEvent
    cost: Cost
    terms: PrivacyTerms

    @classmethod
    def of(cls, entity: str, reference: str, event: CostEvent, terms: PrivacyTerms) -> Spend:
        """Prepare a spend from the dataset `<party>/<dataset>@<version>`; milliseconds of work at most."""
        plain = event_to_plain(event)
        return cls(entity, dataset_name(reference), event, _cost(canonicalise(_json(plain))), terms)

    @property
    def taken(self) -> PrivacyTaken:
        """What the INTENT records."""
        return PrivacyTaken(self.entity, _json(event_to_plain(self.event)))


@dataclass(frozen=True, slots=True)
class _Open:
    keys: tuple[tuple[str, str], str]
    cost: Cost
    released: bool = False


class PrivacyBudgets:
    """The fold. Its state changes in the ledger's sequencer alone; costs are immutable, so that others may read."""

    def __init__(self) -> None:
        self._by_entity: dict[tuple[str, str], Cost] = {}
        self._by_dataset: dict[str, Cost] = {}
        self._open: dict[str, _Open] = {}

    def reset(self) -> None:
        """Forget everything, before the ledger is folded from its first entry."""
        self._by_entity, self._by_dataset, self._open = {}, {}, {}

    def apply(self, index: int, entry: Entry) -> None:  # noqa: ARG002  (the ledger's Fold has it)
        """Fold one entry in; only calls of a provider that take privacy count.

        Raises:
            PrivacyCostError: an event out of the accountant's limits: the ledger was not written by this release.
        """
        match entry:
            case Intent(side=Side.PROVIDER, privacy=PrivacyTaken() as taken):
                dataset = dataset_name(entry.dataset)
                opened = _Open(((plain_entity(taken.entity), dataset), dataset), _cost(canonicalise(taken.event)))
                self._set(opened, self._spent(opened, opened.cost))
                self._open[entry.call] = opened
            case Outcome(side=Side.PROVIDER) if entry.call in self._open:
                opened = self._open[entry.call]
                self._open[entry.call] = _Open(opened.keys, opened.cost, released=True)
            case Ack(side=Side.PROVIDER):
                self._open.pop(entry.call, None)
            case Aborted(side=Side.PROVIDER) if entry.call in self._open:
                opened = self._open.pop(entry.call)
                if not (opened.released or entry.released):
                    self._set(opened, tuple(_without(cost, opened.cost) for cost in self._spent(opened, NOTHING)))
            case _:
                pass

    def spent(self, entity: str, dataset: str) -> Cost:
        """What a legal entity has spent about a dataset, by its name."""
        return self._by_entity.get((plain_entity(entity), dataset), NOTHING)

    def spent_by_all(self, dataset: str) -> Cost:
        """What all legal entities have spent about a dataset."""
        return self._by_dataset.get(dataset, NOTHING)

    def entities(self, dataset: str) -> tuple[str, ...]:
        """The legal entities that spent anything about a dataset, in plain writing, sorted."""
        return tuple(sorted(entity for entity, name in self._by_entity if name == dataset))

    def verify(self, spend: Spend) -> None:
        """Refuse a spend that either budget does not admit.

        Raises:
            DeniedError: BUDGET_EXHAUSTED with the clause `privacy.epsilon` or `privacy.epsilon_total`, and what is left
                of that budget in millionths: from declarations and earlier spends alone.
        """
        own = self.spent(spend.entity, spend.dataset)
        _verify(spend, "privacy.epsilon", spend.terms.entity_budget, own)
        _verify(spend, "privacy.epsilon_total", spend.terms.total_budget, self.spent_by_all(spend.dataset))

    def _spent(self, opened: _Open, cost: Cost) -> tuple[Cost, ...]:
        key, dataset = opened.keys
        before = self._by_entity.get(key, NOTHING), self._by_dataset.get(dataset, NOTHING)
        return tuple(each.plus(cost) for each in before)

    def _set(self, opened: _Open, costs: tuple[Cost, ...]) -> None:
        key, dataset = opened.keys
        self._by_entity[key], self._by_dataset[dataset] = costs


@lru_cache(maxsize=256)
def filter_of(budget: Budget) -> PrivacyFilter:
    """Return the filter of a budget; milliseconds of work the first time.

    Raises:
        PrivacyCostError: the budget admits nothing at its delta.
    """
    return PrivacyFilter.for_budget(budget)


def dataset_name(reference: str) -> str:
    """Return the name in `<party>/<dataset>@<version>`."""
    return reference.partition("/")[2].partition("@")[0]


def plain_entity(legal_entity: str) -> str:
    """Return a register's code without case and punctuation, in which two writings of one entity may differ."""
    return "".join(char for char in legal_entity.casefold() if char.isalnum())


def _verify(spend: Spend, clause: str, budget: Budget, spent: Cost) -> None:
    watched = filter_of(budget)
    try:
        watched.check(spent, spend.cost)
    except BudgetExhaustedError as error:
        left, wanted = watched.remaining(spent), watched.marginal(spent, spend.cost)
        raise DeniedError(
            DenialReason.BUDGET_EXHAUSTED,
            clause,
            f"the call takes {wanted} millionths of epsilon at delta {float(budget.delta):g}, and {left} of "
            f"{budget.micro_epsilon} are left for this dataset, for good; ask for less epsilon, or not at all",
            left={"micro_epsilon": str(left)},
        ) from error


def _without(cost: Cost, back: Cost) -> Cost:
    return Cost(tuple(map(sub, cost.units, back.units)), cost.distance - back.distance)


@lru_cache(maxsize=MEMORY)
def _cost(event: bytes) -> Cost:
    return cost_of(event_from_plain(parse_canonical(event, limit=MAX_ENTRY_BYTES)))


def _json(plain: dict[str, object]) -> JsonObject:
    """An event's plain form is JSON by its contract; this says so to the type checker, by reading it back."""
    read = parse_canonical(canonicalise(plain), limit=MAX_ENTRY_BYTES)  # type: ignore[arg-type]
    assert isinstance(read, dict)
    return read
