"""A backup's form: one tar file, `manifest.json` first, then every file that it lists, in its order and nothing else.

`tar` reads it. We read a strict part of what `tar` reads: ordinary files alone, each header one block, every name of
the few that a home has, every size known before. So an archive from anywhere can neither name a place outside the
home, nor make a link, nor write more than its manifest says, and nothing of it is unpacked by a general reader.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import IO, Final

from audit.canonical import Fields, JsonObject, canonicalise
from audit.errors import MalformedError
from audit.hashes import hex_sha256
from audit.names import PARTY_PATTERN, Role
from parties.errors import BadBackupError

MANIFEST: Final = "manifest.json"
FORMAT: Final = "unseen-backup"
FORMAT_VERSION: Final = 1
MAX_FILES: Final = 20_000
MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024
MAX_SMALL_BYTES: Final = 8 * 1024 * 1024
"""The largest file that is no database: a directory has at most 4 MiB, and an enrolment bundle encloses one."""
MAX_NAME_BYTES: Final = 100
"""What a tar header holds without extensions."""
BLOCK: Final = 512
CHUNK: Final = 1024 * 1024
SECRET: Final = 0o600
OPEN: Final = 0o644

DATABASES: Final = ("ledger.db", "vault.db", "witness.db")
SINGLE_FILES: Final = (
    "party.toml",
    "certificate.pem",
    "ca.pem",
    "directory.dsse",
    "directory.next",  # at the regulator, while a new one is being recorded: the ledger may know it already
    "enrolment-request.json",
)
POLICY_SUFFIX: Final = ".policy"
"""Who must cosign the party's log stands in a file of any name that ends so."""
FOLDERS: Final = ("keys", "catalog", "enrolled")
"""The folders whose files a backup holds; of `replicas` it holds the databases."""
_PARTY: Final = re.compile(PARTY_PATTERN)
_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f/\\.\ud800-\udfff][^\x00-\x1f\x7f-\x9f/\\\ud800-\udfff]*")
"""One visible part of a path, in characters that UTF-8 has."""


class KeysInside(Enum):
    """Which secrets lie in a backup."""

    NONE = "none"
    ENCRYPTED = "encrypted"
    IN_CLEAR = "in_clear"


@dataclass(frozen=True, slots=True)
class BackedUpFile:
    """One file: its name within the home, its length in bytes, the hex SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Args:
        party, role, origin: whose home it was, and the name of its log.
        ledger_size, ledger_root: entries in the ledger's copy, and the RFC 6962 root over them in hex.
        created_at_ms: milliseconds since the Unix epoch by the party's clock, before anything was copied.
        keys: which secrets are inside.
        files: in the order of the archive, each name once.
    """

    party: str
    role: Role
    origin: str
    ledger_size: int
    ledger_root: str
    created_at_ms: int
    keys: KeysInside
    files: tuple[BackedUpFile, ...]

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        if len(names) != len(set(names)):
            raise MalformedError("the manifest lists a file twice")
        if "party.toml" not in names:
            raise MalformedError("the manifest lists no party.toml, so this is no home's backup")
        for file in self.files:
            check_name(file.name)
            if file.size > MAX_SMALL_BYTES and not is_database(file.name):
                raise MalformedError(f"{file.name} has {file.size} bytes, {MAX_SMALL_BYTES} are allowed")

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """The manifest's file: canonical JSON."""
        body: JsonObject = {
            "format": FORMAT,
            "v": FORMAT_VERSION,
            "party": self.party,
            "role": self.role.value,
            "origin": self.origin,
            "ledger_size": self.ledger_size,
            "ledger_root": self.ledger_root,
            "created_at_ms": self.created_at_ms,
            "keys": self.keys.value,
            "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in self.files],
        }
        return canonicalise(body)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The inverse of `encode`.

        Raises:
            MalformedError: not a manifest, of a later version, or one that lists what no home has.
        """
        fields = Fields.parse(data, limit=MAX_MANIFEST_BYTES, where="manifest.json")
        if fields.text("format") != FORMAT:
            raise MalformedError("manifest.json is not a backup's")
        if (version := fields.integer("v")) != FORMAT_VERSION:
            raise MalformedError(
                f"the backup is of version {version}; this release reads {FORMAT_VERSION}: update unseen"
            )
        manifest = cls(
            party=fields.text("party", pattern=PARTY_PATTERN),
            role=fields.choice("role", Role),
            origin=fields.text("origin"),
            ledger_size=fields.integer("ledger_size"),
            ledger_root=fields.hex("ledger_root"),
            created_at_ms=fields.integer("created_at_ms"),
            keys=fields.choice("keys", KeysInside),
            files=tuple(_read_file(item) for item in fields.objects("files", max_items=MAX_FILES)),
        )
        fields.finish()
        return manifest


def _read_file(fields: Fields) -> BackedUpFile:
    file = BackedUpFile(fields.text("name", max_length=MAX_NAME_BYTES), fields.integer("size"), fields.hex("sha256"))
    fields.finish()
    return file


def is_database(name: str) -> bool:
    """Whether the name is a database's, whose size has no limit but the disk's."""
    return name in DATABASES or name.startswith("replicas/")


def mode_of(name: str) -> int:
    """The mode with which a restored file is made: what is private is its owner's alone."""
    return SECRET if is_database(name) or name.startswith("keys/") else OPEN


def check_name(name: str) -> None:
    """Raise `MalformedError` unless a home's backup may hold a file of that name.

    A name has at most three parts, none of them empty, hidden, or `..`: it cannot leave the folder it is put into.
    """
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise MalformedError(f"the name {name!r:.120} is longer than {MAX_NAME_BYTES} bytes")
    parts = name.split("/")
    if len(parts) == 1 and name in (*SINGLE_FILES, *DATABASES):
        return
    if len(parts) == 1 and name.endswith(POLICY_SUFFIX) and _PLAIN.fullmatch(name):
        return
    if len(parts) == 2 and parts[0] in FOLDERS and _PLAIN.fullmatch(parts[1]):
        return
    if len(parts) == 3 and parts[0] == "replicas" and _PARTY.fullmatch(parts[1]) and parts[2] == DATABASES[0]:
        return
    raise MalformedError(f"{name!r:.120} is no file of a home that a backup holds")


def header(name: str, size: int, mode: int) -> bytes:
    """The one block before a file's bytes, as tar has it; owner and times are left out."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    block = info.tobuf(tarfile.GNU_FORMAT)  # for sizes beyond 8 GiB, which ustar cannot write
    assert len(block) == BLOCK
    return block


def padding(size: int) -> bytes:
    """What follows a file of `size` bytes up to the next whole block."""
    return bytes(-size % BLOCK)


END: Final = bytes(2 * BLOCK)


class ArchiveReader:
    """Reads an archive of unknown origin once, from its first byte to its last.

    Args:
        stream: the archive, at its beginning.

    Raises:
        BadBackupError: it does not begin with a manifest, or with one that is refused.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        size = self._expect(MANIFEST, MAX_MANIFEST_BYTES)
        data = self._exactly(size, MANIFEST)
        self._skip_padding(size, MANIFEST)
        try:
            self.manifest = Manifest.decode(data)
        except MalformedError as error:
            raise BadBackupError(f"{error}; is this a file that `unseen backup` wrote?") from error

    def files(self, sink: Callable[[BackedUpFile], Callable[[bytes], object]]) -> Iterator[BackedUpFile]:
        """Yield each file once all its bytes went to what `sink` gave for it, and were those of the manifest.

        Raises:
            BadBackupError: other names, sizes or bytes than the manifest's; anything after the last file; cut short.
        """
        for file in self.manifest.files:
            if self._expect(file.name, file.size) != file.size:
                raise BadBackupError(f"{file.name} has another length in the archive than in its manifest")
            write, digest, left = sink(file), hashlib.sha256(), file.size
            while left:
                data = self._exactly(min(left, CHUNK), file.name)
                left -= len(data)
                digest.update(data)
                write(data)
            self._skip_padding(file.size, file.name)
            if digest.hexdigest() != file.sha256:
                raise BadBackupError(
                    f"the bytes of {file.name} are not those that were backed up: the archive is damaged"
                )
            yield file
        if self._exactly(len(END), "the archive's end") != END:
            raise BadBackupError("the archive holds more than its manifest lists")
        while rest := self._stream.read(CHUNK):  # tar fills up its last record with zeros
            if any(rest):
                raise BadBackupError("the archive goes on after its end")

    def _expect(self, name: str, limit: int) -> int:
        """Take the header of the file `name` of at most `limit` bytes, and return its length."""
        block = self._exactly(BLOCK, name)
        info = None
        with suppress(tarfile.HeaderError, ValueError):
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if info is None:
            raise BadBackupError(f"no tar header stands where {name} should begin: the archive is damaged, or is none")
        if info.type != tarfile.REGTYPE or info.linkname:
            raise BadBackupError(f"{info.name!r:.120} is no ordinary file; a backup holds nothing else")
        if info.name != name:
            raise BadBackupError(f"{info.name!r:.120} stands where {name} should; the archive was not made by `unseen`")
        if not 0 <= info.size <= limit:
            raise BadBackupError(f"{name} has {info.size} bytes, at most {limit} belong there")
        return info.size

    def _exactly(self, size: int, what: str) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise BadBackupError(f"the archive ends within {what}: it was cut short; take another copy")
        return data

    def _skip_padding(self, size: int, what: str) -> None:
        filler = padding(size)
        if self._exactly(len(filler), what) != filler:
            raise BadBackupError(f"there is something behind {what} that does not belong there")


def empty_root() -> str:
    """The RFC 6962 root over no entries, in hex: what a home without a ledger has."""
    return hex_sha256(b"")
