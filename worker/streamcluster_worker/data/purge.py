"""Purge: what this worker's tasks have read from the app's own repartition topics and committed is of no more use.

Their records are kept for ever otherwise, for an app that is away for long must find all that it has not read. Only
below a position that this group has committed, rarely, and in a thread: that it fails costs disk space, no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from streamcluster.ids import TP
from streamcluster.printable import repr_of
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from ..kafka.purging import PurgeRefused, delete_behind, open_purger

logger = logging.getLogger("streamcluster")
TIMEOUT_SECONDS = 10.0


class Purge:
    """Looks at committed positions on the loop, and deletes in a thread that begins when there is something."""

    __slots__ = (
        "_begins",
        "_due",
        "_interval",
        "_loop",
        "_pool",
        "_purged",
        "_running",
        "_said",
        "_settings",
        "_topics",
    )

    def __init__(self, settings: Settings, topology: Topology) -> None:
        """On the loop."""
        self._settings = settings
        self._topics = frozenset(topic.name for topic in topology.topics if topic.purge)
        self._interval = settings.repartition_purge_interval
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="purge")
        self._due = self._loop.time() + self._interval
        self._running: asyncio.Future[dict[TP, int]] | None = None
        # Where each partition's position was when it was first seen here: a start position is not always committed.
        self._begins: dict[TP, int] = {}
        self._purged: dict[TP, int] = {}
        # Whether it was said that it fails, since it last did not.
        self._said = False

    def look(self, committed: Iterable[tuple[TP, int]]) -> None:
        """Delete what is behind the committed positions of this worker's tasks, if it is time. Does not wait.

        Called with every heartbeat; a partition that is not among them has another owner.
        """
        if not self._topics:
            return
        positions = {tp: offset for tp, offset in committed if tp.topic in self._topics}
        self._begins = {tp: self._begins.get(tp, offset) for tp, offset in positions.items()}
        if self._loop.time() < self._due or self._running is not None:
            return
        self._due = self._loop.time() + self._interval
        behind = {
            tp: offset for tp, offset in positions.items() if offset > max(self._begins[tp], self._purged.get(tp, 0))
        }
        if behind:
            self._running = self._loop.run_in_executor(self._pool, self._delete, behind)
            self._running.add_done_callback(self._ended)

    def _delete(self, behind: Mapping[TP, int]) -> dict[TP, int]:
        """In the thread. A client for each time: one that is idle for long may lose its brokers for good."""
        delete_behind(open_purger(self._settings), behind, TIMEOUT_SECONDS)
        return dict(behind)

    def _ended(self, running: asyncio.Future[dict[TP, int]]) -> None:
        self._running = None
        if running.cancelled():
            return
        error = running.exception()
        if error is None:
            self._purged = {tp: at for tp, at in {**self._purged, **running.result()}.items() if tp in self._begins}
            self._said = False
        elif not self._said:
            self._said = True
            reason = str(error) if isinstance(error, PurgeRefused) else repr_of(error)
            logger.warning(
                "records that are done with stay in repartition topics: %s. It is tried again every %g s. "
                "Brokers let those do it who have Delete on the topic.",
                reason,
                self._interval,
            )

    def end(self) -> None:
        """Begin no more. Does not wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)
