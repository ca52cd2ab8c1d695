"""Published notes, checkpoints and cosignatures, as others wrote them: read, kept byte for byte, and verified.

Sources: c2sp.org/signed-note (the opening example), c2sp.org/tlog-cosignature (the opening example), and a checkpoint
of the public certificate log Arche2025h1 as it stood in May 2026, with the cosignatures of four independently run
public witnesses, whose vkeys are those that their operators publish. None of it was made by this project.
"""

import base64

import pytest

from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.errors import BadSignatureError, LimitExceededError, MalformedError
from audit.keys import SigningKey, VerifyingKey
from tests.audit.samples import signing_key

SIGNED_NOTE = (
    "Ognuno sta solo sul cuor della terra\n"
    "trafitto da un raggio di sole:\n"
    "\n"
    "ed è subito sera.\n"
    "\n"
    "— quasimodo.example/salvatore"
    " NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
).encode()

COSIGNED_EXAMPLE = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— example.com/behind-the-sofa"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1"
    " jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()

PUBLIC_CHECKPOINT = (
    "arche2025h1.staging.ct.transparency.dev\n"
    "1432088532\n"
    "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
    "\n"
    "— arche2025h1.staging.ct.transparency.dev"
    " zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BX"
    "aHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n"
    "— arche2025h1.staging.ct.transparency.dev"
    " ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n"
    "— transparency.dev/DEV:witness-little-garden"
    " 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    "— witness1.smartit.nu/witness1"
    " pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n"
    "— remora.n621.de"
    " 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
    "— witness.stagemole.eu"
    " Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==\n"
).encode()
LOG_VKEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS_VKEYS = (
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
)
COSIGNED_AT_S = 1_779_573_024


def test_the_signed_note_specifications_example_is_read_and_kept() -> None:
    note = Note.decode(SIGNED_NOTE)
    assert note.text.decode().endswith("raggio di sole:\n\ned è subito sera.\n")
    (line,) = note.signatures
    assert (line.name, line.key_id.hex(), len(line.signature)) == ("quasimodo.example/salvatore", "367ba04b", 64)
    assert note.encode() == SIGNED_NOTE


def test_the_cosignature_specifications_example_is_read_and_its_time_is_there() -> None:
    note = Note.decode(COSIGNED_EXAMPLE)
    assert Checkpoint.from_body(note.text).size == 20_852_163
    log, witness = note.signatures
    assert (len(log.signature), len(witness.signature)) == (64, 72)
    assert int.from_bytes(witness.signature[:8], "big") == 1_679_315_147
    assert note.encode() == COSIGNED_EXAMPLE


def test_a_public_logs_checkpoint_verifies_under_its_published_key() -> None:
    note = Note.decode(PUBLIC_CHECKPOINT)
    assert Checkpoint.from_body(note.text).size == 1_432_088_532
    note.verify(VerifyingKey.parse(LOG_VKEY))
    assert note.encode() == PUBLIC_CHECKPOINT


def test_four_public_witnesses_cosignatures_verify_with_their_time() -> None:
    keys = [CosignerKey.parse(vkey) for vkey in WITNESS_VKEYS]
    assert [key.vkey() for key in keys] == list(WITNESS_VKEYS)
    found = verify_cosignatures(Note.decode(PUBLIC_CHECKPOINT), keys)
    assert [(each.key, each.timestamp_s) for each in found] == [(key, COSIGNED_AT_S) for key in keys]


@pytest.mark.parametrize("vkey", WITNESS_VKEYS)
def test_none_of_them_verifies_over_another_size(vkey: str) -> None:
    changed = Note.decode(PUBLIC_CHECKPOINT.replace(b"1432088532", b"1432088531"))
    with pytest.raises(BadSignatureError):
        verify_cosignatures(changed, [CosignerKey.parse(vkey)])


def line(number: int) -> NoteSignature:
    return NoteSignature(f"stranger-{number}.example", bytes([0, 0, 0, number]), bytes(64))


@pytest.mark.parametrize("strangers", [15, 16, 63])
def test_sixteen_signatures_seventeen_and_as_many_as_are_allowed_are_read(strangers: int) -> None:
    """Signed notes ask for sixteen at least; the key that is wanted is found wherever it stands."""
    key = signing_key("east")
    note = Note(b"text\n", tuple(line(number) for number in range(strangers))).sign(key)
    read = Note.decode(note.encode())
    read.verify(key.verifying_key)
    assert len(read.signatures) == strangers + 1


def test_more_signatures_than_are_allowed_are_refused() -> None:
    note = Note(b"text\n", tuple(line(number) for number in range(65)))
    with pytest.raises(LimitExceededError):
        Note.decode(note.encode())


@pytest.mark.parametrize("change", [(b"\n", b"\r\n"), ("\u00e8".encode(), "e\u0300".encode()), (b"sera.", b"sera.\t")])
def test_line_ends_composed_letters_and_tabs_are_other_bytes(change: tuple[bytes, bytes]) -> None:
    """A note in CRLF, or with a letter decomposed (NFD), is another text, and its signature does not verify."""
    key = SigningKey.generate("east.example/log")
    signed = Note(Note.decode(SIGNED_NOTE).text, ()).sign(key).encode()
    with pytest.raises((BadSignatureError, MalformedError)):
        Note.decode(signed.replace(*change)).verify(key.verifying_key)


def test_base64_in_another_writing_is_refused() -> None:
    """Unused bits, missing padding or other alphabets would give one signature several writings."""
    encoded = SIGNED_NOTE.rsplit(b" ", 1)[1].rstrip(b"\n")
    assert base64.b64decode(encoded)
    for other in (encoded.rstrip(b"="), encoded.replace(b"+", b"-"), encoded[:-2] + b"d=", b" " + encoded):
        with pytest.raises(MalformedError):
            Note.decode(SIGNED_NOTE.replace(encoded, other))
