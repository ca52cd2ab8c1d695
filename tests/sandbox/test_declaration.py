from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.declaration import FileFormat, FileSource, OnViolation, PostgresSource, Sharing, load_declaration
from sandbox.errors import DeclarationError
from sandbox.frame import ColumnType, Use
from sandbox.grades import Grade
from sandbox.release import OwnTotals, ReleaseMode, ReleasePolicy

from .datasets import AGE, DATASET, GRADE, PEOPLE, PERSONS, RELEASE, SEX, WAGE, declare


def refusal(folder: Path, toml: str) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        declare(folder, toml)
    return caught.value


def line_of(toml: str, start: str) -> int:
    return next(number for number, line in enumerate(toml.splitlines(), 1) if line.startswith(start))


def test_a_declaration_is_read_with_bounds_scaled_exactly(tmp_path: Path) -> None:
    found = declare(tmp_path, PEOPLE)
    wage, age, sex = found.columns
    assert (found.name, found.sharing, found.declared_rows, found.version) == ("people", Sharing.CONDITIONAL, 6, None)
    assert found.release == ReleasePolicy(ReleaseMode.EXACT, 2, 2, OwnTotals.SECRET, None, 0)
    assert found.source == FileSource(FileFormat.CSV, "people.csv")
    assert found.quality == {"completeness": "0.99"}
    assert (wage.lo, wage.hi, wage.decimals, wage.nullable) == (0, 100_000, 2, True)
    assert (age.type, age.edges, age.uses) == (
        ColumnType.INTEGER,
        (0, 18, 65, 120),
        frozenset({Use.AGGREGATE, Use.GROUP_BY, Use.FILTER}),
    )
    assert (sex.physical, sex.domain, sex.on_violation) == ("Sex code", ("f", "m"), OnViolation.REFUSE)
    assert sex.grade_review == "2027-01-01"


def test_a_dataset_takes_its_strictest_columns_grade(tmp_path: Path) -> None:
    assert declare(tmp_path, PEOPLE).grade is Grade.GENERAL
    assert (
        declare(tmp_path, PEOPLE + WAGE.replace("wage", "pay").replace("general", "important")).grade is Grade.IMPORTANT
    )


def test_a_bound_that_binary_floating_point_cannot_hold_is_exact(tmp_path: Path) -> None:
    toml = PEOPLE.replace("decimals = 2", "decimals = 9").replace("hi = 1000.00", "hi = 123456789.100000001")
    assert declare(tmp_path, toml).column("wage").hi == 123_456_789_100_000_001


def test_a_postgres_source_names_where_its_address_is_kept(tmp_path: Path) -> None:
    toml = PEOPLE.replace('csv = "people.csv"', 'postgres = "bureau.people"\ndsn_file = "keys/dsn"')
    assert declare(tmp_path, toml).source == PostgresSource("bureau", "people", None, "keys/dsn")


@pytest.mark.parametrize(("text", "key"), [('"pid"', ("pid",)), ('["pid", "year"]', ("pid", "year"))])
def test_a_row_key_is_one_column_or_several(tmp_path: Path, text: str, key: tuple[str, ...]) -> None:
    yearly = 'update_cycle = "yearly"\n'
    assert declare(tmp_path, PEOPLE.replace(yearly, f"{yearly}row_key = {text}\n")).row_key == key
    assert declare(tmp_path, PEOPLE).row_key == ()


def test_persons_are_declared_together(tmp_path: Path) -> None:
    found = declare(tmp_path, PEOPLE.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\n' + PERSONS))
    assert (found.person_id, found.max_rows_per_person, found.max_providers_per_person) == ("pid", 1, 2)
    error = refusal(
        tmp_path, PEOPLE.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\nmax_rows_per_person = 3\n')
    )
    assert "needs person_id" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "column", "key", "says"),
    [
        ('title = "People"\n', "", "", "title", "is missing"),
        ('title = "People"', "title = 3", "", "title", "text in quotes"),
        ('title = "People"', 'title = "a\\nb"', "", "title", "on one line"),
        ('name = "people"', 'name = "../people"', "", "name", "does not match"),
        ("declared_rows = 6", "declared_rows = 0", "", "declared_rows", "from 1 to"),
        ("declared_rows = 6", "declared_rows = true", "", "declared_rows", "must be an integer"),
        ('"conditional"', '"maybe"', "", "sharing", "not one of"),
        ('owner = "East bureau"', 'owner = "East bureau"\ncolour = "red"', "", "colour", "not known here"),
        ('owner = "East bureau"', 'owner = "East bureau"\nrow_key = ["a", "a"]', "", "row_key", "each named once"),
        ('owner = "East bureau"', 'owner = "East bureau"\nrow_key = [""]', "", "row_key", "printable characters"),
        ('mode = "exact"', 'mode = "rough"', "", "mode", "not one of"),
        ("min_group_size = 2", "min_group_size = 0", "", "min_group_size", "from 1 to"),
        ("min_group_size = 2", "min_group_size = 2\nk = 1", "", "k", "not known here"),
        ("min_group_size = 2", "min_group_size = 2\ndominance_percent = 101", "", "dominance_percent", "from 1 to 100"),
        ('csv = "people.csv"', "", "", "[source]", "exactly one of"),
        ('csv = "people.csv"', 'csv = "a"\nparquet = "b"', "", "[source]", "exactly one of"),
        ('csv = "people.csv"', 'csv = "a"\ndsn_env = "X"', "", "dsn_env", "not known here"),
        ('csv = "people.csv"', 'postgres = "people"\ndsn_env = "X"', "", "postgres", "schema.table"),
        ('csv = "people.csv"', 'postgres = "a.b"', "", "dsn_env", "environment variable"),
        ('csv = "people.csv"', 'postgres = "a.b"\ndsn_env = "X"\ndsn_file = "y"', "", "dsn_env", "not both"),
        ('type = "decimal"', 'type = "float"', "wage", "type", "not one of"),
        ("decimals = 2", "decimals = 10", "wage", "decimals", "from 0 to 9"),
        ("hi = 1000.00", "hi = 1000.001", "wage", "hi", "more than the declared 2 decimals"),
        ("hi = 1000.00", "hi = 1e17", "wage", "hi", "18 digits"),
        ("hi = 1000.00", "hi = 1e999999999", "wage", "hi", "too large"),
        ("hi = 1000.00", "hi = inf", "wage", "hi", "finite"),
        ("hi = 1000.00", 'hi = "1000"', "wage", "hi", "without quotes"),
        ("hi = 1000.00", "hi = -1", "wage", "lo", "above hi"),
        ("hi = 1000.00\n", "", "wage", "hi", "is missing"),
        ("nullable = true", "nullable = 1", "wage", "nullable", "true or false"),
        ("nullable = true", 'domain = ["1"]', "wage", "domain", "no domain"),
        ("edges = [0, 18, 65, 120]", "edges = [0, 18, 18]", "age", "edges", "strictly increasing"),
        ("edges = [0, 18, 65, 120]", "edges = [0, 121]", "age", "edges", "within lo and hi"),
        ("edges = [0, 18, 65, 120]", "edges = [-1, 20]", "age", "edges", "within lo and hi"),
        ("edges = [0, 18, 65, 120]", "edges = [5]", "age", "edges", "2 to"),
        ("edges = [0, 18, 65, 120]", "edges = 5", "age", "edges", "square brackets"),
        ("edges = [0, 18, 65, 120]\n", "", "age", "edges", "is missing"),
        ("edges = [0, 18, 65, 120]", "decimals = 1\nedges = [0, 18]", "age", "decimals", "integer has none"),
        ('domain = ["f", "m"]\n', "", "sex", "domain", "is missing"),
        ('domain = ["f", "m"]', 'domain = ["f", "f"]', "sex", "domain", "twice"),
        ('domain = ["f", "m"]', 'domain = ["f", 1]', "sex", "domain", "list of texts"),
        ('domain = ["f", "m"]', 'domain = ["f", ""]', "sex", "domain", "1 to 200"),
        ('domain = ["f", "m"]', 'domain = ["f", "m"]\nlo = 1', "sex", "lo", "a category has"),
        (
            'domain = ["f", "m"]',
            'domain = ["f", "m"]\non_violation = "clip"',
            "sex",
            "on_violation",
            "cannot be clipped",
        ),
        ('uses = ["group_by", "filter"]', 'uses = ["guess"]', "sex", "uses", "not one of"),
        ('name = "sex"', 'name = "Sex"', "", "name", "does not match"),
        ('name = "sex"', 'name = "age"', "", "name", "declared twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_column(
    tmp_path: Path, old: str, new: str, column: str, key: str, says: str
) -> None:
    toml = PEOPLE.replace(old, new, 1)
    assert toml != PEOPLE
    error = refusal(tmp_path, toml)
    assert error.file == str(tmp_path / "people.toml")
    assert error.column == column
    assert key in error.detail
    assert says in error.detail
    assert error.line is not None
    written = toml.splitlines()[error.line - 1]
    assert written.startswith((key, "[")), written


def test_core_data_are_refused_always(tmp_path: Path) -> None:
    toml = DATASET + RELEASE + AGE + WAGE.replace('"general"', '"core"')
    error = refusal(tmp_path, toml)
    assert (error.column, "never served" in error.detail) == ("wage", True)
    assert error.line == line_of(toml, 'grade = "core"')


def test_a_grade_needs_its_basis_and_review_date(tmp_path: Path) -> None:
    assert "grade_basis" in str(refusal(tmp_path, DATASET + RELEASE + SEX.replace("grade_basis", "grade_bases")))
    assert "YYYY-MM-DD" in str(refusal(tmp_path, DATASET + RELEASE + SEX.replace("2027-01-01", '"soon"')))
    assert "YYYY-MM-DD" in str(refusal(tmp_path, DATASET + RELEASE + SEX.replace("2027-01-01", "2027-01-01T00:00:00Z")))


def test_malformed_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, PEOPLE.replace('title = "People"', 'title = "People'))
    assert error.line == line_of(PEOPLE, "title")
    assert "is not TOML" in error.detail


def test_an_unreadable_or_oversized_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="cannot be read"):
        load_declaration(tmp_path / "none.toml")
    path = tmp_path / "x.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(DeclarationError, match="not UTF-8"):
        load_declaration(path)
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(DeclarationError, match="over"):
        load_declaration(path)


@pytest.mark.parametrize(
    "toml", ["", "x = 1", "dataset = 1", "[dataset]", "[[dataset]]", DATASET, DATASET + "[release]"]
)
def test_half_a_declaration_is_refused(tmp_path: Path, toml: str) -> None:
    refusal(tmp_path, toml)


def test_a_column_for_joins_alone_needs_no_bounds(tmp_path: Path) -> None:
    key = f'\n[[column]]\nname = "key"\ntype = "integer"\nuses = ["join"]\n{GRADE}'
    assert declare(tmp_path, PEOPLE + key).column("key").lo is None


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(PEOPLE) - 1),
    st.integers(0, 12),
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(["[[", "]", '"""', "\\u0000", "nan", "1e9", "{}", "\n[a]\n", "= ", "\ud7ff"]),
    ),
)
def test_any_edit_is_accepted_or_refused_with_our_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, put: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "edit.toml"
    path.write_bytes((PEOPLE[:at] + put + PEOPLE[at + cut :]).encode())
    with suppress(DeclarationError):
        load_declaration(path)
