"""A home's signing keys while they change: the next one beside the current one, and what was current kept as retired.

`keys/<purpose>.next.pem` is there from the request until the regulator's directory lists the key; then it takes the
current key's place all at once, and that lies as `keys/<purpose>.<key id>.retired.pem`. A crash at any point leaves
either state, and doing it again finishes it. What was current need not be there, nor be readable: a damaged file is
kept as `keys/<purpose>.before.<next key's id>.unreadable`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import open_reader
from audit.log_keys import log_key_key
from audit.party_record import KeyStatus, PartyRecord
from parties.errors import HomeError, PassphraseError
from parties.files import sync_folder, write_file
from parties.home import Home

_SECRET = 0o600


def next_keys(home: Home) -> dict[KeyPurpose, SigningKey]:
    """Return the keys that are to follow, by purpose; raises `PassphraseError`."""
    found = {purpose: home.next_signing_key(purpose) for purpose in KeyPurpose}
    return {purpose: key for purpose, key in found.items() if key is not None}


def make_next_keys(home: Home, purposes: Collection[KeyPurpose]) -> Mapping[KeyPurpose, SigningKey]:
    """Return the next keys of `purposes`; those that an earlier request has announced stay, the others are made."""
    with home.writing():
        made: dict[KeyPurpose, SigningKey] = {}
        for purpose in KeyPurpose:
            if purpose not in purposes:
                continue
            key = home.next_signing_key(purpose)
            if key is None:
                key = SigningKey.generate(home.key_name(purpose))
                write_file(home.next_key_path(purpose), key.to_pem(home.passphrase_for_new_keys()), mode=_SECRET)
            made[purpose] = key
        return made


def put_in_use(home: Home, purpose: KeyPurpose) -> None:
    """Let the next key take the current one's place."""
    with home.writing():
        following = home.next_key_path(purpose)
        if not following.exists():
            return
        current = home.keys / f"{purpose.value}.pem"
        if current.exists():
            kept = _kept_path(home, purpose)
            if not kept.exists():  # else a crash came between the two renames
                kept.hardlink_to(current)
        following.replace(current)
        sync_folder(home.keys)


def _kept_path(home: Home, purpose: KeyPurpose) -> Path:
    following = home.next_signing_key(purpose)
    try:
        return retired_path(home, purpose, home.signing_key(purpose))
    except (HomeError, PassphraseError):  # the next key has opened: it is this file that does not
        assert following is not None
        return home.keys / f"{purpose.value}.before.{following.verifying_key.key_id.hex()}.unreadable"


def discard(home: Home, purpose: KeyPurpose) -> None:
    """Throw away a next key that will never be listed as active again."""
    with home.writing():
        home.next_key_path(purpose).unlink(missing_ok=True)


def retired_path(home: Home, purpose: KeyPurpose, key: SigningKey) -> Path:
    """Where a key lies once another is in use."""
    return home.keys / f"{purpose.value}.{key.verifying_key.key_id.hex()}.retired.pem"


def keys_not_in_use(home: Home, record: PartyRecord) -> tuple[KeyPurpose, ...]:
    """Return the purposes for which the directory lists another key of this party as active than the home signs with.

    Raises `PassphraseError`, or `HomeError` where a key is missing.
    """
    active = {item.purpose: item.key for item in record.keys if item.status is KeyStatus.ACTIVE}
    return tuple(purpose for purpose in active if active[purpose] != home.signing_key(purpose).verifying_key)


def settle_log_key(home: Home) -> tuple[VerifyingKey, ...]:
    """Put the next log key in use if a crash came after the ledger had gone over to it, and return it then.

    The ledger opens with no other key any more; every opener calls this first.

    Raises:
        LedgerUnavailableError: the ledger cannot be read.
    """
    following = home.next_signing_key(KeyPurpose.LOG)
    if following is None or not home.ledger_path.exists():
        return ()
    reader = open_reader(home.ledger_path)
    try:
        gone_over = reader.find(log_key_key(following.verifying_key)) is not None
    finally:
        reader.close()
    if not gone_over:
        return ()
    put_in_use(home, KeyPurpose.LOG)
    return (following.verifying_key,)
