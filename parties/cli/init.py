"""`unseen init`: make a party's home."""

from pathlib import Path
from typing import Annotated

import typer

from audit.clock import SystemClock
from audit.keys import KeyPurpose
from audit.names import Role
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_text, talk
from parties.cli.passphrases import new_passphrase
from parties.founding import DEFAULT_DOMAIN, Founding, found
from parties.identity import Subject

PartyRole = Annotated[Role, typer.Argument(help="What the party is.", show_default=False)]


def init(  # noqa: PLR0913, PLR0917  (options, all but two given by name)
    role: PartyRole,
    name: Annotated[
        str, typer.Argument(help="The party's name: a letter, then up to 30 of a-z, 0-9, -.", show_default=False)
    ],
    legal_entity: Annotated[
        str,
        typer.Option(
            "--legal-entity",
            help="Its code in a public register, such as the unified social credit code: letters, digits and .:_-",
            show_default=False,
        ),
    ],
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="HOST:PORT at which others dial it; a merchant needs none.")
    ] = "",
    domain: Annotated[
        str, typer.Option("--domain", help="The federation's domain, the same for all its parties.")
    ] = DEFAULT_DOMAIN,
    home: HomeOption = None,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt the keys under a passphrase.")] = False,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Make a home (default: ./NAME) with keys, settings and an enrolment request.

    Writes the request's path to stdout; for the regulator, who needs no enrolment, its key instead.
    """
    path = home if home is not None else Path(name)
    passphrase = _new_passphrase(encrypt, passphrase_file, name)
    founding = Founding(Subject(name, role, domain), legal_entity, endpoint)
    made = found(path, founding, passphrase=passphrase, clock=SystemClock())
    request = "" if role is Role.REGULATOR else str(made.request_path)
    if role is Role.REGULATOR:
        vkey = made.config.regulator.vkey
        talk(f"{name} is founded. Parties compare this key when they accept a bundle:\n  {vkey}")
        talk(f"Next: unseen serve --home {path}, and unseen enrol sign REQUEST --home {path}")
    else:
        vkey = read_vkey(made.request_path)
        talk(f"{name} has a home. Next: bring its request to the regulator, who runs unseen enrol sign;")
        talk(f"then: unseen enrol accept BUNDLE --home {path}")
    if json:
        emit_json({"home": str(made.path), "name": name, "role": role.value, "request": request, "vkey": vkey})
    else:
        emit_text(request or vkey)


def read_vkey(request: Path) -> str:
    """Return the message key that a request announces."""
    from parties.enrol import read_request  # noqa: PLC0415  (only this branch needs it)

    return read_request(request.read_bytes())[0].keys[KeyPurpose.MESSAGE].vkey()


def _new_passphrase(encrypt: bool, file: Path | None, name: str) -> bytes | None:
    if not encrypt and file is None:
        return None
    mend = "--encrypt needs a passphrase: give --passphrase-file, or set UNSEEN_PASSPHRASE"
    return new_passphrase(file, party=name, mend=mend)
