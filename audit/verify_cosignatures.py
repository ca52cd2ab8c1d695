"""What witnesses' cosignatures on a log's checkpoints say: how many of its entries they had seen, and when.

Whose cosignatures count is the regulator's directory's to say: the witness keys of every other party than the log's
owner, revoked ones never. Whose *time* is believed is asked more strictly, since a time decides whether a revoked key's
signature counts: the regulator's alone, which is who revokes. A provider that helps the thief of a key could date its
cosignature back; the regulator's own log, which nobody else can witness for it, is left to all the others.
"""

from dataclasses import dataclass
from typing import Final

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.directory import Directory
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyStatus

MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Cosigned:
    """Verified cosignatures on one checkpoint.

    Attributes:
        size: number of entries that the witnesses had seen.
        time_s: the earliest, in seconds since the Unix epoch, by the witness's clock.
        by: the witnesses' party names, sorted.
        believed_s: the earliest by a witness whose time is believed, None where there is none.
    """

    size: int
    time_s: int
    by: tuple[str, ...]
    believed_s: int | None

    def is_before(self, until_ms: int) -> bool:
        """Whether a believed witness had seen these entries before `until_ms` (milliseconds since the epoch)."""
        return self.believed_s is not None and self.believed_s * MILLISECONDS < until_ms


class Witnesses:
    """The witnesses of one party's log, by a directory.

    Args:
        directory: the regulator's, verified.
        party: the log's owner. Its own witness key never counts here.
    """

    __slots__ = ("_believed", "_names")

    def __init__(self, directory: Directory, party: str) -> None:
        self._names: dict[CosignerKey, str] = {}
        self._believed: set[CosignerKey] = set()
        for other in directory.parties:
            for record in other.keys:
                if (
                    other.name == party
                    or record.purpose is not KeyPurpose.WITNESS
                    or record.status is KeyStatus.REVOKED
                ):
                    continue
                key = CosignerKey(record.key)
                self._names[key] = other.name
                if directory.regulator in (other.name, party):
                    self._believed.add(key)

    def cosigned(self, note: Note, checkpoint: Checkpoint) -> Cosigned | None:
        """The cosignatures on a checkpoint's note, None where there are none by these witnesses.

        Raises:
            BadSignatureError: a line by one of these witnesses does not verify.
        """
        found = verify_cosignatures(note, self._names)
        if not found:
            return None
        return Cosigned(
            checkpoint.size,
            min(each.timestamp_s for each in found),
            tuple(sorted({self._names[each.key] for each in found})),
            min((each.timestamp_s for each in found if each.key in self._believed), default=None),
        )


@dataclass(frozen=True, slots=True)
class Vouched:
    """A checkpoint that a key of its log signed.

    Attributes:
        signer: that key.
        revoked_ms: when the directory revoked that key, in milliseconds since the epoch; None when it did not.
        cosigned: by the witnesses, None by none.
    """

    checkpoint: Checkpoint
    signer: VerifyingKey
    revoked_ms: int | None = None
    cosigned: Cosigned | None = None

    @property
    def counts(self) -> bool:
        """Whether the signature is worth anything: a revoked key's only from before, and a witness has to say so."""
        return self.revoked_ms is None or (self.cosigned is not None and self.cosigned.is_before(self.revoked_ms))


def has_line(note: Note, key: VerifyingKey) -> bool:
    """Whether a line claims to be this key's. Says nothing about its validity."""
    return any((line.name, line.key_id) == (key.name, key.key_id) for line in note.signatures)
