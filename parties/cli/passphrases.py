"""New passphrases: out of a file or the environment, or typed twice."""

import getpass
import sys
from pathlib import Path

from parties.cli.output import passphrase_source
from parties.errors import PassphraseError
from parties.home import read_passphrase_file


def new_passphrase(file: Path | None, *, party: str, mend: str) -> bytes:
    """Return a passphrase for keys that lie under none yet: the file's, else the environment's, else typed twice.

    Raises:
        PassphraseError: there is none (`mend` says what to do), or what was typed differs; nothing was made or changed.
    """
    passphrase = passphrase_source(file, party=party)()
    if not passphrase:
        raise PassphraseError(mend)
    if file is None and sys.stdin.isatty() and passphrase != passphrase_source(None, party=f"{party} (again)")():
        raise PassphraseError("the two passphrases differ; nothing was made")
    return passphrase


def other_passphrase(file: Path | None, *, party: str, mend: str) -> bytes:
    """Return what is to replace the keys' passphrase: the file's, or typed twice. The environment has the present one.

    Raises:
        PassphraseError: as `new_passphrase`.
    """
    if file is not None:
        return read_passphrase_file(file)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise PassphraseError(mend)
    typed = [
        getpass.getpass(f"New passphrase of {party}'s keys{again}: ", stream=sys.stderr) for again in ("", " (again)")
    ]
    if not typed[0] or typed[0] != typed[1]:
        raise PassphraseError("the two passphrases differ, or are empty; nothing was changed")
    return typed[0].encode()
