"""Each tampered request is denied by the one check that blocks its attack, and passes where that check is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.commitment import commit, encode_openings
from audit.directory import KeyPurpose, KeyStatus, Role
from audit.keys import SigningKey
from audit.tariff import Units
from protocols.paillier_key import PublicKey, Scheme
from sandbox import authorise as authorise_module
from sandbox.authorise import AuthoriseContext, Authorised, AuthoriseLimits, Leg, PeerIdentity, authorise
from sandbox.contract_states import ContractState
from sandbox.errors import DenialReason, DeniedError
from sandbox.frame import MAX_SCALED, Frame, FrameColumn, Use
from sandbox.grades import Grade
from sandbox.purpose import Purpose
from sandbox.request import AggregateQuery, DomainFilter, RangeFilter, Statistic, StatisticKind

from .agreement import (
    AT_MS,
    DAY_MS,
    FRAME,
    IMPORTANT,
    PROVIDERS,
    PURPOSE,
    QUERY,
    VERSION,
    context,
    contract,
    description,
    directory,
    identity,
    key,
    message_keys,
    paillier_key,
    party_record,
    record,
    request,
    signed,
    wire,
)

R = DenialReason
DEADLINE = AT_MS + 60_000
COUNT = Statistic(StatisticKind.COUNT, None)


@dataclass(frozen=True)
class Attempt:
    """A call, good unless something is changed."""

    query: AggregateQuery = QUERY
    purpose: Purpose = PURPOSE
    terms: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    signer: SigningKey = field(default_factory=lambda: key("shop"))
    key: PublicKey | None = None
    sent_key: PublicKey | None = None
    openings: Callable[[Any], Any] = lambda openings: openings
    peer: PeerIdentity = field(default_factory=lambda: identity("shop"))
    context: dict[str, Any] = field(default_factory=dict)
    now_ms: int = AT_MS
    grpc_deadline_ms: int | None = DEADLINE

    def run(self) -> Authorised:
        made, openings = request(self.query, self.purpose, self.key, **self.terms)
        made = replace(made, **self.request)
        parsed, _ = wire(made, openings, self.signer)
        return authorise(
            parsed,
            encode_openings(self.openings(openings)),
            self.sent_key or self.key or paillier_key().public_key,
            peer=self.peer,
            context=context(**self.context),
            now_ms=self.now_ms,
            grpc_deadline_ms=self.grpc_deadline_ms,
        )


AUTHORISED = 10


def outcome(attempt: Attempt) -> int:
    """The number of the check that denies the attempt, or AUTHORISED."""
    try:
        attempt.run()
    except DeniedError as denied:
        return denied.check
    return AUTHORISED


def forwarded(**changes: Any) -> Attempt:
    own = {"self_party": "north", "leg": Leg.FORWARDED, "description": description("north")}
    return Attempt(peer=identity("east"), context=own | changes)


def under(**changes: Any) -> Attempt:
    """A good call under another contract."""
    document = contract(**changes)
    return Attempt(context={"record": record(document)}, terms={"contract": signed(document).digest})


def asking(*statistics: Statistic, group_by: tuple[str, ...] = (), filters: tuple[Any, ...] = ()) -> AggregateQuery:
    return AggregateQuery(statistics or (COUNT,), group_by, filters)


def swapped_query(openings: Any) -> Any:
    other = asking(group_by=("education",)).to_fields(PURPOSE)
    return openings | {"filters": replace(openings["filters"], value=other["filters"])}


def test_a_good_call_is_authorised_with_what_follows_from_it() -> None:
    authorised = Attempt().run()
    assert authorised.query == QUERY
    assert (authorised.provider, authorised.dataset) == ("east", f"east/workers@{VERSION}")
    assert authorised.layout.cells == 4
    assert authorised.layout.parties == 3
    assert authorised.units == Units(1, 1_000, authorised.layout.ciphertexts, 0)
    assert authorised.price_micro == 1_500_000 + 20_000 + authorised.layout.ciphertexts * 500
    assert authorised.grade is Grade.GENERAL
    assert authorised.openings.keys() == {"statistics", "group_by", "filters", "purpose"}


def test_a_forwarded_call_is_authorised_at_a_peer() -> None:
    assert forwarded().run().provider == "north"


def test_a_countersigned_contract_authorises_important_columns() -> None:
    document = contract(grades=IMPORTANT)
    envelope = signed(document).sign(key("watch"))
    attempt = Attempt(context={"record": record(document, envelope=envelope)}, terms={"contract": envelope.digest})
    assert attempt.run().grade is Grade.IMPORTANT


STRANGER = PeerIdentity("mallory", Role.MERCHANT, "spiffe://stats.example/merchant/mallory", "LEGAL-MALLORY")
WIDE: tuple[FrameColumn, ...] = tuple(
    replace(FRAME.columns[2], name=f"c{index}", domain=tuple(f"v{level}" for level in range(400))) for index in range(2)
)


def wide_context() -> dict[str, Any]:
    columns = {column.name: column.name for column in WIDE}
    document = contract(
        frame=Frame(WIDE),
        uses=dict.fromkeys(columns, frozenset({Use.GROUP_BY})),
        grades=dict.fromkeys(columns, Grade.GENERAL),
        datasets={party: replace(item, columns=columns) for party, item in contract().datasets.items()},
    )
    own = replace(
        description(),
        columns=tuple(replace(description().columns[2], name=column.name, domain=column.domain) for column in WIDE),
    )
    return {
        "context": {"record": record(document), "description": own},
        "terms": {"contract": signed(document).digest},
        "query": asking(group_by=("c0", "c1")),
    }


ATTACKS: dict[str, tuple[Attempt, int, R, str]] = {
    # 1 identity
    "a stranger with a certificate of the right CA": (Attempt(peer=STRANGER), 1, R.UNKNOWN_PARTY, "authorise.identity"),
    "a provider that sends the merchant's request on its own": (
        Attempt(peer=identity("north")),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "the computing party in the merchant's place": (
        Attempt(peer=identity("east")),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "the merchant in the computing party's place, to see who withholds": (
        Attempt(context={"leg": Leg.FORWARDED}),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "a forwarder that the request does not name": (
        replace(forwarded(), peer=identity("south")),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "a certificate whose role the directory does not know": (
        Attempt(peer=replace(identity("shop"), role=Role.PROVIDER)),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "a certificate of another legal entity": (
        Attempt(peer=replace(identity("shop"), legal_entity="LEGAL-EAST")),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    "a provider that signs as merchant": (
        Attempt(request={"merchant": "north"}, signer=key("north"), peer=identity("north")),
        1,
        R.WRONG_ROLE,
        "authorise.identity",
    ),
    "a computing party that forwards to itself": (
        replace(forwarded(self_party="east", description=description("east"))),
        1,
        R.IDENTITY_MISMATCH,
        "authorise.identity",
    ),
    # 2 signature
    "a request signed by another party": (Attempt(signer=key("north")), 2, R.BAD_SIGNATURE, "authorise.signature"),
    "a request signed with the merchant's log key": (
        Attempt(signer=key("shop", KeyPurpose.LOG)),
        2,
        R.BAD_SIGNATURE,
        "authorise.signature",
    ),
    "a request signed with a revoked key": (
        Attempt(
            context={
                "directory": directory(
                    shop=party_record("shop", keys=message_keys("shop", KeyStatus.REVOKED, KeyStatus.ACTIVE))
                )
            }
        ),
        2,
        R.BAD_SIGNATURE,
        "authorise.signature",
    ),
    "a request signed with a retired key": (
        Attempt(
            context={
                "directory": directory(
                    shop=party_record("shop", keys=message_keys("shop", KeyStatus.RETIRED, KeyStatus.ACTIVE))
                )
            }
        ),
        2,
        R.BAD_SIGNATURE,
        "authorise.signature",
    ),
    "a merchant without any live key": (
        Attempt(
            context={"directory": directory(shop=party_record("shop", keys=message_keys("shop", KeyStatus.REVOKED)))}
        ),
        2,
        R.BAD_SIGNATURE,
        "authorise.signature",
    ),
    "a swapped Paillier key": (Attempt(sent_key=paillier_key(1).public_key), 2, R.KEY_MISMATCH, "authorise.key"),
    "the same modulus under another scheme": (
        Attempt(sent_key=PublicKey(paillier_key().public_key.n, Scheme.TEXTBOOK)),
        2,
        R.KEY_MISMATCH,
        "authorise.key",
    ),
    "a swapped query": (Attempt(openings=swapped_query), 2, R.COMMITMENT_MISMATCH, "authorise.openings"),
    "a withheld opening": (
        Attempt(openings=lambda given: {name: given[name] for name in ("statistics", "group_by", "filters")}),
        2,
        R.COMMITMENT_MISMATCH,
        "authorise.openings",
    ),
    "an opening too many": (
        Attempt(openings=lambda given: given | {"extra": given["filters"]}),
        2,
        R.COMMITMENT_MISMATCH,
        "authorise.openings",
    ),
    "a modulus shorter than the limit": (
        Attempt(context={"limits": AuthoriseLimits()}),
        2,
        R.BAD_MODULUS,
        "authorise.key",
    ),
    "an even modulus": (Attempt(key=PublicKey(1 << 511 | 2, Scheme.TEXTBOOK)), 2, R.BAD_MODULUS, "authorise.key"),
    # 3 freshness
    "a call without deadline": (Attempt(grpc_deadline_ms=None), 3, R.DEADLINE_MISSING, "authorise.grpc_deadline"),
    "a call whose deadline has passed": (Attempt(grpc_deadline_ms=AT_MS), 3, R.STALE, "authorise.deadline_ms"),
    "a request whose deadline has passed": (Attempt(terms={"deadline_ms": AT_MS}), 3, R.STALE, "authorise.deadline_ms"),
    "a request that is good for an hour": (
        Attempt(terms={"deadline_ms": AT_MS + 15 * 60_000 + 1}),
        3,
        R.STALE,
        "authorise.deadline_ms",
    ),
    "an old request": (Attempt(terms={"issued_at_ms": AT_MS - 60_001}), 3, R.STALE, "authorise.issued_at_ms"),
    "a post-dated request": (Attempt(terms={"issued_at_ms": AT_MS + 60_001}), 3, R.STALE, "authorise.issued_at_ms"),
    "a request for others": (
        Attempt(request={"audience": ("north", "south")}),
        3,
        R.WRONG_AUDIENCE,
        "authorise.audience",
    ),
    # 4 contract
    "no contract": (Attempt(context={"record": None}), 4, R.CONTRACT_UNKNOWN, "authorise.contract"),
    "another contract's id": (Attempt(terms={"contract": "00" * 32}), 4, R.CONTRACT_UNKNOWN, "authorise.contract"),
    "a contract of another merchant": (
        Attempt(context={"record": record(contract(merchant="other"))}),
        2,
        R.IDENTITY_MISMATCH,
        "merchant",
    ),
    "a contract not yet activated": (
        Attempt(context={"record": record(state=ContractState.APPROVED)}),
        4,
        R.CONTRACT_NOT_ACTIVE,
        "state",
    ),
    "a suspended contract": (
        Attempt(context={"record": record(state=ContractState.SUSPENDED)}),
        4,
        R.CONTRACT_NOT_ACTIVE,
        "state",
    ),
    "a revoked contract": (
        Attempt(context={"record": record(state=ContractState.REVOKED)}),
        4,
        R.CONTRACT_NOT_ACTIVE,
        "state",
    ),
    "an expired contract": (
        Attempt(
            now_ms=AT_MS + 90 * DAY_MS,
            grpc_deadline_ms=AT_MS + 91 * DAY_MS,
            terms={"issued_at_ms": AT_MS + 90 * DAY_MS, "deadline_ms": AT_MS + 90 * DAY_MS + 1},
            context={"record": record(heard_ms=AT_MS + 90 * DAY_MS)},
        ),
        4,
        R.CONTRACT_NOT_ACTIVE,
        "state",
    ),
    "a contract that is not yet valid": (
        under(validity=replace(contract().validity, not_before_ms=AT_MS + 1)),
        4,
        R.CONTRACT_NOT_ACTIVE,
        "validity.not_before_ms",
    ),
    "a provider cut off from the regulator": (
        Attempt(context={"record": record(heard_ms=AT_MS - DAY_MS)}),
        4,
        R.LEASE_EXPIRED,
        "lease_ms",
    ),
    "a provider that never heard the regulator": (
        Attempt(context={"record": record(heard_ms=None)}),
        4,
        R.LEASE_EXPIRED,
        "lease_ms",
    ),
    "a contract that one provider has not signed": (
        Attempt(context={"record": record(envelope=signed(None, "east", "north"))}),
        4,
        R.BAD_SIGNATURE,
        "signatures.south",
    ),
    "a contract signed with a key revoked since": (
        Attempt(
            context={
                "directory": directory(
                    south=party_record("south", keys=message_keys("south", KeyStatus.REVOKED, KeyStatus.ACTIVE))
                )
            }
        ),
        4,
        R.BAD_SIGNATURE,
        "signatures.south",
    ),
    "a merchant that has bought a provider": (
        Attempt(context={"directory": directory(south=party_record("south", legal_entity="LEGAL-SHOP"))}),
        4,
        R.LEGAL_ENTITY_CLASH,
        "providers",
    ),
    "another version of the dataset": (
        Attempt(context={"description": replace(description(), version="ff" * 8)}),
        4,
        R.DATASET_VERSION_MISMATCH,
        "datasets.east",
    ),
    "a dataset no longer served": (
        Attempt(context={"description": None}),
        4,
        R.DATASET_VERSION_MISMATCH,
        "datasets.east",
    ),
    # 5 operation
    "an operation that was not agreed upon": (
        Attempt(request={"operation": "train"}),
        5,
        R.OPERATION_NOT_PERMITTED,
        "operations",
    ),
    # 6 columns
    "a column outside the frame": (
        Attempt(asking(Statistic(StatisticKind.SUM, "income"))),
        6,
        R.COLUMN_NOT_PERMITTED,
        "uses.income",
    ),
    "a column added up that may be grouped only": (
        Attempt(asking(Statistic(StatisticKind.SUM, "education"))),
        6,
        R.COLUMN_NOT_PERMITTED,
        "uses.education",
    ),
    "a column grouped by that may be filtered only": (
        Attempt(asking(group_by=("sector",))),
        6,
        R.COLUMN_NOT_PERMITTED,
        "uses.sector",
    ),
    "a column filtered by that may be added up only": (
        Attempt(asking(filters=(RangeFilter("wage", 0, 1_000),))),
        6,
        R.COLUMN_NOT_PERMITTED,
        "uses.wage",
    ),
    "the mean of a category": (
        replace(
            under(uses=dict(contract().uses) | {"sector": frozenset({Use.AGGREGATE})}),
            query=asking(Statistic(StatisticKind.MEAN, "sector")),
        ),
        6,
        R.COLUMN_NOT_PERMITTED,
        "uses.sector",
    ),
    "a value outside the domain": (
        Attempt(asking(filters=(DomainFilter("sector", ("farm", "mine")),))),
        6,
        R.FILTER_NOT_DECLARED,
        "frame.sector",
    ),
    "a bound between the edges, to single out a row": (
        Attempt(asking(filters=(RangeFilter("education", 8, 13),))),
        6,
        R.FILTER_NOT_DECLARED,
        "frame.education",
    ),
    "a range over a category": (
        Attempt(asking(filters=(RangeFilter("sector", 0, None),))),
        6,
        R.FILTER_NOT_DECLARED,
        "frame.sector",
    ),
    "values over a number": (
        Attempt(asking(filters=(DomainFilter("education", ("8",)),))),
        6,
        R.FILTER_NOT_DECLARED,
        "frame.education",
    ),
    "grouping by a column that tells the provider": (
        Attempt(context={"description": description(education={"identifies_provider": True})}),
        6,
        R.IDENTIFYING_COLUMN,
        "uses.education",
    ),
    "filtering by a column that tells the provider": (
        Attempt(context={"description": description(sector={"identifies_provider": True})}),
        6,
        R.IDENTIFYING_COLUMN,
        "uses.sector",
    ),
    "grouping where the provider cannot be in every cell": (
        Attempt(context={"description": description(education={"hi": 15, "edges": (0, 8, 12)})}),
        6,
        R.IDENTIFYING_COLUMN,
        "uses.education",
    ),
    "filtering where the provider lacks a value": (
        Attempt(context={"description": description(sector={"domain": ("farm", "office")})}),
        6,
        R.IDENTIFYING_COLUMN,
        "uses.sector",
    ),
    "more cells than anyone can hold": (Attempt(**wide_context()), 6, R.TOO_LARGE, "authorise.group_by"),
    # 7 purpose
    "another purpose": (Attempt(purpose=Purpose("advertising", PURPOSE.text)), 7, R.PURPOSE_MISMATCH, "purpose"),
    "another text under the same code": (
        Attempt(purpose=Purpose(PURPOSE.code, "something else")),
        7,
        R.PURPOSE_MISMATCH,
        "purpose",
    ),
    # 8 participants
    "a provider left out, to subtract": (
        Attempt(terms={"participants": ("east", "north")}),
        8,
        R.PARTICIPANT_SET_MISMATCH,
        "providers",
    ),
    "an audience of fewer": (Attempt(request={"audience": ("east",)}), 8, R.PARTICIPANT_SET_MISMATCH, "providers"),
    "a combiner of the merchant's choosing": (
        replace(forwarded(), terms={"computing_party": "south"}, peer=identity("south")),
        8,
        R.COMPUTING_PARTY_MISMATCH,
        "computing_party",
    ),
    "the merchant at a peer's door": (
        Attempt(context={"self_party": "north", "description": description("north")}),
        8,
        R.COMPUTING_PARTY_MISMATCH,
        "computing_party",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_denied_by_its_own_check(name: str) -> None:
    attempt, check, reason, clause = ATTACKS[name]
    with pytest.raises(DeniedError) as denied:
        attempt.run()
    assert (denied.value.check, denied.value.reason, denied.value.clause) == (check, reason, clause), denied.value


def test_each_of_the_checks_one_to_eight_has_an_attack_of_its_own() -> None:
    assert {check for _, check, _, _ in ATTACKS.values()} == set(range(1, 9))


CHECKS = {
    1: "_verify_identity",
    3: "_verify_freshness",
    5: "_verify_operation",
    7: "_verify_purpose",
    8: "_verify_participants",
}


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name][1] in CHECKS])
def test_without_its_check_the_attack_is_not_stopped_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks do not stand in for one another: with the check gone, the attack passes or falls to a later one."""
    attempt, check, _, _ = ATTACKS[name]
    monkeypatch.setattr(authorise_module, CHECKS[check], lambda *_: None)
    assert outcome(attempt) > check


UNSTOPPED = (
    "a provider that sends the merchant's request on its own",
    "the merchant in the computing party's place, to see who withholds",
    "an old request",
    "a request that is good for an hour",
    "a call without deadline",
    "another purpose",
    "a provider left out, to subtract",
    "the merchant at a peer's door",
    "an operation that was not agreed upon",
)


@pytest.mark.parametrize("name", UNSTOPPED)
def test_without_its_check_the_attack_succeeds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, check, _, _ = ATTACKS[name]
    monkeypatch.setattr(authorise_module, CHECKS[check], lambda *_: None)
    assert isinstance(attempt.run(), Authorised)


def test_important_data_without_countersignature_are_refused_as_a_contract_and_as_a_request() -> None:
    document = contract(grades=IMPORTANT)
    attempt = Attempt(context={"record": record(document)}, terms={"contract": signed(document).digest})
    with pytest.raises(DeniedError) as denied:
        attempt.run()
    assert (denied.value.check, denied.value.reason) == (4, R.BAD_SIGNATURE)


@pytest.mark.parametrize("grade", [Grade.IMPORTANT, Grade.CORE])
def test_check_nine_stands_by_itself(grade: Grade, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check 4 would refuse these contracts before; without it check 9 does."""
    document = contract(grades=IMPORTANT | {"wage": grade})
    own = record(document)
    monkeypatch.setattr(authorise_module, "_verify_contract", lambda *_: (own, description()))
    attempt = Attempt(context={"record": own}, terms={"contract": own.contract_id})
    with pytest.raises(DeniedError) as denied:
        attempt.run()
    assert (denied.value.check, denied.value.reason, denied.value.clause) == (9, R.GRADE_REFUSED, "grades")
    free_of_it = replace(attempt, query=asking(group_by=("education",)))
    assert free_of_it.run().grade is Grade.GENERAL


def test_the_widest_bounds_of_a_frame_fit_any_permitted_modulus() -> None:
    wide = replace(FRAME.columns[0], lo=-MAX_SCALED, hi=MAX_SCALED)
    attempt = under(frame=Frame((wide, *FRAME.columns[1:])))
    assert max(attempt.run().layout.records.widths()) <= 99


@given(st.binary(max_size=300))
def test_any_bytes_for_openings_are_denied_by_check_two(data: bytes) -> None:
    made, openings = request()
    parsed, _ = wire(made, openings)
    with pytest.raises(DeniedError) as denied:
        authorise(
            parsed,
            data,
            paillier_key().public_key,
            peer=identity("shop"),
            context=context(),
            now_ms=AT_MS,
            grpc_deadline_ms=DEADLINE,
        )
    assert denied.value.check == 2


FIELDS = {
    "attempt": st.integers(1, 16),
    "issued_at_ms": st.integers(AT_MS - 90_000, AT_MS + 90_000),
    "deadline_ms": st.integers(AT_MS - 10, AT_MS + 10**6),
    "computing_party": st.sampled_from(PROVIDERS),
    "operation": st.sampled_from(["aggregate", "train"]),
    "merchant": st.sampled_from(["shop", "east"]),
    "contract": st.sampled_from(["00" * 32, signed().digest]),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_terms_are_authorised_or_denied_with_a_number(changes: dict[str, Any]) -> None:
    assert 1 <= outcome(Attempt(request=changes)) <= AUTHORISED


def test_a_query_that_does_not_parse_is_denied_as_malformed() -> None:
    made, openings = request()
    broken = openings | {"statistics": replace(openings["statistics"], value=b"[]")}
    commitments = {name: commit(name, item.salt, item.value) for name, item in broken.items()}
    parsed, _ = wire(replace(made, commitments=commitments), openings)
    with pytest.raises(DeniedError) as denied:
        authorise(
            parsed,
            encode_openings(broken),
            paillier_key().public_key,
            peer=identity("shop"),
            context=context(),
            now_ms=AT_MS,
            grpc_deadline_ms=DEADLINE,
        )
    assert (denied.value.check, denied.value.reason, denied.value.clause) == (6, R.MALFORMED, "authorise.query")


def test_authorise_changes_nothing_that_it_was_given() -> None:
    own: AuthoriseContext = context()
    made, openings = request()
    parsed, data = wire(made, openings)
    results = [
        authorise(
            parsed,
            data,
            paillier_key().public_key,
            peer=identity("shop"),
            context=own,
            now_ms=AT_MS,
            grpc_deadline_ms=DEADLINE,
        )
        for _ in range(2)
    ]
    assert results[0] == results[1]
