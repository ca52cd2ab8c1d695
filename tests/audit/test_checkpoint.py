"""Signed notes and checkpoints against c2sp.org/signed-note and /tlog-checkpoint."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint, verify_checkpoint
from audit.errors import AuditError, BadSignatureError, LimitExceededError, MalformedError
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from tests.audit.ledgers import LOG_KEY, ORIGIN
from tests.audit.samples import signing_key

# golang.org/x/mod/sumdb/note, example "Open": the note and key by which Go documents the format.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()

CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
SIGNED = sign_checkpoint(CHECKPOINT, LOG_KEY)


def test_gos_published_note_verifies() -> None:
    note = Note.decode(GO_NOTE)
    note.verify(VerifyingKey.parse(GO_KEY))
    assert note.encode() == GO_NOTE


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    text, _, signatures = SIGNED.decode().partition("\n\n")
    assert text.split("\n") == [ORIGIN, "7", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
    assert signatures.startswith(f"— {ORIGIN} ")
    assert verify_checkpoint(SIGNED, LOG_KEY.verifying_key, origin=ORIGIN) == CHECKPOINT


def test_a_witness_signs_the_same_text_in_a_line_of_its_own() -> None:
    witness = signing_key("watch", KeyPurpose.WITNESS)
    note = Note.decode(SIGNED).sign(witness)
    again = Note.decode(note.encode())
    assert [line.name for line in again.signatures] == [ORIGIN, witness.name]
    again.verify(witness.verifying_key)
    again.verify(LOG_KEY.verifying_key)
    assert note.sign(witness) == note


def test_a_line_of_an_unknown_kind_is_kept_and_ignored() -> None:
    note = Note.decode(SIGNED)
    cosigned = Note(note.text, (NoteSignature("witness.example/w1", b"\x01\x02\x03\x04", bytes(72)), *note.signatures))
    verify_checkpoint(cosigned.encode(), LOG_KEY.verifying_key, origin=ORIGIN)


def test_a_checkpoint_signed_by_another_key_is_refused() -> None:
    for other in (signing_key("north", KeyPurpose.LOG), signing_key("east", KeyPurpose.LOG, 1)):
        with pytest.raises(BadSignatureError):
            verify_checkpoint(SIGNED, other.verifying_key, origin=ORIGIN)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = sign_checkpoint(Checkpoint("other.example/log", 7, bytes(32)), LOG_KEY)
    with pytest.raises(BadSignatureError):
        verify_checkpoint(other, LOG_KEY.verifying_key, origin=ORIGIN)


def test_every_changed_byte_is_noticed() -> None:
    for position in range(len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[position] ^= 1
        with pytest.raises(AuditError):
            verify_checkpoint(bytes(changed), LOG_KEY.verifying_key, origin=ORIGIN)


@pytest.mark.parametrize(
    "body",
    [b"", b"origin\n", b"origin\n7\n", b"origin\n07\nAAAA\n", b"origin\n-1\nAAAA\n", b"origin\n7\nAAAA\n",
     b"origin\n9999999999999999999\n" + b"A" * 43 + b"=\n", "origin\n٧\n".encode() + b"A" * 43 + b"=\n",
     b"\n7\n" + b"A" * 43 + b"=\n", b"origin\n7\n" + b"A" * 43 + b"="],
)  # fmt: skip
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        Checkpoint.from_body(body)


def test_extension_lines_are_kept() -> None:
    extended = Checkpoint(ORIGIN, 7, bytes(32), ("extension one", "two"))
    assert Checkpoint.from_body(extended.body()) == extended


@given(st.binary(max_size=300))
@example(b"a\n\n\xe2\x80\x94 a AAAAAAA=\n")
@example(b"\n\n")
def test_a_note_is_accepted_or_refused_with_our_error(data: bytes) -> None:
    try:
        note = Note.decode(data)
    except AuditError:
        return
    assert note.encode() == data


def test_notes_are_bounded() -> None:
    with pytest.raises(LimitExceededError):
        Note.decode(b"a" * 17_000 + b"\n\n")
    with pytest.raises(LimitExceededError):
        Note.decode(b"text\n\n" + 65 * "— a AAAAAAA=\n".encode())
