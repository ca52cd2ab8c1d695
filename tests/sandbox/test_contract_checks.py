from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit.directory import KeyPurpose, KeyStatus
from audit.envelope import Envelope, Signature
from audit.keys import SignatureAlgorithm
from sandbox.contract import Contract, DatasetBinding, sign_contract
from sandbox.contract_checks import check_contract, check_fit, verify_complete, verify_known_signatures
from sandbox.errors import DenialReason, DeniedError
from sandbox.frame import ColumnType, Frame, Use
from sandbox.grades import Grade
from sandbox.release import PRIVATE, OwnTotals, ReleaseMode

from .agreement import (
    FRAME,
    IMPORTANT,
    contract,
    description,
    directory,
    key,
    message_keys,
    party_record,
    signed,
)

R = DenialReason


def denial(error: pytest.ExceptionInfo[DeniedError]) -> tuple[DenialReason, str]:
    return error.value.reason, error.value.clause


def test_a_contract_signed_by_all_is_complete() -> None:
    assert verify_complete(signed(), directory()) == contract()


@pytest.mark.parametrize("missing", ["shop", "east", "north", "south"])
def test_a_missing_signature_is_named(missing: str) -> None:
    full = signed()
    rest = tuple(line for line in full.signatures if not line.keyid.startswith(f"{missing}."))
    with pytest.raises(DeniedError) as error:
        verify_complete(replace(full, signatures=rest), directory())
    assert denial(error) == (R.BAD_SIGNATURE, f"signatures.{missing}")


def test_important_data_need_the_regulators_signature() -> None:
    document = contract(grades=IMPORTANT)
    with pytest.raises(DeniedError) as error:
        verify_complete(signed(document), directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.watch")
    assert verify_complete(signed(document).sign(key("watch")), directory()) == document


def test_general_data_may_be_countersigned_as_well() -> None:
    verify_complete(signed().sign(key("watch")), directory())


def test_two_signatures_of_one_party_do_not_stand_for_two() -> None:
    keys = message_keys("north", KeyStatus.ACTIVE, KeyStatus.RETIRED)
    listed = directory(north=party_record("north", keys=keys))
    twice = signed(None, "east", "north").sign(key("north", generation=1))
    with pytest.raises(DeniedError) as error:
        verify_complete(twice, listed)
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.south")


def test_a_key_of_another_role_does_not_sign() -> None:
    envelope = signed(None, "east", "north", "watch")
    with pytest.raises(DeniedError) as error:
        verify_complete(envelope, directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.south")


def test_a_log_key_does_not_sign_contracts() -> None:
    envelope = signed(None, "east", "north").sign(key("south", KeyPurpose.LOG))
    with pytest.raises(DeniedError, match="log key") as error:
        verify_complete(envelope, directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.south")


def test_a_retired_key_still_counts_and_a_revoked_one_does_not() -> None:
    def listed(status: KeyStatus) -> Any:
        keys = message_keys("north", status, KeyStatus.ACTIVE)
        return directory(north=party_record("north", keys=keys))

    verify_complete(signed(), listed(KeyStatus.RETIRED))
    with pytest.raises(DeniedError, match=r"revoked.*unseen contract apply") as error:
        verify_complete(signed(), listed(KeyStatus.REVOKED))
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.north")


def test_a_forged_signature_is_refused() -> None:
    full = signed()
    forged = tuple(
        Signature(line.keyid, SignatureAlgorithm.ED25519, bytes(64)) if line.keyid.startswith("north.") else line
        for line in full.signatures
    )
    with pytest.raises(DeniedError) as error:
        verify_complete(replace(full, signatures=forged), directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.north")


def test_a_strangers_signature_is_refused() -> None:
    two = contract(
        providers=("east", "north"),
        datasets={name: contract().datasets[name] for name in ("east", "north")},
    )
    envelope = sign_contract(two, key("shop")).sign(key("south"))
    with pytest.raises(DeniedError, match="no party") as error:
        verify_known_signatures(envelope, two, directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures")


def test_altered_bytes_lose_every_signature() -> None:
    full = signed()
    altered = Envelope(full.payload_type, full.payload.replace(b'"calls":100', b'"calls":999'), full.signatures)
    assert altered.payload != full.payload
    with pytest.raises(DeniedError) as error:
        verify_complete(altered, directory())
    assert denial(error) == (R.BAD_SIGNATURE, "signatures.east")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"without": "north"}, (R.UNKNOWN_PARTY, "providers.north")),
        ({"without": "shop"}, (R.UNKNOWN_PARTY, "merchant")),
        (
            {"east": party_record("east", legal_entity="LEGAL-SHOP")},
            (R.LEGAL_ENTITY_CLASH, "providers"),
        ),
        (
            {"north": party_record("north", legal_entity="LEGAL-SOUTH")},
            (R.LEGAL_ENTITY_CLASH, "providers"),
        ),
    ],
)
def test_parties_must_be_listed_and_different_in_law(listed: dict[str, Any], expected: tuple[R, str]) -> None:
    with pytest.raises(DeniedError) as error:
        check_contract(contract(), directory(**listed))
    assert denial(error) == expected


def test_parties_must_have_the_role_that_they_take() -> None:
    datasets = {name: contract().datasets["east"] for name in ("east", "shop")}
    shop = replace(datasets["shop"], dataset=datasets["shop"].dataset.replace("east", "shop"))
    document = contract(merchant="north", providers=("east", "shop"), datasets=datasets | {"shop": shop})
    with pytest.raises(DeniedError) as error:
        check_contract(document, directory())
    assert denial(error) == (R.WRONG_ROLE, "merchant")


def test_core_data_are_refused_always() -> None:
    with pytest.raises(DeniedError) as error:
        check_contract(contract(grades=IMPORTANT | {"wage": Grade.CORE}), directory())
    assert denial(error) == (R.GRADE_REFUSED, "grade")


def test_a_contract_over_the_declaration_fits() -> None:
    for party in contract().providers:
        check_fit(contract(), description(party), party)


def test_a_finer_and_wider_frame_fits() -> None:
    """A provider with coarser decimals, narrower bounds and more edges of its own can take part."""
    own = description(
        wage={"decimals": 1, "lo": 100, "hi": 100_000, "nullable": False},
        education={"lo": 0, "hi": 18, "edges": (0, 4, 8, 12, 16, 18)},
    )
    check_fit(contract(), own, "east")


FIT = [
    ({"wage": {"type": ColumnType.INTEGER}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"unit": "USD"}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"decimals": 3, "lo": 0, "hi": 0}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"lo": -1}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"hi": 2_000_001}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"lo": None}}, (R.DECLARATION_MISMATCH, "frame.wage")),
    ({"wage": {"uses": frozenset({Use.FILTER})}}, (R.COLUMN_NOT_PERMITTED, "uses.wage")),
    ({"wage": {"grade": Grade.IMPORTANT}}, (R.GRADE_REFUSED, "grades.wage")),
    ({"wage": {"grade": Grade.CORE}}, (R.GRADE_REFUSED, "grades.wage")),
    ({"wage": {"name": "pay"}}, (R.DECLARATION_MISMATCH, "datasets.east.columns.wage")),
    ({"education": {"nullable": True}}, (R.DECLARATION_MISMATCH, "frame.education")),
    ({"education": {"edges": (0, 8, 18)}}, (R.DECLARATION_MISMATCH, "frame.education")),
    ({"education": {"identifies_provider": True}}, (R.IDENTIFYING_COLUMN, "uses.education")),
    ({"education": {"lo": 8}}, (R.IDENTIFYING_COLUMN, "uses.education")),
    ({"education": {"hi": 15}}, (R.IDENTIFYING_COLUMN, "uses.education")),
    ({"sector": {"domain": ("farm", "shop", "office", "mine")}}, (R.DECLARATION_MISMATCH, "frame.sector")),
    ({"sector": {"domain": ("farm", "shop")}}, (R.IDENTIFYING_COLUMN, "uses.sector")),
    ({"sector": {"identifies_provider": True}}, (R.IDENTIFYING_COLUMN, "uses.sector")),
]


@pytest.mark.parametrize(("columns", "expected"), FIT)
def test_a_declaration_that_does_not_fit_is_refused(columns: dict[str, Any], expected: tuple[R, str]) -> None:
    with pytest.raises(DeniedError) as error:
        check_fit(contract(), description(**columns), "east")
    assert denial(error) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"min_group_size": 11}, (R.GROUP_SIZE_TOO_SMALL, "release.min_group_size")),
        ({"mode": ReleaseMode.DP}, (R.DECLARATION_MISMATCH, "release.mode")),
        ({"min_contributors": 3}, (R.DECLARATION_MISMATCH, "release.min_contributors")),
        ({"dominance_percent": 80}, (R.DECLARATION_MISMATCH, "release.dominance_percent")),
        ({"overlap_k": 11}, (R.DECLARATION_MISMATCH, "release.overlap_k")),
    ],
)
def test_a_laxer_release_policy_than_the_providers_is_refused(own: dict[str, Any], expected: tuple[R, str]) -> None:
    declared = description()
    policy = PRIVATE if own == {"mode": ReleaseMode.DP} else replace(declared.release, **own)
    declared = replace(declared, release=policy)
    with pytest.raises(DeniedError) as error:
        check_fit(contract(), declared, "east")
    assert denial(error) == expected


def test_secret_own_totals_are_never_made_public() -> None:
    public = contract(release=replace(contract().release, own_totals=OwnTotals.PUBLIC))
    with pytest.raises(DeniedError) as error:
        check_fit(public, description(), "east")
    assert denial(error) == (R.DECLARATION_MISMATCH, "release.own_totals")


def alone() -> Contract:
    return contract(
        providers=("east",),
        datasets={"east": contract().datasets["east"]},
        release=replace(contract().release, min_contributors=1),
    )


def test_a_provider_with_secret_totals_does_not_answer_alone() -> None:
    declared = description()
    declared = replace(declared, release=replace(declared.release, min_contributors=1))
    with pytest.raises(DeniedError) as error:
        check_fit(alone(), declared, "east")
    assert denial(error) == (R.DECLARATION_MISMATCH, "release.own_totals")
    check_fit(alone(), replace(declared, release=replace(declared.release, own_totals=OwnTotals.PUBLIC)), "east")


def test_another_version_of_the_dataset_is_refused() -> None:
    with pytest.raises(DeniedError) as error:
        check_fit(contract(), replace(description(), version="ff" * 8), "east")
    assert denial(error) == (R.DATASET_VERSION_MISMATCH, "datasets.east")


def test_another_declared_size_is_refused() -> None:
    with pytest.raises(DeniedError) as error:
        check_fit(contract(), replace(description(), declared_rows=2_000), "east")
    assert denial(error) == (R.DECLARATION_MISMATCH, "datasets.east.declared_rows")


def test_a_party_that_brings_no_data_is_refused() -> None:
    with pytest.raises(DeniedError) as error:
        check_fit(contract(), description("shop"), "shop")
    assert denial(error) == (R.PARTICIPANT_SET_MISMATCH, "providers")


def test_a_provider_may_call_its_columns_otherwise() -> None:
    columns = {"wage": "pay", "education": "education", "sector": "sector"}
    datasets = dict(contract().datasets) | {"east": DatasetBinding(contract().datasets["east"].dataset, 1_000, columns)}
    check_fit(contract(datasets=datasets), description(wage={"name": "pay"}), "east")


def test_an_identifying_column_may_still_be_added_up() -> None:
    frame = Frame((FRAME.columns[0],))
    columns = {"wage": "wage"}
    document = contract(
        frame=frame,
        uses={"wage": frozenset({Use.AGGREGATE})},
        grades={"wage": Grade.GENERAL},
        datasets={party: replace(binding, columns=columns) for party, binding in contract().datasets.items()},
    )
    check_fit(document, description(wage={"identifies_provider": True}), "east")
