"""A merchant's application: the TOML file from which a contract is drafted.

A complete example; what is marked optional may be left out, everything else is required:

    [application]
    computing_party = "east"            # one of the providers; it combines the encrypted parts
    operations = ["aggregate"]
    obligations = ["Publish no figure under ten persons."]   # optional
    valid_days = 90                     # from the day it is drafted; 1 to 3660
    lease_minutes = 1440                # optional: how long providers go on without hearing from the regulator
    supersedes = ""                     # optional: id of the contract that this one follows

    [application.purpose]
    code = "labour.wage-structure"
    text = "Joint wage statistics by education, for the 2026 labour report."

    [[provider]]
    name = "east"
    dataset = "workers"                 # the version served now; "workers@0123456789abcdef" asks for one version

    [[provider]]
    name = "north"
    dataset = "employees"

    [provider.columns]                  # optional: where this provider's column has another name
    wage = "salary"

    [[column]]                          # logical columns, in the order of the frame
    name = "wage"
    uses = ["aggregate"]

    [[column]]
    name = "education"
    uses = ["group_by", "filter"]
    edges = [0, 8, 12, 16, 18]          # optional: out of the declared ones; else those that all providers declare

    [release]                           # optional, key by key: else the strictest that any provider declares
    min_group_size = 10
    min_contributors = 2

    [quotas]                            # at each provider, over the contract's life
    calls = 100
    ciphertexts = 100000

    [tariff]                            # in units of the currency, at most six decimals
    currency = "CNY"
    per_call = 1.50
    per_1000_rows = 0.02
    per_1000_ciphertexts = 0.5          # optional, 0
    per_epsilon = 0                     # optional, 0
    fee_cap = 500                       # for each provider, over the contract's life

The frame follows from the providers' descriptions (`sandbox.drafting`).

Over datasets that are released under differential privacy, `operations` are ["dp_aggregate"], and:

    [release]
    mode = "dp"                         # and no other key

    [privacy]                           # optional, key by key: else the strictest that any provider declares
    delta = 1e-6
    tolerated = 1                       # providers that may drop out or collude without harm
    max_rows_per_person = 4             # this and the next three where persons are told apart
    max_rows_per_cell = 1
    max_cells_per_person = 4
    max_providers_per_person = 2
    quantum_ms = 1000
    max_epsilon_per_call = 1

    [quotas]
    calls = 100
    ciphertexts = 100000
    epsilon = 5                         # what all calls together may ask for
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Final

from audit.canonical import MAX_BIG
from audit.names import PARTY_PATTERN
from audit.tariff import CURRENCY_PATTERN, Tariff
from sandbox.contract import (
    MAX_CALLS,
    MAX_LEASE_MS,
    MAX_OBLIGATION_LENGTH,
    MAX_OBLIGATIONS,
    MAX_PROVIDERS,
    MAX_VALIDITY_MS,
    Operation,
    Purpose,
    Quotas,
)
from sandbox.errors import ContractError
from sandbox.frame import COLUMN_NAME, MAX_COLUMNS, Use, is_printable
from sandbox.privacy_toml import PrivacyOffer, read_epsilon, read_privacy_offer
from sandbox.purpose import MAX_PURPOSE_TEXT
from sandbox.release import MAX_THRESHOLD, ReleaseMode
from sandbox.toml_table import TomlTable, read_toml

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
DEFAULT_LEASE_MINUTES: Final = 24 * 60
_MICRO: Final = 1_000_000
_DATASET: Final = re.compile(r"([a-z][a-z0-9_-]{0,62})(?:@([0-9a-f]{16}))?")
_CONTRACT_ID: Final = re.compile(r"[0-9a-f]{64}|")


@dataclass(frozen=True, slots=True)
class ProviderTerms:
    """One provider: its dataset, the version where one is asked for, and logical -> declared names that differ."""

    name: str
    dataset: str
    version: str | None
    columns: Mapping[str, str]

    def declared(self, logical: str) -> str:
        """What the provider calls a logical column."""
        return self.columns.get(logical, logical)


@dataclass(frozen=True, slots=True)
class ColumnTerms:
    """One logical column: its uses, and the bin edges chosen (empty: those that all providers declare)."""

    name: str
    uses: frozenset[Use]
    edges: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class ReleaseTerms:
    """What the merchant offers for the release policy; None where it takes the providers' strictest.

    In mode DP nothing but the mode is there.
    """

    min_group_size: int | None
    min_contributors: int | None
    dominance_percent: int | None
    overlap_k: int | None
    mode: ReleaseMode = ReleaseMode.EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a merchant applies for. Amounts in micro-units of the tariff's currency, times in milliseconds."""

    file: str
    computing_party: str
    providers: tuple[ProviderTerms, ...]
    columns: tuple[ColumnTerms, ...]
    operations: tuple[Operation, ...]
    purpose: Purpose
    release: ReleaseTerms
    quotas: Quotas
    validity_ms: int
    tariff: Tariff
    fee_cap_micro: int
    lease_ms: int
    obligations: tuple[str, ...]
    supersedes: str
    privacy: PrivacyOffer | None = None


def load_application(path: Path) -> Application:
    """Read and check an application file.

    Raises:
        DeclarationError: unreadable, or a key that is missing, unknown, wrong or contradictory; names file, line, key.
    """
    return read_application(read_toml(path))


def read_application(root: TomlTable) -> Application:
    """Check an application that was read already; raises as `load_application`."""
    head = root.table("application")
    provider_tables = root.tables("provider")
    providers = tuple(_provider(table) for table in provider_tables)
    columns = tuple(_column(table) for table in root.tables("column"))
    _require(root, "provider", [item.name for item in providers], MAX_PROVIDERS)
    _require(root, "column", [item.name for item in columns], MAX_COLUMNS)
    computing_party = head.text("computing_party", max_length=31, pattern=PARTY_PATTERN)
    if computing_party not in {provider.name for provider in providers}:
        raise head.error("computing_party", f"{computing_party!r} is none of the [[provider]] entries; name one")
    for table, provider in zip(provider_tables, providers, strict=True):
        for logical in provider.columns:
            if logical not in {column.name for column in columns}:
                raise table.error("columns", f"{logical!r} is none of the [[column]] entries; use their names as keys")
    tariff = root.table("tariff")
    release = _release(root.table("release", required=False))
    private = release.mode is ReleaseMode.DP
    if root.has("privacy") and not private:
        raise root.error("privacy", 'is for mode = "dp" under [release]; take it out or set that')
    application = Application(
        file=root.file,
        computing_party=computing_party,
        providers=providers,
        columns=columns,
        operations=_operations(head, release.mode),
        purpose=_purpose(head.table("purpose")),
        release=release,
        quotas=_quotas(root.table("quotas"), release.mode),
        validity_ms=head.integer("valid_days", 1, MAX_VALIDITY_MS // DAY_MS) * DAY_MS,
        tariff=_tariff(tariff),
        fee_cap_micro=_amount(tariff, "fee_cap", None),
        lease_ms=MINUTE_MS * head.integer("lease_minutes", 1, MAX_LEASE_MS // MINUTE_MS, default=DEFAULT_LEASE_MINUTES),
        obligations=_obligations(head),
        supersedes=head.text("supersedes", max_length=64, pattern=_CONTRACT_ID, default=""),
        privacy=read_privacy_offer(root.table("privacy", required=False)) if private else None,
    )
    for table in (head, tariff, root):
        table.finish()
    return application


def _require(root: TomlTable, key: str, names: list[str], limit: int) -> None:
    if not 1 <= len(names) <= limit:
        raise root.error(key, f"list 1 to {limit} with [[{key}]], not {len(names)}")
    for name in names:
        if names.count(name) > 1:
            raise root.error(key, f"{name} is listed twice; list each once")


def _provider(table: TomlTable) -> ProviderTerms:
    name = table.text("name", max_length=31, pattern=PARTY_PATTERN)
    dataset = _DATASET.fullmatch(table.text("dataset", max_length=80, pattern=_DATASET))
    mapping = table.table("columns", required=False)
    columns = {key: mapping.text(key, max_length=63, pattern=COLUMN_NAME) for key in mapping.values}
    table.finish()
    if dataset is None:
        raise table.error("dataset", 'must be "name" or "name@version"')
    return ProviderTerms(name, dataset[1], dataset[2], MappingProxyType(columns))


def _column(table: TomlTable) -> ColumnTerms:
    name = table.text("name", max_length=63, pattern=COLUMN_NAME)
    uses = frozenset(table.member("uses", use, Use) for use in table.texts("uses"))
    if not uses:
        raise table.error("uses", 'is missing or empty; list what it is for, as uses = ["aggregate"]')
    terms = ColumnTerms(name, uses, table.numbers("edges"))
    table.finish()
    return terms


def _operations(head: TomlTable, mode: ReleaseMode) -> tuple[Operation, ...]:
    operations = {head.member("operations", item, Operation) for item in head.texts("operations")}
    if not operations:
        raise head.error("operations", 'is missing or empty; write operations = ["aggregate"]')
    for operation in operations:
        if operation.mode is not mode:
            detail = f"{operation.value} is for release mode {operation.mode.value}, and [release] says {mode.value}"
            raise head.error("operations", f"{detail}; a contract has one mode")
    return tuple(sorted(operations))


def _purpose(table: TomlTable) -> Purpose:
    code, text = table.text("code", max_length=64), table.paragraph("text", max_length=MAX_PURPOSE_TEXT)
    table.finish()
    try:
        return Purpose(code, text)
    except ContractError as error:
        raise table.error("code", str(error)) from error


def _release(table: TomlTable) -> ReleaseTerms:
    mode = table.choice("mode", ReleaseMode, default=ReleaseMode.EXACT)
    if mode is ReleaseMode.DP:
        for key in table.values:
            if key != "mode":
                raise table.error(key, "plays no part in mode dp, where noise protects every cell; take it out")
        return ReleaseTerms(None, None, None, None, mode)
    terms = ReleaseTerms(
        table.optional_integer("min_group_size", 1, MAX_THRESHOLD),
        table.optional_integer("min_contributors", 1, MAX_PROVIDERS),
        table.optional_integer("dominance_percent", 1, 100),
        table.optional_integer("overlap_k", 0, MAX_THRESHOLD),
    )
    table.finish()
    return terms


def _quotas(table: TomlTable, mode: ReleaseMode) -> Quotas:
    epsilon = _quota_of_epsilon(table) if mode is ReleaseMode.DP else 0
    quotas = Quotas(table.integer("calls", 1, MAX_CALLS), table.integer("ciphertexts", 1, MAX_BIG), epsilon)
    table.finish()
    return quotas


def _quota_of_epsilon(table: TomlTable) -> int:
    micro = read_epsilon(table, "epsilon")
    if micro is None:
        raise table.error("epsilon", "is missing; say how much epsilon all calls together may ask for, as epsilon = 5")
    return micro


def _tariff(table: TomlTable) -> Tariff:
    return Tariff(
        currency=table.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
        per_call_micro=_amount(table, "per_call", None),
        per_1000_rows_micro=_amount(table, "per_1000_rows", None),
        per_1000_ciphertexts_micro=_amount(table, "per_1000_ciphertexts", 0),
        per_epsilon_micro=_amount(table, "per_epsilon", 0),
    )


def _amount(table: TomlTable, key: str, default: int | None) -> int:
    """An amount in micro-units, exactly as written in units of the currency."""
    number = table.number(key)
    if number is None:
        if default is None:
            raise table.error(key, "is missing; write the amount in units of the currency, 0 where it is free")
        return default
    if number and not -6 <= number.adjusted() <= 12:  # before an exponent can blow up into digits
        raise table.error(key, f"{number} must be 0, or 0.000001 to 9223372036854 (units of the currency)")
    micro = number * _MICRO
    if number < 0 or micro != micro.to_integral_value() or micro > MAX_BIG:
        raise table.error(key, f"{number} must be 0 to 9223372036854 with at most six decimals (units of the currency)")
    return int(micro)


def _obligations(head: TomlTable) -> tuple[str, ...]:
    obligations = head.texts("obligations")
    if len(obligations) > MAX_OBLIGATIONS:
        raise head.error("obligations", f"lists {len(obligations)}, at most {MAX_OBLIGATIONS} are allowed")
    for text in obligations:
        if not 1 <= len(text) <= MAX_OBLIGATION_LENGTH or not is_printable(text):
            raise head.error("obligations", f"each is 1 to {MAX_OBLIGATION_LENGTH} printable characters on one line")
    return obligations
