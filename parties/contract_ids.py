"""Contract ids as people type them: the whole hash, or the beginning of it that only one contract has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from parties.errors import NotFoundError, UsageError

SHORTEST: Final = 6
ID_LENGTH: Final = 64


class _Identified(Protocol):
    @property
    def contract_id(self) -> str: ...


_Contract = TypeVar("_Contract", bound=_Identified)


def find_contract(contracts: Iterable[_Contract], prefix: str) -> _Contract:
    """Return the one contract whose id starts with `prefix`.

    Raises:
        UsageError: fewer than six characters, or several contracts start so.
        NotFoundError: none does.
    """
    wanted = prefix.strip().lower()
    if len(wanted) < SHORTEST:
        raise UsageError(f"{prefix!r} is too short: give at least {SHORTEST} characters of the contract's id")
    found = [contract for contract in contracts if contract.contract_id.startswith(wanted)]
    if not found:
        raise NotFoundError(
            f"no contract {wanted[:ID_LENGTH]} is held here: `unseen contract list` shows those that are"
        )
    if len(found) > 1:
        ids = ", ".join(contract.contract_id[:16] for contract in found[:5])
        raise UsageError(f"{wanted} is the beginning of several contracts ({ids}): give more of it")
    return found[0]
