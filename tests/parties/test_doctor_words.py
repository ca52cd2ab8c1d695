"""Whatever a doctor says has its English and its Chinese, with the same values in both."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from parties.doctor_details import Detail
from parties.doctor_mends import Mend
from parties.doctor_words import Sentence, Words, joined, many, span

SENTENCES = [*Detail, *Mend]
SOURCES = [*Path("parties").glob("doctor*.py"), Path("parties/cli/doctor.py")]
COMMANDS = ("unseen ", "chmod ", "chown ", "timedatectl ")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_a_sentence_has_the_same_places_in_both_languages(sentence: Sentence) -> None:
    assert sentence.english
    assert places(sentence.english) == places(sentence.chinese)
    if sentence.english != sentence.chinese:
        assert re.search("[\u4e00-\u9fff]", sentence.chinese) or sentence is Detail.DATA_VIOLATES
    else:
        assert sentence.english.startswith(COMMANDS), "the same in both is a command alone"


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_no_english_is_left_in_the_chinese_but_commands(sentence: Sentence) -> None:
    text = re.sub(r"\{\w+\}|\b(unseen|timedatectl|chmod|chown)( [a-z=-]+)+", "", sentence.chinese)
    assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", text), text


@pytest.mark.parametrize("kind", [Detail, Mend])
def test_no_sentence_is_there_twice_or_for_nothing(kind: type[Sentence]) -> None:
    assert [name for name, member in kind.__members__.items() if name != member.name] == [], "the same words twice"
    used = {
        node.attr
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == kind.__name__
    }
    assert used == set(kind.__members__)


def test_every_check_fills_the_places_of_what_it_says() -> None:
    calls = 0
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of"):
                continue
            said = node.func.value
            if isinstance(said, ast.Attribute) and isinstance(said.value, ast.Name):
                sentence = {"Detail": Detail, "Mend": Mend}[said.value.id][said.attr]
                assert {keyword.arg for keyword in node.keywords} == places(sentence.english), sentence
                calls += 1
    assert calls > len(SENTENCES) * 3 // 4


def test_values_are_told_in_the_language_of_the_sentence() -> None:
    said = Detail.CERTIFICATE_EXPIRES.of(until="2030-01-01", left=span(3 * 86_400_000))
    assert said == Words("valid until 2030-01-01: 3 days left", "有效期至 2030-01-01，还剩 3 天")
    assert joined([many(1, "call"), many(2, "log")]) == Words("1 call, 2 logs", "1、2")
    assert span(1_000) == Words("1 second", "1 秒")
    assert span(7_200_000) == Words("2 hours", "2 小时")


def test_a_place_that_is_left_open_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Detail.FILE_MISSING.of()
