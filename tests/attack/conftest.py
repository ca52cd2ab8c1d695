from __future__ import annotations

from tests.sandbox.conftest import federate as federate  # the in-memory federation, for every attack
