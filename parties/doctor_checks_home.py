"""Checks of the home itself: its files, the disk under them, its keys, ledger and vault. No network, no lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from audit.entry import Outcome, decode_entry
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.ledger import open_reader
from audit.names import KeyPurpose, Role
from audit.spot_check import spot_check
from parties.doctor_details import Detail
from parties.doctor_examination import Examination
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.doctor_words import entries, span
from sandbox.errors import VaultError
from sandbox.vault import Vault, VaultKind

MIB: Final = 1024 * 1024
FULL_BYTES: Final = 100 * MIB
LOW_BYTES: Final = 1024 * MIB
LOW_FILES: Final = 1_000
LEDGER_MULTIPLE: Final = 10
"""Room for so many times the ledger is asked for: backups, replicas and verification copy it."""
LONG_LOG_BYTES: Final = 256 * MIB
"""The ledger cuts its write-ahead log back to 64 MiB; beyond this something keeps it from doing so."""
SAMPLED_RECEIPTS: Final = 100
SAMPLED_ENTRIES: Final = 5_000


def check_files(examined: Examination) -> Iterator[Finding]:
    """Every file is there, belongs to the home's owner, and secrets are the owner's alone."""
    home = examined.home
    found = [*_missing(examined), *_exposed(examined)]
    owner = home.path.stat().st_uid
    for path in _own_files(home.path):
        if (state := _state(path)) is not None and state.st_uid != owner:
            said, mend = Detail.FILE_FOREIGN.of(path=path), Mend.CHOWN_LIKE_HOME.of(home=home.path, path=path)
            found.append(failure(CheckName.FILES, Trouble.FILE_FOREIGN, said, mend))
    yield from found or [well(CheckName.FILES, Detail.FILES_WELL.of(home=home.path))]


def _missing(examined: Examination) -> Iterator[Finding]:
    home = examined.home
    for purpose in (
        *(purpose.value for purpose in KeyPurpose),
        "tls",
        *(["ca"] if home.role is Role.REGULATOR else []),
    ):
        path = home.keys / f"{purpose}.pem"
        if not path.is_file():
            said, mend = Detail.FILE_MISSING.of(path=path), Mend.KEY_FILE_BACK.of()
            yield failure(CheckName.FILES, Trouble.FILE_MISSING, said, mend)
    for path in (home.certificate_path, home.anchors_path, home.directory_path):
        if not path.is_file():
            said, mend = Detail.ENROLMENT_MISSING.of(path=path), Mend.ENROL.of(at_home=examined.at_home)
            yield failure(CheckName.FILES, Trouble.FILE_MISSING, said, mend)


def _exposed(examined: Examination) -> Iterator[Finding]:
    home = examined.home
    if stat.S_IMODE(home.path.stat().st_mode) & 0o022:
        said, mend = Detail.HOME_EXPOSED.of(path=home.path), Mend.CLOSE_HOME.of(path=home.path)
        yield failure(CheckName.FILES, Trouble.FILE_EXPOSED, said, mend)
    for path in (home.keys, *_own_files(home.keys), *_databases(home.path)):
        state = _state(path)
        mode = 0 if state is None else stat.S_IMODE(state.st_mode)
        if mode & 0o077:
            said, mend = Detail.FILE_EXPOSED.of(path=path, mode=f"{mode:04o}"), Mend.CLOSE_FILE.of(path=path)
            yield failure(CheckName.FILES, Trouble.FILE_EXPOSED, said, mend)


def _state(path: Path) -> os.stat_result | None:
    """What the system says of a file; None where it is gone: a running party makes and unmakes files."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _own_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _databases(home: Path) -> list[Path]:
    return sorted([*home.glob("*.db"), *home.glob("*.db-wal"), *home.glob("replicas/*/ledger.db")])


def check_disk(examined: Examination) -> Iterator[Finding]:
    """There is room, and the home can be written; durably, since a probe is synced."""
    home, room = examined.home, examined.room(examined.home.path)
    free = room.free_bytes // MIB
    ledger = home.ledger_path.stat().st_size if home.ledger_path.exists() else 0
    found: list[Finding] = []
    if room.free_bytes < FULL_BYTES:
        said = Detail.DISK_FULL.of(free=free, home=home.path)
        found.append(failure(CheckName.DISK, Trouble.DISK_FULL, said, Mend.MAKE_ROOM.of()))
    elif room.free_bytes < max(LOW_BYTES, LEDGER_MULTIPLE * ledger):
        said = Detail.DISK_LOW.of(free=free, home=home.path, ledger=ledger // MIB)
        found.append(warning(CheckName.DISK, Trouble.DISK_LOW, said, Mend.MAKE_ROOM_OR_MOVE.of()))
    if room.free_files is not None and room.free_files < LOW_FILES:
        said = Detail.FILES_FULL.of(files=room.free_files, home=home.path)
        found.append(failure(CheckName.DISK, Trouble.DISK_FULL, said, Mend.FEWER_FILES.of()))
    unwritable = _probe(home.path)
    if unwritable:
        said = Detail.DISK_UNWRITABLE.of(path=home.path, error=unwritable)
        found.append(failure(CheckName.DISK, Trouble.DISK_UNWRITABLE, said, Mend.REMOUNT.of(path=home.path)))
    for log in sorted(home.path.glob("*.db-wal")):
        state = _state(log)
        if state is not None and state.st_size > LONG_LOG_BYTES:
            said = Detail.LOG_LONG.of(path=log, size=state.st_size // MIB)
            found.append(warning(CheckName.DISK, Trouble.LOG_LONG, said, Mend.END_READERS.of()))
    yield from found or [well(CheckName.DISK, Detail.DISK_WELL.of(free=free, home=home.path))]


def _probe(folder: Path) -> str:
    """What is wrong with writing a file durably; empty if nothing."""
    path = folder / f".doctor.{os.getpid()}"
    try:
        with path.open("xb") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror or str(error)
    finally:
        path.unlink(missing_ok=True)
    return ""


def check_ledger(examined: Examination) -> Iterator[Finding]:
    """The ledger's ends belong together. A quick look, which believes what lies before the last seal."""
    home = examined.home
    if not home.ledger_path.exists():
        yield warning(
            CheckName.LEDGER, Trouble.LEDGER_MISSING, Detail.LEDGER_MISSING.of(), Mend.START_WITHOUT_LEDGER.of()
        )
        return
    try:
        found = spot_check(home.ledger_path)
    except (LedgerDamagedError, LedgerUnavailableError) as error:
        mend = Mend.VERIFY_AND_RESTORE.of(at_home=examined.at_home)
        yield failure(CheckName.LEDGER, Trouble.LEDGER_DAMAGED, Detail.LEDGER_DAMAGED.of(error=error), mend)
        return
    if found.genesis.origin != home.origin:
        said = Detail.LEDGER_FOREIGN.of(found=found.genesis.origin, wanted=home.origin)
        yield failure(CheckName.LEDGER, Trouble.LEDGER_FOREIGN, said, Mend.OWN_LEDGER_BACK.of())
    elif home.restored_path.exists():
        said = Detail.LEDGER_RESTORED.of(entries=entries(found.size))
        yield warning(CheckName.LEDGER, Trouble.LEDGER_RESTORED, said, Mend.START_TO_CATCH_UP.of())
    else:
        said = Detail.LEDGER_WELL.of(entries=entries(found.size), since=found.since, at_home=examined.at_home)
        yield well(CheckName.LEDGER, said)


def check_vault(examined: Examination) -> Iterator[Finding]:
    """The vault opens, and has the receipts that the ledger's newest entries speak of."""
    home = examined.home
    if not home.vault_path.exists():
        if home.ledger_path.exists():
            yield failure(CheckName.VAULT, Trouble.VAULT_MISSING, Detail.VAULT_MISSING.of(), Mend.RESTORE_BOTH.of())
        else:
            yield well(CheckName.VAULT, Detail.VAULT_NONE.of())
        return
    receipts = _newest_receipts(home.ledger_path) if home.ledger_path.exists() else []
    try:
        with Vault.open(home.vault_path) as vault:
            missing = [receipt for receipt in receipts if vault.get(VaultKind.RECEIPT, receipt) is None]
    except VaultError as error:
        said = Detail.VAULT_UNREADABLE.of(error=error)
        yield failure(CheckName.VAULT, Trouble.VAULT_UNREADABLE, said, Mend.RESTORE.of())
        return
    if missing:
        said = Detail.VAULT_BEHIND.of(missing=len(missing), receipts=len(receipts))
        yield warning(CheckName.VAULT, Trouble.VAULT_BEHIND, said, Mend.VAULT_BACK.of())
    else:
        yield well(CheckName.VAULT, Detail.VAULT_WELL.of(receipts=len(receipts)))


def _newest_receipts(ledger: Path) -> list[str]:
    try:
        reader = open_reader(ledger)
    except (LedgerDamagedError, LedgerUnavailableError):
        return []  # the ledger's own check says so
    try:
        size = reader.size
        entries = reversed([decode_entry(data) for data in reader.read(max(0, size - SAMPLED_ENTRIES), size)])
        receipts = (entry.receipt_id for entry in entries if isinstance(entry, Outcome))
        return list(islice(receipts, SAMPLED_RECEIPTS))
    finally:
        reader.close()


def check_own_time(examined: Examination) -> Iterator[Finding]:
    """The ledger's last entry is not of the future: then the clock was set back since, or was wrong before."""
    home = examined.home
    try:
        last_ms = spot_check(home.ledger_path).last_at_ms
    except (LedgerDamagedError, LedgerUnavailableError):
        return  # the ledger's own check says so
    ahead_ms = last_ms - examined.clock.now_ms()
    if ahead_ms > home.config.limits.skew_ms:
        said = Detail.CLOCK_BEHIND_LEDGER.of(ahead=span(ahead_ms))
        yield failure(CheckName.CLOCK, Trouble.CLOCK_WRONG, said, Mend.SET_CLOCK.of())
