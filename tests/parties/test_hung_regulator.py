"""A regulator that takes connections and says nothing costs a command one wait, and the command says for what."""

import socket
import time
from contextlib import contextmanager

import pytest

from parties.cli.app import run
from parties.client import directory as directory_client
from parties.client.merchant import Merchant
from sandbox.errors import DenialReason, DeniedError
from tests.parties.federation import federation
from tests.parties.test_federation import rows
from tests.parties.witnesses import set_witness, start_regulator, stop_regulator

ASK_MS = 1_500


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    with federation(
        tmp_path_factory.mktemp("town"), {name: rows(name, 60, 0) for name in ("east", "north")}
    ) as running:
        running.merchant.close()
        yield running


@contextmanager
def hung(fed):
    """In the regulator's place something that accepts connections and never answers."""
    host, _, port = fed.regulator.home.config.network.endpoint.rpartition(":")
    stop_regulator(fed)
    try:
        with socket.create_server((host, int(port))):
            yield
    finally:
        start_regulator(fed)


def test_a_merchant_waits_once_says_for_whom_and_asks_nothing(fed, capsys):
    home = set_witness(fed.merchant_home, ask_timeout_ms=ASK_MS)
    with Merchant.open(home) as merchant:
        fed.merchant = merchant
        contract = fed.contract()
        merchant.paillier_key  # noqa: B018  (made now, so that it takes no time below)
    with hung(fed):
        told: list[str] = []
        began = time.monotonic()
        with Merchant.open(home, say=told.append) as merchant:
            with pytest.raises(DeniedError) as caught:
                merchant.aggregate(contract, statistics=["count"])
            took = time.monotonic() - began
    assert caught.value.reason is DenialReason.WITNESSES_UNHEARD
    assert took < 2 * ASK_MS / 1000, "the directory and the call did not wait again"
    assert [text for text in told if "Waiting for authority" in text] == told
    assert len(told) == 1
    log = capsys.readouterr().err
    assert log.count("the ledger is held") == 1
    assert "could not be refreshed" not in log


def test_a_renewal_gives_up_and_says_for_whom_it_waits(fed, capsys, monkeypatch):
    monkeypatch.setattr(directory_client, "ANSWER_MS", ASK_MS)
    with hung(fed):
        began = time.monotonic()
        assert run(["certificate", "renew", "--home", str(fed.merchant_home.path)]) == 1
        assert time.monotonic() - began < 2 * ASK_MS / 1000
    assert "Waiting for authority" in capsys.readouterr().err


def test_what_is_quick_is_not_told_of(fed, capsys):
    assert run(["certificate", "renew", "--home", str(fed.merchant_home.path)]) == 0
    assert "Waiting" not in capsys.readouterr().err
