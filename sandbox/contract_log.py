"""What the ledger says of a contract, for a vault that is behind it.

A vault restored from an older backup lacks contracts and transitions of which the ledger, whose lost entries come back
from a witness's copy, still has state and time. Signatures and reasons are in no ledger: those come back from the other
parties, or not at all.
"""

from __future__ import annotations

from dataclasses import replace

from audit.entry import ContractTransition, decode_entry
from audit.entry_keys import contract_key
from audit.ledger import Ledger
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import ContractState


def logged_transition(ledger: Ledger, contract_id: str, number: int) -> ContractTransition | None:
    """The contract's `number`-th transition in the ledger, None where there are fewer; raises as `Ledger.read`."""
    index = ledger.find(contract_key(contract_id, number))
    if index is None:
        return None
    entry = decode_entry(next(ledger.read(index, index + 1)))
    return entry if isinstance(entry, ContractTransition) else None


def caught_up(record: ContractRecord, ledger: Ledger, skew_ms: int) -> ContractRecord:
    """The record as far as the ledger has come: the same one unless the ledger has further transitions of it.

    Which words of the regulator the lost part of the vault had heard is not known: none counts any more that may be
    as old as the last transition, lest a suspension be undone by repeating what once undid another.

    Args:
        record: as the vault has it.
        ledger: this party's.
        skew_ms: how far a signed statement may be ahead of this party's clock.
    """
    number, last = record.transitions, None
    while (further := logged_transition(ledger, record.contract_id, number + 1)) is not None:
        number, last = number + 1, further
    if last is None:
        return record
    floor_ms = last.at_ms + skew_ms
    return replace(
        record,
        state=ContractState(last.state),
        transitions=number,
        floor_ms=floor_ms,
        regulator_ms=max(record.regulator_ms, floor_ms),
    )
