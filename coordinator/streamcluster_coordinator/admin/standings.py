"""Asks the brokers where logs end and what the group has committed, when somebody asks for the status.

Not a cache: who has just sent a record and sees 0 behind may count on it. Questions that come together are one, and
brokers that do not answer cost each of them ASK_SECONDS at the most. It never joins the group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException

from streamcluster.ids import TP
from streamcluster.kafka.config import asker_config
from streamcluster.kafka.hearing import SILENT, Connection, Replaceable
from streamcluster.kafka.offsets import ask_committed, ask_offsets
from streamcluster.kafka.opening import open_client
from streamcluster.settings import Settings

from ..answers.behind import Standing

# One question of status may wait for the end of one before it: both within STATUS_SECONDS.
ASK_SECONDS = 2.0
# Brokers that did not answer are left alone for so long: `status` shows what workers know, at once.
REST_SECONDS = 5.0

Standings = Mapping[TP, Standing]


class StandingsReader:
    """For one coordinator, on its loop. tps: what may be asked for."""

    __slots__ = ("_consumer", "_next", "_pool", "_rest_until", "_running", "_tps")

    def __init__(self, settings: Settings, tps: Sequence[TP]) -> None:
        self._tps = list(tps)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="standings")
        # Of the thread alone. A client that got no answer may never get one, and is replaced.
        self._consumer = Replaceable(lambda: open_client(Consumer, asker_config(settings), Connection(SILENT)))
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
        await asyncio.get_running_loop().run_in_executor(self._pool, self._consumer.drop)
        self._pool.shutdown()

    # In the thread

    def _ask(self) -> Standings | None:
        """None: no broker answered."""
        deadline = time.monotonic() + ASK_SECONDS
        consumer = self._consumer.get()
        try:
            # In this order: who is at 0 had all that there was at the second question.
            committed = ask_committed(consumer, self._tps, _left(deadline)).found
        except KafkaException:
            self._consumer.drop()
            return None
        ends = ask_offsets(consumer, self._tps, OFFSET_END, _left(deadline))
        if self._tps and not ends.found and not ends.errors:
            self._consumer.drop()
            return None
        new = [tp for tp in ends.found if tp in committed and committed[tp].offset is None]
        begins = ask_offsets(consumer, new, OFFSET_BEGINNING, _left(deadline)).found if new else {}
        return {
            tp: Standing(begins.get(tp, 0), end, committed[tp].offset)
            for tp, end in ends.found.items()
            if tp in committed and (tp in begins or committed[tp].offset is not None)
        }


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())
