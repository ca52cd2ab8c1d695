import time

from audit.clock import Clock, SystemClock


def test_the_system_clock_tells_milliseconds_since_the_epoch() -> None:
    clock: Clock = SystemClock()
    before = int(time.time() * 1000)
    assert before - 1 <= clock.now_ms() <= int(time.time() * 1000) + 1
