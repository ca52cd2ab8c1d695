"""A party is a home folder: settings, keys, certificate, directory, ledger and vault. Nothing is kept elsewhere.

party.toml               settings; the regulator is pinned here
keys/            0700    log.pem, message.pem, witness.pem (Ed25519), tls.pem and, at the regulator, ca.pem; each 0600
                         while one is changing, NAME.next.pem beside it; what was rotated out, PURPOSE.ID.retired.pem
certificate.pem, ca.pem  this party's certificate and the certificate authorities it accepts
directory.dsse           the regulator-signed party directory
enrolment-request.json   what `unseen init` asked the regulator for
catalog/                 a provider's declarations
ledger.db, vault.db      what is remembered, public and private
witness.db               what this party cosigned of others' logs, and the evidence of what it refused
replicas/                at the regulator: every other party's entries, a ledger each
witness.policy           who must cosign this party's log, where that is not the regulator alone
restored.json            only between `unseen restore` and the first start that has caught up with the witnesses
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from audit.directory import Directory, Role, verify_directory
from audit.errors import BadPassphraseError, MalformedError
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.names import key_name
from parties.config import Overrides, PartyConfig, load_config
from parties.errors import HomeError, IdentityError, PassphraseError
from parties.files import open_private
from parties.identity import Subject, certificate_from_pem, key_from_pem, key_to_pem
from sandbox.authorise import PeerIdentity

MAX_PASSPHRASE: Final = 1024
TLS_ATTEMPTS: Final = 10
TLS_PAUSE_SECONDS: Final = 0.02
"""How often, and after which pause, key and certificate are read until they belong together."""
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024
_KEY_LOST: Final = "put it back from where the keys are kept, or restore a backup with keys (`unseen restore`)"
PassphraseSource = Callable[[], bytes | None]
"""Asked once, and only if a key turns out to be encrypted; returns None when there is no passphrase."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What a TLS endpoint of this party needs, as PEM; `roots` are the certificate authorities it accepts."""

    key: bytes
    certificate: bytes
    roots: bytes

    def __repr__(self) -> str:
        return "TlsMaterial(...)"


def no_passphrase() -> bytes | None:
    """Be the passphrase source of a home whose keys are not encrypted."""
    return None


def read_passphrase_file(path: Path) -> bytes:
    """Return the file's first line as the passphrase; raise `PassphraseError` if there is none."""
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSPHRASE + 2).rstrip(b"\r\n")
    except OSError as error:
        raise PassphraseError(f"the passphrase file {path} cannot be read: {error.strerror}") from error
    if not line or len(line) > MAX_PASSPHRASE:
        raise PassphraseError(f"the first line of {path} is no passphrase of 1 to {MAX_PASSPHRASE} bytes")
    return line


class Home:
    """One party's folder, opened. Reads files when asked, keeps no secrets but the passphrase."""

    def __init__(self, path: Path, config: PartyConfig, passphrase: PassphraseSource) -> None:
        self.path = path
        self.config = config
        self._ask = passphrase
        self._asked = False
        self._passphrase: bytes | None = None

    @classmethod
    def open(
        cls, path: Path, *, passphrase: PassphraseSource = no_passphrase, overrides: Overrides | None = None
    ) -> "Home":
        """Open the home at `path`.

        Raises:
            HomeError: there is none, or its keys are readable by others.
            ConfigError: `party.toml` is wrong.
        """
        if not (path / "party.toml").is_file():
            raise HomeError(f"{path} is no home of a party (it has no party.toml): make one with `unseen init`")
        home = cls(path.resolve(), load_config(path / "party.toml", overrides), passphrase)
        home.check_modes()
        return home

    # -- who ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The party's name."""
        return self.config.party.name

    @property
    def role(self) -> Role:
        """The party's role."""
        return self.config.party.role

    @property
    def subject(self) -> Subject:
        """Party, role and domain, and the names that follow from them."""
        return Subject(self.name, self.role, self.config.party.domain)

    @property
    def identity(self) -> PeerIdentity:
        """This party as others see it."""
        return PeerIdentity(self.name, self.role, self.subject.spiffe_id, self.config.party.legal_entity)

    @property
    def origin(self) -> str:
        """The ledger's origin, which is also the log key's name."""
        return self.key_name(KeyPurpose.LOG)

    def key_name(self, purpose: KeyPurpose) -> str:
        """`<party>.<role>.<domain>/<purpose>`."""
        return key_name(self.name, self.role, self.config.party.domain, purpose)

    @property
    def listen(self) -> str:
        """HOST:PORT that the server binds; empty for a party that does not listen."""
        return self.config.network.listen or self.config.network.endpoint

    # -- files ----------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Path:
        """The folder of private keys."""
        return self.path / "keys"

    @property
    def ledger_path(self) -> Path:
        """The ledger's database."""
        return self.path / "ledger.db"

    @property
    def vault_path(self) -> Path:
        """The vault's database."""
        return self.path / "vault.db"

    @property
    def witness_path(self) -> Path:
        """The database of what this party cosigned of others' logs."""
        return self.path / "witness.db"

    @property
    def replicas(self) -> Path:
        """The regulator's copies of the parties' ledgers, a folder each."""
        return self.path / "replicas"

    @property
    def policy_path(self) -> Path:
        """Which witnesses must cosign this party's log (c2sp.org/tlog-policy); the file may be missing."""
        return self.path / (self.config.witness.policy or "witness.policy")

    @property
    def restored_path(self) -> Path:
        """Says that the ledger came out of a backup and has not caught up with its witnesses yet."""
        return self.path / "restored.json"

    @property
    def catalog(self) -> Path:
        """A provider's declarations."""
        return self.path / "catalog"

    @property
    def certificate_path(self) -> Path:
        """This party's certificate."""
        return self.path / "certificate.pem"

    @property
    def anchors_path(self) -> Path:
        """The certificate authorities that this party accepts, concatenated."""
        return self.path / "ca.pem"

    @property
    def directory_path(self) -> Path:
        """The newest accepted party directory."""
        return self.path / "directory.dsse"

    @property
    def request_path(self) -> Path:
        """The enrolment request that `unseen init` wrote."""
        return self.path / "enrolment-request.json"

    @property
    def next_tls_path(self) -> Path:
        """The TLS key for which a certificate has been asked, until both are in use."""
        return self.keys / "tls.next.pem"

    def next_key_path(self, purpose: KeyPurpose) -> Path:
        """Return where a signing key lies that the regulator has been asked to list, until it is in use."""
        return self.keys / f"{purpose.value}.next.pem"

    def check_modes(self) -> None:
        """Raise `HomeError` if the keys' folder or a key can be read by anyone but its owner."""
        for path in [self.keys, *sorted(self.keys.glob("*.pem"))]:
            try:
                mode = stat.S_IMODE(path.stat().st_mode)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and path != self.keys:
                    continue  # a next key that was put in use since it was listed
                raise HomeError(
                    f"{path} cannot be read ({error.strerror}); restore the home from its backup"
                ) from error
            if mode & 0o077:
                raise HomeError(f"{path} is open to other users (mode {mode:04o}): run chmod go= {path}")

    # -- secrets --------------------------------------------------------------------------------------------------

    @property
    def passphrase(self) -> bytes | None:
        """The passphrase under which this home's keys are kept, asked for on first use; None if they are in clear."""
        if not self._asked and self._is_encrypted():
            self._passphrase = self._ask()
            self._asked = True
        return self._passphrase

    def passphrase_for_new_keys(self) -> bytes | None:
        """Return under what a new key is put: as `passphrase`; raises `PassphraseError` where others lie under one that
        nobody gave.
        """
        if self.passphrase is None and self._is_encrypted():
            raise self._locked()
        return self._passphrase

    def _locked(self) -> PassphraseError:
        return PassphraseError(
            f"the keys of {self.name} are encrypted: give --passphrase-file or set UNSEEN_PASSPHRASE"
        )

    def _is_encrypted(self) -> bool:
        for path in self.keys.glob("*.pem"):
            with contextlib.suppress(FileNotFoundError):  # a next key that was put in use since it was listed
                if b"ENCRYPTED" in path.read_bytes()[:64]:
                    return True
        return False

    def signing_key(self, purpose: KeyPurpose) -> SigningKey:
        """Load one of the signing keys.

        Raises:
            PassphraseError: it is encrypted and the passphrase is missing or wrong.
            HomeError: the file is missing or damaged.
        """
        return self._signing_key(purpose, self.keys / f"{purpose.value}.pem")

    def found_signing_key(self, purpose: KeyPurpose) -> SigningKey | None:
        """Load one of the signing keys, None where its file is missing or damaged.

        A wrong passphrase, which `PassphraseError` says, makes no key a lost one: it may have been mistyped.
        """
        try:
            return self.signing_key(purpose)
        except HomeError:
            return None

    def next_signing_key(self, purpose: KeyPurpose) -> SigningKey | None:
        """Load the key that is to follow, None unless a rotation is under way; raises `PassphraseError`."""
        path = self.next_key_path(purpose)
        return self._signing_key(purpose, path) if path.exists() else None

    def _signing_key(self, purpose: KeyPurpose, path: Path) -> SigningKey:
        pem = self.read(path)
        passphrase = self.passphrase if b"ENCRYPTED" in pem else None
        if b"ENCRYPTED" in pem and passphrase is None:
            raise self._locked()
        try:
            return SigningKey.from_pem(self.key_name(purpose), pem, passphrase)
        except BadPassphraseError as error:
            raise PassphraseError(
                f"the keys of {self.name} do not open: the passphrase is wrong. If it is forgotten, or {path} alone "
                "does not open, move what does not open out of keys/: it is then a lost key, which can be replaced"
            ) from error
        except MalformedError as error:
            raise HomeError(f"{path} is damaged: {error}; {self._mend(path)}") from error

    def tls(self) -> TlsMaterial:
        """Load key (decrypted), certificate and certificate authorities.

        Raises:
            HomeError: a file is missing, so the party is not enrolled yet.
            PassphraseError: as for `signing_key`.
        """
        for _ in range(TLS_ATTEMPTS):
            certificate = self.read(self.certificate_path)
            wanted = certificate_from_pem(certificate).public_key()
            for key in self._tls_keys():
                if key.public_key() == wanted:
                    return TlsMaterial(key_to_pem(key, None), certificate, self.read(self.anchors_path))
            time.sleep(TLS_PAUSE_SECONDS)
        raise HomeError(
            f"{self.certificate_path} is not for the key in {self.keys / 'tls.pem'}: restore both from one backup, "
            "or ask the regulator for another certificate (unseen certificate renew --out FILE)"
        )

    def _tls_keys(self) -> Iterator[ec.EllipticCurvePrivateKey]:
        """Yield the TLS key and, while a certificate is being renewed, the next one.

        A renewal puts the certificate into its place first, and then its key. In between, and after a crash there, the
        pair is the certificate and the next key.
        """
        where = f"the TLS key of {self.name}"
        if self.next_tls_path.exists():
            with contextlib.suppress(FileNotFoundError, IdentityError):
                yield key_from_pem(self.next_tls_path.read_bytes(), self.passphrase, where=where)
        path = self.keys / "tls.pem"
        try:
            yield key_from_pem(self.read(path), self.passphrase, where=where)
        except IdentityError as error:
            raise HomeError(f"{error}; if it is lost for good: `unseen certificate renew --out FILE`") from error

    def anchors(self) -> bytes | None:
        """Return the federation's certificate authorities (PEM), None before the party is enrolled."""
        return self.read(self.anchors_path) if self.anchors_path.exists() else None

    def tls_stamp(self) -> tuple[int, ...]:
        """Return something that changes when key, certificate or authorities are replaced."""
        stamps: list[int] = []
        for path in (self.keys / "tls.pem", self.certificate_path, self.anchors_path):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            stamps += (state.st_mtime_ns, state.st_ino)  # two renewals within a tick of the file system's clock
        return tuple(stamps)

    # -- the directory ----------------------------------------------------------------------------------------------

    def regulator_key(self) -> VerifyingKey:
        """Return the pinned key that signs directories; raise `HomeError` before enrolment."""
        if not self.config.regulator.vkey:
            raise HomeError(f"{self.name} has no regulator yet: run `unseen enrol accept BUNDLE`")
        return VerifyingKey.parse(self.config.regulator.vkey)

    def directory_bytes(self) -> bytes:
        """Return the newest accepted directory as signed; raise `HomeError` before enrolment."""
        return self.read(self.directory_path, limit=MAX_DIRECTORY_BYTES)

    def directory(self, *, now_ms: int, minimum_version: int = 0) -> Directory:
        """Return the newest accepted directory, verified under the pinned key.

        Raises:
            HomeError: not enrolled yet.
            StaleDirectoryError, BadSignatureError, MalformedError: as `verify_directory`.
        """
        data = self.directory_bytes()
        return verify_directory(data, self.regulator_key(), now_ms=now_ms, minimum_version=minimum_version)

    # -- reading and writing ------------------------------------------------------------------------------------------

    def read(self, path: Path, *, limit: int = 1024 * 1024) -> bytes:
        """Return a file of the home of at most `limit` bytes; raise `HomeError` naming it and what makes it."""
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError as error:
            raise HomeError(f"{path} is missing: {self._mend(path)}") from error
        except OSError as error:
            raise HomeError(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > limit:
            raise HomeError(f"{path} is larger than {limit} bytes")
        return data

    def _mend(self, path: Path) -> str:
        """Say what to do about a file that is missing or damaged."""
        if path.parent != self.keys:
            return "`unseen enrol accept BUNDLE` installs what enrolment brings"
        purposes = {f"{purpose.value}.pem": purpose for purpose in KeyPurpose}
        if path in {self.next_tls_path, *(self.next_key_path(purpose) for purpose in KeyPurpose)}:
            return "put it back, or delete it: another is then made by the next request"
        if path.name == "tls.pem":
            return f"{_KEY_LOST}; if it is lost for good: `unseen certificate renew --out FILE`"
        purpose = purposes.get(path.name)
        if purpose is None or (self.role is Role.REGULATOR and purpose is KeyPurpose.MESSAGE):
            return _KEY_LOST
        out = " --out FILE" if purpose is KeyPurpose.MESSAGE else ""
        return f"{_KEY_LOST}; if it is lost for good: `unseen keys rotate{out}`"

    def is_served(self) -> bool:
        """Tell whether a process of this party has its ledger open for writing now, such as `unseen serve`."""
        lock = self.ledger_path.with_name(f"{self.ledger_path.name}.lock")
        if not lock.exists():
            return False
        with open_private(lock, os.O_RDWR) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the home's lock, so that two commands do not change its files at once; waits for the other."""
        with open_private(self.path / ".lock", os.O_RDWR | os.O_CREAT) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
