"""Somebody changes a ledger after it was written. Each attack is run twice: without what finds it, and with it.

Three attackers: one has the file alone; one makes tiles, chain and size fit too, but has no key; one is the owner, or
has stolen its log key, and signs a new history. Against the first two the ledger's own signed checkpoints are enough,
against the third a checkpoint that is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.entry import Side, encode_entry
from audit.errors import Damage, Rule
from audit.ledger import Draft
from audit.verify import verify_database
from tests.audit.forging import all_entries, rederive, rewrite
from tests.audit.ledgers import LOG_KEY, append_many, calls, edit, entry, entry_bytes, finding, open_ledger
from tests.audit.samples import directory

Change = Callable[[list[bytes]], None]
AT = 20
CALLS = 8  # a genesis entry, three of the contract, three a call
SIGNED = 10
"""The size of an earlier checkpoint."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A ledger, and the checkpoints that somebody else keeps: one of its whole, one from before."""

    path: Path
    last: bytes
    early: bytes


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    path = tmp_path / "ledger.db"
    written = calls(Side.PROVIDER, CALLS)
    early = b""
    with open_ledger(path) as ledger:
        for number, each in enumerate(written, start=1):
            if number == SIGNED:
                early = ledger.checkpoint()
            ledger.append(Draft(each))
        last = ledger.checkpoint()
    assert verify_database(path, directory=directory(), anchors=[last, early]).anchored
    return Kept(path, last, early)


def swap(entries: list[bytes]) -> None:
    entries[AT], entries[AT + 1] = entries[AT + 1], entries[AT]


def alter(entries: list[bytes]) -> None:
    entries[AT] = entries[AT].replace(b'"at_ms":176', b'"at_ms":177')


def delete_call(entries: list[bytes]) -> None:
    del entries[AT - 1 : AT + 2]  # INTENT, OUTCOME and ACK: what is left is a ledger in order


def insert(entries: list[bytes]) -> None:
    entries.insert(AT, encode_entry(entry(7)))


def truncate(entries: list[bytes]) -> None:
    del entries[AT - 1 :]


# With the file alone


@pytest.mark.parametrize(
    ("statements", "damage"),
    [
        ([f"UPDATE entries SET bytes = CAST(replace(bytes, 'shop', 'shoq') AS BLOB) WHERE idx = {AT}"], Damage.ALTERED),
        ([f"DELETE FROM entries WHERE idx = {AT}"], Damage.DELETED),
        ([f"DELETE FROM entries WHERE idx >= {AT}"], Damage.TRUNCATED),
        (
            [
                f"UPDATE entries SET idx = -1 WHERE idx = {AT}",
                f"UPDATE entries SET idx = {AT} WHERE idx = {AT + 1}",
                f"UPDATE entries SET idx = {AT + 1} WHERE idx = -1",
            ],
            Damage.REORDERED,
        ),
        (
            [
                f"UPDATE entries SET idx = -idx WHERE idx >= {AT}",
                "UPDATE entries SET idx = 1 - idx WHERE idx < 0",
                f"INSERT INTO entries SELECT {AT}, CAST(bytes || ' ' AS BLOB) FROM entries WHERE idx = 3",
            ],
            Damage.INSERTED,
        ),
    ],
)
def test_a_change_to_the_file_is_named_with_its_place(kept: Kept, statements: list[str], damage: Damage) -> None:
    edit(kept.path, *statements)
    assert finding(verify_database(kept.path)) == (damage, AT)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda data: data.replace(b'"v":1', b'"v":1,"v":1'),  # a key twice: which one counts is the reader's choice
        lambda data: data.replace(b'"at_ms":176', b'"at_ms":9007199254740993,"zzz":176'),
        lambda data: data.replace(b'"at_ms":1760000000', b'"at_ms":90071992547409930'),  # beyond 2^53
        lambda data: data.replace(b'"actor":"shop"', '"actor":"cafe\u0301"'.encode()),  # NFD
        lambda data: data.replace(b'"actor":"shop"', '"actor":"caf\u00e9"'.encode()),  # NFC
        lambda data: data + b"\r\n",
        lambda data: data.replace(b",", b",\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b'"v":1', b'"v":1.0'),
    ],
)
@pytest.mark.parametrize("fitted", [False, True])
def test_bytes_that_read_alike_are_not_the_same_entry(
    kept: Kept, disguise: Callable[[bytes], bytes], fitted: bool
) -> None:
    changed = disguise(entry_bytes(kept.path, 2))
    assert changed != entry_bytes(kept.path, 2)
    if fitted:
        rewrite(kept.path, lambda entries: entries.__setitem__(2, changed), LOG_KEY)
    else:
        edit(kept.path, "UPDATE entries SET bytes = ? WHERE idx = 2", parameters=[changed])
    assert finding(verify_database(kept.path)) == (Damage.ALTERED, 2)


# With everything made to fit that needs no key


@pytest.mark.parametrize("change", [swap, alter, delete_call, insert, truncate])
def test_a_history_that_fits_is_contradicted_by_the_logs_own_checkpoints(kept: Kept, change: Change) -> None:
    rewrite(kept.path, change)
    damage, index = finding(verify_database(kept.path, directory=directory()))
    assert damage is (Damage.TRUNCATED if change in (truncate, delete_call) else Damage.REWRITTEN)
    assert index == (SIGNED if damage is Damage.REWRITTEN else len(all_entries(kept.path)))
    edit(kept.path, f"DELETE FROM checkpoints WHERE size > {SIGNED}")
    undetected = verify_database(kept.path, directory=directory())
    assert undetected.rule is (Rule.ORDER if change is swap else None)
    assert undetected.verified == (change is not swap), "without the last checkpoint, what makes sense passes"


# With the log's key


@pytest.mark.parametrize("change", [delete_call, truncate])
def test_a_signed_rewrite_needs_a_checkpoint_from_outside(kept: Kept, change: Change) -> None:
    rewrite(kept.path, change, LOG_KEY)
    without = verify_database(kept.path, directory=directory())
    assert (without.verified, without.anchored) == (True, False), "nothing in the file contradicts it"
    if change is truncate:
        wanted = (Damage.TRUNCATED, AT - 1)
        assert finding(verify_database(kept.path, anchors=[kept.last])) == wanted
        assert verify_database(kept.path, anchors=[kept.early]).anchored, "the cut lies behind that one"
    else:
        rederive(kept.path, entries=[*all_entries(kept.path), *_more()], key=LOG_KEY)
        assert finding(verify_database(kept.path, anchors=[kept.last])) == (Damage.REWRITTEN, 0)
        wanted = (Damage.FORKED, SIGNED)
        assert finding(verify_database(kept.path, anchors=[kept.early, kept.last])) == wanted


def test_a_whole_ledger_written_anew_needs_a_checkpoint_from_outside(kept: Kept) -> None:
    kept.path.unlink()
    with open_ledger(kept.path) as ledger:
        append_many(ledger, range(2 * CALLS * 3))
    assert verify_database(kept.path, directory=directory()).verified
    assert finding(verify_database(kept.path, directory=directory(), anchors=[kept.early])) == (Damage.REWRITTEN, 0)


def test_a_backup_put_back_needs_a_checkpoint_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        append_many(ledger, range(5))
    backup = path.read_bytes()
    with open_ledger(path) as ledger:
        append_many(ledger, range(5, 9))
        newest = ledger.checkpoint()
    path.write_bytes(backup)
    report = verify_database(path)
    assert (report.verified, report.anchored) == (True, False)
    assert finding(verify_database(path, anchors=[newest])) == (Damage.TRUNCATED, 6)


def test_two_histories_out_of_one_need_a_checkpoint_of_each(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        append_many(ledger, range(5))
        shared = ledger.checkpoint()
    copy = path.read_bytes()
    with open_ledger(path) as ledger:
        append_many(ledger, range(5, 9))
        shown_to_one = ledger.checkpoint()
    path.write_bytes(copy)
    with open_ledger(path) as ledger:
        append_many(ledger, range(15, 19))
        shown_to_other = ledger.checkpoint()
    assert verify_database(path, anchors=[shared, shown_to_other]).anchored
    assert finding(verify_database(path, anchors=[shared, shown_to_one, shown_to_other])) == (Damage.FORKED, 6)


def _more() -> list[bytes]:
    return [encode_entry(entry(number)) for number in range(6)]
