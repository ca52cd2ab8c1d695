"""Somebody dates entries back: into a contract's validity, or before a key was revoked.

An entry's time is its writer's own word, and so is the clock in a receipt. Each attack is run twice: where nobody has
seen the ledger, and it succeeds; and with a witness's cosignatures, which it did not make.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.contract_terms import ContractTerms
from audit.directory import Directory, KeyPurpose, KeyStatus, sign_directory
from audit.entry import Entry, Side
from audit.errors import Damage, RevokedKeyError, Rule
from audit.ledger import open_reader
from audit.portable_receipt import PortableReceipt
from audit.receipt_proving import prove_receipt
from audit.verify import verify_database
from audit.verify_contracts import LATE_MS
from audit.verify_vouching import HEARD_MS
from tests.audit.cosigned import AT_S, NORTH, CosignedLedger, listing, record
from tests.audit.ledgers import calls, finding, in_force, one_call
from tests.audit.samples import AT_MS, outcome, signing_key
from tests.audit.test_verify_contracts import call, contract

HOUR_MS = 3_600_000
REVOKED_MS = AT_MS + HOUR_MS
STOLEN = ("shop", record("shop", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=REVOKED_MS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_call_taken_after_its_contracts_end_by_a_clock_set_back(path: Path) -> None:
    """The attack: the provider sells on, and its ledger says that it was yesterday."""
    end_ms = AT_MS + HOUR_MS
    signed = contract(validity={"not_before_ms": AT_MS, "not_after_ms": end_ms})
    terms = ContractTerms.of(signed)
    force = in_force("east", signed.digest)
    day_s = AT_S + 86_400
    with CosignedLedger(path) as east:
        east.write(*force).ledger.checkpoint()
        east.write(*call(signed, 0, at_ms=end_ms + LATE_MS)).ledger.checkpoint()
    honest = verify_database(path, directory=listing(), contracts=[terms])
    assert (finding(honest), honest.rule) == ((Damage.ALTERED, 4), Rule.TERMS), "its true time"
    for witnessed in (False, True):
        path.unlink()
        with CosignedLedger(path) as east:
            east.write(*force)
            if witnessed:
                east.seen(day_s)
            east.write(*call(signed, 0))
            if witnessed:
                east.seen(day_s + 60)
        report = verify_database(path, directory=listing(), contracts=[terms])
        assert report.rule is (Rule.TIMES if witnessed else None)
        assert report.index == (4 if witnessed else None)


def forged_after_the_revocation(path: Path, *, witnessed: bool, helper: bool = False) -> None:
    """A provider and the thief of a merchant's key make up calls, dated before the key was revoked."""
    made_up: list[Entry] = calls(Side.PROVIDER, 2)
    with CosignedLedger(path) as east:
        east.write(*made_up)
        if helper:
            east.seen(AT_S, NORTH)
        if witnessed:
            east.seen((REVOKED_MS + HEARD_MS) // 1000)


def test_calls_made_up_with_a_stolen_key_and_dated_before_its_revocation(path: Path) -> None:
    forged_after_the_revocation(path, witnessed=False)
    assert verify_database(path, directory=listing()).uncounted_entries == 0, "a directory from before the revocation"
    unseen = verify_database(path, directory=listing(STOLEN))
    assert (unseen.verified, unseen.uncounted) == (True, (5, 6, 8, 9)), (
        "nothing shows them to be forged, nor to be true"
    )
    path.unlink()
    forged_after_the_revocation(path, witnessed=True)
    assert finding(verify_database(path, directory=listing(STOLEN))) == (Damage.BAD_SIGNATURE, 5)


def test_a_provider_that_dates_its_cosignature_back_helps_no_thief(path: Path) -> None:
    forged_after_the_revocation(path, witnessed=True, helper=True)
    assert verify_database(path, directory=listing(without=["watch"])).verified
    assert finding(verify_database(path, directory=listing(STOLEN))) == (Damage.BAD_SIGNATURE, 5)


# Receipts that go to strangers


def proof(path: Path, known: Directory, number: int = 0) -> PortableReceipt:
    reader = open_reader(path)
    try:
        receipt_id = outcome(Side.PROVIDER, number=number).receipt_id
        return prove_receipt(reader, receipt_id, sign_directory(known, signing_key("watch")))
    finally:
        reader.close()


def test_a_receipt_made_up_with_a_stolen_key_convinces_nobody_who_knows_of_the_revocation(path: Path) -> None:
    forged_after_the_revocation(path, witnessed=True, helper=True)
    made_up = proof(path, listing())
    assert made_up.verify(listing()).cosigned is not None, "by a directory from before the revocation"
    with pytest.raises(RevokedKeyError):
        made_up.verify(listing(STOLEN))


def test_an_old_receipt_stays_provable_for_ever(path: Path) -> None:
    """After a revocation, a change of the log's key, and years of other entries."""
    new = signing_key("east", KeyPurpose.LOG, 1)
    with CosignedLedger(path) as east:
        east.write(*calls(Side.PROVIDER, 1)).ledger.checkpoint()
        east.write(*one_call(Side.PROVIDER, 1)).seen(AT_S + 5)
        east.write(*one_call(Side.PROVIDER, 2)).seen(AT_S + 7200)
        east.ledger.rotate(new, 9)
        east.write(*one_call(Side.PROVIDER, 3)).seen(AT_S + 9000)
    log_stolen = ("east", record("east", KeyPurpose.LOG, KeyStatus.REVOKED, until_ms=REVOKED_MS))
    east_stolen = ("east", record("east", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=REVOKED_MS))
    later = listing(STOLEN, log_stolen, east_stolen, ("east", record("east", KeyPurpose.LOG, generation=1)))
    proven = proof(path, later, 0).verify(later)
    assert (proven.checkpoint.size, proven.to_json()["cosigned_by"]) == (10, ["watch"])
    assert proven.to_json()["cosigned_at_s"] == AT_S + 5
    with pytest.raises(RevokedKeyError, match="revoked"):
        proof(path, later, 2).verify(later)  # first seen after the revocation
    retired = ("east", replace(record("east", KeyPurpose.LOG), status=KeyStatus.RETIRED, until_ms=REVOKED_MS))
    new_key = ("east", record("east", KeyPurpose.LOG, generation=1))
    unwitnessed = listing(retired, new_key, without=["watch", "north", "shop"])
    latest = proof(path, unwitnessed, 0).verify(unwitnessed)
    assert (latest.checkpoint.size, latest.cosigned) == (17, None)


def test_a_proof_takes_the_regulators_cosignature_before_another_partys(path: Path) -> None:
    with CosignedLedger(path) as east:
        east.write(*calls(Side.PROVIDER, 1)).seen(AT_S, NORTH)
        east.write(*one_call(Side.PROVIDER, 1)).seen(AT_S + 9)
    assert proof(path, listing()).verify(listing()).cosigned.by == ("watch",)  # type: ignore[union-attr]
    alone = listing(without=["watch"])
    assert proof(path, alone).verify(alone).cosigned.by == ("north",)  # type: ignore[union-attr]
