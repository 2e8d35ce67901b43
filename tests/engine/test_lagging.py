"""Readers that are left behind: a slow or hanging event costs no other reader of its partition anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamcluster import App, Stream
from streamcluster.ids import TP
from streamcluster.testing import Driver

BUFFERED_MAX = 20
COUNT = 400
STEPS_MAX = 2000
HANGS = 3
BAD = 150


class Scene:
    """An agent that hangs at an event until it may go on, and a busy one (and a function) beside it, on one topic."""

    def __init__(self, *, function: bool = False) -> None:
        self.app = App("scene", stream_buffer_records_max=BUFFERED_MAX)
        numbers = self.app.topic("n", key_type=str, value_type=int)
        self.slow = self.app.Table("slow", default=int)
        self.busy = self.app.Table("busy", default=int)
        self.may_end = asyncio.Event()
        self.out = {name: self.app.topic(f"{name}-out", value_type=int, partitions=1) for name in ("slow", "busy")}
        if function:
            self.add_function()
        else:

            @self.app.agent(numbers, name="slow")
            async def slow(stream: Stream[int]) -> None:
                async for value in stream:
                    if value == HANGS:
                        await self.may_end.wait()
                    self.slow["sum"] += value
                    await self.out["slow"].send(value=value)

        @self.app.agent(numbers, name="busy")
        async def busy(stream: Stream[int]) -> None:
            async for value in stream:
                self.busy["sum"] += value
                await self.out["busy"].send(value=value)

        self.driver = Driver(self.app, partitions=1)
        self.worker = self.driver.worker
        self.driver.run(self.worker.open())
        self.appended = 0

    def add_function(self) -> None:
        """The same as a function over all partitions."""
        stream = self.app.stream(self.app.topic("n", key_type=str, value_type=int))

        @self.app.task
        async def over_all() -> None:
            async for value in stream:
                if value == HANGS:
                    await self.may_end.wait()
                self.slow["sum"] += value
                await self.out["slow"].send(value=value)

    def append(self, data: bytes) -> None:
        """Send a record."""
        self.worker.logs.append("n", {"key": b"k", "value": data}, 0.0)
        self.appended += 1

    def turn_until(self, condition: Callable[[], bool]) -> bool:
        """Turn the worker's loop, while records come, until the condition holds; False when it never does."""

        async def turn() -> None:
            await self.worker.pump.step()
            for _ in range(5):
                await asyncio.sleep(0)

        for _ in range(STEPS_MAX):
            if condition():
                return True
            for _ in range(min(5, COUNT - self.appended)):
                self.append(b"garbage" if self.appended == BAD else b"%d" % self.appended)
            self.worker.move_clock(0.02)
            self.driver.run(turn())
        return condition()

    def committed(self, name: str) -> list[int]:
        """What is committed of the output of one of them."""
        return [output.value for output in self.driver.output(f"{name}-out")]

    def waiting_count(self) -> int:
        """Events that wait."""
        [task] = self.worker.engine.tasks.values()
        partition = task.partitions[TP("n", 0)]
        return sum(reader.waiting_count(partition.tp) for reader in partition.readers)


ALL = [number for number in range(COUNT) if number != BAD]


def test_an_event_that_never_ends_stops_no_other_agent_of_its_partition() -> None:
    """The busy agent goes on to the end of the log, and little waits for the other meanwhile."""
    scene = Scene()
    assert scene.turn_until(lambda: scene.committed("busy") == ALL), scene.committed("busy")[-1:]
    assert scene.committed("slow") == list(range(HANGS))
    # The simulated consumer brings all that there is at once; a quarter of that is kept.
    assert scene.waiting_count() <= COUNT // 4
    scene.driver.close()


def test_a_function_that_hangs_stops_no_agent_of_its_partition() -> None:
    """The same beside an @app.task."""
    scene = Scene(function=True)
    assert scene.turn_until(lambda: scene.committed("busy") == ALL), scene.committed("busy")[-1:]
    assert scene.committed("slow") == list(range(HANGS))
    scene.driver.close()


def test_a_reader_that_was_left_behind_gets_everything_once_in_order() -> None:
    """It rejoins as often as it takes, while the other gets nothing twice; what does not decode has one letter."""
    scene = Scene()
    assert scene.turn_until(lambda: scene.committed("busy") == ALL)
    scene.may_end.set()
    assert scene.turn_until(lambda: scene.committed("slow") == ALL), scene.committed("slow")[-1:]
    assert scene.turn_until(lambda: scene.worker.committed[TP("n", 0)].next_offset == COUNT)
    assert scene.committed("busy") == ALL
    assert scene.driver.table("slow") == scene.driver.table("busy") == {"sum": sum(ALL)}
    assert [letter.value for letter in scene.driver.dead_letters()] == [b"garbage"]
    scene.driver.close()


def test_a_crash_while_a_reader_is_left_behind_repeats_nothing() -> None:
    """What the busy agent has done is committed beside the position of the other."""
    scene = Scene()
    assert scene.turn_until(lambda: scene.committed("busy") == ALL)
    scene.driver.run(scene.worker.stop())
    scene.driver.run(scene.worker.open())
    scene.may_end.set()
    assert scene.turn_until(lambda: scene.worker.committed[TP("n", 0)].next_offset == COUNT)
    assert scene.committed("busy") == ALL
    assert scene.driver.table("slow") == scene.driver.table("busy") == {"sum": sum(ALL)}
    scene.driver.close()
