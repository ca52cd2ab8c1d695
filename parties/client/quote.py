"""What an aggregate would cost: from the contract and the query alone, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from parties.client.result import amount
from parties.errors import UsageError
from protocols.errors import LayoutError
from sandbox.contract import Contract
from sandbox.layout import plan_aggregate
from sandbox.metering import quote
from sandbox.query import AggregateQuery


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one aggregate in `currency`: in all, and by provider; it is what the receipts will say.

    `cells` and `ciphertexts` are how many each provider computes; both follow from the query's statistics and levels.
    """

    price: Decimal
    providers: Mapping[str, Decimal]
    currency: str
    cells: int
    ciphertexts: int


def quote_of(contract: Contract, query: AggregateQuery, key_bits: int) -> Quote:
    """Return what `query` costs under `contract` with a Paillier key of `key_bits`.

    Raises:
        UsageError: a sum is too large for the key.
    """
    try:
        layout = plan_aggregate(contract, query, key_bits)
    except LayoutError as error:
        raise UsageError(str(error)) from error
    prices = quote(contract, layout.ciphertexts)
    return Quote(
        price=amount(sum(price.total_micro for price in prices.values())),
        providers=MappingProxyType({provider: amount(price.total_micro) for provider, price in prices.items()}),
        currency=contract.tariff.currency,
        cells=layout.cells,
        ciphertexts=layout.ciphertexts,
    )
