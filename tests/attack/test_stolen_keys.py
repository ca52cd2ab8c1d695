"""Somebody has a party's message key. Until the regulator revokes it, it is that party; from then on it is nobody's.

Each attack is run twice: with the directory from before the revocation, where it succeeds, and with the one after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.directory import KeyPurpose, KeyRecord, KeyStatus
from audit.entry import Ack
from audit.errors import AuditError, Damage, VerificationImpossibleError
from audit.names import Role
from audit.verify import verify_database
from sandbox.contract_actions import ActionStatement, StatusStatement, verify_action, verify_status
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError
from tests.audit.cosigned import CosignedLedger, listing, record
from tests.audit.forging import rewrite
from tests.audit.ledgers import append_many, finding
from tests.audit.samples import AT_MS as SAMPLE_MS
from tests.audit.samples import signing_key as audit_key
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import Federation, only
from tests.sandbox.survey import AT_MS, MERCHANT, REGULATOR, signing_key

REVOKED_MS = SAMPLE_MS + 3_600_000


def revoke(federation: Federation, party: str) -> None:
    """What every party holds a minute after the regulator has revoked the party's message key."""
    record = federation.directory.party(party)
    keys = tuple(
        KeyRecord(item.purpose, item.key, KeyStatus.REVOKED, item.since_ms, AT_MS + 1)
        if item.purpose is KeyPurpose.MESSAGE
        else item
        for item in record.keys
    )
    parties = tuple(replace(each, keys=keys) if each is record else each for each in federation.directory.parties)
    federation.directory = replace(federation.directory, version=2, parties=parties)


def ask(federation: Federation) -> None:
    """The merchant's key: a request."""
    federation.run()


def act(federation: Federation) -> None:
    """The merchant's key: an end to its contract."""
    statement = ActionStatement(federation.contract_id, ContractAction.TERMINATE, MERCHANT, AT_MS, "", "ab" * 16)
    verify_action(statement.sign(signing_key(MERCHANT, Role.MERCHANT)), federation.directory)


def offer(federation: Federation) -> None:
    """A provider's key: offer, part and receipt, under a contract that it had signed."""
    federation.run()


def state(federation: Federation) -> None:
    """The regulator's key: a lease."""
    statement = StatusStatement(federation.contract_id, ContractState.ACTIVE, AT_MS)
    verify_status(statement.sign(signing_key(REGULATOR, Role.REGULATOR)), federation.directory)


@pytest.mark.parametrize(("attack", "party"), [(ask, MERCHANT), (act, MERCHANT), (offer, "north"), (state, REGULATOR)])
def test_a_stolen_key_is_worth_nothing_once_it_is_revoked(
    federate: MakeFederation, attack: Callable[[Federation], None], party: str
) -> None:
    federation = federate(3)
    attack(federation)
    revoke(federation, party)
    with pytest.raises(DeniedError) as denied:
        attack(federation)
    assert denied.value.reason is DenialReason.BAD_SIGNATURE


def test_a_receipt_countersigned_by_a_revoked_key_is_not_recorded(federate: MakeFederation) -> None:
    federation = federate(2)
    federation.faults.drop.add(("acknowledge", "east"))
    federation.run()
    revoke(federation, MERCHANT)
    federation.faults.drop.clear()
    assert not federation.merchant.session.flush_acknowledgements().recorded
    assert not only(Ack, federation.providers["north"].entries())


def test_an_offer_by_a_key_revoked_during_the_run_is_refused(federate: MakeFederation) -> None:
    federation = federate(3)

    def revoked_meanwhile(message: object) -> object:
        revoke(federation, "south")
        return message

    federation.faults.replies["offer", "south"] = revoked_meanwhile
    with pytest.raises(PeerMisbehavedError) as misbehaved:
        federation.run()
    assert (misbehaved.value.party, misbehaved.value.reason) == ("south", DenialReason.BAD_SIGNATURE)


def test_what_was_signed_before_the_revocation_is_counted_and_not_hidden(federate: MakeFederation) -> None:
    federation = federate(2)
    federation.run()
    revoke(federation, "north")
    report = verify_database(federation.providers["north"].home / "ledger.sqlite", directory=federation.directory)
    assert (report.verified, report.revoked_signatures) == (True, 1)
    assert report.uncounted_entries == 1, "no witness had seen it: see test_backdating"
    with pytest.raises(AuditError):
        federation.directory.party("north").key(KeyPurpose.MESSAGE)


# A stolen log key signs whole histories. `east` of the sample federation, its ledger and its witness.

EAST_LOG = audit_key("east", KeyPurpose.LOG)
THIEF = audit_key("east", KeyPurpose.LOG, 5)
STOLEN = ("east", record("east", KeyPurpose.LOG, KeyStatus.REVOKED, until_ms=REVOKED_MS))


def honest(path: Path) -> None:
    with CosignedLedger(path) as east:
        append_many(east.ledger, range(5))
        east.seen(REVOKED_MS // 1000 - 60)


def test_a_history_written_anew_under_a_stolen_log_key_is_worth_nothing_once_it_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    honest(path)
    assert verify_database(path, directory=listing(STOLEN)).verified, "what a witness had seen before stays good"
    rewrite(path, lambda entries: entries.__delitem__(3), EAST_LOG)
    assert verify_database(path, directory=listing()).verified
    assert finding(verify_database(path, directory=listing(STOLEN))) == (Damage.BAD_SIGNATURE, 0)


def test_entries_added_under_a_stolen_log_key_are_worth_nothing_once_it_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    honest(path)
    with CosignedLedger(path) as thief:
        append_many(thief.ledger, range(5, 7))
        thief.ledger.checkpoint()
    assert verify_database(path, directory=listing()).verified
    assert finding(verify_database(path, directory=listing(STOLEN))) == (Damage.BAD_SIGNATURE, 6)


def test_a_stolen_log_key_cannot_hand_the_log_over_to_the_thief(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    honest(path)
    with CosignedLedger(path) as thief:
        thief.ledger.rotate(THIEF, 9)
        append_many(thief.ledger, range(5, 7))
    assert verify_database(path).verified, "the ledger's own entries vouch for the thief's key"
    assert finding(verify_database(path, directory=listing())) == (Damage.BAD_SIGNATURE, 6)


def test_a_stolen_log_keys_checkpoints_accuse_nobody(tmp_path: Path) -> None:
    """The attack: the thief signs another history and shows it as an outside checkpoint, so that `east` has forked."""
    path = tmp_path / "ledger.db"
    honest(path)
    other = sign_checkpoint(Checkpoint(EAST_LOG.name, 4, bytes(32)), EAST_LOG)
    assert verify_database(path, directory=listing(), anchors=[other]).damage is Damage.REWRITTEN
    with pytest.raises(VerificationImpossibleError, match="revoked"):
        verify_database(path, directory=listing(STOLEN), anchors=[other])
