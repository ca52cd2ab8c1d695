"""A merchant that is, by its legal entity, also one of the providers knows that provider's part and subtracts it.

The attack: the same code of the same register, written otherwise, counted as another legal entity.
"""

from __future__ import annotations

import pytest

from sandbox.contract_checks import check_contract
from sandbox.errors import DenialReason, DeniedError
from tests.sandbox.agreement import contract, directory, party_record


@pytest.mark.parametrize("written", ["91110000MA01ABCD2E", "91110000ma01abcd2e", "91110000-MA01ABCD2-E"])
def test_a_merchant_that_is_a_provider_by_its_legal_entity_is_refused_however_it_writes_its_code(written: str) -> None:
    east = party_record("east", legal_entity="91110000MA01ABCD2E")
    known = directory(east=east, shop=party_record("shop", legal_entity=written))
    with pytest.raises(DeniedError) as denied:
        check_contract(contract(), known)
    assert denied.value.reason is DenialReason.LEGAL_ENTITY_CLASH


def test_without_the_clash_the_same_contract_is_accepted() -> None:
    check_contract(contract(), directory(east=party_record("east", legal_entity="91110000MA01ABCD2E")))
