"""A join of two tables of windows on real Kafka, of which one is hours ahead of the other, over kill -9."""

from __future__ import annotations

import os
import signal
import time

import msgspec

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.joined_window_apps import SIZE
from tests.process.records import Feed, Reader
from tests.process.waiting import eventually

WINDOWS, PAGES = 400, 7
# Of a partition those of the last 11 minutes are open, and its last event may be older than the other's.
OPEN_MAX = 40


def test_windows_meet_however_far_one_table_is_ahead(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """All of the left table's windows are over and gone when the right one begins, on workers that have begun anew."""
    for name in ("views", "orders", "told"):
        make_topic(f"{topic_prefix}{name}", 2)
    begin = (int(time.time()) // SIZE - 24 * 60) * SIZE
    run = running("tests.process.joined_window_apps:rates")
    run.start(workers=2)
    run.until_running()
    feed(bootstrap, f"{topic_prefix}views", begin, times=1)
    eventually(
        lambda: 0 < len(run.table_json("viewed")) < OPEN_MAX, 60, "the left table is beyond its windows", run.log_end
    )
    for slot in (0, 1):
        os.kill(run.pid_of(slot), signal.SIGKILL)
    feed(bootstrap, f"{topic_prefix}orders", begin, times=2)
    want = {(page_of(number), start_of(number, begin)): [1, 10] for number in range(WINDOWS)}
    told = f"{topic_prefix}told"
    eventually(lambda: told_last(reader, told) == want, 90, "each window is told with both", run.log_end)
    eventually(lambda: 0 < len(run.table_json("joined")) < OPEN_MAX, 60, "what is over for both is gone", run.log_end)
    assert run.drain() == 0, run.log_end()


def page_of(number: int) -> str:
    """The page of the only events of a window."""
    return f"p{number % PAGES}"


def start_of(number: int, begin: int) -> int:
    """When that begins, in seconds: every other one has events."""
    return begin + 2 * SIZE * number


def feed(bootstrap: str, topic: str, begin: int, *, times: int) -> None:
    """Send so many events of each window, in their order, with the window's number as value."""
    rows = [Row(page_of(number), b"%d" % number) for number in range(WINDOWS) for _ in range(times)]

    def stamp(row: Row) -> int:
        assert row.value is not None
        return 1000 * start_of(int(row.value), begin)

    Feed(bootstrap, topic, iter(rows), rate=None, stamp=stamp).run()


def told_last(reader: Reader, topic: str) -> dict[tuple[str, int], list[int]]:
    """The last pair of each page and begin of a window."""
    found: dict[tuple[str, int], list[int]] = {}
    for rows in reader.rows(topic).values():
        for row in rows:
            assert row.value is not None
            start, pair = msgspec.json.decode(row.value)
            if pair is not None:
                found[row.key, round(start)] = pair
    return found
