"""The parts of authorise that concern a private request: the epsilon it asks for, and the release that this buys."""

from __future__ import annotations

from audit.directory import Directory
from protocols.dp_filter import MAX_MICRO_EPSILON
from protocols.errors import NoiseError, PrivacyCostError, StatisticError
from sandbox.authorised import PrivateCall
from sandbox.contract import Contract
from sandbox.declaration_model import DatasetDescription
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.privacy_cost import privacy_cost, release_plan
from sandbox.privacy_fit import check_privacy_fit
from sandbox.request import AggregateQuery, AggregateRequest


def verify_epsilon(micro_epsilon: int | None, contract: Contract, description: DatasetDescription) -> None:
    """Part of check 5. Blocks epsilon that is none, or more than one call may cost, and terms laxer than declared now.

    Raises:
        DeniedError: EPSILON_REFUSED, or DECLARATION_MISMATCH: the provider has come to declare other terms since it
            approved the contract.
    """
    privacy = contract.privacy
    if privacy is None:
        if micro_epsilon is not None:
            detail = "an exact release costs no epsilon; ask without it"
            raise DeniedError(DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon", detail)
        return
    if description.privacy is None:
        detail = f"{description.reference} is released exactly now, and the contract is for private releases"
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, "release.mode", detail)
    check_privacy_fit(privacy, description, len(contract.providers))
    if micro_epsilon is None or micro_epsilon < 1:
        detail = "a private release needs a positive epsilon, in millionths; state what it may cost"
        raise DeniedError(DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon", detail)
    cap = min(MAX_MICRO_EPSILON, privacy.max_micro_epsilon_per_call or MAX_MICRO_EPSILON)
    if micro_epsilon > cap:
        detail = f"{micro_epsilon} millionths of epsilon are asked for, and one call may cost {cap}; ask for less"
        raise DeniedError(DenialReason.EPSILON_REFUSED, "privacy.max_epsilon_per_call", detail)


def private_call(
    request: AggregateRequest,
    contract: Contract,
    query: AggregateQuery,
    description: DatasetDescription,
    directory: Directory,
) -> PrivateCall | None:
    """Return the release that a private request buys, None for an exact one. Parts of checks 5 and 6.

    It comes after all others, since the search for the noise costs the most.

    Raises:
        DeniedError: EPSILON_REFUSED (too little for any noise that can be drawn), or COLUMN_NOT_PERMITTED (a statistic
            that has no private estimate).
    """
    if description.privacy is None or request.micro_epsilon is None:
        return None
    try:
        release = release_plan(contract, query, request.micro_epsilon)
    except (PrivacyCostError, NoiseError) as error:
        raise DeniedError(DenialReason.EPSILON_REFUSED, "authorise.micro_epsilon", str(error), 5) from error
    except (ContractError, StatisticError) as error:
        raise DeniedError(DenialReason.COLUMN_NOT_PERMITTED, "authorise.statistics", str(error), 6) from error
    entity = directory.party(request.merchant).legal_entity
    return PrivateCall(entity, description.privacy, release, privacy_cost(release))
