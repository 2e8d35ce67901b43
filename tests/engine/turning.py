"""A driven app whose pump is turned by hand, and apps of which one event may hang for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.engine.outbox import Outputs
from streamcluster.engine.values import Commit
from streamcluster.errors import AppError
from streamcluster.ids import TP, TaskId
from streamcluster.stores import StoreFailed
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedWrites
from streamcluster.topology.murmur2 import partition_for

STEPS = 40
# Keys of partition 0 and 1, of two.
KEYS = ["a", "b", "c", "d", "e", "f"]
FIRST = next(key for key in KEYS if partition_for(key.encode(), 2) == 0)
SECOND = next(key for key in KEYS if partition_for(key.encode(), 2) == 1)


class Hand:
    """Turns the pump of a driven app: `step` and look."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.worker = driver.worker

    def send(self, topic: str, *values: tuple[str, int]) -> None:
        """Write records, without a turn."""
        for key, value in values:
            self.worker.logs.append(topic, {"key": key.encode(), "value": b"%d" % value}, 0.0)

    def step(self, count: int = STEPS, seconds: float = 0.0) -> None:
        """Turn the pump, and let time pass meanwhile."""

        async def turn() -> None:
            for _ in range(count):
                await self.worker.pump.step()
                for _ in range(5):
                    await asyncio.sleep(0)
                await self.worker.reopen_failed()
                self.worker.move_clock(seconds / count)

        self.driver.run(turn())

    def out(self, topic: str) -> list[tuple[str, int]]:
        """Committed (key, value) pairs."""
        return [(one.key, one.value) for one in self.driver.output(topic)]

    def position(self, topic: str, partition: int) -> int:
        """The committed position."""
        return self.driver.positions()[TP(topic, partition)]


Make = Callable[..., Hand]


class Slow:
    """An app whose event with the value 0 waits for `gate`, before or after it writes."""

    def __init__(self, *, writes_first: bool = False, sends: int = 1, **settings: Any) -> None:
        self.app = App("a", producer_flush_records=5, **settings)
        self.gate: list[asyncio.Event] = []
        numbers = self.app.topic("numbers", key_type=str, value_type=int)
        out = self.app.topic("out", key_type=str, value_type=int, partitions=1)
        counts = self.app.Table("counts", default=int)

        @self.app.agent(numbers, name="slow")
        async def slow(stream: Stream[int]) -> None:
            async for key, value in stream.items():
                for number in range(sends if value == 0 else 1):
                    await out.send(key=key, value=value + number)
                if writes_first:
                    counts[key] += 1
                if value == 0:
                    self.gate.append(asyncio.Event())
                    await self.gate[-1].wait()
                if not writes_first:
                    counts[key] += 1


class Shared:
    """An app with an agent, and a function over `app.stream` that waits for `gate` at 0, and leaves its loop at -1."""

    def __init__(self) -> None:
        self.app = App("a")
        self.gate: list[asyncio.Event] = []
        self.after: list[asyncio.Event] = []
        numbers = self.app.topic("numbers", key_type=str, value_type=int)
        self.out = self.app.topic("out", key_type=str, value_type=int, partitions=1)
        counts = self.app.Table("counts", default=int)
        stream = self.app.stream(self.app.topic("shared", key_type=str, value_type=int))
        out = self.out

        @self.app.agent(numbers, name="agent")
        async def agent(stream: Stream[int]) -> None:
            async for key, value in stream.items():
                counts[key] += 1
                await out.send(key=key, value=value)

        @self.app.task
        async def over_all() -> None:
            async for event in stream.events():
                counts[event.key] += 100
                await out.send(key=event.key, value=event.value)
                if event.value == 0:
                    self.gate.append(asyncio.Event())
                    await self.gate[-1].wait()
                if event.value == -1:
                    break
                if event.value == -2:
                    raise ValueError("shared")
            self.after.append(asyncio.Event())
            await self.after[-1].wait()
            with pytest.raises(AppError, match="while an agent or stream is at an event"):
                counts["x"] = 1
            await out.send(key="x", value=1000)
            await asyncio.Event().wait()


class SlowWrites:
    """Writes whose `produce` waits for room until `room` is set."""

    def __init__(self, writes: SimulatedWrites) -> None:
        self._writes = writes
        self.outputs_landed = False
        self.room: list[asyncio.Future[None]] = []
        self.commits = 0

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """Later."""
        assert not self.room or self.room[-1].done(), "one thing at a time"
        self._writes.produce(outputs)
        self.room.append(asyncio.get_running_loop().create_future())
        return self.room[-1]

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """At once."""
        assert not self.room or self.room[-1].done(), "one thing at a time"
        self.commits += 1
        return self._writes.commit(commit)

    def abort(self) -> asyncio.Future[None]:
        """At once."""
        return self._writes.abort()
