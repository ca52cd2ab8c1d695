"""Witnesses over real TLS: everything is cosigned and kept, and no call is taken of a party that they do not know."""

from __future__ import annotations

import json

import pytest

from audit.checkpoint import Note
from audit.commitment import decode_openings, verify_openings
from audit.entry import Intent, LogRefused, WitnessOverride
from audit.errors import QuorumMissingError
from audit.names import Role
from audit.policy import Policy, PolicyGroup, PolicyWitness
from audit.verify import verify_database
from parties.client.merchant import Merchant
from parties.errors import ConfigError, HomeError
from parties.home import Home
from parties.provider import Provider
from parties.regulator import Regulator
from parties.telemetry import make_logger
from protocols.executor import InlineExecutor
from sandbox.errors import DenialReason, DeniedError
from sandbox.vault import Vault, VaultKind
from tests.parties.federation import federation
from tests.parties.test_federation import provider_entries, rows
from tests.parties.witnesses import (
    copy_books,
    cosigned_size,
    decoded,
    entries_of,
    eventually,
    health,
    put_back,
    set_witness,
    start_provider,
    start_regulator,
    stop_regulator,
    witness_key,
)

PAIR = ("east", "north")


def frames():
    return {name: rows(name, 60, seed) for seed, name in enumerate(PAIR)}


def asks(fed, contract):
    return fed.merchant.aggregate(contract, statistics=["count"])


def refusal(fed, contract):
    with pytest.raises(DeniedError) as caught:
        asks(fed, contract)
    return caught.value


@pytest.fixture
def fed(tmp_path):
    with federation(tmp_path, frames(), prepare=set_witness) as running:
        yield running


def test_every_entry_is_cosigned_by_the_regulator_which_keeps_a_ledger_that_verifies(fed):
    asks(fed, fed.contract())
    directory = fed.regulator.party.directory()
    key = witness_key(directory, "authority")
    for name in PAIR:
        ledger = fed.providers[name].party.ledger
        eventually(lambda ledger=ledger: cosigned_size(ledger, key) == ledger.size)
    replicas = fed.regulator.home.replicas
    for name, home in fed.homes().items():
        if name != "authority":
            eventually(lambda name=name, home=home: entries_of(replicas / name) == entries_of(home.path))
            assert verify_database(replicas / name, directory=directory).verified


def test_the_merchants_entries_are_cosigned_when_its_answer_is_there(fed):
    asks(fed, fed.contract())
    key = witness_key(fed.regulator.party.directory(), "authority")
    status = fed.merchant.witnessing.status()
    assert [each.size for each in status.witnesses] == [status.size]
    assert entries_of(fed.regulator.home.replicas / "analyst") == entries_of(fed.merchant_home.path)
    assert key.name == "authority.regulator.test.example/witness"


def test_the_regulators_own_log_is_cosigned_by_every_provider(fed):
    directory = fed.regulator.party.directory()
    ledger = fed.regulator.party.ledger
    for name in PAIR:
        eventually(lambda name=name: cosigned_size(ledger, witness_key(directory, name)) == ledger.size)


def test_a_policy_file_asks_for_other_witnesses_and_calls_stop_when_one_of_them_is_gone_too_long(tmp_path):
    with federation(tmp_path, frames(), prepare=set_witness) as fed:
        contract = fed.contract()
        directory = fed.regulator.party.directory()
        witnesses = {name: PolicyWitness(witness_key(directory, name)) for name in ("authority", "north")}
        policy = Policy((), witnesses, {"both": PolicyGroup(2, ("authority", "north"))}, "both")
        east = fed.providers["east"].home
        (east.path / "witness.policy").write_bytes(policy.encode())
        settings = east.path / "party.toml"
        settings.write_text(
            settings.read_text().replace("interval_ms = 100", "interval_ms = 100\nmax_silence_ms = 3000")
        )
        fed.restart("east")
        assert asks(fed, contract).receipts
        ledger = fed.providers["east"].party.ledger
        eventually(lambda: _has_quorum(policy, ledger))
        fed.providers["north"].stop()
        eventually(lambda: _is_silent(fed.providers["east"].party), seconds=8)
        assert refusal(fed, contract).reason is DenialReason.WITNESSES_UNHEARD
        start_provider(fed, "north")
        eventually(lambda: not _is_silent(fed.providers["east"].party), seconds=40)
        assert asks(fed, contract).receipts


def _has_quorum(policy, ledger):
    try:
        policy.verify_cosigned(Note.decode(ledger.latest_checkpoint()))
    except QuorumMissingError:
        return False
    return True


def _hears(merchant):
    merchant.witnessing.freshen(2_000)
    return not merchant.witnessing.status().held


def _is_silent(provider):
    try:
        provider.witnessing.verify_heard()
    except DeniedError:
        return True
    return False


def test_a_provider_started_without_the_regulator_takes_no_call_and_serves_again_when_it_is_back(fed):
    contract = fed.contract()
    asks(fed, contract)
    stop_regulator(fed)
    fed.restart("east")
    assert refusal(fed, contract).reason is DenialReason.WITNESSES_UNHEARD
    assert provider_entries(fed, "east")[-1].reason == "WITNESSES_UNHEARD"
    assert health(fed, "east") == "NOT_SERVING"
    assert len(fed.merchant.catalog()) > 0, "the catalogue goes on"
    assert fed.merchant.refresh(contract).contract_id == contract, "contracts go on"
    start_regulator(fed)
    eventually(lambda: health(fed, "east") == "SERVING")
    assert asks(fed, contract).receipts


def test_a_party_that_its_witnesses_have_not_heard_for_too_long_takes_no_call(tmp_path):
    with federation(tmp_path, frames(), prepare=lambda home: set_witness(home, max_silence_ms=2_000)) as fed:
        contract = fed.contract()
        asks(fed, contract)
        stop_regulator(fed)
        eventually(lambda: _is_silent(fed.providers["east"].party))
        intents = len([entry for entry in provider_entries(fed, "east") if isinstance(entry, Intent)])
        refused = refusal(fed, contract)
        assert (refused.reason, refused.clause) == (DenialReason.WITNESSES_UNHEARD, "witness")
        assert "doctor" in refused.detail
        assert len([entry for entry in provider_entries(fed, "east") if isinstance(entry, Intent)]) == intents
        start_regulator(fed)
        eventually(lambda: not any(_is_silent(running.party) for running in fed.providers.values()))
        eventually(lambda: _answers(fed, contract))


def test_setting_the_clock_back_does_not_prolong_the_silence(tmp_path):
    with federation(tmp_path, frames(), prepare=lambda home: set_witness(home, max_silence_ms=2_000)) as fed:
        stop_regulator(fed)
        fed.clock.ahead_ms = -3_600_000
        eventually(lambda: _is_silent(fed.providers["east"].party), seconds=4)
        start_regulator(fed)


def test_a_clock_that_is_ahead_ends_the_silence_allowed_as_the_stricter_measure(fed):
    fed.regulator.stop()
    assert not _is_silent(fed.providers["east"].party)
    fed.clock.ahead_ms = 2 * 3_600_000
    assert _is_silent(fed.providers["east"].party)
    start_regulator(fed)


def test_a_merchant_whose_witnesses_are_unheard_asks_nothing_and_keeps_its_contracts(fed):
    contract = fed.contract()
    fed.merchant.close()
    stop_regulator(fed)
    with Merchant.open(fed.merchant_home, say=lambda text: None) as merchant:
        with pytest.raises(DeniedError) as caught:
            merchant.aggregate(contract, statistics=["count"])
        assert caught.value.reason is DenialReason.WITNESSES_UNHEARD
        assert len(merchant.contracts()) == 1
        start_regulator(fed)
        eventually(lambda: _hears(merchant))
        assert merchant.aggregate(contract, statistics=["count"]).receipts
    intents = [entry for entry in decoded(fed.merchant_home.path) if isinstance(entry, Intent)]
    assert len(intents) == 1, "the refused call was not even recorded"


def test_an_old_copy_put_in_place_takes_back_what_it_lost_and_continues_the_same_log(fed, tmp_path):
    contract = fed.contract()
    asks(fed, contract)
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    copy_books(home.path, tmp_path / "old")
    start_provider(fed, "east")
    asks(fed, contract)
    eventually(lambda: entries_of(fed.regulator.home.replicas / "east") == entries_of(home.path))
    fed.providers["east"].stop()
    before = entries_of(home.path)
    put_back(tmp_path / "old", home.path)
    assert len(entries_of(home.path)) < len(before)
    start_provider(fed, "east")
    assert entries_of(home.path)[: len(before)] == before
    assert health(fed, "east") == "SERVING"
    assert asks(fed, contract).receipts
    ledger = fed.providers["east"].party.ledger
    directory = fed.regulator.party.directory()
    eventually(lambda: cosigned_size(ledger, witness_key(directory, "authority")) == ledger.size)
    assert verify_database(home.path, directory=directory).verified


def test_a_ledger_that_was_lost_altogether_comes_back_from_the_regulators_copy(fed):
    home = fed.providers["east"].home
    asks(fed, fed.contract())
    eventually(lambda: entries_of(fed.regulator.home.replicas / "east") == entries_of(home.path))
    fed.providers["east"].stop()
    before = entries_of(fed.regulator.home.replicas / "east")
    for path in home.path.glob("ledger.db*"):
        path.unlink()
    start_provider(fed, "east")
    assert entries_of(home.path)[: len(before)] == before


def fork(fed, tmp_path):
    """East goes on from an old copy while the regulator, which knows more, is away; then it is back."""
    contract = fed.contract()
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    copy_books(home.path, tmp_path / "old")
    start_provider(fed, "east")
    asks(fed, contract)
    eventually(lambda: entries_of(fed.regulator.home.replicas / "east") == entries_of(home.path))
    fed.providers["east"].stop()
    put_back(tmp_path / "old", home.path)
    stop_regulator(fed)
    start_provider(fed, "east")
    assert refusal(fed, contract).reason is DenialReason.WITNESSES_UNHEARD  # which is entered: the fork
    start_regulator(fed)
    return contract


def test_a_forked_ledger_signs_nothing_takes_no_call_and_says_so(fed, tmp_path):
    contract = fork(fed, tmp_path)
    east = fed.providers["east"].party
    eventually(lambda: east.witnessing.status().forked)
    assert east.ledger.held
    assert refusal(fed, contract).reason is DenialReason.WITNESSES_UNHEARD
    assert health(fed, "east") == "NOT_SERVING"
    assert "contradicts" in fed.providers["east"].log.getvalue()
    held = [entry for entry in decoded(fed.regulator.home.path) if isinstance(entry, LogRefused)]
    assert held == [], "what was never signed is no evidence"


def test_a_fork_that_its_operator_signs_all_the_same_leaves_evidence_at_the_regulator(fed, tmp_path):
    fork(fed, tmp_path)
    eventually(lambda: fed.providers["east"].party.witnessing.status().forked)
    fed.providers["east"].stop()
    home = Home.open(fed.providers["east"].home.path)
    logger = make_logger(home.config.telemetry, home.name)
    party = Provider.open(
        home,
        executor=InlineExecutor(),
        logger=logger,
        unsafe_without_witnesses="by order of the head of the bureau",
    )
    try:
        party.witnessing.verify_heard()
        assert party.witnessing.status().forked
        with pytest.raises(DeniedError):
            party.witnessing.verify_serving()
    finally:
        party.close()
    eventually(lambda: any(isinstance(entry, LogRefused) for entry in decoded(fed.regulator.home.path)))
    (refused,) = [entry for entry in decoded(fed.regulator.home.path) if isinstance(entry, LogRefused)]
    assert refused.subject == "east"
    start_provider(fed, "east")


def test_going_on_without_witnesses_is_recorded_with_a_reason_that_stays_here(fed):
    stop_regulator(fed)
    fed.providers["east"].stop()
    home = Home.open(fed.providers["east"].home.path)
    party = Provider.open(
        home,
        executor=InlineExecutor(),
        logger=make_logger(home.config.telemetry, home.name),
        unsafe_without_witnesses="the line is cut until Monday",
    )
    try:
        party.witnessing.verify_heard()
    finally:
        party.close()
    (entry,) = [entry for entry in decoded(home.path) if isinstance(entry, WitnessOverride)]
    with Vault.open(home.vault_path) as vault:
        stored = vault.get(VaultKind.OPENINGS, f"witness-override/{entry.size}")
    openings = decode_openings(stored, 10_000)
    verify_openings({"reason": entry.reason}, openings)
    assert openings["reason"].value == b"the line is cut until Monday"
    start_regulator(fed)
    start_provider(fed, "east")


def test_an_override_that_is_not_needed_is_not_recorded(fed):
    fed.providers["east"].stop()
    home = Home.open(fed.providers["east"].home.path)
    logger = make_logger(home.config.telemetry, home.name)
    Provider.open(home, executor=InlineExecutor(), logger=logger, unsafe_without_witnesses="for a test").close()
    assert not any(isinstance(entry, WitnessOverride) for entry in decoded(home.path))
    start_provider(fed, "east")


@pytest.mark.parametrize("name", ["east", "analyst", "authority"])
def test_a_restored_home_does_not_start_before_its_witnesses_are_heard(fed, name):
    home = fed.homes()[name]
    fed.merchant.close()
    for running in (*fed.providers.values(), fed.regulator):
        running.stop()
    home.restored_path.write_text(json.dumps({"v": 1}))
    before = entries_of(home.path)
    with pytest.raises(HomeError, match=r"unsafe.without.witnesses"):
        _open(home)
    assert entries_of(home.path) == before
    if name != "authority":
        start_regulator(fed)
    for each in fed.providers:
        if each != name:
            start_provider(fed, each)
    _open(Home.open(home.path)).close()
    assert not home.restored_path.exists()
    start_regulator(fed) if name == "authority" else None
    start_provider(fed, name) if name == "east" else None


def _open(home):
    logger = make_logger(home.config.telemetry, home.name)
    if home.role is Role.MERCHANT:
        return Merchant.open(home, say=lambda text: None)
    if home.role is Role.REGULATOR:
        return Regulator.open(home, logger=logger)
    return Provider.open(home, executor=InlineExecutor(), logger=logger)


def test_a_policy_that_cannot_be_read_keeps_the_party_from_starting(fed):
    home = fed.providers["east"].home
    fed.providers["east"].stop()
    (home.path / "witness.policy").write_text("quorum nobody\n")
    with pytest.raises(ConfigError, match=r"witness\.policy"):
        _open(Home.open(home.path))
    (home.path / "witness.policy").write_text("quorum none\n")
    start_provider(fed, "east")
    fed.providers["east"].party.witnessing.verify_heard()


def _answers(fed, contract):
    """Whether a call succeeds: with so short a silence, a busy machine is heard too late now and then."""
    try:
        return asks(fed, contract).receipts
    except DeniedError as error:
        if error.reason is not DenialReason.WITNESSES_UNHEARD:
            raise
        return ()
