from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord, sign_directory, verify_directory
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import (
    AuditError,
    BadSignatureError,
    LimitExceededError,
    MalformedError,
    RevokedKeyError,
    StaleDirectoryError,
    UnknownKeyError,
    UnknownPartyError,
)
from audit.jcs import canonicalise
from audit.names import KeyPurpose, Role, dns_name, spiffe_id

from . import samples
from .mutations import accepted_or_our_error, mutated

REGULATOR = samples.signing_key("watch")
DIRECTORY = samples.directory()


def test_a_signed_directory_reads_back() -> None:
    data = sign_directory(DIRECTORY, REGULATOR).encode()
    assert verify_directory(data, REGULATOR.verifying_key, now_ms=samples.AT_MS, minimum_version=3) == DIRECTORY


def test_parties_are_found_by_name_and_by_certificate() -> None:
    east = DIRECTORY.party("east")
    assert DIRECTORY.by_spiffe("spiffe://stats.example/provider/east") is east
    assert [party.name for party in DIRECTORY.providers()] == ["east", "north"]
    assert east.key(KeyPurpose.MESSAGE) == samples.signing_key("east").verifying_key
    for lookup in (DIRECTORY.party, DIRECTORY.by_spiffe):
        with pytest.raises(UnknownPartyError):
            lookup("nobody")


def test_an_older_version_is_refused() -> None:
    data = sign_directory(DIRECTORY, REGULATOR).encode()
    with pytest.raises(StaleDirectoryError, match="older than 4"):
        verify_directory(data, REGULATOR.verifying_key, now_ms=samples.AT_MS, minimum_version=4)


def test_an_expired_directory_is_refused_from_its_expiry_on() -> None:
    data = sign_directory(DIRECTORY, REGULATOR).encode()
    verify_directory(data, REGULATOR.verifying_key, now_ms=DIRECTORY.expires_at_ms - 1)
    with pytest.raises(StaleDirectoryError, match="expired"):
        verify_directory(data, REGULATOR.verifying_key, now_ms=DIRECTORY.expires_at_ms)


def test_a_directory_signed_by_another_than_the_pinned_key_is_refused() -> None:
    forged = seal(DIRECTORY.to_body(), PayloadType.DIRECTORY, samples.signing_key("shop"))
    with pytest.raises(BadSignatureError, match="pinned"):
        verify_directory(forged.encode(), REGULATOR.verifying_key, now_ms=samples.AT_MS)


def test_a_directory_of_an_impostors_own_making_is_refused() -> None:
    impostor = samples.signing_key("watch", generation=7)
    record = samples.party_record(
        "watch", (KeyRecord(KeyPurpose.MESSAGE, impostor.verifying_key, KeyStatus.ACTIVE, 0, None),)
    )
    own = replace(DIRECTORY, parties=(*DIRECTORY.parties[:-1], record))
    with pytest.raises(BadSignatureError):
        verify_directory(sign_directory(own, impostor).encode(), REGULATOR.verifying_key, now_ms=samples.AT_MS)


def test_the_regulators_own_revoked_key_signs_no_directory() -> None:
    records = (
        KeyRecord(KeyPurpose.MESSAGE, REGULATOR.verifying_key, KeyStatus.REVOKED, 0, samples.AT_MS),
        KeyRecord(
            KeyPurpose.MESSAGE,
            samples.signing_key("watch", generation=1).verifying_key,
            KeyStatus.ACTIVE,
            samples.AT_MS,
            None,
        ),
    )
    revoking = replace(DIRECTORY, parties=(*DIRECTORY.parties[:-1], samples.party_record("watch", records)))
    with pytest.raises(RevokedKeyError):
        sign_directory(revoking, REGULATOR)
    data = seal(revoking.to_body(), PayloadType.DIRECTORY, REGULATOR).encode()
    with pytest.raises(RevokedKeyError):
        verify_directory(data, REGULATOR.verifying_key, now_ms=samples.AT_MS)


@pytest.mark.parametrize("signer", [samples.signing_key("watch", KeyPurpose.LOG), samples.signing_key("east")])
def test_only_the_regulators_message_key_signs_directories(signer: object) -> None:
    with pytest.raises(UnknownKeyError):
        sign_directory(DIRECTORY, signer)  # type: ignore[arg-type]


def test_a_revoked_key_verifies_nothing_and_a_retired_one_still_does() -> None:
    north = DIRECTORY.party("north")
    active, revoked, retired = (samples.signing_key("north", generation=index).verifying_key for index in range(3))
    assert north.key(KeyPurpose.MESSAGE) == active
    assert north.verifying_key(active.keyid) == active
    assert north.verifying_key(retired.keyid) == retired
    with pytest.raises(RevokedKeyError):
        north.verifying_key(revoked.keyid)
    with pytest.raises(UnknownKeyError):
        north.verifying_key(samples.signing_key("east").verifying_key.keyid)


def test_a_party_without_an_active_key_says_why() -> None:
    def party(status: KeyStatus) -> PartyRecord:
        key = samples.signing_key("east").verifying_key
        return samples.party_record("east", (KeyRecord(KeyPurpose.MESSAGE, key, status, 0, 1),))

    with pytest.raises(RevokedKeyError):
        party(KeyStatus.REVOKED).key(KeyPurpose.MESSAGE)
    with pytest.raises(UnknownKeyError):
        party(KeyStatus.RETIRED).key(KeyPurpose.MESSAGE)
    with pytest.raises(UnknownKeyError):
        party(KeyStatus.REVOKED).key(KeyPurpose.WITNESS)


def _with_party(change: Callable[[PartyRecord], PartyRecord]) -> Callable[[], Directory]:
    return lambda: replace(DIRECTORY, parties=(change(DIRECTORY.parties[0]), *DIRECTORY.parties[1:]))


def _as_second_regulator(party: PartyRecord) -> PartyRecord:
    return replace(
        party,
        role=Role.REGULATOR,
        spiffe_id=spiffe_id(party.name, Role.REGULATOR, samples.DOMAIN),
        dns_name=dns_name(party.name, Role.REGULATOR, samples.DOMAIN),
        keys=(),
    )


CONTRADICTIONS: dict[str, Callable[[], Directory]] = {
    "two parties of one name": lambda: replace(DIRECTORY, parties=(DIRECTORY.parties[0], *DIRECTORY.parties)),
    "parties out of order": lambda: replace(DIRECTORY, parties=DIRECTORY.parties[::-1]),
    "no regulator": lambda: replace(DIRECTORY, parties=DIRECTORY.parties[:-1]),
    "another regulator": lambda: replace(DIRECTORY, regulator="east"),
    "two regulators": _with_party(_as_second_regulator),
    "another party's certificate name": _with_party(
        lambda party: replace(party, spiffe_id=DIRECTORY.parties[1].spiffe_id)
    ),
    "another party's DNS name": _with_party(lambda party: replace(party, dns_name=DIRECTORY.parties[1].dns_name)),
    "another party's key": _with_party(lambda party: replace(party, keys=DIRECTORY.parties[1].keys)),
    "one key twice": _with_party(lambda party: replace(party, keys=(*party.keys, replace_status(party.keys[0])))),
    "two active keys of one purpose": _with_party(
        lambda party: replace(
            party,
            keys=(
                *party.keys,
                replace(party.keys[1], key=samples.signing_key("east", generation=1).verifying_key),
            ),
        )
    ),
    "a key under another purpose": _with_party(
        lambda party: replace(party, keys=(replace(party.keys[0], purpose=KeyPurpose.WITNESS),))
    ),
    "an endpoint without a port": _with_party(lambda party: replace(party, endpoint="east.example")),
    "an endpoint beyond the ports": _with_party(lambda party: replace(party, endpoint="east.example:65536")),
    "a legal entity of blanks": _with_party(lambda party: replace(party, legal_entity=" ")),
    "expiry before issue": lambda: replace(DIRECTORY, expires_at_ms=DIRECTORY.issued_at_ms),
    "version zero": lambda: replace(DIRECTORY, version=0),
    "an anchor that is no certificate": lambda: replace(DIRECTORY, trust_anchors=("PEM",)),
    "two certificates in an anchor": lambda: replace(DIRECTORY, trust_anchors=(samples.ANCHOR * 2,)),
    "revoked certificates out of order": lambda: replace(DIRECTORY, revoked_certificates=("b" * 64, "a" * 64)),
    "active with an end": _with_party(lambda party: replace(party, keys=(replace(party.keys[0], until_ms=1),))),
    "revoked without an end": _with_party(
        lambda party: replace(party, keys=(replace(party.keys[0], status=KeyStatus.REVOKED),))
    ),
}


def replace_status(record: KeyRecord) -> KeyRecord:
    return replace(record, status=KeyStatus.RETIRED, until_ms=record.since_ms)


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradictory_directory_cannot_be_made(name: str) -> None:
    with pytest.raises(MalformedError):
        CONTRADICTIONS[name]()


def test_a_public_key_serves_one_purpose_only() -> None:
    log, message = DIRECTORY.parties[0].keys
    shared = replace(log, key=replace(log.key, public_key=message.key.public_key))
    with pytest.raises(MalformedError, match="public key"):
        _with_party(lambda party: replace(party, keys=(shared, message)))()


def test_another_kind_of_envelope_is_no_directory() -> None:
    with pytest.raises(MalformedError):
        verify_directory(samples.receipt().encode(), REGULATOR.verifying_key, now_ms=0)


def test_an_oversized_directory_is_refused_unparsed() -> None:
    with pytest.raises(LimitExceededError):
        verify_directory(bytes((4 << 20) + 1), REGULATOR.verifying_key, now_ms=0)


@given(mutated(canonicalise(DIRECTORY.to_body())))
def test_a_mutated_directory_signed_anew_is_accepted_as_it_stands_or_refused(data: bytes) -> None:
    def decode(raw: bytes) -> bytes:
        envelope = Envelope(PayloadType.DIRECTORY, raw, ()).sign(REGULATOR)
        directory = verify_directory(envelope.encode(), REGULATOR.verifying_key, now_ms=samples.AT_MS)
        return canonicalise(directory.to_body())

    accepted_or_our_error(decode, data)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_directory(data: bytes) -> None:
    with pytest.raises(AuditError):
        verify_directory(data, REGULATOR.verifying_key, now_ms=0)
