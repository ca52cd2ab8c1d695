from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Fields, canonicalise
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import MalformedError
from sandbox.catalogue import Catalogue, DatasetDescription
from sandbox.declaration import load_declaration
from sandbox.errors import ContractError, DeclarationError
from sandbox.grades import Grade
from tests.audit.golden import GOLDEN, assert_golden
from tests.audit.samples import signing_key

from .datasets import DATASET, PEOPLE, PERSONS, RELEASE, SEX, WAGE

FULL = PEOPLE.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\n' + PERSONS).replace(
    "min_group_size = 2", "min_group_size = 2\ndominance_percent = 80"
) + WAGE.replace("wage", "debt").replace("lo = 0", "lo = -99.5").replace("general", "important")


def catalogue(folder: Path, toml: str = FULL) -> Catalogue:
    (folder / "people.toml").write_text(toml)
    return Catalogue.load(folder)


def body(folder: Path, toml: str = FULL) -> dict[str, object]:
    loaded = catalogue(folder, toml)
    return dict(loaded.describe(loaded.dataset("people"), "0011223344556677", "east"))


def envelope(folder: Path) -> Envelope:
    return seal(body(folder), PayloadType.DATASET, signing_key("east"))  # type: ignore[arg-type]


def read(payload: object) -> DatasetDescription:
    return DatasetDescription.from_body(Fields.parse(canonicalise(payload), limit=1 << 20).header("dataset"))  # type: ignore[arg-type]


def test_a_description_keeps_its_golden_form(tmp_path: Path) -> None:
    assert_golden("dataset", envelope(tmp_path).encode())


def test_a_description_comes_back_as_it_was_signed(tmp_path: Path) -> None:
    description = DatasetDescription.from_body(
        Envelope.decode((GOLDEN / "dataset.json").read_bytes()).body(PayloadType.DATASET)
    )
    declaration = catalogue(tmp_path).dataset("people")
    assert description == declaration.describe("east", "0011223344556677")
    assert description.reference == "east/people@0011223344556677"
    assert description.grade is Grade.IMPORTANT
    assert description.column("debt").lo == -9950
    assert description.to_body() == body(tmp_path)


def test_a_description_holds_nothing_private(tmp_path: Path) -> None:
    public = envelope(tmp_path).payload
    for private in (b"Sex code", b"people.csv", b"pid", b"csv", b"physical", str(tmp_path).encode()):
        assert private not in public
    names = {field.name for field in fields(DatasetDescription)}
    assert names.isdisjoint({"source", "person_id", "file"})


def test_an_unknown_column_or_dataset_is_named_beside_those_there_are(tmp_path: Path) -> None:
    loaded = catalogue(tmp_path)
    with pytest.raises(ContractError, match="'pay'; it has wage, age, sex, debt"):
        loaded.dataset("people").column("pay")
    with pytest.raises(ContractError, match="'cars' is declared; there are people"):
        loaded.dataset("cars")


def test_two_declarations_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(PEOPLE)
    with pytest.raises(DeclarationError, match="is taken by"):
        catalogue(tmp_path)


def test_datasets_come_by_name_whatever_their_files_are_called(tmp_path: Path) -> None:
    (tmp_path / "z.toml").write_text(PEOPLE.replace('"people"', '"aged"'))
    assert [item.name for item in catalogue(tmp_path).datasets] == ["aged", "people"]
    assert Catalogue.load(tmp_path / "none").datasets == ()


def test_a_description_too_large_to_send_is_refused_at_the_start(tmp_path: Path) -> None:
    domain = ", ".join(f'"{index:0>100}"' for index in range(500))
    with pytest.raises(DeclarationError, match="shorten"):
        catalogue(tmp_path, DATASET + RELEASE + SEX.replace('"f", "m"', domain))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "xyz"),
        (("party",), "East"),
        (("grade",), "general"),
        (("declared_rows",), 0),
        (("colour",), "red"),
        (("quality",), {"a": ""}),
        (("persons", "max_rows"), 0),
        (("persons", "person_id"), "pid"),
        (("release", "min_group_size"), 0),
        (("release", "k"), 1),
        (("columns",), []),
        (("columns", 0, "grade"), "core"),
        (("columns", 0, "lo"), "200000"),
        (("columns", 0, "lo"), "01"),
        (("columns", 0, "name"), "age"),
        (("columns", 0, "physical"), "w"),
        (("columns", 0, "domain"), ["x"]),
        (("columns", 1, "edges"), ["18", "0"]),
        (("columns", 1, "edges"), []),
        (("columns", 1, "uses"), ["group_by", "aggregate"]),
        (("columns", 2, "domain"), ["f", "f"]),
        (("columns", 2, "domain"), []),
        (("columns", 2, "grade_review"), "2027-13-01"),
        (("columns", 2, "on_violation"), "clip"),
    ],
)
def test_a_body_that_contradicts_itself_is_malformed(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    tampered = deepcopy(body(tmp_path))
    place: object = tampered
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    with pytest.raises(MalformedError):
        read(tampered)


@given(st.data())
def test_any_tampered_body_is_accepted_or_malformed(data: st.DataObject) -> None:
    payload = bytearray(Envelope.decode((GOLDEN / "dataset.json").read_bytes()).payload)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        DatasetDescription.from_body(Fields.parse(bytes(payload), limit=1 << 20).header("dataset"))


def test_the_person_column_may_be_a_declared_one(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    path.write_text(FULL.replace('person_id = "pid"', 'person_id = "sex"'))
    description = load_declaration(path).describe("east", "0011223344556677")
    assert description.person_level
