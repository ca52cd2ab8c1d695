"""What a party has found between others' ledgers, into its own: through its running server, or else directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from audit.clock import SystemClock
from audit.discrepancy import Discrepancy, Finding, LedgerHead
from audit.keys import KeyPurpose
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from parties.channel import Dialler
from parties.client.findings import record_discrepancy
from parties.home import Home
from parties.key_files import settle_log_key
from parties.ledger_recording import LedgerRecording
from parties.telemetry import beside_a_command, make_logger
from parties.witnessing import Witnessing
from sandbox.vault import Vault


def record_findings(home: Home, findings: Sequence[Finding], heads: Mapping[str, LedgerHead]) -> int:
    """Sign the findings and enter those that the home's ledger does not hold yet; returns how many those were.

    A ledger that is opened here asks its witnesses first, as always. If they cannot be reached, the entries are signed
    when the party next runs.

    Args:
        heads: the state in which each party's ledger was read.

    Raises:
        HomeError: the home was restored, or is an older copy, and cannot catch up; or its keys are missing.
        PassphraseError: they do not open.
        PeerUnavailableError: the party's running server does not answer.
        LedgerError: nothing more could be recorded.
    """
    if not findings:
        return 0
    key, clock = home.signing_key(KeyPurpose.MESSAGE), SystemClock()

    def enter(add: Callable[[bytes], bool]) -> int:
        statements = (
            Discrepancy(finding, home.name, clock.now_ms(), heads[finding.provider], heads[finding.merchant])
            for finding in findings
        )
        return sum([add(statement.sign(key).encode()) for statement in statements])

    if home.role is not Role.MERCHANT and home.is_served():
        dialler = Dialler(home, lambda: home.directory(now_ms=clock.now_ms()))
        try:
            channel = dialler.dial(home.name)
            return enter(lambda data: record_discrepancy(channel, data))
        finally:
            dialler.close()
    logger = make_logger(beside_a_command(home.config.telemetry), home.name)
    settle_log_key(home)
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    log_key = home.signing_key(KeyPurpose.LOG)
    with (
        Vault.open(home.vault_path) as vault,
        Ledger.open(home.ledger_path, identity=identity, key=log_key, clock=clock, hold=True) as ledger,
        closing(Witnessing(home, ledger, clock, logger)) as known,
    ):
        known.begin(vault)
        recording = LedgerRecording(ledger, home.name, clock)
        return enter(lambda data: recording.discrepancy(data, key.verifying_key))
