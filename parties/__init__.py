"""The network: identity, services, clients, command line. `from parties import Merchant` is the Python API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parties.client.merchant import Merchant
    from parties.client.result import AggregateResult

__all__ = ["AggregateResult", "Merchant"]


def __getattr__(name: str) -> object:
    """Import the client on first use, so that a command which needs no pandas does not wait for it."""
    if name == "Merchant":
        from parties.client.merchant import Merchant  # noqa: PLC0415

        return Merchant
    if name == "AggregateResult":
        from parties.client.result import AggregateResult  # noqa: PLC0415

        return AggregateResult
    message = f"module 'parties' has no attribute {name!r}"
    raise AttributeError(message)
