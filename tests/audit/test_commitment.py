import hashlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.commitment import Opening, commit, commit_openings, decode_openings, encode_openings, verify_openings
from audit.errors import AuditError, CommitmentMismatchError, LimitExceededError, MalformedError
from audit.jcs import canonicalise

from .mutations import accepted_or_our_error, mutated

SALT = bytes(range(32))
OPENINGS = {
    "group_by": Opening(SALT, b'["education"]'),
    "purpose": Opening(SALT[::-1], "统计研究".encode()),
}


def test_a_commitment_is_the_documented_hash() -> None:
    tag = b"unseen:commitment:v1:purpose"
    preimage = struct.pack("B", len(tag)) + tag + SALT + struct.pack(">Q", 5) + b"value"
    assert commit("purpose", SALT, b"value") == hashlib.sha256(preimage).hexdigest()


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_another_value_field_or_salt_gives_another_commitment(value: bytes, other: bytes) -> None:
    made = commit("purpose", SALT, value)
    assert (commit("purpose", SALT, other) == made) == (value == other)
    assert commit("purposes", SALT, value) != made
    assert commit("purpose", SALT[::-1], value) != made


@pytest.mark.parametrize("field", ["", "x" * 65, "é"])
def test_a_field_name_is_short_ascii(field: str) -> None:
    with pytest.raises(MalformedError):
        commit(field, SALT, b"")


def test_a_salt_has_32_bytes() -> None:
    with pytest.raises(MalformedError):
        commit("purpose", SALT[:31], b"")
    with pytest.raises(MalformedError):
        Opening(SALT + b"\0", b"")


def test_openings_of_all_commitments_verify() -> None:
    verify_openings(commit_openings(OPENINGS), OPENINGS)


@pytest.mark.parametrize("field", sorted(OPENINGS))
def test_a_changed_missing_or_added_opening_is_named(field: str) -> None:
    commitments = commit_openings(OPENINGS)
    changed = {**OPENINGS, field: Opening(OPENINGS[field].salt, b"other")}
    missing = {name: opening for name, opening in OPENINGS.items() if name != field}
    for openings in (changed, missing):
        with pytest.raises(CommitmentMismatchError, match=field):
            verify_openings(commitments, openings)
    with pytest.raises(CommitmentMismatchError, match=field):
        verify_openings({name: value for name, value in commitments.items() if name != field}, OPENINGS)


def test_one_field_does_not_open_as_another() -> None:
    commitments = commit_openings(OPENINGS)
    swapped = {"group_by": commitments["purpose"], "purpose": commitments["group_by"]}
    with pytest.raises(CommitmentMismatchError):
        verify_openings(swapped, {"group_by": OPENINGS["purpose"], "purpose": OPENINGS["group_by"]})


def test_openings_read_back() -> None:
    data = encode_openings(OPENINGS)
    assert json.loads(data)["group_by"]["salt"] == SALT.hex()
    assert decode_openings(data, len(data)) == OPENINGS
    assert decode_openings(b"{}", 2) == {}
    with pytest.raises(LimitExceededError):
        decode_openings(data, len(data) - 1)


def test_an_opening_does_not_show_its_value() -> None:
    assert "education" not in repr(OPENINGS["group_by"])


def test_too_many_openings_are_refused() -> None:
    data = encode_openings({f"f{index}": Opening(SALT, b"") for index in range(65)})
    with pytest.raises(LimitExceededError):
        decode_openings(data, 1 << 20)


@pytest.mark.parametrize("name", ["é", "x" * 65])
def test_an_opened_field_has_a_field_name(name: str) -> None:
    with pytest.raises(MalformedError):
        decode_openings(canonicalise({name: {"salt": SALT.hex(), "value": ""}}), 1 << 20)


@given(mutated(encode_openings(OPENINGS)))
def test_mutated_openings_are_accepted_as_they_stand_or_refused(data: bytes) -> None:
    accepted_or_our_error(lambda raw: encode_openings(decode_openings(raw, 4096)), data)


@given(st.binary(max_size=100))
def test_random_bytes_are_no_openings(data: bytes) -> None:
    with pytest.raises(AuditError):
        decode_openings(data, 4096)
