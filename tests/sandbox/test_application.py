from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import application as application_module
from sandbox.application import load_application
from sandbox.contract import Operation, Quotas, parse_contract
from sandbox.contract_checks import check_contract, check_fit
from sandbox.declaration_model import DatasetDescription
from sandbox.drafting import draft_contract, sign_draft
from sandbox.errors import DeclarationError
from sandbox.frame import ColumnType, Use
from sandbox.grades import Grade
from sandbox.release import PRIVATE

from .agreement import AT_MS, DAY_MS, VERSION, FixedEntropy, description, directory, key

EXAMPLE = textwrap.dedent((application_module.__doc__ or "").partition("left out")[2].partition("\n\n")[2]).partition(
    "\nThe frame follows"
)[0]


def load(tmp_path: Path, text: str = EXAMPLE) -> Any:
    path = tmp_path / "application.toml"
    path.write_text(text)
    return load_application(path)


def described(
    east: Callable[[DatasetDescription], DatasetDescription] = lambda same: same, **north: Any
) -> dict[str, DatasetDescription]:
    """The two datasets of the example: north calls its own `employees` and its wage `salary`."""
    wage = {"name": "salary"} | north.pop("wage", {})
    other = replace(description("north", wage=wage, **north), name="employees")
    return {"east": east(description("east")), "north": other}


def draft(tmp_path: Path, text: str = EXAMPLE, datasets: dict[str, DatasetDescription] | None = None) -> Any:
    return draft_contract(
        load(tmp_path, text),
        datasets or described(),
        merchant="shop",
        regulator="watch",
        now_ms=AT_MS,
        entropy=FixedEntropy(),
    )


def test_the_documented_example_is_complete(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.computing_party == "east"
    assert loaded.operations == (Operation.AGGREGATE,)
    assert loaded.quotas == Quotas(100, 100_000)
    assert loaded.tariff.per_call_micro == 1_500_000
    assert loaded.tariff.per_1000_rows_micro == 20_000
    assert loaded.fee_cap_micro == 500_000_000
    assert loaded.validity_ms == 90 * DAY_MS
    assert loaded.lease_ms == DAY_MS
    assert loaded.providers[1].declared("wage") == "salary"
    assert loaded.providers[1].declared("education") == "education"


def test_the_contract_drafted_from_it_fits_every_provider(tmp_path: Path) -> None:
    document = draft(tmp_path)
    envelope = sign_draft(document, key("shop"))
    assert parse_contract(envelope) == document
    check_contract(document, directory())
    for party, own in described().items():
        check_fit(document, own, party)
    assert document.providers == ("east", "north")
    assert document.datasets["north"].dataset == f"north/employees@{VERSION}"
    assert document.datasets["north"].columns == {"wage": "salary", "education": "education"}
    assert document.uses["education"] == {Use.GROUP_BY, Use.FILTER}
    assert (document.release.min_group_size, document.release.overlap_k) == (10, 0)


def test_what_the_release_leaves_open_is_the_strictest_declared(tmp_path: Path) -> None:
    text = EXAMPLE.partition("[release]")[0] + "[quotas]" + EXAMPLE.partition("[quotas]")[2]

    def stricter(same: DatasetDescription) -> DatasetDescription:
        return replace(same, release=replace(same.release, min_group_size=25, dominance_percent=70, overlap_k=30))

    release = draft(tmp_path, text, described(stricter)).release
    assert (release.min_group_size, release.min_contributors) == (25, 2)
    assert (release.dominance_percent, release.overlap_k) == (70, 30)


def test_the_frame_holds_every_providers_declaration(tmp_path: Path) -> None:
    datasets = described(
        wage={"decimals": 1, "lo": -100, "hi": 300_000, "nullable": False, "grade": Grade.IMPORTANT},
        education={"edges": (0, 4, 8, 12, 16, 18), "hi": 20, "nullable": True},
    )
    document = draft(tmp_path, datasets=datasets)
    wage, education = document.frame.columns
    assert (wage.decimals, wage.lo, wage.hi, wage.nullable, wage.edges) == (2, -1_000, 3_000_000, True, ())
    assert (education.lo, education.hi, education.edges, education.nullable) == (0, 20, (0, 8, 12, 16, 18), True)
    assert document.grades == {"wage": Grade.IMPORTANT, "education": Grade.GENERAL}


def test_edges_that_are_not_chosen_are_those_that_all_declare(tmp_path: Path) -> None:
    text = EXAMPLE.replace("edges = [0, 8, 12, 16, 18]", "#")
    assert "#" in text
    document = draft(tmp_path, text, described(education={"edges": (0, 4, 8, 16, 18)}))
    assert document.frame.column("education").edges == (0, 8, 16, 18)


def test_domains_are_joined_in_the_first_providers_order(tmp_path: Path) -> None:
    text = EXAMPLE.replace("[release]", '[[column]]\nname = "sector"\nuses = ["group_by"]\n\n[release]')
    datasets = described(sector={"domain": ("mine", "office", "farm")})
    assert draft(tmp_path, text, datasets).frame.column("sector").domain == ("farm", "shop", "office", "mine")


FILE = [
    ('computing_party = "east"', 'computing_party = "west"', "computing_party"),
    ('computing_party = "east" ', "", "computing_party"),
    ('operations = ["aggregate"]', 'operations = ["steal"]', "operations"),
    ('operations = ["aggregate"]', "operations = []", "operations"),
    ("valid_days = 90", "valid_days = 0", "valid_days"),
    ("valid_days = 90", 'valid_days = "90"', "valid_days"),
    ("lease_minutes = 1440", "lease_minutes = 0", "lease_minutes"),
    ('supersedes = ""', 'supersedes = "ff"', "supersedes"),
    ('code = "labour.wage-structure"', 'code = "Bad Code"', "code"),
    ('name = "north"', 'name = "east"', "provider"),
    ('dataset = "workers"', 'dataset = "Workers"', "dataset"),
    ('wage = "salary"', 'wages = "salary"', "columns"),
    ('uses = ["aggregate"]', "uses = []", "uses"),
    ('uses = ["aggregate"]', 'uses = ["peek"]', "uses"),
    ('name = "education"', 'name = "wage"', "column"),
    ("min_group_size = 10", "min_group_size = 0", "min_group_size"),
    ("calls = 100 ", "calls = 0 ", "calls"),
    ("calls = 100\n", "calls = 0\n", "calls"),
    ("ciphertexts = 100000", "", "ciphertexts"),
    ('currency = "CNY"', 'currency = "yuan"', "currency"),
    ("per_call = 1.50", "per_call = 1.5000001", "per_call"),
    ("per_call = 1.50", "per_call = -1", "per_call"),
    ("per_call = 1.50", "per_call = 1e300", "per_call"),
    ("per_call = 1.50", "per_call = inf", "per_call"),
    ("per_call = 1.50", "per_calls = 1.50", "per_call"),
    ("fee_cap = 500 ", "", "fee_cap"),
    ("[quotas]", "[quota]", "quotas"),
    ("[quotas]", "[surprise]\n[quotas]", "surprise"),
    ('obligations = ["Publish', 'obligations = ["", "Publish', "obligations"),
]


@pytest.mark.parametrize(("good", "bad", "names"), [item for item in FILE if item[0] in EXAMPLE])
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, good: str, bad: str, names: str) -> None:
    with pytest.raises(DeclarationError) as error:
        load(tmp_path, EXAMPLE.replace(good, bad, 1))
    assert names in str(error.value)
    assert "application.toml" in str(error.value)


def test_every_line_of_the_table_was_tried() -> None:
    assert len([item for item in FILE if item[0] in EXAMPLE]) >= len(FILE) - 1


def test_a_dataset_that_is_not_described_is_named(tmp_path: Path) -> None:
    for datasets in ({"east": description("east")}, described() | {"north": description("north")}):
        with pytest.raises(DeclarationError, match=r"provider\.north\.dataset"):
            draft(tmp_path, datasets=datasets)


def test_a_version_that_is_no_longer_served_is_named(tmp_path: Path) -> None:
    text = EXAMPLE.replace('"employees"', f'"employees@{"ff" * 8}"')
    with pytest.raises(DeclarationError, match=r"provider\.north\.dataset.*served now"):
        draft(tmp_path, text)


@pytest.mark.parametrize(
    ("north", "names"),
    [
        ({"wage": {"type": ColumnType.INTEGER, "decimals": 0}}, "column.wage: north declares integer"),
        ({"wage": {"unit": "USD"}}, "column.wage: north declares decimal in 'USD'"),
        ({"wage": {"name": "pay"}}, "column.wage"),
        ({"wage": {"lo": None}}, "column.wage: north declares no bounds"),
        ({"education": {"edges": (0, 9, 18)}}, "column.education.edges: 8 is no edge"),
    ],
)
def test_columns_that_do_not_go_together_are_named(tmp_path: Path, north: dict[str, Any], names: str) -> None:
    with pytest.raises(DeclarationError) as error:
        draft(tmp_path, datasets=described(**north))
    assert names in str(error.value)


@pytest.mark.parametrize("edges", ["[0, 8.5, 18]", "[0, 1e30]", "[0, 1e-30]", "[8, 0]", "[8]"])
def test_edges_that_cannot_be_are_refused(tmp_path: Path, edges: str) -> None:
    with pytest.raises(DeclarationError, match=r"column\.education"):
        draft(tmp_path, EXAMPLE.replace("[0, 8, 12, 16, 18]", edges))


def test_edges_without_a_use_for_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"column\.education\.edges"):
        draft(tmp_path, EXAMPLE.replace('uses = ["group_by", "filter"]', 'uses = ["aggregate"]'))


def test_providers_of_different_release_modes_do_not_mix(tmp_path: Path) -> None:
    datasets = described()
    north = datasets["north"]
    datasets["north"] = replace(north, release=PRIVATE)
    with pytest.raises(DeclarationError, match=r"provider\.north"):
        draft(tmp_path, datasets=datasets)


def test_terms_that_no_contract_can_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="min_contributors"):
        draft(tmp_path, EXAMPLE.replace("min_contributors = 2", "min_contributors = 3"))
