from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audit.entry import Aborted, Intent, Outcome
from audit.envelope import Envelope
from protocols.executor import InlineExecutor
from protocols.masks import new_pair_key
from protocols.paillier import decrypt_batch
from protocols.paillier_checks import decode_ciphertexts
from sandbox.authorise import PeerIdentity
from sandbox.cells import CellPlan, CellTotals, TableTotals
from sandbox.declaration import DatasetDeclaration
from sandbox.errors import AbortedRunError, DenialReason, DeniedError, SourceError, SourceUnavailableError
from sandbox.overlap import OverlapError, OverlapGuard
from sandbox.part import mask_info
from sandbox.ports import OfferMessage, PartMessage
from sandbox.roster import Bitmap, HiddenCells, Offer, Roster, close_cells
from sandbox.session_aggregate import OPEN_CALLS
from sandbox.session_merchant import MerchantCall
from sandbox.violations import Violation
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import Federation, Provider, only
from tests.sandbox.survey import cells_of, identity, paillier_key, survey


class Round:
    """The computing party's work done by hand, so that a test can do it wrong."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.call: MerchantCall = federation.merchant.call()
        self.id = self.call.parsed.call
        self.messages: dict[str, OfferMessage] = {
            name: provider.sessions.offer(provider.authorised(self.call))
            for name, provider in federation.providers.items()
        }
        self.peer: PeerIdentity = identity(federation.computing.record)

    @property
    def offers(self) -> tuple[bytes, ...]:
        return tuple(message.offer for message in self.messages.values())

    def roster(self, offers: Sequence[bytes] | None = None, closed: Bitmap | None = None) -> bytes:
        cells = self.call.layout.cells
        hidden = [HiddenCells.decode(each.withheld, each.refused, cells=cells) for each in self.messages.values()]
        shut, _ = close_cells(hidden, min_contributors=2)
        digests = {
            name: Envelope.decode(data).digest for name, data in zip(self.messages, offers or self.offers, strict=True)
        }
        signer = self.federation.computing
        return Roster(self.id, signer.name, digests, (closed or shut).encode()).sign(signer.context.key).encode()

    def part(self, name: str, offers: tuple[bytes, ...] | None = None, roster: bytes | None = None) -> PartMessage:
        provider = self.federation.providers[name]
        return provider.sessions.part(self.id, offers or self.offers, roster or self.roster(), peer=self.peer)

    def slots(self, message: PartMessage) -> list[int]:
        """What the merchant's key makes of one part alone."""
        layout = self.call.layout
        values = decode_ciphertexts(message.part, message.width, paillier_key().public_key, count=layout.ciphertexts)
        return decrypt_batch(values, paillier_key(), executor=InlineExecutor())

    def plain(self, name: str, hidden: Sequence[bool]) -> list[int]:
        """What an unmasked part would hold."""
        rows = self.federation.providers[name].rows
        return self.call.layout.records.pack(
            [figure for cell, hide in zip(cells_of(rows), hidden, strict=True) for figure in ((0, 0) if hide else cell)]
        )

    def hidden(self, name: str) -> list[bool]:
        withheld = Bitmap.decode(self.messages[name].withheld, cells=self.call.layout.cells)
        shut = Roster.from_envelope(Envelope.decode(self.roster())).closed
        closed = Bitmap.decode(shut, cells=self.call.layout.cells)
        return [own or all_ for own, all_ in zip(withheld.cells, closed.cells, strict=True)]


def denied(reason: DenialReason, error: pytest.ExceptionInfo[DeniedError]) -> None:
    assert error.value.reason is reason


def test_an_offer_commits_to_the_cells_it_withholds(federate: MakeFederation) -> None:
    made = Round(federate(min_group_size=8))
    for name, message in made.messages.items():
        offer = Offer.from_envelope(Envelope.decode(message.offer))
        assert (offer.call, offer.provider, offer.cells) == (made.id, name, 8)
        hidden = HiddenCells.decode(message.withheld, message.refused, cells=8)
        assert offer.withheld == hidden.commitment(message.salt)
        rows = [rows for rows, _ in cells_of(made.federation.providers[name].rows)]
        assert hidden.withheld == Bitmap(tuple(count < 8 for count in rows))
        assert not any(hidden.refused.cells)


def test_withheld_and_closed_cells_are_zero_in_the_part(federate: MakeFederation) -> None:
    made = Round(federate(min_group_size=9))
    for name in made.messages:
        hidden = made.hidden(name)
        assert any(hidden)
        assert not all(hidden)
        assert made.slots(made.part(name)) == made.plain(name, hidden)


def test_from_three_providers_on_the_merchants_key_opens_no_single_part(federate: MakeFederation) -> None:
    made = Round(federate(3))
    for name in made.messages:
        assert made.slots(made.part(name)) != made.plain(name, made.hidden(name))


def test_all_masks_but_one_missing_open_nothing_and_all_together_cancel(federate: MakeFederation) -> None:
    made = Round(federate(3, min_group_size=8))
    hiding = list(zip(*(made.hidden(name) for name in made.messages), strict=True))
    assert any(sum(cell) == 1 for cell in hiding)  # withheld by one provider alone, open for the others
    n = paillier_key().public_key.n
    parts = {name: made.slots(made.part(name)) for name in made.messages}
    plain = {name: made.plain(name, made.hidden(name)) for name in made.messages}
    for names in (["east", "north"], ["north", "south"], ["east", "south"]):
        opened = [sum(values) % n for values in zip(*(parts[name] for name in names), strict=True)]
        assert opened != [sum(values) for values in zip(*(plain[name] for name in names), strict=True)]
    together = [sum(values) % n for values in zip(*parts.values(), strict=True)]
    assert together == [sum(values) for values in zip(*plain.values(), strict=True)]


def test_masks_are_bound_to_request_roster_attempt_and_pair() -> None:
    plain = mask_info("aa" * 32, "bb" * 32, 1, ("east", "north"))
    assert plain == mask_info("aa" * 32, "bb" * 32, 1, ("north", "east"))
    others = [
        mask_info("ab" * 32, "bb" * 32, 1, ("east", "north")),
        mask_info("aa" * 32, "ba" * 32, 1, ("east", "north")),
        mask_info("aa" * 32, "bb" * 32, 2, ("east", "north")),
        mask_info("aa" * 32, "bb" * 32, 1, ("east", "west")),
    ]
    assert len({plain, *others}) == 5


def test_the_same_question_gets_the_byte_identical_part(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    roster = made.roster()
    first = made.part("north", roster=roster)
    assert made.part("north", roster=roster) == first
    federation.providers["north"].restart()
    assert made.part("north", roster=roster) == first
    assert len(only(Outcome, federation.providers["north"].entries())) == 1


def test_the_same_question_from_eight_threads_gets_one_part(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    roster = made.roster()
    with ThreadPoolExecutor(8) as threads:
        parts = set(threads.map(lambda _: made.part("north", roster=roster), range(8)))
    assert len(parts) == 1
    assert len(only(Outcome, federation.providers["north"].entries())) == 1


def test_another_roster_after_the_part_is_denied(federate: MakeFederation) -> None:
    made = Round(federate(3))
    made.part("north")
    with pytest.raises(DeniedError) as caught:
        made.part("north", roster=made.roster(closed=Bitmap((True,) * 8)))
    denied(DenialReason.PART_ALREADY_GIVEN, caught)


def test_no_part_without_a_whole_and_genuine_round(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    east, north, south = made.offers
    forged_key = new_pair_key()[1]
    forged = Offer(made.id, "south", forged_key, 8, "00" * 32).sign(federation.computing.context.key).encode()
    old = Round(federation).offers[2]
    for offers in (
        (east, north),
        (east, south, north),
        (east, north, north),
        (east, north, forged),
        (east, north, old),
    ):
        roster = made.roster(offers) if len(offers) == 3 else made.roster()
        with pytest.raises(DeniedError) as caught:
            made.part("north", offers, roster)
        denied(DenialReason.ROSTER_MISMATCH, caught)
    for name in ("north", "south"):
        assert only(Outcome, federation.providers[name].entries()) == []
    assert made.part("north")  # the honest round still goes


def test_no_part_for_another_offer_in_its_own_name(federate: MakeFederation) -> None:
    """Such an offer takes the provider's own key to sign; its masks would be of a key that it does not hold."""
    federation = federate(3)
    made = Round(federation)
    east, _, south = made.offers
    twin = Offer(made.id, "north", new_pair_key()[1], 8, "00" * 32).sign(federation.providers["north"].context.key)
    offers = (east, twin.encode(), south)
    with pytest.raises(DeniedError) as caught:
        made.part("north", offers, made.roster(offers))
    denied(DenialReason.ROSTER_MISMATCH, caught)


def test_a_roster_that_the_computing_party_did_not_sign_is_denied(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    roster = Roster.from_envelope(Envelope.decode(made.roster()))
    for signer in ("north", "south"):
        with pytest.raises(DeniedError) as caught:
            made.part("north", roster=roster.sign(federation.providers[signer].context.key).encode())
        denied(DenialReason.ROSTER_MISMATCH, caught)


def test_only_the_computing_party_may_ask_for_the_part_or_end_the_call(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    sessions = federation.providers["north"].sessions
    for stranger in ("south", "shop", "watch"):
        peer = identity(federation.directory.party(stranger))
        with pytest.raises(DeniedError) as caught:
            sessions.part(made.id, made.offers, made.roster(), peer=peer)
        denied(DenialReason.IDENTITY_MISMATCH, caught)
        with pytest.raises(DeniedError) as caught:
            sessions.abort(made.id, "OTHER", peer=peer)
        denied(DenialReason.IDENTITY_MISMATCH, caught)
    sessions.abort("00" * 32, "OTHER", peer=made.peer)  # unknown: nothing to end, nothing to tell
    assert only(Aborted, federation.providers["north"].entries()) == []


def test_an_offer_ends_at_the_requests_deadline_and_is_given_back(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    north = federation.providers["north"]
    federation.clock.at_ms = made.call.parsed.request.deadline_ms - 1
    north.sessions.sweep()
    assert only(Aborted, north.entries()) == []
    federation.clock.at_ms += 1
    north.sessions.sweep()
    (aborted,) = only(Aborted, north.entries())
    assert (aborted.released, aborted.reason) == (False, "EXPIRED")
    assert north.admission.usage(federation.contract_id).calls == 0
    with pytest.raises(DeniedError) as caught:
        made.part("north")
    denied(DenialReason.STALE, caught)


def test_an_aborted_call_gives_no_part_and_a_given_part_is_not_given_again(federate: MakeFederation) -> None:
    federation = federate(3)
    made = Round(federation)
    made.part("south")
    for name in ("north", "south"):
        federation.providers[name].sessions.abort(made.id, "PEER_UNAVAILABLE", peer=made.peer)
        with pytest.raises(DeniedError) as caught:
            made.part(name)
        denied(DenialReason.STALE, caught)
    assert [only(Aborted, federation.providers[name].entries())[0].released for name in ("north", "south")] == [
        False,
        True,
    ]


def refusing(federation: Federation) -> Round:
    """A round over all three, of cells that east and north have answered to two."""
    first = federation.contract
    pair = ("east", "north")
    datasets = {name: first.datasets[name] for name in pair}
    contract = federation.agree(replace(first, providers=pair, datasets=datasets, nonce="11" * 16))
    federation.run(contract=contract)
    return Round(federation)


def test_a_roster_that_leaves_open_what_the_provider_refuses_gets_no_part(federate: MakeFederation) -> None:
    made = refusing(federate(3))
    refused = Bitmap.decode(made.messages["north"].refused, cells=8)
    assert any(refused.cells)
    with pytest.raises(DeniedError) as caught:
        made.part("north", roster=made.roster(closed=Bitmap((False,) * 8)))
    denied(DenialReason.ROSTER_MISMATCH, caught)
    assert "refuses" in caught.value.detail
    made.part("north")


def test_a_refused_cell_is_zero_in_the_part_and_closed_for_all(federate: MakeFederation) -> None:
    made = refusing(federate(3))
    closed = Bitmap.decode(Roster.from_envelope(Envelope.decode(made.roster())).closed, cells=8)
    for name in ("east", "north"):
        refused = Bitmap.decode(made.messages[name].refused, cells=8)
        assert all(shut for own, shut in zip(refused.cells, closed.cells, strict=True) if own)
    assert not any(Bitmap.decode(made.messages["south"].refused, cells=8).cells)
    n = paillier_key().public_key.n
    parts = [made.slots(made.part(name)) for name in made.messages]
    assert [sum(values) % n for values in zip(*parts, strict=True)] == [
        sum(values) for values in zip(*(made.plain(name, closed.cells) for name in made.messages), strict=True)
    ]


def test_a_roster_over_which_sums_must_not_be_known_ends_the_call_like_any_trouble(
    federate: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Round(federate(3))
    north = made.federation.providers["north"]

    def conflict(guard: OverlapGuard, call: str, closed: Sequence[bool]) -> None:
        raise OverlapError("too near")

    monkeypatch.setattr(OverlapGuard, "settle", conflict)
    with pytest.raises(AbortedRunError, match="could not compute its cells") as caught:
        made.part("north")
    assert "near" not in str(caught.value)
    assert north.invocation.state(made.id) is None


ROWS = np.arange(60, dtype=np.int32) % 8  # the cells of a provider's rows


class BrokenSource:
    """A data source in trouble."""

    def __init__(self, trouble: SourceError | CellTotals) -> None:
        self.trouble = trouble

    def content_hash(self) -> str:
        return "00" * 32

    def check(self, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
        return ()

    def totals(self, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
        if isinstance(self.trouble, SourceError):
            raise self.trouble
        return self.trouble

    def close(self) -> None:
        return


TROUBLES = (
    SourceError("row 17: '4711' is not a wage"),
    SourceUnavailableError("could not connect to 10.0.0.7"),
    CellTotals((TableTotals(((1, 2**60),) * 8, (100,) * 8, (), ROWS),), 0),
    CellTotals((TableTotals(((1, 1),) * 8, (100,) * 8, (), ROWS[1:]),), 0),  # of another number of rows
    CellTotals((TableTotals(((1, 1),) * 8, (100,) * 8, (), None),), 0),
)


def fail(federation: Federation, provider: Provider) -> AbortedRunError:
    with pytest.raises(AbortedRunError) as caught:
        Round(federation).part(provider.name)
    return caught.value


def test_whatever_goes_wrong_with_the_data_is_one_message_and_the_call_is_given_back(federate: MakeFederation) -> None:
    federation = federate(3)
    north = federation.providers["north"]
    details = set()
    for trouble in TROUBLES:
        north.datasets.source = BrokenSource(trouble)
        details.add(fail(federation, north).detail)
    assert details == {"north could not compute its cells; its operator's log says why"}
    assert [entry.reason for entry in only(Aborted, north.entries())] == ["DATA_UNREADABLE"] * len(TROUBLES)
    assert north.admission.usage(federation.contract_id).calls == 0
    assert only(Outcome, north.entries()) == []


def test_open_calls_are_bounded(federate: MakeFederation) -> None:
    federation = federate()
    north = federation.providers["north"]
    north.datasets.source = BrokenSource(
        CellTotals((TableTotals(((5, 5),) * 8, (5,) * 8, (), ROWS),), 0)
    )  # the scans are not the point
    for _ in range(OPEN_CALLS):
        north.sessions.offer(north.authorised(federation.merchant.call()))
    with pytest.raises(DeniedError) as caught:
        north.sessions.offer(north.authorised(federation.merchant.call()))
    denied(DenialReason.RATE_LIMITED, caught)
    assert len(only(Intent, north.entries())) == OPEN_CALLS


def test_a_denied_request_opens_nothing(federate: MakeFederation) -> None:
    federation = federate(calls=1)
    north = federation.providers["north"]
    north.sessions.offer(north.authorised(federation.merchant.call()))
    again = federation.merchant.call()
    with pytest.raises(DeniedError):
        north.sessions.offer(north.authorised(again))
    assert north.invocation.state(again.parsed.call) is None


def test_lengths_do_not_depend_on_rows(tmp_path: Path) -> None:
    lengths = []
    for number, rows in enumerate((40, 4_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = {name: survey(seed + 10 * number, rows) for seed, name in enumerate(("east", "north", "south"))}
        federation = Federation(folder, data)
        made = Round(federation)
        parts = [made.part(name) for name in made.messages]
        lengths.append(
            (
                [(len(m.offer), len(m.withheld), len(m.refused), len(m.salt)) for m in made.messages.values()],
                [(p.width, len(p.part), len(p.receipt)) for p in parts],
            )
        )
        federation.close()
    assert lengths[0] == lengths[1]
