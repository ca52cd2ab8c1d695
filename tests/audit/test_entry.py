import json
from dataclasses import replace
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import MAX_ENTRY_BYTES, Denied, Entry, Side, decode_entry, encode_entry, kind_of
from audit.entry_calls import MAX_PARTICIPANTS
from audit.envelope import PayloadType, seal
from audit.errors import AuditError, LimitExceededError, MalformedError
from audit.jcs import Json, canonicalise

from . import samples
from .mutations import accepted_or_our_error, mutated

ENTRIES = samples.entries()
ENCODED = {name: encode_entry(entry) for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_reads_back_and_names_its_version_kind_and_hash(name: str) -> None:
    entry = ENTRIES[name]
    assert decode_entry(ENCODED[name]) == entry
    document = json.loads(ENCODED[name])
    assert (document["v"], document["hash"]) == (1, "sha256")
    assert document["kind"] == kind_of(entry).value
    assert (document["party"], document["at_ms"]) == (entry.party, entry.at_ms)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_field_is_needed_and_no_other_is_allowed(name: str) -> None:
    document = json.loads(ENCODED[name])
    for field in document.keys() - {"privacy"}:  # without it, it is the entry of a call that takes no epsilon
        with pytest.raises(MalformedError):
            decode_entry(canonicalise({key: value for key, value in document.items() if key != field}))
    with pytest.raises(MalformedError, match="unknown fields"):
        decode_entry(canonicalise({**document, "note": "x"}))


@pytest.mark.parametrize(("field", "value"), [("v", 2), ("v", 0), ("kind", "future"), ("hash", "sm3"), ("at_ms", -1)])
def test_another_version_kind_or_algorithm_is_refused(field: str, value: object) -> None:
    document = {**json.loads(ENCODED["entry_ack"]), field: value}
    with pytest.raises(MalformedError):
        decode_entry(canonicalise(document))


def test_an_entry_over_the_limit_is_neither_read_nor_written() -> None:
    crowd = tuple(f"party-{index:02}-{'x' * 20}" for index in range(MAX_PARTICIPANTS))
    intent = replace(samples.intent(Side.PROVIDER), participants=crowd)
    assert len(encode_entry(intent)) <= MAX_ENTRY_BYTES
    many = {f"field-{index}": samples.digest(str(index)) for index in range(100)}
    with pytest.raises(LimitExceededError, match="allowed"):
        encode_entry(replace(intent, commitments=many))
    with pytest.raises(LimitExceededError):
        decode_entry(bytes(MAX_ENTRY_BYTES + 1))


def test_what_would_not_read_back_is_never_written() -> None:
    for wrong in (
        replace(samples.intent(Side.MERCHANT), nonce="short"),
        replace(samples.intent(Side.MERCHANT), currency="yuan"),
        replace(samples.intent(Side.MERCHANT), price_micro=-1),
        replace(samples.intent(Side.MERCHANT), merchant="Shop"),
        replace(samples.aborted("east", Side.PROVIDER), reason="row 17 has wage 3000"),
        replace(samples.aborted("east", Side.PROVIDER), released=1),  # type: ignore[arg-type]
        replace(samples.aborted("east", Side.PROVIDER), party=""),
    ):
        with pytest.raises(MalformedError):
            encode_entry(wrong)


def test_a_state_or_reason_code_may_be_an_enumerations_member() -> None:
    class Reason(StrEnum):
        QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"

    denied = ENTRIES["entry_denied"]
    assert isinstance(denied, Denied)
    assert encode_entry(replace(denied, reason=Reason.QUOTA_EXHAUSTED)) == ENCODED["entry_denied"]


def test_a_refusal_before_anything_was_read_names_nobody() -> None:
    denied = ENTRIES["entry_denied"]
    assert isinstance(denied, Denied)
    nameless = replace(denied, identity="", merchant="", call="", contract="", clause="", check=1, count=250)
    assert decode_entry(encode_entry(nameless)) == nameless


def test_only_a_providers_intent_names_provider_nonce_and_dataset() -> None:
    with pytest.raises(MalformedError):
        replace(samples.intent(Side.MERCHANT), provider="east")
    with pytest.raises(MalformedError):
        replace(samples.intent(Side.PROVIDER), dataset="")


def test_participants_are_sorted_and_distinct() -> None:
    for participants in (("north", "east"), ("east", "east")):
        with pytest.raises(MalformedError):
            replace(samples.intent(Side.PROVIDER), participants=participants)


def test_an_outcomes_identifiers_are_the_hashes_of_what_it_carries() -> None:
    outcome = samples.outcome(Side.PROVIDER)
    for wrong in ({"call": samples.digest("x")}, {"receipt_id": samples.digest("x")}, {"request": samples.request(1)}):
        with pytest.raises(MalformedError):
            replace(outcome, **wrong)
    with pytest.raises(MalformedError):
        replace(outcome, receipt=outcome.request, receipt_id=outcome.request.digest)


def test_an_outcome_of_thirty_providers_with_the_longest_names_fits() -> None:
    crowd = [f"party-{index:02}-{'x' * 22}" for index in range(30)]
    body: dict[str, Json] = {
        **PayloadType.AGGREGATE_REQUEST.header(),
        "contract": samples.digest("contract"),
        "merchant": crowd[0],
        "participants": crowd,
        "audience": crowd,
        "key_fingerprint": samples.digest("key"),
        "commitments": {field: samples.digest(field) for field in ("statistics", "group_by", "filters", "purpose")},
    }
    request = seal(body, PayloadType.AGGREGATE_REQUEST, samples.signing_key("shop"))
    outcome = replace(samples.outcome(Side.MERCHANT), request=request, call=request.digest)
    assert len(encode_entry(outcome)) <= MAX_ENTRY_BYTES


@given(st.sampled_from(sorted(ENCODED)).flatmap(lambda name: mutated(ENCODED[name])))
def test_a_mutated_entry_is_accepted_as_it_stands_or_refused(data: bytes) -> None:
    accepted_or_our_error(lambda raw: encode_entry(decode_entry(raw)), data)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_entry(data: bytes) -> None:
    with pytest.raises(AuditError):
        decode_entry(data)


def test_every_kind_compares_by_value() -> None:
    again: dict[str, Entry] = samples.entries()
    assert again == ENTRIES
