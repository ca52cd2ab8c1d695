"""The offline verifier: each kind of damage, found where it begins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import verify_checkpoint
from audit.entry import encode_entry
from audit.errors import Damage, VerificationImpossibleError
from audit.ledger import LedgerConfig
from audit.verify import verify_database
from tests.audit.forging import all_entries, rederive
from tests.audit.ledgers import (
    LOG_KEY,
    ORIGIN,
    QUIET,
    append_many,
    edit,
    entry,
    entry_bytes,
    finding,
    make,
    open_ledger,
)

SIGNING_OFTEN = LedgerConfig(seal_entries=50, checkpoint_entries=20, flush_entries=1, checkpoint_idle_ms=10**9)

SHIFT_DOWN = (
    "UPDATE entries SET idx = -idx WHERE idx > {at}",
    "UPDATE entries SET idx = -idx - 1 WHERE idx < 0",
)
SHIFT_UP = (
    "UPDATE entries SET idx = -idx WHERE idx >= {at}",
    "UPDATE entries SET idx = -idx + 1 WHERE idx < 0",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def shifted(statements: tuple[str, ...], at: int) -> list[str]:
    return [statement.format(at=at) for statement in statements]


# --- what is right ------------------------------------------------------------------------------------------


def test_a_ledger_verifies_and_says_what_it_holds(path: Path) -> None:
    note = make(path, 130, config=SIGNING_OFTEN)
    report = verify_database(path)
    checkpoint = verify_checkpoint(note, LOG_KEY.verifying_key, origin=ORIGIN)
    assert finding(report) == (None, None)
    assert (report.party, report.origin, report.entries) == ("east", ORIGIN, checkpoint.size)
    assert (report.root, report.checkpoints, report.anchored) == (checkpoint.root.hex(), 7, False)
    assert set(report.to_json()) == {
        "verified", "party", "origin", "entries", "root", "chain", "checkpoints", "anchored", "revoked_signatures",
        "uncounted", "uncounted_entries", "contracts_unchecked",
    }  # fmt: skip


def test_a_ledger_in_use_verifies_and_is_left_alone(path: Path) -> None:
    with open_ledger(path) as ledger:
        append_many(ledger, range(20))
        assert verify_database(path).entries == 21
        append_many(ledger, range(20, 30))
        assert verify_database(path).entries == 31


def test_verifying_changes_and_leaves_nothing(path: Path) -> None:
    make(path, 20)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert verify_database(path.parent).verified
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_what_a_folder_without_a_ledger_holds_cannot_be_verified(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "ledger.db", tmp_path / "nowhere" / "ledger.db"):
        with pytest.raises(VerificationImpossibleError):
            verify_database(place)


# --- entries changed with nothing but the file --------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 40, 300])
def test_an_altered_entry_is_found(path: Path, at: int) -> None:
    make(path, 300)
    edit(path, f"UPDATE entries SET bytes = ? WHERE idx = {at}", parameters=[encode_entry(entry(9999))])
    assert finding(verify_database(path)) == (Damage.ALTERED, at)


def test_every_altered_byte_of_an_entry_is_found(path: Path) -> None:
    make(path, 12)
    original = entry_bytes(path, 5)
    for position in range(0, len(original), 7):
        changed = bytearray(original)
        changed[position] ^= 1
        edit(path, "UPDATE entries SET bytes = ? WHERE idx = 5", parameters=[bytes(changed)])
        assert finding(verify_database(path)) == (Damage.ALTERED, 5)


def test_an_entry_replaced_by_a_copy_of_a_later_one_is_altered(path: Path) -> None:
    make(path, 300)
    edit(path, "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 290) WHERE idx = 17")
    assert finding(verify_database(path)) == (Damage.ALTERED, 17)


@pytest.mark.parametrize("at", [1, 40, 299])
def test_a_deleted_entry_is_found(path: Path, at: int) -> None:
    make(path, 300)
    edit(path, f"DELETE FROM entries WHERE idx = {at}")
    assert finding(verify_database(path)) == (Damage.DELETED, at)


@pytest.mark.parametrize("at", [1, 40, 299])
def test_a_deleted_entry_is_found_when_the_gap_is_closed(path: Path, at: int) -> None:
    make(path, 300)
    edit(path, f"DELETE FROM entries WHERE idx = {at}", *shifted(SHIFT_DOWN, at))
    assert finding(verify_database(path)) == (Damage.DELETED, at)


@pytest.mark.parametrize("at", [1, 40, 300])
def test_an_inserted_entry_is_found(path: Path, at: int) -> None:
    make(path, 300)
    edit(path, *shifted(SHIFT_UP, at))
    edit(path, f"INSERT INTO entries VALUES ({at}, ?)", parameters=[encode_entry(entry(9999))])
    assert finding(verify_database(path)) == (Damage.INSERTED, at)


def test_entries_put_behind_the_last_or_before_the_first_are_found(path: Path) -> None:
    make(path, 30)
    edit(path, "INSERT INTO entries SELECT 31, bytes FROM entries WHERE idx = 3")
    assert finding(verify_database(path)) == (Damage.INSERTED, 31)
    edit(path, "UPDATE entries SET idx = -5 WHERE idx = 31")
    assert finding(verify_database(path)) == (Damage.INSERTED, 0)


@pytest.mark.parametrize(("one", "other"), [(5, 6), (3, 290), (1, 300)])
def test_reordered_entries_are_found(path: Path, one: int, other: int) -> None:
    make(path, 300)
    edit(
        path,
        f"UPDATE entries SET idx = -1 WHERE idx = {one}",
        f"UPDATE entries SET idx = {one} WHERE idx = {other}",
        f"UPDATE entries SET idx = {other} WHERE idx = -1",
    )
    assert finding(verify_database(path)) == (Damage.REORDERED, one)


@pytest.mark.parametrize("at", [0, 1, 40, 300])
def test_a_truncated_ledger_is_found(path: Path, at: int) -> None:
    make(path, 300)
    edit(path, f"DELETE FROM entries WHERE idx >= {at}")
    assert finding(verify_database(path)) == (Damage.TRUNCATED, at)


# --- entries changed, and everything that needs no key made to fit ------------------------------------------


def test_truncation_is_found_by_the_signed_checkpoints_alone(path: Path) -> None:
    make(path, 100, config=QUIET)
    rederive(path, entries=all_entries(path)[:60])
    assert finding(verify_database(path)) == (Damage.TRUNCATED, 60)


def test_a_rewrite_is_found_by_the_signed_checkpoints_alone(path: Path) -> None:
    make(path, 100, config=replace(SIGNING_OFTEN, seal_entries=10**9))
    entries = all_entries(path)
    entries[47] = encode_entry(entry(9999))
    rederive(path, entries=entries)
    damage, index = finding(verify_database(path))
    assert damage is Damage.REWRITTEN
    assert index == 40, "the last checkpoint before, since nothing narrows it further"


def test_a_rewrite_is_found_by_the_seals_alone(path: Path) -> None:
    make(path, 100, config=SIGNING_OFTEN)
    entries = all_entries(path)
    entries[72] = encode_entry(entry(9999))
    rederive(path, entries=entries)
    edit(path, "DELETE FROM checkpoints")
    assert finding(verify_database(path)) == (Damage.REWRITTEN, 50)


def test_a_rewrite_that_forgot_the_chain_head_is_found(path: Path) -> None:
    make(path, 30, config=QUIET)
    edit(path, "DELETE FROM checkpoints", "UPDATE meta SET value = hex(zeroblob(32)) WHERE name = 'chain'")
    assert finding(verify_database(path)) == (Damage.REWRITTEN, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries.__setitem__(7, b'{"v":1}'),
        lambda entries: entries.__setitem__(7, b"\xff\x00"),
        lambda entries: entries.__setitem__(7, entries[7] + b" "),
        lambda entries: entries.__setitem__(7, entries[0]),
        lambda entries: entries.__setitem__(7, encode_entry(entry(7, party="north"))),
    ],
)
def test_bytes_that_are_no_entry_of_this_ledger_are_found_whatever_was_made_to_fit(
    path: Path, change: Callable[[list[bytes]], None]
) -> None:
    make(path, 20, config=QUIET)
    entries = all_entries(path)
    change(entries)
    rederive(path, entries=entries)
    edit(path, "DELETE FROM checkpoints")
    assert finding(verify_database(path)) == (Damage.ALTERED, 7)


def test_a_ledger_without_its_genesis_is_altered_at_its_start(path: Path) -> None:
    make(path, 20, config=QUIET)
    rederive(path, entries=all_entries(path)[1:])
    assert finding(verify_database(path)) == (Damage.ALTERED, 0)


# --- the file itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + bytes(8000)])
def test_a_file_that_is_no_database_is_unreadable(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert verify_database(path).damage is Damage.UNREADABLE


def test_a_database_cut_in_half_is_unreadable(path: Path) -> None:
    make(path, 300)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert verify_database(path).damage is Damage.UNREADABLE


def test_a_database_without_its_tables_is_unreadable(path: Path) -> None:
    for table in ("meta", "entries", "tiles", "checkpoints"):
        path.unlink(missing_ok=True)
        make(path, 3)
        edit(path, f"DROP TABLE {table}")
        assert verify_database(path).damage is Damage.UNREADABLE


def test_no_damaged_page_passes_or_breaks_the_verifier(path: Path) -> None:
    """Each 4 KiB page overwritten in turn. The key index and free space are no evidence; nothing else may pass."""
    make(path, 60, config=SIGNING_OFTEN)
    good = path.read_bytes()
    expected = verify_database(path).to_json()
    passed = 0
    for start in range(0, len(good), 4096):
        path.write_bytes(good[:start] + b"\xa5" * 4096 + good[start + 4096 :])
        report = verify_database(path)
        passed += report.verified
        assert not report.verified or report.to_json() == expected
    assert passed <= 1


def test_missing_or_changed_tiles_are_found(path: Path) -> None:
    make(path, 600)
    for harm in (
        "DELETE FROM tiles WHERE level = 1",
        "UPDATE tiles SET hashes = CAST(hashes || hashes AS BLOB) WHERE level = 1",
        "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND idx = 1",
    ):
        copy = path.read_bytes()
        edit(path, harm)
        assert verify_database(path).damage in (Damage.ALTERED, Damage.TRUNCATED)
        path.write_bytes(copy)
