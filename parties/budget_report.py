"""What a party's ledger and declarations say about privacy: what is left, and what each call took or asked for.

Only a provider keeps budgets. A merchant's ledger holds what its own calls asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audit.entry import Aborted, Entry, Intent, Outcome, Side, decode_entry
from audit.ledger import open_reader
from parties.home import Home
from protocols.dp_accountant import NOTHING, Cost
from protocols.dp_events import CostEvent, event_from_plain
from sandbox.budget import PrivacyBudgets, Spend, dataset_name, filter_of, plain_entity
from sandbox.declaration import load_declaration
from sandbox.privacy_terms import PrivacyTerms


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call of a merchant's own that asked for privacy, at each of the providers.

    `micro_epsilon` in millionths; `answered` tells whether any provider's answer came.
    """

    call: str
    contract: str
    at_ms: int
    micro_epsilon: int
    providers: tuple[str, ...]
    answered: bool


@dataclass(frozen=True, slots=True)
class SpentCall:
    """A call that took privacy at a provider, all epsilon in millionths.

    Attributes:
        asked: the epsilon of the call alone, as the merchant asked for it.
        took: by how much it raised what its entity had spent of the declared budget; 0 where it was given back.
        spent: what the entity had spent then, this call included.
    """

    call: str
    contract: str
    merchant: str
    entity: str
    at_ms: int
    asked: int
    took: int
    spent: int
    given_back: bool
    event: CostEvent


@dataclass(frozen=True, slots=True)
class Account:
    """What is spent and left of one budget, in millionths of epsilon; `entity` is empty for all together."""

    entity: str
    budget: int
    spent: int

    @property
    def left(self) -> int:
        """What is left; 0 where a smaller budget was declared since."""
        return max(0, self.budget - self.spent)


@dataclass(frozen=True, slots=True)
class DatasetBudget:
    """One dataset's budgets: of all entities together, of each that spent anything, and the calls in their order."""

    dataset: str
    terms: PrivacyTerms
    total: Account
    entities: tuple[Account, ...]
    calls: tuple[SpentCall, ...]


def read_budgets(home: Home) -> tuple[DatasetBudget, ...]:
    """Return the budgets of the datasets that a provider declares private, its party running or not.

    Raises:
        DeclarationError: a declaration cannot be read.
        LedgerUnavailableError, LedgerDamagedError: as `open_reader`.
    """
    declared = [load_declaration(path) for path in sorted(home.catalog.glob("*.toml"))]
    entries = list(_entries(home))
    terms = {each.name: each.privacy for each in declared if each.privacy is not None}
    return tuple(_budget(name, privacy, entries) for name, privacy in sorted(terms.items()))


def read_asked(home: Home) -> tuple[AskedCall, ...]:
    """Return the calls of a merchant that asked for privacy, in their order; raises as `open_reader`."""
    entries = list(_entries(home))
    answered = {entry.call for entry in entries if isinstance(entry, Outcome)}
    return tuple(
        AskedCall(
            call=entry.call,
            contract=entry.contract,
            at_ms=entry.at_ms,
            micro_epsilon=entry.units.micro_epsilon // len(entry.participants),  # its units are sums over providers
            providers=entry.participants,
            answered=entry.call in answered,
        )
        for entry in entries
        if isinstance(entry, Intent) and entry.side is Side.MERCHANT and entry.units.micro_epsilon
    )


def _entries(home: Home) -> Iterator[Entry]:
    reader = open_reader(home.ledger_path)
    try:
        for data in reader.read(0, reader.size):
            if b'"kind":"intent"' in data or b'"kind":"outcome"' in data or b'"kind":"aborted"' in data:
                yield decode_entry(data)
    finally:
        reader.close()


def _budget(name: str, terms: PrivacyTerms, entries: Iterable[Entry]) -> DatasetBudget:
    entries = [entry for entry in entries if not isinstance(entry, Intent) or dataset_name(entry.dataset) == name]
    fold = PrivacyBudgets()
    for index, entry in enumerate(entries):
        fold.apply(index, entry)
    own, every = filter_of(terms.entity_budget), filter_of(terms.total_budget)
    accounts = tuple(
        Account(entity, terms.micro_epsilon, own.micro_epsilon(fold.spent(entity, name)))
        for entity in fold.entities(name)
    )
    total = Account("", terms.micro_epsilon_total, every.micro_epsilon(fold.spent_by_all(name)))
    return DatasetBudget(name, terms, total, accounts, tuple(_calls(terms, entries)))


def _calls(terms: PrivacyTerms, entries: list[Entry]) -> Iterator[SpentCall]:
    """What each call took, given that those which were given back took nothing."""
    watched = filter_of(terms.entity_budget)
    answered = {entry.call for entry in entries if isinstance(entry, Outcome)}
    back = {
        entry.call
        for entry in entries
        if isinstance(entry, Aborted) and not entry.released and entry.call not in answered
    }
    spent: dict[str, Cost] = {}
    for entry in entries:
        if not isinstance(entry, Intent) or entry.privacy is None:
            continue
        event = event_from_plain(entry.privacy.event)
        entity, given_back = plain_entity(entry.privacy.entity), entry.call in back
        before = spent.get(entity, NOTHING)
        cost = NOTHING if given_back else Spend.of(entity, entry.dataset, event, terms).cost
        spent[entity] = before.plus(cost)
        yield SpentCall(
            call=entry.call,
            contract=entry.contract,
            merchant=entry.merchant,
            entity=entity,
            at_ms=entry.at_ms,
            asked=entry.units.micro_epsilon,
            took=watched.marginal(before, cost),
            spent=watched.micro_epsilon(spent[entity]),
            given_back=given_back,
            event=event,
        )
