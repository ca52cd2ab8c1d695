"""`unseen ledger receipts`: every receipt that a party holds, how it stands, and which wait to be countersigned."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from audit.canonical import JsonObject
from audit.checkpoint import Checkpoint, Note
from audit.discrepancy import Standing
from audit.errors import BadSignatureError, QuorumMissingError
from audit.ledger import LedgerReader, open_reader
from audit.ledger_view import SeenReceipt, read_view
from audit.names import Role
from audit.policy import Policy
from audit.tariff import format_micro
from parties.cli.chinese import word
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_table, open_home, say, talk
from parties.contract_ids import find_contract
from parties.errors import UsageError
from parties.held_contracts import held_contracts
from parties.home import Home
from parties.witness_policy import default_policy, read_policy
from sandbox.admission import OUTSTANDING_LIMIT

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""


@dataclass(frozen=True, slots=True)
class HeldReceipt:
    """A receipt as the party's own ledger shows it.

    Attributes:
        counterparty: the merchant at a provider, the provider at a merchant.
        cosigned: whether its entry is under a checkpoint with the cosignatures that the party's policy asks for.
    """

    seen: SeenReceipt
    counterparty: str
    standing: Standing
    cosigned: bool

    def to_json(self) -> JsonObject:
        """For `--json`."""
        return {
            "receipt_id": self.seen.receipt_id,
            "index": self.seen.at,
            "counterparty": self.counterparty,
            "call": self.seen.call,
            "contract": self.seen.contract,
            "clock_ms": self.seen.clock_ms,
            "price": format_micro(self.seen.price_micro),
            "currency": self.seen.currency,
            "standing": self.standing.value,
            "cosigned": self.cosigned,
        }

    def row(self) -> list[str]:
        """For the table."""
        time = datetime.fromtimestamp(self.seen.clock_ms / 1000, tz=UTC)
        return [
            self.seen.receipt_id[:SHOWN],
            self.counterparty,
            self.seen.call[:SHOWN],
            f"{time:%Y-%m-%d %H:%M:%S}",
            f"{format_micro(self.seen.price_micro)} {self.seen.currency}",
            word(self.standing),
            say("yes", "是") if self.cosigned else say("no", "否"),
        ]


def receipts_command(
    outstanding: Annotated[
        bool, typer.Option("--outstanding", help="Only those that wait to be countersigned, and how many more may.")
    ] = False,
    contract: Annotated[str, typer.Option("--contract", help="Only of this contract: its id, or its beginning.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the receipts of a provider or merchant, also while it is running.

    Each is open (not countersigned, so not charged), acknowledged, or aborted.

    With 16 open at a provider, a merchant is refused there until it acknowledges.
    """
    own = open_home(home)
    if own.role is Role.REGULATOR:
        raise UsageError(f"{own.name} is the regulator and has no receipts: name a provider's or merchant's --home")
    wanted = find_contract(held_contracts(own), contract).contract_id if contract else ""
    held, cosigned_size = read_receipts(own)
    open_ones = Counter(each.counterparty for each in held if each.standing is Standing.OPEN)
    shown = [
        each
        for each in held
        if (not wanted or each.seen.contract == wanted) and (not outstanding or each.standing is Standing.OPEN)
    ]
    if json:
        waiting: JsonObject = {
            party: {"open": count, "left": max(0, OUTSTANDING_LIMIT - count)} for party, count in open_ones.items()
        }
        receipts = [each.to_json() for each in shown]
        emit_json({"cosigned_size": cosigned_size, "outstanding": waiting, "receipts": receipts})
        return
    if outstanding:
        for party, count in sorted(open_ones.items()):
            talk(_told(own, party, count))
    headers = [say("receipt", "回执"), say("with", "对方"), say("call", "调用"), say("time (UTC)", "时间（UTC）")]
    headers += [say("price", "价格"), say("standing", "状态"), say("cosigned", "已见证")]
    emit_table(headers, [each.row() for each in shown])


def read_receipts(home: Home) -> tuple[tuple[HeldReceipt, ...], int]:
    """Return the receipts in the home's ledger, in its order, and the size of the largest cosigned checkpoint.

    Raises:
        LedgerUnavailableError, LedgerDamagedError: as `open_reader`.
        VerificationFailedError: an entry about a call cannot be read.
    """
    reader = open_reader(home.ledger_path)
    try:
        view = read_view(home.name, reader.read(0, reader.size))
        size = _cosigned_size(reader, home)
    finally:
        reader.close()
    found = [
        HeldReceipt(seen, merchant if home.role is Role.PROVIDER else provider, view.standing(seen), seen.at < size)
        for (provider, merchant), book in view.receipts.items()
        for seen in book.values()
    ]
    return tuple(sorted(found, key=lambda each: each.seen.at)), size


def _cosigned_size(reader: LedgerReader, home: Home) -> int:
    """How many entries are under a checkpoint with the cosignatures that the policy asks for, and one at least."""
    policy = _policy(home)
    if policy is None or not policy.witnesses:
        return 0
    for data in reader.checkpoints_backwards():
        note = Note.decode(data)
        try:
            if policy.verify_cosigned(note):
                return Checkpoint.from_body(note.text).size
        except (QuorumMissingError, BadSignatureError):
            continue
    return 0


def _policy(home: Home) -> Policy | None:
    if not home.directory_path.exists():
        return None
    return read_policy(home) or default_policy(home.name, home.directory(now_ms=0))  # an expired one still has keys


def _told(home: Home, party: str, count: int) -> str:
    merchant, provider = (party, home.name) if home.role is Role.PROVIDER else (home.name, party)
    left = max(0, OUTSTANDING_LIMIT - count)
    if not left:
        return say(
            f"{merchant} has {count} receipts to countersign: {provider} refuses its calls until it does",
            f"{merchant} 有 {count} 份回执尚未会签：在其会签之前，{provider} 拒绝其调用",
        )
    return say(
        f"{merchant} has {count} receipts to countersign; {left} more, and {provider} refuses its calls",
        f"{merchant} 有 {count} 份回执尚未会签；再多 {left} 份，{provider} 即拒绝其调用",
    )
