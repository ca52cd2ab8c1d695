"""The computing party sees which cells are withheld, and says which are closed: what it gains by lying."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.entry import Aborted, Outcome
from protocols.aggregate import combine, decrypt_totals
from protocols.errors import ProtocolError
from protocols.paillier_checks import decode_ciphertexts
from sandbox.errors import AbortedRunError, DenialReason, DeniedError
from sandbox.ports import PartMessage
from sandbox.roster import Bitmap
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import only
from tests.sandbox.survey import paillier_key
from tests.sandbox.test_session_aggregate import Round


def totals(made: Round, parts: list[PartMessage]) -> list[list[int]]:
    """What merchant and computing party together make of the parts."""
    key, layout = paillier_key(), made.call.layout
    vectors = [decode_ciphertexts(part.part, part.width, key.public_key, count=layout.ciphertexts) for part in parts]
    return decrypt_totals(combine(vectors, key.public_key), key, layout)


def only_open(cell: int) -> Bitmap:
    return Bitmap(tuple(index != cell for index in range(8)))


def test_two_rosters_for_one_call_open_no_cell_of_a_single_provider(federate: MakeFederation) -> None:
    """The attack: the cell is closed for all providers but one, so that its total is that provider's own."""
    made = Round(federate(3))
    singled, everyone = made.roster(closed=only_open(2)), made.roster(closed=Bitmap((True,) * 8))
    parts = [made.part(name, roster=singled if name == "north" else everyone) for name in ("east", "north", "south")]
    with pytest.raises(ProtocolError):
        totals(made, parts)


def test_between_two_providers_the_same_attack_succeeds_as_documented(federate: MakeFederation) -> None:
    """Without masks. There a total less one's own part is the other's anyway (DESIGN.md, what a collusion breaks)."""
    federation = federate(2)
    made = Round(federation)
    singled, everyone = made.roster(closed=only_open(2)), made.roster(closed=Bitmap((True,) * 8))
    opened = totals(made, [made.part("east", roster=everyone), made.part("north", roster=singled)])
    hidden = [index != 2 or made.hidden("north")[2] for index in range(8)]
    rows = made.call.layout.records.unpack(made.plain("north", hidden))
    assert opened[2] == rows[4:6]


def test_of_two_rosters_at_once_a_provider_answers_one(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    rosters = [made.roster(), made.roster(closed=Bitmap((True,) * 8))] * 4

    def ask(roster: bytes) -> PartMessage | DenialReason:
        try:
            return made.part("north", roster=roster)
        except DeniedError as error:
            return error.reason

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, rosters))
    assert sorted(Counter(answers).values()) == [4, 4]
    assert DenialReason.PART_ALREADY_GIVEN in answers
    assert len(only(Outcome, federation.providers["north"].entries())) == 1


@pytest.mark.parametrize("repeat", range(5))
def test_an_abort_that_races_with_the_part_leaves_it_spent_or_not_given(federate: MakeFederation, repeat: int) -> None:
    """The attack: have the part and be given the call back."""
    federation = federate(3, calls=5)
    north = federation.providers["north"]
    made = Round(federation)
    roster = made.roster()

    def ask() -> PartMessage | None:
        try:
            return made.part("north", roster=roster)
        except (DeniedError, AbortedRunError):
            return None

    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(ask)
        made.federation.clock.at_ms += repeat
        threads.submit(north.sessions.abort, made.id, "OTHER", peer=made.peer).result()
    given = asked.result() is not None
    (ended,) = only(Aborted, north.entries())
    assert ended.released or not given
    assert north.admission.usage(federation.contract_id).calls == int(ended.released)


def test_nobody_else_ends_asks_for_or_fetches_a_call(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    south = federation.providers["south"]
    for party in ("north", "south", "shop"):
        record = federation.directory.party(party)
        made.peer = type(made.peer)(party, record.role, record.spiffe_id, record.legal_entity)
        for attempt in (
            lambda: made.part("north"),
            lambda: federation.providers["north"].sessions.abort(made.id, "OTHER", peer=made.peer),
        ):
            with pytest.raises(DeniedError) as denied:
                attempt()
            assert denied.value.reason is DenialReason.IDENTITY_MISMATCH
    assert south.invocation.state(made.id) is not None
