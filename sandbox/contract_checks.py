"""A contract held against the world: the directory's parties, their signatures, a provider's own declaration."""

from __future__ import annotations

from audit.directory import Directory, KeyPurpose, KeyStatus, PartyRecord, Role
from audit.envelope import Envelope
from audit.errors import BadSignatureError, RevokedKeyError, UnknownKeyError, UnknownPartyError
from audit.keys import VerifyingKey
from sandbox.budget import plain_entity
from sandbox.contract import Contract, parse_contract
from sandbox.declaration_model import ColumnDescription, DatasetDescription
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.frame import ColumnType, FrameColumn, Use
from sandbox.grades import Grade
from sandbox.privacy_fit import check_privacy_fit
from sandbox.release import OwnTotals, ReleasePolicy

GROUPING_USES = frozenset({Use.GROUP_BY, Use.FILTER})


def check_contract(contract: Contract, directory: Directory) -> None:
    """Hold a contract against the directory, before anyone signs it.

    Raises:
        DeniedError: UNKNOWN_PARTY, WRONG_ROLE, LEGAL_ENTITY_CLASH (merchant and providers must all be different
            legal entities, or one of them could subtract its own part), or GRADE_REFUSED (a core column).
    """
    wanted = {contract.merchant: Role.MERCHANT, contract.regulator: Role.REGULATOR}
    wanted.update(dict.fromkeys(contract.providers, Role.PROVIDER))
    for name, role in wanted.items():
        clause = role.value if role is not Role.PROVIDER else f"providers.{name}"
        found = known_party(directory, name, clause).role
        if found is not role:
            detail = f"the directory lists {name} as a {found.value}, the contract as a {role.value}"
            raise DeniedError(DenialReason.WRONG_ROLE, clause, detail)
    owners: dict[str, str] = {}
    for name in (contract.merchant, *contract.providers):
        entity = plain_entity(directory.party(name).legal_entity)
        if entity in owners:
            detail = f"{owners[entity]} and {name} are the same legal entity {entity}; name different ones"
            raise DeniedError(DenialReason.LEGAL_ENTITY_CLASH, "providers", detail)
        owners[entity] = name
    if contract.grade is Grade.CORE:
        detail = "core data (核心数据, GB/T 43697-2024) are never shared; take the column out"
        raise DeniedError(DenialReason.GRADE_REFUSED, "grade", detail)


def verify_complete(envelope: Envelope, directory: Directory) -> Contract:
    """Read a contract that everyone who must sign it has signed.

    Raises:
        DeniedError: as `check_contract` and `verify_signatures`.
        MalformedError, ContractError: the document itself is wrong.
    """
    contract = parse_contract(envelope)
    check_contract(contract, directory)
    verify_signatures(envelope, contract, directory)
    return contract


def required_signers(contract: Contract) -> tuple[str, ...]:
    """Merchant and providers, and the regulator where a column is graded important."""
    countersigner = (contract.regulator,) if contract.grade is not Grade.GENERAL else ()
    return (contract.merchant, *contract.providers, *countersigner)


def verify_signatures(envelope: Envelope, contract: Contract, directory: Directory) -> None:
    """Every required party has signed these very bytes with a message key of its own, and nobody else has.

    Keys of the directory are unique, so that one key never stands for two parties.

    Raises:
        DeniedError: BAD_SIGNATURE, naming the party whose signature is missing, wrong or by a revoked key.
    """
    verify_known_signatures(envelope, contract, directory)
    for name in required_signers(contract):
        verify_signed_by(envelope, directory.party(name))


def verify_known_signatures(envelope: Envelope, contract: Contract, directory: Directory) -> None:
    """Every signature that is there is valid and of a party of the contract.

    Raises:
        DeniedError: BAD_SIGNATURE.
    """
    for name in sorted(contract.parties):
        record = known_party(directory, name, f"signatures.{name}")
        own = {item.key.keyid for item in record.keys}
        if any(line.keyid in own for line in envelope.signatures):
            verify_signed_by(envelope, record)
    allowed = {item.key.keyid for name in contract.parties for item in directory.party(name).keys}
    for line in envelope.signatures:
        if line.keyid not in allowed:
            detail = f"the signature by {line.keyid:.100} is of no party of this contract"
            raise DeniedError(DenialReason.BAD_SIGNATURE, "signatures", detail)


def verify_signed_by(envelope: Envelope, record: PartyRecord) -> None:
    """Every signature line that claims a key of this party is valid and by one of its message keys, and there is one.

    A retired key still counts, for a contract outlives a rotation; a revoked one does not.

    Raises:
        DeniedError: BAD_SIGNATURE.
    """
    clause = f"signatures.{record.name}"
    keys = {item.key.keyid: item for item in record.keys}
    lines = [line for line in envelope.signatures if line.keyid in keys]
    if not lines:
        detail = f"{record.name} has not signed; collect its signature (unseen contract refresh)"
        raise DeniedError(DenialReason.BAD_SIGNATURE, clause, detail)
    for line in lines:
        item = keys[line.keyid]
        if item.purpose is not KeyPurpose.MESSAGE:
            detail = f"{line.keyid} is a {item.purpose.value} key and signs no messages"
            raise DeniedError(DenialReason.BAD_SIGNATURE, clause, detail)
        if item.status is KeyStatus.REVOKED:
            detail = (
                f"{line.keyid}, which signed this contract, is revoked, and the contract ends with it: the merchant "
                "applies for another (unseen contract apply), and all sign that with the keys that they have now"
            )
            raise DeniedError(DenialReason.BAD_SIGNATURE, clause, detail)
        verify_by_key(envelope, item.key, clause)


def verify_by_key(envelope: Envelope, key: VerifyingKey, clause: str) -> None:
    """The key's signature is there and valid over the bytes received.

    Raises:
        DeniedError: BAD_SIGNATURE.
    """
    try:
        envelope.verify(key)
    except BadSignatureError as error:
        raise DeniedError(DenialReason.BAD_SIGNATURE, clause, str(error)) from error


def active_message_key(record: PartyRecord, clause: str) -> VerifyingKey:
    """The key that the party signs with now; what is done now counts by no retired or revoked one.

    Raises:
        DeniedError: BAD_SIGNATURE.
    """
    try:
        return record.key(KeyPurpose.MESSAGE)
    except (UnknownKeyError, RevokedKeyError) as error:
        raise DeniedError(DenialReason.BAD_SIGNATURE, clause, str(error)) from error


def known_party(directory: Directory, name: str, clause: str) -> PartyRecord:
    """The party's record.

    Raises:
        DeniedError: UNKNOWN_PARTY.
    """
    try:
        return directory.party(name)
    except UnknownPartyError as error:
        raise DeniedError(DenialReason.UNKNOWN_PARTY, clause, str(error)) from error


def check_fit(contract: Contract, description: DatasetDescription, party: str) -> None:
    """Hold a contract against the declaration of the dataset that `party` brings in, before it approves.

    Raises:
        DeniedError: PARTICIPANT_SET_MISMATCH, DATASET_VERSION_MISMATCH, DECLARATION_MISMATCH, COLUMN_NOT_PERMITTED,
            IDENTIFYING_COLUMN, GRADE_REFUSED, GROUP_SIZE_TOO_SMALL or OPERATION_NOT_PERMITTED, with the clause.
    """
    binding = contract.datasets.get(party)
    if binding is None:
        raise DeniedError(
            DenialReason.PARTICIPANT_SET_MISMATCH, "providers", f"{party} is no provider of this contract"
        )
    if binding.dataset != description.reference:
        detail = f"the contract is over {binding.dataset}, served is {description.reference}; apply for that one"
        raise DeniedError(DenialReason.DATASET_VERSION_MISMATCH, f"datasets.{party}", detail)
    if binding.declared_rows != description.declared_rows:
        detail = f"the contract says {binding.declared_rows} declared rows, the catalogue {description.declared_rows}"
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, f"datasets.{party}.declared_rows", detail)
    for column in contract.frame.columns:
        declared = _declared_column(contract, description, party, column.name)
        _check_column(column, declared)
        _check_uses(contract.uses[column.name], column, declared)
        if declared.grade is Grade.CORE or declared.grade > contract.grades[column.name]:
            detail = f"{party} grades it {declared.grade.value}, the contract {contract.grades[column.name].value}"
            raise DeniedError(DenialReason.GRADE_REFUSED, f"grades.{column.name}", detail)
    _check_release(contract, description.release)
    if contract.privacy is not None:
        check_privacy_fit(contract.privacy, description, len(contract.providers))


def check_grouping(column: FrameColumn, declared: ColumnDescription) -> None:
    """Refuse to group or filter by a column whose cells would tell which provider is in them.

    Raises:
        DeniedError: IDENTIFYING_COLUMN: the provider says so, or it cannot have rows in every level of the frame.
    """
    clause = f"uses.{column.name}"
    if declared.identifies_provider:
        detail = "its values tell the provider (identifies_provider in the declaration); drop group_by and filter"
        raise DeniedError(DenialReason.IDENTIFYING_COLUMN, clause, detail)
    own = sum(_reaches(declared, column, index) for index in range(column.level_count))
    if own < column.level_count:
        detail = (
            f"the provider's declaration reaches {own} of the frame's {column.level_count} levels, "
            "so that the others tell it is absent; group by levels that all providers have"
        )
        raise DeniedError(DenialReason.IDENTIFYING_COLUMN, clause, detail)


def _declared_column(
    contract: Contract, description: DatasetDescription, party: str, logical: str
) -> ColumnDescription:
    name = contract.datasets[party].columns[logical]
    try:
        return description.column(name)
    except ContractError as error:
        clause = f"datasets.{party}.columns.{logical}"
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, clause, str(error)) from error


def _check_column(column: FrameColumn, declared: ColumnDescription) -> None:
    """The frame must hold everything that the declaration allows, at no lesser precision."""
    problem = ""
    if (column.type, column.unit) != (declared.type, declared.unit):
        problem = f"is {declared.type.value} in {declared.unit!r}, not {column.type.value} in {column.unit!r}"
    elif column.decimals < declared.decimals:
        problem = f"has {declared.decimals} decimals, more than the frame's {column.decimals}"
    elif declared.nullable and not column.nullable:
        problem = "may be null, which the frame excludes"
    elif column.type is ColumnType.CATEGORY:
        if not set(declared.domain) <= set(column.domain):
            problem = "has values in its domain that the frame lacks"
    elif declared.lo is None or declared.hi is None:
        problem = "declares no bounds"
    elif _scale(declared, column) * declared.lo < (column.lo or 0) or _scale(declared, column) * declared.hi > (
        column.hi or 0
    ):
        problem = "has wider bounds than the frame"
    elif not set(column.edges) <= {_scale(declared, column) * edge for edge in declared.edges}:
        problem = "does not declare all of the frame's bin edges"
    if problem:
        detail = f"the provider's column {declared.name} {problem}; apply again from its current description"
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, f"frame.{column.name}", detail)


def _check_uses(uses: frozenset[Use], column: FrameColumn, declared: ColumnDescription) -> None:
    # First, since no permission mends it.
    if uses & GROUPING_USES:
        check_grouping(column, declared)
    refused = sorted(use.value for use in uses - declared.uses)
    if refused:
        detail = f"the provider does not permit {', '.join(refused)}"
        raise DeniedError(DenialReason.COLUMN_NOT_PERMITTED, f"uses.{column.name}", detail)


def _check_release(contract: Contract, own: ReleasePolicy) -> None:
    """The contract's policy must be at least as strict as the provider's."""
    agreed = contract.release
    if agreed.min_group_size < own.min_group_size:
        detail = f"{agreed.min_group_size} is under the provider's minimum of {own.min_group_size} rows a cell"
        raise DeniedError(DenialReason.GROUP_SIZE_TOO_SMALL, "release.min_group_size", detail)
    problem = ""
    if agreed.mode is not own.mode:
        problem = f"mode: the provider releases in mode {own.mode.value}"
    elif agreed.min_contributors < own.min_contributors:
        problem = f"min_contributors: the provider wants {own.min_contributors} or more providers in a cell"
    elif own.own_totals is OwnTotals.SECRET and agreed.own_totals is not OwnTotals.SECRET:
        problem = "own_totals: the provider keeps its own totals secret"
    elif own.own_totals is OwnTotals.SECRET and contract.single_provider:
        problem = "own_totals: the provider keeps its own totals secret, so that it cannot answer alone"
    elif own.dominance_percent is not None and (agreed.dominance_percent or 101) > own.dominance_percent:
        problem = f"dominance_percent: the provider wants {own.dominance_percent} or less"
    elif agreed.overlap_k < own.overlap_k:
        problem = f"overlap_k: the provider wants {own.overlap_k} or more"
    if problem:
        clause, _, detail = problem.partition(": ")
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, f"release.{clause}", detail)


def _scale(declared: ColumnDescription, column: FrameColumn) -> int:
    """What a declared scaled integer is multiplied by to be one of the frame."""
    return int(10 ** (column.decimals - declared.decimals))


def _reaches(declared: ColumnDescription, column: FrameColumn, index: int) -> bool:
    """Whether the declaration allows a row in this level of the frame."""
    level = column.level(index)
    if level.value is not None:
        return level.value in declared.domain
    if declared.lo is None or declared.hi is None or level.lo is None or level.hi is None:
        return False
    lo, hi = _scale(declared, column) * declared.lo, _scale(declared, column) * declared.hi
    return (lo < level.hi and hi >= level.lo) or (level.closed and lo == level.hi)
