"""A provider that drops out ends an exact request: it is named to the merchant, and nobody runs it again without it."""

import json

import pytest

from audit.entry import Ack, Intent, Outcome
from parties.cli.app import run
from sandbox.errors import PeerUnavailableError
from sandbox.session_aggregate import AggregateSessions
from tests.parties.federation import federation
from tests.parties.test_broken_lines import behind, frames_of
from tests.parties.test_federation import provider_entries

NAMES = ("east", "north", "south", "west")
COMPUTING_PARTY, MISSING = "east", "south"


@pytest.mark.parametrize("round_", ["offer", "part"])
def test_a_provider_lost_in_either_round_is_named_and_the_request_is_over(tmp_path, monkeypatch, capsys, round_):
    relays = {}
    asked = []
    answer = getattr(AggregateSessions, round_)

    def lose_the_line(sessions, *arguments, **keywords):
        """The provider works on, but nothing that it sends arrives any more."""
        asked.append(sessions._context.name)
        if sessions._context.name == MISSING:
            relays[MISSING].close()
        return answer(sessions, *arguments, **keywords)

    with federation(tmp_path, frames_of(*NAMES), prepare=behind(relays)) as fed:
        contract = fed.contract()
        fed.merchant.aggregate(contract, statistics=["count"])
        monkeypatch.setattr(AggregateSessions, round_, lose_the_line)
        with pytest.raises(PeerUnavailableError, match="south is unavailable") as caught:
            fed.merchant.aggregate(contract, statistics=["variance(wage)"], timeout=20)
        assert caught.value.party == MISSING
        assert MISSING in asked
        assert len(asked) == len(set(asked)), "nobody is asked a second time"
        fed.merchant.close()
        home = str(fed.merchant_home.path)
        assert run(["aggregate", contract, "--count", "--timeout", "20", "--home", home, "--json"]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert json.loads(told.err.splitlines()[-1])["party"] == MISSING
        for name in NAMES:
            entries = provider_entries(fed, name)
            acknowledged = [entry.call for entry in entries if isinstance(entry, Ack)]
            assert acknowledged == [entry.call for entry in entries if isinstance(entry, Intent)][:1]
        assert sum(isinstance(entry, Outcome) for entry in provider_entries(fed, COMPUTING_PARTY)) == 1
    for relay in relays.values():
        relay.close()
