"""Against a real PostgreSQL out of a wheel."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from sandbox.declaration import DatasetDeclaration
from sandbox.errors import SourceError, SourceUnavailableError
from sandbox.request import DomainFilter
from sandbox.source import Severity, Source, ViolationKind, open_source
from sandbox.statistic import ROWS

from .datasets import PEOPLE, PERSONS, declare, nonnull, one_table, plan, total

pgserver = pytest.importorskip("pgserver")
dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")

TOML = PEOPLE.replace('csv = "people.csv"', 'postgres = "bureau.people"\ndsn_env = "PEOPLE_DSN"')
SETUP = """
DROP SCHEMA IF EXISTS bureau CASCADE;
CREATE SCHEMA bureau;
CREATE TABLE bureau.people (pid uuid DEFAULT gen_random_uuid(), wage {wage}, age {age}, "Sex code" {sex});
INSERT INTO bureau.people (wage, age, "Sex code") VALUES
 (10.50, 17, 'f'), (20.25, 18, 'f'), (NULL, 30, 'm'), (999.99, 65, 'm'), (0.01, 120, 'f'), (30.00, 64, 'm');
"""
MEASURES = (ROWS, nonnull("wage"), total("wage"))
BY_SEX = ((3, 3, 30_760), (3, 2, 1_029_990))


@dataclass(frozen=True)
class Server:
    uri: str

    def run(self, *statements: str) -> None:
        with dbapi.connect(self.uri, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def as_role(self, role: str, password: str) -> str:
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{password}@{host}"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        running = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield Server(running.get_uri())
        finally:
            running.cleanup()


def fill(server: Server, *, wage: str = "numeric(12, 4)", age: str = "integer", sex: str = "text") -> None:
    server.run(*SETUP.format(wage=wage, age=age, sex=sex).strip().rstrip(";").split(";\n"))


def opened(server: Server, folder: Path, toml: str = TOML) -> tuple[Source, DatasetDeclaration]:
    declaration = declare(folder, toml)
    return open_source(declaration, folder, {"PEOPLE_DSN": server.uri}), declaration


@pytest.mark.parametrize(
    ("wage", "age", "sex"),
    [
        ("numeric(12, 4)", "integer", "text"),
        ("numeric", "bigint", "character(4)"),
        ("double precision", "smallint", "varchar(3)"),
        ("text", "text", "name"),
    ],
)
def test_every_usual_type_is_read_exactly(server: Server, tmp_path: Path, wage: str, age: str, sex: str) -> None:
    fill(server, wage=wage, age=age, sex=sex)
    source, declaration = opened(server, tmp_path)
    assert source.totals(plan(group_by=("sex",), measures=MEASURES), declaration) == one_table(BY_SEX, (3, 2), 0)
    assert source.totals(plan(group_by=("age",)), declaration).tables[0].totals == ((1,), (3,), (2,))
    assert [item for item in source.check(declaration) if item.severity is Severity.REFUSES] == []


def test_doubles_are_rounded_half_away_from_zero(server: Server, tmp_path: Path) -> None:
    fill(server, wage="double precision")
    server.run(
        "UPDATE bureau.people SET wage = 1.115",
        "INSERT INTO bureau.people (wage, age, \"Sex code\") VALUES ('NaN', 1, 'f'), ('Infinity', 1, 'f')",
    )
    source, declaration = opened(server, tmp_path)
    assert source.totals(plan(measures=MEASURES), declaration) == one_table(((6, 6, 6_720),), (6,), 2)


def test_booleans_enums_domains_and_views_are_read(server: Server, tmp_path: Path) -> None:
    fill(server)
    server.run(
        "CREATE TYPE bureau.sex AS ENUM ('f', 'm')",
        "CREATE DOMAIN bureau.money_amount AS numeric(12, 2)",
        "CREATE VIEW bureau.seen AS SELECT wage::bureau.money_amount AS wage, age, "
        '"Sex code"::bureau.sex AS "Sex code", age > 60 AS old FROM bureau.people WHERE age < 100',
    )
    toml = TOML.replace("bureau.people", "bureau.seen")
    source, declaration = opened(server, tmp_path, toml)
    found = source.totals(plan(group_by=("sex",), measures=MEASURES), declaration)
    assert found == one_table(((2, 2, 30_750), BY_SEX[1]), (2, 2), 0)
    toml = toml.replace('"Sex code"', '"old"').replace('["f", "m"]', '["true", "false"]')
    source, declaration = opened(server, tmp_path, toml)
    filters = (DomainFilter("sex", ("f",)),)
    assert source.totals(plan(filters=filters), declaration).tables[0].totals == ((0,),)
    assert [item for item in source.check(declaration) if item.severity is Severity.REFUSES] == []


@contextmanager
def turning(server: Server, statement: str) -> Iterator[list[int]]:
    """A writer that runs the statement over and over, each time a transaction of its own."""
    stop, turns = threading.Event(), []

    def write() -> None:
        with dbapi.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(statement)
                turns.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield turns
    finally:
        stop.set()
        writer.join()


def test_a_call_reads_one_snapshot_while_a_writer_goes_on(server: Server, tmp_path: Path) -> None:
    fill(server)
    server.run(
        "CREATE TABLE bureau.big AS SELECT 1.00::numeric(12,2) AS wage, 20 AS age, 'f'::text AS \"Sex code\" "
        "FROM generate_series(1, 20000)"
    )
    source, declaration = opened(server, tmp_path, TOML.replace("bureau.people", "bureau.big"))
    flip = "UPDATE bureau.big SET wage = 3.00 - wage, \"Sex code\" = CASE WHEN wage = 1 THEN 'm' ELSE 'f' END"
    wanted = plan(group_by=("sex",), measures=(ROWS, total("wage")))
    with turning(server, flip) as turns:
        seen = {source.totals(wanted, declaration).tables[0].totals for _ in range(8)}
    assert turns
    assert seen <= {((20_000, 20_000_000), (0, 0)), ((0, 0), (20_000, 40_000_000))}


def test_both_passes_of_a_check_see_the_same_snapshot(server: Server, tmp_path: Path) -> None:
    # The table is always broken in exactly one of two ways, each seen by another pass.
    fill(server)
    server.run("UPDATE bureau.people SET pid = '00000000-0000-0000-0000-000000000000', age = 1")
    toml = TOML.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\n' + PERSONS)
    source, declaration = opened(server, tmp_path, toml)
    flip = (
        "UPDATE bureau.people SET age = CASE WHEN age IS NULL THEN 1 END, "
        "pid = CASE WHEN age IS NULL THEN '00000000-0000-0000-0000-000000000000' ELSE gen_random_uuid() END"
    )
    broken = {ViolationKind.NULL, ViolationKind.ROWS_PER_PERSON}
    with turning(server, flip) as turns:
        for _ in range(30):
            found = {item.kind for item in source.check(declaration)} & broken
            assert len(found) == 1, found
    assert turns


def test_a_read_only_role_is_enough_and_brings_no_warning(server: Server, tmp_path: Path) -> None:
    fill(server)
    server.run(
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN PASSWORD 'CANARY-8461'",
        "GRANT USAGE ON SCHEMA bureau TO reader",
        'GRANT SELECT (wage, age, "Sex code") ON bureau.people TO reader',
    )
    address = tmp_path / "dsn"
    address.write_text(server.as_role("reader", "CANARY-8461"))
    address.chmod(0o600)
    declaration = declare(tmp_path, TOML.replace('dsn_env = "PEOPLE_DSN"', 'dsn_file = "dsn"'))
    source = open_source(declaration, tmp_path, {})
    assert source.check(declaration) == ()
    assert source.content_hash()
    server.run("REVOKE SELECT (wage) ON bureau.people FROM reader")
    with pytest.raises(SourceError, match="SQLSTATE 42501") as caught:
        source.totals(plan(measures=MEASURES), declaration)
    assert "CANARY" not in f"{caught.value!r} {source!r}"
    server.run("DROP OWNED BY reader", "DROP ROLE reader")


def test_the_content_hash_follows_the_declared_columns_and_not_the_order_of_rows(
    server: Server, tmp_path: Path
) -> None:
    fill(server)
    source, _ = opened(server, tmp_path)
    first = source.content_hash()
    server.run(
        "CREATE TABLE bureau.copy AS SELECT * FROM bureau.people ORDER BY age DESC",
        "DROP TABLE bureau.people",
        "ALTER TABLE bureau.copy RENAME TO people",
        "UPDATE bureau.people SET pid = gen_random_uuid()",
    )
    assert source.content_hash() == first
    server.run("UPDATE bureau.people SET wage = 0.02 WHERE wage = 0.01")
    assert source.content_hash() != first


def test_positions_do_not_hang_on_the_order_in_which_the_server_gives_rows(server: Server, tmp_path: Path) -> None:
    fill(server)
    toml = TOML.replace('update_cycle = "yearly"\n', 'update_cycle = "yearly"\nperson_id = "pid"\n')
    source, declaration = opened(server, tmp_path, toml)
    server.run(
        'INSERT INTO bureau.people (pid, wage, age, "Sex code") SELECT CASE WHEN n % 9 > 0 THEN '
        "md5((n % 50)::text)::uuid END, n % 7, n % 121, 'f' FROM generate_series(1, 3000) AS n"
    )
    wanted = replace(plan(group_by=("age",)), rows=True)

    def seen() -> list[list[int]]:
        persons, rows = source.persons(declaration), source.totals(wanted, declaration).tables[0].rows
        assert persons is not None
        assert rows is not None
        return [rows.tolist(), source.fingerprints(("age", "wage")).tolist(), source.fingerprints(("pid",)).tolist()]

    source.content_hash()
    before, codes = seen(), source.persons(declaration)
    server.run(
        "CREATE TABLE bureau.copy AS SELECT * FROM bureau.people ORDER BY random()",
        "DROP TABLE bureau.people",
        "ALTER TABLE bureau.copy RENAME TO people",
    )
    assert seen() == before
    level_of_age: dict[int, set[int]] = {}
    for level, fingerprint in zip(before[0], source.fingerprints(("age",)).tolist(), strict=True):
        level_of_age.setdefault(fingerprint, set()).add(level)
    assert all(len(levels) == 1 for levels in level_of_age.values()), "fingerprints and cells are of the same rows"
    assert codes is not None
    by_person = set(zip(before[2], codes.tolist(), strict=True))
    told_apart = 50 - len({n for n in range(50) if all((n + 50 * i) % 9 == 0 for i in range(60))}) + 6
    assert len({fingerprint for fingerprint, _ in by_person}) == told_apart + 1, "the nulls share a fingerprint"
    assert len({code for _, code in by_person}) == told_apart + 333, "and each is a person of its own"
    with pytest.raises(SourceError, match="no column 'nothing'"):
        source.fingerprints(("nothing",))


def test_a_missing_relation_or_column_is_named(server: Server, tmp_path: Path) -> None:
    fill(server)
    source, declaration = opened(server, tmp_path, TOML.replace("bureau.people", "bureau.nothing"))
    with pytest.raises(SourceError, match="no such table or view"):
        source.check(declaration)
    source, declaration = opened(server, tmp_path, TOML.replace("Sex code", "gender"))
    assert next((i.column, i.kind) for i in source.check(declaration)) == ("sex", ViolationKind.MISSING_COLUMN)
    with pytest.raises(SourceError, match="no column 'gender'"):
        source.totals(plan(group_by=("sex",)), declaration)


def test_a_server_that_is_down_is_unavailable_and_its_address_is_not_told(tmp_path: Path) -> None:
    declaration = declare(tmp_path, TOML)
    secret = "postgresql://canary-user:canary-word@127.0.0.1:1/canary-db"
    source = open_source(declaration, tmp_path, {"PEOPLE_DSN": secret})
    with pytest.raises(SourceUnavailableError, match="PEOPLE_DSN") as caught:
        source.totals(plan(), declaration)
    assert "canary" not in f"{caught.value!r} {source!r}"
    assert caught.value.__cause__ is None


def test_an_address_must_be_set_and_kept_by_its_owner(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="PEOPLE_DSN is not set"):
        open_source(declare(tmp_path, TOML), tmp_path, {})
    declaration = declare(tmp_path, TOML.replace('dsn_env = "PEOPLE_DSN"', 'dsn_file = "dsn"'))
    with pytest.raises(SourceError, match="cannot be read"):
        open_source(declaration, tmp_path, {})
    (tmp_path / "dsn").write_text("postgresql:///x")
    (tmp_path / "dsn").chmod(0o640)
    with pytest.raises(SourceError, match="chmod 600"):
        open_source(declaration, tmp_path, {})
    (tmp_path / "dsn").write_bytes(b"\xff\xfe")
    (tmp_path / "dsn").chmod(0o600)
    with pytest.raises(SourceError, match="one line"):
        open_source(declaration, tmp_path, {})


def test_hostile_names_stay_names(server: Server, tmp_path: Path) -> None:
    fill(server)
    server.run('ALTER TABLE bureau.people RENAME "Sex code" TO "x"" ; DROP TABLE people; --"')
    toml = TOML.replace('"Sex code"', "'x\" ; DROP TABLE people; --'")
    source, declaration = opened(server, tmp_path, toml)
    assert source.totals(plan(group_by=("sex",), measures=MEASURES), declaration).tables[0].totals == BY_SEX
