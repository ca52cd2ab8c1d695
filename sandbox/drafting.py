"""From an application and the providers' descriptions to the contract that the merchant signs.

The frame is derived: types and units must agree; decimals are the finest, bounds the widest, the domain the union in
the first provider's order, bin edges the merchant's choice or those that all providers declare. Grades are the
strictest. What the application leaves open in the release policy is the strictest that any provider declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import NoReturn

from audit.envelope import Envelope
from audit.keys import SigningKey
from sandbox.application import Application, ColumnTerms, ProviderTerms
from sandbox.contract import NONCE_BYTES, Contract, DatasetBinding, FeeSplit, Validity, parse_contract, sign_contract
from sandbox.contract_checks import GROUPING_USES
from sandbox.declaration_model import ColumnDescription, DatasetDescription
from sandbox.errors import ContractError, DeclarationError
from sandbox.frame import ColumnType, Frame, FrameColumn, format_scaled
from sandbox.grades import strictest
from sandbox.ports import Entropy
from sandbox.privacy_fit import agree_privacy
from sandbox.privacy_terms import AgreedPrivacy
from sandbox.release import PRIVATE, OwnTotals, ReleaseMode, ReleasePolicy


def draft_contract(
    application: Application,
    descriptions: Mapping[str, DatasetDescription],
    *,
    merchant: str,
    regulator: str,
    now_ms: int,
    entropy: Entropy,
) -> Contract:
    """Draft the contract that an application asks for.

    Args:
        application: from `load_application`.
        descriptions: for every provider of the application, the verified description of the dataset it asks for.
        merchant: who applies.
        regulator: the directory's regulator.
        now_ms: milliseconds since the epoch; the validity begins now.
        entropy: for the contract's nonce.

    Raises:
        DeclarationError: what is asked for does not fit what is described; names the application's key.
    """
    for provider in application.providers:
        _check_dataset(application, provider, descriptions)
    release = _release(application, descriptions)
    columns = tuple(_frame_column(application, terms, descriptions) for terms in application.columns)
    names = [column.name for column in columns]
    try:
        return Contract(
            merchant=merchant,
            providers=tuple(sorted(provider.name for provider in application.providers)),
            computing_party=application.computing_party,
            regulator=regulator,
            frame=Frame(columns),
            datasets=MappingProxyType(
                {
                    provider.name: _binding(provider, descriptions[provider.name], names)
                    for provider in application.providers
                }
            ),
            uses=MappingProxyType({terms.name: terms.uses for terms in application.columns}),
            grades=MappingProxyType(
                {
                    terms.name: strictest(column.grade for column in _declared(application, terms, descriptions))
                    for terms in application.columns
                }
            ),
            operations=application.operations,
            purpose=application.purpose,
            onward_sharing=False,
            release=release,
            quotas=application.quotas,
            validity=Validity(now_ms, now_ms + application.validity_ms),
            tariff=application.tariff,
            fee_cap_micro=application.fee_cap_micro,
            fee_split=FeeSplit.BY_TARIFF,
            lease_ms=application.lease_ms,
            obligations=application.obligations,
            supersedes=application.supersedes,
            created_at_ms=now_ms,
            nonce=entropy.token(NONCE_BYTES).hex(),
            privacy=_privacy(application, descriptions),
        )
    except ContractError as error:
        raise DeclarationError(application.file, None, "application", str(error)) from error


def sign_draft(contract: Contract, key: SigningKey) -> Envelope:
    """Sign a drafted contract with the merchant's message key, and read it back as everyone else will.

    Raises:
        MalformedError, ContractError: others would refuse it.
    """
    envelope = sign_contract(contract, key)
    parse_contract(envelope)
    return envelope


def _check_dataset(
    application: Application, provider: ProviderTerms, descriptions: Mapping[str, DatasetDescription]
) -> None:
    where = f"provider.{provider.name}.dataset"
    description = descriptions.get(provider.name)
    if description is None or (description.party, description.name) != (provider.name, provider.dataset):
        _refuse(application, where, f"{provider.name} describes no dataset {provider.dataset}; see its catalogue")
    if provider.version not in (None, description.version):
        _refuse(application, where, f"version {provider.version} is asked for, {description.version} is served now")


def _declared(
    application: Application, terms: ColumnTerms, descriptions: Mapping[str, DatasetDescription]
) -> list[ColumnDescription]:
    """What each provider declares for a logical column, in the application's order."""
    columns = []
    for provider in application.providers:
        try:
            columns.append(descriptions[provider.name].column(provider.declared(terms.name)))
        except ContractError as error:
            _refuse(application, f"column.{terms.name}", f"{error}; map it under [provider.columns] of {provider.name}")
    return columns


def _frame_column(
    application: Application, terms: ColumnTerms, descriptions: Mapping[str, DatasetDescription]
) -> FrameColumn:
    where = f"column.{terms.name}"
    declared = _declared(application, terms, descriptions)
    first = declared[0]
    for provider, column in zip(application.providers, declared, strict=True):
        if (column.type, column.unit) != (first.type, first.unit):
            detail = (
                f"{provider.name} declares {column.type.value} in {column.unit!r}, "
                f"{application.providers[0].name} {first.type.value} in {first.unit!r}; they must agree"
            )
            _refuse(application, where, detail)
    nullable = any(column.nullable for column in declared)
    try:
        if first.type is ColumnType.CATEGORY:
            if terms.edges:
                _refuse(application, f"{where}.edges", "a category has a domain, no edges; take it out")
            domain = tuple(dict.fromkeys(value for column in declared for value in column.domain))
            return FrameColumn(terms.name, first.type, first.unit, 0, None, None, domain, (), nullable)
        return replace(_number(application, terms, declared), nullable=nullable)
    except ContractError as error:
        _refuse(application, where, str(error))


def _number(application: Application, terms: ColumnTerms, declared: Sequence[ColumnDescription]) -> FrameColumn:
    decimals = max(column.decimals for column in declared)
    bounds: list[tuple[int, int]] = []
    shared: set[int] | None = None
    for provider, column in zip(application.providers, declared, strict=True):
        scale = 10 ** (decimals - column.decimals)
        if column.lo is None or column.hi is None:
            _refuse(application, f"column.{terms.name}", f"{provider.name} declares no bounds; it cannot be used")
        bounds.append((scale * column.lo, scale * column.hi))
        own = {scale * edge for edge in column.edges}
        shared = own if shared is None else shared & own
    lo, hi = min(bound[0] for bound in bounds), max(bound[1] for bound in bounds)
    edges = _edges(application, terms, decimals, shared or set())
    return FrameColumn(terms.name, declared[0].type, declared[0].unit, decimals, lo, hi, (), edges, False)


def _edges(application: Application, terms: ColumnTerms, decimals: int, shared: set[int]) -> tuple[int, ...]:
    """The chosen edges, scaled, or the shared ones; none for a column that is neither grouped nor filtered."""
    where = f"column.{terms.name}.edges"
    if not terms.uses & GROUPING_USES:
        if terms.edges:
            _refuse(application, where, "edges are for group_by and filter; add such a use or take them out")
        return ()
    known = ", ".join(format_scaled(edge, decimals) for edge in sorted(shared)) or "none"
    chosen = []
    for edge in terms.edges:
        scaled = _scaled(edge, decimals)
        if scaled not in shared:
            _refuse(application, where, f"{edge} is no edge that all providers declare; they share {known}")
        chosen.append(scaled)
    edges = tuple(chosen) or tuple(sorted(shared))
    if len(edges) < 2:
        _refuse(application, where, f"group_by and filter need two or more edges; the providers share {known}")
    return edges


def _scaled(number: Decimal, decimals: int) -> int | None:
    """The number in scaled units, None where it has more decimals or digits than any declared edge."""
    if number and not -decimals <= number.adjusted() <= 20:
        return None
    scaled = number.scaleb(decimals)
    return int(scaled) if scaled == scaled.to_integral_value() else None


def _binding(provider: ProviderTerms, description: DatasetDescription, names: Sequence[str]) -> DatasetBinding:
    columns = MappingProxyType({name: provider.declared(name) for name in names})
    return DatasetBinding(description.reference, description.declared_rows, columns)


def _release(application: Application, descriptions: Mapping[str, DatasetDescription]) -> ReleasePolicy:
    offered = application.release
    declared = {provider.name: descriptions[provider.name].release for provider in application.providers}
    mode = next(iter(declared.values())).mode
    for name, policy in declared.items():
        if policy.mode is not mode:
            _refuse(application, f"provider.{name}", f"releases in mode {policy.mode.value}, the others {mode.value}")
    if mode is not offered.mode:
        detail = f'the providers release in mode {mode.value}: set mode = "{mode.value}", and an operation of that mode'
        _refuse(application, "release.mode", detail)
    if mode is ReleaseMode.DP:
        return PRIVATE
    policies = declared.values()
    shares = [policy.dominance_percent for policy in policies if policy.dominance_percent is not None]
    secret = any(policy.own_totals is OwnTotals.SECRET for policy in policies)
    return ReleasePolicy(
        mode=mode,
        min_group_size=offered.min_group_size or max(policy.min_group_size for policy in policies),
        min_contributors=offered.min_contributors or max(policy.min_contributors for policy in policies),
        own_totals=OwnTotals.SECRET if secret else OwnTotals.PUBLIC,
        dominance_percent=offered.dominance_percent or min(shares, default=None),
        overlap_k=max(policy.overlap_k for policy in policies) if offered.overlap_k is None else offered.overlap_k,
    )


def _privacy(application: Application, descriptions: Mapping[str, DatasetDescription]) -> AgreedPrivacy | None:
    if application.privacy is None:
        return None
    declared = {provider.name: descriptions[provider.name] for provider in application.providers}
    try:
        return agree_privacy(application.privacy, declared)
    except ContractError as error:
        _refuse(application, "privacy", str(error))


def _refuse(application: Application, key: str, detail: str) -> NoReturn:
    raise DeclarationError(application.file, None, key, detail)
