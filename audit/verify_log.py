"""Which keys may have signed a ledger's checkpoints: as its own entries say, held against the regulator's directory.

What each check finds:
 1 a second log      a key that serves two origins has two histories, and no outside checkpoint is of both
 2 a stranger's log  the directory lists no such party, in no such role, or no such log key
 3 a rotation of the thief's own   a LOG_KEY entry that hands the log over to a key that the directory does not list
 4 a thief's signature  a checkpoint by a key that was revoked, which no witness had seen before
"""

from audit.checkpoint import Checkpoint, Note
from audit.directory import Directory
from audit.entry import Genesis, LogKeyChanged
from audit.errors import (
    AuditError,
    BadSignatureError,
    Damage,
    MalformedError,
    Rule,
    UnknownKeyError,
    VerificationFailedError,
)
from audit.keys import VerifyingKey
from audit.log_keys import KeySchedule
from audit.names import KeyPurpose
from audit.party_record import KeyRecord, KeyStatus
from audit.verify_cosignatures import Vouched, Witnesses, has_line


class LogHistory:
    """A log's origin, and its keys over the entries read so far.

    Args:
        genesis: the ledger's first entry.
        directory: the regulator's, verified, or None: then the ledger's own word for its keys is all there is.

    Raises:
        VerificationFailedError: `bad-signature` at entry 0, by the checks 1 and 2.
    """

    __slots__ = ("_directory", "_listed", "_schedule", "_witnesses", "origin")

    def __init__(self, genesis: Genesis, directory: Directory | None) -> None:
        named = VerifyingKey.parse(genesis.log_key)
        if genesis.origin != named.name:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE, 0, f"the log calls itself {genesis.origin}, its key is that of {named.name}"
            )
        self.origin = genesis.origin
        self._schedule = KeySchedule.of(genesis)
        self._directory = directory
        self._listed: dict[VerifyingKey, KeyRecord] = {}
        self._witnesses: Witnesses | None = None
        if directory is not None:
            self._listed = _listed_keys(directory, genesis)
            self._witnesses = Witnesses(directory, genesis.party)
            self._check_listed(0, named)

    @property
    def is_held_against_directory(self) -> bool:
        """Whether a directory says whose the keys are."""
        return self._directory is not None

    def change(self, index: int, entry: LogKeyChanged) -> None:
        """Takes in the LOG_KEY entry at `index`.

        Raises:
            VerificationFailedError: `altered`, it does not follow from the keys so far; `bad-signature`, by check 3.
        """
        try:
            self._schedule.change(index, entry)
        except MalformedError as error:
            raise VerificationFailedError(Damage.ALTERED, index, str(error), rule=Rule.REFERENCES) from error
        if self._directory is not None:
            self._check_listed(index, self._schedule.current)

    def may_sign(self, key: VerifyingKey, size: int) -> bool:
        """Whether the entries let this key sign checkpoints of `size`."""
        return key in self._schedule.keys_for(size)

    def verify(self, note: Note, *, outside: bool = False) -> Vouched:
        """The checkpoint in a note, signed by a key that may sign one of its size, and who cosigned it.

        Args:
            note: as stored, or as kept elsewhere.
            outside: accept every key that the directory lists: the entries may end before the key came.

        Raises:
            MalformedError: not a checkpoint.
            UnknownKeyError: signed by none of these keys.
            BadSignatureError: of another log, or a signature by one of these keys or by a witness does not verify.
        """
        checkpoint = Checkpoint.from_body(note.text)
        if checkpoint.origin != self.origin:
            raise BadSignatureError(f"a checkpoint of the log {checkpoint.origin!r}, not of {self.origin!r}")
        allowed = list(self._schedule.keys_for(checkpoint.size))
        if outside:
            allowed += [key for key in self._listed if key not in allowed]
        # Of several signers the one that was not revoked vouches.
        for key in sorted(allowed, key=lambda key: self._revoked_ms(key) is not None):
            if has_line(note, key):
                note.verify(key)
                cosigned = None if self._witnesses is None else self._witnesses.cosigned(note, checkpoint)
                return Vouched(checkpoint, key, self._revoked_ms(key), cosigned)
        raise UnknownKeyError(f"not signed by {' or '.join(key.keyid for key in allowed)}")

    def _revoked_ms(self, key: VerifyingKey) -> int | None:
        record = self._listed.get(key)
        return record.until_ms if record is not None and record.status is KeyStatus.REVOKED else None

    def _check_listed(self, index: int, key: VerifyingKey) -> None:
        if key not in self._listed:
            assert self._directory is not None
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                index,
                f"{key.keyid} is no log key of this party in version {self._directory.version} of the regulator's"
                " directory",
            )


def _listed_keys(directory: Directory, genesis: Genesis) -> dict[VerifyingKey, KeyRecord]:
    try:
        record = directory.party(genesis.party)
    except AuditError as error:
        raise VerificationFailedError(Damage.BAD_SIGNATURE, 0, str(error)) from error
    if record.role is not genesis.role:
        raise VerificationFailedError(
            Damage.BAD_SIGNATURE, 0, f"{genesis.party} is a {record.role.value} in the regulator's directory"
        )
    return {each.key: each for each in record.keys if each.purpose is KeyPurpose.LOG}
