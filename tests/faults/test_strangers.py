"""Who may not speak, and what may not be said: denied with reason and clause, recorded, and nothing computed."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unseen.v1 import catalogue_pb2, catalogue_pb2_grpc, compute_pb2

from audit.directory import Role
from audit.entry import Denied
from audit.keys import SigningKey
from parties.channel import Dialler, PeerChannel
from parties.errors import CertificateRefusedError, Culprit
from parties.home import TlsMaterial
from parties.identity import (
    CertificateAuthority,
    Subject,
    certificate_from_pem,
    certificate_to_pem,
    generate_tls_key,
    key_from_pem,
    key_to_pem,
)
from parties.regulator import Regulator
from protocols.paillier_key import generate_key
from sandbox.invocation_merchant import REQUEST
from sandbox.vault import VaultKind
from tests.parties.federation import DOMAIN, KEY_BITS, enrol, make_home

from .asking import SECONDS, Refusal, ask, compute, forward, refusal, signed
from .town import CLOCK, HANDSHAKE_MS, MERCHANT, REGULATOR, Town, eventually

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED


def denied(
    town: Town,
    attempt: Callable[[], object],
    code: grpc.StatusCode,
    reason: str,
    *,
    at: str = "east",
    identity: str = f"spiffe://{DOMAIN}/merchant/{MERCHANT}",
) -> Refusal:
    """The attempt is refused for `reason`, a clause is cited, `at` has recorded it, and nobody took a call."""
    before = {name: town.calls(name) for name in ("east", "north", "south")}
    refused = refusal(attempt)
    assert (refused.code, refused.reason) == (code, reason), refused
    assert refused.clause
    entry = town.last_denial(at)
    assert (entry.reason, entry.identity, entry.count) == (reason, identity, 1)
    assert entry.clause
    assert entry.clause in refused.clause
    assert {name: town.calls(name) for name in before} == before
    return refused


# -- certificates -----------------------------------------------------------------------------------------------------


def foreign_home(folder: Path, anchors: bytes | None):
    """A home of the same names under another authority; it trusts `anchors` where they are given."""
    regulator = Regulator.open(make_home(folder, REGULATOR, Role.REGULATOR))
    try:
        home = enrol(regulator, make_home(folder, MERCHANT, Role.MERCHANT, listens=False))
    finally:
        regulator.close()
    if anchors is not None:
        home.anchors_path.write_bytes(anchors)
    return home


def list_datasets(channel: PeerChannel) -> object:
    stub = catalogue_pb2_grpc.CatalogueServiceStub(channel.channel)
    return channel.call(stub.ListDatasets, catalogue_pb2.ListDatasetsRequest(), timeout_ms=10_000)


def metric(town: Town, party: str, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{town.metrics[party]}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(("trusting", "culprit"), [(True, Culprit.OURS), (False, Culprit.THEIRS)])
def test_a_certificate_of_a_foreign_authority_fails_in_the_handshake_and_the_client_says_whose(
    town: Town, tmp_path: Path, trusting: bool, culprit: Culprit
) -> None:
    anchors = town.home(MERCHANT).anchors_path.read_bytes()
    home = foreign_home(tmp_path, anchors if trusting else None)
    counted = metric(town, "east", "unseen_tls_handshakes_refused_total")
    entries = len(town.all_entries("east"))
    dialler = Dialler(home, lambda: town.directory)
    try:
        with pytest.raises(CertificateRefusedError) as caught:
            list_datasets(dialler.dial("east"))
    finally:
        dialler.close()
    assert (caught.value.culprit, caught.value.party) == (culprit, "east")
    assert ("it refused our certificate" if trusting else "we refused its certificate") in str(caught.value)
    assert len(town.all_entries("east")) == entries, "the connection never reached the party"
    eventually(
        lambda: metric(town, "east", "unseen_tls_handshakes_refused_total") > counted, seconds=HANDSHAKE_MS / 1000 + 5
    )


def certified(town: Town, subject: Subject, party: str = "east") -> PeerChannel:
    """A channel with a certificate that the federation's own authority has issued for `subject`."""
    regulator = town.home(REGULATOR)
    anchor = certificate_from_pem(regulator.anchors_path.read_bytes())
    authority = CertificateAuthority(anchor, key_from_pem((regulator.keys / "ca.pem").read_bytes(), None, where="ca"))
    key = generate_tls_key()
    certificate = authority.issue(key.public_key(), subject, now_ms=CLOCK.now_ms())
    tls = TlsMaterial(key_to_pem(key, None), certificate_to_pem(certificate), certificate_to_pem(anchor))
    record = town.directory.party(party)
    limits = town.home(MERCHANT).config.limits
    return PeerChannel(record, record.endpoint, tls, limits, lambda: town.directory, proxy=False)


@pytest.mark.parametrize("party", ["east", REGULATOR])
@pytest.mark.parametrize(
    ("subject", "code", "reason"),
    [
        (Subject("ghost", Role.MERCHANT, DOMAIN), UNAUTHENTICATED, "UNKNOWN_PARTY"),
        (Subject(MERCHANT, Role.PROVIDER, DOMAIN), PERMISSION_DENIED, "WRONG_ROLE"),
        (Subject(MERCHANT, Role.REGULATOR, DOMAIN), PERMISSION_DENIED, "WRONG_ROLE"),
        (Subject(MERCHANT, Role.MERCHANT, "other.example"), UNAUTHENTICATED, "UNKNOWN_PARTY"),
    ],
    ids=lambda value: getattr(value, "spiffe_id", str(value)),
)
def test_a_known_authority_does_not_make_an_unknown_party_or_a_wrong_role_welcome(
    town: Town, subject: Subject, code: grpc.StatusCode, reason: str, party: str
) -> None:
    channel = certified(town, subject, party)
    try:
        method = compute(channel).GetAnswer
        request = compute_pb2.GetAnswerRequest(request_id="00" * 32)
        if party == REGULATOR:
            method = health_pb2_grpc.HealthStub(channel.channel).Check
            request = health_pb2.HealthCheckRequest()
        denied(
            town,
            lambda: method(request, timeout=SECONDS),
            code,
            reason,
            at=party,
            identity=subject.spiffe_id,
        )
    finally:
        channel.close()


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_bad_signature_is_unauthenticated(town: Town) -> None:
    name = f"{MERCHANT}.merchant.{DOMAIN}/message"
    request = signed(town, town.shared_contract, signer=SigningKey.generate(name))
    assert denied(town, lambda: ask(town, request), UNAUTHENTICATED, "BAD_SIGNATURE").check == 2


def test_a_signature_over_other_bytes_is_unauthenticated(town: Town) -> None:
    genuine, other = signed(town, town.shared_contract), signed(town, town.shared_contract)
    payloads = [request.envelope.split(b'"payload":"')[1].split(b'"')[0] for request in (genuine, other)]
    forged = compute_pb2.SignedRequest(
        envelope=genuine.envelope.replace(payloads[0], payloads[1]), openings=other.openings
    )
    denied(town, lambda: ask(town, forged), UNAUTHENTICATED, "BAD_SIGNATURE")


@pytest.mark.parametrize(
    "times",
    [
        {"issued": -3_600_000, "deadline": 20_000},
        {"issued": 3_600_000, "deadline": 20_000},
        {"issued": -10_000, "deadline": -1},
        {"issued": 0, "deadline": 86_400_000},
    ],
    ids=["old", "post-dated", "past-its-deadline", "deadline-too-far"],
)
def test_a_stale_request_is_denied(town: Town, times: dict[str, int]) -> None:
    now_ms = CLOCK.now_ms()
    request = signed(
        town, town.shared_contract, issued_at_ms=now_ms + times["issued"], deadline_ms=now_ms + times["deadline"]
    )
    assert denied(town, lambda: ask(town, request), PERMISSION_DENIED, "STALE").check == 3


def test_a_replayed_request_is_denied_by_whoever_took_it(town: Town) -> None:
    result = town.merchant.aggregate(town.shared_contract, statistics=["count"])
    vault = town.merchant._rooms.context.vault
    replay = compute_pb2.SignedRequest(
        envelope=vault.get(VaultKind.MESSAGE, f"{REQUEST}/{result.call}"),
        openings=vault.get(VaultKind.OPENINGS, f"{result.call}/{REQUEST}"),
    )
    denied(town, lambda: ask(town, replay), PERMISSION_DENIED, "REPLAYED")
    denied(
        town,
        lambda: forward(town, replay, by="east", to="north"),
        PERMISSION_DENIED,
        "REPLAYED",
        at="north",
        identity=f"spiffe://{DOMAIN}/provider/east",
    )


def test_a_replay_is_denied_after_a_restart_too(town: Town) -> None:
    result = town.merchant.aggregate(town.shared_contract, statistics=["count"])
    vault = town.merchant._rooms.context.vault
    replay = compute_pb2.SignedRequest(
        envelope=vault.get(VaultKind.MESSAGE, f"{REQUEST}/{result.call}"),
        openings=vault.get(VaultKind.OPENINGS, f"{result.call}/{REQUEST}"),
    )
    town.processes["east"].kill()
    town.processes["east"].start()
    denied(town, lambda: ask(town, replay), PERMISSION_DENIED, "REPLAYED")


def test_a_request_for_another_audience_is_denied(town: Town) -> None:
    request = signed(town, town.shared_contract, change=lambda body: replace(body, audience=("north", "south")))
    assert denied(town, lambda: ask(town, request), PERMISSION_DENIED, "WRONG_AUDIENCE").check == 3


def test_a_swapped_key_is_denied_by_the_computing_party_and_by_its_peers(town: Town) -> None:
    other = generate_key(KEY_BITS, minimum_bits=KEY_BITS).public_key
    request = signed(town, town.shared_contract)
    assert denied(town, lambda: ask(town, request, key=other), PERMISSION_DENIED, "KEY_MISMATCH").check == 2
    east = f"spiffe://{DOMAIN}/provider/east"
    denied(
        town,
        lambda: forward(town, request, by="east", to="south", key=other),
        PERMISSION_DENIED,
        "KEY_MISMATCH",
        at="south",
        identity=east,
    )


@pytest.mark.parametrize("forwarder", ["south", MERCHANT, REGULATOR])
def test_a_request_that_another_than_its_computing_party_forwards_is_denied(town: Town, forwarder: str) -> None:
    request = signed(town, town.shared_contract)
    role = {"south": "provider", MERCHANT: "merchant", REGULATOR: "regulator"}[forwarder]
    refused = denied(
        town,
        lambda: forward(town, request, by=forwarder, to="north"),
        PERMISSION_DENIED,
        "IDENTITY_MISMATCH",
        at="north",
        identity=f"spiffe://{DOMAIN}/{role}/{forwarder}",
    )
    assert refused.check == 1


def test_a_computing_party_of_the_merchants_own_choosing_is_denied(town: Town) -> None:
    request = signed(town, town.shared_contract, computing_party="north")
    denied(town, lambda: ask(town, request, party="north"), PERMISSION_DENIED, "COMPUTING_PARTY_MISMATCH", at="north")


def test_the_query_cannot_be_swapped_behind_the_signature(town: Town) -> None:
    request, other = signed(town, town.shared_contract), signed(town, town.shared_contract)
    swapped = compute_pb2.SignedRequest(envelope=request.envelope, openings=other.openings)
    denied(town, lambda: ask(town, swapped), PERMISSION_DENIED, "COMMITMENT_MISMATCH")


def test_past_a_hundred_a_minute_the_denials_of_an_identity_are_one_counted_entry(town: Town) -> None:
    town.processes["south"].stop()
    town.processes["south"].start()  # a fresh minute for this identity
    identity = f"spiffe://{DOMAIN}/merchant/{MERCHANT}"
    before = len(town.entries("south", Denied))
    stub = compute(town.channel(MERCHANT, "south"))
    request = compute_pb2.GetAnswerRequest(request_id="ab" * 32)
    started = time.monotonic()
    calls = [stub.GetAnswer.future(request, timeout=SECONDS) for _ in range(130)]
    assert all(call.exception() is not None for call in calls)
    assert time.monotonic() - started < 50
    written = town.entries("south", Denied)[before:]
    assert len(written) == 100
    assert {entry.count for entry in written} == {1}
    town.processes["south"].stop()
    town.processes["south"].start()
    (collapsed,) = town.entries("south", Denied)[before + 100 :]
    assert (collapsed.count, collapsed.identity, collapsed.reason) == (30, identity, "STALE")
