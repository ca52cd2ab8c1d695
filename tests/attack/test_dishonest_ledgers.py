"""Ledgers whose owner holds the key and lies: what the verifier and the statement make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from audit.contract_terms import ContractTerms
from audit.directory import Role
from audit.entry import Ack, Entry, Outcome, Side
from audit.envelope import PayloadType, seal
from audit.errors import Damage
from audit.ledger import Draft, Ledger, LedgerIdentity
from audit.receipt import issue
from audit.statement import statement
from audit.verify import verify_database
from sandbox.contract_record import decode_record
from sandbox.vault import VaultKind
from tests.audit.ledgers import IDENTITY, LOG_KEY, QUIET, SteppingClock, calls, finding, in_force, open_ledger
from tests.audit.samples import TARIFF, ack, digest, directory, intent, outcome, receipt_payload, signing_key
from tests.sandbox.conftest import MakeFederation


def written(path: Path, entries: Sequence[Entry], identity: LedgerIdentity = IDENTITY) -> Path:
    with Ledger.open(path, identity=identity, key=LOG_KEY, clock=SteppingClock(), config=QUIET) as ledger:
        for entry in entries:
            ledger.append(Draft(entry))
    return path


def test_a_second_log_of_the_same_party_under_another_origin_is_found(tmp_path: Path) -> None:
    """The attack: two histories, each with checkpoints of its own that no witness holds against the other's."""
    second = written(tmp_path / "ledger.db", [], replace(IDENTITY, origin="east.provider.stats.example/second"))
    assert finding(verify_database(second, directory=directory())) == (Damage.BAD_SIGNATURE, 0)


def test_a_log_that_claims_another_role_than_the_directorys_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.db", [], replace(IDENTITY, role=Role.MERCHANT))
    assert finding(verify_database(path, directory=directory())) == (Damage.BAD_SIGNATURE, 0)


@pytest.mark.parametrize("change", [{"call": digest("another call")}, {"contract": digest("another contract")}])
def test_an_acknowledgement_filed_under_another_call_or_contract_is_found(
    tmp_path: Path, change: dict[str, str]
) -> None:
    """The attack: the acknowledgement is there and verifies, and no statement of its contract finds it."""
    *honest, acknowledgement = calls(Side.PROVIDER, 1)
    assert isinstance(acknowledgement, Ack)
    path = written(tmp_path / "ledger.db", [*honest, replace(acknowledgement, **change)])
    assert finding(verify_database(path)) == (Damage.ALTERED, 6)


def test_an_outcome_for_something_that_is_no_request_is_found(tmp_path: Path) -> None:
    """The attack: any other envelope that the merchant once signed stands in for a request that it never made."""
    contract = seal({**PayloadType.CONTRACT.header(), "merchant": "shop"}, PayloadType.CONTRACT, signing_key("shop"))
    payload = receipt_payload("east", call=contract.digest)
    receipt = issue(payload, signing_key("east"))
    forged = replace(
        outcome(Side.PROVIDER), call=contract.digest, request=contract, receipt=receipt, receipt_id=receipt.digest
    )
    taken = replace(intent(Side.PROVIDER), call=contract.digest)
    path = written(tmp_path / "ledger.db", [*in_force(), taken, forged])
    report = verify_database(path, directory=directory())
    assert (finding(report), "no kind of request" in report.detail) == ((Damage.ALTERED, 5), True)


def test_an_outcome_entered_twice_is_found_and_counted_once(tmp_path: Path) -> None:
    twice: list[Entry] = [outcome(Side.PROVIDER), outcome(Side.PROVIDER), ack(Side.PROVIDER), ack(Side.PROVIDER)]
    once = [entry for index, entry in enumerate(twice) if index % 2]
    assert [type(entry) for entry in once] == [Outcome, Ack]
    contract = receipt_payload("east").contract
    made, honest = (statement(entries, contract=contract, tariff=TARIFF) for entries in (twice, once))
    assert (made.total_micro, len(made.charged)) == (honest.total_micro, 1)
    path = written(tmp_path / "ledger.db", [*in_force(), intent(Side.PROVIDER), *twice])
    assert finding(verify_database(path)) == (Damage.ALTERED, 6)


def test_an_honest_ledger_passes_all_of_this(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.db", calls(Side.PROVIDER, 2))
    assert verify_database(path, directory=directory()).verified
    with open_ledger(path) as ledger:
        assert ledger.size == 10


def test_ledgers_of_an_honest_federation_pass_with_their_contracts_terms(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.run()
    terms = [
        ContractTerms.of(decode_record(value).envelope)
        for key, value in federation.providers["east"].vault.items(VaultKind.CONTRACT)
        if key == federation.contract_id
    ]
    homes = [*(provider.home for provider in federation.providers.values()), federation.merchant.home]
    for home in homes:
        report = verify_database(home / "ledger.sqlite", directory=federation.directory, contracts=terms)
        assert (finding(report), report.contracts_unchecked) == ((None, None), 0)
