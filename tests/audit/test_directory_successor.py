"""What a newer directory may not take back, and what a party's record says after a rotation or a revocation."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord, sign_directory, verify_directory
from audit.directory import verify_successor as follows
from audit.errors import DirectoryConflictError, MalformedError, RevokedKeyError, StaleDirectoryError, UnknownKeyError
from audit.names import KeyPurpose, Role, dns_name, spiffe_id
from audit.party_record import MAX_KEYS_PER_PARTY

from . import samples

OLD = samples.directory()
MESSAGE = KeyPurpose.MESSAGE
FINGERPRINT = samples.digest("a certificate")
LATER_MS = samples.AT_MS + 1_000
FRESH = samples.signing_key("north", generation=5).verifying_key


def changed(name: str, change: Callable[[PartyRecord], PartyRecord], directory: Directory = OLD) -> Directory:
    parties = tuple(change(party) if party.name == name else party for party in directory.parties)
    return replace(directory, version=directory.version + 1, parties=parties)


def status(wanted: KeyStatus, status: KeyStatus, until_ms: int | None) -> Callable[[PartyRecord], PartyRecord]:
    """Another status for the party's key that has `wanted`."""

    def change(party: PartyRecord) -> PartyRecord:
        keys = (replace(key, status=status, until_ms=until_ms) if key.status is wanted else key for key in party.keys)
        return replace(party, keys=tuple(keys))

    return change


def back_again(party: PartyRecord) -> PartyRecord:
    """The active message key retired, and the one before it active again."""
    swapped = {KeyStatus.ACTIVE: (KeyStatus.RETIRED, LATER_MS), KeyStatus.RETIRED: (KeyStatus.ACTIVE, None)}

    def swap(key: KeyRecord) -> KeyRecord:
        if key.purpose is not MESSAGE or key.status not in swapped:
            return key
        after, until_ms = swapped[key.status]
        return replace(key, status=after, until_ms=until_ms)

    return replace(party, keys=tuple(swap(key) for key in party.keys))


def without(wanted: KeyStatus) -> Callable[[PartyRecord], PartyRecord]:
    return lambda party: replace(party, keys=tuple(item for item in party.keys if item.status is not wanted))


def as_merchant(party: PartyRecord) -> PartyRecord:
    names = (spiffe_id("shop", Role.PROVIDER, OLD.domain), dns_name("shop", Role.PROVIDER, OLD.domain))
    return replace(party, role=Role.PROVIDER, spiffe_id=names[0], dns_name=names[1], keys=())


def moved(directory: Directory) -> Directory:
    """East's log key is now north's."""
    east, north, *others = directory.parties
    key = next(item for item in east.keys if item.purpose is KeyPurpose.LOG)
    name = next(item.key.name for item in north.keys if item.purpose is KeyPurpose.LOG)
    kept = tuple(item for item in north.keys if item.purpose is not KeyPurpose.LOG)
    taken = replace(key, key=replace(key.key, name=name))
    east = replace(east, keys=tuple(item for item in east.keys if item is not key))
    north = replace(north, keys=(*kept, taken))
    return replace(directory, version=directory.version + 1, parties=(east, north, *others))


TAKEN_BACK: dict[str, Callable[[], Directory]] = {
    "revoked and counts again": lambda: changed("north", status(KeyStatus.REVOKED, KeyStatus.RETIRED, LATER_MS)),
    "retired and counts again": lambda: changed("north", back_again),
    "no longer north's key": lambda: changed("north", without(KeyStatus.REVOKED)),
    "from a later moment": lambda: changed("north", status(KeyStatus.REVOKED, KeyStatus.REVOKED, LATER_MS)),
    "no longer east's key": lambda: moved(OLD),
    "no longer the merchant": lambda: changed("shop", as_merchant),
    "no longer the provider": lambda: replace(OLD, version=4, parties=OLD.parties[1:]),
    "as it was recorded": lambda: changed(
        "shop", lambda party: replace(party, keys=tuple(replace(item, since_ms=7) for item in party.keys))
    ),
}


@pytest.mark.parametrize("words", TAKEN_BACK)
def test_what_was_said_for_good_is_not_taken_back(words: str) -> None:
    new = TAKEN_BACK[words]()
    # Without the check such a directory is accepted: it is the regulator's, and newer.
    key = samples.signing_key("watch")
    data = sign_directory(new, key).encode()
    assert verify_directory(data, key.verifying_key, now_ms=samples.AT_MS, minimum_version=OLD.version + 1) == new
    with pytest.raises(DirectoryConflictError, match=words):
        follows(OLD, new)


def test_a_party_keeps_its_legal_entity_and_the_domain_its_regulator() -> None:
    with pytest.raises(DirectoryConflictError):
        follows(OLD, changed("shop", lambda party: replace(party, legal_entity="91110000MA9999999X")))
    guard = samples.party_record("watch")
    names = (spiffe_id("guard", Role.REGULATOR, OLD.domain), dns_name("guard", Role.REGULATOR, OLD.domain))
    guard = replace(guard, name="guard", spiffe_id=names[0], dns_name=names[1], keys=())
    with pytest.raises(DirectoryConflictError, match="passes from watch"):
        follows(OLD, replace(OLD, version=4, regulator="guard", parties=(guard,)))


def test_a_revoked_certificate_stays_revoked_and_a_version_is_followed_by_a_higher_one() -> None:
    certificates = tuple(sorted((*OLD.revoked_certificates, FINGERPRINT)))
    revoking = replace(OLD, version=4, revoked_certificates=certificates)
    follows(OLD, revoking)
    with pytest.raises(DirectoryConflictError, match="certificate"):
        follows(revoking, replace(OLD, version=5))
    for version in (1, OLD.version):
        with pytest.raises(StaleDirectoryError):
            follows(OLD, replace(OLD, version=version))


def test_rotation_and_revocation_are_followed_by_any_party() -> None:
    rotated = changed("north", lambda party: party.rotated({MESSAGE: FRESH}, LATER_MS))
    follows(OLD, rotated)
    north = rotated.party("north")
    assert north.key(MESSAGE) == FRESH
    old = next(item for item in north.keys if item.key == samples.signing_key("north").verifying_key)
    assert (old.status, old.until_ms) == (KeyStatus.RETIRED, LATER_MS)
    revoked = changed("north", lambda party: party.revoked([FRESH.keyid, old.key.keyid], LATER_MS + 1), rotated)
    follows(rotated, revoked)
    follows(OLD, replace(revoked, version=9))
    with pytest.raises(RevokedKeyError):
        revoked.party("north").key(MESSAGE)
    earlier = changed("north", lambda party: replace(party, keys=tuple(_earlier(item) for item in party.keys)), revoked)
    follows(revoked, earlier)  # found out later that the theft was earlier


def _earlier(record: KeyRecord) -> KeyRecord:
    return replace(record, until_ms=record.since_ms) if record.status is KeyStatus.REVOKED else record


def test_a_clock_set_back_ends_a_key_no_earlier_than_it_began() -> None:
    party = samples.party_record("east").rotated({MESSAGE: samples.signing_key("east", generation=1).verifying_key}, 0)
    retired = next(item for item in party.keys if item.status is KeyStatus.RETIRED)
    assert retired.until_ms == retired.since_ms


def test_what_a_retired_key_signed_in_its_time_counts_and_what_a_revoked_one_did_never() -> None:
    north = OLD.party("north")
    active, revoked, retired = (samples.signing_key("north", generation=index).verifying_key for index in range(3))
    until = next(item.until_ms for item in north.keys if item.key == retired)
    assert until is not None
    assert north.signer_at([retired.keyid, active.keyid], MESSAGE, 0) == active
    assert north.signer_at([retired.keyid], MESSAGE, until) == retired
    with pytest.raises(UnknownKeyError):
        north.signer_at([retired.keyid], MESSAGE, until + 1)
    with pytest.raises(RevokedKeyError):
        north.signer_at([revoked.keyid], MESSAGE, 0)
    with pytest.raises(UnknownKeyError):
        north.signer_at([active.keyid], KeyPurpose.WITNESS, 0)


def test_no_party_fills_the_directory_with_its_keys() -> None:
    party = replace(samples.party_record("east"), keys=())
    for number in range(MAX_KEYS_PER_PARTY):
        key = samples.signing_key("east", generation=number).verifying_key
        party = party.rotated({MESSAGE: key}, samples.AT_MS)
    with pytest.raises(MalformedError, match="are allowed"):
        party.rotated({MESSAGE: samples.signing_key("east", generation=999).verifying_key}, samples.AT_MS)
