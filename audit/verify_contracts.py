"""Holds calls against their contracts' documents: terms, prices, and what was used up, as admission counts it.

A provider's call takes units and fee with its INTENT. ABORTED gives the fee back, and the units where nothing was
released; every try counts, given back or not. In a merchant's ledger its providers' answers count, and its own tries do
not: providers may have refused them. Rules 8 to 11 of `audit.verify_rules`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from audit.contract_terms import ContractTerms
from audit.entry import NO_UNITS, Intent, Side, Units
from audit.errors import LimitExceededError, Rule
from audit.receipt import ReceiptPayload
from audit.tariff import price
from audit.verify_rules import broken

TRIES_A_CALL: Final = 16
"""How often each call of the quota may be taken and given back."""

LATE_MS: Final = 60_000
"""A call that was authorised just before its contract's end may be taken just after: within a minute."""


@dataclass(slots=True)
class _Usage:
    units: Units = NO_UNITS
    fee_micro: int = 0
    tries: int = 0


class Contracts:
    """The contracts of one ledger.

    Args:
        terms: those whose documents were given.
    """

    __slots__ = ("_known", "_terms", "_usage")

    def __init__(self, terms: Iterable[ContractTerms]) -> None:
        self._terms = {each.contract: each for each in terms}
        self._usage: dict[tuple[str, str], _Usage] = {}
        self._known: set[str] = set()

    @property
    def unchecked(self) -> int:
        """Contracts with calls whose document was not given."""
        return len(self._known - self._terms.keys())

    def take(self, index: int, intent: Intent) -> None:
        """An INTENT. Raises `VerificationFailedError` by the rules 8 to 11."""
        self._known.add(intent.contract)
        terms = self._terms.get(intent.contract)
        if terms is None:
            return
        _check_terms(index, intent, terms)
        _check_price(index, intent, terms)
        if intent.side is Side.PROVIDER:
            used = self._used(intent.contract, intent.provider)
            used.tries += 1
            self._use(index, used, intent.units, terms)
            used.fee_micro += intent.price_micro
            if used.fee_micro > terms.fee_cap_micro:
                raise broken(
                    Rule.FEE_CAP, index, f"{used.fee_micro} micro-units taken, the cap is {terms.fee_cap_micro}"
                )
            if used.tries > TRIES_A_CALL * terms.calls:
                raise broken(Rule.QUOTA, index, f"{used.tries} calls taken and given back, of a quota of {terms.calls}")

    def answer(self, index: int, intent: Intent, receipt: ReceiptPayload) -> None:
        """An OUTCOME. Raises `VerificationFailedError` by the rules 8 to 10."""
        terms = self._terms.get(intent.contract)
        if terms is None or intent.side is not Side.MERCHANT:  # a provider's was checked when it was taken
            return
        dataset = terms.datasets[receipt.provider]
        if (receipt.dataset, receipt.units.declared_rows) != (dataset.dataset, dataset.declared_rows):
            raise broken(Rule.TERMS, index, f"{receipt.provider} answers from other data than was agreed on")
        _check_one_price(index, receipt.units, receipt.price_micro, terms)
        self._use(index, self._used(intent.contract, receipt.provider), receipt.units, terms)

    def end(self, intent: Intent, *, released: bool) -> None:
        """An ABORTED: what it gives back."""
        if intent.side is Side.PROVIDER and intent.contract in self._terms:
            used = self._used(intent.contract, intent.provider)
            used.fee_micro -= intent.price_micro
            if not released:
                used.units = _without(used.units, intent.units)

    def _used(self, contract: str, provider: str) -> _Usage:
        return self._usage.setdefault((contract, provider), _Usage())

    @staticmethod
    def _use(index: int, used: _Usage, units: Units, terms: ContractTerms) -> None:
        used.units += units
        for what, amount, quota in (
            ("calls", used.units.calls, terms.calls),
            ("ciphertexts", used.units.ciphertexts, terms.ciphertexts),
            ("micro_epsilon", used.units.micro_epsilon, terms.micro_epsilon),
        ):
            if amount > quota:
                raise broken(Rule.QUOTA, index, f"{amount} {what} used up, of a quota of {quota}")


def _check_terms(index: int, intent: Intent, terms: ContractTerms) -> None:
    """Who takes part, with which data, when."""
    same = (intent.merchant, intent.computing_party, intent.participants, intent.currency)
    if same != (terms.merchant, terms.computing_party, terms.providers, terms.tariff.currency):
        raise broken(Rule.TERMS, index, "merchant, computing party, participants or currency are not the contract's")
    if intent.operation not in terms.operations:
        raise broken(Rule.TERMS, index, f"the contract permits no {intent.operation}")
    if intent.side is not Side.PROVIDER:
        return
    dataset = terms.datasets.get(intent.provider)
    if dataset is None or (intent.dataset, intent.units.declared_rows) != (dataset.dataset, dataset.declared_rows):
        raise broken(Rule.TERMS, index, "the dataset or its declared size is not the contract's")
    if not terms.not_before_ms <= intent.at_ms < terms.not_after_ms + LATE_MS:
        raise broken(Rule.TERMS, index, f"taken at {intent.at_ms} ms, outside the contract's validity")


def _check_price(index: int, intent: Intent, terms: ContractTerms) -> None:
    """A provider's price for its own units; a merchant's for all providers', each of which gives as much."""
    if intent.side is Side.PROVIDER:
        _check_one_price(index, intent.units, intent.price_micro, terms)
        return
    count = len(terms.providers)
    ciphertexts, micro_epsilon = intent.units.ciphertexts // count, intent.units.micro_epsilon // count
    each = [Units(1, terms.datasets[name].declared_rows, ciphertexts, micro_epsilon) for name in terms.providers]
    total = sum(_price(index, units, terms) for units in each)
    if (sum(each, NO_UNITS), total) != (intent.units, intent.price_micro):
        raise broken(Rule.PRICE, index, f"{intent.price_micro} micro-units or the units are not the providers' sum")


def _check_one_price(index: int, units: Units, price_micro: int, terms: ContractTerms) -> None:
    if units.calls != 1:
        raise broken(Rule.PRICE, index, f"one call is charged as {units.calls}")
    follows = _price(index, units, terms)
    if price_micro != follows:
        raise broken(Rule.PRICE, index, f"the price is {price_micro} micro-units, tariff times units is {follows}")


def _price(index: int, units: Units, terms: ContractTerms) -> int:
    try:
        return price(units, terms.tariff).total_micro
    except LimitExceededError as error:
        raise broken(Rule.PRICE, index, str(error)) from error


def _without(units: Units, back: Units) -> Units:
    return Units(
        units.calls - back.calls,
        units.declared_rows - back.declared_rows,
        units.ciphertexts - back.ciphertexts,
        units.micro_epsilon - back.micro_epsilon,
    )
