"""How a party changes its own signing keys: it asks the regulator, and puts in use what the directory then lists.

Every step can be taken again. The next keys lie in the home before anybody is asked; whether they have been listed is
read out of the directory; whether the ledger has gone over to the next log key, out of the ledger. The party is not
served meanwhile: a server would go on signing with the keys it has loaded (`parties.key_room`).

The key that is replaced need not be there any more. A lost message key cannot ask for its successor: the request goes
by file to officials, who find out in person who asks.
"""

from collections.abc import Collection
from typing import Final, Protocol

from audit.clock import Clock
from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger
from audit.log_keys import log_key_key
from audit.names import Role
from parties.entropy import SystemEntropy
from parties.errors import KeyChangeError
from parties.home import Home
from parties.key_files import discard, make_next_keys, next_keys, put_in_use
from parties.rotation import RotationRequest, speaks_for

_NONCE_BYTES: Final = 16


class KeyRoom(Protocol):
    """A party's ledger, open for writing, and its directory."""

    @property
    def ledger(self) -> Ledger:
        """The ledger; no other process has it open."""
        ...

    @property
    def settled(self) -> tuple[VerifyingKey, ...]:
        """The keys that were put in use when the home was opened, to finish what a crash had interrupted."""
        ...

    def directory(self) -> Directory:
        """Return the newest directory that the party has accepted, expired or not."""
        ...

    def hand_in(self, request: bytes) -> None:
        """Bring a rotation request to the regulator and accept the directory that answers it."""
        ...


def request_rotation(home: Home, directory: Directory, purposes: Collection[KeyPurpose], clock: Clock) -> bytes:
    """Return a rotation request for next keys of `purposes`, which are made if they are not there yet.

    Where the message key is lost the new one alone signs, which is enough for officials only (`replace_revoked`).

    Raises:
        KeyChangeError: the regulator's message key; next keys of the home are listed already and wait to be used; or
            the message key is lost and is not among `purposes`.
        PassphraseError: as `Home.signing_key`.
        HomeError: the regulator's message key is lost.
    """
    found = {purpose: home.found_signing_key(purpose) for purpose in KeyPurpose}  # a mistyped passphrase ends here
    if home.role is Role.REGULATOR and KeyPurpose.MESSAGE in purposes:
        raise KeyChangeError(
            f"the message key of {home.name} is what every party has pinned as its root of trust: it cannot be "
            "rotated. Name the others: --purpose log --purpose witness"
        )
    if any(_listed(directory.party(home.name), key.verifying_key) for key in next_keys(home).values()):
        raise KeyChangeError("the regulator has listed keys that are not in use yet: run unseen keys rotate first")
    if found[KeyPurpose.MESSAGE] is None:
        if home.role is Role.REGULATOR:
            home.signing_key(KeyPurpose.MESSAGE)  # raises what is wrong with it
        if KeyPurpose.MESSAGE not in purposes:
            raise KeyChangeError(
                f"the message key of {home.name} is lost, so that nothing speaks for it: it is to be replaced too "
                "(--purpose message, or no --purpose at all)"
            )
    new = make_next_keys(home, purposes)
    request = RotationRequest(
        party=home.name,
        keys={purpose: key.verifying_key for purpose, key in new.items()},
        version=directory.version,
        created_at_ms=clock.now_ms(),
        nonce=SystemEntropy().token(_NONCE_BYTES).hex(),
    )
    return request.seal(new, found[KeyPurpose.MESSAGE]).encode()


def rotate_keys(home: Home, room: KeyRoom, purposes: Collection[KeyPurpose], clock: Clock) -> tuple[VerifyingKey, ...]:
    """Have new keys listed and put them in use; if an earlier rotation was not finished, finish that one instead.

    Returns the keys put in use.

    Raises:
        KeyChangeError: as `request_rotation` and `use_listed_keys`, or the regulator refuses.
        PeerUnavailableError, DeniedError: the regulator cannot be reached, or refuses the caller.
        LedgerError: it could not be recorded. In all cases: run it again.
    """
    finished = (*room.settled, *use_listed_keys(home, room))
    if finished:
        return finished
    verify_speaks(home, room.directory())
    room.hand_in(request_rotation(home, room.directory(), purposes, clock))
    return use_listed_keys(home, room)


def verify_speaks(home: Home, directory: Directory) -> None:
    """Raise `KeyChangeError` unless the home has the message key that the directory lists as active."""
    key = home.found_signing_key(KeyPurpose.MESSAGE)
    if key is None and home.role is not Role.REGULATOR:
        raise KeyChangeError(
            f"the message key of {home.name} is lost (missing or damaged), so that nothing speaks for it: make a "
            "request with `unseen keys rotate --out FILE` and bring it to the regulator, who identifies you, revokes "
            f"the lost key (unseen keys revoke {home.name} --purpose message), and signs (unseen keys sign "
            "--replace-revoked)"
        )
    speaks_for(directory.party(home.name), home.signing_key(KeyPurpose.MESSAGE).verifying_key)


def use_without_ledger(home: Home, directory: Directory) -> tuple[VerifyingKey, ...]:
    """Put those next keys but the log key in use that the directory lists, and return them."""
    record = directory.party(home.name)
    used: list[VerifyingKey] = []
    for purpose, key in next_keys(home).items():
        if purpose is not KeyPurpose.LOG and is_listed(record, key.verifying_key):
            put_in_use(home, purpose)
            used.append(key.verifying_key)
    return tuple(used)


def is_listed(record: PartyRecord, key: VerifyingKey) -> bool:
    """Whether the party has that key on record, whatever its status."""
    return _listed(record, key) is not None


def use_listed_keys(home: Home, room: KeyRoom) -> tuple[VerifyingKey, ...]:
    """Put those next keys in use that the directory lists, and return them.

    Raises:
        KeyChangeError: the log key has to wait, since the ledger's witnesses have not been heard.
        LedgerError: the ledger could not go over to its next key.
    """
    directory = room.directory()
    used = use_without_ledger(home, directory)
    # The log key comes last: it may have to wait for witnesses.
    key = home.next_signing_key(KeyPurpose.LOG)
    listed = None if key is None else _listed(directory.party(home.name), key.verifying_key)
    if key is None or listed is None:
        return used
    if not _hand_over(home, room, key, listed):
        discard(home, KeyPurpose.LOG)
        return used
    put_in_use(home, KeyPurpose.LOG)
    return (*used, key.verifying_key)


def _listed(record: PartyRecord, key: VerifyingKey) -> KeyRecord | None:
    return next((item for item in record.keys if item.key == key), None)


def _hand_over(home: Home, room: KeyRoom, key: SigningKey, listed: KeyRecord) -> bool:
    """Let the ledger go over to its next key; False where that was revoked before it served."""
    if room.ledger.find(log_key_key(key.verifying_key)) is not None:
        return True
    if listed.status is not KeyStatus.ACTIVE:
        return False
    if room.ledger.held:
        raise KeyChangeError(
            "the other keys are in use. The ledger cannot go over to its next key before its witnesses have said what "
            "they know of it: run unseen keys rotate again when they can be reached"
        )
    directory = room.directory()
    old = _listed(directory.party(home.name), home.signing_key(KeyPurpose.LOG).verifying_key)
    vouch = old is not None and old.status is not KeyStatus.REVOKED
    room.ledger.rotate(key, directory.version, vouch=vouch)
    return True
