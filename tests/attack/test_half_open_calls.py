"""Calls that are begun and never sent: gRPC's thread server gives each a thread and waits, whoever the caller is.

The attack: a certificate of the right authority that the directory does not list (or has revoked) opens as many such
calls as the server has threads. It says nothing more, and nobody else is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audit.names import Role
from parties.channel import PeerChannel
from parties.identity import Subject
from tests.parties.homes import DOMAIN, Served, join, new_home, served
from tests.parties.test_server import peer, tls_of

THREADS = 4
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, {"limits": {"threads": THREADS}}) as running:
        yield running


@contextmanager
def half_open(channel: PeerChannel, count: int) -> Iterator[list[grpc.Call]]:
    """So many calls whose headers are sent and whose message never comes."""
    end = threading.Event()

    def never() -> Iterator[bytes]:
        end.wait()
        yield from ()

    method = channel.channel.stream_unary(CHECK)
    calls = [method.future(never(), timeout=600) for _ in range(count)]
    time.sleep(0.5)  # until their headers have arrived
    try:
        yield calls
    finally:
        end.set()
        for call in calls:
            call.cancel()


def test_a_stranger_that_begins_calls_and_sends_nothing_keeps_nobody_from_being_served(
    watch: Served, tmp_path: Path
) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    ghost = peer(watch, tls_of(watch, Subject("ghost", Role.MERCHANT, DOMAIN)))
    dialler, channel = watch.channel(shop)
    with half_open(ghost, THREADS + 2) as calls:
        stub = health_pb2_grpc.HealthStub(channel.channel)
        assert channel.call(stub.Check, health_pb2.HealthCheckRequest(), timeout_ms=3_000).status == 1
        assert {call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}
    dialler.close()
    ghost.close()


def test_a_call_without_a_message_is_malformed_and_one_with_two_is_answered_once(watch: Served, tmp_path: Path) -> None:
    shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
    dialler, channel = watch.channel(shop)
    method = channel.channel.stream_unary(CHECK)
    with pytest.raises(grpc.RpcError) as refused:
        method(iter(()), timeout=3)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    message = health_pb2.HealthCheckRequest().SerializeToString()
    assert health_pb2.HealthCheckResponse.FromString(method(iter((message, message)), timeout=3)).status == 1
    dialler.close()
