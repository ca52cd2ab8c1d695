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
from parties.doctor_details import Detail
from parties.doctor_examination import Examination, day
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.doctor_words import many, span
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
        try:
            size = _replica_size(path)
        except AuditError as error:
            mend = Mend.REPLICA_ANEW.of(folder=path.parent, party=party, path=path)
            said = Detail.REPLICA_DAMAGED.of(path=path, error=error)
            found.append(failure(CheckName.REPLICAS, Trouble.REPLICA_DAMAGED, said, mend))
            continue
        if size < log.size:
            said = Detail.REPLICA_BEHIND.of(kept=size, cosigned=log.size, party=party)
            found.append(warning(CheckName.REPLICAS, Trouble.REPLICA_BEHIND, said, Mend.REPLICA_COMES.of(party=party)))
        complete += size >= log.size
    yield from found or [well(CheckName.REPLICAS, Detail.REPLICAS_WELL.of(logs=many(complete, "log")))]


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
    yield from found or [well(CheckName.PARTIES, Detail.PARTIES_WELL.of(parties=len(directory.parties)))]


def _unheard(examined: Examination, directory: Directory) -> Iterator[Finding]:
    witnessed, now_ms = _witnessed(examined), examined.clock.now_ms()
    for record in directory.providers():
        log = witnessed.get(key_name(record.name, record.role, directory.domain, KeyPurpose.LOG))
        mend = Mend.ASK_TO_EXAMINE.of(party=record.name)
        if log is None:
            said = Detail.PARTY_NEVER_HEARD.of(party=record.name)
            yield warning(CheckName.PARTIES, Trouble.PARTY_UNHEARD, said, mend)
        elif now_ms - log.cosigned_s * 1000 > UNHEARD_MS:
            said = Detail.PARTY_UNHEARD.of(party=record.name, since=span(now_ms - log.cosigned_s * 1000))
            yield warning(CheckName.PARTIES, Trouble.PARTY_UNHEARD, said, mend)


def _certificates(examined: Examination, directory: Directory) -> Iterator[Finding]:
    issued = IssuedCertificates(examined.home.path / "enrolled")
    now_ms = examined.clock.now_ms()
    for record in directory.parties:
        if record.role is Role.REGULATOR:
            continue  # its own certificate has a check of its own
        try:
            certificates = issued.of(record.name)
        except (AuditError, PartyError) as error:
            said = Detail.CERTIFICATES_UNREADABLE.of(party=record.name, error=error)
            yield warning(CheckName.PARTIES, Trouble.UNCHECKED, said, Mend.RESTORE_FILE.of())
            continue
        if not certificates:
            continue  # another authority issues them
        ends_ms = max(int(each.not_valid_after_utc.timestamp() * 1000) for each in certificates)
        if ends_ms - now_ms < CERTIFICATE_DAYS * DAY_MS:
            said = Detail.PARTY_CERTIFICATE_EXPIRES.of(party=record.name, until=day(ends_ms))
            mend = Mend.ASK_TO_RENEW.of(party=record.name)
            yield warning(CheckName.PARTIES, Trouble.PARTY_CERTIFICATE_EXPIRES, said, mend)


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
