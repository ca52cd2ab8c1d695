"""Backing up a home while its party runs: everything that it remembers and is, in one file of mode 0600.

Databases are copied by SQLite's backup interface, each at one moment. The ledger goes first and the vault after it: a
party lays a call's openings and part into the vault before the ledger says so, hence a later vault has all that an
earlier ledger mentions. The other way round it would not. What witnesses have cosigned comes last, as new as can be.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from audit.backup import copy_database
from audit.clock import Clock
from audit.errors import MalformedError
from audit.names import KeyPurpose
from audit.spot_check import spot_check
from audit.verify import verify_database
from parties.backup_format import (
    CHUNK,
    DATABASES,
    END,
    FOLDERS,
    MANIFEST,
    MAX_SMALL_BYTES,
    SECRET,
    SINGLE_FILES,
    ArchiveReader,
    BackedUpFile,
    KeysInside,
    Manifest,
    check_name,
    empty_root,
    header,
    mode_of,
    padding,
)
from parties.errors import BackupError
from parties.files import sync_folder
from parties.home import Home

LEDGER, VAULT, WITNESS = DATABASES


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What a backup holds and how it is checked.

    Attributes:
        keys: whether the private keys go into it, as they are at rest: encrypted, or in clear.
        verify: derive the ledger's copy anew from its entries, which takes as long as `unseen ledger verify`.
    """

    keys: bool = True
    verify: bool = False


EVERYTHING: Final = BackupOptions()


def back_up(home: Home, target: Path, *, clock: Clock, options: BackupOptions = EVERYTHING) -> Manifest:
    """Write the home's backup to `target`, read it back, and only then give it that name.

    The folder of `target` needs room for twice the home's databases for the time being.

    Raises:
        BackupError: `target` exists, lies inside the home, or its folder is missing; the home changed under the copy.
        CopyFailedError: a database cannot be copied, for want of room or otherwise.
        LedgerDamagedError: the ledger's copy does not hold.
        OSError: the disk has no room, or is not writable. Nothing is left in any of these cases.
    """
    target = target.absolute()
    _check_target(home, target)
    with _staging(target) as staging:
        manifest = _copy(home, staging, clock.now_ms(), options)
        written = staging.parent / "archive"
        _write(written, staging, manifest)
        _read_back(written, manifest)
        if os.path.lexists(target):  # made by somebody else meanwhile
            raise BackupError(f"{target} exists; a backup never overwrites anything")
        written.rename(target)
    sync_folder(target.parent)
    return manifest


def _check_target(home: Home, target: Path) -> None:
    if os.path.lexists(target):
        raise BackupError(f"{target} exists; a backup never overwrites anything: name another file")
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}: make it, or name another")
    if target.resolve().is_relative_to(home.path):
        raise BackupError(f"{target} lies inside the home and would be lost with it: name a place elsewhere")


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A private folder beside `target`, on its file system; it and all in it go in the end."""
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        staging = beside / "home"
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _copy(home: Home, staging: Path, now_ms: int, options: BackupOptions) -> Manifest:
    before = _log_key_stamp(home)
    databases = [name for name in (LEDGER, VAULT, *_replicas(home), WITNESS) if (home.path / name).exists()]
    for name in databases:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        copy_database(home.path / name, staging / name)
    with home.writing():  # certificate, directory and settings of one moment
        small = list(_small_files(home, keys=options.keys))
        for name in small:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(home.read(home.path / name, limit=MAX_SMALL_BYTES))
        if _log_key_stamp(home) != before:  # a ledger copied before a rotation does not open with the key after it
            raise BackupError("the log key was replaced while the backup was made: run it again")
    size, root = _ledger_head(home, staging, options)
    return Manifest(
        party=home.name,
        role=home.role,
        origin=home.origin,
        ledger_size=size,
        ledger_root=root,
        created_at_ms=now_ms,
        keys=_keys_inside(staging),
        files=tuple(_described(staging, name) for name in (*small, *databases)),
    )


def _log_key_stamp(home: Home) -> tuple[tuple[str, int, int], ...]:
    stats = ((path.name, path.stat()) for path in sorted(home.keys.glob(f"{KeyPurpose.LOG.value}*")))
    return tuple((name, stat.st_ino, stat.st_mtime_ns) for name, stat in stats)


def _replicas(home: Home) -> list[str]:
    return [str(path.relative_to(home.path)) for path in sorted(home.replicas.glob(f"*/{LEDGER}"))]


def _small_files(home: Home, *, keys: bool) -> Iterator[str]:
    """The names of the files that are no databases, within the home; half-written ones are left out."""
    found = [home.path / name for name in SINGLE_FILES]
    if home.policy_path.resolve().is_relative_to(home.path):
        found.append(home.policy_path)
    for folder in FOLDERS:
        if keys or folder != home.keys.name:
            found += sorted((home.path / folder).glob("[!.]*"))
    for path in found:
        if path.is_file():
            name = path.relative_to(home.path).as_posix()
            try:
                check_name(name)
            except MalformedError as error:
                raise BackupError(f"{path} cannot be backed up ({error}): rename it, or take it out") from error
            yield name


def _ledger_head(home: Home, staging: Path, options: BackupOptions) -> tuple[int, str]:
    """Size and root of the ledger's copy, once that has been found in order."""
    path = staging / LEDGER
    if not path.exists():  # a home that was never opened
        return 0, empty_root()
    found = spot_check(path)
    if found.genesis.origin != home.origin:
        raise BackupError(f"{home.ledger_path} is the ledger of {found.genesis.origin}, not of {home.origin}")
    if options.verify:
        directory = home.directory(now_ms=0) if home.directory_path.exists() else None
        report = verify_database(path, directory=directory)
        if not report.verified:
            raise BackupError(
                f"the ledger does not verify ({report.detail}), so no backup was made: run unseen ledger verify, "
                "and keep the backups that there are"
            )
    return found.size, found.root.hex()


def _keys_inside(staging: Path) -> KeysInside:
    keys = list((staging / "keys").glob("*"))
    if not keys:
        return KeysInside.NONE
    sealed = all(path.suffix == ".sealed" or b"ENCRYPTED" in path.read_bytes()[:64] for path in keys)
    return KeysInside.ENCRYPTED if sealed else KeysInside.IN_CLEAR


def _described(staging: Path, name: str) -> BackedUpFile:
    with (staging / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BackedUpFile(name, (staging / name).stat().st_size, digest)


def _write(path: Path, staging: Path, manifest: Manifest) -> None:
    """The archive, on the disk; each copy goes as soon as it is in."""
    encoded = manifest.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET)
    with os.fdopen(descriptor, "wb") as out:
        out.write(header(MANIFEST, len(encoded), SECRET) + encoded + padding(len(encoded)))
        for file in manifest.files:
            out.write(header(file.name, file.size, mode_of(file.name)))
            with (staging / file.name).open("rb") as copy:
                _pour(copy, out.write)
            out.write(padding(file.size))
            (staging / file.name).unlink()
        out.write(END)
        out.flush()
        os.fsync(out.fileno())


def _pour(source: IO[bytes], write: Callable[[bytes], object]) -> None:
    while data := source.read(CHUNK):
        write(data)


def _read_back(path: Path, manifest: Manifest) -> None:
    """Read what was written as `unseen restore` would; raise `BadBackupError` if it is not what was copied."""
    with path.open("rb") as stream:
        reader = ArchiveReader(stream)
        for _ in reader.files(lambda _: lambda _: None):
            pass
        if reader.manifest != manifest:
            raise BackupError("the archive does not read back as it was written: is the disk sound?")
