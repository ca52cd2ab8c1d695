"""Positions, fingerprints and persons: the same rows are the same rows, whatever reads or stores them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.errors import SourceError
from sandbox.source import open_source

from .datasets import CSV, PEOPLE, declare, plan, write

PERSONS = 'update_cycle = "yearly"\nperson_id = "pid"\n'
PARQUET = PEOPLE.replace('csv = "people.csv"', 'parquet = "*.parquet"')
NAMES = ("wage", "age", "Sex code")


def by_hand(*texts: str | None) -> int:
    texts = tuple(text.rstrip("0").rstrip(".") if text and "." in text else text for text in texts)
    text = "".join("-" if text is None else f"{len(text.encode())}:{text}" for text in texts)
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "little")


def test_a_fingerprint_is_md5_over_lengths_and_texts(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    found = open_source(declaration, tmp_path, {}).fingerprints(NAMES)
    assert found.dtype == np.uint64
    assert found.tolist() == [by_hand(*(text or None for text in line.split(",")[:3])) for line in CSV.splitlines()[1:]]


def test_texts_that_run_into_one_another_and_nulls_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    declaration = declare(tmp_path, PARQUET)
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), (None, "abc"), ("-", "abc"), ("abc", None), (None, None), ("", "")]
    columns = {"a": [first for first, _ in pairs], "b": [second for _, second in pairs]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = open_source(declaration, tmp_path, {}).fingerprints(("a", "b"))
    assert len(set(found.tolist())) == len(pairs)
    assert found.tolist() == [by_hand(*pair) for pair in pairs]


def test_fingerprints_stay_in_a_file_written_anew(tmp_path: Path) -> None:
    declaration = declare(tmp_path, PARQUET)
    random = np.random.default_rng(1)
    table = pa.table({"x": random.integers(0, 10**6, 5_000) / 100, "n": random.integers(0, 9, 5_000)})
    table = table.append_column("d", table["n"].cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2)))
    table = table.append_column("t", table["n"].cast(pa.string()))
    pq.write_table(table, tmp_path / "a.parquet")
    names = ("x", "n", "d", "t")
    before = open_source(declaration, tmp_path, {}).fingerprints(names)
    pq.write_table(
        table.slice(0, 99).select(["t", "d", "n", "x"]),
        tmp_path / "a.parquet",
        use_dictionary=False,
        compression="zstd",
    )
    pq.write_table(table.slice(99).select(["t", "d", "n", "x"]), tmp_path / "b.parquet", row_group_size=77)
    assert open_source(declaration, tmp_path, {}).fingerprints(names).tolist() == before.tolist()
    row = table.slice(7, 1).to_pylist()[0]
    assert int(before[7]) == by_hand(repr(row["x"]), str(row["n"]), str(row["d"]), row["t"])


@pytest.mark.parametrize("written", ["csv", "double", "decimal", "narrow"])
def test_a_value_written_with_other_decimals_is_the_same_value(tmp_path: Path, written: str) -> None:
    """Else an export that writes 10.5 for 10.50 would make every row a new one, and empty the guard's memory."""
    values = ["10.50", "17.00", "0.25", "100.00", "20.00"]
    before = open_source(write(tmp_path, csv="wage\n" + "\n".join(values) + "\n"), tmp_path, {}).fingerprints(("wage",))
    assert len(set(before.tolist())) == len(values)
    declaration = declare(tmp_path, PARQUET)
    numbers = [float(value) for value in values]
    match written:
        case "csv":
            declaration = write(tmp_path, csv="wage\n" + "\n".join(f"{number:g}" for number in numbers) + "\n")
        case "double":
            pq.write_table(pa.table({"wage": numbers}), tmp_path / "a.parquet")
        case _:
            kind = pa.decimal128(9, 4 if written == "decimal" else 2)
            pq.write_table(
                pa.table({"wage": [Decimal(value) for value in values]}).cast(pa.schema([("wage", kind)])),
                tmp_path / "a.parquet",
            )
    assert open_source(declaration, tmp_path, {}).fingerprints(("wage",)).tolist() == before.tolist()


@pytest.mark.parametrize("threads", [1, 4])
def test_positions_follow_files_by_path_and_rows_within_on_any_number_of_threads(tmp_path: Path, threads: int) -> None:
    # Many files, row groups and batches, so that threads overtake one another.
    declaration = declare(tmp_path, PARQUET)
    ages = np.random.default_rng(2).integers(0, 121, 400_000)
    for number, part in enumerate(np.array_split(ages, 5)):
        table = pa.table({"age": part, "wage": np.arange(len(part)) % 1000 / 100, "Sex code": ["f"] * len(part)})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=9_000)
    source = open_source(declaration, tmp_path, {}, threads=threads)
    wanted = replace(plan(group_by=("age",)), rows=True)
    rows = source.totals(wanted, declaration).tables[0].rows
    assert rows is not None
    assert rows.dtype == np.int32
    assert rows.tolist() == np.minimum(np.searchsorted([0, 18, 65], ages, side="right") - 1, 2).tolist()
    fingerprints = source.fingerprints(("age",))
    assert fingerprints.tolist() == [by_hand(str(age)) for age in ages.tolist()]


def test_positions_follow_the_lines_of_csv_files(tmp_path: Path) -> None:
    declaration = declare(tmp_path, PEOPLE.replace("people.csv", "*.csv"))
    ages = np.random.default_rng(3).integers(0, 121, 60_000).tolist()
    for number in range(3):
        lines = "".join(f"1.00,{age},f\n" for age in ages[20_000 * number : 20_000 * (number + 1)])
        (tmp_path / f"{number}.csv").write_text(f"wage,age,Sex code\n{lines}")
    rows = open_source(declaration, tmp_path, {}, threads=4).totals(
        replace(plan(group_by=("age",)), rows=True), declaration
    )
    assert rows.tables[0].rows is not None
    assert rows.tables[0].rows.tolist() == [0 if age < 18 else 1 if age < 65 else 2 for age in ages]


def test_persons_are_dense_codes_and_a_null_is_a_person_of_its_own(tmp_path: Path) -> None:
    csv = "wage,age,Sex code,pid\n" + "".join(f"1,20,f,{pid}\n" for pid in ["b", "a", "", "b", "", "c"])
    declaration = write(tmp_path, toml=PEOPLE.replace('update_cycle = "yearly"\n', PERSONS), csv=csv)
    source = open_source(declaration, tmp_path, {})
    persons = source.persons(declaration)
    assert persons is not None
    assert persons.dtype == np.uint32
    b, a, first, again, second, c = persons.tolist()
    assert b == again
    assert sorted({a, b, c, first, second}) == [0, 1, 2, 3, 4]
    assert source.totals(plan(group_by=("sex",)), declaration).tables[0].support == (5, 0)


def test_nobody_is_told_apart_without_a_person_id(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    assert open_source(declaration, tmp_path, {}).persons(declaration) is None


def test_columns_that_are_not_there_are_refused_by_name(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace('update_cycle = "yearly"\n', PERSONS.replace("pid", "nobody")))
    source = open_source(declaration, tmp_path, {})
    with pytest.raises(SourceError, match="no column 'nothing'"):
        source.fingerprints(("wage", "nothing"))
    for ask in (lambda: source.persons(declaration), lambda: source.totals(plan(), declaration)):
        with pytest.raises(SourceError, match="no column 'nobody'"):
            ask()


def test_a_file_that_breaks_off_midway_is_refused_without_its_text(tmp_path: Path) -> None:
    # The first batches are good, so the error comes out of the stream, which quotes the line.
    declaration = write(tmp_path, csv="wage,age,Sex code\n" + "1.00,20,f\n" * 300_000 + "CANARY-8461\n")
    source = open_source(declaration, tmp_path, {})
    for ask in (lambda: source.totals(plan(group_by=("age",)), declaration), lambda: source.fingerprints(NAMES)):
        with pytest.raises(SourceError, match=r"people.csv, line 300002") as caught:
            ask()
        assert "CANARY" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_duckdb_writes_doubles_as_fingerprints_need_them() -> None:
    """Block a DuckDB that writes numbers otherwise: all ids of rows would be new."""
    values = "12.5::DOUBLE, 3::DOUBLE, 1e-7::DOUBLE, 0.1::REAL, 1e20::DOUBLE"
    texts = ", ".join(f"CAST({value} AS VARCHAR)" for value in values.split(", "))
    row = duckdb.connect().execute(f"SELECT {texts}").fetchone()
    assert row == ("12.5", "3.0", "1e-07", "0.1", "1e+20")
