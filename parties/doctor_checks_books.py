"""Checks of what is on its way: calls, receipts, leases, decisions. Read from ledger and vault as they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from audit.entry import decode_entry
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.ledger import Fold, open_reader
from audit.names import Role
from parties.doctor_details import Detail
from parties.doctor_examination import Examination
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.doctor_words import joined, many, span
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
        receipts, mend = many(count, "receipt"), Mend.ASK_TO_RESUME.of(merchant=merchant)
        if count >= OUTSTANDING_LIMIT:
            said = Detail.CALLS_SUSPENDED.of(merchant=merchant, receipts=receipts)
            found.append(failure(CheckName.CALLS, Trouble.CALLS_SUSPENDED, said, mend))
        elif count >= OUTSTANDING_LIMIT // 2:
            said = Detail.RECEIPTS_OUTSTANDING.of(merchant=merchant, receipts=receipts, limit=OUTSTANDING_LIMIT)
            found.append(warning(CheckName.CALLS, Trouble.RECEIPTS_OUTSTANDING, said, mend))
    waiting = Detail.RECEIPTS_WELL.of(receipts=many(len(calls), "receipt"))
    yield from found or [well(CheckName.CALLS, waiting)]


def _unfinished(examined: Examination) -> Iterator[Finding]:
    calls = MerchantCalls()
    if not _folded(examined, calls):
        return
    unfinished = calls.open_calls()
    if unfinished:
        now_ms = examined.clock.now_ms()
        late = sum(call.deadline_ms < now_ms for call in unfinished)
        said = Detail.CALLS_UNFINISHED.of(calls=many(len(unfinished), "call"), late=late)
        yield warning(CheckName.CALLS, Trouble.CALLS_UNFINISHED, said, Mend.RESUME.of(at_home=examined.at_home))
    else:
        yield well(CheckName.CALLS, Detail.CALLS_WELL.of())


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
        contract = record.contract_id[:12]
        if now_ms >= end_ms:
            said = Detail.LEASE_ENDED.of(contract=contract, since=span(now_ms - end_ms))
            grave = failure if home.is_served() else warning
            found.append(grave(CheckName.CONTRACTS, Trouble.LEASE_ENDED, said, Mend.REGULATOR_BACK.of()))
        elif end_ms - now_ms < record.contract.lease_ms // 3:
            said = Detail.LEASE_ENDS.of(contract=contract, left=span(end_ms - now_ms))
            found.append(warning(CheckName.CONTRACTS, Trouble.LEASE_ENDED, said, Mend.REACH_REGULATOR.of()))
    yield from found or [well(CheckName.CONTRACTS, Detail.CONTRACTS_WELL.of(contracts=len(active)))]


def check_outbox(examined: Examination) -> Iterator[Finding]:
    """Decisions, aborts and acknowledgements that their addressees have not taken yet."""
    home = examined.home
    if not home.vault_path.exists():
        return
    with Vault.open(home.vault_path) as vault:
        waiting = Counter(key.partition("/")[0] for key, _ in vault.items(VaultKind.OUTBOX))
    if waiting:
        kinds = joined(Detail.UNDELIVERED_KIND.of(count=count, kind=kind) for kind, count in sorted(waiting.items()))
        command = "resume" if home.role is Role.MERCHANT else "serve"
        mend = Mend.SEND_AGAIN.of(command=command, at_home=examined.at_home)
        yield warning(CheckName.OUTBOX, Trouble.UNDELIVERED, Detail.UNDELIVERED.of(kinds=kinds), mend)
    else:
        yield well(CheckName.OUTBOX, Detail.OUTBOX_WELL.of())
