"""`unseen ledger reconcile`: hold ledgers against one another, and record what differs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from audit.__main__ import home_directory, load_directory
from audit.clock import SystemClock
from audit.directory import Directory
from audit.discrepancy import Discrepancy, Finding, LedgerHead, Sighting
from audit.draft import Draft
from audit.entry import DiscrepancyFound
from audit.errors import DuplicateKeyError
from audit.ledger import Ledger, LedgerIdentity, LedgerReader, open_reader
from audit.ledger_view import read_view
from audit.names import KeyPurpose
from audit.reconcile import Reconciliation, judge_by, reconcile, unchecked
from audit.tariff import format_micro
from audit.verify import LEDGER_FILE
from parties.cli.chinese import word
from parties.cli.exit_codes import VERIFICATION_FAILED
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_table, open_home, say, talk
from parties.errors import UsageError
from parties.home import Home

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """A ledger given, as far as it had grown when it was opened."""

    party: str
    origin: str
    size: int
    reader: LedgerReader

    @classmethod
    def open(cls, path: Path) -> OpenLedger:
        """Open a home's ledger, or a ledger file; errors as `open_reader`."""
        reader = open_reader(path / LEDGER_FILE if path.is_dir() else path)
        try:
            genesis = reader.genesis()
            return cls(genesis.party, genesis.origin, reader.size, reader)
        except BaseException:
            reader.close()
            raise

    def head(self) -> LedgerHead:
        """Return the state in which it is compared; raise `MalformedError` where its tiles are damaged."""
        return LedgerHead(self.origin, self.size, self.reader.root(self.size).hex())


def reconcile_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Home folders, or ledger.db files.", show_default=False)
    ],
    record: Annotated[
        bool, typer.Option("--record", help="Enter each discrepancy, signed, into the ledger of --home.")
    ] = False,
    home: HomeOption = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The party directory; default: a home's.", show_default=False)
    ] = None,
    regulator_vkey: Annotated[
        str, typer.Option("--regulator-vkey", help="The regulator's key; default: a home's.", show_default=False)
    ] = "",
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the receipts of several parties' ledgers: exit 0 when they agree, 5 with discrepancies.

    Every provider given is compared with every merchant given. Verify the ledgers first: this compares what they say.
    With --record the party of --home must not be running.
    """
    recorder = open_home(home, passphrase_file) if record else None
    known = _directory([*([] if home is None else [home]), *paths], directory, regulator_vkey)
    with ExitStack() as stack:
        ledgers: list[OpenLedger] = []
        for path in paths:
            ledgers.append(OpenLedger.open(path))
            stack.callback(ledgers[-1].reader.close)
        by_party = {ledger.party: ledger for ledger in ledgers}

        def entry(party: str, index: int) -> bytes:
            return next(by_party[party].reader.read(index, index + 1))

        views = [read_view(ledger.party, ledger.reader.read(0, ledger.size)) for ledger in ledgers]
        result = reconcile(views, unchecked if known is None else judge_by(known, entry))
        heads = {} if recorder is None else {ledger.party: ledger.head() for ledger in ledgers}
    recorded = None if recorder is None else _record(recorder, result.findings, heads)
    _show(result, recorded, json=json)
    raise typer.Exit(VERIFICATION_FAILED if result.findings else 0)


def _directory(homes: Sequence[Path], given: Path | None, vkey: str) -> Directory | None:
    """The directory given, else the first one that a home here holds and pins; None where there is none."""
    if given is not None:
        if not vkey:
            raise UsageError("a directory is worth what its signer is: give the regulator's key with --regulator-vkey")
        return load_directory(given, vkey)
    found = (home_directory(home, None, vkey or None) for home in homes)
    return next((directory for directory in found if directory is not None), None)


def _record(home: Home, findings: Sequence[Finding], heads: dict[str, LedgerHead]) -> int:
    """Enter the findings that the home's ledger does not hold yet; returns how many those were."""
    clock, message_key = SystemClock(), home.signing_key(KeyPurpose.MESSAGE)
    log_key = home.signing_key(KeyPurpose.LOG)
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    added = 0
    with Ledger.open(home.ledger_path, identity=identity, key=log_key, clock=clock) as ledger:
        for finding in findings:
            now_ms = clock.now_ms()
            pair = heads[finding.provider], heads[finding.merchant]
            signed = Discrepancy(finding, home.name, now_ms, *pair).sign(message_key)
            found = DiscrepancyFound(party=home.name, at_ms=now_ms, discrepancy_id=signed.digest, discrepancy=signed)
            try:
                ledger.append(Draft(found, keys=(finding.unique_key,)))
                added += 1
            except DuplicateKeyError:
                continue
    return added


def _show(result: Reconciliation, recorded: int | None, *, json: bool) -> None:
    for provider, merchant, count in result.uncompared:
        talk(
            say(
                f"{count} receipts between {provider} and {merchant} are not compared: one of the ledgers is not here",
                f"{provider} 与 {merchant} 之间的 {count} 张回执未核对：缺其中一方的账本",
            )
        )
    unsettled = sum(len(pair.unsettled) for pair in result.pairs)
    if unsettled:
        talk(
            say(
                f"{unsettled} receipts are not acknowledged in both ledgers yet; that is no discrepancy",
                f"{unsettled} 张回执尚未在双方账本中确认，不算差异",
            )
        )
    if recorded is not None:
        talk(
            say(
                f"{recorded} of {len(result.findings)} discrepancies were new and are recorded",
                f"{len(result.findings)} 处差异中有 {recorded} 处为新发现，已记入账本",
            )
        )
    if json:
        emit_json({**result.to_json(), **({} if recorded is None else {"recorded": recorded})})
        return
    headers = [
        say("provider", "提供方"),
        say("merchant", "数据商"),
        say("discrepancy", "差异"),
        say("in the ledger of", "账本"),
        say("call", "调用"),
        say("provider's receipt", "提供方回执"),
        say("merchant's receipt", "数据商回执"),
    ]
    if result.findings:
        emit_table(headers, [_row(finding) for finding in result.findings])
        return
    agreed = [say("provider", "提供方"), say("merchant", "数据商"), say("receipts", "回执"), say("amount", "金额")]
    emit_table(
        agreed,
        [
            [pair.provider, pair.merchant, str(pair.at_provider.receipts), format_micro(pair.at_provider.price_micro)]
            for pair in result.pairs
        ],
    )


def _row(finding: Finding) -> list[str]:
    return [
        finding.provider,
        finding.merchant,
        word(finding.kind),
        finding.ledger,
        finding.call[:SHOWN],
        _shown(finding.at_provider),
        _shown(finding.at_merchant),
    ]


def _shown(sighting: Sighting | None) -> str:
    if sighting is None:
        return "-"
    amount = format_micro(sighting.price_micro)
    return f"{sighting.receipt_id[:SHOWN]} #{sighting.index} {amount} {sighting.currency} {sighting.standing.value}"
