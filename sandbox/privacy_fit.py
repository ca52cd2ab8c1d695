"""Privacy terms of a contract, against those that its providers declare: what follows from them, and what fits.

A rule of one contract is at least as strict as that of each provider: a smaller delta, more providers tolerated, less
of a person, a longer quantum, a smaller call. The number of providers at which a person is present is a claim about the
world, so that the larger one is the stricter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sandbox.description import DatasetDescription
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.privacy_terms import AgreedPrivacy, PersonLimits, PrivacyTerms
from sandbox.privacy_toml import PrivacyOffer


def agree_privacy(offer: PrivacyOffer, descriptions: Mapping[str, DatasetDescription]) -> AgreedPrivacy:
    """Derive a contract's terms: the merchant's offer, and where it offers nothing the strictest of any provider.

    Args:
        offer: from the application.
        descriptions: of the datasets of all providers, by their names; in release mode DP all of them.

    Raises:
        ContractError: a term out of its range, or persons are told apart at some providers and not at others.
    """
    declared = [terms_of(description) for description in descriptions.values()]
    alone = len(descriptions) == 1
    caps = [terms.max_micro_epsilon_per_call for terms in declared]
    agreed = AgreedPrivacy(
        delta=offer.delta or min(terms.delta for terms in declared),
        tolerated=_or(offer.tolerated, 0 if alone else max(terms.tolerated for terms in declared)),
        persons=_persons(offer, descriptions),
        quantum_ms=offer.quantum_ms or max(terms.quantum_ms for terms in declared),
        max_micro_epsilon_per_call=offer.max_micro_epsilon_per_call or _least(caps),
    )
    agreed.check(len(descriptions))
    return agreed


def check_privacy_fit(agreed: AgreedPrivacy, description: DatasetDescription, providers: int) -> None:
    """Hold a contract's terms against a provider's own.

    Args:
        agreed: the contract's.
        description: the provider's.
        providers: how many the contract has; alone, a provider adds all the noise itself.

    Raises:
        DeniedError: DECLARATION_MISMATCH, with the clause.
    """
    own = terms_of(description)
    _require("delta", agreed.delta <= own.delta, f"the provider wants {own.delta} or less")
    if providers > 1:
        _require("tolerated", agreed.tolerated >= own.tolerated, f"the provider wants {own.tolerated} or more")
    _require("quantum_ms", agreed.quantum_ms >= own.quantum_ms, f"the provider wants {own.quantum_ms} ms or more")
    cap = own.max_micro_epsilon_per_call
    capped = cap is None or (agreed.max_micro_epsilon_per_call or cap + 1) <= cap
    _require("max_epsilon_per_call", capped, f"the provider answers {cap} millionths of epsilon a call or less")
    persons = agreed.persons
    told_apart = description.person_level == (persons is not None)
    _require("persons", told_apart, "the unit protected, row or person, must be the same in contract and dataset")
    if persons is None:
        return
    for name, value, limit in (
        ("max_rows", persons.max_rows, description.max_rows_per_person),
        ("max_rows_per_cell", persons.max_rows_per_cell, own.max_rows_per_cell),
        ("max_cells", persons.max_cells, own.max_cells_per_person),
    ):
        _require(f"persons.{name}", limit is not None and value <= limit, f"the provider wants {limit} or less")
    most = min(providers, description.max_providers_per_person or providers)
    _require("persons.max_providers", persons.max_providers >= most, f"the provider wants {most} or more")


def terms_of(description: DatasetDescription) -> PrivacyTerms:
    """Return a dataset's privacy terms.

    Raises:
        ContractError: it is not released under differential privacy.
    """
    if description.privacy is None:
        raise ContractError(f"{description.reference} is released exactly; it has no privacy terms")
    return description.privacy


def _persons(offer: PrivacyOffer, descriptions: Mapping[str, DatasetDescription]) -> PersonLimits | None:
    units = {description.person_level for description in descriptions.values()}
    if len(units) > 1:
        raise ContractError("persons are told apart at some of the providers and not at others; they do not mix")
    if not units.pop():
        if any((offer.max_rows, offer.max_rows_per_cell, offer.max_cells, offer.max_providers)):
            raise ContractError("the providers protect rows, not persons; take the limits of a person out")
        return None
    providers = len(descriptions)
    most = [description.max_providers_per_person or providers for description in descriptions.values()]
    rows = offer.max_rows or _required(description.max_rows_per_person for description in descriptions.values())
    terms = [terms_of(description) for description in descriptions.values()]
    return PersonLimits(
        max_rows=rows,
        max_rows_per_cell=offer.max_rows_per_cell or min(rows, _required(each.max_rows_per_cell for each in terms)),
        max_cells=offer.max_cells or _required(each.max_cells_per_person for each in terms),
        max_providers=offer.max_providers or min(providers, max(most)),
    )


def _required(limits: Iterable[int | None]) -> int:
    least = _least(limits)
    if least is None:
        raise ContractError("a provider tells persons apart and declares no limits for them")
    return least


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _or(offered: int | None, declared: int) -> int:
    return declared if offered is None else offered


def _require(clause: str, holds: bool, detail: str) -> None:
    if not holds:
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, f"privacy.{clause}", detail)
