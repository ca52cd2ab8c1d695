from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import Envelope, PayloadType, seal
from audit.errors import BadSignatureError, MalformedError
from audit.hashes import hex_sha256
from audit.jcs import canonicalise
from audit.names import KeyPurpose
from audit.receipt import countersign, issue, participants_digest, read_receipt, receipt_id, verify_receipt
from audit.tariff import Units

from . import samples
from .mutations import accepted_or_our_error, mutated

PROVIDER, MERCHANT = samples.signing_key("east"), samples.signing_key("shop")


def test_a_receipt_binds_both_sides_to_one_payload() -> None:
    issued = issue(samples.receipt_payload(), PROVIDER)
    both = countersign(issued, MERCHANT)
    assert both.payload == issued.payload
    assert receipt_id(both) == receipt_id(issued) == hex_sha256(issued.payload)
    read = verify_receipt(both, provider_key=PROVIDER.verifying_key, merchant_key=MERCHANT.verifying_key)
    assert read == samples.receipt_payload()


def test_a_receipt_without_the_merchants_signature_is_no_acknowledged_one() -> None:
    issued = issue(samples.receipt_payload(), PROVIDER)
    verify_receipt(issued, provider_key=PROVIDER.verifying_key, merchant_key=None)
    with pytest.raises(BadSignatureError):
        verify_receipt(issued, provider_key=PROVIDER.verifying_key, merchant_key=MERCHANT.verifying_key)


def test_a_receipt_without_the_providers_signature_is_none() -> None:
    merchant_only = seal(samples.receipt_payload().to_body(), PayloadType.RECEIPT, MERCHANT)
    with pytest.raises(BadSignatureError):
        verify_receipt(merchant_only, provider_key=PROVIDER.verifying_key, merchant_key=None)


CHANGES: dict[str, object] = {
    "provider": "north",
    "merchant": "other",
    "computing_party": "",
    "dataset": "east/wages@ffeeddccbbaa9988",
    "scheme": "paillier/v1",
    "units": Units(1, 8_000, 12, 0),
    "price_micro": 1,
    "currency": "EUR",
    "merchant_clock_ms": 1,
    "provider_clock_ms": 1,
    "merchant_nonce": "0" * 32,
    "provider_nonce": "0" * 32,
}


@pytest.mark.parametrize("field", [field.name for field in fields(samples.receipt_payload())])
def test_no_field_can_be_changed_after_signing(field: str) -> None:
    issued = issue(samples.receipt_payload(), PROVIDER)
    changed = replace(samples.receipt_payload(), **{field: CHANGES.get(field, samples.digest("changed"))})  # type: ignore[arg-type]
    forged = replace(issued, payload=canonicalise(changed.to_body()))
    assert forged.payload != issued.payload
    with pytest.raises(BadSignatureError):
        verify_receipt(forged, provider_key=PROVIDER.verifying_key, merchant_key=None)


def test_a_provider_issues_receipts_in_its_own_name_only() -> None:
    for key in (samples.signing_key("north"), MERCHANT, samples.signing_key("east", KeyPurpose.LOG)):
        with pytest.raises(BadSignatureError):
            issue(samples.receipt_payload(), key)


def test_a_receipt_signed_by_another_provider_is_refused_even_under_that_ones_key() -> None:
    north = samples.signing_key("north")
    forged = seal(samples.receipt_payload().to_body(), PayloadType.RECEIPT, north)
    with pytest.raises(BadSignatureError, match="whom the receipt names"):
        verify_receipt(forged, provider_key=north.verifying_key, merchant_key=None)


def test_only_the_merchant_that_the_receipt_names_countersigns_it() -> None:
    for key in (samples.signing_key("north"), PROVIDER):
        with pytest.raises(BadSignatureError):
            countersign(samples.receipt(), key)


def test_a_payload_outside_its_form_is_never_signed() -> None:
    for wrong in (
        {"call": "x"},
        {"dataset": "wages"},
        {"scheme": "paillier"},
        {"price_micro": -1},
        {"merchant_nonce": "00"},
    ):
        with pytest.raises(MalformedError):
            issue(samples.receipt_payload(**wrong), PROVIDER)


def test_the_participants_digest_does_not_depend_on_their_order() -> None:
    assert participants_digest(("north", "east")) == hex_sha256(b'["east","north"]')


def test_another_kind_of_envelope_is_no_receipt() -> None:
    with pytest.raises(MalformedError):
        read_receipt(samples.request())
    with pytest.raises(MalformedError):
        countersign(samples.request(), MERCHANT)


@given(mutated(canonicalise(samples.receipt_payload().to_body())))
def test_a_mutated_receipt_signed_anew_is_accepted_as_it_stands_or_refused(data: bytes) -> None:
    def decode(raw: bytes) -> bytes:
        envelope = Envelope(PayloadType.RECEIPT, raw, ()).sign(PROVIDER)
        payload = verify_receipt(envelope, provider_key=PROVIDER.verifying_key, merchant_key=None)
        return canonicalise(payload.to_body())

    accepted_or_our_error(decode, data)


@given(st.binary(max_size=100))
def test_random_payloads_are_no_receipts(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_receipt(Envelope(PayloadType.RECEIPT, data, ()))
