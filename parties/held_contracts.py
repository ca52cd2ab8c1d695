"""A look into a home's contracts, also while its party is running: read from the vault, nothing is changed."""

from __future__ import annotations

from typing import Final

from audit.canonical import JsonObject
from audit.tariff import format_micro
from parties.home import Home
from sandbox.contract import Contract
from sandbox.contract_actions import parse_action
from sandbox.contract_checks import required_signers
from sandbox.contract_record import ContractRecord, decode_record
from sandbox.frame import Frame, FrameColumn
from sandbox.vault import Vault, VaultKind

_ID_LENGTH: Final = 64


def held_contracts(home: Home) -> tuple[ContractRecord, ...]:
    """Return every contract that the home's vault holds, by id; none before the party was first opened.

    Raises `VaultError` when the vault cannot be read.
    """
    if not home.vault_path.exists():
        return ()
    with Vault.open(home.vault_path) as vault:
        items = vault.items(VaultKind.CONTRACT)
    return tuple(decode_record(value) for key, value in items if len(key) == _ID_LENGTH)


def signers(record: ContractRecord) -> tuple[str, ...]:
    """Return the parties whose signature lines the contract carries, by the names in their keys."""
    return tuple(sorted({line.keyid.partition(".")[0] for line in record.envelope.signatures}))


def missing_signers(record: ContractRecord) -> tuple[str, ...]:
    """Return the parties whose signature the contract still needs."""
    signed = signers(record)
    return tuple(name for name in required_signers(record.contract) if name not in signed)


def describe_contract(record: ContractRecord, now_ms: int) -> JsonObject:
    """Return the contract as a JSON object for people and programs; amounts are decimal strings of currency units."""
    contract = record.contract
    return {
        "contract": record.contract_id,
        "state": record.state_at(now_ms).value,
        "merchant": contract.merchant,
        "providers": list(contract.providers),
        "computing_party": contract.computing_party,
        "regulator": contract.regulator,
        "purpose": contract.purpose.to_json(),
        "grade": contract.grade.value,
        "signed_by": list(signers(record)),
        "missing": list(missing_signers(record)),
        "columns": [_column(contract, column) for column in contract.frame.columns],
        "datasets": {party: binding.dataset for party, binding in contract.datasets.items()},
        "operations": [operation.value for operation in contract.operations],
        "release": contract.release.to_json(),
        "quotas": contract.quotas.to_json(),
        "validity": contract.validity.to_json(),
        "tariff": contract.tariff.to_json(),
        "fee_cap": format_micro(contract.fee_cap_micro),
        "lease_ms": contract.lease_ms,
        "obligations": list(contract.obligations),
        "actions": [
            {"action": action.action.value, "actor": action.actor, "at_ms": action.at_ms, "reason": action.reason}
            for action in map(parse_action, record.actions)
        ],
    }


def levels_of(frame: Frame, name: str) -> str:
    """Return a column's levels as text: what it can be grouped and filtered by."""
    return ", ".join(level.label for level in frame.column(name).levels)


def _column(contract: Contract, column: FrameColumn) -> JsonObject:
    return {
        "name": column.name,
        "type": column.type.value,
        "unit": column.unit,
        "levels": [level.label for level in column.levels],
        "uses": sorted(use.value for use in contract.uses[column.name]),
        "grade": contract.grades[column.name].value,
    }
