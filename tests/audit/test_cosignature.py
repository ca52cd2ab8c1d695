"""Cosignatures: made, read, and refused where they are another key's, another text's, or another time's."""

import dataclasses

import pytest

from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.cosignature import CosignerKey, add_lines, cosign, verify_cosignatures
from audit.errors import BadSignatureError, MalformedError
from audit.keys import SigningKey
from audit.names import KeyPurpose
from tests.audit.samples import signing_key

LOG = signing_key("east", KeyPurpose.LOG)
WITNESS = signing_key("watch", KeyPurpose.WITNESS)
KEY = CosignerKey(WITNESS.verifying_key)
BODY = Checkpoint(LOG.name, 7, bytes(range(32))).body()
NOTE = Note(BODY, ()).sign(LOG)


def cosigned(time_s: int = 1_679_315_147) -> Note:
    return add_lines(NOTE, [cosign(BODY, WITNESS, time_s)])


def test_the_message_is_the_specifications() -> None:
    line = cosign(BODY, WITNESS, 1_679_315_147)
    assert line.signature[:8] == bytes.fromhex("000000006418") + bytes.fromhex("50cb")
    WITNESS.verifying_key.verify(b"cosignature/v1\ntime 1679315147\n" + BODY, line.signature[8:])


def test_the_identifier_is_not_the_one_of_plain_signatures() -> None:
    assert KEY.key_id != WITNESS.verifying_key.key_id
    assert CosignerKey.parse(KEY.vkey()) == KEY
    with pytest.raises(MalformedError):
        CosignerKey.parse(WITNESS.verifying_key.vkey())
    with pytest.raises(MalformedError):
        CosignerKey.parse(KEY.vkey().replace("+", "-"))


def test_a_cosigned_note_still_verifies_under_the_logs_key_and_gives_the_time() -> None:
    note = Note.decode(cosigned().encode())
    note.verify(LOG.verifying_key)
    (found,) = verify_cosignatures(note, [KEY])
    assert (found.key, found.timestamp_s) == (KEY, 1_679_315_147)


def test_a_cosignature_moved_to_another_time_or_text_is_refused() -> None:
    line = cosign(BODY, WITNESS, 100)
    later = NoteSignature(line.name, line.key_id, (200).to_bytes(8, "big") + line.signature[8:])
    with pytest.raises(BadSignatureError):
        verify_cosignatures(add_lines(NOTE, [later]), [KEY])
    other = Note(Checkpoint(LOG.name, 8, bytes(32)).body(), ()).sign(LOG)
    with pytest.raises(BadSignatureError):
        verify_cosignatures(add_lines(other, [line]), [KEY])


def test_unknown_cosigners_are_ignored() -> None:
    stranger = SigningKey.generate("stranger.example/witness")
    note = add_lines(NOTE, [cosign(BODY, stranger, 1)])
    assert verify_cosignatures(note, [KEY]) == ()


def test_a_second_line_by_the_same_witness_is_not_added() -> None:
    again = add_lines(cosigned(100), [cosign(BODY, WITNESS, 200)])
    assert again == cosigned(100)


@pytest.mark.parametrize("time_s", [-1, 2**63])
def test_times_out_of_range_are_refused(time_s: int) -> None:
    with pytest.raises(MalformedError):
        cosign(BODY, WITNESS, time_s)


def test_a_short_signature_is_refused() -> None:
    line = dataclasses.replace(cosign(BODY, WITNESS, 5), signature=b"\x00" * 8)
    with pytest.raises(BadSignatureError):
        KEY.verify(BODY, line)
