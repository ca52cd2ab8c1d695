"""Files under examples/: the commented TOML files load, fit each other, and name every key that the readers know.

Scripts run and print what they promise.
"""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats

from parties.demo_data import load_cps1988
from parties.entropy import SystemEntropy
from sandbox.application import load_application
from sandbox.contract_checks import check_fit
from sandbox.declaration import load_declaration
from sandbox.drafting import draft_contract
from sandbox.errors import DeclarationError
from sandbox.source import open_source
from tests.parties.federation import Policy, federation

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ROWS = "patient,总费用,age,性别,admitted_month,hospital\n" + "p1,12.50,41,男,3,renmin\np2,700000,,女,12,renmin\n" * 2000
ANOTHER = 'not_a_key = "x"\n'


def test_the_example_declaration_holds_against_a_table_of_its_form(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admissions.csv").write_text(ROWS.replace("p1", "p3"), encoding="utf-8")
    declaration = replace(load_declaration(EXAMPLES / "catalog.toml"), max_rows_per_person=2000)
    source = open_source(declaration, tmp_path / "catalog", {})
    violations = source.check(declaration)
    source.close()
    assert [violation.severity.value for violation in violations] == ["warns"]  # 2,000 costs above hi are clipped


def test_the_example_application_fits_the_example_declaration() -> None:
    application = load_application(EXAMPLES / "application.toml")
    declaration = load_declaration(EXAMPLES / "catalog.toml")
    renamed = [
        replace(column, name="total_cost") if column.name == "cost" else column for column in declaration.columns
    ]
    declarations = {
        "renmin": declaration,
        "xiehe": declaration,
        "tongji": replace(declaration, name="inpatients", columns=tuple(renamed)),
    }
    descriptions = {party: item.describe(party, "00" * 8) for party, item in declarations.items()}
    contract = draft_contract(
        application, descriptions, merchant="acme", regulator="watch", now_ms=0, entropy=SystemEntropy()
    )
    for party, description in descriptions.items():
        check_fit(contract, description, party)


@pytest.mark.parametrize(
    ("name", "read", "header"),
    [
        ("catalog.toml", load_declaration, "dataset"),
        ("catalog.toml", load_declaration, "dataset.release"),
        ("catalog.toml", load_declaration, "source"),
        ("catalog.toml", load_declaration, "column"),
        ("application.toml", load_application, "application"),
        ("application.toml", load_application, "application.purpose"),
        ("application.toml", load_application, "provider"),
        ("application.toml", load_application, "column"),
        ("application.toml", load_application, "release"),
        ("application.toml", load_application, "quotas"),
        ("application.toml", load_application, "tariff"),
    ],
)
def test_the_examples_name_every_key(tmp_path: Path, name, read, header) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    parts = re.split(rf"(^\[\[?{re.escape(header)}\]\]?.*\n)", text, maxsplit=1, flags=re.MULTILINE)
    assert len(parts) == 3
    path = tmp_path / name
    path.write_text(parts[0] + parts[1] + ANOTHER + parts[2], encoding="utf-8")
    with pytest.raises(DeclarationError) as refused:
        read(path)
    known = re.search(r"known are (.*)$", str(refused.value))
    assert known, refused.value
    tables = {"release", "quality", "purpose", "columns"}
    keys = [key for key in known[1].split(", ") if key not in tables]
    assert [key for key in keys if not re.search(rf"^(# )?{key} = ", text, re.MULTILINE)] == []


def test_the_way_to_phe_and_back_runs_and_every_sum_agrees(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "phe_both_ways.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["keys", "phe to us", "us to phe", "packed"]
    assert "[1000, 0, 5, 100000] = [1000, 0, 5, 100000]" in lines[1]
    assert "[-28750, 7725, 500, -299897]" in lines[3]


def test_a_regression_over_four_bureaus_is_that_over_their_rows_together(tmp_path: Path) -> None:
    rows = load_cps1988().assign(region=lambda frame: frame["region"].astype(str))
    frames = {str(name): own for name, own in rows.groupby("region")}
    with federation(tmp_path, frames, policy=Policy(min_group_size=10, declared_rows=10_000)) as fed:
        fed.contract()
        fed.merchant.close()
        command = [sys.executable, str(EXAMPLES / "joint_statistics.py"), str(fed.merchant_home.path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    slope, _, r, _, error = scipy.stats.linregress(rows["education"], rows["wage"])
    said = f"{slope:+.2f} USD/week per years (standard error {error:.2f}); R2 is {r * r:.3f} over 28155 persons."
    assert said in done.stdout
    assert "[8, 12)" in done.stdout


def test_both_readmes_link_the_examples() -> None:
    for readme in ("README.md", "README.zh-CN.md"):
        text = (EXAMPLES.parent / readme).read_text(encoding="utf-8")
        assert "(examples/catalog.toml)" in text
        assert "(examples/application.toml)" in text
