"""The commands of providers, merchants and regulators, against a running federation."""

import json
import sqlite3
from contextlib import closing

import pytest

from parties.cli.app import run
from parties.held_contracts import held_contracts
from sandbox.contract_states import ContractAction
from tests.parties.federation import Policy, Terms, federation
from tests.parties.test_federation import rows


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    frames = {name: rows(name, 80, seed) for seed, name in enumerate(("east", "north", "south"))}
    with federation(tmp_path_factory.mktemp("cli"), frames) as running:
        running.merchant.close()  # the commands open the merchant's home themselves
        yield running


@pytest.fixture
def unseen(fed, capsys):
    """Run a command at a party's home; returns (exit code, stdout, stderr)."""

    def command(party, *arguments):
        code = run([*arguments, "--home", str(fed.homes()[party].path)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture(scope="module")
def contract(fed):
    application = str(fed.application(Terms(calls=1000)))
    home = str(fed.merchant_home.path)
    assert run(["contract", "apply", application, "--home", home]) == 0
    (record,) = held_contracts(fed.merchant_home)
    for name, running in fed.providers.items():
        arguments = ["contract", "approve", record.contract_id[:10], "--reason", "within the plan"]
        assert run([*arguments, "--home", str(running.home.path)]) == 0, name
    assert run(["contract", "refresh", "--home", home]) == 0
    return record.contract_id


def test_an_aggregate_from_the_shell_is_json_csv_or_a_table(unseen, contract):
    arguments = ("aggregate", contract[:8], "--count", "--mean", "wage", "--by", "education", "--where", "parttime=no")
    code, out, err = unseen("analyst", *arguments, "--json")
    assert code == 0
    answer = json.loads(out)
    assert len(answer["cells"]) == 4
    assert set(answer["cells"][0]) == {"education", "count", "mean(wage)", "contributors"}
    assert len(answer["receipts"]) == 3
    assert "3 providers" in err
    code, out, _ = unseen("analyst", *arguments, "--csv")
    assert out.splitlines()[0] == "education,count,mean(wage),contributors"
    code, out, _ = unseen("analyst", *arguments)
    assert out.splitlines()[0].split("\t") == ["education", "count", "mean(wage)", "contributors"]


EVERY_STATISTIC = (
    *("--count", "--sum", "wage", "--mean", "wage", "--variance", "wage", "--std", "education"),
    *("--covariance", "wage,education", "--correlation", "wage,education", "--weighted-mean", "wage:education"),
    *("--regression", "wage~education", "--histogram", "education", "--quantile", "education:0.25,0.75"),
    *("--anova", "wage~parttime", "--statistic", "median(education)"),
)


def test_every_statistic_can_be_asked_for_from_the_shell(unseen, contract):
    code, out, err = unseen("analyst", "aggregate", contract, *EVERY_STATISTIC, "--json")
    assert code == 0, err
    answer = json.loads(out)
    (cell,) = answer["cells"]
    assert set(cell) == {
        "count",
        "sum(wage)",
        "mean(wage)",
        "variance(wage)",
        "std(education)",
        "covariance(wage,education)",
        "correlation(wage,education)",
        "weighted_mean(wage,education)",
        *(f"quantile(education,{p}){what}" for p in ("0.25", "0.5", "0.75") for what in ("", " error")),
        "contributors",
    }
    assert None not in cell.values()
    assert list(answer["tables"]) == [
        "regression(wage~education)",
        "regression(wage~education) fit",
        "histogram(education)",
        "anova(wage~parttime)",
        "quantile(education,0.25,0.75)",
        "quantile(education,0.5)",
    ]
    histogram = answer["tables"]["histogram(education)"]
    assert sum(row["count"] for row in histogram["rows"]) == cell["count"] == 240
    assert histogram["units"] == {"count": "rows"}
    assert [row["term"] for row in answer["tables"]["regression(wage~education)"]["rows"]] == [
        "(intercept)",
        "education",
    ]


def test_one_table_at_a_time_goes_into_a_pipe(unseen, contract):
    arguments = ("aggregate", contract, "--regression", "wage~education", "--histogram", "education")
    code, out, err = unseen("analyst", *arguments, "--csv")
    assert code == 0
    assert out.splitlines()[0] == "term,coefficient,std error,t,p,unit,contributors"
    assert "--table NAME picks: 'regression(wage~education) fit', 'histogram(education)'" in err
    code, out, _ = unseen("analyst", *arguments, "--csv", "--table", "fit")
    assert out.splitlines()[0].startswith("n,R2,adjusted R2")
    code, out, _ = unseen("analyst", *arguments, "--table", "histogram")
    assert out.splitlines()[0].split("\t") == ["education", "count", "contributors"]
    assert len(out.splitlines()) == 5


def test_a_quote_is_what_the_call_then_costs_and_costs_nothing_itself(unseen, contract):
    before = unseen("analyst", "statement", contract, "--json")[1]
    code, out, _ = unseen("analyst", "aggregate", contract, *EVERY_STATISTIC, "--quote", "--json")
    assert code == 0
    quoted = json.loads(out)
    assert unseen("analyst", "statement", contract, "--json")[1] == before
    code, out, _ = unseen("analyst", "aggregate", contract, *EVERY_STATISTIC, "--json")
    answer = json.loads(out)
    assert (quoted["price"], quoted["currency"]) == (answer["price"], answer["currency"])
    assert (list(quoted["providers"]), quoted["cells"]) == (answer["providers"], 1 + 4 + 2)
    _, out, err = unseen("analyst", "aggregate", contract, "--count", "--quote")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["provider", "east", "north", "south", "in all"]
    assert "nothing was sent" in err


def test_a_table_that_is_not_asked_for_is_told_before_anything_is_paid(fed, unseen, contract):
    _, before, _ = unseen("analyst", "statement", contract, "--json")
    code, out, err = unseen("analyst", "aggregate", contract, "--regression", "wage~education", "--table", "anova")
    assert (code, out) == (2, "")
    assert "'regression(wage~education)'" in err
    assert unseen("analyst", "aggregate", contract, "--count", "--json", "--table", "x")[0] == 2
    assert unseen("analyst", "aggregate", contract, "--weighted-mean", "wage")[0] == 2
    assert unseen("analyst", "aggregate", contract, "--quantile", "wage:")[0] == 2
    assert unseen("analyst", "statement", contract, "--json")[1] == before


def test_statements_of_the_merchant_and_the_providers_add_up(fed, unseen, contract):
    totals = {}
    for party in ("analyst", *fed.providers):
        code, out, _ = unseen(party, "statement", contract[:8], "--json")
        assert code == 0
        totals[party] = json.loads(out)
    for name in fed.providers:
        own = next(item for item in totals["analyst"]["providers"] if item["provider"] == name)
        assert own == totals[name]["providers"][0]
    assert totals["analyst"]["outstanding"] == []


def test_every_ledger_verifies_from_the_shell(fed, unseen, contract, capsys):
    for home in fed.homes().values():
        assert run(["ledger", "verify", str(home.path), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["verified"]
        assert not report["anchored"]


def test_a_ledger_that_is_not_there_cannot_be_verified(tmp_path, capsys):
    assert run(["ledger", "verify", str(tmp_path)]) == 6


def test_a_ledger_is_shown_entry_by_entry(unseen, contract):
    code, out, _ = unseen("east", "ledger", "show", "--json")
    assert code == 0
    shown = json.loads(out)
    assert [entry["index"] for entry in shown["entries"]] == list(range(shown["size"]))
    assert {"genesis", "contract", "directory"} <= {entry["kind"] for entry in shown["entries"]}
    _, out, _ = unseen("east", "ledger", "show")
    assert len(out.splitlines()) == shown["size"] + 1


def test_a_contract_is_shown_with_its_signatures_and_columns(unseen, contract):
    code, out, _ = unseen("north", "contract", "show", contract[:8], "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["state"] == "active"
    assert shown["signed_by"] == ["analyst", "east", "north", "south"]
    assert shown["missing"] == []
    assert {column["name"] for column in shown["columns"]} == {"wage", "education", "parttime"}
    code, out, _ = unseen("north", "contract", "show", contract[:8])
    assert "Wage statistics for a test." in out


def test_a_contract_written_out_is_what_a_ledger_without_its_vault_is_held_against(
    fed, unseen, contract, tmp_path, capsys
):
    document, ledger = tmp_path / "contract.json", str(tmp_path / "ledger.db")
    assert unseen("north", "contract", "show", contract[:8], "--document", str(document))[0] == 0
    with closing(sqlite3.connect(fed.homes()["north"].ledger_path)) as source, closing(sqlite3.connect(ledger)) as copy:
        source.backup(copy)
    assert run(["ledger", "verify", ledger]) == 0
    assert "not checked of 1 contracts" in capsys.readouterr().out
    assert run(["ledger", "verify", ledger, "--contract", str(document)]) == 0
    assert "not checked of" not in capsys.readouterr().out


def test_the_regulator_suspends_and_resumes_through_its_running_server(fed, unseen, contract):
    code, out, _ = unseen("authority", "contract", "suspend", contract, "--reason", "inspection", "--json")
    assert (code, json.loads(out)["state"]) == (0, "suspended")
    fed.regulator.party.desk.deliver()
    assert unseen("analyst", "aggregate", contract, "--count")[0] == 4
    assert unseen("authority", "contract", "resume", contract)[0] == 0
    fed.regulator.party.desk.deliver()
    assert unseen("analyst", "aggregate", contract, "--count")[0] == 0


def test_decisions_that_the_state_or_the_role_forbids_are_denied(unseen, contract):
    assert unseen("east", "contract", "suspend", contract)[0] == 4
    assert unseen("analyst", "contract", "approve", contract)[0] == 2


def test_exit_codes_tell_unknown_contracts_from_usage(unseen, contract):
    assert unseen("analyst", "aggregate", "0" * 64, "--count")[0] == 3
    assert unseen("analyst", "aggregate", "0", "--count")[0] == 2
    assert unseen("analyst", "aggregate", contract)[0] == 2
    assert unseen("analyst", "aggregate", contract, "--mean", "height")[0] == 2
    _, _, err = unseen("analyst", "aggregate", contract, "--mean", "height", "--json")
    assert json.loads(err.splitlines()[-1])["exit"] == 2


def test_the_catalogue_is_listed_shown_and_exported(unseen, contract):
    code, out, _ = unseen("analyst", "catalog", "list", "--json")
    assert code == 0
    assert len(json.loads(out)["datasets"]) == 3
    code, out, _ = unseen("east", "catalog", "show", "persons")
    assert len(out.splitlines()) == 5
    code, out, _ = unseen("east", "catalog", "export")
    (body,) = json.loads(out)["datasets"]
    assert body["party"] == "east"
    assert "csv" not in out
    assert unseen("east", "catalog", "show", "nothing")[0] == 3


def test_a_check_names_the_column_that_the_data_contradict(tmp_path, capsys):
    frames = {"east": rows("east", 60, 0), "north": rows("north", 60, 1)}
    with federation(tmp_path, frames, policy=Policy()) as fed:
        home = fed.homes()["east"]
        assert run(["catalog", "check", "--home", str(home.path)]) == 0
        frames["east"].assign(education=99).to_csv(home.path / "data" / "persons.csv", index=False)
        assert run(["catalog", "check", "--home", str(home.path), "--json"]) == 2
        report = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert report["violations"][0]["column"] == "education"


def test_officials_decide_also_while_their_party_is_not_running(tmp_path, capsys):
    frames = {"east": rows("east", 60, 0), "north": rows("north", 60, 1)}
    with federation(tmp_path, frames) as fed:
        contract_id = fed.merchant.apply(fed.application(Terms()))
        fed.providers["north"].party.decide(contract_id, ContractAction.APPROVE, "")
        fed.providers["east"].stop()
        home = fed.providers["east"].home
        assert run(["contract", "approve", contract_id, "--home", str(home.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "approved"
        fed.restart("east")
        assert fed.merchant.refresh(contract_id).state.value == "active"
