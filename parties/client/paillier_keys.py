"""The merchant's Paillier key: made on first use, kept as a JWK in the home's keys, sealed where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.errors import BadPassphraseError, MalformedError
from audit.sealing import open_secret, seal_secret
from parties.errors import HomeError, PassphraseError
from parties.files import write_file
from parties.home import Home
from protocols.errors import BadKeyError, BadModulusError
from protocols.paillier_key import PrivateKey, generate_key
from protocols.phe_interop import private_key_from_jwk, private_key_to_jwk

FILE: Final = "paillier.jwk"
SEALED_FILE: Final = "paillier.jwk.sealed"
MAX_KEY_BYTES: Final = 128 * 1024


def load_paillier_key(home: Home, say: Callable[[str], None]) -> PrivateKey:
    """Return the home's Paillier key, making it first if there is none; `say` hears of that.

    Raises:
        HomeError: the key file is damaged.
        PassphraseError: it is sealed and the passphrase missing or wrong.
    """
    clear, sealed = home.keys / FILE, home.keys / SEALED_FILE
    with home.writing():
        if sealed.exists():
            return _read(home, sealed, _unseal(home, sealed))
        if clear.exists():
            return _read(home, clear, home.read(clear, limit=MAX_KEY_BYTES))
        bits = home.config.compute.paillier_bits
        say(f"Making this party's Paillier key ({bits} bits, once)")
        key = generate_key(bits, minimum_bits=home.config.compute.unsafe_minimum_modulus_bits)
        jwk = private_key_to_jwk(key, kid=home.name).encode()
        if home.passphrase is None:
            write_file(clear, jwk, mode=0o600)
        else:
            write_file(sealed, seal_secret(jwk, home.passphrase), mode=0o600)
        return key


def _unseal(home: Home, path: Path) -> bytes:
    if home.passphrase is None:
        raise PassphraseError(f"{path} is encrypted: give --passphrase-file, or UNSEEN_PASSPHRASE in the environment")
    try:
        return open_secret(home.read(path, limit=MAX_KEY_BYTES), home.passphrase)
    except BadPassphraseError as error:
        raise PassphraseError(f"{path} does not open: the passphrase is wrong") from error
    except MalformedError as error:
        raise HomeError(f"{path} is damaged ({error}); restore it from the backup") from error


def _read(home: Home, path: Path, jwk: bytes) -> PrivateKey:
    try:
        return private_key_from_jwk(jwk, minimum_bits=home.config.compute.unsafe_minimum_modulus_bits)
    except (BadKeyError, BadModulusError) as error:
        raise HomeError(f"{path} is no usable Paillier key ({error}); restore it from the backup") from error
