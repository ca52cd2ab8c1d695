"""Checks at the regulator: are the parties' entries here, are the parties heard of, do their certificates last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from audit.directory import Directory
from audit.errors import AuditError
from audit.ledger import open_reader
from audit.names import KeyPurpose, Role, key_name
from audit.spot_check import spot_check
from audit.witness import WitnessedLog
from audit.witness_store import WitnessStore
from parties.doctor_checks_identity import CERTIFICATE_DAYS, DAY_MS
from parties.doctor_examination import Examination, day, span
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.errors import PartyError
from parties.issued_certificates import IssuedCertificates

UNHEARD_MS: Final = 3_600_000
"""A running provider has its log cosigned again several times an hour, also when nothing happens."""


def check_replicas(examined: Examination) -> Iterator[Finding]:
    """Of every log that the regulator cosigned it has the entries, up to what it cosigned."""
    home = examined.home
    if home.role is not Role.REGULATOR or examined.directory is None:
        return
    found, complete = [], 0
    for origin, log in _witnessed(examined).items():
        party = origin.partition(".")[0]
        path = home.replicas / party / home.ledger_path.name
        mend = f"nothing, where {party} is running: it sends them; else ask it to start"
        try:
            size = _replica_size(path)
        except AuditError as error:
            mend = (
                f"move {path.parent} away: {party} then sends its entries anew; unseen ledger verify {path} says more"
            )
            found.append(failure(CheckName.REPLICAS, Trouble.REPLICA_DAMAGED, f"{path}: {error}", mend))
            continue
        if size < log.size:
            detail = f"{size} of {log.size} cosigned entries of {party} are here"
            found.append(warning(CheckName.REPLICAS, Trouble.REPLICA_BEHIND, detail, mend))
        complete += size >= log.size
    yield from found or [well(CheckName.REPLICAS, f"{complete} logs, each complete up to its cosigned checkpoint")]


def _replica_size(path: Path) -> int:
    if not path.exists():
        return 0
    reader = open_reader(path)
    try:
        size = reader.size
    finally:
        reader.close()
    return spot_check(path).size if size else 0


def check_parties(examined: Examination) -> Iterator[Finding]:
    """Every provider had its log cosigned lately, and nobody's certificate is about to expire."""
    home, directory = examined.home, examined.directory
    if home.role is not Role.REGULATOR or directory is None:
        return
    found = [*_unheard(examined, directory), *_certificates(examined, directory)]
    yield from found or [well(CheckName.PARTIES, f"{len(directory.parties)} enrolled, heard of and certified")]


def _unheard(examined: Examination, directory: Directory) -> Iterator[Finding]:
    witnessed, now_ms = _witnessed(examined), examined.clock.now_ms()
    for record in directory.providers():
        log = witnessed.get(key_name(record.name, record.role, directory.domain, KeyPurpose.LOG))
        mend = f"ask {record.name} to run: unseen doctor"
        if log is None:
            detail = f"{record.name} has never had its log cosigned"
            yield warning(CheckName.PARTIES, Trouble.PARTY_UNHEARD, detail, mend)
        elif now_ms - log.cosigned_s * 1000 > UNHEARD_MS:
            detail = f"{record.name} had its log cosigned {span(now_ms - log.cosigned_s * 1000)} ago, and not since"
            yield warning(CheckName.PARTIES, Trouble.PARTY_UNHEARD, detail, mend)


def _certificates(examined: Examination, directory: Directory) -> Iterator[Finding]:
    issued = IssuedCertificates(examined.home.path / "enrolled")
    now_ms = examined.clock.now_ms()
    for record in directory.parties:
        if record.role is Role.REGULATOR:
            continue  # its own certificate has a check of its own
        try:
            certificates = issued.of(record.name)
        except (AuditError, PartyError) as error:
            mend = "restore it from the backup"
            yield warning(CheckName.PARTIES, Trouble.UNCHECKED, f"{record.name}'s certificates: {error}", mend)
            continue
        if not certificates:
            continue  # another authority issues them
        ends_ms = max(int(each.not_valid_after_utc.timestamp() * 1000) for each in certificates)
        if ends_ms - now_ms < CERTIFICATE_DAYS * DAY_MS:
            detail = f"the newest certificate of {record.name} ends on {day(ends_ms)}; a running party renews it itself"
            mend = f"ask {record.name} to start, or to run: unseen certificate renew"
            yield warning(CheckName.PARTIES, Trouble.PARTY_CERTIFICATE_EXPIRES, detail, mend)


def _witnessed(examined: Examination) -> Mapping[str, WitnessedLog]:
    """The logs that this regulator has cosigned, by origin."""
    path = examined.home.witness_path
    if not path.exists():
        return {}
    store = WitnessStore.open(path)
    try:
        return {log.origin: log for log in store.logs()}
    finally:
        store.close()
