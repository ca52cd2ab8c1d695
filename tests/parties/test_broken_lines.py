"""What a merchant gets when the line, the data or the other side changes under its hands."""

import threading
import time

import pytest

from audit.directory import Role
from audit.entry import Outcome, decode_entry
from audit.errors import LedgerUnavailableError
from parties.client.merchant import Merchant
from parties.client.paillier_keys import load_paillier_key
from parties.errors import CertificateRefusedError, HomeError, PassphraseError
from parties.home import Home
from parties.provider_desk import ProviderDesk
from sandbox.contract_states import ContractState
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError
from tests.parties.federation import Terms, federation, free_port, make_home, serve, write_dataset
from tests.parties.relay import Relay
from tests.parties.test_federation import assert_the_books_agree, rows
from tests.parties.witnesses import eventually


def frames_of(*names):
    return {name: rows(name, 60, seed) for seed, name in enumerate(names)}


def behind(relays):
    """Have each provider listen elsewhere than the directory says, with a relay in between."""

    def prepare(home):
        advertised, actual = int(home.listen.rpartition(":")[2]), free_port()
        settings = home.path / "party.toml"
        settings.write_text(settings.read_text().replace("[network]", f'[network]\nlisten = "127.0.0.1:{actual}"'))
        relays[home.name] = Relay(advertised, actual)
        return Home.open(home.path)

    return prepare


def outcomes(fed, name):
    ledger = fed.providers[name].party.ledger
    return sum(isinstance(decode_entry(data), Outcome) for data in ledger.read(0, ledger.size))


def test_an_answer_that_the_line_lost_is_fetched_and_paid_once(tmp_path):
    relays = {}
    with federation(tmp_path, frames_of("east", "north"), prepare=behind(relays)) as fed:
        contract = fed.contract()
        first = fed.merchant.aggregate(contract, statistics=["count"])

        def lose_the_answer():
            before = outcomes(fed, "east")
            while outcomes(fed, "east") == before:
                time.sleep(0.01)
            relays["east"].cut()

        before = relays["east"].connections
        relays["east"].hold_the_answer_to(2_000)
        saboteur = threading.Thread(target=lose_the_answer)
        saboteur.start()
        second = fed.merchant.aggregate(contract, statistics=["count"], timeout=30)
        saboteur.join()
        assert relays["east"].connections > before
        assert second.exact == first.exact
        assert second.call != first.call
        assert_the_books_agree(fed, contract, first.price + second.price)
    for relay in relays.values():
        relay.close()


def test_a_line_that_breaks_is_not_taken_for_a_refused_certificate(tmp_path):
    """It once was: the merchant then gave a call up for unsent that it had paid for."""
    relays = {}
    with federation(tmp_path, frames_of("east", "north"), prepare=behind(relays)) as fed:
        contract = fed.contract()
        relays["east"].hang_up()
        relays["east"].cut()
        with pytest.raises(PeerUnavailableError) as refused:
            fed.merchant.aggregate(contract, statistics=["count"], timeout=5)
        assert refused.value.party == "east"
        assert not isinstance(refused.value, CertificateRefusedError)
    for relay in relays.values():
        relay.close()


def test_other_data_are_another_version_which_the_contract_does_not_cover(tmp_path):
    with federation(tmp_path, frames_of("east", "north")) as fed:
        contract = fed.contract()
        versions = set(fed.merchant.catalog()["version"])
        fed.restart("north")
        assert set(fed.merchant.catalog()["version"]) == versions
        write_dataset(fed.providers["north"].home, rows("north", 61, 9), fed.policy)
        fed.restart("north")
        assert set(fed.merchant.catalog()["version"]) != versions
        with pytest.raises(DeniedError) as caught:
            fed.merchant.aggregate(contract, statistics=["count"])
        assert caught.value.reason is DenialReason.DATASET_VERSION_MISMATCH


def test_a_terminated_contract_is_over_for_everyone(tmp_path):
    with federation(tmp_path, frames_of("east", "north")) as fed:
        contract = fed.contract()
        assert fed.merchant.terminate(contract, "finished").state is ContractState.TERMINATED
        for running in (fed.regulator, *fed.providers.values()):
            identity = fed.merchant_home.identity
            assert running.party.desk.get(contract, identity).state is ContractState.TERMINATED


def test_an_application_may_be_a_mapping(tmp_path):
    with federation(tmp_path, frames_of("east", "north")) as fed:
        application = {
            "application": {
                "computing_party": "north",
                "operations": ["aggregate"],
                "valid_days": 3,
                "purpose": {"code": "test", "text": "A test."},
            },
            "provider": [{"name": name, "dataset": "persons"} for name in ("east", "north")],
            "column": [{"name": "wage", "uses": ["aggregate"]}],
            "quotas": {"calls": 1, "ciphertexts": 100},
            "tariff": {"currency": "EUR", "per_call": 0.25, "per_1000_rows": 0, "fee_cap": 1.5},
        }
        record = fed.merchant.contract(fed.merchant.apply(application))
        assert record.contract.tariff.per_call_micro == 250_000
        assert record.contract.computing_party == "north"


def test_a_merchants_home_is_worked_with_by_one_at_a_time_and_by_merchants_alone(tmp_path):
    with federation(tmp_path, frames_of("east")) as fed:
        with pytest.raises(LedgerUnavailableError):
            Merchant.open(fed.merchant_home)
        with pytest.raises(HomeError, match="provider"):
            Merchant.open(fed.providers["east"].home)


def test_the_paillier_key_is_made_once_and_sealed_where_the_keys_are(tmp_path):
    clear = make_home(tmp_path / "clear", "analyst", Role.MERCHANT, listens=False)
    sealed = make_home(tmp_path / "sealed", "analyst", Role.MERCHANT, listens=False, passphrase=b"correct horse")
    said = []
    assert load_paillier_key(clear, said.append) == load_paillier_key(clear, said.append)
    assert len(said) == 1
    (path,) = clear.keys.glob("paillier.jwk")
    assert path.stat().st_mode & 0o777 == 0o600
    key = load_paillier_key(sealed, said.append)
    (path,) = sealed.keys.glob("paillier*")
    assert str(key.p) not in path.read_text()
    assert load_paillier_key(Home.open(sealed.path, passphrase=lambda: b"correct horse"), said.append) == key
    with pytest.raises(PassphraseError):
        load_paillier_key(Home.open(sealed.path, passphrase=lambda: b"wrong"), said.append)


def test_a_quota_holds_against_calls_at_the_same_time(tmp_path):
    with federation(tmp_path, frames_of("east", "north")) as fed:
        contract = fed.contract(Terms(calls=3))
        results = []

        def ask():
            try:
                results.append(fed.merchant.aggregate(contract, statistics=["count"]).price)
            except DeniedError as error:
                results.append(error.reason)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results.count(DenialReason.QUOTA_EXHAUSTED) == 5
        fed.merchant.flush()
        assert fed.merchant.statement(contract).subtotal("north").receipts == 3


def test_a_provider_that_cannot_hear_the_regulator_stops_when_the_lease_ends_and_goes_on_when_it_can(tmp_path):
    with federation(tmp_path, frames_of("east", "north")) as fed:
        contract = fed.contract(Terms(lease_minutes=1))
        fed.merchant.aggregate(contract, statistics=["count"])
        fed.regulator.server.stop(0)
        fed.clock.ahead_ms = 90_000
        with pytest.raises(DeniedError) as caught:
            fed.merchant.aggregate(contract, statistics=["count"])
        assert caught.value.reason is DenialReason.LEASE_EXPIRED
        fed.regulator.party.close()
        fed.regulator = serve(Home.open(fed.regulator.home.path))
        try:
            fed.clock.ahead_ms = 0
            for running in fed.providers.values():
                eventually(lambda desk=running.party.desk: _is_heard(desk, contract))
            assert fed.merchant.aggregate(contract, statistics=["count"]).withheld == 0
        finally:
            fed.regulator.stop()


def _is_heard(desk: ProviderDesk, contract: str) -> bool:
    """A channel that has lost its other end connects again within seconds."""
    try:
        desk.hear(contract)
    except PeerUnavailableError:
        return False
    return True
