"""`unseen keys encrypt`: put the keys of a home that is there already under a passphrase, or under another."""

from pathlib import Path
from typing import Annotated

import typer

from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_text,
    open_home,
    say,
    talk,
)
from parties.cli.passphrases import new_passphrase, other_passphrase
from parties.key_encryption import encrypt_keys, keys_in_clear


def encrypt(
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--new-passphrase-file",
            help="Keys that are encrypted already go under the passphrase in this file.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Put this party's private keys under a passphrase, or under a new one. Stop the party first.

    If it is interrupted, run it again in the same way.
    """
    opened = open_home(home, passphrase_file)
    party = opened.path.name
    if new_passphrase_file is None and keys_in_clear(opened):
        mend = "the keys need a passphrase: give --passphrase-file, or set UNSEEN_PASSPHRASE; nothing was changed"
        passphrase, current = new_passphrase(passphrase_file, party=party, mend=mend), None
    else:
        current = opened.passphrase
        mend = "the keys are encrypted already: for another passphrase, give --new-passphrase-file"
        passphrase = other_passphrase(new_passphrase_file, party=party, mend=mend)
    written = [str(path) for path in encrypt_keys(opened, passphrase, current=current)]
    talk(
        say(
            "The keys lie under the passphrase. Earlier backups hold them as they were: make a new one, and destroy "
            "those.",
            "私钥已用口令加密。较早的备份中仍是原来的私钥：请重新备份并销毁旧备份。",
        )
    )
    emit_json({"name": opened.name, "written": written}) if json else emit_text("\n".join(written))
