import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.directory import Directory, sign_directory
from audit.entry import DirectoryAccepted, Enrolled, decode_entry
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, BadSignatureError, MalformedError, StaleDirectoryError
from audit.keys import KeyPurpose, SigningKey
from audit.ledger import Draft, Ledger, LedgerIdentity
from audit.names import Role, key_name
from parties.enrol import (
    Bundle,
    EnrolmentRequest,
    check_admissible,
    read_bundle,
    read_request,
    verify_bundle,
)
from parties.errors import EnrolmentError, IdentityError, PartyError
from parties.founding import accept
from parties.home import Home
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    generate_tls_key,
    key_from_pem,
    spiffe_id_of,
)
from parties.regulator import Regulator
from tests.audit.golden import assert_golden
from tests.audit.mutations import mutated

from .homes import CLOCK, DAY_MS, DOMAIN, SetClock, founding, join, new_home, opened


@pytest.fixture
def regulator(tmp_path: Path) -> Iterator[Regulator]:
    with opened(new_home(tmp_path, "watch", Role.REGULATOR)) as regulator:
        yield regulator


def keys_of(home: Home) -> dict[KeyPurpose, SigningKey]:
    return {purpose: home.signing_key(purpose) for purpose in KeyPurpose}


def changed(home: Home, **fields: object) -> bytes:
    """The home's request with other words in it, proved and signed by the same keys."""
    request, _ = read_request(home.request_path.read_bytes())
    return replace(request, **fields).seal(keys_of(home)).encode()  # type: ignore[arg-type]


def resigned(bundle: bytes, regulator: Home, **fields: object) -> bytes:
    """A bundle with other words in it, signed by the regulator's own key."""
    read, _ = read_bundle(bundle)
    return replace(read, **fields).seal(regulator.signing_key(KeyPurpose.MESSAGE)).encode()  # type: ignore[arg-type]


def snapshot(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.path.iterdir() if path.is_file() and path.name != ".lock"}


def test_two_files_make_a_party(tmp_path: Path, regulator: Regulator) -> None:
    home = join(regulator, new_home(tmp_path, "east", Role.PROVIDER))
    assert home.config.regulator == regulator.home.config.regulator
    directory = home.directory(now_ms=CLOCK.now_ms())
    assert directory == regulator.directory()
    record = directory.party("east")
    assert record.endpoint == home.config.network.endpoint
    assert record.key(KeyPurpose.MESSAGE) == home.signing_key(KeyPurpose.MESSAGE).verifying_key
    certificate = certificate_from_pem(home.tls().certificate)
    assert spiffe_id_of(certificate) == record.spiffe_id
    entries = [decode_entry(data) for data in regulator.ledger.read(0, regulator.ledger.size)]
    enrolled = [entry for entry in entries if isinstance(entry, Enrolled)]
    assert [(entry.subject, entry.certificate, entry.version) for entry in enrolled] == [
        ("east", fingerprint(certificate), 2)
    ]
    assert [entry.version for entry in entries if isinstance(entry, DirectoryAccepted)] == [1, 2]


def test_the_certificates_names_are_the_regulators_word_not_the_requests(tmp_path: Path, regulator: Regulator) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, home.subject.dns_name)])
    wanted = [x509.UniformResourceIdentifier("spiffe://test.example/regulator/watch")]
    key = serialization.load_pem_private_key((home.keys / "tls.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    csr = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = csr.add_extension(x509.SubjectAlternativeName(wanted), critical=True)
    csr = csr.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    der = csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    bundle, _ = read_bundle(regulator.enrol(changed(home, csr=der)))
    certificate = certificate_from_pem(bundle.certificate[0].encode())
    assert spiffe_id_of(certificate) == "spiffe://test.example/provider/east"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_same_request_again_gets_the_same_certificate_and_no_new_entry(
    tmp_path: Path, regulator: Regulator
) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    first = regulator.enrol(home.request_path.read_bytes())
    size = regulator.ledger.size
    again = regulator.enrol(home.request_path.read_bytes())
    assert read_bundle(again)[0].certificate == read_bundle(first)[0].certificate
    assert regulator.ledger.size == size
    accept(home, again, regulator_vkey=None, clock=CLOCK)
    accept(home, again, regulator_vkey=None, clock=CLOCK)


def test_what_the_regulator_does_not_enrol(tmp_path: Path, regulator: Regulator) -> None:
    join(regulator, new_home(tmp_path, "east", Role.PROVIDER, entity="X1"))
    other = tmp_path / "other"
    cases: dict[str, Home] = {
        "by another request": new_home(other, "east", Role.PROVIDER, entity="X1"),
    }
    refused = {words: home.request_path.read_bytes() for words, home in cases.items()}
    refused["never changes hands"] = changed(cases["by another request"], legal_entity="X2")
    merchant = new_home(other / "role", "east", Role.MERCHANT, entity="X1")
    refused["enrolled as a provider, not as a merchant"] = merchant.request_path.read_bytes()
    west = new_home(other, "west", Role.PROVIDER)
    refused["needs an endpoint"] = changed(west, endpoint="")
    version, size = regulator.directory().version, regulator.ledger.size
    for words, data in refused.items():
        with pytest.raises(EnrolmentError, match=words):
            regulator.enrol(data)
    assert (regulator.directory().version, regulator.ledger.size) == (version, size)


def test_a_second_regulator_and_another_domain_are_refused(tmp_path: Path, regulator: Regulator) -> None:
    for words, subject in {
        "is this domain's": Subject("watch2", Role.REGULATOR, DOMAIN),
        "--domain test.example": Subject("east", Role.PROVIDER, "other.example"),
    }.items():
        request, _ = read_request(new_home(tmp_path, f"h{subject.role.value}", Role.PROVIDER).request_path.read_bytes())
        with pytest.raises(EnrolmentError, match=words):
            check_admissible(replace(request, subject=subject), regulator.directory())


def test_announcing_anothers_key_is_refused(tmp_path: Path, regulator: Regulator) -> None:
    east, west = new_home(tmp_path, "east", Role.PROVIDER), new_home(tmp_path, "west", Role.PROVIDER)
    request, _ = read_request(west.request_path.read_bytes())
    stolen = replace(east.signing_key(KeyPurpose.LOG).verifying_key, name=west.key_name(KeyPurpose.LOG))
    claim = replace(request, keys={**request.keys, KeyPurpose.LOG: stolen})
    with pytest.raises(BadSignatureError):  # west cannot prove that it holds east's key
        read_request(claim.seal(keys_of(west)).encode())
    # Even with a proof (the key was shared), two parties never have one key.
    shared = {
        **keys_of(west),
        KeyPurpose.LOG: SigningKey.from_pem(west.key_name(KeyPurpose.LOG), (east.keys / "log.pem").read_bytes(), None),
    }
    join(regulator, east)
    with pytest.raises(EnrolmentError, match="announces a key of east"):
        regulator.enrol(claim.seal(shared).encode())


def test_a_request_signed_by_another_key_or_changed_is_refused(tmp_path: Path) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    _, envelope = read_request(home.request_path.read_bytes())
    body = json.loads(envelope.payload)
    stranger = SigningKey.generate(home.key_name(KeyPurpose.MESSAGE))
    with pytest.raises(BadSignatureError):
        read_request(seal(body, PayloadType.ENROLMENT, stranger).encode())
    body["legal_entity"] = "X2"  # signed by the right key, but the proofs are of another body
    with pytest.raises(BadSignatureError):
        read_request(seal(body, PayloadType.ENROLMENT, home.signing_key(KeyPurpose.MESSAGE)).encode())


def test_what_a_party_does_not_accept_changes_nothing_in_its_home(tmp_path: Path, regulator: Regulator) -> None:
    home, west = new_home(tmp_path, "east", Role.PROVIDER), new_home(tmp_path, "west", Role.PROVIDER)
    for_west = regulator.enrol(west.request_path.read_bytes())
    bundle = regulator.enrol(home.request_path.read_bytes())
    theirs, ours = read_bundle(for_west)[0], read_bundle(bundle)[0]
    before = snapshot(home)
    now_ms = CLOCK.now_ms()
    watch = regulator.home
    impostor = new_home(tmp_path / "false", "watch", Role.REGULATOR)
    wrong: dict[str, tuple[bytes, type[Exception]]] = {
        "another request": (for_west, EnrolmentError),
        "has expired": (resigned(bundle, watch, issued_at_ms=1, expires_at_ms=now_ms), EnrolmentError),
        "another TLS key": (resigned(bundle, watch, certificate=_certificate_of_a_stranger(regulator)), EnrolmentError),
        "not spiffe": (resigned(bundle, watch, certificate=theirs.certificate), IdentityError),
        "does not list east": (resigned(bundle, watch, directory=theirs.directory), EnrolmentError),
        "another endpoint": (resigned(bundle, watch, endpoint="evil.example:1"), EnrolmentError),
        "not .*'s over these bytes": (_flipped(bundle), BadSignatureError),
        "brings no certificate": (resigned(bundle, watch, certificate=()), MalformedError),
    }
    wrong |= _altered_directories(regulator, ours)
    for words, (data, kind) in wrong.items():
        with pytest.raises(kind, match=words):
            accept(home, data, regulator_vkey=None, clock=CLOCK)
    with pytest.raises(EnrolmentError, match="--regulator-vkey names"):
        accept(home, bundle, regulator_vkey=impostor.config.regulator.vkey, clock=CLOCK)
    assert snapshot(home) == before


def _certificate_of_a_stranger(regulator: Regulator) -> tuple[str, ...]:
    """A certificate of the right names, issued by the authority, for a TLS key that is not the home's."""
    pem = (regulator.home.keys / "ca.pem").read_bytes()
    anchor = certificate_from_pem(regulator.home.anchors_path.read_bytes())
    authority = CertificateAuthority(anchor, key_from_pem(pem, None, where="ca"))
    subject = Subject("east", Role.PROVIDER, DOMAIN)
    certificate = authority.issue(generate_tls_key().public_key(), subject, now_ms=CLOCK.now_ms())
    return (certificate_to_pem(certificate).decode(),)


def _flipped(bundle: bytes) -> bytes:
    envelope = Envelope.decode(bundle, limit=len(bundle))
    line = envelope.signatures[0]
    false = replace(line, signature=bytes([line.signature[0] ^ 1]) + line.signature[1:])
    return replace(envelope, signatures=(false,)).encode()


def _altered_directories(regulator: Regulator, bundle: Bundle) -> dict[str, tuple[bytes, type[Exception]]]:
    """Bundles whose directory, signed by the regulator, says something else of the party than it asked for."""
    directory, key = regulator.directory(), regulator.home.signing_key(KeyPurpose.MESSAGE)
    east = directory.party("east")
    altered: dict[str, tuple[bytes, type[Exception]]] = {}
    for what, record in {
        "legal entity": replace(east, legal_entity="X9"),
        "endpoint of east": replace(east, endpoint="evil.example:1"),
        "keys": replace(east, keys=east.keys[1:]),
    }.items():
        parties = tuple(record if party.name == "east" else party for party in directory.parties)
        data = sign_directory(replace(directory, parties=parties), key).encode()
        altered[what] = (replace(bundle, directory=data).seal(key).encode(), EnrolmentError)
    expired = replace(directory, issued_at_ms=1, expires_at_ms=2)
    data = sign_directory(expired, key).encode()
    altered["expired at"] = (replace(bundle, directory=data).seal(key).encode(), StaleDirectoryError)
    return altered


def test_a_party_belongs_to_one_regulator_and_never_goes_back_to_an_older_directory(
    tmp_path: Path, regulator: Regulator
) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    old = regulator.enrol(home.request_path.read_bytes())
    join(regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    home = join(regulator, home)
    with pytest.raises(StaleDirectoryError):
        accept(home, old, regulator_vkey=None, clock=CLOCK)
    with opened(new_home(tmp_path / "false", "watch", Role.REGULATOR)) as impostor:
        with pytest.raises(EnrolmentError, match=r"party\.toml pins"):
            accept(home, impostor.enrol(home.request_path.read_bytes()), regulator_vkey=None, clock=CLOCK)
        with pytest.raises(EnrolmentError, match="is the regulator"):
            accept(impostor.home, old, regulator_vkey=None, clock=CLOCK)


def test_a_bundle_is_good_for_a_month(tmp_path: Path, regulator: Regulator) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    bundle = regulator.enrol(home.request_path.read_bytes())
    clock = SetClock()
    clock.ahead_ms = 31 * DAY_MS
    with pytest.raises(EnrolmentError, match="expired"):
        accept(home, bundle, regulator_vkey=None, clock=clock)
    clock.ahead_ms = 29 * DAY_MS
    accept(home, bundle, regulator_vkey=None, clock=clock)


@pytest.mark.parametrize("recorded", [False, True])
def test_after_a_crash_the_ledger_decides_what_became_of_an_enrolment(tmp_path: Path, recorded: bool) -> None:
    """The crash comes after the new directory was laid down: before, or after, the ledger recorded the enrolment."""
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    request = new_home(tmp_path, "east", Role.PROVIDER).request_path.read_bytes()
    with opened(home) as regulator:
        version = regulator.directory().version
        party = read_request(request)[0].record(CLOCK.now_ms())
        parties = tuple(sorted((*regulator.directory().parties, party), key=lambda record: record.name))
        successor = replace(regulator.directory(), version=version + 1, parties=parties)
    data = sign_directory(successor, home.signing_key(KeyPurpose.MESSAGE)).encode()
    (home.path / "directory.next").write_bytes(data)
    (home.path / "enrolled").mkdir()
    (home.path / "enrolled" / "east.json").write_bytes(b"never handed out")
    if recorded:
        identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
        key = home.signing_key(KeyPurpose.LOG)
        with Ledger.open(home.ledger_path, identity=identity, key=key, clock=CLOCK) as ledger:
            entry = Enrolled(
                party="watch",
                at_ms=CLOCK.now_ms(),
                subject="east",
                role=Role.PROVIDER,
                legal_entity=party.legal_entity,
                certificate="0" * 64,
                version=version + 1,
            )
            ledger.append(Draft(entry, keys=(f"enrolled:{version + 1}",)))
    with opened(home) as regulator:
        assert regulator.directory().version == version + recorded
        assert not (home.path / "directory.next").exists()
        assert (home.path / "enrolled" / "east.json").exists() == recorded
        last = [decode_entry(entry) for entry in regulator.ledger.read(0, regulator.ledger.size)][-1]
        assert isinstance(last, DirectoryAccepted)
        assert last.version == version + recorded


def test_a_directory_about_to_expire_is_signed_anew(tmp_path: Path) -> None:
    home, clock = new_home(tmp_path, "watch", Role.REGULATOR), SetClock()
    clock.ahead_ms = 59 * DAY_MS
    for ahead, version in ((59, 1), (61, 2), (62, 2), (400, 3)):
        clock.ahead_ms = ahead * DAY_MS
        regulator = Regulator.open(home, clock=clock)
        assert regulator.directory().version == version
        assert regulator.directory().expires_at_ms > clock.now_ms()
        regulator.close()


def seeded(purpose: KeyPurpose, party: str, role: Role) -> SigningKey:
    seed = hashlib.sha256(f"unseen enrolment test key {party} {purpose.value}".encode()).digest()
    return SigningKey.from_seed(key_name(party, role, "stats.example", purpose), seed)


def golden_request() -> tuple[EnrolmentRequest, Envelope]:
    subject = Subject("east", Role.PROVIDER, "stats.example")
    scalar = int.from_bytes(hashlib.sha256(b"unseen enrolment test TLS key").digest()) >> 8
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.dns_name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = csr.sign(ec.derive_private_key(scalar, ec.SECP256R1()), hashes.SHA256(), ecdsa_deterministic=True)
    keys = {purpose: seeded(purpose, "east", Role.PROVIDER) for purpose in KeyPurpose}
    request = EnrolmentRequest(
        subject=subject,
        legal_entity="91110000MA0000001A",
        endpoint="east.example:7443",
        keys={purpose: key.verifying_key for purpose, key in keys.items()},
        csr=signed.public_bytes(serialization.Encoding.DER),
        created_at_ms=1_760_000_000_000,
        nonce="00" * 16,
    )
    return request, request.seal(keys)


def golden_bundle() -> Envelope:
    request, envelope = golden_request()
    keys = {purpose: seeded(purpose, "watch", Role.REGULATOR) for purpose in KeyPurpose}
    watch = replace(
        request,
        subject=Subject("watch", Role.REGULATOR, "stats.example"),
        endpoint="watch.example:7443",
        keys={purpose: key.verifying_key for purpose, key in keys.items()},
    )
    at_ms = request.created_at_ms
    pem = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"
    parties = (request.record(at_ms), watch.record(at_ms))
    directory = Directory("stats.example", 2, at_ms, at_ms + DAY_MS, "watch", parties, (pem,))
    key = keys[KeyPurpose.MESSAGE]
    return Bundle(
        request=envelope.digest,
        certificate=(pem,),
        directory=sign_directory(directory, key).encode(),
        regulator="watch",
        endpoint="watch.example:7443",
        key=key.verifying_key,
        issued_at_ms=at_ms,
        expires_at_ms=at_ms + DAY_MS,
    ).seal(key)


def test_the_golden_files_are_what_this_release_writes_and_reads() -> None:
    request, envelope = golden_request()
    assert_golden("enrolment", envelope.encode())
    assert read_request(envelope.encode()) == (request, envelope)
    bundle = golden_bundle()
    assert_golden("enrolment_bundle", bundle.encode())
    assert read_bundle(bundle.encode())[0].request == envelope.digest


def accepted_or_ours(read: Callable[[bytes], object], data: bytes) -> None:
    try:
        read(data)
    except (AuditError, PartyError):
        return


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_our_own_errors(data: bytes) -> None:
    accepted_or_ours(read_request, data)
    accepted_or_ours(read_bundle, data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_body_is_accepted_or_refused_with_our_own_errors(data: st.DataObject) -> None:
    """The body is changed and signed again, so that the fields' own checks are reached."""
    request, envelope = golden_request()
    body = json.loads(data.draw(mutated(envelope.payload)))
    if body.get("type") == "enrolment":
        signed = seal(body, PayloadType.ENROLMENT, seeded(KeyPurpose.MESSAGE, "east", Role.PROVIDER)).encode()
        accepted_or_ours(read_request, signed)
    body = json.loads(data.draw(mutated(golden_bundle().payload)))
    if body.get("type") == "enrolment_bundle":
        signed = seal(body, PayloadType.ENROLMENT_BUNDLE, seeded(KeyPurpose.MESSAGE, "watch", Role.REGULATOR)).encode()

        def read(data: bytes) -> None:
            verify_bundle(
                read_bundle(data)[0],
                (request, envelope),
                now_ms=request.created_at_ms,
                skew_ms=0,
                minimum_version=0,
            )

        accepted_or_ours(read, signed)


def test_unused_founding_words_are_checked_on_reading_too(tmp_path: Path) -> None:
    home = new_home(tmp_path, "east", Role.PROVIDER)
    with pytest.raises(MalformedError, match="endpoint"):
        read_request(changed(home, endpoint="nowhere"))
    assert founding("east", Role.PROVIDER).subject == home.subject
