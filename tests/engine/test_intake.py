"""RunIntake and SourcePartition against a dumb twin: the committable position is a low watermark (I5)."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App
from streamcluster.ahead import short_name
from streamcluster.batch import Batch
from streamcluster.current import Cursor
from streamcluster.engine.clock import LoopClock
from streamcluster.engine.in_hand import InHand
from streamcluster.engine.intake import RunIntake
from streamcluster.engine.killers import Caution
from streamcluster.engine.lanes import Reader
from streamcluster.engine.partition import SourcePartition
from streamcluster.engine.values import Committed
from streamcluster.ids import TP, TaskId
from streamcluster.sources import Source
from streamcluster.streams import Stream
from streamcluster.topics import Topic

TASK = TaskId(1, 0)
HERE = TP("t", 0)
CAUTION = Caution(InHand.in_memory([HERE]), LoopClock())


def records(offsets: list[int]) -> Batch:
    """Records of the partition under test; a value is its own offset."""
    nothing = [None] * len(offsets)
    return Batch(HERE, offsets, [0] * len(offsets), nothing, [b"%d" % at for at in offsets])


def topic() -> Topic:
    """A topic of integers with its codecs compiled."""
    app = App("a")
    made = app.topic("t", value_type=int)
    made.compile(app.conf)
    return made


def partition_of(made: Topic, names: list[str]) -> tuple[SourcePartition, dict[str, RunIntake]]:
    """A partition with one reader per name."""
    intakes = {name: RunIntake(Cursor(name, TASK), LoopClock(), lambda: None, lambda: True, CAUTION) for name in names}
    readers = [Reader(name, name, made, intake, None) for name, intake in intakes.items()]
    return SourcePartition(TASK, HERE, readers, Committed(0), lambda *_: True, CAUTION), intakes


GAPS = st.lists(st.integers(1, 3), min_size=1, max_size=30)
# What each of two readers does, step by step: how many events it finishes before the next commit.
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=150, derandomize=True)
@given(GAPS, STEPS, st.integers(1, 7))
def test_position_is_the_oldest_unfinished_event_of_all_readers(
    gaps: list[int], steps: list[tuple[int, int, bool]], batch: int
) -> None:
    """With holes in the log, runs of any size and commits at any event, no event is lost or seen twice by a reader."""
    offsets = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    asyncio.run(_play(offsets, steps, batch))


async def _play(offsets: list[int], steps: list[tuple[int, int, bool]], batch: int) -> None:
    made = topic()
    partition, intakes = partition_of(made, ["one", "two"])
    finished: dict[str, list[int]] = {"one": [], "two": []}
    permits: dict[str, asyncio.Semaphore] = {name: asyncio.Semaphore(0) for name in intakes}

    async def read(name: str) -> None:
        source = Source("t", (made,))
        source.intake = intakes[name]
        async for value in Stream[int](source):
            await permits[name].acquire()
            finished[name].append(value)

    def start() -> list[asyncio.Task[None]]:
        return [asyncio.create_task(read(name)) for name in intakes]

    def feed() -> None:
        waiting = [offset for offset in offsets if offset >= partition.next_offset]
        for at in range(0, len(waiting), batch):
            partition.feed(records(waiting[at : at + batch]))

    readers = start()
    feed()
    for first, second, crash in [*steps, (len(offsets), len(offsets), False)]:
        for name, count in (("one", first), ("two", second)):
            for _ in range(min(count, len(offsets) - len(finished[name]))):
                permits[name].release()
        await _turns()
        # A barrier: whoever is at an event finishes that one.
        for name, intake in intakes.items():
            intake.hold("test")
            if not intake.resting and not permits[name]._value:
                permits[name].release()
        await _turns()
        committed = partition.position()
        unfinished = [offset for offset in offsets for name in finished if offset not in finished[name]]
        assert all(intake.resting for intake in intakes.values())
        assert committed.next_offset <= min(unfinished, default=offsets[-1] + 1)
        partition.committed = committed
        if crash:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            for intake in intakes.values():
                intake.queue.clear()
                intake.forget()
            partition.rewind()
            permits.update({name: asyncio.Semaphore(0) for name in intakes})
            readers = start()
            feed()
        for intake in intakes.values():
            intake.release("test")
    for permit in permits.values():
        for _ in offsets:
            permit.release()
    await _turns()
    assert finished == {"one": offsets, "two": offsets}
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def _turns() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def test_records_from_before_the_position_are_dropped() -> None:
    """Leftovers of an earlier assignment never reach a reader."""
    partition, intakes = partition_of(topic(), ["one"])
    partition.feed(records([0, 1, 2]))
    partition.feed(records([1, 2, 3]))
    partition.feed(records([0, 1]))
    assert [value for run in intakes["one"].queue for value in run.values] == [0, 1, 2, 3]


def test_end_of_log_moves_the_position_without_an_event() -> None:
    """Transaction markers at the end are passed, in order behind what is queued, and never backwards."""

    async def play() -> None:
        partition, intakes = partition_of(topic(), ["one"])
        intake = intakes["one"]
        partition.feed(records([0]))
        partition.advance(5)
        partition.advance(3)
        assert partition.position() == Committed(0)
        seen: list[Any] = []

        async def read() -> None:
            while True:
                run = await intake.next_run()
                assert run is not None
                seen.extend(intake.cursor.iterator)

        reader = asyncio.create_task(read())
        await _turns()
        assert (seen, partition.position(), intake.suspects()) == ([0], Committed(5), [])
        reader.cancel()

    asyncio.run(play())


# What would not decode, or not be true.
ODD_METADATA: tuple[str, ...] = (
    "[" * 4000,
    '{"a":' * 800,
    "[" * 100_000,
    "\udcff",
    f'{{"{short_name("one")}": {"9" * 5000}}}',
)
ODD_METADATA += tuple(f'{{"{short_name("one")}": {count}}}' for count in ("-5", "1e400", "true", "2.5", "10e30"))


def test_metadata_of_other_tools_is_ignored() -> None:
    """Offsets committed by hand may carry any text: it counts as no reader being ahead."""
    for metadata in ("", "by hand", "[1]", '"x"', '{"one": "far"}', '{"gone": 5}', *ODD_METADATA):
        made = topic()
        intake = RunIntake(Cursor("one", TASK), LoopClock(), lambda: None, lambda: True, CAUTION)
        readers = [Reader("one", "one", made, intake, None)]
        partition = SourcePartition(TASK, HERE, readers, Committed(7, metadata), lambda *_: True, CAUTION)
        assert partition.position() == Committed(7)
