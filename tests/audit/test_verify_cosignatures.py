"""The verifier and witnesses: whose cosignatures count, what they say of revoked keys and of times."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import Note
from audit.cosignature import cosign
from audit.directory import KeyRecord, KeyStatus
from audit.entry import Ack, Denied, DirectoryAccepted, Entry, Outcome, Side
from audit.errors import Damage, Rule, VerificationImpossibleError
from audit.names import KeyPurpose
from audit.verify import Report, verify_database
from audit.verify_times import TOLERANCE_MS
from audit.verify_vouching import HEARD_MS
from tests.audit.cosigned import AT_S, NORTH, WATCH, CosignedLedger, indices_of, listing, record
from tests.audit.ledgers import LOG_KEY, append_many, calls, edit, entry, finding, make_with_receipts, one_call
from tests.audit.samples import AT_MS, signing_key

REVOKED_MS = AT_MS + 1_000_000
EAST_REVOKED = ("east", record("east", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=REVOKED_MS))
SHOP_REVOKED = ("shop", record("shop", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=REVOKED_MS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def dated(entries: list[Entry], at_ms: int) -> list[Entry]:
    return [replace(each, at_ms=at_ms) for each in entries]


# Whose cosignatures count


def test_the_largest_size_that_a_witness_cosigned_is_told(path: Path) -> None:
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(AT_S)
        east.write(entry(2)).seen(AT_S + 9, WATCH, NORTH)
        east.write(entry(3))
    report = verify_database(path, directory=listing())
    assert report.verified
    assert report.to_json()["cosigned"] == {"size": 3, "time_s": AT_S + 9, "by": ["north", "watch"]}
    assert "cosigned" not in verify_database(path).to_json(), "without a directory nobody's witness key is known"


def test_cosignatures_of_the_owner_of_strangers_and_of_revoked_keys_count_for_nothing(path: Path) -> None:
    own = signing_key("east", KeyPurpose.WITNESS)
    stranger = signing_key("watch", KeyPurpose.WITNESS, 7)
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(AT_S, own, stranger, WATCH)
    revoked = ("watch", record("watch", KeyPurpose.WITNESS, KeyStatus.REVOKED))
    assert verify_database(path, directory=listing(revoked)).cosigned is None
    found = verify_database(path, directory=listing()).cosigned
    assert found is not None
    assert found.by == ("watch",)


def test_a_cosignature_over_another_text_is_bad(path: Path) -> None:
    with CosignedLedger(path) as east:
        note = Note.decode(east.write(entry(1)).seen(AT_S))
    forged = Note(note.text, (note.signatures[0], cosign(note.text + b"x\n", WATCH, AT_S)))
    with pytest.raises(VerificationImpossibleError, match="damaged"):
        verify_database(path, directory=listing(), anchors=[forged.encode()])
    edit(path, "UPDATE checkpoints SET note = ?", parameters=[forged.encode()])
    assert finding(verify_database(path, directory=listing())) == (Damage.BAD_SIGNATURE, 1)


def test_an_outside_checkpoints_cosignatures_count_like_those_that_the_ledger_keeps(path: Path) -> None:
    with CosignedLedger(path) as east:
        note = east.write(entry(1)).seen(AT_S)
    bare = Note(Note.decode(note).text, Note.decode(note).signatures[:1]).encode()
    edit(path, "UPDATE checkpoints SET note = ?", parameters=[bare])
    assert verify_database(path, directory=listing()).cosigned is None
    report = verify_database(path, directory=listing(), anchors=[note])
    assert (report.anchored, report.cosigned is not None) == (True, True)


# Signatures by keys that were revoked since


def judged(path: Path, seen_s: int | None, *changed: tuple[str, KeyRecord]) -> Report:
    """A ledger of two calls that a witness first saw at a time, by a directory that has revoked a key."""
    path.unlink(missing_ok=True)
    with CosignedLedger(path) as east:
        east.write(*calls(Side.PROVIDER, 2))
        if seen_s is not None:
            east.seen(seen_s)
    return verify_database(path, directory=listing(*changed))


@pytest.mark.parametrize(("revoked", "kind", "signatures"), [(EAST_REVOKED, Outcome, 2), (SHOP_REVOKED, Outcome, 4)])
def test_a_signature_counts_if_a_witness_had_seen_it_before_the_revocation(
    path: Path, revoked: tuple[str, KeyRecord], kind: type[Entry], signatures: int
) -> None:
    report = judged(path, REVOKED_MS // 1000 - 1, revoked)
    assert (finding(report), report.revoked_signatures, report.uncounted) == ((None, None), signatures, ())


def test_what_no_witness_had_seen_by_then_is_not_counted_and_no_damage(path: Path) -> None:
    written = calls(Side.PROVIDER, 2)
    theirs = sorted(indices_of(written, Outcome) + indices_of(written, Ack))
    for seen_s in (None, REVOKED_MS // 1000, (REVOKED_MS + HEARD_MS) // 1000 - 1):
        report = judged(path, seen_s, EAST_REVOKED)
        assert (finding(report), list(report.uncounted)) == ((None, None), indices_of(written, Outcome))
        report = judged(path, seen_s, EAST_REVOKED, SHOP_REVOKED)
        assert (list(report.uncounted), report.uncounted_entries) == (theirs, len(theirs))


def test_what_a_witness_saw_first_an_hour_after_the_revocation_is_forged(path: Path) -> None:
    report = judged(path, (REVOKED_MS + HEARD_MS) // 1000, EAST_REVOKED)
    assert finding(report) == (Damage.BAD_SIGNATURE, 5)


def test_of_several_revoked_keys_the_first_revocation_judges(path: Path) -> None:
    later = ("shop", record("shop", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=REVOKED_MS + HEARD_MS))
    report = judged(path, REVOKED_MS // 1000 + 60, EAST_REVOKED, later)
    assert list(report.uncounted) == [5, 8], "the outcomes; the acknowledgements are by the merchant alone"


def test_another_providers_time_is_not_believed(path: Path) -> None:
    """The attack: a provider helps the thief, and dates its cosignature back before the revocation."""
    with CosignedLedger(path) as east:
        east.write(*calls(Side.PROVIDER, 1)).seen(AT_S, NORTH)
        east.seen((REVOKED_MS + HEARD_MS) // 1000, WATCH)
    report = verify_database(path, directory=listing(EAST_REVOKED))
    assert finding(report) == (Damage.BAD_SIGNATURE, 5)


def test_at_most_a_thousand_uncounted_entries_are_named(path: Path) -> None:
    make_with_receipts(path, 1002)
    report = verify_database(path, directory=listing(EAST_REVOKED))
    assert (len(report.uncounted), report.uncounted_entries) == (1000, 1002)
    assert report.uncounted[:2] == (5, 8)


# The log's own keys


def log_revoked(until_ms: int = REVOKED_MS) -> tuple[str, KeyRecord]:
    return ("east", record("east", KeyPurpose.LOG, KeyStatus.REVOKED, until_ms=until_ms))


def test_a_revoked_log_keys_checkpoints_count_as_far_as_a_witness_had_seen_them(path: Path) -> None:
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(AT_S)
        east.write(entry(2)).ledger.checkpoint()
        east.write(entry(3)).seen(REVOKED_MS // 1000 - 1)
    assert verify_database(path, directory=listing(log_revoked())).verified


def test_entries_that_only_a_revoked_log_key_vouches_for_are_badly_signed(path: Path) -> None:
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(AT_S)
        east.write(entry(2)).seen(REVOKED_MS // 1000)
    assert finding(verify_database(path, directory=listing(log_revoked()))) == (Damage.BAD_SIGNATURE, 2)
    assert verify_database(path, directory=listing()).verified


def test_another_key_covers_what_a_revoked_one_had_signed(path: Path) -> None:
    new = signing_key("east", KeyPurpose.LOG, 1)
    retired = ("east", replace(record("east", KeyPurpose.LOG), status=KeyStatus.RETIRED, until_ms=REVOKED_MS))
    active = ("east", record("east", KeyPurpose.LOG, generation=1))
    with CosignedLedger(path) as east:
        append_many(east.ledger, range(3))
        east.ledger.checkpoint()
        east.write(DirectoryAccepted(party="east", at_ms=AT_MS, version=9, digest="00" * 32))
        east.ledger.rotate(new, 9, vouch=False)
        append_many(east.ledger, range(3, 5))
    for old in (retired, log_revoked()):
        report = verify_database(path, directory=listing(old, active))
        assert finding(report) == (None, None)
    assert verify_database(path).verified
    unlisted = verify_database(path, directory=listing())
    assert finding(unlisted) == (Damage.BAD_SIGNATURE, 5), "a thief's own rotation: nobody has listed the new key"


def test_the_old_key_signs_nothing_after_the_change(path: Path) -> None:
    new = signing_key("east", KeyPurpose.LOG, 1)
    with CosignedLedger(path) as east:
        append_many(east.ledger, range(3))
        east.ledger.rotate(new, 9)
        append_many(east.ledger, range(3, 5))
        last = east.ledger.checkpoint()
    old = Note(Note.decode(last).text, ()).sign(LOG_KEY)
    edit(path, "UPDATE checkpoints SET note = ? WHERE size = 7", parameters=[old.encode()])
    assert finding(verify_database(path)) == (Damage.BAD_SIGNATURE, 6)


def test_an_outside_checkpoint_from_before_or_after_a_change_of_key_anchors(path: Path) -> None:
    new = signing_key("east", KeyPurpose.LOG, 1)
    active = ("east", record("east", KeyPurpose.LOG, generation=1))
    retired = ("east", replace(record("east", KeyPurpose.LOG), status=KeyStatus.RETIRED, until_ms=AT_MS))
    with CosignedLedger(path) as east:
        before = east.write(entry(1)).seen(AT_S)
        east.ledger.rotate(new, 9)
        east.write(entry(2)).ledger.checkpoint()
        after = east.write(entry(3)).seen(AT_S + 1)
    known = listing(retired, active)
    assert verify_database(path, directory=known, anchors=[before, after]).anchored
    assert verify_database(path, anchors=[before, after]).anchored


def test_an_outside_checkpoint_by_a_key_that_had_handed_the_log_over_contradicts_the_ledger(path: Path) -> None:
    active = ("east", record("east", KeyPurpose.LOG, generation=1))
    retired = ("east", replace(record("east", KeyPurpose.LOG), status=KeyStatus.RETIRED, until_ms=AT_MS))
    with CosignedLedger(path) as east:
        east.ledger.rotate(signing_key("east", KeyPurpose.LOG, 1), 9)
        note = Note.decode(east.write(entry(1)).seen(AT_S))
    old = Note(note.text, ()).sign(LOG_KEY).encode()
    report = verify_database(path, directory=listing(retired, active), anchors=[old])
    assert finding(report) == (Damage.REWRITTEN, 0)


def test_an_outside_checkpoint_by_a_key_that_proves_nothing_is_not_believed(path: Path) -> None:
    with CosignedLedger(path) as east:
        note = Note.decode(east.write(entry(1)).seen(AT_S))
    own = Note(note.text, ()).sign(signing_key("east", KeyPurpose.LOG, 5)).encode()
    with pytest.raises(VerificationImpossibleError, match="no log key of this party"):
        verify_database(path, directory=listing(), anchors=[own])
    bare = Note(note.text, note.signatures[:1]).encode()
    with pytest.raises(VerificationImpossibleError, match="revoked"):
        verify_database(path, directory=listing(log_revoked()), anchors=[bare])
    assert verify_database(path, directory=listing(log_revoked()), anchors=[note.encode()]).anchored


# Times


def between(path: Path, at_ms: int, *, first_s: int = AT_S, second_s: int = AT_S + 7200) -> Report:
    """Five entries; the third is dated `at_ms`, the others when a witness had seen the ledger."""
    path.unlink(missing_ok=True)
    late = DirectoryAccepted(party="east", at_ms=first_s * 1000, version=2, digest="00" * 32)
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(first_s)
        east.write(late, replace(late, at_ms=at_ms), replace(late, at_ms=second_s * 1000)).seen(second_s)
    return verify_database(path, directory=listing())


def test_times_within_those_of_witnesses_pass(path: Path) -> None:
    for at_ms in (AT_MS - TOLERANCE_MS, AT_MS + 3_600_000, AT_MS + 7_200_000 + TOLERANCE_MS):
        assert between(path, at_ms).verified


@pytest.mark.parametrize("at_ms", [AT_MS - TOLERANCE_MS - 1, AT_MS + 7_200_000 + TOLERANCE_MS + 1, 0])
def test_an_entry_dated_outside_the_witnesses_times_is_found(path: Path, at_ms: int) -> None:
    report = between(path, at_ms)
    assert (finding(report), report.rule) == ((Damage.ALTERED, 3), Rule.TIMES)
    assert report.to_json()["rule"] == "times"
    assert verify_database(path).verified, "without the directory nobody's time is known"


def test_a_refusal_may_be_dated_long_before_it_is_written(path: Path) -> None:
    with CosignedLedger(path) as east:
        east.write(entry(1)).seen(AT_S + 7200)
        east.write(entry(2)).seen(AT_S + 7300)
    assert isinstance(entry(2), Denied)
    assert verify_database(path, directory=listing()).verified


def test_another_calls_clock_set_back_is_found_where_it_was_set_back(path: Path) -> None:
    written = calls(Side.PROVIDER, 1)
    with CosignedLedger(path) as east:
        east.write(*written).seen(AT_S + 86_400)
        east.write(*dated(one_call(Side.PROVIDER, 1), AT_MS + 60_000)).seen(AT_S + 86_500)
    report = verify_database(path, directory=listing())
    assert (finding(report), report.rule) == ((Damage.ALTERED, len(written) + 1), Rule.TIMES)
