"""The verifier and the signatures inside entries, held against the regulator's directory."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.directory import Directory, KeyRecord, KeyStatus
from audit.entry import Aborted, DiscrepancyFound, Entry, Side
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import Damage, Rule
from audit.ledger import Draft, Ledger, LedgerIdentity
from audit.names import KeyPurpose, Role
from audit.verify import verify_database
from tests.audit.ledgers import (
    SteppingClock,
    calls,
    finding,
    in_force,
    make,
    make_with_receipts,
    one_call,
    open_ledger,
)
from tests.audit.samples import AT_MS, ack, directory, discrepancy, intent, outcome, party_record, signing_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_receipts_verify_with_the_directory(path: Path) -> None:
    make_with_receipts(path, 3)
    assert finding(verify_database(path, directory=directory())) == (None, None)


def bad_provider_signature() -> Entry:
    good = outcome(Side.PROVIDER)
    other = outcome(Side.PROVIDER, number=1).receipt.signatures
    return replace(good, receipt=replace(good.receipt, signatures=other))


def bad_request_signature() -> Entry:
    good = outcome(Side.PROVIDER)
    other = outcome(Side.PROVIDER, number=1).request.signatures
    return replace(good, request=replace(good.request, signatures=other))


def bad_merchant_signature() -> Entry:
    return replace(ack(Side.PROVIDER), signature=ack(Side.PROVIDER, number=1).signature)


def provider_signs_for_the_merchant() -> Entry:
    good = ack(Side.PROVIDER)
    east = next(line for line in outcome(Side.PROVIDER).receipt.signatures)
    return replace(good, signature=east)


@pytest.mark.parametrize(
    "forged",
    [bad_provider_signature(), bad_request_signature(), bad_merchant_signature(), provider_signs_for_the_merchant()],
)
def test_a_wrong_signature_inside_an_entry_is_found(path: Path, forged: Entry) -> None:
    written = [forged if type(each) is type(forged) else each for each in calls(Side.PROVIDER, 1)]
    with open_ledger(path) as ledger:
        for each in written:
            ledger.append(Draft(each))
    at = written.index(forged) + 1
    assert finding(verify_database(path, directory=directory())) == (Damage.BAD_SIGNATURE, at)
    assert verify_database(path).verified, "without the directory nobody's message key is known"


def test_an_entry_that_contradicts_its_own_receipt_is_found(path: Path) -> None:
    with open_ledger(path) as ledger:
        for each in (*in_force(), intent(Side.PROVIDER), replace(outcome(Side.PROVIDER), price_micro=1)):
            ledger.append(Draft(each))
    assert finding(verify_database(path)) == (Damage.ALTERED, 5)


def test_an_acknowledgement_of_nothing_is_found(path: Path) -> None:
    with open_ledger(path) as ledger:
        for each in (*calls(Side.PROVIDER, 1), ack(Side.PROVIDER, number=1)):
            ledger.append(Draft(each))
    report = verify_database(path)
    assert (finding(report), report.rule) == ((Damage.ALTERED, 7), Rule.ORDER)


def test_a_log_key_that_the_directory_does_not_list_is_found(path: Path) -> None:
    make(path, 3)
    other = directory_with_east_keys((KeyPurpose.LOG, 1, KeyStatus.ACTIVE), (KeyPurpose.MESSAGE, 0, KeyStatus.ACTIVE))
    assert finding(verify_database(path, directory=other)) == (Damage.BAD_SIGNATURE, 0)


def test_signatures_by_keys_revoked_since_are_counted(path: Path) -> None:
    make_with_receipts(path, 2)
    revoked = directory_with_east_keys(
        (KeyPurpose.LOG, 0, KeyStatus.ACTIVE),
        (KeyPurpose.MESSAGE, 0, KeyStatus.REVOKED),
        (KeyPurpose.MESSAGE, 1, KeyStatus.ACTIVE),
    )
    report = verify_database(path, directory=revoked)
    assert (report.verified, report.revoked_signatures) == (True, 2)
    assert (report.uncounted, report.uncounted_entries) == ((5, 8), 2), "no witness had seen them"


def test_of_several_keys_that_signed_one_that_was_not_revoked_counts(path: Path) -> None:
    good = outcome(Side.PROVIDER)
    twice = replace(good, receipt=good.receipt.sign(signing_key("east", generation=1)))
    with open_ledger(path) as ledger:
        for each in (*in_force(), intent(Side.PROVIDER), twice):
            ledger.append(Draft(each))
    for revoked, other in ((0, 1), (1, 0)):
        known = directory_with_east_keys(
            (KeyPurpose.LOG, 0, KeyStatus.ACTIVE),
            (KeyPurpose.MESSAGE, revoked, KeyStatus.REVOKED),
            (KeyPurpose.MESSAGE, other, KeyStatus.ACTIVE),
        )
        assert verify_database(path, directory=known).revoked_signatures == 0


def directory_with_east_keys(*keys: tuple[KeyPurpose, int, KeyStatus]) -> Directory:
    records = tuple(
        KeyRecord(
            purpose,
            signing_key("east", purpose, generation).verifying_key,
            status,
            AT_MS,
            None if status is KeyStatus.ACTIVE else AT_MS + 1,
        )
        for purpose, generation, status in keys
    )
    whole = directory()
    others = tuple(party for party in whole.parties if party.name != "east")
    return replace(whole, parties=(party_record("east", records), *others))


def test_a_merchants_ledger_needs_both_signatures(path: Path) -> None:
    key = signing_key("shop", KeyPurpose.LOG)
    shop = LedgerIdentity("shop", Role.MERCHANT, "LEGAL-SHOP", key.name)
    lone = replace(outcome(Side.MERCHANT), receipt=outcome(Side.PROVIDER).receipt)
    for each, expected in ((outcome(Side.MERCHANT), None), (lone, Damage.BAD_SIGNATURE)):
        path.unlink(missing_ok=True)
        with Ledger.open(path, identity=shop, key=key, clock=SteppingClock()) as ledger:
            for entry in (*in_force("shop"), *one_call(Side.MERCHANT)[:1], each, ack(Side.MERCHANT)):
                ledger.append(Draft(entry))
            ledger.append(
                Draft(Aborted(party="shop", at_ms=AT_MS, side=Side.MERCHANT, call=each.call, contract=each.contract,
                              reason="deadline", released=True))
            )  # fmt: skip
        assert verify_database(path, directory=directory()).damage is expected


def discrepancy_by(party: str, signer: str) -> Envelope:
    return replace(discrepancy(), found_by=party).sign(signing_key(signer))


@pytest.mark.parametrize(
    ("signed", "damage", "without_directory"),
    [
        (discrepancy_by("east", "east"), None, None),
        (discrepancy_by("east", "north"), Damage.BAD_SIGNATURE, None),
        (discrepancy_by("watch", "watch"), Damage.ALTERED, Damage.ALTERED),
        (
            seal(PayloadType.DISCREPANCY.header(), PayloadType.DISCREPANCY, signing_key("east")),
            Damage.ALTERED,
            Damage.ALTERED,
        ),
    ],
)
def test_a_discrepancy_is_its_ledgers_owners_own(
    path: Path, signed: Envelope, damage: Damage | None, without_directory: Damage | None
) -> None:
    with open_ledger(path) as ledger:
        ledger.append(
            Draft(DiscrepancyFound(party="east", at_ms=AT_MS, discrepancy_id=signed.digest, discrepancy=signed))
        )
    assert verify_database(path, directory=directory()).damage is damage
    assert verify_database(path).damage is without_directory
