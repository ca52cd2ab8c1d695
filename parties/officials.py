"""Decisions of a party's officials: through its running server, which holds the ledger, or else directly."""

from __future__ import annotations

from audit.clock import SystemClock
from audit.names import Role
from parties.channel import Dialler
from parties.client.contracts import ContractClient
from parties.errors import UsageError
from parties.home import Home
from parties.telemetry import beside_a_command, make_logger
from sandbox.contract_states import ContractAction, ContractState


def decide(home: Home, contract_id: str, action: ContractAction, reason: str) -> ContractState:
    """Carry out a decision about a contract and return the state that it led to.

    Raises:
        UsageError: a merchant's home; its own decisions are `Merchant`'s.
        DeniedError, StateTransitionError: the contract, or the party's role, does not allow it.
        PeerUnavailableError: the running server does not answer.
        LedgerError, VaultError: nothing could be recorded.
    """
    if home.role is Role.MERCHANT:
        raise UsageError(f"{home.name} is a merchant: providers and the regulator decide on contracts")
    if home.is_served():
        return _through_the_server(home, contract_id, action, reason)
    logger = make_logger(beside_a_command(home.config.telemetry), home.name)
    if home.role is Role.REGULATOR:
        from parties.regulator import Regulator  # noqa: PLC0415  (each role's assembly is heavy; one is needed)

        regulator = Regulator.open(home, logger=logger)
        try:
            return regulator.decide(contract_id, action, reason).state
        finally:
            regulator.close()
    from parties.provider import Provider  # noqa: PLC0415
    from protocols.executor import InlineExecutor  # noqa: PLC0415

    provider = Provider.open(home, executor=InlineExecutor(), logger=logger)
    try:
        return provider.decide(contract_id, action, reason).state
    finally:
        provider.close()


def _through_the_server(home: Home, contract_id: str, action: ContractAction, reason: str) -> ContractState:
    clock = SystemClock()
    dialler = Dialler(home, lambda: home.directory(now_ms=clock.now_ms()))
    try:
        return ContractClient(dialler).decide(dialler.dial(home.name), contract_id, action, reason).state
    finally:
        dialler.close()
