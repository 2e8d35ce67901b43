"""Looks while the app runs whether partitions were added to what it reads, and what waits in those that are not read.

It also looks whether topics that are the changelogs of tables are still compacted.

It asks the brokers in a thread of its own, with a client of its own that gives up soon: nobody waits for the answer.
What follows is decided by `resolve`, as at the start, and by `growth`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException
from msgspec import structs

from streamcluster.errors import StreamclusterError
from streamcluster.ids import TP
from streamcluster.kafka.config import asker_config
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.offsets import ask_offsets
from streamcluster.kafka.opening import open_client
from streamcluster.protocol.messages import Description, TaskFigures
from streamcluster.topology import BrokerTopic, ResolvedTable, Topology
from streamcluster.topology.resolve import growth, resolve

from ..records.status import TaskStatus
from .brokers import Brokers

logger = logging.getLogger("streamcluster.coordinator")
# Partitions that were added are to be noticed within a minute; each look is one question about all topics.
WATCH_SECONDS = 20.0
# The app's end may have to wait for a question that is under way.
_ANSWER_SECONDS = 3.0


def decay(table: ResolvedTable, topic: BrokerTopic) -> list[str]:
    """What to say of a table whose changelog is that topic, when it is not compacted any more."""
    policy = topic.config.get("cleanup.policy", "compact")
    if policy == "compact":
        return []
    return [
        f"topic {topic.name!r} is the changelog of table {table.name!r} and has cleanup.policy={policy} now: brokers "
        "delete rows of the table with time, which a host that restores it then does not get, and the app does not "
        "start again so. Set cleanup.policy=compact on it"
    ]


@dataclass(slots=True)
class TopicsWatch:
    """For one run of an app with one topology. notes: what is not read, and why, as it was seen last."""

    description: Description
    topology: Topology
    say: Callable[[str, str], None]
    notes: list[str] = field(default_factory=list)
    # Records that wait in partitions that are not read, as they were counted last.
    waiting: dict[TP, int] = field(default_factory=dict)
    # Topics that are changelogs and not compacted any more, as they were seen last.
    _decayed: list[str] = field(default_factory=list)
    # What would run with the topics as they are.
    _seen: Topology = field(init=False)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="topics"))

    def __post_init__(self) -> None:
        self._note(self.topology)

    async def run(self, grown: Callable[[list[str]], None]) -> None:
        """Look now and then, until partitions were added that the app can read: then `grown` is told which, once."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                with contextlib.suppress(StreamclusterError, KafkaException):
                    found = await loop.run_in_executor(self._pool, self._look)
                    if found is not None and (texts := growth(self.topology, found)):
                        grown(texts)
                        return
                    if found is not None:
                        self._note(found)
                    self.waiting = await loop.run_in_executor(self._pool, self._count, self._seen.unread())
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def rows(self) -> list[TaskStatus]:
        """Partitions that are not read, as the status shows them among the tasks: nobody's, and how much waits."""
        counts = {topic.name: topic.partitions + topic.added for topic in self._seen.topics}
        lags: dict[tuple[int, int], dict[str, int]] = {}
        for tp in self._seen.unread():
            lags.setdefault((counts[tp.topic], tp.partition), {})[tp.topic] = self.waiting.get(tp, 0)
        return [
            TaskStatus(task=f"{group}_{number}", slot=None, state="not read", figures=TaskFigures(lag=lag))
            for (group, number), lag in sorted(lags.items())
        ]

    def _note(self, found: Topology) -> None:
        """Say what is not read, when that is news."""
        texts = [*found.unread_texts(), *self._decayed]
        for text in texts:
            if text not in self.notes:
                self.say("warning", text)
        self.notes, self._seen = texts, found

    def _look(self) -> Topology | None:
        """In the thread. None: something is missing, or does not fit, which others say who need it."""
        settings = structs.replace(self.description.settings, connect_timeout=_ANSWER_SECONDS)
        kept = [table for table in self.topology.tables if table.feeder]
        logs = {table.changelog for table in kept}
        seen = Brokers(settings).topics([topic for topic in self.topology.topics if topic.name in logs])
        self._decayed = [
            text for table in kept if table.changelog in seen for text in decay(table, seen[table.changelog])
        ]
        there = {name: structs.replace(topic, config={}) for name, topic in seen.items()}
        if any(topic.name not in there for topic in self.topology.topics if topic.role in ("source", "repartition")):
            return None
        before = {table.name: (table.changelog, table.group) for table in kept}
        found = resolve(self.description.declared, there, settings, before)
        if isinstance(found, list):
            logger.debug("the topics do not fit any more: %s", "; ".join(problem.text for problem in found))
            return None
        return found

    def _count(self, tps: Iterable[TP]) -> dict[TP, int]:
        """In the thread."""
        asked = list(tps)
        if not asked:
            return {}
        config = asker_config(self.description.settings)
        with contextlib.closing(open_client(Consumer, config, Connection(SILENT))) as consumer:
            begins, ends = (
                ask_offsets(consumer, asked, which, _ANSWER_SECONDS).found for which in (OFFSET_BEGINNING, OFFSET_END)
            )
            return {tp: end - begins[tp] for tp, end in ends.items() if tp in begins}
