"""A quick look finds a torn, cut or mixed-up ledger, and says where a sound one stands."""

import pytest

from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.ledger import LedgerConfig, open_reader
from audit.spot_check import MIN_TAIL, spot_check
from audit.verify import verify_database
from tests.audit.ledgers import IDENTITY, QUIET, append_many, edit, make, open_ledger

SEALING = LedgerConfig(seal_entries=50, checkpoint_entries=10**9, checkpoint_idle_ms=10**9)


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.db"
    make(path, 300, config=SEALING)
    return path


def test_it_says_where_a_sound_ledger_stands(ledger):
    found = spot_check(ledger)
    reader = open_reader(ledger)
    assert (found.size, found.root) == (reader.size, reader.root(reader.size))
    assert found.genesis.origin == IDENTITY.origin
    assert found.signed is not None
    assert (found.signed.size, found.signed.root) == (found.size, found.root)
    assert found.note == reader.latest_checkpoint()
    reader.close()


def test_it_reads_the_newest_entries_from_a_seal_on(ledger, tmp_path):
    found = spot_check(ledger)
    assert found.size - MIN_TAIL >= found.since > found.size - MIN_TAIL - 51
    make(tmp_path / "short.db", 20, config=SEALING)
    assert spot_check(tmp_path / "short.db").since == 0


def test_what_lies_before_is_believed(ledger):
    edit(ledger, "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 5) WHERE idx = 6")
    spot_check(ledger)
    assert not verify_database(ledger).verified


def test_it_looks_also_while_the_party_writes(ledger):
    with open_ledger(ledger) as writer:
        append_many(writer, range(1000, 1010))
        assert spot_check(ledger).size == writer.size


def test_a_ledger_without_a_checkpoint_is_sound(tmp_path):
    path = tmp_path / "ledger.db"
    with open_ledger(path, config=QUIET) as writer:
        append_many(writer, range(3))
        found = spot_check(path)
    assert (found.size, found.signed, found.note) == (4, None, b"")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)",
        "DELETE FROM entries WHERE idx = (SELECT max(idx) - 1 FROM entries)",
        "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 5) WHERE idx > 305",
        "UPDATE entries SET bytes = x'7b7d' WHERE idx = 0",
        "UPDATE meta SET value = '0' WHERE name = 'size'",
        "UPDATE meta SET value = '7' WHERE name = 'size'",
        "UPDATE meta SET value = '%s' WHERE name = 'chain'" % ("0" * 64),
        "UPDATE tiles SET hashes = zeroblob(length(hashes))",
        "DELETE FROM tiles",
        "UPDATE checkpoints SET note = x'00'",
        "UPDATE checkpoints SET size = size + 1",
    ],
)
def test_what_does_not_belong_together_is_damage(ledger, statement):
    edit(ledger, statement)
    with pytest.raises(LedgerDamagedError):
        spot_check(ledger)


def test_what_is_no_ledger_is_told(tmp_path):
    with pytest.raises(LedgerUnavailableError):
        spot_check(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerDamagedError):
        spot_check(tmp_path / "ledger.db")
