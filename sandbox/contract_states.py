"""The life of a contract: states, actions, and the one table of who may bring it from where to where.

Expiry and lease are no transitions: they are computed from time. Whatever is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from audit.names import Role
from sandbox.contract import Contract
from sandbox.errors import StateTransitionError


class ContractState(StrEnum):
    """Where a contract stands, as its keeper knows it.

    A provider's own book says APPROVED when that provider has signed; the merchant's and the regulator's when all have.
    """

    DRAFT = "draft"
    SIGNED = "signed"
    APPROVED = "approved"
    COUNTERSIGNED = "countersigned"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"
    TERMINATED = "terminated"
    REJECTED = "rejected"


class ContractAction(StrEnum):
    """What is done to a contract.

    SIGN and APPROVE are signatures over the contract itself, ACTIVATE is the handing over of all of them; the others
    are signed action bodies.
    """

    SIGN = "sign"
    APPROVE = "approve"
    ACTIVATE = "activate"
    REJECT = "reject"
    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    TERMINATE = "terminate"


FINAL_STATES: Final = frozenset(
    {ContractState.REVOKED, ContractState.EXPIRED, ContractState.TERMINATED, ContractState.REJECTED}
)
SIGNED_ACTIONS: Final = frozenset(
    {
        ContractAction.REJECT,
        ContractAction.SUSPEND,
        ContractAction.RESUME,
        ContractAction.REVOKE,
        ContractAction.TERMINATE,
    }
)

_S = ContractState
_A = ContractAction
TRANSITIONS: Final[Mapping[tuple[ContractState, ContractAction, Role], ContractState]] = MappingProxyType(
    {
        (_S.DRAFT, _A.SIGN, Role.MERCHANT): _S.SIGNED,
        (_S.SIGNED, _A.APPROVE, Role.PROVIDER): _S.APPROVED,
        (_S.APPROVED, _A.APPROVE, Role.REGULATOR): _S.COUNTERSIGNED,
        (_S.APPROVED, _A.ACTIVATE, Role.MERCHANT): _S.ACTIVE,
        (_S.COUNTERSIGNED, _A.ACTIVATE, Role.MERCHANT): _S.ACTIVE,
        (_S.SIGNED, _A.REJECT, Role.PROVIDER): _S.REJECTED,
        (_S.SIGNED, _A.REJECT, Role.REGULATOR): _S.REJECTED,
        (_S.APPROVED, _A.REJECT, Role.PROVIDER): _S.REJECTED,
        (_S.APPROVED, _A.REJECT, Role.REGULATOR): _S.REJECTED,
        (_S.ACTIVE, _A.SUSPEND, Role.REGULATOR): _S.SUSPENDED,
        (_S.SUSPENDED, _A.RESUME, Role.REGULATOR): _S.ACTIVE,
        (_S.APPROVED, _A.REVOKE, Role.PROVIDER): _S.REVOKED,
        (_S.APPROVED, _A.REVOKE, Role.REGULATOR): _S.REVOKED,
        (_S.COUNTERSIGNED, _A.REVOKE, Role.PROVIDER): _S.REVOKED,
        (_S.COUNTERSIGNED, _A.REVOKE, Role.REGULATOR): _S.REVOKED,
        (_S.ACTIVE, _A.REVOKE, Role.PROVIDER): _S.REVOKED,
        (_S.ACTIVE, _A.REVOKE, Role.REGULATOR): _S.REVOKED,
        (_S.SUSPENDED, _A.REVOKE, Role.PROVIDER): _S.REVOKED,
        (_S.SUSPENDED, _A.REVOKE, Role.REGULATOR): _S.REVOKED,
        (_S.SIGNED, _A.TERMINATE, Role.MERCHANT): _S.TERMINATED,
        (_S.APPROVED, _A.TERMINATE, Role.MERCHANT): _S.TERMINATED,
        (_S.COUNTERSIGNED, _A.TERMINATE, Role.MERCHANT): _S.TERMINATED,
        (_S.ACTIVE, _A.TERMINATE, Role.MERCHANT): _S.TERMINATED,
        (_S.SUSPENDED, _A.TERMINATE, Role.MERCHANT): _S.TERMINATED,
    }
)

# What a keeper of a contract in one state does on hearing that the regulator holds it in another.
_HEARD: Final[Mapping[tuple[ContractState, ContractState], ContractState]] = MappingProxyType(
    {
        (_S.ACTIVE, _S.SUSPENDED): _S.SUSPENDED,
        (_S.SUSPENDED, _S.ACTIVE): _S.ACTIVE,
    }
    | {
        (held, heard): heard
        for held in (_S.SIGNED, _S.APPROVED, _S.COUNTERSIGNED, _S.ACTIVE, _S.SUSPENDED)
        for heard in (_S.REVOKED, _S.TERMINATED, _S.REJECTED)
    }
)


def next_state(state: ContractState, action: ContractAction, actor_role: Role) -> ContractState:
    """The state that `action` by a party of that role leads to.

    Raises:
        StateTransitionError: the table has no such transition.
    """
    reached = TRANSITIONS.get((state, action, actor_role))
    if reached is None:
        allowed = sorted({a.value for (s, a, role) in TRANSITIONS if s is state and role is actor_role})
        able = f"it may {' or '.join(allowed)}" if allowed else "nothing is left to do"
        raise StateTransitionError(
            f"a {actor_role.value} cannot {action.value} a contract that is {state.value}; {able}"
        )
    return reached


def heard_state(held: ContractState, heard: ContractState) -> ContractState:
    """The state after hearing the regulator's: never back out of a final one, never into ACTIVE without signatures."""
    return _HEARD.get((held, heard), held)


def state_at(state: ContractState, contract: Contract, now_ms: int) -> ContractState:
    """The state at a time: a contract that has outlived its validity is EXPIRED unless it had ended before."""
    if state not in FINAL_STATES and now_ms >= contract.validity.not_after_ms:
        return ContractState.EXPIRED
    return state


def lease_end_ms(contract: Contract, heard_ms: int | None) -> int:
    """Until when a provider goes on that last heard ACTIVE from the regulator at `heard_ms`; 0 if it never did."""
    return 0 if heard_ms is None else heard_ms + contract.lease_ms
