"""Hold every row of a scan against the declaration, in one SQL pass; only the provider's officials read the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, cast

import pyarrow as pa

from sandbox.declaration_model import ColumnDeclaration, DatasetDeclaration, OnViolation
from sandbox.frame import ColumnType, format_scaled
from sandbox.scan import READABLE, Parameters, Scan, quoted, read_expression
from sandbox.source_columns import declared_alone, projection
from sandbox.violations import Severity, Violation, ViolationKind

DECLARED_ROWS_TOLERANCE_PERCENT: Final = 20

_Tally = tuple[ViolationKind, str, str]  # kind, SQL condition over the parsed row, what the rule says


def check_rows(scan: Scan, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
    """What is broken: missing columns and wrong types by the source's schema, everything else by its rows.

    Raises:
        SourceError: the data cannot be read.
    """
    violations = []
    sound = []
    for key, column in enumerate(declaration.columns):
        broken = _schema_violation(scan, column)
        if broken is None:
            sound.append((key, column))
        else:
            violations.append(broken)
    rows, found = _count(scan, sound if scan.streamed else _suspects(scan, sound))
    return (*violations, *found, *_declared_rows(declaration, rows))


def _suspects(scan: Scan, columns: list[tuple[int, ColumnDeclaration]]) -> list[tuple[int, ColumnDeclaration]]:
    """The columns in which some row violates, or may: a sound one costs one fast pass and no count rule by rule."""
    plain = []
    for key, column in columns:
        if column.domain or (column.lo is not None and column.hi is not None):
            strict = replace(column, on_violation=OnViolation.EXCLUDE)  # clipping would hide what is to be counted
            plain.append(declared_alone(key, strict))
    parameters = Parameters()
    selected, relation = projection(scan, tuple(plain), parameters)
    counts = ", ".join(f"count(*) FILTER (WHERE v{c.key} = {parameters.add(c.bad_code)})" for c in plain) or "0"
    sql = f"SELECT {counts} FROM (SELECT {selected} FROM {relation}) AS coded"  # noqa: S608
    bad = dict(zip((found.key for found in plain), scan.fetch(sql, parameters)[0], strict=False))
    return [(key, column) for key, column in columns if bad.get(key, 1)]


def check_persons(scan: Scan, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
    """Whether some person has more rows than declared; null person ids are persons of their own."""
    if declaration.person_id is None:
        return ()
    physical = person_column(declaration, declaration.person_id)
    if physical not in scan.types:
        message = f"{scan.place} has no column {physical!r}, which person_id names; name the right one"
        return (Violation(declaration.person_id, ViolationKind.MISSING_COLUMN, None, Severity.REFUSES, message),)
    if declaration.max_rows_per_person is None:
        return ()
    parameters = Parameters()
    most = parameters.add(declaration.max_rows_per_person)
    sql = (
        f"SELECT coalesce(sum(n), 0)::BIGINT FROM (SELECT count(*) AS n FROM {scan.relation} "  # noqa: S608
        f"WHERE {quoted(physical)} IS NOT NULL GROUP BY {quoted(physical)} HAVING count(*) > {most})"
    )
    rows = cast("int", scan.fetch(sql, parameters)[0][0])
    if not rows:
        return ()
    message = (
        f"person_id: {rows} rows belong to persons with more than max_rows_per_person = "
        f"{declaration.max_rows_per_person} rows; declare the true maximum, or take the surplus rows out"
    )
    return (Violation(declaration.person_id, ViolationKind.ROWS_PER_PERSON, rows, Severity.REFUSES, message),)


def person_column(declaration: DatasetDeclaration, person_id: str) -> str:
    """What the source calls the column that tells persons apart; `person_id` is a declared name or the source's own."""
    for column in declaration.columns:
        if column.name == person_id:
            return column.physical
    return person_id


def _schema_violation(scan: Scan, column: ColumnDeclaration) -> Violation | None:
    physical = scan.types.get(column.physical)
    if physical is None:
        known = ", ".join(sorted(scan.types))
        message = f"{column.name}: {scan.place} has no column {column.physical!r}; it has {known[:400]}"
        return Violation(column.name, ViolationKind.MISSING_COLUMN, None, Severity.REFUSES, message)
    if physical not in READABLE[column.type]:
        message = (
            f"{column.name}: the source holds {physical.value}, which cannot be read as {column.type.value}; "
            "declare another type or convert the data"
        )
        return Violation(column.name, ViolationKind.WRONG_TYPE, None, Severity.REFUSES, message)
    return None


def _count(scan: Scan, columns: list[tuple[int, ColumnDeclaration]]) -> tuple[int, list[Violation]]:
    parameters = Parameters()
    tallies = [(column, tally) for key, column in columns for tally in _tallies(key, column, parameters)]
    read, joins = ["1 AS one"], ""
    for key, column in columns:
        value = read_expression(column, scan.types[column.physical])
        read.append(f"{quoted(column.physical)} IS NULL AS null_{key}, {value} AS value_{key}")
        if column.domain:
            scan.connection.register(f"domain_{key}", pa.table({"value": pa.array(column.domain, pa.string())}))
            joins += f" LEFT JOIN domain_{key} ON domain_{key}.value = value_{key}"
    counts = "".join(f", count(*) FILTER (WHERE {condition})" for _, (_, condition, _) in tallies)
    sql = (
        f"WITH parsed AS (SELECT {', '.join(read)} FROM {scan.relation}) "  # noqa: S608
        f"SELECT count(*){counts} FROM parsed{joins}"
    )
    row = cast("tuple[int, ...]", scan.fetch(sql, parameters)[0])
    found = [
        _violation(column, kind, rows, rule)
        for (column, (kind, _, rule)), rows in zip(tallies, row[1:], strict=True)
        if rows
    ]
    return row[0], found


def _tallies(key: int, column: ColumnDeclaration, parameters: Parameters) -> list[_Tally]:
    tallies: list[_Tally] = []
    if not column.nullable:
        tallies.append((ViolationKind.NULL, f"null_{key}", "are null, and nullable is not declared"))
    if column.type is ColumnType.CATEGORY:
        if column.domain:
            condition = f"NOT null_{key} AND domain_{key}.value IS NULL"
            tallies.append((ViolationKind.OUTSIDE_DOMAIN, condition, "are outside the declared domain"))
        return tallies
    tallies.append(
        (ViolationKind.UNREADABLE, f"NOT null_{key} AND value_{key} IS NULL", f"hold no {column.type.value}")
    )
    for kind, sign, bound, name in (
        (ViolationKind.BELOW_LO, "<", column.lo, "below lo"),
        (ViolationKind.ABOVE_HI, ">", column.hi, "above hi"),
    ):
        if bound is not None:
            condition = f"value_{key} {sign} {parameters.scaled(bound, column.decimals)}"
            tallies.append((kind, condition, f"are {name} = {format_scaled(bound, column.decimals)}"))
    return tallies


def _violation(column: ColumnDeclaration, kind: ViolationKind, rows: int, rule: str) -> Violation:
    clips = column.on_violation is OnViolation.CLIP and kind in (ViolationKind.BELOW_LO, ViolationKind.ABOVE_HI)
    if column.on_violation is OnViolation.REFUSE:
        severity = Severity.REFUSES
        then = 'mend the data or the declaration, or say on_violation = "exclude"'
    else:
        severity = Severity.WARNS
        then = "they are moved to the bound" if clips else "calls that use the column leave them out"
    return Violation(column.name, kind, rows, severity, f"{column.name}: {rows} rows {rule}; {then}")


def _declared_rows(declaration: DatasetDeclaration, rows: int) -> tuple[Violation, ...]:
    if abs(rows - declaration.declared_rows) * 100 <= DECLARED_ROWS_TOLERANCE_PERCENT * rows:
        return ()
    message = (
        f"declared_rows = {declaration.declared_rows}, but the source has {rows} rows; prices rest on the declared "
        f"size: declare a rounded size within {DECLARED_ROWS_TOLERANCE_PERCENT} percent"
    )
    return (Violation("", ViolationKind.DECLARED_ROWS, rows, Severity.WARNS, message),)
