"""Restoring a home from a backup: into an empty folder, all or nothing, and marked so that it cannot fork its log.

A restored ledger is an old one. If its party signed further checkpoints after the backup, then going on from here would
give the same sizes other entries: a second history under the party's own key. So the first file written is
`restored.json`, with which a party does not start before its witnesses have told it what it signed, and it has taken
those entries back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from audit.canonical import canonicalise
from audit.clock import Clock
from audit.errors import AuditError
from audit.spot_check import spot_check
from parties.backup import LEDGER, VAULT
from parties.backup_format import ArchiveReader, BackedUpFile, Manifest, empty_root, mode_of
from parties.config import load_config
from parties.errors import BackupError, BadBackupError, ConfigError, HomeError
from parties.files import sync_folder
from parties.home import Home
from sandbox.errors import VaultError
from sandbox.vault import Vault

RESTORED: Final = "restored.json"
"""`Home.restored_path`, which a folder that is no home yet does not have."""
SETTINGS: Final = "party.toml"
_UNFINISHED: Final = "party.toml.restoring"
"""A folder without party.toml is no home: it gets its name when everything else is in place and sound."""
_SPARE_BYTES: Final = 64 * 1024 * 1024


def restore(archive: Path, target: Path, *, clock: Clock) -> Manifest:
    """Install the backup `archive` as the home `target`, which is made, or is an empty folder.

    Raises:
        BackupError: the folder has something in it, or a party is served from it; no such archive; too little room.
        BadBackupError: the archive is damaged, or no backup.
        OSError: the disk. In all cases nothing is left behind.
    """
    target = target.absolute()
    try:
        stream = archive.open("rb")
    except OSError as error:
        raise BackupError(f"{archive} cannot be read: {error.strerror}") from error
    with stream:
        reader = ArchiveReader(stream)
        made = _empty_folder(target)
        # Whoever creates the marker owns the folder: a second restore into it ends here and clears nothing away.
        marker = _create(target / RESTORED, 0o600)
        try:
            with marker:
                marker.write(_marker(reader.manifest, clock))
                _sync(marker)
            _check_room(target, reader.manifest)
            _unpack(reader, target)
            _verify(target, reader.manifest)
            (target / _UNFINISHED).rename(target / SETTINGS)
            sync_folder(target)
        except BaseException:
            _clear(target, made=made)
            raise
    return reader.manifest


def _marker(manifest: Manifest, clock: Clock) -> bytes:
    return canonicalise(
        {
            "v": 1,
            "restored_at_ms": clock.now_ms(),
            "backup_created_at_ms": manifest.created_at_ms,
            "size": manifest.ledger_size,
            "root": manifest.ledger_root,
        }
    )


def _empty_folder(target: Path) -> bool:
    """Make the folder unless there is an empty one; returns whether it was made."""
    try:
        target.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if _is_served(target):
            detail = f"a party is running from {target}: stop it for good, and restore into a new folder"
            raise BackupError(detail) from None
        if not target.is_dir() or any(target.iterdir()):
            raise BackupError(
                f"{target} is not empty; a backup is restored into a new folder, never over one"
            ) from None
        return False
    except OSError as error:
        raise BackupError(f"{target} cannot be made: {error.strerror}") from error
    return True


def _is_served(target: Path) -> bool:
    try:
        return Home.open(target).is_served()
    except (HomeError, ConfigError):  # then it is no home, or none that runs
        return False


def _check_room(target: Path, manifest: Manifest) -> None:
    free = shutil.disk_usage(target).free
    if manifest.size + _SPARE_BYTES > free:
        raise BackupError(
            f"the backup needs {manifest.size} bytes and some to spare, {free} are free at {target}: make room"
        )


def _unpack(reader: ArchiveReader, target: Path) -> None:
    (target / "keys").mkdir(mode=0o700)  # also where none are inside: a person puts them there
    writing: list[IO[bytes]] = []

    def begin(file: BackedUpFile) -> Callable[[bytes], object]:
        path = target / (_UNFINISHED if file.name == SETTINGS else file.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        writing.append(_create(path, mode_of(file.name)))
        return writing[-1].write

    try:
        for _ in reader.files(begin):
            with writing.pop() as done:
                _sync(done)
    finally:
        for unfinished in writing:
            unfinished.close()
    for folder, _, _ in os.walk(target):
        sync_folder(Path(folder))


def _create(path: Path, mode: int) -> IO[bytes]:
    """A new file of that mode; what is there already, a link above all, is never written through."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    return os.fdopen(descriptor, "wb")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _verify(target: Path, manifest: Manifest) -> None:
    """Raise `BadBackupError` unless what was unpacked is the party's of the manifest, its ledger and vault sound."""
    try:
        config = load_config(target / _UNFINISHED)
        size, root = 0, empty_root()
        origin = manifest.origin
        if (target / LEDGER).exists():
            found = spot_check(target / LEDGER)
            size, root, origin = found.size, found.root.hex(), found.genesis.origin
        if (target / VAULT).exists():
            Vault.open(target / VAULT).close()
    except (AuditError, ConfigError, VaultError) as error:
        raise BadBackupError(f"what the backup holds is not in order ({error}); take another one") from error
    found_there = (config.party.name, config.party.role, origin, size, root)
    if found_there != (manifest.party, manifest.role, manifest.origin, manifest.ledger_size, manifest.ledger_root):
        raise BadBackupError("the backup's manifest speaks of another party or ledger than it holds; take another one")


def _clear(target: Path, *, made: bool) -> None:
    for path in target.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if made:
        target.rmdir()
