from __future__ import annotations

from itertools import product

import pytest

from audit.names import Role
from sandbox.contract_states import (
    FINAL_STATES,
    TRANSITIONS,
    ContractAction,
    ContractState,
    heard_state,
    lease_end_ms,
    next_state,
    state_at,
)
from sandbox.errors import StateTransitionError

from .agreement import AT_MS, DAY_MS, contract

S, A = ContractState, ContractAction
MERCHANT, PROVIDER, REGULATOR = Role.MERCHANT, Role.PROVIDER, Role.REGULATOR
LIVE = (S.APPROVED, S.COUNTERSIGNED, S.ACTIVE, S.SUSPENDED)

ALLOWED = (
    {
        (S.DRAFT, A.SIGN, MERCHANT): S.SIGNED,
        (S.SIGNED, A.APPROVE, PROVIDER): S.APPROVED,
        (S.APPROVED, A.APPROVE, REGULATOR): S.COUNTERSIGNED,
        (S.APPROVED, A.ACTIVATE, MERCHANT): S.ACTIVE,
        (S.COUNTERSIGNED, A.ACTIVATE, MERCHANT): S.ACTIVE,
        (S.ACTIVE, A.SUSPEND, REGULATOR): S.SUSPENDED,
        (S.SUSPENDED, A.RESUME, REGULATOR): S.ACTIVE,
    }
    | {(state, A.REJECT, role): S.REJECTED for state in (S.SIGNED, S.APPROVED) for role in (PROVIDER, REGULATOR)}
    | {(state, A.REVOKE, role): S.REVOKED for state in LIVE for role in (PROVIDER, REGULATOR)}
    | {(state, A.TERMINATE, MERCHANT): S.TERMINATED for state in (S.SIGNED, *LIVE)}
)


@pytest.mark.parametrize(("state", "action", "role"), list(product(S, A, Role)))
def test_the_table_allows_exactly_this(state: S, action: A, role: Role) -> None:
    if (state, action, role) in ALLOWED:
        assert next_state(state, action, role) is ALLOWED[(state, action, role)]
    else:
        with pytest.raises(StateTransitionError, match=state.value):
            next_state(state, action, role)


def test_nothing_leads_out_of_a_final_state() -> None:
    assert not {state for state, _, _ in TRANSITIONS} & FINAL_STATES


def test_a_merchant_never_resumes_and_a_provider_never_suspends() -> None:
    for state in S:
        for action, role in ((A.RESUME, MERCHANT), (A.RESUME, PROVIDER), (A.SUSPEND, PROVIDER)):
            with pytest.raises(StateTransitionError):
                next_state(state, action, role)


@pytest.mark.parametrize(
    ("held", "heard", "then"),
    [
        (S.ACTIVE, S.SUSPENDED, S.SUSPENDED),
        (S.SUSPENDED, S.ACTIVE, S.ACTIVE),
        (S.ACTIVE, S.REVOKED, S.REVOKED),
        (S.APPROVED, S.TERMINATED, S.TERMINATED),
        (S.SIGNED, S.REJECTED, S.REJECTED),
        (S.APPROVED, S.ACTIVE, S.APPROVED),
        (S.SIGNED, S.ACTIVE, S.SIGNED),
        (S.REVOKED, S.ACTIVE, S.REVOKED),
        (S.TERMINATED, S.SUSPENDED, S.TERMINATED),
        (S.ACTIVE, S.APPROVED, S.ACTIVE),
    ],
)
def test_what_the_regulator_says_ends_a_contract_but_never_puts_it_in_force(held: S, heard: S, then: S) -> None:
    assert heard_state(held, heard) is then


def test_a_contract_expires_by_time_unless_it_had_ended_before() -> None:
    end = contract().validity.not_after_ms
    assert state_at(S.ACTIVE, contract(), end - 1) is S.ACTIVE
    for state in S:
        assert state_at(state, contract(), end) is (state if state in FINAL_STATES else S.EXPIRED)


def test_without_a_word_from_the_regulator_there_is_no_lease() -> None:
    assert lease_end_ms(contract(), None) == 0
    assert lease_end_ms(contract(), AT_MS) == AT_MS + DAY_MS
