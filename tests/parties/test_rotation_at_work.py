"""A federation at work before and after its parties have rotated their keys: nothing that was signed is lost."""

import shutil
import time
from io import StringIO
from pathlib import Path

from audit.keys import KeyPurpose
from audit.verify import verify_database
from parties.client.merchant import Merchant
from parties.directory_feed import LOOK_SECONDS
from parties.home import Home
from parties.key_room import open_key_room
from parties.own_keys import rotate_keys
from parties.telemetry import make_logger

from .federation import CLOCK, Federation, federation, serve
from .test_federation import rows

LOG, MESSAGE, WITNESS = KeyPurpose.LOG, KeyPurpose.MESSAGE, KeyPurpose.WITNESS


def rotate(home: Home, *purposes: KeyPurpose) -> None:
    with open_key_room(home, CLOCK, make_logger(home.config.telemetry, home.name, StringIO()), asking=purposes) as room:
        assert len(rotate_keys(home, room, frozenset(purposes), CLOCK)) == len(purposes)


def ask(running: Federation, merchant: Merchant, contract: str) -> None:
    result = merchant.aggregate(contract, statistics=["count"], by=["education"])
    assert len(result.receipts) == len(running.providers)


def test_work_goes_on_after_every_party_has_rotated_its_keys(tmp_path: Path) -> None:
    with federation(tmp_path, {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}) as running:
        contract = running.contract()
        ask(running, running.merchant, contract)
        running.merchant.close()
        rotate(running.merchant_home, *KeyPurpose)
        running.providers["east"].stop()
        rotate(running.providers["east"].home, *KeyPurpose)
        running.providers["east"] = serve(Home.open(running.providers["east"].home.path), running.clock)
        running.regulator.stop()
        rotate(running.regulator.home, LOG, WITNESS)
        running.regulator = serve(Home.open(running.regulator.home.path))
        time.sleep(LOOK_SECONDS)  # it may just have asked for a directory, of the rotation before the last
        with Merchant.open(running.merchant_home.path, say=lambda text: None) as merchant:
            ask(running, merchant, contract)  # under the contract that the earlier keys have signed; north, which runs
            # on, hears of the new keys from the merchant's call
            directory = merchant._rooms.feed.current()
        running.providers["east"].party.witnessing.turn()
        for home in running.homes().values():
            copy = tmp_path / f"{home.name}.copy"
            shutil.copytree(home.path, copy)
            report = verify_database(copy / "ledger.db", directory=directory)
            assert report.verified, (home.name, report)
            assert report.revoked_signatures == 0


def lose(home: Home) -> None:
    for purpose in (LOG, WITNESS):
        (home.keys / f"{purpose.value}.pem").unlink()


def test_work_goes_on_after_every_party_has_lost_its_log_and_witness_keys(tmp_path: Path) -> None:
    with federation(tmp_path, {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}) as running:
        contract = running.contract()
        ask(running, running.merchant, contract)
        running.merchant.close()
        lose(running.merchant_home)
        rotate(running.merchant_home, LOG, WITNESS)
        for name, provider in running.providers.items():
            provider.stop()
            lose(provider.home)
            rotate(provider.home, LOG, WITNESS)
            running.providers[name] = serve(Home.open(provider.home.path), running.clock)
        running.regulator.stop()
        lose(running.regulator.home)
        rotate(running.regulator.home, LOG, WITNESS)
        running.regulator = serve(Home.open(running.regulator.home.path))
        time.sleep(LOOK_SECONDS)
        with Merchant.open(running.merchant_home.path, say=lambda text: None) as merchant:
            ask(running, merchant, contract)
            directory = merchant._rooms.feed.current()
        for home in running.homes().values():
            copy = tmp_path / f"{home.name}.copy"
            shutil.copytree(home.path, copy)
            report = verify_database(copy / "ledger.db", directory=directory)
            assert report.verified, (home.name, report)
