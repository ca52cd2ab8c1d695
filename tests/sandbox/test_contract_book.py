from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.commitment import commit, decode_openings
from audit.directory import KeyPurpose, KeyStatus
from audit.entry import ContractTransition, decode_entry
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, DuplicateKeyError, LedgerClosedError
from audit.ledger import Draft
from sandbox.contract_actions import (
    ActionStatement,
    StatusStatement,
    parse_action,
    parse_status,
    verify_action,
    verify_status,
)
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import ContractError, DenialReason, DeniedError, SandboxError, StateTransitionError
from sandbox.vault import VaultKind
from tests.audit.golden import assert_golden

from .agreement import AT_MS, DAY_MS, IMPORTANT, Home, ManualClock, contract, directory, key, message_keys, party_record
from .agreement import signed as signed_by

S, A, R = ContractState, ContractAction, DenialReason
NONCE = "ab" * 16


class Homes:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.stack = ExitStack()

    def __call__(self, party: str) -> Home:
        home = Home(self.folder, party, self.clock)
        self.stack.callback(home.close)
        return home


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Homes]:
    made = Homes(tmp_path)
    with made.stack:
        yield made


def first(*signers: str) -> Envelope:
    """The merchant's signature alone, or with those of the signers."""
    return signed_by(None, "shop", *signers)


def transitions(home: Home) -> list[tuple[str, str]]:
    entries = [decode_entry(data) for data in home.ledger.read(0, home.ledger.size)]
    return [(entry.state, entry.actor) for entry in entries if isinstance(entry, ContractTransition)]


def in_force(homes: Homes, party: str = "east") -> tuple[Home, str]:
    home = homes(party)
    return home, home.book.activate(signed_by(), directory()).contract_id


def action(kind: A, actor: str, at_ms: int, reason: str = "", contract_id: str = "") -> Envelope:
    return ActionStatement(contract_id or signed_by().digest, kind, actor, at_ms, reason, NONCE).sign(key(actor))


def status(state: S, at_ms: int) -> Envelope:
    return StatusStatement(signed_by().digest, state, at_ms).sign(key("watch"))


def test_the_way_of_a_contract_at_a_provider_is_logged_step_by_step(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    assert home.book.get(contract_id).state is S.SIGNED
    approved = home.book.approve(contract_id, key("east"), directory())
    assert approved.envelope.signed_by(key("east").name)
    home.book.activate(signed_by(), directory())
    home.clock.at_ms += 1
    home.book.decide(contract_id, A.REVOKE, "the law has changed", key("east"))
    assert transitions(home) == [
        ("signed", "shop"),
        ("approved", "east"),
        ("active", "shop"),
        ("revoked", "east"),
    ]


def test_the_regulators_book_countersigns_what_all_have_signed(homes: Homes) -> None:
    home = homes("watch")
    document = contract(grades=IMPORTANT)
    contract_id = home.book.receive(signed_by(document, "shop", "east"), directory()).contract_id
    assert home.book.get(contract_id).state is S.SIGNED
    with pytest.raises(StateTransitionError):
        home.book.approve(contract_id, key("watch"), directory())
    home.book.receive(signed_by(document), directory())
    record = home.book.approve(contract_id, key("watch"), directory())
    assert record.state is S.COUNTERSIGNED
    assert home.book.activate(record.envelope, directory()).state is S.ACTIVE
    assert [state for state, _ in transitions(home)] == ["signed", "approved", "countersigned", "active"]


def test_the_merchants_book_collects_signatures(homes: Homes) -> None:
    home = homes("shop")
    contract_id = home.book.receive(first(), directory()).contract_id
    for party in ("south", "east"):
        assert home.book.receive(first(party), directory()).state is S.SIGNED
    record = home.book.receive(first("north"), directory())
    assert record.state is S.APPROVED
    assert record.envelope == signed_by()
    assert home.book.get(contract_id) == record
    assert transitions(home) == [("signed", "shop"), ("approved", "south")]


def test_a_contract_without_its_merchants_signature_is_not_taken_in(homes: Homes) -> None:
    home = homes("east")
    stripped = tuple(line for line in signed_by().signatures if not line.keyid.startswith("shop."))
    with pytest.raises(DeniedError) as error:
        home.book.receive(Envelope(PayloadType.CONTRACT, signed_by().payload, stripped), directory())
    assert (error.value.reason, error.value.clause) == (R.BAD_SIGNATURE, "signatures.shop")
    assert home.book.all() == ()
    assert transitions(home) == []


def test_a_forged_approval_neither_counts_nor_poisons_the_true_one(homes: Homes) -> None:
    home = homes("shop")
    home.book.receive(first("south", "east"), directory())
    true = next(line for line in signed_by().signatures if line.keyid.startswith("north."))
    lines = tuple(replace(line, signature=bytes(64)) if line == true else line for line in signed_by().signatures)
    with pytest.raises(DeniedError) as error:
        home.book.receive(replace(signed_by(), signatures=lines), directory())
    assert (error.value.reason, error.value.clause) == (R.BAD_SIGNATURE, "signatures.north")
    assert home.book.receive(first("north"), directory()).state is S.APPROVED


def test_an_important_contract_is_not_put_in_force_without_the_regulator(homes: Homes) -> None:
    home = homes("east")
    with pytest.raises(DeniedError) as error:
        home.book.activate(signed_by(contract(grades=IMPORTANT)), directory())
    assert (error.value.reason, error.value.clause) == (R.BAD_SIGNATURE, "signatures.watch")
    assert home.book.all() == ()


def test_a_provider_rejects_before_it_is_in_force_and_not_after(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    assert home.book.reject(contract_id, "not our purpose", key("east")).state is S.REJECTED
    with pytest.raises(StateTransitionError):
        home.book.activate(signed_by(), directory())
    other, other_id = in_force(homes, "north")
    with pytest.raises(StateTransitionError):
        other.book.reject(other_id, "too late", key("north"))


def test_activating_twice_changes_nothing(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    before = home.ledger.size
    assert home.book.activate(signed_by(), directory()) == home.book.get(contract_id)
    assert home.ledger.size == before


def test_an_expired_contract_is_neither_taken_in_nor_approved(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    home.clock.at_ms = contract().validity.not_after_ms
    with pytest.raises(StateTransitionError, match="expired"):
        home.book.approve(contract_id, key("east"), directory())
    with pytest.raises(ContractError, match="validity"):
        homes("north").book.receive(first(), directory())


def test_a_party_without_part_in_it_does_not_keep_it(homes: Homes) -> None:
    two = contract(
        providers=("east", "north"), datasets={name: contract().datasets[name] for name in ("east", "north")}
    )
    with pytest.raises(DeniedError) as error:
        homes("south").book.receive(signed_by(two, "shop"), directory())
    assert error.value.reason is R.PARTICIPANT_SET_MISMATCH


def test_everything_is_there_after_a_restart(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    home.book.hear_status(status(S.ACTIVE, AT_MS + 5), directory())
    home.book.act(action(A.SUSPEND, "watch", AT_MS + 7), directory())
    before = home.book.get(contract_id)
    home.reopen()
    assert home.book.get(contract_id) == before
    assert (before.state, before.heard_ms, before.regulator_ms) == (S.SUSPENDED, AT_MS + 5, AT_MS + 7)


def test_a_transition_that_the_ledger_refused_is_forgotten(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    home.ledger.close()
    with pytest.raises(LedgerClosedError):
        home.book.approve(contract_id, key("east"), directory())
    assert home.book.get(contract_id).state is S.SIGNED
    home.vault.close()
    home.open()
    assert home.book.get(contract_id).state is S.SIGNED
    assert not home.book.get(contract_id).envelope.signed_by(key("east").name)
    assert home.book.approve(contract_id, key("east"), directory()).state is S.APPROVED


def test_a_transition_that_the_ledger_has_is_finished_after_a_crash(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    before = home.vault.get(VaultKind.CONTRACT, contract_id)
    home.book.approve(contract_id, key("east"), directory())
    after = home.vault.get(VaultKind.CONTRACT, contract_id)
    assert before is not None
    assert after is not None
    # What the vault holds when the process dies between the ledger's commit and the vault's.
    home.vault.put(VaultKind.CONTRACT, contract_id, before)
    home.vault.put(VaultKind.CONTRACT, f"pending:{contract_id}", after)
    home.reopen()
    assert home.book.get(contract_id).state is S.APPROVED
    assert home.vault.get(VaultKind.CONTRACT, f"pending:{contract_id}") is None
    assert transitions(home) == [("signed", "shop"), ("approved", "east")]


def test_no_step_is_logged_twice(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    entries = [decode_entry(data) for data in home.ledger.read(0, home.ledger.size)]
    with pytest.raises(DuplicateKeyError):
        home.ledger.append(Draft(entries[-1], keys=(f"contract:{contract_id}:1",)))


def test_the_reason_is_in_the_ledger_as_a_commitment_only(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    home.clock.at_ms += 1
    reason = "complaint of a named person"
    home.book.decide(contract_id, A.REVOKE, reason, key("east"))
    data = list(home.ledger.read(0, home.ledger.size))
    assert not any(reason.encode() in item for item in data)
    entry = decode_entry(data[-1])
    assert isinstance(entry, ContractTransition)
    ((name, value),) = home.vault.items(VaultKind.OPENINGS, f"contract:{contract_id}")
    opening = decode_openings(value, 10_000)["reason"]
    assert opening.value.decode() == reason
    assert entry.reason == commit("reason", opening.salt, opening.value)
    assert name == f"contract:{contract_id}:4"


# A vault restored from a backup, behind a ledger that has its entries back


class Restored:
    """A home whose vault is put back to an earlier state; the ledger stays as it is."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.kept = home.vault.items(VaultKind.CONTRACT), home.vault.items(VaultKind.STATUS)

    def restore(self) -> None:
        vault = self.home.vault
        with vault.transaction():
            for kind, kept in zip((VaultKind.CONTRACT, VaultKind.STATUS), self.kept, strict=True):
                for name, _ in vault.items(kind):
                    vault.delete(kind, name)
                for name, value in kept:
                    vault.put(kind, name, value)
        self.home.reopen()


def test_a_contract_that_the_vault_lost_comes_back_in_the_ledgers_state(homes: Homes) -> None:
    home = homes("east")
    backup = Restored(home)
    contract_id = home.book.activate(signed_by(), directory()).contract_id
    logged = transitions(home)
    backup.restore()
    with pytest.raises(DeniedError):
        home.book.get(contract_id)
    record = home.book.activate(signed_by(), directory())
    assert (record.state, record.envelope, transitions(home)) == (S.ACTIVE, signed_by(), logged)
    home.reopen()
    home.clock.at_ms += 1
    home.book.decide(contract_id, A.REVOKE, "", key("east"))
    assert transitions(home) == [*logged, ("revoked", "east")]


@pytest.mark.parametrize(("kind", "actor"), [(A.REVOKE, "north"), (A.TERMINATE, "shop"), (A.SUSPEND, "watch")])
def test_what_ended_or_was_suspended_is_not_in_force_again(homes: Homes, kind: A, actor: str) -> None:
    """The attack: the merchant hands in the complete signatures again, to a provider restored from a backup."""
    for known in (True, False):
        home = homes("east") if known else homes("north")
        if known:
            home.book.activate(signed_by(), directory())
        backup = Restored(home)
        home.book.activate(signed_by(), directory())
        state = home.book.act(action(kind, actor, AT_MS), directory()).state
        logged = transitions(home)
        backup.restore()
        with pytest.raises(StateTransitionError):
            home.book.activate(signed_by(), directory())
        assert home.book.receive(signed_by(), directory()).state is state
        assert home.book.get(signed_by().digest).state is state
        assert transitions(home) == logged


def test_a_contract_known_in_an_earlier_state_follows_the_ledger_at_opening(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    backup = Restored(home)
    home.book.approve(contract_id, key("east"), directory())
    home.book.activate(signed_by(), directory())
    backup.restore()
    record = home.book.get(contract_id)
    assert (record.state, record.transitions) == (S.ACTIVE, 3)
    # Its signatures are not in the ledger: until they come again, a call finds them missing.
    assert not record.envelope.signed_by(key("east").name)
    assert home.book.receive(signed_by(), directory()).envelope == signed_by()


def test_a_ledger_that_catches_up_while_the_book_is_open_is_followed(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    entry = ContractTransition(
        party="east", at_ms=AT_MS, contract=contract_id, state="revoked", actor="north", digest="00" * 32, reason=""
    )
    home.ledger.append(Draft(entry, keys=(f"contract:{contract_id}:4",)))
    assert home.book.get(contract_id).state is S.ACTIVE
    home.book.catch_up()
    assert home.book.get(contract_id).state is S.REVOKED


def test_a_word_of_the_regulator_that_the_vault_lost_does_not_count_again(homes: Homes) -> None:
    """The attack: a lost resumption is repeated after the suspension that followed it."""
    home, contract_id = in_force(homes)
    backup = Restored(home)
    resume = action(A.RESUME, "watch", AT_MS + 2)
    home.book.act(action(A.SUSPEND, "watch", AT_MS + 1), directory())
    home.book.act(resume, directory())
    home.book.act(action(A.SUSPEND, "watch", AT_MS + 3), directory())
    backup.restore()
    for _ in range(2):
        for word in (resume, status(S.ACTIVE, AT_MS + 2)):
            with pytest.raises(DeniedError) as error:
                (home.book.act if word is resume else home.book.hear_status)(word, directory())
            assert error.value.reason is R.STALE
        assert home.book.get(contract_id).state is S.SUSPENDED
        home.reopen()
    home.clock.at_ms += 120_000
    assert home.book.act(action(A.RESUME, "watch", AT_MS + 120_000), directory()).state is S.ACTIVE


def test_a_pending_transition_whose_number_another_one_took_is_forgotten(homes: Homes) -> None:
    """The backup was made while it was not known whether the ledger has an approval; it had not, and a refusal came."""
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    signed = Restored(home)
    home.book.approve(contract_id, key("east"), directory())
    pending = home.vault.get(VaultKind.CONTRACT, contract_id)
    assert pending is not None
    other = homes("north")
    other.book.receive(first(), directory())
    other.vault.put(VaultKind.CONTRACT, f"pending:{contract_id}", pending)
    backup = Restored(other)
    other.vault.delete(VaultKind.CONTRACT, f"pending:{contract_id}")
    other.book.reject(contract_id, "", key("north"))
    backup.restore()
    assert other.book.get(contract_id).state is S.REJECTED
    signed.restore()
    assert home.book.get(contract_id).state is S.APPROVED


# Actions of others


def test_suspension_and_resumption_are_the_regulators(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    assert home.book.act(action(A.SUSPEND, "watch", AT_MS + 1), directory()).state is S.SUSPENDED
    assert home.book.act(action(A.RESUME, "watch", AT_MS + 2), directory()).state is S.ACTIVE
    for actor in ("shop", "north"):
        with pytest.raises(StateTransitionError):
            home.book.act(action(A.SUSPEND, actor, AT_MS + 3), directory())
    assert home.book.get(contract_id).state is S.ACTIVE


def test_any_provider_revokes_and_the_merchant_terminates(homes: Homes) -> None:
    home, _ = in_force(homes)
    assert home.book.act(action(A.REVOKE, "north", AT_MS), directory()).state is S.REVOKED
    other, _ = in_force(homes, "north")
    assert other.book.act(action(A.TERMINATE, "shop", AT_MS), directory()).state is S.TERMINATED


def test_a_replayed_suspension_does_not_suspend_again(homes: Homes) -> None:
    home, _ = in_force(homes)
    suspend = action(A.SUSPEND, "watch", AT_MS + 1)
    home.book.act(suspend, directory())
    assert home.book.act(suspend, directory()).state is S.SUSPENDED
    home.book.act(action(A.RESUME, "watch", AT_MS + 2), directory())
    assert home.book.act(suspend, directory()).state is S.ACTIVE


def test_an_older_action_is_not_taken_after_a_newer_word(homes: Homes) -> None:
    home, _ = in_force(homes)
    home.book.hear_status(status(S.SUSPENDED, AT_MS + 10), directory())
    with pytest.raises(DeniedError) as error:
        home.book.act(action(A.RESUME, "watch", AT_MS + 9), directory())
    assert error.value.reason is R.STALE


def test_a_forged_action_is_refused(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    statement = ActionStatement(contract_id, A.SUSPEND, "watch", AT_MS + 1, "", NONCE)
    for forger in ("shop", "north"):
        with pytest.raises(DeniedError) as error:
            home.book.act(statement.sign(key(forger)), directory())
        assert (error.value.reason, error.value.clause) == (R.BAD_SIGNATURE, "actor")
    with pytest.raises(DeniedError):
        home.book.act(statement.sign(key("watch", KeyPurpose.LOG)), directory())


def test_an_action_by_a_retired_or_revoked_key_is_refused(homes: Homes) -> None:
    home, _ = in_force(homes)
    for status_of_key in (KeyStatus.RETIRED, KeyStatus.REVOKED):
        keys = message_keys("watch", status_of_key, KeyStatus.ACTIVE)
        listed = directory(watch=party_record("watch", keys=keys))
        with pytest.raises(DeniedError) as error:
            home.book.act(action(A.SUSPEND, "watch", AT_MS + 1), listed)
        assert error.value.reason is R.BAD_SIGNATURE


def test_an_action_by_an_outsider_is_refused(homes: Homes) -> None:
    two = contract(
        providers=("east", "north"), datasets={name: contract().datasets[name] for name in ("east", "north")}
    )
    home = homes("east")
    contract_id = home.book.activate(signed_by(two, "east", "north"), directory()).contract_id
    with pytest.raises(DeniedError) as error:
        home.book.act(action(A.REVOKE, "south", AT_MS, contract_id=contract_id), directory())
    assert error.value.reason is R.WRONG_ROLE


def test_an_action_on_an_unknown_contract_is_refused(homes: Homes) -> None:
    with pytest.raises(DeniedError) as error:
        homes("east").book.act(action(A.REVOKE, "north", AT_MS), directory())
    assert error.value.reason is R.CONTRACT_UNKNOWN


def test_a_post_dated_action_is_refused(homes: Homes) -> None:
    home, _ = in_force(homes)
    with pytest.raises(DeniedError) as error:
        home.book.act(action(A.SUSPEND, "watch", AT_MS + 60_001), directory())
    assert error.value.reason is R.STALE


# The regulator's word


def test_hearing_active_renews_the_lease(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    assert home.book.get(contract_id).lease_end_ms == 0
    record = home.book.hear_status(status(S.ACTIVE, AT_MS + 1), directory())
    assert record.lease_end_ms == AT_MS + 1 + DAY_MS


def test_hearing_anything_else_renews_nothing(homes: Homes) -> None:
    home, _ = in_force(homes)
    for offset, state in enumerate((S.SIGNED, S.APPROVED, S.SUSPENDED, S.EXPIRED)):
        assert home.book.hear_status(status(state, AT_MS + offset), directory()).heard_ms is None


def test_a_provider_that_heard_of_a_revocation_follows_and_never_comes_back(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    home.book.hear_status(status(S.REVOKED, AT_MS + 1), directory())
    assert transitions(home)[-1] == ("revoked", "watch")
    assert home.book.hear_status(status(S.ACTIVE, AT_MS + 2), directory()).state is S.REVOKED
    with pytest.raises(StateTransitionError):
        home.book.activate(signed_by(), directory())
    assert home.book.get(contract_id).state is S.REVOKED


def test_an_old_status_neither_renews_nor_resumes(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    old = status(S.ACTIVE, AT_MS + 1)
    home.book.hear_status(status(S.ACTIVE, AT_MS + 5), directory())
    with pytest.raises(DeniedError) as error:
        home.book.hear_status(old, directory())
    assert error.value.reason is R.STALE
    home.book.act(action(A.SUSPEND, "watch", AT_MS + 9), directory())
    for late in (status(S.ACTIVE, AT_MS + 8), status(S.ACTIVE, AT_MS + 9)):
        with pytest.raises(DeniedError):
            home.book.hear_status(late, directory())
    record = home.book.get(contract_id)
    assert (record.state, record.heard_ms) == (S.SUSPENDED, AT_MS + 5)


def test_a_post_dated_status_does_not_lengthen_the_lease(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    with pytest.raises(DeniedError) as error:
        home.book.hear_status(status(S.ACTIVE, AT_MS + 60_001), directory())
    assert error.value.reason is R.STALE
    assert home.book.get(contract_id).heard_ms is None


def test_a_status_by_anyone_else_is_refused(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    forged = StatusStatement(contract_id, S.ACTIVE, AT_MS).sign(key("shop"))
    with pytest.raises(DeniedError) as error:
        home.book.hear_status(forged, directory())
    assert (error.value.reason, error.value.clause) == (R.BAD_SIGNATURE, "regulator")


def test_only_the_regulator_states_a_status(homes: Homes) -> None:
    home, contract_id = in_force(homes)
    with pytest.raises(DeniedError) as error:
        home.book.status(contract_id, key("east"))
    assert error.value.reason is R.WRONG_ROLE


def test_the_regulators_status_is_true_now_and_heard_by_a_provider(homes: Homes) -> None:
    regulator, contract_id = in_force(homes, "watch")
    provider, _ = in_force(homes, "east")
    homes.clock.at_ms += 1
    regulator.book.decide(contract_id, A.SUSPEND, "inquiry", key("watch"))
    word = regulator.book.status(contract_id, key("watch"))
    assert parse_status(word) == StatusStatement(contract_id, S.SUSPENDED, AT_MS + 1)
    assert provider.book.hear_status(word, directory()).state is S.SUSPENDED
    homes.clock.at_ms = contract().validity.not_after_ms
    assert parse_status(regulator.book.status(contract_id, key("watch"))).state is S.EXPIRED


def test_two_decisions_within_a_millisecond_are_in_order(homes: Homes) -> None:
    regulator, contract_id = in_force(homes, "watch")
    regulator.book.decide(contract_id, A.SUSPEND, "", key("watch"))
    record = regulator.book.decide(contract_id, A.RESUME, "", key("watch"))
    times = [parse_action(item).at_ms for item in record.actions]
    assert times == sorted(set(times))
    provider, _ = in_force(homes, "east")
    for item in record.actions:
        provider.book.act(item, directory())
    assert provider.book.get(contract_id).state is S.ACTIVE


# Formats


def test_the_action_keeps_its_bytes() -> None:
    envelope = action(A.SUSPEND, "watch", AT_MS, "inquiry into a complaint")
    assert_golden("contract_action", envelope.encode())
    assert verify_action(envelope, directory()).reason == "inquiry into a complaint"


def test_the_status_keeps_its_bytes() -> None:
    envelope = status(S.ACTIVE, AT_MS)
    assert_golden("contract_status", envelope.encode())
    assert verify_status(envelope, directory()).state is S.ACTIVE


@pytest.mark.parametrize("kind", [A.SIGN, A.APPROVE, A.ACTIVATE])
def test_signatures_over_the_contract_are_no_actions(kind: A) -> None:
    with pytest.raises(ContractError):
        ActionStatement("00" * 32, kind, "east", AT_MS, "", NONCE)


def test_a_reason_is_bounded() -> None:
    for reason in ("x" * 501, "two\nlines"):
        with pytest.raises(ContractError):
            ActionStatement("00" * 32, A.REVOKE, "east", AT_MS, reason, NONCE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["contract", "action", "actor", "at_ms", "reason", "nonce", "state", "x"]),
        st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "00" * 32, NONCE, "revoke", "active", "east"]),
    ),
    st.sampled_from([PayloadType.CONTRACT_ACTION, PayloadType.CONTRACT_STATUS]),
)
def test_any_body_is_an_action_or_status_or_our_error(changes: dict[str, str], kind: PayloadType) -> None:
    envelope = seal(kind.header() | changes, kind, key("east"))
    parse = parse_action if kind is PayloadType.CONTRACT_ACTION else parse_status
    try:
        statement = parse(envelope)
    except (AuditError, SandboxError):
        return
    assert seal(statement.to_body(), kind, key("east")) == envelope


def test_the_reason_of_an_approval_is_committed_to_as_well(homes: Homes) -> None:
    home = homes("east")
    contract_id = home.book.receive(first(), directory()).contract_id
    home.book.approve(contract_id, key("east"), directory(), reason="within our mandate")
    entry = decode_entry(list(home.ledger.read(0, home.ledger.size))[-1])
    assert isinstance(entry, ContractTransition)
    ((_, value),) = home.vault.items(VaultKind.OPENINGS, f"contract:{contract_id}")
    opening = decode_openings(value, 10_000)["reason"]
    assert opening.value.decode() == "within our mandate"
    assert entry.reason == commit("reason", opening.salt, opening.value)
    with pytest.raises(ContractError, match="printable"):
        home.book.approve(contract_id, key("east"), directory(), reason="two\nlines")
