"""The end of a run by event time: records from so far ahead that everything before them is over, and all that has come.

Without them what is open at the end would say nothing of how windows close.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from tests.ledger.collecting import Names, logs_of
from tests.ledger.folds_timed import partners_of, remembered, spans_of, visits_of
from tests.ledger.generator import Dates, Wish, stamp_of, until_each
from tests.ledger.hosts import Hosts
from tests.ledger.values import Log
from tests.ledger.values_timed import END_AHEAD
from tests.ledger.watching import Watcher
from tests.process.checker import Row
from tests.process.records import Feed, Reader
from tests.process.waiting import eventually

OVER_SECONDS = 120.0
Acked = dict[tuple[int, int], Row]


class LastRecords:
    """Of one run. The iterators are those that its feeds take from."""

    def __init__(
        self,
        bootstrap: str,
        names: Names,
        dates: tuple[Dates, Dates],
        movements: Iterator[Row],
        payments: Iterator[Row],
        profiles: Iterator[Row],
    ) -> None:
        self._bootstrap = bootstrap
        self._names = names
        self._dates = dates
        self._rows = {"in": movements, "paid": payments, "names": profiles}
        self._accounts: set[str] = set()

    def send(self, acked: Mapping[tuple[int, int], Row], wishes: deque[Wish]) -> Acked:
        """To each partition of each input; returns what was acknowledged of movements. acked: before."""
        wishes.clear()
        for dates in self._dates:
            dates.ahead = END_AHEAD
        partition_of = {row.key: partition for (partition, _), row in acked.items()}
        found: Acked = {}
        for name, rows in self._rows.items():
            feed = Feed(
                self._bootstrap,
                self._names.topic(name),
                until_each(rows, partition_of),
                rate=None,
                stamp=_stamp_ahead if name == "names" else stamp_of,
            )
            feed.run()
            if name == "in":
                found = feed.acked
        self._accounts = {row.key for row in found.values()}
        return found

    def until_over(self, reader: Reader, watcher: Watcher, hosts: Hosts, say: Callable[[str], object]) -> None:
        """Wait until as much has come as must, and what expires is gone. What is wrong is the checks' matter."""
        topic = self._names.topic
        least = least_results(*(logs_of(reader, topic(name)) for name in ("in", "paid", "names")))
        try:
            eventually(
                lambda: all(watcher.count(place) >= count for place, count in least.items()),
                OVER_SECONDS,
                "what is over has come out",
                lambda: str({place: (watcher.count(place), count) for place, count in least.items()}),
            )
            eventually(
                lambda: {json.loads(key) for key in hosts.table("marks")} <= self._accounts,
                OVER_SECONDS,
                "what expires is gone",
                every=0.5,
            )
        except AssertionError as late:
            say(str(late)[-2000:])


def least_results(
    inputs: Mapping[int, Log], paid: Mapping[int, Log], names: Mapping[int, Log]
) -> dict[tuple[str, int], int]:
    """(Topic, partition) -> so many results at least."""
    found: dict[tuple[str, int], int] = {}
    for partition, log in inputs.items():
        partners = partners_of(log, paid.get(partition, Log()))
        met = {id for id, _ in partners.must}
        known = remembered(log, names.get(partition, Log()))
        found["closed", partition] = len(spans_of(log).closed)
        found["gone", partition] = len(visits_of(log).closed)
        found["pairs", partition] = partners.must.total() + len(partners.over - met)
        found["known", partition] = sum(one.is_over for one in known.values())
    return found


def _stamp_ahead(_: Row) -> int:
    return round(time.time() * 1000) + END_AHEAD
