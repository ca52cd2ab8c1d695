import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import Envelope, PayloadType, Signature, pae, seal
from audit.errors import AuditError, BadSignatureError, LimitExceededError, MalformedError
from audit.jcs import Json, canonicalise
from audit.keys import SignatureAlgorithm, SigningKey

from . import samples
from .mutations import accepted_or_our_error, mutated

FIRST = samples.signing_key("east")
SECOND = samples.signing_key("shop")
BODY: dict[str, Json] = {**PayloadType.OFFER.header(), "call": "00"}


def test_the_pre_authentication_encoding_is_the_one_of_the_dsse_specification() -> None:
    # secure-systems-lab/dsse, protocol.md, "Test Vectors".
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_counted_in_bytes() -> None:
    assert pae("é", b"\xff\x00") == b"DSSEv1 2 \xc3\xa9 2 \xff\x00"


def test_an_envelope_reads_back_and_verifies() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST, SECOND)
    read = Envelope.decode(envelope.encode())
    assert read == envelope
    read.verify(FIRST.verifying_key)
    read.verify(SECOND.verifying_key)
    assert read.body(PayloadType.OFFER).text("call") == "00"
    assert read.signed_by(FIRST.name)
    assert not read.signed_by("east.provider.stats.example/log")


def test_every_kind_of_body_has_its_own_type() -> None:
    for payload_type in PayloadType:
        assert payload_type.header() == {"type": payload_type.kind, "v": 1, "hash": "sha256"}
        assert payload_type == f"application/vnd.unseen.{payload_type.kind}.v1+json"
        assert payload_type.kind == payload_type.name.lower()


def test_an_unsigned_envelope_is_not_verified_by_anyone() -> None:
    with pytest.raises(BadSignatureError, match="has not signed"):
        seal(BODY, PayloadType.OFFER).verify(FIRST.verifying_key)


def test_a_signature_under_another_keys_identifier_is_refused() -> None:
    envelope = seal(BODY, PayloadType.OFFER, SECOND)
    forged = replace(envelope.signatures[0], keyid=FIRST.verifying_key.keyid)
    with pytest.raises(BadSignatureError):
        replace(envelope, signatures=(forged,)).verify(FIRST.verifying_key)


def test_a_key_with_a_colliding_identifier_verifies_nothing() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST)
    other = SigningKey.generate(FIRST.name)
    with pytest.raises(BadSignatureError):
        envelope.verify(other.verifying_key)


def test_a_changed_payload_or_type_fails_verification() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST)
    for changed in (
        replace(envelope, payload=envelope.payload.replace(b'"00"', b'"01"')),
        replace(envelope, payload_type=PayloadType.ROSTER),
    ):
        with pytest.raises(BadSignatureError):
            changed.verify(FIRST.verifying_key)


def test_bytes_signed_as_one_kind_never_pass_for_another() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST)
    with pytest.raises(MalformedError, match="offer came where a roster"):
        envelope.body(PayloadType.ROSTER)
    with pytest.raises(MalformedError):
        replace(envelope, payload_type=PayloadType.ROSTER).body(PayloadType.ROSTER)
    with pytest.raises(MalformedError):
        seal(BODY, PayloadType.ROSTER, FIRST)
    with pytest.raises(MalformedError):
        seal(BODY, "text/plain", FIRST)


def test_the_order_of_signing_does_not_matter() -> None:
    assert seal(BODY, PayloadType.OFFER, FIRST, SECOND) == seal(BODY, PayloadType.OFFER, SECOND, FIRST)
    assert seal(BODY, PayloadType.OFFER, FIRST).sign(FIRST) == seal(BODY, PayloadType.OFFER, FIRST)


def test_merging_joins_the_signatures_of_one_payload() -> None:
    one, two = seal(BODY, PayloadType.OFFER, FIRST), seal(BODY, PayloadType.OFFER, SECOND)
    assert one.merge(two) == two.merge(one) == seal(BODY, PayloadType.OFFER, FIRST, SECOND)
    assert one.merge(one) == one
    with pytest.raises(MalformedError):
        one.merge(seal({**BODY, "call": "01"}, PayloadType.OFFER, FIRST))


def test_merging_two_signatures_under_one_key_is_refused() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST)
    poisoned = replace(envelope, signatures=(replace(envelope.signatures[0], signature=bytes(64)),))
    with pytest.raises(MalformedError, match="two different signatures"):
        poisoned.merge(envelope)


def test_the_digest_is_that_of_the_payload_alone() -> None:
    assert seal(BODY, PayloadType.OFFER, FIRST).digest == seal(BODY, PayloadType.OFFER).digest


def test_signatures_are_ordered_and_one_a_key() -> None:
    envelope = seal(BODY, PayloadType.OFFER, FIRST, SECOND)
    for lines in (envelope.signatures[::-1], envelope.signatures[:1] * 2):
        with pytest.raises(MalformedError):
            replace(envelope, signatures=lines)


def test_an_envelope_over_the_limit_is_refused() -> None:
    data = seal(BODY, PayloadType.OFFER, FIRST).encode()
    Envelope.decode(data, limit=len(data))
    with pytest.raises(LimitExceededError):
        Envelope.decode(data, limit=len(data) - 1)


@pytest.mark.parametrize("field", ["alg", "keyid", "sig"])
def test_a_signature_line_in_another_form_is_refused(field: str) -> None:
    document = json.loads(seal(BODY, PayloadType.OFFER, FIRST).encode())
    for value in ("", "x", "rsa", "AA==", 1):
        document["signatures"][0][field] = value
        with pytest.raises(MalformedError):
            Envelope.decode(canonicalise(document))


def test_a_signature_names_its_algorithm() -> None:
    line = seal(BODY, PayloadType.OFFER, FIRST).signatures[0]
    assert line.algorithm is SignatureAlgorithm.ED25519
    assert line.to_json()["alg"] == "ed25519"
    assert Signature.from_json(line.to_json()) == line


@given(mutated(seal(BODY, PayloadType.OFFER, FIRST, SECOND).encode()))
def test_a_mutated_envelope_is_accepted_as_it_stands_or_refused(data: bytes) -> None:
    accepted_or_our_error(lambda raw: Envelope.decode(raw).encode(), data)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_envelope(data: bytes) -> None:
    with pytest.raises(AuditError):
        Envelope.decode(data)
