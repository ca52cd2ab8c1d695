"""Moduli and ciphertexts that fail the checks: INVALID_ARGUMENT, and where a peer sent them, its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from typing import Any

import gmpy2
import grpc
import pytest
from unseen.v1 import compute_pb2

from audit.entry import Aborted
from parties.provider import Provider
from parties.server import PartyServer
from parties.telemetry import make_logger
from protocols.executor import InlineExecutor
from protocols.paillier_key import PublicKey, Scheme
from sandbox.errors import DenialReason, PeerMisbehavedError
from tests.parties.federation import KEY_BITS

from .asking import ask, refusal, signed
from .town import BUREAUS, Town

TOP = 1 << (KEY_BITS - 1)


def odd_multiple(factor: int) -> int:
    """An odd number of KEY_BITS bits with this factor."""
    n = TOP // factor * factor + factor
    while n % 2 == 0 or n.bit_length() != KEY_BITS:
        n += factor
    return n


PRIME = int(gmpy2.next_prime(TOP + 12345))
HALF = int(gmpy2.next_prime((1 << (KEY_BITS // 2)) - (1 << (KEY_BITS // 2 - 3))))
MODULI = {
    "even": PublicKey(TOP + 2, Scheme.TEXTBOOK),
    "factor-3": PublicKey(odd_multiple(3), Scheme.TEXTBOOK),
    "factor-under-2^20": PublicKey(odd_multiple(1_048_573), Scheme.TEXTBOOK),
    "prime": PublicKey(PRIME, Scheme.TEXTBOOK),
    "square": PublicKey(HALF * HALF, Scheme.TEXTBOOK),
    "too-short": PublicKey((1 << (KEY_BITS - 16)) + 1, Scheme.TEXTBOOK),
    "djn-not-1-mod-4": PublicKey(HALF * int(gmpy2.next_prime(HALF + 2)) | 3, Scheme.DJN),
}


@pytest.mark.parametrize("name", MODULI)
def test_a_modulus_that_fails_the_checks_is_an_invalid_argument(town: Town, name: str) -> None:
    key = MODULI[name]
    bound = {"key_fingerprint": key.fingerprint, "key_scheme": key.scheme.value, "key_bits": key.bits}
    request = signed(town, town.shared_contract, change=lambda body: replace(body, **bound))
    calls = town.calls("east")
    refused = refusal(lambda: ask(town, request, key=key))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MODULUS"), refused
    assert refused.field_violations == (refused.clause,)
    assert town.last_denial("east").reason == "BAD_MODULUS"
    assert town.calls("east") == calls


class LyingServer(PartyServer):
    """A provider's real server whose parts are changed on their way out, as a lying operator would."""

    change: Callable[[compute_pb2.PartResponse], compute_pb2.PartResponse]

    def add(self, register: Any, servicer: Any, name: str) -> None:
        if name.endswith("ComputeService"):
            honest = servicer.Part
            servicer.Part = lambda request, context: self.change(honest(request, context))
        super().add(register, servicer, name)


@contextmanager
def lying(town: Town, party: str, change: Callable[[bytes, int], bytes]) -> Iterator[None]:
    """Serve `party` from this process, with the ciphertexts of its parts changed."""
    with town.without(party):
        home = town.home(party)
        logger = make_logger(home.config.telemetry, party, StringIO())
        provider = Provider.open(home, executor=InlineExecutor(), logger=logger)
        server = LyingServer(home, directory=provider.directory, logger=logger)

        def changed(response: compute_pb2.PartResponse) -> compute_pb2.PartResponse:
            response.part.data = change(response.part.data, response.part.width)
            return response

        server.change = changed
        provider.register(server)
        server.start()
        provider.start()
        try:
            yield
        finally:
            server.stop(0)
            provider.close()


def n_squared(town: Town) -> int:
    return town.merchant.paillier_key.public_key.n**2


LIES: dict[str, Callable[[Town, bytes, int], bytes]] = {
    "zero": lambda town, part, width: bytes(len(part)),
    "n-squared": lambda town, part, width: n_squared(town).to_bytes(width, "big"),
    "multiple-of-a-prime": lambda town, part, width: town.merchant.paillier_key.p.to_bytes(width, "big"),
    "one-too-many": lambda town, part, width: part + part[:width],
    "none": lambda town, part, width: b"",
}


def test_a_part_that_fails_the_checks_names_the_peer_and_ends_the_call(town: Town) -> None:
    contract = town.shared_contract
    lie = ["zero"]
    with lying(town, "south", lambda part, width: LIES[lie[0]](town, part, width)):
        for name in LIES:
            lie[0] = name
            before = {party: town.usage(party, contract) for party in BUREAUS[:2]}
            with pytest.raises(PeerMisbehavedError) as caught:
                town.merchant.aggregate(contract, statistics=["count"])
            assert (caught.value.party, caught.value.reason) == ("south", DenialReason.BAD_CIPHERTEXT), name
            refused = refusal(lambda: ask(town, signed(town, contract)))
            assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PEER_MISBEHAVED")
            assert (refused.metadata["party"], refused.metadata["reason"]) == ("south", "BAD_CIPHERTEXT")
            # East had not given its part; north had, so that its calls stay spent, at no fee.
            assert town.usage("east", contract) == before["east"]
            after = town.usage("north", contract)
            assert (after.calls - before["north"].calls, after.fee_micro) == (2, before["north"].fee_micro)
            assert {entry.reason for entry in town.entries("east", Aborted)[-2:]} == {"PEER_MISBEHAVED"}
    town.verify()
    assert town.merchant.aggregate(contract, statistics=["count"]).receipts
