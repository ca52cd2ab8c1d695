"""The verifier and signed checkpoints: the log's own, and those kept outside."""

from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note, sign_checkpoint, verify_checkpoint
from audit.errors import Damage, VerificationImpossibleError
from audit.names import KeyPurpose
from audit.verify import verify_database
from tests.audit.ledgers import (
    LOG_KEY,
    ORIGIN,
    QUIET,
    edit,
    finding,
    make,
)
from tests.audit.samples import signing_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_checkpoint_with_a_wrong_signature_is_found(path: Path) -> None:
    note = make(path, 30, config=QUIET)
    for position in range(0, len(note), 11):
        changed = bytearray(note)
        changed[position] ^= 1
        edit(path, "UPDATE checkpoints SET note = ?", parameters=[bytes(changed)])
        assert finding(verify_database(path)) == (Damage.BAD_SIGNATURE, 30)


def test_a_checkpoint_signed_by_another_key_is_found(path: Path) -> None:
    checkpoint = verify_checkpoint(make(path, 30, config=QUIET), LOG_KEY.verifying_key, origin=ORIGIN)
    forged = sign_checkpoint(checkpoint, signing_key("east", KeyPurpose.LOG, 1))
    edit(path, "UPDATE checkpoints SET note = ?", parameters=[forged])
    assert finding(verify_database(path)) == (Damage.BAD_SIGNATURE, 30)


def test_a_checkpoint_stored_under_another_size_is_found(path: Path) -> None:
    make(path, 30, config=QUIET)
    edit(path, "UPDATE checkpoints SET size = 12")
    assert verify_database(path).damage is Damage.ALTERED


def test_outside_checkpoints_that_agree_anchor_the_ledger(path: Path) -> None:
    early = make(path, 40)
    late = make(path, 40, first=40)
    cosigned = Note.decode(late).sign(signing_key("watch", KeyPurpose.WITNESS)).encode()
    report = verify_database(path, anchors=[cosigned, early])
    assert (report.verified, report.anchored) == (True, True)


def test_a_whole_rewrite_by_the_keys_owner_is_seen_with_an_outside_checkpoint_only(path: Path) -> None:
    witnessed = make(path, 40)
    path.unlink()
    make(path, 60, first=1)
    assert verify_database(path).verified
    report = verify_database(path, anchors=[witnessed])
    assert (finding(report), report.anchored) == ((Damage.REWRITTEN, 0), False)


def test_a_fork_after_a_witnessed_prefix_is_seen(path: Path) -> None:
    early = make(path, 40)
    copy = path.read_bytes()
    witnessed = make(path, 10, first=40)
    path.write_bytes(copy)
    make(path, 20, first=70)
    assert verify_database(path, anchors=[early]).anchored
    assert finding(verify_database(path, anchors=[early, witnessed])) == (Damage.FORKED, 41)


def test_two_outside_checkpoints_that_contradict_each_other_show_a_fork(path: Path) -> None:
    make(path, 5)
    notes = [sign_checkpoint(Checkpoint(ORIGIN, 3, bytes([number]) * 32), LOG_KEY) for number in (1, 2)]
    assert verify_database(path, anchors=notes).damage is Damage.FORKED


def test_two_histories_under_the_logs_own_key_show_a_fork(path: Path) -> None:
    make(path, 30, config=QUIET)
    make(path, 10, first=30, config=QUIET)
    other = sign_checkpoint(Checkpoint(ORIGIN, 31, bytes(32)), LOG_KEY)
    edit(path, "UPDATE checkpoints SET note = ? WHERE size = 31", parameters=[other])
    assert finding(verify_database(path)) == (Damage.FORKED, 0)


def test_a_ledger_cut_back_behind_an_outside_checkpoint_is_truncated(path: Path) -> None:
    make(path, 40)
    copy = path.read_bytes()
    witnessed = make(path, 10, first=40)
    path.write_bytes(copy)
    assert verify_database(path).verified
    assert finding(verify_database(path, anchors=[witnessed])) == (Damage.TRUNCATED, 41)


def test_a_ledger_under_a_new_key_is_a_rewrite(path: Path) -> None:
    make(path, 4)
    foreign = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), signing_key("east", KeyPurpose.LOG, 1))
    assert finding(verify_database(path, anchors=[foreign])) == (Damage.REWRITTEN, 0)


@pytest.mark.parametrize("anchor", [b"", b"junk", sign_checkpoint(Checkpoint("other/log", 1, bytes(32)), LOG_KEY)])
def test_an_outside_checkpoint_that_is_none_of_this_log_makes_verification_impossible(
    path: Path, anchor: bytes
) -> None:
    make(path, 4)
    with pytest.raises(VerificationImpossibleError):
        verify_database(path, anchors=[anchor])


def test_a_damaged_outside_checkpoint_makes_verification_impossible(path: Path) -> None:
    note = bytearray(make(path, 4))
    note[-5] ^= 4
    with pytest.raises(VerificationImpossibleError):
        verify_database(path, anchors=[bytes(note)])
