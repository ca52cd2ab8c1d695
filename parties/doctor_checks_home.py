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
from parties.doctor_examination import Examination, span
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
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
            detail = f"{path} belongs to another user than the home does, so the party may not be able to write it"
            mend = f"chown --reference={home.path} {path}"
            found.append(failure(CheckName.FILES, Trouble.FILE_FOREIGN, detail, mend))
    yield from found or [well(CheckName.FILES, f"complete, and private where they must be: {home.path}")]


def _missing(examined: Examination) -> Iterator[Finding]:
    home = examined.home
    for purpose in (
        *(purpose.value for purpose in KeyPurpose),
        "tls",
        *(["ca"] if home.role is Role.REGULATOR else []),
    ):
        path = home.keys / f"{purpose}.pem"
        if not path.is_file():
            mend = "put it back from where the keys are kept, or restore a backup with keys: unseen restore"
            yield failure(CheckName.FILES, Trouble.FILE_MISSING, f"{path} is missing", mend)
    for path in (home.certificate_path, home.anchors_path, home.directory_path):
        if not path.is_file():
            detail = f"{path} is missing: the party is not enrolled, or lost it"
            mend = f"unseen enrol accept BUNDLE {examined.at_home}"
            yield failure(CheckName.FILES, Trouble.FILE_MISSING, detail, mend)


def _exposed(examined: Examination) -> Iterator[Finding]:
    home = examined.home
    if stat.S_IMODE(home.path.stat().st_mode) & 0o022:
        detail = f"{home.path} can be written by other users: they could put files of theirs in place of its own"
        yield failure(CheckName.FILES, Trouble.FILE_EXPOSED, detail, f"chmod go-w {home.path}")
    for path in (home.keys, *_own_files(home.keys), *_databases(home.path)):
        state = _state(path)
        mode = 0 if state is None else stat.S_IMODE(state.st_mode)
        if mode & 0o077:
            detail = f"{path} is open to other users (mode {mode:04o})"
            yield failure(CheckName.FILES, Trouble.FILE_EXPOSED, detail, f"chmod go= {path}")


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
    free = f"{room.free_bytes // MIB} MiB are free at {home.path}"
    ledger = home.ledger_path.stat().st_size if home.ledger_path.exists() else 0
    found: list[Finding] = []
    if room.free_bytes < FULL_BYTES:
        found.append(failure(CheckName.DISK, Trouble.DISK_FULL, f"{free}; calls fail when none is left", "make room"))
    elif room.free_bytes < max(LOW_BYTES, LEDGER_MULTIPLE * ledger):
        detail = f"{free}, the ledger has {ledger // MIB} MiB; backups and verification need a multiple of that"
        found.append(warning(CheckName.DISK, Trouble.DISK_LOW, detail, "make room, or move the home to a larger disk"))
    if room.free_files is not None and room.free_files < LOW_FILES:
        detail = f"only {room.free_files} more files can be made where {home.path} lies"
        found.append(failure(CheckName.DISK, Trouble.DISK_FULL, detail, "take away small files there"))
    unwritable = _probe(home.path)
    if unwritable:
        found.append(failure(CheckName.DISK, Trouble.DISK_UNWRITABLE, unwritable, f"chown and remount {home.path}"))
    for log in sorted(home.path.glob("*.db-wal")):
        state = _state(log)
        if state is not None and state.st_size > LONG_LOG_BYTES:
            detail = f"{log} has {state.st_size // MIB} MiB: some reader keeps it from being cut"
            mend = "end programs that hold the database open, then restart the party"
            found.append(warning(CheckName.DISK, Trouble.LOG_LONG, detail, mend))
    yield from found or [well(CheckName.DISK, f"{free}, and it can be written")]


def _probe(folder: Path) -> str:
    """What is wrong with writing a file durably; empty if nothing."""
    path = folder / f".doctor.{os.getpid()}"
    try:
        with path.open("xb") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    finally:
        path.unlink(missing_ok=True)
    return ""


def check_ledger(examined: Examination) -> Iterator[Finding]:
    """The ledger's ends belong together. A quick look, which believes what lies before the last seal."""
    home = examined.home
    if not home.ledger_path.exists():
        detail = "there is no ledger yet: it is made when the party is first opened"
        yield warning(
            CheckName.LEDGER, Trouble.LEDGER_MISSING, detail, "start the party, unless it had a ledger before"
        )
        return
    try:
        found = spot_check(home.ledger_path)
    except (LedgerDamagedError, LedgerUnavailableError) as error:
        mend = f"unseen ledger verify {examined.at_home}, then unseen restore the newest backup into a new home"
        yield failure(CheckName.LEDGER, Trouble.LEDGER_DAMAGED, str(error), mend)
        return
    if found.genesis.origin != home.origin:
        detail = f"it is the ledger of {found.genesis.origin}, and this is the home of {home.origin}"
        yield failure(CheckName.LEDGER, Trouble.LEDGER_FOREIGN, detail, "put this party's own ledger.db back")
    elif home.restored_path.exists():
        detail = f"restored from a backup, {found.size} entries; it signs nothing before it has caught up"
        mend = "start the party while its witnesses can be reached"
        yield warning(CheckName.LEDGER, Trouble.LEDGER_RESTORED, detail, mend)
    else:
        quick = f"read back from entry {found.since} on; unseen ledger verify {examined.at_home} checks all"
        yield well(CheckName.LEDGER, f"{found.size} entries; {quick}")


def check_vault(examined: Examination) -> Iterator[Finding]:
    """The vault opens, and has the receipts that the ledger's newest entries speak of."""
    home = examined.home
    if not home.vault_path.exists():
        if home.ledger_path.exists():
            detail = "there is a ledger and no vault: openings, receipts and stored messages are lost"
            mend = "unseen restore a backup, which has both, into a new home"
            yield failure(CheckName.VAULT, Trouble.VAULT_MISSING, detail, mend)
        else:
            yield well(CheckName.VAULT, "there is none yet, as there is no ledger")
        return
    receipts = _newest_receipts(home.ledger_path) if home.ledger_path.exists() else []
    try:
        with Vault.open(home.vault_path) as vault:
            missing = [receipt for receipt in receipts if vault.get(VaultKind.RECEIPT, receipt) is None]
    except VaultError as error:
        mend = "unseen restore the newest backup into a new home"
        yield failure(CheckName.VAULT, Trouble.VAULT_UNREADABLE, str(error), mend)
        return
    if missing:
        detail = (
            f"{len(missing)} of the newest {len(receipts)} receipts in the ledger are not in the vault: it is of an "
            "earlier time; messages of those calls are answered STALE"
        )
        mend = "if there is a newer vault.db, stop the party and put it back; back both up together: unseen backup"
        yield warning(CheckName.VAULT, Trouble.VAULT_BEHIND, detail, mend)
    else:
        yield well(CheckName.VAULT, f"it has the newest {len(receipts)} receipts of the ledger")


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
        detail = f"the ledger's last entry is {span(ahead_ms)} ahead of this machine's clock"
        mend = "set the clock and keep it by NTP: timedatectl set-ntp true"
        yield failure(CheckName.CLOCK, Trouble.CLOCK_WRONG, detail, mend)
