"""`unseen doctor`: every check that fits a party's role, in parallel, and what each found.

It needs no lock and changes nothing, so that it works with and without the party's server; what is wrong with one check
keeps no other from being made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final, TypeAlias

from audit.errors import AuditError
from parties.doctor_checks_books import check_calls, check_contracts, check_outbox
from parties.doctor_checks_data import check_data
from parties.doctor_checks_home import check_disk, check_files, check_ledger, check_own_time, check_vault
from parties.doctor_checks_identity import check_directory, check_key_strength, check_keys, check_own_certificate
from parties.doctor_checks_network import check_peers, check_regulator, check_server
from parties.doctor_checks_regulator import check_parties, check_replicas
from parties.doctor_checks_witnesses import check_misbehaviour, check_witnesses
from parties.doctor_details import Detail
from parties.doctor_examination import Examination
from parties.doctor_findings import CheckName, Finding, Trouble, failure
from parties.doctor_mends import Mend
from parties.errors import PartyError
from sandbox.errors import SandboxError

THREADS: Final = 8
Look: TypeAlias = Callable[[Examination], Iterator[Finding]]

CHECKS: Final[tuple[tuple[CheckName, Look], ...]] = (
    (CheckName.FILES, check_files),
    (CheckName.DISK, check_disk),
    (CheckName.DIRECTORY, check_directory),
    (CheckName.KEYS, check_keys),
    (CheckName.KEY_STRENGTH, check_key_strength),
    (CheckName.CERTIFICATE, check_own_certificate),
    (CheckName.LEDGER, check_ledger),
    (CheckName.VAULT, check_vault),
    (CheckName.CLOCK, check_own_time),
    (CheckName.WITNESSES, check_witnesses),
    (CheckName.MISBEHAVIOUR, check_misbehaviour),
    (CheckName.SERVER, check_server),
    (CheckName.REGULATOR, check_regulator),
    (CheckName.PEERS, check_peers),
    (CheckName.DATA, check_data),
    (CheckName.CONTRACTS, check_contracts),
    (CheckName.CALLS, check_calls),
    (CheckName.OUTBOX, check_outbox),
    (CheckName.REPLICAS, check_replicas),
    (CheckName.PARTIES, check_parties),
)
"""Each check, under the name of what it is about; one that does not fit the role or the occasion finds nothing."""


def examine(examined: Examination, done: Callable[[CheckName], object] = lambda _: None) -> tuple[Finding, ...]:
    """Make every check and return what they found, in the order of `CheckName`; `done` hears of each that has ended."""
    first, *others = CHECKS
    found = _look(*first, examined)  # before the vault is opened, which makes its file private
    done(first[0])
    with ThreadPoolExecutor(THREADS, thread_name_prefix="doctor") as threads:
        running = {threads.submit(_look, name, look, examined): name for name, look in others}
        for future in as_completed(running):
            found += future.result()
            done(running[future])
    order = list(CheckName)
    return tuple(sorted(found, key=lambda finding: order.index(finding.check)))


def _look(name: CheckName, look: Look, examined: Examination) -> list[Finding]:
    try:
        return list(look(examined))
    except (AuditError, SandboxError, PartyError, OSError) as error:
        return [failure(name, Trouble.UNCHECKED, Detail.UNCHECKED.of(error=error), Mend.OTHERS_FIRST.of())]
