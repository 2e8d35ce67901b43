"""Repeated log lines: the first few of a kind and place, and how many more there were."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from streamcluster.repeats import LINES_MAX, PLACES_MAX, SECONDS, Repeats


class Log:
    """What a handler would show, at a time of the test's own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.repeats = Repeats(("streamcluster",), self._take, lambda: self.now)

    def _take(self, record: logging.LogRecord) -> None:
        if self.repeats.filter(record):
            self.lines.append(record.getMessage())

    def say(self, text: str, *args: object, level: int = logging.WARNING, name: str = "streamcluster") -> None:
        """A line of the code."""
        self._take(logging.LogRecord(name, level, "x.py", 1, text, args, None))


@pytest.fixture
def log() -> Iterator[Log]:
    """One, without a timer that outlives the test."""
    made = Log()
    yield made
    if made.repeats._timer is not None:
        made.repeats._timer.cancel()


def test_lines_of_one_kind_and_place_are_counted_after_the_first_few(log: Log) -> None:
    """Whatever else differs in them; the count comes with the next line of any kind, once the minute is over."""
    for offset in range(1_000):
        log.say("%s skips %s", "shop.count", f"orders[0]@{offset}")
    assert log.lines == [f"shop.count skips orders[0]@{n}" for n in range(LINES_MAX)]
    log.now += SECONDS
    log.say("%s skips %s", "shop.count", "orders[0]@1000")
    assert log.lines[LINES_MAX:] == [
        "995 more lines like this in 60 s, the last: shop.count skips orders[0]@999",
        "shop.count skips orders[0]@1000",
    ]


def test_other_kinds_and_places_are_shown(log: Log) -> None:
    """The line that matters is not hidden by those that repeat."""
    for _ in range(LINES_MAX + 1):
        log.say("%s skips %s", "one", "x")
    log.say("%s skips %s", "two", "x")
    log.say("%s fails at %s", "one", "x")
    log.say("%s skips %s", "one", "x", level=logging.ERROR)
    assert log.lines[LINES_MAX:] == ["two skips x", "one fails at x", "one skips x"]


def test_users_lines_and_news_are_not_limited(log: Log) -> None:
    """Of what others log nobody knows what it is for."""
    for number in range(100):
        log.say("%s %d", "same", number, name="shop.orders")
        log.say("%s %d", "same", number, level=logging.INFO)
    assert len(log.lines) == 200


def test_what_was_left_out_is_told_at_the_end(log: Log) -> None:
    """A process that ends within the minute."""
    for number in range(LINES_MAX + 1):
        log.say("%s failed: %d", "a", number)
    log.now += 3
    log.repeats.tell_all()
    log.repeats.tell_all()
    assert log.lines[LINES_MAX:] == ["1 more line like this in 3 s, the last: a failed: 5"]


def test_places_are_bounded(log: Log) -> None:
    """Texts with numbers in the first place may be as many as there are records."""
    for number in range(3 * PLACES_MAX):
        log.say("%s failed", f"record {number}")
    assert len(log.repeats._seen) <= PLACES_MAX
    assert len(log.lines) == 3 * PLACES_MAX


def test_silence_after_many_lines_is_told_by_a_timer(log: Log) -> None:
    """When nothing else is logged, the count still comes."""
    for _ in range(LINES_MAX + 2):
        log.say("same")
    timer = log.repeats._timer
    assert isinstance(timer, threading.Timer)
    assert (timer.interval, timer.daemon) == (SECONDS, True)
    log.now += SECONDS
    log.repeats._alarm()
    assert log.lines[LINES_MAX:] == ["2 more lines like this in 60 s, the last: same"]
