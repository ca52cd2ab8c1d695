import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import VaultError
from sandbox.ports import AnswerMessage, PartMessage
from sandbox.stored_messages import asked, decode_answer, decode_part, encode_answer, encode_part, frame, unframe

PART = PartMessage(128, b"c" * 256, b"receipt")
ANSWER = AnswerMessage("ab" * 32, 128, b"c" * 256, bytes([2, 0]), (b"one", b"two"), b"roster")


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_what_is_framed_comes_back(fields: list[bytes]) -> None:
    assert list(unframe(frame(fields))) == fields


def test_a_part_comes_back_with_what_asked_for_it() -> None:
    assert decode_part(encode_part(PART, b"asked")) == (PART, b"asked")


def test_an_answer_comes_back() -> None:
    assert decode_answer(encode_answer(ANSWER)) == ANSWER


def test_offers_and_roster_in_another_cut_are_another_question() -> None:
    assert asked([b"ab", b"c"], b"d") != asked([b"a", b"bc"], b"d") != asked([b"ab"], b"cd")


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x00\x00\x05ab", frame([b"one"])])
def test_damaged_messages_are_the_vaults_fault(data: bytes) -> None:
    for decode in (decode_part, decode_answer):
        with pytest.raises(VaultError):
            decode(data)
