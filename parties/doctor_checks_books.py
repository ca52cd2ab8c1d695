"""Checks of what is on its way: calls, receipts, leases, decisions. Read from ledger and vault as they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from audit.entry import decode_entry
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.ledger import Fold, open_reader
from audit.names import Role
from parties.doctor_examination import Examination, span
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.held_contracts import held_contracts
from sandbox.admission import OUTSTANDING_LIMIT, Admission
from sandbox.contract_record import decode_status
from sandbox.contract_states import ContractState, lease_end_ms
from sandbox.invocation_merchant import MerchantCalls
from sandbox.vault import Vault, VaultKind

LOOKED_BACK: Final = 100_000
"""Entries that are read: a call is answered within its deadline, so what is open is near the end."""


def check_calls(examined: Examination) -> Iterator[Finding]:
    """At a provider, receipts that merchants have not countersigned; at a merchant, calls that were not finished."""
    home = examined.home
    if home.role is Role.REGULATOR or not home.ledger_path.exists():
        return
    if home.role is Role.PROVIDER:
        yield from _receipts(examined)
    else:
        yield from _unfinished(examined)


def _receipts(examined: Examination) -> Iterator[Finding]:
    admission = Admission()
    if not _folded(examined, admission):
        return
    calls = [call for call in admission.open_calls() if call.released]
    found = []
    for merchant, count in sorted(Counter(call.merchant for call in calls).items()):
        detail = f"{merchant} has {count} receipts unacknowledged"
        mend = f"ask {merchant} to run: unseen resume"
        if count >= OUTSTANDING_LIMIT:
            detail += "; its calls are refused until it has countersigned them"
            found.append(failure(CheckName.CALLS, Trouble.CALLS_SUSPENDED, detail, mend))
        elif count >= OUTSTANDING_LIMIT // 2:
            detail += f"; at {OUTSTANDING_LIMIT} its calls are refused"
            found.append(warning(CheckName.CALLS, Trouble.RECEIPTS_OUTSTANDING, detail, mend))
    yield from found or [well(CheckName.CALLS, f"{len(calls)} receipts are waiting to be countersigned")]


def _unfinished(examined: Examination) -> Iterator[Finding]:
    calls = MerchantCalls()
    if not _folded(examined, calls):
        return
    unfinished = calls.open_calls()
    if unfinished:
        now_ms = examined.clock.now_ms()
        late = sum(call.deadline_ms < now_ms for call in unfinished)
        detail = f"{len(unfinished)} calls were sent and not finished, {late} of them past their deadline"
        yield warning(CheckName.CALLS, Trouble.CALLS_UNFINISHED, detail, f"unseen resume {examined.at_home}")
    else:
        yield well(CheckName.CALLS, "every call was finished")


def _folded(examined: Examination, fold: Fold) -> bool:
    """Fold the newest entries; False where the ledger cannot be read, which its own check says."""
    try:
        reader = open_reader(examined.home.ledger_path)
    except (LedgerDamagedError, LedgerUnavailableError):
        return False
    try:
        size = reader.size
        start = max(0, size - LOOKED_BACK)
        for index, data in enumerate(reader.read(start, size), start):
            fold.apply(index, decode_entry(data))
    finally:
        reader.close()
    return True


def check_contracts(examined: Examination) -> Iterator[Finding]:
    """At a provider: the regulator was heard on every contract in force, recently enough for its lease."""
    home = examined.home
    if home.role is not Role.PROVIDER or not home.vault_path.exists():
        return
    now_ms = examined.clock.now_ms()
    active = [record for record in held_contracts(home) if record.state_at(now_ms) is ContractState.ACTIVE]
    with Vault.open(home.vault_path) as vault:
        statuses = {record.contract_id: vault.get(VaultKind.STATUS, record.contract_id) for record in active}
    found = []
    for record in active:
        status = statuses[record.contract_id]
        heard_ms = None if status is None else decode_status(status)[1]
        end_ms = lease_end_ms(record.contract, heard_ms)
        if now_ms >= end_ms:
            detail = (
                f"the lease of contract {record.contract_id[:12]} ended {span(now_ms - end_ms)} ago: it takes no calls"
            )
            grave = failure if home.is_served() else warning
            mend = "bring the regulator back; a running party renews the lease by itself"
            found.append(grave(CheckName.CONTRACTS, Trouble.LEASE_ENDED, detail, mend))
        elif end_ms - now_ms < record.contract.lease_ms // 3:
            detail = f"the lease of contract {record.contract_id[:12]} ends in {span(end_ms - now_ms)}"
            mend = "see that the regulator can be reached"
            found.append(warning(CheckName.CONTRACTS, Trouble.LEASE_ENDED, detail, mend))
    yield from found or [well(CheckName.CONTRACTS, f"{len(active)} in force, each within its lease")]


def check_outbox(examined: Examination) -> Iterator[Finding]:
    """Decisions, aborts and acknowledgements that their addressees have not taken yet."""
    home = examined.home
    if not home.vault_path.exists():
        return
    with Vault.open(home.vault_path) as vault:
        waiting = Counter(key.partition("/")[0] for key, _ in vault.items(VaultKind.OUTBOX))
    if waiting:
        what = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(waiting.items()))
        detail = f"messages that could not be delivered yet: {what}"
        command = "resume" if home.role is Role.MERCHANT else "serve"
        mend = f"bring the other party back; they are sent again by: unseen {command} {examined.at_home}"
        yield warning(CheckName.OUTBOX, Trouble.UNDELIVERED, detail, mend)
    else:
        yield well(CheckName.OUTBOX, "nothing waits")
