"""`unseen serve`: run a provider or the regulator until told to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from audit.names import Role
from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_text, open_home
from parties.config import check_endpoint
from parties.errors import ConfigError, HomeError, UsageError
from parties.home import Home
from parties.server import PartyServer, ServedParty
from parties.service.contract import MAX_REASON
from parties.telemetry import Logger, make_logger
from parties.witness_http import WitnessHttpServer


def serve(
    home: HomeOption = None,
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="HOST:PORT to listen on instead of the configured one; port 0: any.")
    ] = "",
    unsafe_without_witnesses: Annotated[
        str | None,
        typer.Option(
            "--unsafe-without-witnesses",
            metavar="REASON",
            help="Take calls although this party's witnesses cannot be heard, until it stops; recorded for good.",
        ),
    ] = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Serve the home's party. One line on stdout says when it is ready; SIGTERM or Ctrl-C stops it gracefully."""
    if endpoint:
        try:
            check_endpoint(endpoint)
        except ConfigError as error:
            raise UsageError(f"--endpoint: {error}") from error
    if unsafe_without_witnesses is not None and not 0 < len(unsafe_without_witnesses.strip()) <= MAX_REASON:
        raise UsageError(f"--unsafe-without-witnesses: say why, in 1 to {MAX_REASON} characters")
    opened = open_home(home, passphrase_file)
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    logger = make_logger(opened.config.telemetry, opened.name)
    party = _open(opened, logger, unsafe_without_witnesses or "")
    try:
        server = PartyServer(opened, directory=party.directory, logger=logger)
        party.register(server)
        bound = server.start(endpoint)
        try:
            with _witnessing_over_https(opened, party, logger):
                party.start()
                _say_ready(opened, bound, logger, json=json)
                stop.wait()
        finally:
            server.stop()
    finally:
        party.close()


def _say_ready(home: Home, bound: str, logger: Logger, *, json: bool) -> None:
    if json:
        emit_json({"ready": True, "name": home.name, "role": home.role.value, "endpoint": bound})
    else:
        emit_text(f"ready: {home.name} ({home.role.value}) at {bound}")
    if home.role is Role.PROVIDER and not any(home.catalog.glob("*.toml")):
        logger.warning("no data set is declared: write catalog/NAME.toml and restart", catalog=str(home.catalog))


@contextmanager
def _witnessing_over_https(home: Home, party: ServedParty, logger: Logger) -> Iterator[None]:
    """Witness over HTTPS beside gRPC, where the home is set up for it."""
    if not home.config.witness.http:
        yield
        return
    server = WitnessHttpServer(home, party.witness.add_checkpoint, home.config.witness.http, logger)
    server.start()
    try:
        yield
    finally:
        server.close()


def _open(home: Home, logger: Logger, unsafe_without_witnesses: str) -> ServedParty:
    # Imported by role: a regulator needs neither data sources nor Paillier.
    if home.role is Role.PROVIDER:
        from parties.provider import Provider  # noqa: PLC0415

        return Provider.open(home, logger=logger, unsafe_without_witnesses=unsafe_without_witnesses)
    if home.role is Role.REGULATOR:
        from parties.regulator import Regulator  # noqa: PLC0415

        return Regulator.open(home, logger=logger, unsafe_without_witnesses=unsafe_without_witnesses)
    raise HomeError(f"{home.name} is a merchant: it only dials out and serves nothing")
