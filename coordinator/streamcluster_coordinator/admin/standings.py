"""Asks the brokers where logs end and what the group has committed, when somebody asks for the status.

Not a cache: who has just sent a record and sees 0 behind may count on it. Questions that come together are one, and
brokers that do not answer cost each of them ASK_SECONDS at the most. It never joins the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from streamcluster.ids import TP
from streamcluster.settings import Settings

from ..answers.behind import Standing
from .brokers import client_config

# One question of status may wait for the end of one before it: both within STATUS_SECONDS.
ASK_SECONDS = 2.0
# Brokers that did not answer are left alone for so long: `status` shows what workers know, at once.
REST_SECONDS = 5.0

Standings = Mapping[TP, Standing]


class StandingsReader:
    """For one coordinator, on its loop. tps: what may be asked for."""

    __slots__ = ("_consumer", "_next", "_pool", "_rest_until", "_running", "_settings", "_tps")

    def __init__(self, settings: Settings, tps: Sequence[TP]) -> None:
        self._settings = settings
        self._tps = list(tps)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="standings")
        # Of the thread alone. A client that got no answer may never get one, and is replaced.
        self._consumer: Consumer | None = None
        self._running: asyncio.Task[Standings] | None = None
        self._next: asyncio.Task[Standings] | None = None
        self._rest_until = 0.0

    async def read(self) -> Standings:
        """As of a moment after this call; nothing when no broker answers soon."""
        if time.monotonic() < self._rest_until:
            return {}
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[Standings] | None) -> Standings:
        """The next answer: one that is on its way may be from before the question."""
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        found = await asyncio.get_running_loop().run_in_executor(self._pool, self._ask)
        if found is None:
            self._rest_until = time.monotonic() + REST_SECONDS
        return found or {}

    async def close(self) -> None:
        """Ask no more, and let go of the client."""
        waiting = [task for task in (self._running, self._next) if task is not None and not task.done()]
        if waiting:
            await asyncio.wait(waiting)
        if self._consumer is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._close)
        self._pool.shutdown()

    # In the thread

    def _ask(self) -> Standings | None:
        """None: no broker answered."""
        deadline = time.monotonic() + ASK_SECONDS
        if self._consumer is None:
            self._consumer = Consumer(_config(self._settings))
        try:
            # In this order: who is at 0 had all that there was at the second question.
            committed = self._committed(deadline)
            ends = self._offsets(self._tps, OFFSET_END, deadline)
            new = [tp for tp in ends if committed.get(tp) is None]
            begins = self._offsets(new, OFFSET_BEGINNING, deadline)
        except KafkaException:
            self._close()
            return None
        if not ends and self._tps:
            self._close()
        return {
            tp: Standing(begins.get(tp, 0), end, committed[tp])
            for tp, end in ends.items()
            if tp in committed and (tp in begins or committed[tp] is not None)
        }

    def _committed(self, deadline: float) -> dict[TP, int | None]:
        assert self._consumer is not None
        asked = [TopicPartition(tp.topic, tp.partition) for tp in self._tps]
        answer = self._consumer.committed(asked, _left(deadline))
        return {
            TP(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in answer if one.error is None
        }

    def _offsets(self, tps: Sequence[TP], which: int, deadline: float) -> dict[TP, int]:
        """which: a name of the client's for an offset, where a time is asked for."""
        if not tps:
            return {}
        assert self._consumer is not None
        asked = [TopicPartition(tp.topic, tp.partition, which) for tp in tps]
        answer = self._consumer.offsets_for_times(asked, _left(deadline))
        return {TP(one.topic, one.partition): one.offset for one in answer if one.error is None and one.offset >= 0}

    def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaException, RuntimeError):
                consumer.close()


def _config(settings: Settings) -> dict[str, object]:
    """Its own end is that of the log, open transactions included, as kafka-consumer-groups has it."""
    return {
        **client_config(settings),
        "group.id": settings.app_id,
        "enable.auto.commit": False,
        "isolation.level": "read_uncommitted",
    }


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())
