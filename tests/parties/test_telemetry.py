import datetime
import json
import logging
import urllib.request
from io import StringIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from parties.config import TelemetrySection
from parties.errors import ListenError
from parties.telemetry import HandshakeMeter, Metrics, MetricsListener, make_logger


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_handshake_that_brings_no_call_within_the_limit_is_refused() -> None:
    time = Time()
    meter = HandshakeMeter(10_000, time)
    meter.begun()
    time.now += 9.9
    assert meter.refused == 0
    time.now += 0.2
    assert meter.refused == 1
    time.now += 100
    assert meter.refused == 1


def test_a_handshake_that_brings_calls_is_not() -> None:
    time = Time()
    meter = HandshakeMeter(10_000, time)
    meter.begun()
    for _ in range(5):
        meter.called("ipv4:10.0.0.1:5000", 300)
        time.now += 60
    assert meter.refused == 0


def test_an_address_that_comes_back_after_the_idle_limit_is_a_new_connection() -> None:
    time = Time()
    meter = HandshakeMeter(10_000, time)
    for _ in range(2):
        meter.begun()
        meter.called("ipv4:10.0.0.1:5000", 300)
        time.now += 400
    assert meter.refused == 0


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 5))
def test_good_and_bad_handshakes_in_any_order_are_counted_apart(good: list[bool], pause: float) -> None:
    time = Time()
    meter = HandshakeMeter(10_000, time)
    for number, comes_in in enumerate(good):
        meter.begun()
        time.now += pause
        if comes_in:
            meter.called(f"ipv4:10.0.0.1:{number}", 300)
    time.now += 10.1
    assert meter.refused == good.count(False)
    samples = {sample.name: sample.value for metric in meter.collect() for sample in metric.samples}
    assert samples["unseen_tls_handshakes_started_total"] == len(good)
    assert samples["unseen_tls_handshakes_refused_total"] == good.count(False)


def test_log_lines_are_json_in_a_pipe_and_nothing_is_process_wide() -> None:
    handlers, configured = list(logging.getLogger().handlers), structlog.is_configured()
    first, second = StringIO(), StringIO()
    make_logger(TelemetrySection(level="warning"), "east", first).info("too quiet")
    make_logger(TelemetrySection(level="warning"), "east", first).warning("heard", n=1)
    make_logger(TelemetrySection(log="console"), "west", second).info("plain")
    line = json.loads(first.getvalue())
    assert (line["event"], line["party"], line["level"], line["n"]) == ("heard", "east", "warning", 1)
    assert "plain" in second.getvalue()
    assert "{" not in second.getvalue()
    assert (list(logging.getLogger().handlers), structlog.is_configured()) == (handlers, configured)


def test_two_servers_metrics_do_not_mix_and_are_served_on_the_loopback() -> None:
    one, two = Metrics(1000), Metrics(1000)
    one.calls.labels("/s/M", "OK").inc()
    listener = MetricsListener("127.0.0.1:0", one)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{listener.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        with pytest.raises(ListenError):
            MetricsListener(f"127.0.0.1:{listener.port}", two)
    finally:
        listener.close()
    assert 'unseen_rpc_total{code="OK",method="/s/M"} 1.0' in text
    assert "unseen_tls_handshakes_refused_total 0.0" in text
    assert two.registry.get_sample_value("unseen_rpc_total", {"method": "/s/M", "code": "OK"}) is None


def test_a_whole_second_is_written_as_long_as_any_other_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """ISO form leaves a zero fraction out: two logs then differ in length for no reason that a reader could tell."""

    class WholeSecond(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "WholeSecond":
            return cls(2026, 1, 1, tzinfo=tz)

    stream = StringIO()
    logger = make_logger(TelemetrySection(log="json"), "north", stream)
    monkeypatch.setattr(datetime, "datetime", WholeSecond)
    logger.info("something")
    assert json.loads(stream.getvalue())["timestamp"] == "2026-01-01T00:00:00.000000Z"
