"""A receipt proved to a stranger: the whole is believed, and nothing less than the whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.__main__ import main
from audit.canonical import canonicalise
from audit.checkpoint import Checkpoint, Note, sign_checkpoint
from audit.clock import Clock
from audit.directory import Directory, KeyRecord, KeyStatus, sign_directory
from audit.entry import Entry, Outcome, Side, encode_entry
from audit.errors import (
    AuditError,
    BadSignatureError,
    LedgerError,
    LimitExceededError,
    MalformedError,
    RevokedKeyError,
    UnknownPartyError,
    UnknownReceiptError,
    VerificationFailedError,
)
from audit.ledger import Draft, Ledger, LedgerIdentity, open_reader
from audit.names import KeyPurpose, Role
from audit.portable_receipt import PortableReceipt, ProvenEntry
from audit.receipt_proving import prove_receipt
from audit.tlog_proof import MAX_PROOF_BYTES, TlogProof
from tests.audit.ledgers import LOG_KEY, QUIET, SteppingClock, open_ledger
from tests.audit.samples import AT_MS, ack, directory, outcome, party_record, receipt, signing_key

WATCH = signing_key("watch").verifying_key
SIGNED = sign_directory(directory(), signing_key("watch"))
CALLS = 5
RECEIPT = outcome(Side.PROVIDER, number=3).receipt_id
CLOCK: Clock = SteppingClock()


def entries(side: Side) -> list[Entry]:
    return [each for number in range(CALLS) for each in (outcome(side, number=number), ack(side, number=number))]


def proof_from(path: Path, receipt_id: str = RECEIPT) -> PortableReceipt:
    reader = open_reader(path)
    try:
        return prove_receipt(reader, receipt_id, SIGNED)
    finally:
        reader.close()


def write(path: Path, written: list[Entry], owner: str = "east") -> None:
    key = signing_key(owner, KeyPurpose.LOG)
    role = Role.PROVIDER if owner == "east" else Role.MERCHANT
    identity = LedgerIdentity(owner, role, f"LEGAL-{owner.upper()}", key.name)
    with Ledger.open(path, identity=identity, key=key, clock=CLOCK, config=QUIET) as ledger:
        for entry in written:
            ledger.append(Draft(entry))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> PortableReceipt:
    path = tmp_path_factory.mktemp("east") / "ledger.db"
    write(path, entries(Side.PROVIDER))
    return proof_from(path)


@pytest.fixture(scope="module")
def merchant(tmp_path_factory: pytest.TempPathFactory) -> PortableReceipt:
    path = tmp_path_factory.mktemp("shop") / "ledger.db"
    write(path, entries(Side.MERCHANT), "shop")
    return proof_from(path)


def check(proof: PortableReceipt, known: Directory | None = None) -> None:
    """As a stranger does: from the file's bytes and the regulator's key."""
    read = PortableReceipt.decode(proof.encode())
    assert read == proof
    proven = read.verify(known or read.enclosed_directory(WATCH))
    assert (proven.receipt_id, proven.payload.provider, proven.payload.merchant) == (RECEIPT, "east", "shop")


def check_bytes(data: bytes) -> None:
    read = PortableReceipt.decode(data)
    read.verify(read.enclosed_directory(WATCH))


def with_status(name: str, purpose: KeyPurpose, status: KeyStatus) -> Directory:
    """The directory in which `name`'s key of that purpose has another status."""
    keys = tuple(
        KeyRecord(each.purpose, each.key, status, AT_MS, None if status is KeyStatus.ACTIVE else AT_MS + 1)
        if each.purpose is purpose
        else each
        for each in party_record(name).keys
    )
    known = directory(version=4)
    parties = tuple(party_record(name, keys) if each.name == name else each for each in known.parties)
    return replace(known, parties=parties)


def resigned(proof: PortableReceipt, known: Directory) -> PortableReceipt:
    """With another directory enclosed, signed by the regulator."""
    return replace(proof, directory=sign_directory(known, signing_key("watch")))


# -- what holds ---------------------------------------------------------------------------------------------------


def test_a_receipt_out_of_either_ledger_convinces_a_stranger(
    provider: PortableReceipt, merchant: PortableReceipt
) -> None:
    check(provider)
    check(merchant)
    assert provider.acknowledgement is not None
    assert merchant.acknowledgement is None


def test_the_file_is_a_tlog_proof_to_tools_that_know_nothing_of_receipts(provider: PortableReceipt) -> None:
    proof = TlogProof.decode(provider.encode())
    assert (proof.index, proof.hashes) == (provider.outcome.index, provider.outcome.hashes)


def test_a_receipt_is_found_by_the_beginning_of_its_identifier_in_a_ledger_in_use(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for entry in entries(Side.PROVIDER):
            ledger.append(Draft(entry))
        with pytest.raises(LedgerError, match="not under a signed checkpoint yet"):
            proof_from(tmp_path / "ledger.db")
        ledger.checkpoint()
        check(proof_from(tmp_path / "ledger.db", RECEIPT[:6].upper()))
        ledger.append(Draft(outcome(Side.PROVIDER, number=77)))
        check(proof_from(tmp_path / "ledger.db"))


def test_a_retired_key_still_convinces(provider: PortableReceipt) -> None:
    for name, purpose in (("east", KeyPurpose.LOG), ("east", KeyPurpose.MESSAGE), ("shop", KeyPurpose.MESSAGE)):
        check(resigned(provider, with_status(name, purpose, KeyStatus.RETIRED)))


# -- what cannot be proved ----------------------------------------------------------------------------------------


def test_what_the_ledger_does_not_hold_cannot_be_proved(tmp_path: Path) -> None:
    write(tmp_path / "ledger.db", [*entries(Side.PROVIDER), outcome(Side.PROVIDER, number=9)])
    with pytest.raises(UnknownReceiptError):
        proof_from(tmp_path / "ledger.db", "0" * 64)
    for name in ("", "abc", RECEIPT[:5], RECEIPT + "0", "%%%%%%%%"):
        with pytest.raises(MalformedError):
            proof_from(tmp_path / "ledger.db", name)
    with pytest.raises(LedgerError, match="one side only"):
        proof_from(tmp_path / "ledger.db", outcome(Side.PROVIDER, number=9).receipt_id)


# -- attacks ------------------------------------------------------------------------------------------------------


def test_a_changed_entry_is_refused(provider: PortableReceipt, merchant: PortableReceipt) -> None:
    cheaper = outcome(Side.PROVIDER, number=3, price_micro=1)
    with pytest.raises(VerificationFailedError, match="inclusion"):
        check(replace(provider, outcome=replace(provider.outcome, data=encode_entry(cheaper))))
    for proof in (provider, merchant):
        changed = proof.outcome.data.replace(b'"declared_rows":7000', b'"declared_rows":7001')
        assert changed != proof.outcome.data
        with pytest.raises(VerificationFailedError, match="inclusion"):
            check(replace(proof, outcome=replace(proof.outcome, data=changed)))


def test_a_changed_acknowledgement_is_refused(provider: PortableReceipt) -> None:
    assert provider.acknowledgement is not None
    late = encode_entry(replace(ack(Side.PROVIDER, number=3), at_ms=AT_MS + 10))
    with pytest.raises(VerificationFailedError, match="inclusion"):
        check(replace(provider, acknowledgement=replace(provider.acknowledgement, data=late)))


def test_the_proof_of_another_entry_or_index_is_refused(provider: PortableReceipt) -> None:
    assert provider.acknowledgement is not None
    with pytest.raises(VerificationFailedError, match="inclusion"):
        check(replace(provider, outcome=replace(provider.outcome, index=provider.outcome.index + 2)))
    with pytest.raises(VerificationFailedError, match="inclusion"):
        check(replace(provider, outcome=replace(provider.outcome, hashes=provider.acknowledgement.hashes)))
    with pytest.raises(VerificationFailedError, match="inclusion"):
        check(replace(provider, acknowledgement=replace(provider.acknowledgement, index=1)))


def test_another_entry_of_the_ledger_is_no_receipt(provider: PortableReceipt) -> None:
    assert provider.acknowledgement is not None
    with pytest.raises(MalformedError, match="no OUTCOME"):
        check(replace(provider, outcome=provider.acknowledgement))
    with pytest.raises(MalformedError, match="no ACK"):
        check(replace(provider, acknowledgement=provider.outcome))
    foreign = encode_entry(replace(ack(Side.PROVIDER, number=3), party="north"))
    with pytest.raises(MalformedError, match="no ACK of the same ledger"):
        check(replace(provider, acknowledgement=replace(provider.acknowledgement, data=foreign)))


def test_the_acknowledgement_of_another_receipt_is_refused(tmp_path: Path, provider: PortableReceipt) -> None:
    write(tmp_path / "ledger.db", entries(Side.PROVIDER))
    other = proof_from(tmp_path / "ledger.db", outcome(Side.PROVIDER, number=1).receipt_id)
    mixed = replace(other, outcome=proof_from(tmp_path / "ledger.db").outcome)
    with pytest.raises(VerificationFailedError, match="acknowledges"):
        check(mixed)


def test_a_receipt_without_the_countersignature_is_refused(provider: PortableReceipt) -> None:
    with pytest.raises(MalformedError, match="one side only"):
        check(replace(provider, acknowledgement=None))


def test_a_merchants_entry_without_its_countersignature_is_refused(tmp_path: Path) -> None:
    bare = replace(outcome(Side.MERCHANT, number=3), receipt=receipt(number=3))
    write(tmp_path / "ledger.db", [bare], "shop")
    with pytest.raises(VerificationFailedError, match="shop has not signed"):
        check(proof_from(tmp_path / "ledger.db"))


def test_a_provider_cannot_prove_a_receipt_that_the_merchant_never_signed(tmp_path: Path) -> None:
    forged = replace(ack(Side.PROVIDER, number=3), signature=ack(Side.PROVIDER, number=1).signature)
    write(tmp_path / "ledger.db", [outcome(Side.PROVIDER, number=3), forged])
    with pytest.raises(VerificationFailedError, match="bad-signature"):
        check(proof_from(tmp_path / "ledger.db"))


def test_a_checkpoint_of_another_log_is_refused(provider: PortableReceipt, merchant: PortableReceipt) -> None:
    with pytest.raises(BadSignatureError):
        check(replace(provider, checkpoint=merchant.checkpoint))
    note = Note.decode(provider.checkpoint)
    body = Checkpoint.from_body(note.text)
    north = sign_checkpoint(replace(body, origin="north.provider.stats.example/log"), LOG_KEY)
    with pytest.raises(BadSignatureError, match="of the log"):
        check(replace(provider, checkpoint=north))


def test_a_checkpoint_by_another_key_of_the_logs_name_is_refused(provider: PortableReceipt) -> None:
    thief = signing_key("east", KeyPurpose.LOG, generation=1)
    body = Checkpoint.from_body(Note.decode(provider.checkpoint).text)
    with pytest.raises(BadSignatureError, match="not signed by"):
        check(replace(provider, checkpoint=sign_checkpoint(body, thief)))


def test_the_message_key_cannot_sign_checkpoints(provider: PortableReceipt) -> None:
    body = Checkpoint.from_body(Note.decode(provider.checkpoint).text)
    with pytest.raises(BadSignatureError, match="not signed by"):
        check(replace(provider, checkpoint=sign_checkpoint(body, signing_key("east"))))


@pytest.mark.parametrize(
    ("name", "purpose"),
    [("east", KeyPurpose.LOG), ("east", KeyPurpose.MESSAGE), ("shop", KeyPurpose.MESSAGE)],
)
def test_a_revoked_key_proves_nothing(provider: PortableReceipt, name: str, purpose: KeyPurpose) -> None:
    known = with_status(name, purpose, KeyStatus.REVOKED)
    with pytest.raises(RevokedKeyError):
        check(resigned(provider, known))
    check(provider)  # by the directory enclosed, which is older
    with pytest.raises(RevokedKeyError):
        check(provider, known)


def test_keys_that_the_directory_does_not_list_prove_nothing(provider: PortableReceipt) -> None:
    known = directory()
    other = (
        KeyRecord(KeyPurpose.LOG, LOG_KEY.verifying_key, KeyStatus.ACTIVE, AT_MS, None),
        KeyRecord(KeyPurpose.MESSAGE, signing_key("east", generation=5).verifying_key, KeyStatus.ACTIVE, AT_MS, None),
    )
    strangers = tuple(party_record("east", other) if each.name == "east" else each for each in known.parties)
    with pytest.raises(VerificationFailedError, match="no message key of east"):
        check(resigned(provider, replace(known, parties=strangers)))
    without = tuple(each for each in known.parties if each.name != "east")
    with pytest.raises(UnknownPartyError):
        check(resigned(provider, replace(known, parties=without)))
    keyless = tuple(party_record("east", (other[1],)) if each.name == "east" else each for each in known.parties)
    with pytest.raises(BadSignatureError, match="no log key"):
        check(resigned(provider, replace(known, parties=keyless)))


def test_a_directory_of_ones_own_making_is_refused(provider: PortableReceipt) -> None:
    forger = signing_key("watch", generation=1)
    parties = tuple(
        party_record("watch", (KeyRecord(KeyPurpose.MESSAGE, forger.verifying_key, KeyStatus.ACTIVE, AT_MS, None),))
        if each.name == "watch"
        else each
        for each in directory().parties
    )
    forged = replace(provider, directory=sign_directory(replace(directory(), parties=parties), forger))
    with pytest.raises(BadSignatureError, match="pinned"):
        check(forged)


# -- bytes --------------------------------------------------------------------------------------------------------


def rewritten(provider: PortableReceipt, change: bytes, by: bytes) -> bytes:
    """The file with its enclosed JSON changed."""
    proof = TlogProof.decode(provider.encode())
    assert proof.extra.count(change) == 1
    return replace(proof, extra=proof.extra.replace(change, by)).encode()


def test_duplicate_unknown_and_missing_fields_are_refused(provider: PortableReceipt) -> None:
    for old, new in (
        (b'"type":"portable_receipt"', b'"type":"portable_receipt","type":"portable_receipt"'),
        (b'"type":"portable_receipt"', b'"type":"portable_receipt","u":1'),
        (b'"type":"portable_receipt",', b""),
        (b'"type":"portable_receipt"', b'"type":"directory"'),
        (b',"v":1}', b',"v":2}'),
        (b',"v":1}', b',"v":1} '),
    ):
        with pytest.raises(MalformedError):
            PortableReceipt.decode(rewritten(provider, old, new))
    bare = replace(TlogProof.decode(provider.encode()), extra=b"")
    with pytest.raises(MalformedError, match="encloses no receipt"):
        PortableReceipt.decode(bare.encode())


def test_oversized_files_and_entries_are_refused(provider: PortableReceipt) -> None:
    with pytest.raises(LimitExceededError):
        PortableReceipt.decode(provider.encode() + b"x" * MAX_PROOF_BYTES)
    large = replace(provider, outcome=ProvenEntry(b"x" * 8193, 0, ()))
    with pytest.raises(LimitExceededError):
        PortableReceipt.decode(large.encode())


@given(st.data())
def test_any_change_of_the_file_is_refused_with_our_own_error(provider: PortableReceipt, data: st.DataObject) -> None:
    raw = bytearray(provider.encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del raw[place:]
    with pytest.raises(AuditError):
        check_bytes(bytes(raw))


# -- the command --------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    code = main(["check-proof", *map(str, arguments), "--json"])
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, told


def test_the_stranger_needs_the_file_and_the_regulators_key(
    provider: PortableReceipt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, later = tmp_path / "proof", tmp_path / "directory.dsse"
    file.write_bytes(provider.encode())
    key = ("--regulator-vkey", WATCH.vkey())
    code, told = run(capsys, file, *key)
    assert (code, told["verified"], told["receipt_id"], told["index"]) == (0, True, RECEIPT, provider.outcome.index)
    assert main(["check-proof", str(file), *key]) == 0
    text = capsys.readouterr().out
    assert "signed by both" in text
    assert "proof        holds" in text
    later.write_bytes(sign_directory(directory(version=9), signing_key("watch")).encode())
    assert run(capsys, file, "--directory", later, *key)[1]["directory_version"] == 9

    revoked = with_status("shop", KeyPurpose.MESSAGE, KeyStatus.REVOKED)
    later.write_bytes(sign_directory(revoked, signing_key("watch")).encode())
    code, told = run(capsys, file, "--directory", later, *key)
    assert (code, told["verified"], told["error"]) == (5, False, "RevokedKeyError")
    stranger = signing_key("north").verifying_key.vkey()
    assert run(capsys, file, "--regulator-vkey", stranger)[0] == 5
    file.write_bytes(provider.encode()[:-1])
    assert run(capsys, file, *key)[0] == 5
    assert main(["check-proof", str(file), *key]) == 5
    assert "DOES NOT HOLD" in capsys.readouterr().out
    for arguments in (
        [file],
        [file, "--regulator-vkey", "no key"],
        [tmp_path / "missing", *key],
        [file, "--directory", tmp_path / "missing", *key],
    ):
        assert run(capsys, *arguments)[0] == 6
    assert main(["check-proof", str(file)]) == 6


def test_an_outcome_that_contradicts_its_receipt_is_refused(tmp_path: Path) -> None:
    honest = outcome(Side.PROVIDER, number=3)
    assert isinstance(honest, Outcome)
    write(tmp_path / "ledger.db", [replace(honest, price_micro=1), ack(Side.PROVIDER, number=3)])
    with pytest.raises(VerificationFailedError, match="differ from the receipt"):
        check(proof_from(tmp_path / "ledger.db"))


def test_the_enclosed_json_is_canonical(provider: PortableReceipt) -> None:
    extra = TlogProof.decode(provider.encode()).extra
    assert canonicalise(json.loads(extra)) == extra
