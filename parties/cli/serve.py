"""`unseen serve`: run a provider or the regulator until told to stop."""

import signal
import threading
from types import FrameType
from typing import Annotated

import typer

from audit.names import Role
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_text, open_home
from parties.config import check_endpoint
from parties.errors import ConfigError, HomeError, UsageError
from parties.home import Home
from parties.server import PartyServer, ServedParty
from parties.telemetry import Logger, make_logger


def serve(
    home: HomeOption = None,
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="HOST:PORT to listen on instead of the configured one; port 0: any.")
    ] = "",
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Serve the home's party. One line on stdout says when it is ready; SIGTERM or Ctrl-C stops it gracefully."""
    if endpoint:
        try:
            check_endpoint(endpoint)
        except ConfigError as error:
            raise UsageError(f"--endpoint: {error}") from error
    opened = open_home(home, passphrase_file)
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    logger = make_logger(opened.config.telemetry, opened.name)
    party = _open(opened, logger)
    try:
        server = PartyServer(opened, directory=party.directory, logger=logger)
        party.register(server)
        bound = server.start(endpoint)
        try:
            party.start()
            if json:
                emit_json({"ready": True, "name": opened.name, "role": opened.role.value, "endpoint": bound})
            else:
                emit_text(f"ready: {opened.name} ({opened.role.value}) at {bound}")
            if opened.role is Role.PROVIDER and not any(opened.catalog.glob("*.toml")):
                logger.warning(
                    "no data set is declared: write catalog/NAME.toml and restart", catalog=str(opened.catalog)
                )
            stop.wait()
        finally:
            server.stop()
    finally:
        party.close()


def _open(home: Home, logger: Logger) -> ServedParty:
    # Imported by role: a regulator needs neither data sources nor Paillier.
    if home.role is Role.PROVIDER:
        from parties.provider import Provider  # noqa: PLC0415

        return Provider.open(home, logger=logger)
    if home.role is Role.REGULATOR:
        from parties.regulator import Regulator  # noqa: PLC0415

        return Regulator.open(home, logger=logger)
    raise HomeError(f"{home.name} is a merchant: it only dials out and serves nothing")
