"""What people read: complete before they sign, Chinese where they asked for it, JSON where a program asked."""

import json

import pytest

from audit.errors import Damage
from parties.cli.app import run
from parties.cli.chinese import DAMAGES, DENIALS, WORDS, table_title
from parties.cli.contract_text import contract_lines
from parties.cli.output import in_chinese
from parties.cli.result_output import texts
from parties.held_contracts import held_contracts
from parties.violation_words import VIOLATIONS
from sandbox.contract_states import ContractState
from sandbox.errors import DenialReason
from sandbox.frame import ColumnType, Use
from sandbox.grades import Grade
from sandbox.statistic import StatisticKind
from sandbox.violations import Severity, ViolationKind
from tests.parties.federation import Terms, federation
from tests.parties.test_federation import rows


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """A federation whose merchant has applied; nobody has signed yet."""
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path_factory.mktemp("words"), frames) as running:
        running.merchant.apply(running.application(Terms()))
        running.merchant.close()
        yield running


def test_every_word_that_an_official_may_meet_has_a_chinese_one():
    for kind in (ContractState, Use, Grade, ColumnType, Severity, StatisticKind):
        assert set(kind) <= set(WORDS), kind
    assert set(DENIALS) == set(DenialReason)
    assert set(VIOLATIONS) == set(ViolationKind)


@pytest.mark.parametrize("locale", ["C.UTF-8", "zh_CN.UTF-8"])
def test_an_official_reads_everything_that_a_contract_permits(applied, monkeypatch, capsys, locale):
    for variable in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANG", locale)
    home = applied.homes()["east"]
    (record,) = held_contracts(home)
    contract = record.contract
    assert run(["contract", "show", record.contract_id[:8], "--home", str(home.path)]) == 0
    out = capsys.readouterr().out
    shown = [
        *(binding.dataset for binding in contract.datasets.values()),
        *(column.name for column in contract.frame.columns),
        *contract.obligations,
        contract.purpose.text,
        contract.computing_party,
        contract.regulator,
        str(contract.quotas.calls),
        str(contract.quotas.ciphertexts),
        str(contract.release.min_group_size),
        str(contract.lease_ms // 60_000),
        " UTC",
    ]
    assert [text for text in shown if text not in out] == []
    assert ("数据商已签署 (signed)" in out) is in_chinese()
    fields = [field for field, _ in contract_lines(record, contract.validity.not_before_ms)]
    wanted = ("待签署", "有效期", "费用上限") if in_chinese() else ("waits for", "valid", "fee cap")
    assert all(any(word in field for field in fields) for word in wanted)


def test_a_denial_is_explained_in_chinese(applied, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    home = str(applied.homes()["analyst"].path)
    (record,) = held_contracts(applied.homes()["analyst"])
    assert run(["aggregate", record.contract_id, "--count", "--home", home]) == 4
    assert "被拒绝：合约不在生效状态" in capsys.readouterr().err


def test_catalog_check_is_for_providers(applied, capsys):
    assert run(["catalog", "check", "--home", str(applied.homes()["analyst"].path)]) == 2
    assert "is a merchant" in capsys.readouterr().err


def test_a_wrong_command_line_is_told_as_json_too(capsys):
    for arguments in (["aggregate", "--json"], ["catalog", "shw", "--json"], ["init", "spy", "x", "--json"]):
        assert run(arguments) == 2
        out, err = capsys.readouterr()
        assert not out
        assert json.loads(err)["exit"] == 2


def test_a_file_that_cannot_be_written_is_an_error_without_a_trace(applied, tmp_path, capsys):
    request = str(applied.homes()["east"].request_path)
    out = str(tmp_path / "nowhere" / "bundle.json")
    assert run(["enrol", "sign", request, "--home", str(applied.homes()["authority"].path), "--out", out]) == 2
    assert "there is no folder" in capsys.readouterr().err
    folder = str(tmp_path)
    assert run(["enrol", "sign", request, "--home", str(applied.homes()["authority"].path), "--out", folder]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_sums_are_shown_with_all_their_digits():
    row = {"dept": "a", "count": 3, "sum(cost)": 23870512.345, "mean(cost)": 489.9701, "mean(big)": 12345678.25}
    assert texts(row) == ["a", "3", "23870512.345", "489.97", "12345678.25"]
    assert texts({"sum(cost)": None}) == ["closed"]


def test_a_figure_that_is_not_defined_is_not_called_closed_and_a_small_one_keeps_its_exponent():
    assert texts({"std(x)": None, "contributors": 2}) == ["\u2013", "2"]
    assert texts({"std(x)": None, "contributors": 0}) == ["closed", "0"]
    assert texts({"source": "within", "df": 3, "F": None}) == ["within", "3", "\u2013"]
    assert texts({"source": "within", "df": None, "F": None}) == ["within", "closed", "closed"]
    assert texts({"p": 1.25e-20, "mean(x)": 0.00001}) == ["1.25e-20", "0.00001"]


def test_a_tables_title_says_in_chinese_what_it_is(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert table_title("regression(y~x) fit") == "线性回归 regression(y~x) fit"
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert table_title("histogram(x)") == "histogram(x)"


def test_a_ledger_is_verified_in_chinese_and_by_home(applied, monkeypatch, capsys):
    home = applied.homes()["east"].path
    assert run(["ledger", "verify", "--home", str(home)]) == 0
    assert "verified     yes" in capsys.readouterr().out
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run(["ledger", "verify", str(home)]) == 0
    assert "核验结果\t通过" in capsys.readouterr().out
    assert run(["ledger", "verify", str(home / "keys")]) == 6
    assert "无法核验" in capsys.readouterr().err
    assert set(DAMAGES) == set(Damage)


def test_unfinished_calls_are_finished_from_the_shell(applied, capsys):
    home = str(applied.homes()["analyst"].path)
    assert run(["resume", "--home", home, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"results": [], "open": 0}


def test_a_rejection_is_told_with_its_reason(applied, capsys):
    home = str(applied.homes()["analyst"].path)
    contract_id = _again(applied)
    assert run(["contract", "reject", contract_id, "--reason", "not ours", "--home", str(_east(applied))]) == 0
    assert run(["contract", "refresh", contract_id, "--home", home]) == 0
    err = capsys.readouterr().err
    assert "rejected by east: not ours" in err
    assert "waits for" not in err


def test_a_catalogue_of_nobody_is_an_error(applied, capsys):
    for running in applied.providers.values():
        running.stop()
    assert run(["catalog", "list", "--home", str(applied.homes()["analyst"].path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "unavailable" in err


def _east(applied):
    return applied.homes()["east"].path


def _again(applied):
    """The id of a further application."""
    home = applied.homes()["analyst"]
    before = {record.contract_id for record in held_contracts(home)}
    assert run(["contract", "apply", str(applied.application(Terms(calls=7))), "--home", str(home.path)]) == 0
    (contract_id,) = {record.contract_id for record in held_contracts(home)} - before
    return contract_id
