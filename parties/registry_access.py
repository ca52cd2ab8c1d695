"""The way to the registry from a command: over the network, or, at a regulator that is not running, directly."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from audit.names import Role
from parties.channel import Dialler
from parties.client.directory import DirectoryClient
from parties.home import Home
from parties.telemetry import beside_a_command, make_logger


class KeyRegistry(Protocol):
    """What registry and client have in common; see `parties.registry.Registry`."""

    def rotate(self, data: bytes, *, replace_revoked: bool = False) -> bytes:
        """Answer a rotation request with the new directory."""
        ...

    def revoke(self, party: str, keyids: Collection[str], certificates: Collection[str], reason: str) -> bytes:
        """Revoke keys of a party, and certificates, and return the new directory."""
        ...

    def renew_certificate(self, data: bytes) -> bytes:
        """Answer a renewal request with a certificate."""
        ...


@contextmanager
def reach_registry(home: Home) -> Iterator[KeyRegistry]:
    """Reach the registry with this home's certificate: for the regulator's officials, or for a party's own keys.

    Raises:
        HomeError, PassphraseError: the home is not enrolled, or its keys do not open.
        LedgerUnavailableError: at the regulator, another command has the ledger open.
    """
    if home.role is Role.REGULATOR and not home.is_served():
        from parties.regulator import Regulator  # noqa: PLC0415  (heavy, and needed only here)

        regulator = Regulator.open(home, logger=make_logger(beside_a_command(home.config.telemetry), home.name))
        try:
            yield regulator.registry
        finally:
            regulator.close()
        return
    directory = home.directory(now_ms=0)  # expired or not, it says where the regulator is
    dialler = Dialler(home, lambda: directory)
    try:
        yield DirectoryClient(dialler, lambda: directory)
    finally:
        dialler.close()
