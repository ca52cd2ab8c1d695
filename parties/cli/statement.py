"""`unseen statement`: what is owed under a contract, recomputed from this party's own ledger and the tariff."""

from __future__ import annotations

from typing import Annotated

import typer

from audit.entry import decode_entry
from audit.ledger import open_reader
from audit.statement import Statement, format_micro
from audit.statement import statement as make_statement
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_table, open_home, say, talk
from parties.contract_ids import find_contract
from parties.held_contracts import held_contracts
from parties.home import Home


def statement_of(home: Home, contract: str) -> Statement:
    """Return the statement of a contract (an id or its beginning) from the home's ledger, its party running or not."""
    record = find_contract(held_contracts(home), contract)
    reader = open_reader(home.ledger_path)
    try:
        entries = (decode_entry(data) for data in reader.read(0, reader.size))
        return make_statement(entries, contract=record.contract_id, tariff=record.contract.tariff)
    finally:
        reader.close()


def statement(
    contract: Annotated[str, typer.Argument(help="A contract's id, or the beginning of it.", show_default=False)],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Recompute what is owed under CONTRACT. Merchant and providers get the same amounts from their own ledgers."""
    made = statement_of(open_home(home), contract)
    for difference in made.differences:
        talk(
            f"{difference.receipt_id[:12]}: {difference.field} says {difference.recorded}, not {difference.recomputed}"
        )
    if made.outstanding:
        count = len(made.outstanding)
        talk(
            say(
                f"{count} receipts are not acknowledged yet and not in the total",
                f"有 {count} 份回执尚未确认，未计入合计",
            )
        )
    if json:
        emit_json(made.to_json())
        return
    headers = [say("provider", "提供方"), say("calls", "次数"), say("ciphertexts", "密文"), say("amount", "金额")]
    rows = [
        [
            item.provider,
            str(item.units.calls),
            str(item.units.ciphertexts),
            f"{format_micro(item.total_micro)} {made.currency}",
        ]
        for item in made.subtotals
    ]
    units = [
        str(sum(item.units.calls for item in made.subtotals)),
        str(sum(item.units.ciphertexts for item in made.subtotals)),
    ]
    emit_table(headers, [*rows, [say("total", "合计"), *units, f"{format_micro(made.total_micro)} {made.currency}"]])
