"""`python -m audit verify PATH` and `check-proof FILE`: offline, with this package's few dependencies only.

Exit codes: 0 verified, 2 usage, 5 verification failed, 6 verification impossible (a file or the trust root is missing).
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from audit.contract_terms import MAX_CONTRACT_BYTES, ContractTerms
from audit.directory import Directory, verify_directory
from audit.errors import AuditError, VerificationImpossibleError
from audit.keys import VerifyingKey
from audit.portable_receipt import PortableReceipt, ProvenReceipt
from audit.tariff import format_micro
from audit.tlog_proof import MAX_PROOF_BYTES
from audit.verify import Report, verify_database
from audit.verify_cosignatures import Cosigned

EXIT_OK: Final = 0
EXIT_FAILED: Final = 5
EXIT_IMPOSSIBLE: Final = 6

DIRECTORY_FILE: Final = "directory.dsse"
SETTINGS_FILE: Final = "party.toml"
SHOWN: Final = 10
"""Entries that a line of text names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "check-proof":
        return _check_proof(options)
    try:
        report, directory = verify_path(
            Path(options.path),
            None if options.directory is None else Path(options.directory),
            options.regulator_vkey or "",
            [Path(name) for name in options.witness_checkpoint],
            [contract_terms(Path(name)) for name in options.contract],
        )
    except VerificationImpossibleError as error:
        if options.json:
            sys.stdout.write(json.dumps({"verified": False, "impossible": str(error)}) + "\n")
        sys.stderr.write(f"verification could not be carried out: {error}\n")
        return EXIT_IMPOSSIBLE
    sys.stdout.write(json.dumps(report.to_json()) + "\n" if options.json else report_text(report, directory))
    return EXIT_OK if report.verified else EXIT_FAILED


def verify_path(
    path: Path,
    directory: Path | None,
    regulator_vkey: str,
    checkpoints: Sequence[Path],
    contracts: Sequence[ContractTerms] = (),
) -> tuple[Report, Directory | None]:
    """Verifies the ledger of a home, or a ledger file; gives the report, and the directory that it was held against.

    Args:
        path: a party's home folder, or its ledger.db.
        directory: the party directory's file; the home's own when None.
        regulator_vkey: the key that the directory must be signed by; empty for the one that the home pins.
        checkpoints: files with checkpoints that were kept outside.
        contracts: whose terms the ledger's calls are held against.

    Raises:
        VerificationImpossibleError: a file or the trust root is missing.
    """
    known = home_directory(path, directory, regulator_vkey or None)
    anchors = [_read(name, "outside checkpoint") for name in checkpoints]
    return verify_database(path, directory=known, anchors=anchors, contracts=contracts), known


def contract_terms(path: Path) -> ContractTerms:
    """The terms in a contract's file: its envelope, as JSON.

    Raises:
        VerificationImpossibleError: it cannot be read, or is no contract.
    """
    data = _read(path, "contract", limit=2 * MAX_CONTRACT_BYTES)
    try:
        return ContractTerms.decode(data)
    except AuditError as error:
        raise VerificationImpossibleError(
            f"{path} is no contract ({error}): give the document that was signed"
        ) from error


def check_proof(path: Path, directory: Path | None, regulator_vkey: str) -> ProvenReceipt:
    """Checks a receipt's proof that `unseen ledger prove` wrote.

    Args:
        path: the proof.
        directory: a directory's file to judge by; the enclosed one when None.
        regulator_vkey: the key that either must be signed by.

    Raises:
        VerificationImpossibleError: a file or the trust root is missing.
        AuditError: the proof does not hold; see `PortableReceipt.verify`.
    """
    if not regulator_vkey:
        raise VerificationImpossibleError(
            "a proof is worth what the directory's signer is: give the regulator's key with --regulator-vkey"
        )
    try:
        key = VerifyingKey.parse(regulator_vkey)
    except AuditError as error:
        raise VerificationImpossibleError(f"--regulator-vkey is no key: {error}") from error
    known = None if directory is None else load_directory(directory, regulator_vkey)
    receipt = PortableReceipt.decode(_read(path, "proof", limit=MAX_PROOF_BYTES))
    return receipt.verify(known or receipt.enclosed_directory(key))


def load_directory(path: Path, regulator_vkey: str) -> Directory:
    """The regulator's directory in a file. An expired one serves: it says which keys were whose.

    Raises:
        VerificationImpossibleError: missing, or not signed by the key `regulator_vkey`.
    """
    data = _read(path, "directory")
    try:
        return verify_directory(data, VerifyingKey.parse(regulator_vkey), now_ms=0)
    except AuditError as error:
        raise VerificationImpossibleError(f"the directory {path} cannot be trusted: {error}") from error


def home_directory(home: Path, given: Path | None, vkey: str | None) -> Directory | None:
    """The directory named on the command line, else the one in the home; None where there is no home around it."""
    vkey = vkey or _pinned_vkey(home)
    if given is None and not ((home / DIRECTORY_FILE).is_file() and vkey):
        return None
    if not vkey:
        raise VerificationImpossibleError(
            "a directory is worth what its signer is: give the regulator's key with --regulator-vkey"
        )
    return load_directory(given if given is not None else home / DIRECTORY_FILE, vkey)


def _pinned_vkey(home: Path) -> str | None:
    """The regulator's key as the party's own settings pin it."""
    settings = home / SETTINGS_FILE
    if not settings.is_file():
        return None
    try:
        table = tomllib.loads(_read(settings, "settings file").decode()).get("regulator")
    except ValueError as error:
        raise VerificationImpossibleError(f"{settings} cannot be read: {error}") from error
    vkey = table.get("vkey") if isinstance(table, dict) else None
    return vkey if isinstance(vkey, str) and vkey else None


def _check_proof(options: argparse.Namespace) -> int:
    directory = None if options.directory is None else Path(options.directory)
    try:
        proven = check_proof(Path(options.file), directory, options.regulator_vkey or "")
    except VerificationImpossibleError as error:
        if options.json:
            sys.stdout.write(json.dumps({"verified": False, "impossible": str(error)}) + "\n")
        sys.stderr.write(f"verification could not be carried out: {error}\n")
        return EXIT_IMPOSSIBLE
    except AuditError as error:
        failed = {"verified": False, "error": type(error).__name__, "detail": str(error)}
        sys.stdout.write(json.dumps(failed) + "\n" if options.json else f"proof        DOES NOT HOLD: {error}\n")
        return EXIT_FAILED
    sys.stdout.write(json.dumps(proven.to_json()) + "\n" if options.json else _proof_text(proven))
    return EXIT_OK


def _read(path: Path, what: str, *, limit: int = -1) -> bytes:
    """The file's bytes; with a limit, at most one more than that."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1 if limit >= 0 else -1)
    except OSError as error:
        raise VerificationImpossibleError(f"the {what} {path} cannot be read: {error.strerror}") from error


def report_text(report: Report, directory: Directory | None) -> str:
    """The report for people, a line each; what there is nothing to say of is left out."""
    lines = [
        f"ledger       {report.origin or 'unknown'}",
        f"entries      {report.entries}",
        f"root         {report.root}",
        f"checkpoints  {report.checkpoints}",
        f"receipts     {'signatures checked' if directory else 'signatures not checked: no directory given'}",
        f"anchored     {'yes' if report.anchored else 'no: without an outside checkpoint a whole rewrite is not seen'}",
    ]
    if report.cosigned is not None:
        lines.append(f"cosigned     {cosigned_text(report.cosigned)}")
    if report.contracts_unchecked:
        lines.append(
            f"terms        not checked of {report.contracts_unchecked} contracts: their documents are not here"
        )
    if report.revoked_signatures:
        lines.append(f"revoked      {report.revoked_signatures} signatures by keys that were revoked since")
    if report.uncounted_entries:
        first = ", ".join(map(str, report.uncounted[:SHOWN]))
        lines.append(f"not counted  {report.uncounted_entries} entries that no witness had seen before: {first}")
    if report.damage is None:
        lines.append("verified     yes")
    else:
        place = "" if report.index is None else f", first bad entry {report.index}"
        lines.append(f"verified     NO: {report.damage.value}{place}: {report.detail}")
    return "".join(f"{line}\n" for line in lines)


def cosigned_text(cosigned: Cosigned) -> str:
    """Size, time and witnesses."""
    try:
        time = f"{datetime.fromtimestamp(cosigned.time_s, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        time = f"{cosigned.time_s} s"
    return f"{cosigned.size} entries by {', '.join(cosigned.by)} at {time}"


def _proof_text(proven: ProvenReceipt) -> str:
    payload = proven.payload
    lines = [
        f"receipt      {proven.receipt_id}",
        f"between      {payload.provider} (provider) and {payload.merchant} (merchant), signed by both",
        f"price        {format_micro(payload.price_micro)} {payload.currency}",
        f"ledger       {proven.checkpoint.origin}",
        f"entry        {proven.index} of {proven.checkpoint.size}",
        f"directory    version {proven.directory_version}",
    ]
    if proven.cosigned is not None:
        lines.append(f"cosigned     {cosigned_text(proven.cosigned)}")
    lines.append("proof        holds")
    return "".join(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit", description="Verify ledgers and receipts offline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    verify = commands.add_parser("verify", help="re-derive a ledger from its entries and compare")
    verify.add_argument("path", metavar="PATH", help="a party's home folder, or its ledger.db")
    verify.add_argument("--directory", metavar="FILE", help="the party directory; default: the home's directory.dsse")
    verify.add_argument("--regulator-vkey", metavar="VKEY", help="the regulator's key; default: the home's party.toml")
    verify.add_argument(
        "--witness-checkpoint",
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint kept outside; repeatable",
    )
    verify.add_argument(
        "--contract",
        metavar="FILE",
        action="append",
        default=[],
        help="a contract whose terms the calls are held against; repeatable",
    )
    verify.add_argument("--json", action="store_true", help="one JSON object on stdout")
    proof = commands.add_parser("check-proof", help="check a receipt's proof, from the regulator's key alone")
    proof.add_argument("file", metavar="FILE", help="what `unseen ledger prove` wrote")
    proof.add_argument("--directory", metavar="FILE", help="a directory to judge by; default: the enclosed one")
    proof.add_argument("--regulator-vkey", metavar="VKEY", help="the regulator's key, which signs the directory")
    proof.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
