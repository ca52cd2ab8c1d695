"""Attacks on memory, threads and disk: what somebody may cost a party before anybody has agreed to it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from audit.names import Role
from parties import directory_feed
from parties.config import Limits
from parties.directory_feed import DirectoryFeed
from parties.telemetry import make_logger
from sandbox.authorise import AuthoriseContext, Authorised, AuthoriseLimits, authorise
from sandbox.contract import DatasetBinding
from sandbox.declaration_model import ColumnDescription
from sandbox.errors import DenialReason, DeniedError
from sandbox.frame import ColumnType, Frame, FrameColumn, Use
from sandbox.grades import Grade
from sandbox.request import AggregateQuery, Statistic, StatisticKind
from tests.parties.homes import CLOCK, join, new_home, served
from tests.sandbox.agreement import (
    AT_MS,
    PROVIDERS,
    VERSION,
    context,
    contract,
    description,
    identity,
    paillier_key,
    record,
    request,
    wire,
)

AMOUNTS = tuple(f"amount_{number}" for number in range(8))
REGIONS = tuple(f"region {number}" for number in range(300))
WIDE_FRAME = Frame(
    (
        *(FrameColumn(name, ColumnType.INTEGER, "CNY", 0, 0, 10**9, (), (), False) for name in AMOUNTS),
        *(FrameColumn(name, ColumnType.CATEGORY, "", 0, None, None, REGIONS, (), False) for name in ("home", "work")),
    )
)
WIDE_QUERY = AggregateQuery(
    tuple(Statistic(StatisticKind.SUM, name) for name in AMOUNTS), ("home", "work"), ()
)  # 90,000 cells of nine totals each: fewer cells than the limit


def wide_context(**limits: int) -> AuthoriseContext:
    names = {column.name: column.name for column in WIDE_FRAME.columns}
    document = contract(
        frame=WIDE_FRAME,
        datasets={party: DatasetBinding(f"{party}/workers@{VERSION}", 1_000, names) for party in PROVIDERS},
        uses={name: frozenset({Use.AGGREGATE if name in AMOUNTS else Use.GROUP_BY}) for name in names},
        grades=dict.fromkeys(names, Grade.GENERAL),
    )
    template = description("east")
    columns = tuple(_declared(template.columns[0], column) for column in WIDE_FRAME.columns)
    return context(
        record=record(document),
        description=replace(template, columns=columns),
        limits=AuthoriseLimits(minimum_modulus_bits=512, **limits),
    )


def _declared(template: ColumnDescription, column: FrameColumn) -> ColumnDescription:
    fields: dict[str, Any] = {
        name: getattr(column, name)
        for name in ("name", "type", "unit", "decimals", "lo", "hi", "domain", "edges", "nullable")
    }
    return replace(template, title=column.name, **fields)


def authorise_wide(**limits: int) -> Authorised:
    given = wide_context(**limits)
    assert given.record is not None
    parsed, openings = wire(*request(WIDE_QUERY, document=given.record.contract))
    return authorise(
        parsed,
        openings,
        paillier_key().public_key,
        peer=identity("shop"),
        context=given,
        now_ms=AT_MS,
        grpc_deadline_ms=AT_MS + 10_000,
    )


def test_a_call_whose_part_no_message_can_carry_is_refused_before_it_is_taken() -> None:
    """The attack: scans, encrypts and spends at every provider, and can never be delivered."""
    with pytest.raises(DeniedError) as denied:
        authorise_wide()
    assert (denied.value.reason, denied.value.check) == (DenialReason.TOO_LARGE, 6)
    undeliverable = authorise_wide(part_bytes=2**40)  # the defence off
    width = undeliverable.key.ciphertext_width
    assert undeliverable.layout.ciphertexts * width > Limits().message_bytes


def test_strangers_hold_no_threads_while_the_regulator_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: a certificate that the directory does not list (a revoked one, say) calls again and again while the
    regulator hangs. Each call asked for a newer directory and waited its turn, until no thread was left to serve with.
    """
    monkeypatch.setattr(directory_feed, "LOOK_SECONDS", 0.0)  # as if each came long after the one before
    monkeypatch.setattr(directory_feed, "ASK_TIMEOUT_MS", 3_000)
    with served(tmp_path) as watch:
        shop = join(watch.regulator, new_home(tmp_path, "shop", Role.MERCHANT))
        feed = DirectoryFeed(
            shop, CLOCK, lambda data, directory: None, make_logger(shop.config.telemetry, "shop", StringIO())
        )
        watch.server.stop(0)
        with ThreadPoolExecutor(6) as threads, socket.create_server(address(watch.endpoint)):  # it never answers
            calls = [threads.submit(feed.look_again) for _ in range(6)]
            assert len(wait(calls, timeout=1.5).not_done) <= 1
        assert {call.result().version for call in calls} == {2}
        feed.close()


def address(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host, int(port)
