"""The verifier's rules about what entries say: each lie of an owner who holds all the keys, named where it stands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.entry import (
    Denied,
    DirectoryAccepted,
    Enrolled,
    Entry,
    Intent,
    LogKeyChanged,
    Side,
    WitnessOverride,
    encode_entry,
)
from audit.errors import Damage, Rule
from audit.ledger import Draft, Ledger, LedgerIdentity
from audit.names import KeyPurpose, Role
from audit.verify import Report, verify_database
from audit.verify_calls import OUTSTANDING_LIMIT
from audit.verify_references import UNDER_WAY_MS
from tests.audit.forging import rewrite
from tests.audit.ledgers import (
    IDENTITY,
    LOG_KEY,
    QUIET,
    SteppingClock,
    calls,
    edit,
    entry_bytes,
    finding,
    in_force,
    make,
    one_call,
)
from tests.audit.samples import AT_MS, aborted, ack, digest, directory, intent, outcome, signing_key

SHOP_KEY = signing_key("shop", KeyPurpose.LOG)
SHOP = LedgerIdentity("shop", Role.MERCHANT, "LEGAL-SHOP", SHOP_KEY.name)
WATCH_KEY = signing_key("watch", KeyPurpose.LOG)
WATCH = LedgerIdentity("watch", Role.REGULATOR, "LEGAL-WATCH", WATCH_KEY.name)
OWNERS = {Side.PROVIDER: (IDENTITY, LOG_KEY), Side.MERCHANT: (SHOP, SHOP_KEY), Side.REGULATOR: (WATCH, WATCH_KEY)}
FORCE = in_force()
INTENT, OUTCOME, ACK = one_call(Side.PROVIDER)


def state(reached: str, at_ms: int = AT_MS, party: str = "east") -> Entry:
    return replace(in_force(party)[0], state=reached, at_ms=at_ms)  # type: ignore[call-arg]


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Report]:
    """What the verifier says of a ledger of these entries after its genesis, the ledger's index of keys left empty."""

    def tell(*entries: Entry, side: Side = Side.PROVIDER) -> Report:
        path = tmp_path / "ledger.db"
        path.unlink(missing_ok=True)
        identity, key = OWNERS[side]
        with Ledger.open(path, identity=identity, key=key, clock=SteppingClock(), config=QUIET) as ledger:
            for entry in entries:
                ledger.append(Draft(entry))
        return verify_database(path, directory=directory())

    return tell


Told = Callable[..., Report]


def breaks(report: Report) -> tuple[Rule | None, int | None]:
    assert report.damage in (None, Damage.ALTERED)
    return report.rule, report.index


# What is honest


def test_calls_of_either_side_that_end_in_every_way_pass(told: Told) -> None:
    released = aborted("east", Side.PROVIDER, 2, released=True)
    ended = [*one_call(Side.PROVIDER, 1)[:1], aborted("east", Side.PROVIDER, 1), *one_call(Side.PROVIDER, 2)[:2]]
    assert told(*calls(Side.PROVIDER, 1), *ended, released, *one_call(Side.PROVIDER, 3)[:2]).verified
    half = [*one_call(Side.MERCHANT, 1)[:3], aborted("shop", Side.MERCHANT, 1, released=True)]
    assert told(*calls(Side.MERCHANT, 1), *half, *one_call(Side.MERCHANT, 2)[:4], side=Side.MERCHANT).verified


def test_a_contract_may_be_suspended_and_resumed_and_a_state_be_written_twice(told: Told) -> None:
    again = [state("suspended"), state("suspended"), state("active"), state("active"), *one_call(Side.PROVIDER)]
    assert told(*FORCE, *again, state("revoked"), state("revoked")).verified


def test_a_merchants_refused_tries_need_no_active_contract(told: Told) -> None:
    sent, *_ = one_call(Side.MERCHANT)
    ended = aborted("shop", Side.MERCHANT, released=True)
    for reached in ("suspended", "terminated"):
        assert told(*in_force("shop"), state(reached, party="shop"), sent, ended, side=Side.MERCHANT).verified


# Lies about calls


@pytest.mark.parametrize(
    ("written", "rule", "index"),
    [
        ([*FORCE, OUTCOME, ACK], Rule.ORDER, 4),
        ([*FORCE, ACK], Rule.ORDER, 4),
        ([*FORCE, aborted("east", Side.PROVIDER)], Rule.ORDER, 4),
        ([*FORCE, INTENT, ACK], Rule.ORDER, 5),
        ([*FORCE, INTENT, OUTCOME, OUTCOME], Rule.ORDER, 6),
        ([*FORCE, INTENT, OUTCOME, ACK, ACK], Rule.ORDER, 7),
        ([*FORCE, INTENT, aborted("east", Side.PROVIDER), OUTCOME], Rule.ORDER, 6),
        ([*FORCE, INTENT, OUTCOME, ACK, aborted("east", Side.PROVIDER, released=True)], Rule.ORDER, 7),
        ([*FORCE, INTENT, OUTCOME, aborted("east", Side.PROVIDER)], Rule.ORDER, 6),
        ([*FORCE, INTENT, OUTCOME, ACK, INTENT], Rule.ONCE, 7),
        ([*FORCE, INTENT, INTENT], Rule.ONCE, 5),
    ],
)
def test_entries_out_of_order_are_found(told: Told, written: list[Entry], rule: Rule, index: int) -> None:
    assert breaks(told(*written)) == (rule, index)


@pytest.mark.parametrize(
    "change",
    [
        {"price_micro": 1},
        {"units": replace(intent(Side.PROVIDER).units, ciphertexts=1)},
        {"currency": "EUR"},
        {"computing_party": "north"},
        {"participants": ("east",)},
        {"nonce": digest("another")[:32]},
        {"provider_nonce": digest("another")[:32]},
        {"dataset": "east/other@0011223344556677"},
    ],
)
def test_an_answer_to_another_call_than_was_taken_is_found(told: Told, change: dict[str, object]) -> None:
    """The attack: what was reserved is not what is charged, or the other way round."""
    taken = replace(intent(Side.PROVIDER), **change)  # type: ignore[arg-type]
    assert breaks(told(*FORCE, taken, OUTCOME, ACK)) == (Rule.CALL, 5)


def test_a_nonce_taken_twice_under_two_calls_is_found_long_after_the_first_ended(told: Told) -> None:
    again = replace(intent(Side.PROVIDER, 9), nonce=intent(Side.PROVIDER, 0).nonce)
    assert breaks(told(*calls(Side.PROVIDER, 5), again)) == (Rule.ONCE, 19)


@pytest.mark.parametrize("named", [4, 7, None])
def test_a_replay_is_found_whatever_the_index_of_keys_says(tmp_path: Path, named: int | None) -> None:
    path = tmp_path / "ledger.db"
    keys = [f"nonce:shop:{intent(Side.PROVIDER).nonce}", f"call:provider:{intent(Side.PROVIDER).call}"]
    with Ledger.open(path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), config=QUIET) as ledger:
        for index, entry in enumerate([*calls(Side.PROVIDER, 1), INTENT], start=1):
            ledger.append(Draft(entry, keys=tuple(keys) if index == named else ()))
    assert breaks(verify_database(path)) == (Rule.ONCE, 7)


def test_a_merchants_answers_are_its_participants_each_once_and_add_up(told: Told) -> None:
    sent, east, east_ack, north, north_ack = one_call(Side.MERCHANT)
    assert isinstance(sent, Intent)
    force = in_force("shop")
    assert breaks(told(*force, sent, east, east, side=Side.MERCHANT)) == (Rule.ORDER, 6)
    alone = replace(sent, participants=("east",))
    assert breaks(told(*force, alone, east, side=Side.MERCHANT))[0] is Rule.CALL
    dear = replace(sent, price_micro=sent.price_micro + 1)
    assert breaks(told(*force, dear, east, east_ack, north, north_ack, side=Side.MERCHANT)) == (Rule.CALL, 7)


def test_an_entry_of_anothers_side_is_found(told: Told) -> None:
    assert breaks(told(*FORCE, replace(INTENT, merchant="north", party="east"))) == (None, None)  # type: ignore[call-arg]
    foreign = replace(intent(Side.MERCHANT), party="east")
    assert breaks(told(*FORCE, foreign)) == (Rule.SIDE, 4)
    assert breaks(told(*FORCE, replace(intent(Side.PROVIDER), provider="north"))) == (Rule.SIDE, 4)
    refused = Denied(party="watch", at_ms=AT_MS, side=Side.REGULATOR, identity="", merchant="", call="", contract="",
                     reason="MALFORMED", clause="", check=0, count=1)  # fmt: skip
    assert told(refused, side=Side.REGULATOR).verified
    assert breaks(told(replace(refused, side=Side.PROVIDER), side=Side.REGULATOR)) == (Rule.SIDE, 1)
    watched = replace(intent(Side.MERCHANT), party="watch", merchant="watch", side=Side.REGULATOR)
    assert breaks(told(watched, side=Side.REGULATOR)) == (Rule.SIDE, 1)


def test_a_call_taken_beyond_the_acknowledgements_that_a_merchant_may_owe_is_found(told: Told) -> None:
    owed = [each for number in range(OUTSTANDING_LIMIT) for each in one_call(Side.PROVIDER, number)[:2]]
    assert told(*FORCE, *owed).verified
    one_more = intent(Side.PROVIDER, OUTSTANDING_LIMIT)
    place = 4 + len(owed)
    assert breaks(told(*FORCE, *owed, one_more)) == (Rule.ACKNOWLEDGEMENTS, place)
    assert told(*FORCE, *owed, ack(Side.PROVIDER), one_more).verified


# Lies about contracts and versions


def test_a_call_under_a_contract_that_the_ledger_does_not_know_is_found(told: Told) -> None:
    assert breaks(told(INTENT)) == (Rule.REFERENCES, 1)
    assert breaks(told(one_call(Side.MERCHANT)[0], side=Side.MERCHANT)) == (Rule.REFERENCES, 1)


@pytest.mark.parametrize("reached", ["suspended", "revoked", "terminated", "rejected"])
def test_a_call_taken_under_a_contract_that_is_not_in_force_is_found(told: Told, reached: str) -> None:
    left_ms = AT_MS - UNDER_WAY_MS
    assert breaks(told(*FORCE, state(reached, left_ms), INTENT, OUTCOME, ACK)) == (Rule.STATE, 5)
    assert told(*FORCE, state(reached, left_ms + 1), INTENT, OUTCOME, ACK).verified, "it was under way"
    assert told(*FORCE, INTENT, state(reached), OUTCOME, ACK).verified, "it was taken before"


def test_a_call_taken_before_its_contract_was_in_force_is_found(told: Told) -> None:
    assert breaks(told(*FORCE[:2], INTENT, OUTCOME, ACK)) == (Rule.STATE, 3)


def test_an_answer_that_a_merchant_took_under_a_contract_that_it_had_ended_is_found(told: Told) -> None:
    force = in_force("shop")
    after = [state("terminated", party="shop"), *one_call(Side.MERCHANT)]
    assert breaks(told(*force, *after, side=Side.MERCHANT)) == (Rule.STATE, 6)


@pytest.mark.parametrize(
    "states",
    [
        ["active"],
        ["signed", "active"],
        ["signed", "approved", "active", "approved"],
        ["signed", "approved", "active", "terminated", "active"],
        ["signed", "rejected", "suspended"],
        ["signed", "expired"],
    ],
)
def test_a_contract_that_comes_into_a_state_from_nowhere_is_found(told: Told, states: list[str]) -> None:
    assert breaks(told(*map(state, states))) == (Rule.STATE, len(states))


def accepted(version: int) -> Entry:
    return DirectoryAccepted(party="east", at_ms=AT_MS, version=version, digest=digest(f"directory {version}"))


def enrolled(version: int) -> Entry:
    return Enrolled(party="watch", at_ms=AT_MS, subject="east", role=Role.PROVIDER, legal_entity="LEGAL-EAST",
                    certificate=digest("certificate"), version=version)  # fmt: skip


def test_versions_that_go_backwards_are_found(told: Told) -> None:
    assert told(accepted(3), accepted(7)).verified
    assert breaks(told(accepted(3), accepted(7), accepted(6))) == (Rule.REFERENCES, 3)
    assert breaks(told(enrolled(3), enrolled(2), side=Side.REGULATOR)) == (Rule.REFERENCES, 2)


def test_an_override_that_miscounts_the_entries_before_it_is_found(told: Told) -> None:
    override = WitnessOverride(party="east", at_ms=AT_MS, size=2, reason=digest("reason"))
    assert told(accepted(3), override).verified
    assert breaks(told(override)) == (Rule.REFERENCES, 1)


def test_a_change_of_key_that_does_not_follow_is_found(tmp_path: Path) -> None:
    keys = [signing_key("east", KeyPurpose.LOG, generation).verifying_key.vkey() for generation in range(3)]
    changed = LogKeyChanged(party="east", at_ms=AT_MS, old=keys[1], new=keys[2], version=2)
    make(tmp_path / "ledger.db", 1)
    rewrite(tmp_path / "ledger.db", lambda entries: entries.append(encode_entry(changed)), LOG_KEY)
    assert breaks(verify_database(tmp_path / "ledger.db")) == (Rule.REFERENCES, 2)


@pytest.mark.parametrize(("named", "accepted_then", "index"), [(9, 9, None), (9, 12, None), (9, 8, 4), (3, 4, None)])
def test_a_change_of_key_names_a_directory_that_was_accepted_or_is_next(
    tmp_path: Path, named: int, accepted_then: int, index: int | None
) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), config=QUIET) as ledger:
        ledger.append(Draft(accepted(3)))
        ledger.append(Draft(accepted(4 if named == 3 else 3)))
        ledger.rotate(signing_key("east", KeyPurpose.LOG, 1), named)
        ledger.append(Draft(accepted(accepted_then)))
    assert breaks(verify_database(path)) == (Rule.REFERENCES if index else None, index)


# Lies and tampering are told apart


def test_of_a_lie_and_bytes_changed_before_it_the_bytes_are_told(tmp_path: Path) -> None:
    """And of a lie before the changed bytes, the lie: the first bad entry."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, identity=IDENTITY, key=LOG_KEY, clock=SteppingClock(), config=QUIET) as ledger:
        for entry in [*FORCE, ACK, outcome(Side.PROVIDER, number=5)]:
            ledger.append(Draft(entry))
    assert breaks(verify_database(path)) == (Rule.ORDER, 4)
    good = path.read_bytes()
    for changed, wanted in ((2, (None, 2)), (5, (Rule.ORDER, 4))):
        path.write_bytes(good)
        _flip(path, changed)
        assert breaks(verify_database(path)) == wanted
    assert finding(verify_database(path)) == (Damage.ALTERED, 4)


def _flip(path: Path, index: int) -> None:
    data = entry_bytes(path, index)
    edit(path, "UPDATE entries SET bytes = ? WHERE idx = ?", parameters=[data[:-9] + b"X" + data[-8:], index])
