"""The rows behind the transcripts: every number and text in them is a canary that does not occur by chance."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

YEARS = (4, 9, 13, 17)
"""A value in each of the bands [0, 8), [8, 12), [12, 16), [16, 18]."""
SETTLEMENTS = ("harbour", "upland")
MIN_GROUP = 3

Cell = tuple[int, str]

SIZES: Mapping[str, Mapping[Cell, int]] = {
    "east": {(17, "upland"): 0, (9, "upland"): 4},
    "north": {(17, "upland"): 0, (9, "upland"): 1, (17, "harbour"): 0},
    "south": {(17, "upland"): 0, (9, "upland"): 2, (4, "harbour"): 2},
}
"""How many rows a provider has in a cell; elsewhere four. (4, harbour) and (17, harbour) are withheld by one provider,
(9, upland) by two of three, hence closed, and nobody has rows in (17, upland)."""


@dataclass(frozen=True, slots=True)
class Person:
    """One row: income in hundredths, an integer that no query uses, and columns that nobody declared."""

    years: int
    settlement: str
    income: int
    score: int
    name: str
    phone: int
    latitude: float
    balance: Decimal

    @property
    def cell(self) -> Cell:
        return self.years, self.settlement


Data = Mapping[str, Sequence[Person]]
"""Provider to its rows."""


def person(draw: random.Random, cell: Cell) -> Person:
    name = f"Canary-{draw.getrandbits(80):020x}-{'é' * draw.randint(1, 9)}"
    income, score = (draw.randrange(10**14, 10**15) for _ in range(2))
    phone = draw.randrange(2**30, 2**31)
    latitude = draw.uniform(10**13, 10**14)
    return Person(*cell, income, score, name, phone, latitude, Decimal(draw.randrange(10**17, 10**18)).scaleb(-4))


def people() -> Data:
    """The base data: the same at every call."""
    draw = random.Random(7)
    return {
        party: [
            person(draw, (years, settlement))
            for years in YEARS
            for settlement in SETTLEMENTS
            for _ in range(sizes.get((years, settlement), 4))
        ]
        for party, sizes in SIZES.items()
    }


def csv_of(rows: Sequence[Person]) -> str:
    head = "household_income,wealth_score,education_years,settlement,person_name,phone,latitude,balance"
    lines = [
        f"{Decimal(row.income).scaleb(-2)},{row.score},{row.years},{row.settlement},"
        f"{row.name},{row.phone},{row.latitude!r},{row.balance}"
        for row in rows
    ]
    return "\n".join([head, *lines]) + "\n"


def totals(rows: Sequence[Person], cell: Cell) -> tuple[int, int]:
    """Rows and incomes of one provider's cell."""
    own = [row.income for row in rows if row.cell == cell]
    return len(own), sum(own)


# -- changes that no permitted output shows ----------------------------------------------------------------------


def permuted(data: Data) -> Data:
    """The same rows in another order."""
    draw = random.Random(11)
    return {party: draw.sample(rows, len(rows)) for party, rows in data.items()}


def moved_within_cells(data: Data) -> Data:
    """Other incomes, the same total in every cell."""
    draw = random.Random(12)

    def moved(rows: Sequence[Person]) -> list[Person]:
        out = list(rows)
        for cell in {row.cell for row in rows}:
            places = [index for index, row in enumerate(rows) if row.cell == cell]
            for giver, taker in pairwise(places):
                amount = draw.randrange(10**12, out[giver].income // 2)
                out[giver] = replace(out[giver], income=out[giver].income - amount)
                out[taker] = replace(out[taker], income=out[taker].income + amount)
        return out

    return {party: moved(rows) for party, rows in data.items()}


def other_persons(data: Data) -> Data:
    """Other names, telephone numbers, coordinates, balances and scores, of other lengths; the cells stay."""
    draw = random.Random(13)

    def other(row: Person) -> Person:
        return replace(person(draw, row.cell), income=row.income, name="x" * draw.randint(1, 60))

    return {party: [other(row) for row in rows] for party, rows in data.items()}


def other_hidden_rows(data: Data) -> Data:
    """Other rows, and another number of them, in withheld and closed cells; and rows that violate the declaration."""
    draw = random.Random(14)
    sizes: Mapping[str, Mapping[Cell, int]] = {
        "east": {(9, "upland"): 6, (17, "upland"): 1},
        "north": {(9, "upland"): 2, (17, "harbour"): 2},
        "south": {(9, "upland"): 0, (17, "upland"): 2, (4, "harbour"): 1},
    }
    changed = {
        party: [row for row in rows if row.cell not in sizes[party]]
        + [person(draw, cell) for cell, count in sizes[party].items() for _ in range(count)]
        for party, rows in data.items()
    }
    violating = [replace(person(draw, (13, "harbour")), income=-(10**14) - index) for index in range(5)]
    return {**changed, "north": [*changed["north"], *violating]}


INVISIBLE = (permuted, moved_within_cells, other_persons, other_hidden_rows)


# -- changes that a permitted output does show -------------------------------------------------------------------


def one_total_moved(data: Data) -> Data:
    """One income in north's cell (13, harbour) is a cent higher."""
    rows = list(data["north"])
    place = next(index for index, row in enumerate(rows) if row.cell == (13, "harbour"))
    rows[place] = replace(rows[place], income=rows[place].income + 1)
    return {**data, "north": rows}


def one_more_withheld(data: Data) -> Data:
    """South has too few rows in its cell (13, harbour)."""
    rows = list(data["south"])
    for place in [index for index, row in enumerate(rows) if row.cell == (13, "harbour")][:2]:
        rows[place] = replace(rows[place], income=-1)  # excluded: it violates the declaration
    return {**data, "south": rows}
