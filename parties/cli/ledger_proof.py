"""`unseen ledger prove` and `check-proof`: hand a receipt to a stranger, and be that stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.__main__ import main as audit_main
from audit.directory import MAX_DIRECTORY_BYTES
from audit.envelope import Envelope
from audit.ledger import open_reader
from audit.receipt_proving import prove_receipt
from audit.tlog_proof import FILE_SUFFIX
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_text, open_home, say, talk
from parties.errors import UsageError


def prove(
    receipt: Annotated[str, typer.Argument(help="A receipt's id, or the beginning of it.", show_default=False)],
    home: HomeOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help=f"The file to write; default: RECEIPT{FILE_SUFFIX} here.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a proof that a stranger can check offline: the receipt, both signatures, its place in the ledger.

    Works while the party is running. The proof is checked by the party's own directory before it is written.
    """
    party = open_home(home)
    directory = Envelope.decode(party.directory_bytes(), limit=MAX_DIRECTORY_BYTES)
    reader = open_reader(party.ledger_path)
    try:
        portable = prove_receipt(reader, receipt, directory)
    finally:
        reader.close()
    proven = portable.verify(portable.enclosed_directory(party.regulator_key()))
    path = out if out is not None else Path(f"{proven.receipt_id[:12]}{FILE_SUFFIX}")
    try:
        path.write_bytes(portable.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): give another --out") from error
    if json:
        emit_json({"file": str(path), **proven.to_json()})
        return
    emit_text(str(path))
    vkey = party.regulator_key().vkey()
    talk(
        say(
            f"Check it anywhere: unseen ledger check-proof {path} --regulator-vkey {vkey}",
            f"可在任何地方核验：unseen ledger check-proof {path} --regulator-vkey {vkey}",
        )
    )


def check_proof(
    file: Annotated[Path, typer.Argument(help="What `unseen ledger prove` wrote.", show_default=False)],
    directory: Annotated[
        Path | None,
        typer.Option("--directory", help="A directory to judge by; default: the enclosed one.", show_default=False),
    ] = None,
    regulator_vkey: Annotated[
        str, typer.Option("--regulator-vkey", help="The regulator's key, known from elsewhere.", show_default=False)
    ] = "",
    json: JsonOption = False,
) -> None:
    """Check a receipt's proof offline: exit 0 verified, 5 it does not hold, 6 could not be carried out."""
    arguments = ["check-proof", str(file), "--regulator-vkey", regulator_vkey]
    arguments += ["--directory", str(directory)] if directory is not None else []
    arguments += ["--json"] if json else []
    raise typer.Exit(audit_main(arguments))
