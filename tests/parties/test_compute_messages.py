import pytest
from hypothesis import given
from hypothesis import strategies as st
from unseen.v1 import compute_pb2

from parties import compute_messages as wire
from sandbox.errors import DenialReason, DeniedError
from sandbox.ports import AckResult, AnswerMessage, OfferMessage, PartMessage, PublicKeyBytes, SignedBytes

CALL = "ab" * 32


def test_every_message_comes_back_as_it_went():
    signed = SignedBytes(b"envelope", b"openings")
    key = PublicKeyBytes(b"\x01\x02", "paillier/v1")
    offer = OfferMessage(b"offer", b"\x05", b"\x02", b"s" * 32)
    part = PartMessage(4, b"12345678", b"receipt")
    answer = AnswerMessage(CALL, 4, b"12345678", b"\x02\x00", (b"one", b"two"), b"roster")
    recorded = AckResult((CALL,), ("cd" * 32,))
    assert wire.signed_from_wire(wire.signed_to_wire(signed)) == signed
    assert wire.key_from_wire(wire.key_to_wire(key)) == key
    assert wire.offer_from_wire(wire.offer_to_wire(offer)) == offer
    assert wire.part_from_wire(wire.part_to_wire(part)) == part
    assert wire.answer_from_wire(wire.answer_to_wire(answer)) == answer
    assert wire.acknowledged_from_wire(wire.acknowledged_to_wire(recorded)) == recorded


READERS = [
    (wire.signed_from_wire, compute_pb2.SignedRequest),
    (wire.key_from_wire, compute_pb2.PaillierPublicKey),
    (wire.offer_from_wire, compute_pb2.OfferResponse),
    (wire.part_from_wire, compute_pb2.PartResponse),
    (wire.answer_from_wire, compute_pb2.AggregateResponse),
    (wire.acknowledged_from_wire, compute_pb2.AcknowledgeResponse),
]


@given(data=st.binary(max_size=400), width=st.integers(0, 2**32 - 1), text=st.text(max_size=80))
@pytest.mark.parametrize(("read", "kind"), READERS)
def test_any_message_is_accepted_or_denied_and_never_anything_else(read, kind, data, width, text):
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            getattr(message, field.name).width = width
            getattr(message, field.name).data = data
        elif field.is_repeated:
            getattr(message, field.name).append(text if field.type == field.TYPE_STRING else data)
        elif field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
            setattr(message, field.name, text if field.type == field.TYPE_STRING else data)
    try:
        read(message)
    except DeniedError as error:
        assert error.reason in {DenialReason.MALFORMED, DenialReason.TOO_LARGE}  # noqa: PT017  (or it was accepted)


def test_a_vector_that_is_no_whole_number_of_ciphertexts_is_malformed():
    vector = compute_pb2.CiphertextVector(width=3, data=b"1234")
    with pytest.raises(DeniedError, match="whole number"):
        wire.part_from_wire(compute_pb2.PartResponse(part=vector, receipt=b""))


def test_too_many_receipts_are_refused_by_their_number():
    response = compute_pb2.AcknowledgeResponse(recorded=[CALL] * (wire.MAX_RECEIPTS + 1))
    with pytest.raises(DeniedError) as caught:
        wire.acknowledged_from_wire(response)
    assert caught.value.reason is DenialReason.TOO_LARGE
