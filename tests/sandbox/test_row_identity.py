"""Rows keep their ids over restarts and versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.declaration import DatasetDeclaration, load_declaration
from sandbox.errors import DeclarationError, SourceError, SourceUnavailableError, VaultError
from sandbox.row_identity import Hashes, RowIdentity, numbered, settle_rows
from sandbox.vault import Vault, VaultKind
from tests.sandbox.survey import DECLARATION, VERSION

Table = Mapping[str, Sequence[object]]

PEOPLE: Table = {
    "wage": [10, 20, 20, 30],
    "education": [8, 8, 8, 12],
    "ethnicity": ["cauc", "cauc", "cauc", "afam"],
    "id": [1, 2, 3, 4],
}


class Rows:
    """A source that has fingerprints alone, and counts how often it is asked."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.asked = 0

    def fingerprints(self, columns: tuple[str, ...]) -> Hashes:
        self.asked += 1
        for column in columns:
            if column not in self.table:
                raise SourceError(f"no column {column}")
        rows = zip(*(self.table[column] for column in columns), strict=True)
        return np.array([int.from_bytes(hashlib.md5(repr(row).encode()).digest()[:8], "big") for row in rows], "u8")


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault.open(tmp_path / "vault.db") as opened:
        yield opened


@pytest.fixture
def declared(tmp_path: Path) -> DatasetDeclaration:
    path = tmp_path / "wages.toml"
    path.write_text(DECLARATION.format(version=VERSION, min_group_size=3, min_contributors=2))
    return load_declaration(path)


def settled(vault: Vault, declared: DatasetDeclaration, table: Table, content: str) -> RowIdentity:
    return settle_rows(vault, declared, Rows(table), content)


def ids(identity: RowIdentity) -> list[int]:
    return list(range(identity.rows)) if identity.ids is None else [int(number) for number in identity.ids]


def changed(table: Table, **columns: Sequence[object]) -> Table:
    return {**table, **columns}


def picked(table: Table, *rows: int) -> Table:
    return {name: [values[row] for row in rows] for name, values in table.items()}


def without(declared: DatasetDeclaration, name: str) -> DatasetDeclaration:
    return replace(declared, columns=tuple(column for column in declared.columns if column.name != name))


def test_the_first_versions_ids_are_its_positions(vault: Vault, declared: DatasetDeclaration) -> None:
    found = settled(vault, declared, PEOPLE, "aa")
    assert (found.rows, found.count, found.ids, found.persons) == (4, 4, None, None)


def test_after_a_restart_nothing_is_computed_again(vault: Vault, declared: DatasetDeclaration) -> None:
    settled(vault, declared, PEOPLE, "aa")
    source = Rows(PEOPLE)
    assert ids(settle_rows(vault, declared, source, "aa")) == [0, 1, 2, 3]
    assert source.asked == 0


def test_rows_that_were_there_before_keep_their_ids_and_new_ones_get_new_ids(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    settled(vault, declared, PEOPLE, "aa")
    later = picked(PEOPLE, 3, 0, 2, 1)
    later = {name: [*values, 99 if name != "ethnicity" else "afam"] for name, values in later.items()}
    assert ids(settled(vault, declared, later, "bb")) == [3, 0, 1, 2, 4]
    assert ids(settled(vault, declared, picked(later, 4, 1), "cc")) == [4, 0]
    again = settled(vault, declared, PEOPLE, "aa")
    assert (ids(again), again.count) == ([0, 1, 2, 3], 5)


def test_rows_with_equal_values_are_as_many_ids(vault: Vault, declared: DatasetDeclaration) -> None:
    settled(vault, declared, PEOPLE, "aa")
    assert ids(settled(vault, declared, picked(PEOPLE, 1, 2, 1, 2), "bb")) == [1, 2, 4, 5]
    assert ids(settled(vault, declared, picked(PEOPLE, 1), "cc")) == [1]


def test_a_row_of_which_one_value_has_changed_is_another_row_even_with_a_key(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    keyed = replace(declared, row_key=("id",))
    settled(vault, keyed, PEOPLE, "aa")
    assert ids(settled(vault, keyed, changed(PEOPLE, wage=[10, 20, 21, 30]), "bb")) == [0, 1, 4, 3]


def test_a_column_that_is_declared_later_leaves_the_ids_as_they_are(vault: Vault, declared: DatasetDeclaration) -> None:
    narrow = without(declared, "wage")
    settled(vault, narrow, PEOPLE, "aa")
    shuffled = picked(PEOPLE, 3, 1, 2, 0)
    assert ids(settled(vault, declared, shuffled, "bb"))[0] == 3
    assert ids(settled(vault, declared, picked(shuffled, 0), "cc")) == [3]  # known by the new columns too


def test_where_a_column_has_gone_the_error_names_the_row_key(vault: Vault, declared: DatasetDeclaration) -> None:
    settled(vault, declared, PEOPLE, "aa")
    gone = {name: values for name, values in PEOPLE.items() if name != "wage"}
    with pytest.raises(DeclarationError, match="row_key") as refused:
        settled(vault, without(declared, "wage"), gone, "bb")
    assert refused.value.column == "dataset.row_key"


def test_a_row_key_that_was_declared_before_knows_the_rows_of_which_a_column_has_gone(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    settled(vault, declared, PEOPLE, "aa")
    keyed = replace(declared, row_key=("id",))
    settled(vault, keyed, PEOPLE, "aa")
    gone = {name: values for name, values in picked(PEOPLE, 2, 3).items() if name != "wage"}
    assert ids(settled(vault, without(keyed, "wage"), gone, "bb")) == [2, 3]


def test_data_that_cannot_be_reached_are_not_taken_for_data_that_lack_a_column(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    class Away(Rows):
        def fingerprints(self, columns: tuple[str, ...]) -> Hashes:
            if "wage" in columns:
                raise SourceUnavailableError("the database is away")
            return super().fingerprints(columns)

    settled(vault, replace(declared, row_key=("id",)), PEOPLE, "aa")
    with pytest.raises(SourceUnavailableError):
        settle_rows(vault, without(declared, "wage"), Away(PEOPLE), "bb")


def test_persons_keep_their_numbers_over_versions(vault: Vault, declared: DatasetDeclaration) -> None:
    by_person = replace(declared, person_id="who")
    table = changed(PEOPLE, who=["ann", "ann", "bob", None])
    first = settled(vault, by_person, table, "aa")
    assert first.persons is not None
    ann, also_ann, bob, nobody = first.persons
    assert ann == also_ann
    assert len({ann, bob, nobody, 0}) == 4
    later = settled(vault, by_person, changed(picked(table, 2, 0, 3, 3), wage=[20, 10, 7, 8]), "bb")
    assert later.persons is not None
    assert ids(later) == [2, 0, 4, 5]
    assert list(later.persons[:4]) == [ann, ann, bob, nobody]
    assert list(later.persons[4:]) == [nobody, nobody]  # fewer persons than there may be: more is refused, not less


def test_rows_that_went_before_persons_were_told_apart_are_one_person(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    settled(vault, declared, PEOPLE, "aa")
    table = changed(picked(PEOPLE, 2, 3), who=["ann", "bob"])
    found = settled(vault, replace(declared, person_id="who"), table, "bb")
    assert found.persons is not None
    assert [int(code) for code in found.persons[[0, 1]]].count(0) >= 1
    assert len(set(found.persons[ids(found)])) == 2


def test_other_data_sets_have_ids_of_their_own(vault: Vault, declared: DatasetDeclaration) -> None:
    settled(vault, declared, PEOPLE, "aa")
    assert ids(settled(vault, replace(declared, name="wages2"), picked(PEOPLE, 3, 2), "bb")) == [0, 1]


def test_an_empty_version_has_no_ids_and_forgets_none(vault: Vault, declared: DatasetDeclaration) -> None:
    settled(vault, declared, PEOPLE, "aa")
    assert ids(settled(vault, declared, picked(PEOPLE), "bb")) == []
    assert ids(settled(vault, declared, picked(PEOPLE, 1), "cc")) == [1]


def test_a_vault_that_lacks_what_the_ids_rest_on_is_an_error_and_not_new_ids(
    vault: Vault, declared: DatasetDeclaration
) -> None:
    settled(vault, declared, PEOPLE, "aa")
    vault.delete(VaultKind.ROW_IDENTITY, "wages/rows#000000")
    with pytest.raises(VaultError, match="restore"):
        settled(vault, declared, picked(PEOPLE, 1), "bb")


@given(st.lists(st.integers(0, 3), max_size=40))
def test_fingerprints_that_repeat_are_told_apart_by_occurrence_whatever_their_order(values: list[int]) -> None:
    found = numbered(np.array(values, dtype=np.uint64))
    assert len(set(found)) == len(values)
    assert 0 not in found
    assert set(found) == set(numbered(np.array(sorted(values), dtype=np.uint64)))
