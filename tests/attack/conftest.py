"""The in-memory federation, for every attack."""

from __future__ import annotations

from tests.sandbox.conftest import federate

__all__ = ["federate"]
