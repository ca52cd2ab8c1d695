"""Where data contradict their declaration, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from parties.doctor_words import Words
from sandbox.violations import Violation, ViolationKind

VIOLATIONS: Final[Mapping[ViolationKind, str]] = {
    ViolationKind.MISSING_COLUMN: "数据源中没有这一列",
    ViolationKind.WRONG_TYPE: "数据源中的类型不能按申报的类型读取",
    ViolationKind.UNREADABLE: "有的值不是申报的数字",
    ViolationKind.NULL: "有空值，而申报中没有 nullable = true",
    ViolationKind.BELOW_LO: "有的值低于申报的下界 lo",
    ViolationKind.ABOVE_HI: "有的值高于申报的上界 hi",
    ViolationKind.OUTSIDE_DOMAIN: "有的值不在申报的取值范围 domain 之内",
    ViolationKind.ROWS_PER_PERSON: "有人的行数多于申报的 max_rows_per_person",
    ViolationKind.DECLARED_ROWS: "申报的行数 declared_rows 与实际相差过大",
    ViolationKind.WRITE_PERMISSION: "数据库角色有写权限，请改用只读角色",
}


def violation_words(violation: Violation) -> Words:
    """What a check found: in English its own message, in Chinese the column, the rule and how many rows."""
    column = f"{violation.column} 列" if violation.column else ""
    rows = "" if violation.rows is None else f"（{violation.rows} 行）"
    return Words(violation.message, f"{column}{VIOLATIONS[violation.kind]}{rows}")
