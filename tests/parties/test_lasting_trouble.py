"""A log says what is wrong when it begins and changes, and every few minutes while it lasts."""

from io import StringIO

from parties.config import TelemetrySection
from parties.lasting_trouble import TELL_AGAIN_SECONDS, LastingTrouble
from parties.repeating import Repeating
from parties.telemetry import make_logger
from sandbox.errors import PeerUnavailableError
from tests.parties.witnesses import eventually


class Hand:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_trouble_is_news_when_it_begins_when_it_changes_and_after_minutes() -> None:
    hand = Hand()
    trouble = LastingTrouble(hand)
    assert trouble.is_news("lease", "silent")
    assert not trouble.is_news("lease", "silent")
    assert trouble.is_news("lease", "refuses")
    assert trouble.is_news("directory", "silent"), "another thing"
    hand.at += TELL_AGAIN_SECONDS
    assert trouble.is_news("lease", "refuses")
    assert not trouble.is_news("lease", "refuses")


def test_trouble_that_comes_back_is_news_again() -> None:
    trouble = LastingTrouble(Hand())
    assert not trouble.ended("lease")
    assert trouble.is_news("lease", "silent")
    assert trouble.ended("lease")
    assert not trouble.ended("lease")
    assert trouble.is_news("lease", "silent")


def test_background_work_that_keeps_failing_is_logged_once() -> None:
    log, turns = StringIO(), []

    def fail() -> None:
        turns.append(1)
        raise PeerUnavailableError("authority", f"silent for the {len(turns)}th time")

    task = Repeating("lease", 0.01, fail, make_logger(TelemetrySection(), "east", log))
    task.start()
    eventually(lambda: len(turns) > 3)
    task.close()
    assert log.getvalue().count("background work failed") == 1
