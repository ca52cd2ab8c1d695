from dataclasses import dataclass

import pytest

from parties.contract_ids import find_contract
from parties.errors import NotFoundError, UsageError


@dataclass(frozen=True)
class Held:
    contract_id: str


HELD = (Held("abcdef00" + "0" * 56), Held("abcdef11" + "1" * 56))


def test_a_beginning_that_one_contract_has_is_enough():
    assert find_contract(HELD, "ABCDEF1") is HELD[1]
    assert find_contract(HELD, HELD[0].contract_id) is HELD[0]


def test_a_beginning_that_several_have_is_refused():
    with pytest.raises(UsageError, match="several"):
        find_contract(HELD, "abcdef")


def test_a_short_beginning_is_refused_even_if_one_contract_has_it():
    with pytest.raises(UsageError, match="too short"):
        find_contract(HELD[:1], "abc")


def test_a_beginning_that_none_has_is_not_found():
    with pytest.raises(NotFoundError):
        find_contract(HELD, "123456")
