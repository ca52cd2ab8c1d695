import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.cells import CellTotals
from sandbox.errors import ContractError, SourceError
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.request import DomainFilter, Measure, RangeFilter
from sandbox.scan import hardened_connection
from sandbox.source import Severity, ViolationKind, open_source, refusals
from sandbox.statistic import ROWS

from .datasets import (
    AGE_COLUMN,
    CSV,
    PEOPLE,
    PERSONS,
    WAGE_COLUMN,
    nonnull,
    one_table,
    plan,
    total,
    write,
)

MEASURES = (ROWS, nonnull("wage"), total("wage"))


def totals(folder: Path, toml: str = PEOPLE, csv: str = CSV, **how: object) -> CellTotals:
    declaration = write(folder, toml=toml, csv=csv)
    return open_source(declaration, folder, {}).totals(plan(**how), declaration)


def test_sums_are_exact_in_the_frames_decimals(tmp_path: Path) -> None:
    assert totals(tmp_path, measures=MEASURES) == one_table(((6, 5, 1_060_750),), (5,), 0)


def test_cells_run_row_major_over_the_group_columns(tmp_path: Path) -> None:
    found = totals(tmp_path, group_by=("sex", "age"), measures=MEASURES)
    assert found.tables[0].totals == (
        (1, 1, 10_500),
        (1, 1, 20_250),
        (1, 1, 10),
        (0, 0, 0),
        (2, 1, 30_000),
        (1, 1, 999_990),
    )
    assert found.tables[0].support == (1, 1, 1, 0, 1, 1)


def test_only_the_last_interval_is_closed_on_the_right(tmp_path: Path) -> None:
    assert totals(tmp_path, group_by=("age",)).tables[0].totals == ((1,), (3,), (2,))


def test_a_range_filter_keeps_the_last_edge_and_no_other_upper_one(tmp_path: Path) -> None:
    assert totals(tmp_path, filters=(RangeFilter("age", 18, 65),)).tables[0].totals == ((3,),)
    assert totals(tmp_path, filters=(RangeFilter("age", 65, 120),)).tables[0].totals == ((2,),)
    assert totals(tmp_path, filters=(RangeFilter("age", None, 18),)).tables[0].totals == ((1,),)


def test_a_domain_filter_keeps_its_values(tmp_path: Path) -> None:
    assert totals(tmp_path, filters=(DomainFilter("sex", ("f",)),), group_by=("sex",)).tables[0].totals == ((3,), (0,))


def test_a_row_that_violates_in_a_used_column_is_left_out_and_counted(tmp_path: Path) -> None:
    csv = CSV + "5000,40,f,7\n1,40,x,8\nabc,40,f,9\n"
    assert totals(tmp_path, csv=csv, measures=MEASURES) == one_table(((7, 6, 1_061_750),), (6,), 2)
    assert totals(tmp_path, csv=csv, group_by=("sex",)) == one_table(((5,), (3,)), (5, 3), 1)


def test_clipping_moves_numbers_to_the_bounds_and_nothing_else(tmp_path: Path) -> None:
    toml = PEOPLE.replace("nullable = true\n", 'nullable = true\non_violation = "clip"\n')
    found = totals(tmp_path, toml, "wage,age,Sex code\n-5,1,f\n5000,2,f\n1e30,2,f\n,3,f\nabc,4,f\n", measures=MEASURES)
    assert found == one_table(((4, 3, 2_000_000),), (3,), 1)


def test_a_null_where_none_may_be_leaves_the_row_out(tmp_path: Path) -> None:
    found = totals(tmp_path, csv="wage,age,Sex code\n1,,f\n1,20,f\n", measures=(ROWS, total("age")))
    assert found == one_table(((1, 20),), (1,), 1)


def test_values_outside_the_frame_lie_in_no_cell(tmp_path: Path) -> None:
    narrow = FrameColumn("sex", ColumnType.CATEGORY, "", 0, None, None, ("m", "x"), (), nullable=False)
    tight = FrameColumn("age", ColumnType.INTEGER, "years", 0, 0, 100, (), (18, 65), nullable=False)
    frame = Frame((narrow, tight, WAGE_COLUMN))
    assert totals(tmp_path, frame=frame, group_by=("sex",)) == one_table(((3,), (0,)), (3, 0), 3)
    assert totals(tmp_path, frame=frame, group_by=("age",)) == one_table(((4,),), (4,), 2)
    assert totals(tmp_path, frame=frame, measures=(ROWS, total("age"))).tables[0].totals == ((5, 194),)


def test_logical_names_are_mapped_to_declared_ones(tmp_path: Path) -> None:
    pay = FrameColumn("pay", ColumnType.DECIMAL, "CNY", 2, 0, 100_000, (), (), nullable=True)
    pay_sum = Measure(("pay",), ("pay",))
    assert totals(tmp_path, frame=Frame((pay,)), mapping={"pay": "wage"}, measures=(ROWS, pay_sum)).tables[
        0
    ].totals == ((6, 106_075),)


def test_a_frame_with_fewer_decimals_than_declared_is_refused(tmp_path: Path) -> None:
    coarse = FrameColumn("wage", ColumnType.DECIMAL, "CNY", 1, 0, 10_000, (), (), nullable=True)
    with pytest.raises(ContractError, match="decimals"):
        totals(tmp_path, frame=Frame((coarse,)), measures=(total("wage"),))


def test_a_sum_over_a_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="counted, not summed"):
        totals(tmp_path, measures=(total("sex"),))


def test_parquet_doubles_stand_for_their_shortest_decimal(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace('csv = "people.csv"', 'parquet = "*.parquet"'))
    wages = [1.115, 2.675, -0.0, 0.285, float("nan"), None]
    table = pa.table(
        {
            "wage": pa.array(wages, pa.float64()),
            "age": pa.array([20.0] * 6, pa.float32()),
            "Sex code": pa.array(["f"] * 6).dictionary_encode(),
        }
    )
    pq.write_table(table.slice(0, 3), tmp_path / "a.parquet")
    pq.write_table(table.slice(3), tmp_path / "b.parquet")
    found = open_source(declaration, tmp_path, {}).totals(plan(measures=MEASURES, group_by=("sex", "age")), declaration)
    # 1.12 + 2.68 + 0.00 + 0.29, the NaN being unreadable
    assert found.tables[0].totals[1] == (5, 4, 4_090)
    assert found.excluded_rows == 1


def test_parquet_integers_decimals_and_booleans_are_read_exactly(tmp_path: Path) -> None:
    toml = PEOPLE.replace('csv = "people.csv"', 'parquet = "p.parquet"').replace('["f", "m"]', '["true", "false"]')
    declaration = write(tmp_path, toml=toml)
    table = pa.table(
        {
            "wage": pa.array([1, 2, 3], pa.uint64()),
            "age": pa.array(["1.00", "2.00", "2.50"]).cast(pa.decimal128(10, 2)),
            "Sex code": pa.array([True, False, True]),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    frame = Frame(
        (
            WAGE_COLUMN,
            AGE_COLUMN,
            FrameColumn("sex", ColumnType.CATEGORY, "", 0, None, None, ("true", "false"), (), False),
        )
    )
    found = open_source(declaration, tmp_path, {}).totals(
        plan(frame=frame, group_by=("sex",), measures=(ROWS, total("age"), total("wage"))), declaration
    )
    assert found == one_table(((1, 1, 1_000), (1, 2, 2_000)), (1, 1), 1)


def test_the_check_names_column_rule_and_count_and_never_a_value(tmp_path: Path) -> None:
    canary = "CANARY-8461"
    csv = CSV + f"5000.77,40,{canary},7\n{canary},,f,7\n-1,41.5,f,7\n"
    declaration = write(
        tmp_path, toml=PEOPLE.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\n' + PERSONS), csv=csv
    )
    found = open_source(declaration, tmp_path, {}).check(declaration)
    assert {(item.column, item.kind, item.rows, item.severity) for item in found} == {
        ("wage", ViolationKind.UNREADABLE, 1, Severity.REFUSES),
        ("wage", ViolationKind.BELOW_LO, 1, Severity.REFUSES),
        ("wage", ViolationKind.ABOVE_HI, 1, Severity.REFUSES),
        ("age", ViolationKind.NULL, 1, Severity.REFUSES),
        ("age", ViolationKind.UNREADABLE, 1, Severity.REFUSES),
        ("sex", ViolationKind.OUTSIDE_DOMAIN, 1, Severity.REFUSES),
        ("pid", ViolationKind.ROWS_PER_PERSON, 3, Severity.REFUSES),
        ("", ViolationKind.DECLARED_ROWS, 9, Severity.WARNS),
    }
    assert not any(canary in item.message or "5000.77" in item.message for item in found)
    assert "people.toml: wage: " in str(found[0].as_error(declaration))


def test_a_sound_source_passes_the_check(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    assert open_source(declaration, tmp_path, {}).check(declaration) == ()


def test_columns_that_exclude_only_warn(tmp_path: Path) -> None:
    toml = PEOPLE.replace("nullable = true\n", 'nullable = true\non_violation = "exclude"\n')
    declaration = write(tmp_path, toml=toml, csv=CSV + "5000,40,f,7\n")
    found = open_source(declaration, tmp_path, {}).check(declaration)
    assert [item.kind for item in found] == [ViolationKind.ABOVE_HI]
    assert refusals(found) == ()


def test_a_missing_column_is_named_by_the_check_and_refused_by_a_call(tmp_path: Path) -> None:
    declaration = write(tmp_path, csv=CSV.replace("Sex code", "gender"))
    source = open_source(declaration, tmp_path, {})
    assert [(item.column, item.kind) for item in source.check(declaration)] == [("sex", ViolationKind.MISSING_COLUMN)]
    with pytest.raises(SourceError, match="no column 'Sex code'"):
        source.totals(plan(group_by=("sex",)), declaration)
    assert source.totals(plan(), declaration).tables[0].totals == ((6,),)


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace('csv = "people.csv"', 'parquet = "p.parquet"'))
    table = pa.table({"wage": [True] * 6, "age": [1] * 6, "Sex code": [0.5] * 6})
    pq.write_table(table, tmp_path / "p.parquet")
    source = open_source(declaration, tmp_path, {})
    assert [(item.column, item.kind) for item in source.check(declaration)] == [
        ("wage", ViolationKind.WRONG_TYPE),
        ("sex", ViolationKind.WRONG_TYPE),
    ]
    with pytest.raises(SourceError, match="'Sex code' holds floating point"):
        source.totals(plan(group_by=("sex",)), declaration)


def test_a_garbled_csv_is_refused_by_file_and_line_without_its_text(tmp_path: Path) -> None:
    declaration = write(tmp_path, csv=CSV + "CANARY-8461\n")
    with pytest.raises(SourceError, match=r"people.csv, line 8") as caught:
        open_source(declaration, tmp_path, {}).check(declaration)
    assert "CANARY" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [b"PAR1\x00\xff\xfe", b"", b"\n", b"wage,,age\n", b"wage,Wage\n", b'"wage\n1'])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    declaration = write(tmp_path)
    (tmp_path / "people.csv").write_bytes(content)
    with pytest.raises(SourceError, match=r"people\.csv"):
        open_source(declaration, tmp_path, {}).content_hash()


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace('csv = "people.csv"', 'parquet = "people.csv"'))
    with pytest.raises(SourceError, match="not a Parquet file"):
        open_source(declaration, tmp_path, {}).check(declaration)


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace("people.csv", "none-*.csv"))
    with pytest.raises(SourceError, match="no file matches"):
        open_source(declaration, tmp_path, {})


def test_files_of_one_pattern_must_have_the_same_columns(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace("people.csv", "*.csv"))
    (tmp_path / "more.csv").write_text("age,wage\n1,2\n")
    with pytest.raises(SourceError, match="other columns"):
        open_source(declaration, tmp_path, {}).check(declaration)


def test_a_dataset_that_changed_since_the_start_is_refused(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    source = open_source(declaration, tmp_path, {})
    digest = source.content_hash()
    (tmp_path / "people.csv").write_text(CSV.replace("10.50", "10.51"))
    with pytest.raises(SourceError, match="changed since start"):
        source.totals(plan(), declaration)
    (tmp_path / "people.csv").write_text(CSV)
    assert source.totals(plan(), declaration).tables[0].totals == ((6,),)
    assert source.content_hash() == digest


def test_a_touched_file_with_the_same_bytes_is_the_same_dataset(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    source = open_source(declaration, tmp_path, {})
    source.content_hash()
    os.utime(tmp_path / "people.csv", (1, 1))
    assert source.totals(plan(), declaration).tables[0].totals == ((6,),)


def test_a_file_that_joins_the_pattern_changes_the_dataset(tmp_path: Path) -> None:
    declaration = write(tmp_path, toml=PEOPLE.replace("people.csv", "*.csv"))
    source = open_source(declaration, tmp_path, {})
    source.content_hash()
    (tmp_path / "people2.csv").write_text(CSV)
    with pytest.raises(SourceError, match="changed since start"):
        source.totals(plan(), declaration)
    source.content_hash()
    assert source.totals(plan(), declaration).tables[0].totals == ((12,),)


def test_the_connection_reaches_nothing_but_the_declared_files(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a\n1\n")
    write(tmp_path)
    connection = hardened_connection(1, [str(tmp_path / "people.csv")])
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path / 'other.csv'}')",
        f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path / 'x.db'}'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)
    assert not (tmp_path / "out.csv").exists()


def test_hostile_names_and_values_stay_data(tmp_path: Path) -> None:
    toml = PEOPLE.replace('"Sex code"', "'x\" ; DROP TABLE t; --'").replace('["f", "m"]', '["f\') OR 1=1 --", "m"]')
    csv = CSV.replace("Sex code", '"x"" ; DROP TABLE t; --"').replace(",f,", ",f') OR 1=1 --,")
    column = FrameColumn("sex", ColumnType.CATEGORY, "", 0, None, None, ("f') OR 1=1 --", "m"), (), nullable=False)
    assert totals(tmp_path, toml, csv, frame=Frame((column,)), group_by=("sex",)).tables[0].totals == ((3,), (3,))


def test_calls_at_the_same_time_do_not_see_one_another(tmp_path: Path) -> None:
    declaration = write(tmp_path)
    source = open_source(declaration, tmp_path, {})
    wanted = plan(group_by=("sex", "age"), measures=MEASURES)
    alone = source.totals(wanted, declaration)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: source.totals(wanted, declaration), range(16))) == [alone] * 16
    source.close()
    assert source.totals(wanted, declaration) == alone
