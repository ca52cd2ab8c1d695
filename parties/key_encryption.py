"""Putting the private keys of a home that is there already under a passphrase, or under another one.

Each file is replaced all or nothing. A crash leaves some under the new passphrase and the others as they were; doing it
again finishes it, since every file is tried with both. What lay on the disk in clear, and backups of it, stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.errors import BadPassphraseError, MalformedError
from audit.keys import KeyPurpose, SigningKey
from audit.sealing import open_secret, seal_secret
from parties.client.paillier_keys import FILE as PAILLIER_FILE
from parties.client.paillier_keys import MAX_KEY_BYTES
from parties.client.paillier_keys import SEALED_FILE as PAILLIER_SEALED
from parties.errors import HomeError, IdentityError, KeyChangeError, PassphraseError
from parties.files import sync_folder, write_file
from parties.home import Home
from parties.identity import key_from_pem, key_to_pem

_SECRET: Final = 0o600


@dataclass(frozen=True, slots=True)
class _Coding:
    """How a kind of key lies in its file.

    Attributes:
        opened: the key in clear, of a file and its passphrase (None for one in clear).
        sealed: a file under a passphrase, of the key in clear.
    """

    opened: Callable[[bytes, bytes | None], bytes]
    sealed: Callable[[bytes, bytes], bytes]


def keys_in_clear(home: Home) -> tuple[Path, ...]:
    """Return the home's private keys that lie under no passphrase."""
    found = [path for path in sorted(home.keys.glob("*.pem")) if not _is_encrypted(home.read(path))]
    clear = home.keys / PAILLIER_FILE
    return (*found, *([clear] if clear.exists() else []))


def encrypt_keys(home: Home, passphrase: bytes, *, current: bytes | None = None) -> tuple[Path, ...]:
    """Put all private keys of a home under `passphrase`, and return what was written: nothing where all are already.

    The signing keys, the TLS key, a certificate authority's and a merchant's Paillier key; also what was retired, and
    what is to follow. All are opened before the first is written, and what is written is opened before it takes the
    place of what was there.

    Args:
        home: whose keys; nobody serves it.
        passphrase: the new one.
        current: what those are under that are encrypted already; not needed for what `passphrase` opens.

    Raises:
        KeyChangeError: the party is being served, and would write keys as it has found them.
        PassphraseError: `passphrase` is empty, or an encrypted key opens with neither. Nothing has changed.
        HomeError: a key is damaged. Nothing has changed.
    """
    if not passphrase:
        raise PassphraseError("an empty passphrase protects nothing: give one")
    if home.is_served():
        raise KeyChangeError(
            f"{home.name} is being served from this home: stop it, encrypt its keys, and start it again with the "
            "passphrase"
        )
    with home.writing():
        found = [*_pem_files(home, passphrase, current), *_paillier_file(home, passphrase, current)]
        for path, data in found:
            write_file(path, data, mode=_SECRET)
        clear = home.keys / PAILLIER_FILE
        if clear.exists():  # it lies sealed beside itself by now
            clear.unlink()
            sync_folder(home.keys)
    return tuple(path for path, _ in found)


def _pem_files(home: Home, passphrase: bytes, current: bytes | None) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(home.keys.glob("*.pem")):
        pem, coding = home.read(path), _coding_of(home, path)
        if _is_encrypted(pem):
            key, opened_by = _opened(coding, path, pem, (passphrase, current))
            if opened_by == passphrase:
                continue
        else:
            key = _in_clear(coding, path, pem)
        yield path, _sealed(coding, path, key, passphrase)


def _paillier_file(home: Home, passphrase: bytes, current: bytes | None) -> Iterator[tuple[Path, bytes]]:
    clear, sealed = home.keys / PAILLIER_FILE, home.keys / PAILLIER_SEALED
    key = home.read(clear, limit=MAX_KEY_BYTES) if clear.exists() else None
    if sealed.exists():
        data = home.read(sealed, limit=MAX_KEY_BYTES)
        held, opened_by = _opened(_PAILLIER, sealed, data, (passphrase, current))
        if key is not None and key != held:
            raise HomeError(f"{clear} and {sealed} hold different keys: move the one out of keys/ that is not in use")
        if opened_by == passphrase:
            return
        key = held
    if key is not None:
        yield sealed, _sealed(_PAILLIER, clear, key, passphrase)


def _is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem


def _opened(coding: _Coding, path: Path, data: bytes, passphrases: tuple[bytes, bytes | None]) -> tuple[bytes, bytes]:
    for each in passphrases:
        if each is None:
            continue
        try:
            return coding.opened(data, each), each
        except (PassphraseError, BadPassphraseError):
            continue
        except (MalformedError, IdentityError) as error:
            raise HomeError(_damaged(path, error)) from error
    raise PassphraseError(
        f"{path} is encrypted and does not open: the passphrase is wrong, or the file is damaged, or was put under "
        "another one earlier. Nothing was changed; a file that is not needed any more, move out of keys/"
    )


def _in_clear(coding: _Coding, path: Path, data: bytes) -> bytes:
    try:
        return coding.opened(data, None)
    except (MalformedError, IdentityError) as error:
        raise HomeError(_damaged(path, error)) from error


def _sealed(coding: _Coding, path: Path, key: bytes, passphrase: bytes) -> bytes:
    data = coding.sealed(key, passphrase)
    if coding.opened(data, passphrase) != key:
        raise HomeError(f"{path} does not open when it is encrypted; nothing was changed")
    return data


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({error}), or no key of this home: put it right, or move it out of keys/"


def _coding_of(home: Home, path: Path) -> _Coding:
    names = {purpose.value: home.key_name(purpose) for purpose in KeyPurpose}
    name = names.get(path.name.partition(".")[0])
    return _elliptic(path) if name is None else _signing(name)


def _signing(name: str) -> _Coding:
    return _Coding(
        lambda pem, passphrase: SigningKey.from_pem(name, pem, passphrase).to_pem(None),
        lambda key, passphrase: SigningKey.from_pem(name, key, None).to_pem(passphrase),
    )


def _elliptic(path: Path) -> _Coding:
    where = str(path)
    return _Coding(
        lambda pem, passphrase: key_to_pem(key_from_pem(pem, passphrase, where=where), None),
        lambda key, passphrase: key_to_pem(key_from_pem(key, None, where=where), passphrase),
    )


_PAILLIER: Final = _Coding(
    lambda data, passphrase: data if passphrase is None else open_secret(data, passphrase), seal_secret
)
