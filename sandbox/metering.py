"""What a call uses and costs, from the contract alone: known beforehand to merchant and provider alike.

Nothing here depends on a row: sizes are declared in the contract, ciphertexts follow from the layout.
"""

from __future__ import annotations

from collections.abc import Mapping

from audit.tariff import Price, Units, price
from sandbox.contract import Contract
from sandbox.errors import ContractError


def units_of(contract: Contract, provider: str, ciphertexts: int, micro_epsilon: int = 0) -> Units:
    """The units that one aggregate takes at `provider`: one call, its declared rows, `ciphertexts`, the epsilon asked.

    Raises:
        ContractError: the contract names no such provider.
    """
    binding = contract.datasets.get(provider)
    if binding is None:
        raise ContractError(f"{provider!r:.40} is none of the contract's providers {', '.join(contract.providers)}")
    return Units(calls=1, declared_rows=binding.declared_rows, ciphertexts=ciphertexts, micro_epsilon=micro_epsilon)


def price_of(contract: Contract, provider: str, ciphertexts: int, micro_epsilon: int = 0) -> Price:
    """What one aggregate costs at `provider` under the contract's tariff.

    Raises:
        ContractError: as `units_of`.
    """
    return price(units_of(contract, provider, ciphertexts, micro_epsilon), contract.tariff)


def quote(contract: Contract, ciphertexts: int, micro_epsilon: int = 0) -> Mapping[str, Price]:
    """What one aggregate costs, provider by provider; their sum is what the merchant pays."""
    return {provider: price_of(contract, provider, ciphertexts, micro_epsilon) for provider in contract.providers}
