"""Persons, declarations, keys and terms of the in-memory federation (`tests.sandbox.federation`)."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise, product
from pathlib import Path

from audit.directory import KeyRecord, KeyStatus, PartyRecord
from audit.hashes import sha256
from audit.keys import SigningKey
from audit.ledger import LedgerConfig
from audit.names import KeyPurpose, Role, dns_name, key_name, spiffe_id
from audit.tariff import Tariff
from protocols.paillier_key import PrivateKey, generate_key
from sandbox.authorise import AuthoriseLimits, PeerIdentity
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.purpose import Purpose
from sandbox.request import AggregateQuery, Statistic, StatisticKind

DOMAIN = "stats.example"
AT_MS = 1_760_000_000_000
DAY_MS = 86_400_000
MERCHANT = "shop"
REGULATOR = "watch"
VERSION = "0011223344556677"
ANCHOR = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"
TARIFF = Tariff("CNY", 1_000_000, 250_000, 3_333_333, 0)
PURPOSE = Purpose("statistics", "Wages by education")
LIMITS = AuthoriseLimits(minimum_modulus_bits=512)
EDGES = (0, 8, 12, 16, 18)
GROUPS = ("cauc", "afam")
QUICK = LedgerConfig(flush_ms=0, checkpoint_idle_ms=60_000)

Row = tuple[int, int, str]  # wage in hundredths, years of education, group

DECLARATION = """[dataset]
name = "wages"
title = "Wages"
description = "Persons of a survey."
owner = "Bureau"
office = "Data office"
registration = "REG-1"
sharing = "conditional"
declared_rows = 1000
update_cycle = "yearly"
version = "{version}"

[dataset.release]
mode = "exact"
min_group_size = {min_group_size}
min_contributors = {min_contributors}

[source]
csv = "wages.csv"

[[column]]
name = "wage"
type = "decimal"
unit = "USD"
decimals = 2
lo = 0
hi = 20000.00
uses = ["aggregate"]
on_violation = "exclude"
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2027-01-01

[[column]]
name = "education"
type = "integer"
unit = "years"
lo = 0
hi = 18
edges = [0, 8, 12, 16, 18]
uses = ["aggregate", "group_by", "filter"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2027-01-01

[[column]]
name = "ethnicity"
type = "category"
domain = ["cauc", "afam"]
uses = ["group_by", "filter"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2027-01-01
"""

FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "USD", 2, 0, 2_000_000, (), (), False),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), EDGES, False),
        FrameColumn("ethnicity", ColumnType.CATEGORY, "", 0, None, None, GROUPS, (), False),
    )
)
MEAN_WAGE = AggregateQuery(
    (Statistic(StatisticKind.MEAN, "wage"), Statistic(StatisticKind.COUNT, None)), ("education", "ethnicity"), ()
)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = AT_MS

    def now_ms(self) -> int:
        return self.at_ms


class SystemEntropy:
    def token(self, nbytes: int) -> bytes:
        return os.urandom(nbytes)


@cache
def paillier_key(bits: int = 512) -> PrivateKey:
    return generate_key(bits, minimum_bits=bits)


@cache
def other_paillier_key(bits: int = 512) -> PrivateKey:
    return generate_key(bits, minimum_bits=bits)


def signing_key(party: str, role: Role, purpose: KeyPurpose = KeyPurpose.MESSAGE) -> SigningKey:
    return SigningKey.from_seed(key_name(party, role, DOMAIN, purpose), sha256(f"{party} {purpose.value}".encode()))


def party_record(party: str, role: Role) -> PartyRecord:
    keys = tuple(
        KeyRecord(purpose, signing_key(party, role, purpose).verifying_key, KeyStatus.ACTIVE, AT_MS, None)
        for purpose in (KeyPurpose.LOG, KeyPurpose.MESSAGE)
    )
    return PartyRecord(
        party, role, f"LEGAL-{party.upper()}", spiffe_id(party, role, DOMAIN), dns_name(party, role, DOMAIN), None, keys
    )


def identity(record: PartyRecord) -> PeerIdentity:
    return PeerIdentity(record.name, record.role, record.spiffe_id, record.legal_entity)


def survey(seed: int, rows: int, *, levels: Sequence[int] = (4, 9, 13, 17)) -> list[Row]:
    """Made-up persons; `levels` are the years of education that occur."""
    draw = random.Random(seed)
    return [(draw.randint(10_000, 900_000), draw.choice(levels), draw.choice(GROUPS)) for _ in range(rows)]


def cells_of(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Rows and wages of each cell of `MEAN_WAGE`, in the grid's order."""
    cells = []
    for (lo, hi), group in product(pairwise(EDGES), GROUPS):
        wages = [wage for wage, years, of in rows if of == group and (lo <= years < hi or years == hi == EDGES[-1])]
        cells.append((len(wages), sum(wages)))
    return cells


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    lines = [f"{wage // 100}.{wage % 100:02d},{years},{group}" for wage, years, group in rows]
    path.write_text("\n".join(["wage,education,ethnicity", *lines]) + "\n")
