"""What bad input gets over the wire: a reason with its clause, an entry, and nothing computed.

Each test sends real bytes through real TLS to a running federation; the attacker is an enrolled party that does not
keep to the client's code, or one with a certificate of another authority.
"""

from dataclasses import dataclass, replace

import grpc
import pytest
from unseen.v1 import (
    catalogue_pb2,
    catalogue_pb2_grpc,
    compute_pb2,
    compute_pb2_grpc,
    contract_pb2,
    contract_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
)

from audit.clock import SystemClock
from audit.commitment import encode_openings
from audit.directory import KeyPurpose, Role
from audit.entry import Denied, Intent, decode_entry
from audit.keys import SigningKey
from parties.channel import Dialler
from parties.client.peers import ComputeClient
from parties.entropy import SystemEntropy
from parties.errors import CertificateRefusedError, Culprit, RemoteError, from_rpc_error
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    generate_tls_key,
    key_from_pem,
    key_to_pem,
)
from protocols.paillier_key import PublicKey, Scheme, generate_key
from sandbox.denials import recorded_clause
from sandbox.errors import DenialReason, DeniedError, PeerUnavailableError
from sandbox.ports import PublicKeyBytes, SignedBytes
from sandbox.request import (
    AggregateQuery,
    RequestTerms,
    Statistic,
    StatisticKind,
    build_request,
    sign_request,
)
from tests.parties.federation import KEY_BITS, enrol, federation, make_home
from tests.parties.test_federation import rows

COUNT = AggregateQuery((Statistic(StatisticKind.COUNT, None),), (), ())
CLOCK = SystemClock()


@dataclass(frozen=True)
class Attacker:
    """An enrolled merchant with its own hands on the wire."""

    fed: object
    home: object
    key: SigningKey
    dialler: Dialler
    client: ComputeClient
    contract: str

    def terms(self):
        now_ms = CLOCK.now_ms()
        providers = tuple(sorted(self.fed.providers))
        return RequestTerms(self.contract, "analyst", providers, providers[0], 1, now_ms, now_ms + 20_000)

    def send(self, *, terms=None, change=lambda request: request, key=None, party="east", signer=None):
        record = self.fed.merchant.contract(self.contract)
        public = self.fed.merchant.paillier_key.public_key
        request, openings = build_request(
            terms or self.terms(), COUNT, record.contract.purpose, public, SystemEntropy()
        )
        envelope = sign_request(change(request), signer or self.key)
        return self.send_bytes(SignedBytes(envelope.encode(), encode_openings(openings)), key or public, party)

    def send_bytes(self, signed, public, party="east"):
        wire = PublicKeyBytes(public.modulus_bytes, public.scheme.value)
        return signed, self.client.aggregate(party, signed, wire, CLOCK.now_ms() + 20_000)


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north", "south"))}
    with federation(tmp_path_factory.mktemp("refusals"), frames) as running:
        yield running


@pytest.fixture(scope="module")
def attacker(fed):
    home = fed.merchant_home
    directory = fed.regulator.party.directory()
    dialler = Dialler(home, lambda: directory)
    yield Attacker(
        fed, home, home.signing_key(KeyPurpose.MESSAGE), dialler, ComputeClient(dialler, CLOCK), fed.contract()
    )
    dialler.close()


def last_denial(fed, name="east"):
    ledger = fed.providers[name].party.ledger
    return [entry for entry in map(decode_entry, ledger.read(0, ledger.size)) if isinstance(entry, Denied)][-1]


def calls(fed, name="east"):
    ledger = fed.providers[name].party.ledger
    return sum(isinstance(entry, Intent) for entry in map(decode_entry, ledger.read(0, ledger.size)))


def refused(fed, attack, reason, *, check=None):
    """The attack is denied for `reason`, an entry says so, and nothing was admitted."""
    before = calls(fed)
    with pytest.raises(DeniedError) as caught:
        attack()
    assert caught.value.reason is reason
    assert caught.value.clause
    if check is not None:
        assert caught.value.check == check
    entry = last_denial(fed)
    assert (entry.reason, entry.clause) == (reason.value, recorded_clause(caught.value.clause))
    assert entry.identity == "spiffe://test.example/merchant/analyst"
    assert calls(fed) == before


def test_a_replayed_request_is_denied(fed, attacker):
    signed, answer = attacker.send()
    assert answer.receipts
    public = fed.merchant.paillier_key.public_key
    refused(fed, lambda: attacker.send_bytes(signed, public), DenialReason.REPLAYED)


def test_a_request_past_its_deadline_is_denied(fed, attacker):
    now_ms = CLOCK.now_ms()
    late = replace(attacker.terms(), issued_at_ms=now_ms - 10_000, deadline_ms=now_ms - 1)
    refused(fed, lambda: attacker.send(terms=late), DenialReason.STALE, check=3)


def test_a_request_issued_long_ago_is_denied(fed, attacker):
    old = replace(attacker.terms(), issued_at_ms=CLOCK.now_ms() - 3_600_000)
    refused(fed, lambda: attacker.send(terms=old), DenialReason.STALE, check=3)


def test_a_request_for_another_audience_is_denied(fed, attacker):
    refused(
        fed,
        lambda: attacker.send(change=lambda request: replace(request, audience=("north", "south"))),
        DenialReason.WRONG_AUDIENCE,
        check=3,
    )


def test_a_swapped_paillier_key_is_denied(fed, attacker):
    other = generate_key(KEY_BITS, minimum_bits=KEY_BITS).public_key
    refused(fed, lambda: attacker.send(key=other), DenialReason.KEY_MISMATCH, check=2)


def test_a_request_signed_by_another_key_is_denied(fed, attacker):
    forged = SigningKey.generate(attacker.key.name)
    refused(fed, lambda: attacker.send(signer=forged), DenialReason.BAD_SIGNATURE, check=2)


def test_a_request_over_fewer_participants_is_denied(fed, attacker):
    fewer = replace(attacker.terms(), participants=("east", "north"))
    refused(fed, lambda: attacker.send(terms=fewer), DenialReason.PARTICIPANT_SET_MISMATCH, check=8)


def test_a_request_to_a_provider_that_does_not_combine_is_denied(fed, attacker):
    before = calls(fed, "north")
    with pytest.raises(DeniedError) as caught:
        attacker.send(party="north")
    assert caught.value.reason is DenialReason.COMPUTING_PARTY_MISMATCH
    assert last_denial(fed, "north").reason == "COMPUTING_PARTY_MISMATCH"
    assert calls(fed, "north") == before


def test_an_unknown_contract_is_denied(fed, attacker):
    unknown = replace(attacker.terms(), contract="00" * 32)
    refused(fed, lambda: attacker.send(terms=unknown), DenialReason.CONTRACT_UNKNOWN, check=4)


@pytest.mark.parametrize("modulus", [(1 << KEY_BITS) - 2, 3 * ((1 << KEY_BITS) // 3 - 100) | 1, (1 << 511) - 1])
def test_a_bad_modulus_is_an_invalid_argument(fed, attacker, modulus):
    bad = PublicKey(modulus, Scheme.TEXTBOOK)
    changed = {"key_fingerprint": bad.fingerprint, "key_scheme": bad.scheme.value, "key_bits": bad.bits}
    refused(
        fed,
        lambda: attacker.send(change=lambda request: replace(request, **changed), key=bad),
        DenialReason.BAD_MODULUS,
        check=2,
    )
    with pytest.raises(grpc.RpcError) as caught:
        raw_aggregate(attacker, change=lambda request: replace(request, **changed), key=bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def raw_aggregate(attacker, *, change=lambda request: request, key=None):
    record = attacker.fed.merchant.contract(attacker.contract)
    public = key or attacker.fed.merchant.paillier_key.public_key
    request, openings = build_request(
        attacker.terms(), COUNT, record.contract.purpose, attacker.fed.merchant.paillier_key.public_key, SystemEntropy()
    )
    envelope = sign_request(change(request), attacker.key)
    stub = compute_pb2_grpc.ComputeServiceStub(attacker.dialler.dial("east").channel)
    message = compute_pb2.AggregateRequest(
        request=compute_pb2.SignedRequest(envelope=envelope.encode(), openings=encode_openings(openings)),
        key=compute_pb2.PaillierPublicKey(modulus=public.modulus_bytes, scheme=public.scheme.value),
    )
    return stub.Aggregate(message, timeout=20)


def test_garbage_instead_of_a_request_is_an_invalid_argument(fed, attacker):
    public = fed.merchant.paillier_key.public_key
    refused(fed, lambda: attacker.send_bytes(SignedBytes(b"{}", b"{}"), public), DenialReason.MALFORMED)


def test_an_oversized_envelope_is_refused_before_it_is_parsed(fed, attacker):
    public = fed.merchant.paillier_key.public_key
    refused(fed, lambda: attacker.send_bytes(SignedBytes(b"x" * 70_000, b"{}"), public), DenialReason.TOO_LARGE)


def test_an_oversized_message_is_refused_by_the_transport(fed, attacker):
    channel = attacker.dialler.dial("east").channel
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Acknowledge(compute_pb2.AcknowledgeRequest(receipts=[b"x" * (9 << 20)]), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_without_a_deadline_is_refused(fed, attacker):
    stub = catalogue_pb2_grpc.CatalogueServiceStub(attacker.dialler.dial("east").channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListDatasets(catalogue_pb2.ListDatasetsRequest())
    assert from_rpc_error("east", caught.value).reason is DenialReason.DEADLINE_MISSING


def test_a_merchant_may_not_play_the_computing_party(fed, attacker):
    stub = compute_pb2_grpc.ComputeServiceStub(attacker.dialler.dial("north").channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Part(compute_pb2.PartRequest(request_id="00" * 32, offers=[], roster=b""), timeout=20)
    assert isinstance(from_rpc_error("north", caught.value), DeniedError)


def test_officials_decisions_come_with_the_partys_own_certificate_alone(fed, attacker):
    stub = contract_pb2_grpc.ContractServiceStub(attacker.dialler.dial("east").channel)
    request = contract_pb2.DecideRequest(contract_id="00" * 32, decision=contract_pb2.DECISION_APPROVE)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Decide(request, timeout=20)
    assert from_rpc_error("east", caught.value).reason is DenialReason.WRONG_ROLE


def test_a_merchant_reads_no_ledger_but_proves_its_own_receipts(fed, attacker):
    stub = ledger_pb2_grpc.LedgerServiceStub(attacker.dialler.dial("east").channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ListEntries(ledger_pb2.ListEntriesRequest(), timeout=20))
    assert from_rpc_error("east", caught.value).reason is DenialReason.WRONG_ROLE
    result = fed.merchant.aggregate(attacker.contract, statistics=["count"])
    own = next(receipt for receipt in result.receipts if receipt.provider == "east")
    proof = stub.GetInclusionProof(ledger_pb2.GetInclusionProofRequest(receipt_id=own.receipt_id), timeout=20)
    assert own.receipt_id.encode() in proof.entry
    foreign = next(receipt for receipt in result.receipts if receipt.provider == "north")
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetInclusionProof(ledger_pb2.GetInclusionProofRequest(receipt_id=foreign.receipt_id), timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_contract_is_unknown_to_those_it_does_not_concern(fed, attacker, tmp_path):
    stranger = enrol(fed.regulator.party, make_home(tmp_path, "stranger", Role.MERCHANT, listens=False))
    directory = fed.regulator.party.directory()
    dialler = Dialler(stranger, lambda: directory)
    try:
        stub = contract_pb2_grpc.ContractServiceStub(dialler.dial("east").channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetContract(contract_pb2.GetContractRequest(contract_id=attacker.contract), timeout=20)
        assert from_rpc_error("east", caught.value).reason is DenialReason.CONTRACT_UNKNOWN
        assert not stub.ListContracts(contract_pb2.ListContractsRequest(), timeout=20).contracts
    finally:
        dialler.close()


def test_a_certificate_of_a_foreign_authority_is_refused_in_the_handshake(fed, attacker, tmp_path):
    with federation(tmp_path, {}) as other:
        directory = fed.regulator.party.directory()
        dialler = Dialler(other.merchant_home, lambda: directory)
        try:
            stub_of = dialler.dial("east")
            stub = catalogue_pb2_grpc.CatalogueServiceStub(stub_of.channel)
            with pytest.raises(PeerUnavailableError) as caught:
                stub_of.call(stub.ListDatasets, catalogue_pb2.ListDatasetsRequest(), timeout_ms=10_000)
            assert isinstance(caught.value, CertificateRefusedError)
            assert caught.value.culprit is Culprit.THEIRS
        finally:
            dialler.close()


def test_a_provider_whose_ledger_cannot_record_releases_nothing(tmp_path):
    frames = {name: rows(name, 60, seed) for seed, name in enumerate(("east", "north"))}
    with federation(tmp_path, frames) as fed:
        contract = fed.contract()
        fed.providers["north"].party.ledger.close()
        with pytest.raises((PeerUnavailableError, DeniedError, RemoteError)) as caught:
            fed.merchant.aggregate(contract, statistics=["count"], timeout=20)
        assert "north" in str(caught.value) or "ledger" in str(caught.value)


def test_a_certificate_of_the_own_authority_that_the_directory_does_not_list_is_denied_and_recorded(fed, attacker):
    authority_home = fed.regulator.home
    pem = (authority_home.path / "ca.pem").read_bytes()
    authority = CertificateAuthority(
        certificate_from_pem(pem), key_from_pem(authority_home.read(authority_home.keys / "ca.pem"), None, where="ca")
    )
    for role, reason in ((Role.PROVIDER, DenialReason.WRONG_ROLE), (None, DenialReason.UNKNOWN_PARTY)):
        subject = Subject("analyst", role, "test.example") if role else Subject("ghost", Role.MERCHANT, "test.example")
        key = generate_tls_key()
        certificate = authority.issue(key.public_key(), subject, now_ms=CLOCK.now_ms())
        credentials = grpc.ssl_channel_credentials(pem, key_to_pem(key, None), certificate_to_pem(certificate))
        endpoint = fed.providers["east"].home.listen
        options = [("grpc.ssl_target_name_override", "east.provider.test.example")]
        with grpc.secure_channel(endpoint, credentials, options) as channel:
            stub = catalogue_pb2_grpc.CatalogueServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListDatasets(catalogue_pb2.ListDatasetsRequest(), timeout=20)
        assert from_rpc_error("east", caught.value).reason is reason
        entry = last_denial(fed)
        assert (entry.reason, entry.identity) == (reason.value, subject.spiffe_id)
