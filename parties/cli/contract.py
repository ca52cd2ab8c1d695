"""`unseen contract`: apply, decide, look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.clock import SystemClock
from audit.names import Role
from parties.cli.chinese import word
from parties.cli.contract_text import contract_lines
from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_table,
    emit_text,
    open_home,
    say,
    talk,
)
from parties.contract_ids import find_contract
from parties.errors import UsageError
from parties.files import write_file
from parties.held_contracts import describe_contract, held_contracts, missing_signers
from parties.home import Home
from parties.officials import decide
from sandbox.contract_actions import parse_action
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import FINAL_STATES, ContractAction, ContractState

app = typer.Typer(no_args_is_help=True, help="Usage contracts: apply for one, look into it, decide on it, end it.")

ContractArgument = Annotated[str, typer.Argument(help="A contract's id, or the beginning of it.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why: kept with the decision; ledgers commit to it.")]


@app.command()
def apply(
    application: Annotated[Path, typer.Argument(help="The application, a TOML file.", show_default=False)],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the merchant: draft the contract of APPLICATION, sign it, lay it before its providers."""
    from parties.client.merchant import Merchant  # noqa: PLC0415  (pandas is needed only here)

    with Merchant.open(_merchant(home, passphrase_file), say=talk) as merchant:
        contract_id = merchant.apply(application)
        record = merchant.contract(contract_id)
    talk(f"Laid before {', '.join(record.contract.providers)}, whose officials run: unseen contract approve")
    talk(f"When each has: unseen contract refresh {record.contract_id[:12]}")
    _emit_state(record, json=json)


@app.command()
def refresh(
    contract: Annotated[str, typer.Argument(help="A contract's id, or its beginning; default: all.")] = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the merchant: gather signatures and decisions; put in force what everyone has signed."""
    from parties.client.merchant import Merchant  # noqa: PLC0415  (pandas is needed only here)

    with Merchant.open(_merchant(home, passphrase_file), say=talk) as merchant:
        wanted = [contract] if contract else list(merchant.contracts()["contract"])
        records = [merchant.refresh(name) for name in wanted]
    for record in records:
        missing = missing_signers(record)
        if record.state in FINAL_STATES and record.actions:
            last = parse_action(record.actions[-1])
            talk(f"{record.contract_id[:12]} {record.state.value} by {last.actor}: {last.reason or 'no reason given'}")
        elif missing:
            talk(f"{record.contract_id[:12]} waits for {', '.join(missing)}")
    if json:
        emit_json({"contracts": [_state(record) for record in records]})
    else:
        emit_table(["contract", "state"], [[record.contract_id, _state(record)["state"]] for record in records])


@app.command()
def approve(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Sign a contract: a provider's approval, or the regulator's countersignature."""
    _decide(open_home(home, passphrase_file), contract, ContractAction.APPROVE, reason, json=json)


@app.command()
def reject(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Refuse a contract that is not in force yet."""
    _decide(open_home(home, passphrase_file), contract, ContractAction.REJECT, reason, json=json)


@app.command()
def revoke(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """End a contract for good: a provider's or the regulator's decision."""
    _decide(open_home(home, passphrase_file), contract, ContractAction.REVOKE, reason, json=json)


@app.command()
def suspend(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: suspend a contract; its providers hear of it in seconds, or when their lease ends."""
    _decide(open_home(home, passphrase_file), contract, ContractAction.SUSPEND, reason, json=json)


@app.command()
def resume(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: put a suspended contract in force again."""
    _decide(open_home(home, passphrase_file), contract, ContractAction.RESUME, reason, json=json)


@app.command()
def terminate(
    contract: ContractArgument,
    reason: ReasonOption = "",
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the merchant: end a contract for good."""
    from parties.client.merchant import Merchant  # noqa: PLC0415  (pandas is needed only here)

    with Merchant.open(_merchant(home, passphrase_file), say=talk) as merchant:
        record = merchant.terminate(contract, reason)
    _emit_state(record, json=json)


@app.command("list")
def list_contracts(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the contracts that this party holds."""
    records = held_contracts(open_home(home))
    now_ms = SystemClock().now_ms()
    if json:
        emit_json({"contracts": [describe_contract(record, now_ms) for record in records]})
        return
    headers = [say("contract", "合约"), say("state", "状态"), say("merchant", "数据商"), say("purpose", "用途")]
    rows = [
        [record.contract_id, word(record.state_at(now_ms)), record.contract.merchant, record.contract.purpose.text]
        for record in records
    ]
    emit_table(headers, rows)


@app.command()
def show(
    contract: ContractArgument,
    document: Annotated[
        Path | None,
        typer.Option(
            "--document",
            help="A file to write: the contract as signed, for `unseen ledger verify --contract`.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show one contract: what it permits and costs, who has signed, what was decided."""
    record = find_contract(held_contracts(open_home(home)), contract)
    if document is not None:
        write_file(document, record.envelope.encode())
    now_ms = SystemClock().now_ms()
    if json:
        emit_json(describe_contract(record, now_ms))
    else:
        emit_table([say("field", "项目"), say("value", "内容")], contract_lines(record, now_ms))


def _decide(home: Home, contract: str, action: ContractAction, reason: str, *, json: bool) -> None:
    record = find_contract(held_contracts(home), contract)
    state = decide(home, record.contract_id, action, reason)
    if json:
        emit_json({"contract": record.contract_id, "state": state.value})
    else:
        emit_text(f"{record.contract_id}\t{state.value}")
    if action is ContractAction.APPROVE and state is ContractState.APPROVED:
        talk(
            say(
                "Signed. It is in force once every provider has signed and the merchant has refreshed it.",
                "已签署。各提供方都签署、数据商刷新之后，合约生效。",
            )
        )


def _merchant(home: Path | None, passphrase_file: Path | None) -> Home:
    opened = open_home(home, passphrase_file)
    if opened.role is not Role.MERCHANT:
        raise UsageError(
            f"{opened.name} is a {opened.role.value}; merchants apply for contracts: name a merchant's --home"
        )
    return opened


def _state(record: ContractRecord) -> dict[str, str]:
    return {"contract": record.contract_id, "state": record.state_at(SystemClock().now_ms()).value}


def _emit_state(record: ContractRecord, *, json: bool) -> None:
    if json:
        emit_json(_state(record))
    else:
        emit_text(record.contract_id)
