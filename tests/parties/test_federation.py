"""The main job end to end: real homes, real TLS, real ledgers, in one process."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from audit.entry import Denied, Intent, Outcome, decode_entry
from audit.statement import statement
from audit.verify import verify_database
from parties.errors import UsageError
from parties.provider import Provider
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import AbortedRunError, DeclarationError, DenialReason, DeniedError, PeerUnavailableError
from tests.parties.federation import Federation, Policy, Terms, federation

NAMES = ("east", "north", "south", "west")


def rows(name, size, seed):
    random = np.random.default_rng(seed)
    cents = random.integers(0, 300_000, size)
    return pd.DataFrame(
        {
            "wage": [f"{cent // 100}.{cent % 100:02d}" for cent in cents],
            "education": random.integers(0, 19, size),
            "parttime": random.choice(["no", "yes"], size),
            "region": name,
        }
    )


def pooled_cells(frames, minimum, *, by, keep=lambda frame: frame):
    """What pooling under the same withholding gives: cell -> (contributors, rows, sum of cents)."""
    cells = {}
    for frame in frames.values():
        own = keep(frame).assign(cents=lambda f: [int(wage.replace(".", "")) for wage in f["wage"]])
        own["education"] = pd.cut(own["education"], [0, 8, 12, 16, 18.5], right=False).astype(str)
        for key, group in own.groupby(by):
            if len(group) >= minimum:
                count, total, cents = cells.get(key, (0, 0, 0))
                cells[key] = (count + 1, total + len(group), cents + int(group["cents"].sum()))
    return {key: value for key, value in cells.items() if value[0] >= 2 or len(frames) == 1}


BANDS = {"[0, 8)": "[0.0, 8.0)", "[8, 12)": "[8.0, 12.0)", "[12, 16)": "[12.0, 16.0)", "[16, 18]": "[16.0, 18.5)"}


def provider_entries(fed: Federation, name):
    party = fed.providers[name].party
    assert isinstance(party, Provider)
    return [decode_entry(data) for data in party.ledger.read(0, party.ledger.size)]


def denials(fed: Federation, name):
    return [entry for entry in provider_entries(fed, name) if isinstance(entry, Denied)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_joint_mean_is_exactly_the_pooled_one(tmp_path, size):
    frames = {name: rows(name, 90 + 10 * index, index) for index, name in enumerate(NAMES[:size])}
    policy = Policy(min_group_size=6) if size > 1 else Policy(6, 1, "public")
    with federation(tmp_path, frames, policy=policy) as fed:
        contract = fed.contract()
        result = fed.merchant.aggregate(
            contract, statistics=["count", "mean(wage)", "sum(wage)"], by=["education", "parttime"]
        )
        pooled = pooled_cells(frames, 6, by=["education", "parttime"])
        assert len(pooled) > 0
        for position, row in enumerate(result.frame.itertuples(index=False)):
            cell = pooled.get((BANDS[row[0]], row[1]))
            assert row.contributors == (cell[0] if cell else 0)
            assert result.exact["rows"][position] == (cell[1] if cell else None)
            assert result.exact["sum(wage)"][position] == (cell[2] if cell else None)
            if cell:
                assert result.frame["mean(wage)"][position] == float(Fraction(cell[2], cell[1] * 100))
            else:
                assert pd.isna(result.frame["mean(wage)"][position])
        assert result.withheld == len(result.frame) - len(pooled)
        assert ("single provider" in result._repr_html_()) == (size == 1)
        assert_the_books_agree(fed, contract, result.price)


def assert_the_books_agree(fed: Federation, contract, price):
    """Merchant's and providers' statements are equal to the micro-unit; every ledger verifies with its receipts."""
    own = fed.merchant.statement(contract)
    tariff = fed.merchant.contract(contract).contract.tariff
    totals = {name: statement(provider_entries(fed, name), contract=contract, tariff=tariff) for name in fed.providers}
    assert Decimal(own.total_micro).scaleb(-6) == price
    assert own.total_micro == sum(made.total_micro for made in totals.values())
    for name, made in totals.items():
        assert own.subtotal(name) == made.subtotal(name)
        assert made.differences == made.outstanding == ()
    directory = fed.regulator.party.directory()
    for home in fed.homes().values():
        assert verify_database(home.path, directory=directory).verified


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    frames = {name: rows(name, 120, seed) for seed, name in enumerate(NAMES[:3])}
    with federation(tmp_path_factory.mktemp("fed"), frames) as running:
        yield running


@pytest.fixture(scope="module")
def contract(fed):
    return fed.contract()


def test_filters_restrict_the_rows_of_every_provider(fed, contract):
    frames = {name: rows(name, 120, seed) for seed, name in enumerate(NAMES[:3])}
    result = fed.merchant.aggregate(contract, statistics=["count"], where={"parttime": "no", "education": ("12", "16")})
    kept = sum(
        int(((frame["parttime"] == "no") & frame["education"].between(12, 15)).sum()) for frame in frames.values()
    )
    assert result.exact["rows"] == (kept,)


def test_the_catalogue_lists_every_providers_columns_without_their_sources(fed):
    table = fed.merchant.catalog()
    assert set(table["provider"]) == set(NAMES[:3])
    assert set(table["column"]) == {"wage", "education", "parttime", "region"}
    assert not any("csv" in str(value) for value in table.to_numpy().ravel())


def test_a_column_use_that_was_not_agreed_upon_is_denied_and_recorded(fed):
    narrow = fed.contract(Terms(parttime_uses='"filter"'))
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(narrow, statistics=["count"], by=["parttime"])
    assert caught.value.reason is DenialReason.COLUMN_NOT_PERMITTED
    assert caught.value.check == 6
    entry = denials(fed, fed.computing_party)[-1]
    assert (entry.merchant, entry.contract, entry.reason) == ("analyst", narrow, "COLUMN_NOT_PERMITTED")


def test_the_quota_ends_the_calls_and_tells_what_is_left(fed):
    two = fed.contract(Terms(calls=2))
    for _ in range(2):
        fed.merchant.aggregate(two, statistics=["count"])
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(two, statistics=["count"])
    assert caught.value.reason is DenialReason.QUOTA_EXHAUSTED
    assert caught.value.left["calls"] == "0"


def test_the_fee_cap_ends_the_calls_and_tells_what_is_left(fed):
    cheap = fed.contract(Terms(fee_cap="2"))
    fed.merchant.aggregate(cheap, statistics=["count"])
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(cheap, statistics=["count"])
    assert caught.value.reason is DenialReason.FEE_CAP_REACHED
    assert 0 < int(str(caught.value.left["fee_micro"])) < 500_000


def test_an_identifying_column_cannot_be_grouped_by(fed):
    terms = Terms(extra='[[column]]\nname = "region"\nuses = ["group_by"]')
    with pytest.raises(DeniedError) as caught:
        fed.merchant.apply(fed.application(terms))
    assert caught.value.reason is DenialReason.IDENTIFYING_COLUMN


def test_a_smaller_group_than_the_providers_declare_is_refused_at_once(fed):
    with pytest.raises(DeniedError) as caught:
        fed.merchant.apply(fed.application(Terms(extra="[release]\nmin_group_size = 2")))
    assert caught.value.reason is DenialReason.GROUP_SIZE_TOO_SMALL


def test_a_contract_that_one_provider_has_not_signed_is_not_in_force(fed):
    contract_id = fed.merchant.apply(fed.application(Terms()))
    for name in ("east", "north"):
        fed.providers[name].party.decide(contract_id, ContractAction.APPROVE, "")
    assert fed.merchant.refresh(contract_id).state is ContractState.SIGNED
    assert fed.merchant.missing_signatures(contract_id) == ("south",)
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(contract_id, statistics=["count"])
    assert caught.value.reason is DenialReason.CONTRACT_NOT_ACTIVE


def test_a_rejection_reaches_the_merchant(fed):
    contract_id = fed.merchant.apply(fed.application(Terms()))
    fed.providers["east"].party.decide(contract_id, ContractAction.REJECT, "not in the plan")
    assert fed.merchant.refresh(contract_id).state is ContractState.REJECTED


def test_a_revocation_by_one_provider_stops_every_provider(fed):
    contract_id = fed.contract()
    fed.providers["south"].party.decide(contract_id, ContractAction.REVOKE, "misuse suspected")
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(contract_id, statistics=["count"])
    assert caught.value.reason is DenialReason.CONTRACT_NOT_ACTIVE
    assert fed.merchant.refresh(contract_id).state is ContractState.REVOKED


def test_a_suspension_by_the_regulator_holds_until_it_resumes(fed):
    contract_id = fed.contract()
    fed.regulator.party.decide(contract_id, ContractAction.SUSPEND, "inspection")
    fed.regulator.party.desk.deliver()
    with pytest.raises(DeniedError) as caught:
        fed.merchant.aggregate(contract_id, statistics=["count"])
    assert caught.value.reason is DenialReason.CONTRACT_NOT_ACTIVE
    fed.regulator.party.decide(contract_id, ContractAction.RESUME, "nothing found")
    fed.regulator.party.desk.deliver()
    assert fed.merchant.aggregate(contract_id, statistics=["count"]).withheld == 0


def test_receipts_carry_both_signatures_and_are_in_their_providers_ledgers(fed, contract):
    result = fed.merchant.aggregate(contract, statistics=["count"])
    directory = fed.regulator.party.directory()
    assert [receipt.provider for receipt in result.receipts] == sorted(fed.providers)
    for receipt in result.receipts:
        for party in (receipt.provider, "analyst"):
            own = {item.key.keyid for item in directory.party(party).keys}
            assert any(line.keyid in own for line in receipt.envelope.signatures)
        recorded = [entry for entry in provider_entries(fed, receipt.provider) if isinstance(entry, Outcome)]
        assert receipt.receipt_id in {entry.receipt_id for entry in recorded}


def test_a_peer_that_is_down_is_named_and_nothing_is_charged(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:3])}
    with federation(tmp_path, frames) as fed:
        contract_id = fed.contract()
        fed.providers["south"].server.stop(0)
        with pytest.raises(PeerUnavailableError) as caught:
            fed.merchant.aggregate(contract_id, statistics=["count"], timeout=20)
        assert caught.value.party == "south"
        fed.providers["south"].party.close()
        tariff = fed.merchant.contract(contract_id).contract.tariff
        own = fed.merchant.statement(contract_id)
        assert own.total_micro == 0
        assert len(own.aborted) == 1
        made = statement(provider_entries(fed, "north"), contract=contract_id, tariff=tariff)
        assert made.total_micro == 0


def test_a_computing_party_that_is_down_is_named_before_anything_is_recorded(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:2])}
    with federation(tmp_path, frames) as fed:
        contract_id = fed.contract()
        fed.providers["east"].server.stop(0)
        with pytest.raises(PeerUnavailableError) as caught:
            fed.merchant.aggregate(contract_id, statistics=["count"], timeout=20)
        assert caught.value.party == "east"
        assert not any(isinstance(entry, Intent) for entry in fed.merchant.entries())


def test_a_provider_that_was_down_gets_its_acknowledgement_later(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:2])}
    with federation(tmp_path, frames) as fed:
        contract_id = fed.contract()
        first = fed.merchant.aggregate(contract_id, statistics=["count"])
        fed.restart("north")
        second = fed.merchant.aggregate(contract_id, statistics=["count"])
        assert_the_books_agree(fed, contract_id, first.price + second.price)


def test_important_data_need_the_regulators_countersignature(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:2])}
    with federation(tmp_path, frames, policy=Policy(grade="important")) as fed:
        contract_id = fed.contract()
        assert fed.merchant.missing_signatures(contract_id) == ("authority",)
        with pytest.raises(DeniedError):
            fed.merchant.aggregate(contract_id, statistics=["mean(wage)"])
        fed.regulator.party.decide(contract_id, ContractAction.APPROVE, "inspected")
        assert fed.merchant.refresh(contract_id).state is ContractState.ACTIVE
        assert fed.merchant.aggregate(contract_id, statistics=["mean(wage)"]).withheld == 0


def test_data_that_contradict_their_declaration_keep_the_provider_from_starting(tmp_path):
    frames = {"east": rows("east", 60, 0).assign(education=99), "north": rows("north", 60, 1)}
    with pytest.raises(DeclarationError) as caught, federation(tmp_path, frames):
        pass
    assert caught.value.column == "education"
    assert caught.value.file.endswith("persons.toml")


def test_a_query_over_unknown_columns_never_leaves_the_merchant(fed, contract):
    before = len(list(fed.merchant.entries()))
    with pytest.raises(UsageError, match="no column"):
        fed.merchant.aggregate(contract, statistics=["mean(height)"])
    assert len(list(fed.merchant.entries())) == before


def test_a_contract_that_one_provider_refuses_is_ended_for_all(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:3])}
    strict = {"south": Policy(min_group_size=50)}
    with federation(tmp_path, frames, policies=strict) as fed:
        with pytest.raises(DeniedError) as caught:
            fed.merchant.apply(fed.application(Terms(extra="[release]\nmin_group_size = 3")))
        assert caught.value.reason is DenialReason.GROUP_SIZE_TOO_SMALL
        assert list(fed.merchant.contracts()["state"]) == ["terminated"]
        for name in ("east", "north"):
            (record,) = fed.providers[name].party.desk.list(fed.merchant_home.identity)
            assert record.state is ContractState.TERMINATED


def test_a_peers_refusal_is_recorded_by_the_peer_alone_and_names_it(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(NAMES[:2])}
    with federation(tmp_path, frames) as fed:
        contract_id = fed.contract()
        fed.providers["north"].party.decide(contract_id, ContractAction.REVOKE, "misuse suspected")
        with pytest.raises(DeniedError, match="north: ") as caught:
            fed.merchant.aggregate(contract_id, statistics=["count"])
        assert caught.value.reason is DenialReason.CONTRACT_NOT_ACTIVE
        assert [entry.reason for entry in denials(fed, "north")] == ["CONTRACT_NOT_ACTIVE"]
        assert denials(fed, "east") == []


def test_data_that_changed_after_the_start_end_the_call_and_only_the_operator_hears_why(tmp_path):
    frames = {name: rows(name, 90, seed) for seed, name in enumerate(NAMES[:2])}
    with federation(tmp_path, frames) as fed:
        contract = fed.contract()
        changed = fed.providers[NAMES[1]]
        frames[NAMES[1]].iloc[:-1].to_csv(changed.home.path / "data" / "persons.csv", index=False)
        with pytest.raises((AbortedRunError, PeerUnavailableError)) as refused:
            fed.merchant.aggregate(contract, statistics=["count"])
        assert "changed" not in str(refused.value)
        assert "changed" in changed.log.getvalue()
