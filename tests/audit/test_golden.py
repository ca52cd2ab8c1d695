import pytest

from audit.directory import Directory, sign_directory, verify_directory
from audit.discrepancy import read_discrepancy
from audit.entry import EntryKind, decode_entry, encode_entry, kind_of
from audit.envelope import Envelope
from audit.receipt import countersign, verify_receipt

from . import samples
from .golden import GOLDEN, assert_golden


@pytest.mark.parametrize("name", sorted(samples.entries()))
def test_every_kind_of_entry_keeps_its_bytes(name: str) -> None:
    entry = samples.entries()[name]
    assert_golden(name, encode_entry(entry))
    assert decode_entry((GOLDEN / f"{name}.json").read_bytes()) == entry


def test_there_is_a_golden_entry_of_every_kind() -> None:
    assert {kind_of(entry) for entry in samples.entries().values()} == set(EntryKind)


def test_the_directory_keeps_its_bytes() -> None:
    key = samples.signing_key("watch")
    assert_golden("directory", sign_directory(samples.directory(), key).encode())
    data = (GOLDEN / "directory.json").read_bytes()
    read: Directory = verify_directory(data, key.verifying_key, now_ms=samples.AT_MS)
    assert read == samples.directory()


def test_the_receipt_keeps_its_bytes() -> None:
    provider, merchant = samples.signing_key("east"), samples.signing_key("shop")
    assert_golden("receipt", countersign(samples.receipt(), merchant).encode())
    read = verify_receipt(
        Envelope.decode((GOLDEN / "receipt.json").read_bytes()),
        provider_key=provider.verifying_key,
        merchant_key=merchant.verifying_key,
    )
    assert read == samples.receipt_payload()


def test_the_discrepancy_keeps_its_bytes() -> None:
    key = samples.signing_key("watch")
    assert_golden("discrepancy", samples.discrepancy().sign(key).encode())
    read = Envelope.decode((GOLDEN / "discrepancy.json").read_bytes())
    read.verify(key.verifying_key)
    assert read_discrepancy(read) == samples.discrepancy()
