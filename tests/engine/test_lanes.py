"""Lanes: hundreds of events of a partition await at once; no hang, crash or other `concurrency=` has one done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.ahead import METADATA_BYTES_MAX, OFFSETS_AHEAD_MAX, ahead_of, chars_max, metadata_of, short_name
from streamcluster.app import AGENT_CONCURRENCY_MAX
from streamcluster.engine.long_events import LongEvents
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.topology.units import AgentUnit
from tests.engine.turning import Hand

HERE = TP("numbers", 0)
LANES = AGENT_CONCURRENCY_MAX


class Calls:
    """An app whose agent awaits at each event, for ever at those of `hangs` until `gate` is set."""

    def __init__(self, concurrency: int, hangs: set[int], **options: Any) -> None:
        self.app = App("a", **options)
        self.gate = asyncio.Event()
        self.begun: dict[str, list[int]] = {}
        self.at_once = self.most = 0
        out = self.app.topic("out", key_type=str, value_type=int, partitions=1)
        counts = self.app.Table("counts", default=int)

        @self.app.agent(
            self.app.topic("numbers", key_type=str, value_type=int), name="calls", concurrency=concurrency, sink=[out]
        )
        async def calls(stream: Stream[int]) -> object:
            async for key, value in stream.items():
                self.begun.setdefault(key, []).append(value)
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                try:
                    for _ in range(value % 3 + 1):
                        await asyncio.sleep(0)
                    if value in hangs:
                        await self.gate.wait()
                finally:
                    self.at_once -= 1
                counts[key] += 1
                yield value

        self.hand = Hand(Driver(self.app))
        self.driver = self.hand.driver

    def committed(self) -> tuple[int, str]:
        """The committed position, and its metadata."""
        at = self.driver.worker.committed[HERE]
        return at.next_offset, at.metadata

    def change(self, concurrency: int) -> None:
        """Crash, and start with another `concurrency=`."""
        worker = self.driver.worker
        (unit,) = worker._plan.units
        assert isinstance(unit, AgentUnit)
        worker._plan = replace(worker._plan, units=(replace(unit, concurrency=concurrency),))

        async def start_again() -> None:
            await worker.stop()
            await worker.open()

        self.driver.run(start_again())
        self.hand.step(100)

    def done(self) -> Counter[int]:
        """How often the result of each event was committed."""
        return Counter(output.value for output in self.driver.output("out"))


@pytest.fixture
def made() -> Iterator[list[Calls]]:
    """What is closed at the end of the test."""
    calls: list[Calls] = []
    yield calls
    for one in calls:
        one.driver.close()


def key_of(number: int) -> str:
    """Of an event."""
    return f"k{number % 700}"


def test_event_that_hangs_holds_up_its_lane_alone(made: list[Calls]) -> None:
    """The other lanes go on and are committed; after a crash only what was not finished is done again, in order."""
    calls = Calls(LANES, {7})
    made.append(calls)
    calls.hand.send("numbers", *[(key_of(n), n) for n in range(2100)])
    calls.hand.step(100)
    lane = crc32(key_of(7).encode()) % LANES
    behind = {n for n in range(7, 2100) if crc32(key_of(n).encode()) % LANES == lane}
    assert calls.done() == Counter(n for n in range(2100) if n not in behind)
    assert calls.most > LANES // 2
    at, metadata = calls.committed()
    assert at <= 7
    assert len(metadata) < METADATA_BYTES_MAX
    # `status` and the log can name it.
    long_events = LongEvents(30.0)
    tasks = calls.driver.worker.engine.tasks
    for now in (0.0, 31.0):
        long_events.look(tasks, now)
    assert "event numbers[0]@7 of calls" in str(long_events.longest(next(iter(tasks)), 31.0))
    calls.begun.clear()
    calls.driver.worker.move_clock(1.0)
    calls.change(LANES)
    assert {n for values in calls.begun.values() for n in values} == {min(behind)}
    calls.gate.set()
    calls.hand.step(100)
    assert calls.done() == Counter(range(2100))
    assert calls.committed() == (2100, "")
    assert all(values == sorted(values) for values in calls.begun.values())
    assert calls.driver.table("counts") == {f"k{n}": 3 for n in range(700)}


def test_lanes_go_on_far_beyond_what_hangs(made: list[Calls]) -> None:
    """Many times as far as may wait in memory; then what waits for the hanging events is read again, and no more."""
    calls = Calls(50, {7, 300}, stream_buffer_records_max=400)
    made.append(calls)
    lanes = {crc32(key_of(n).encode()) % 50 for n in (7, 300)}
    behind = {n for n in range(4000) if n >= 7 and crc32(key_of(n).encode()) % 50 in lanes}
    for start in range(0, 4000, 100):
        calls.hand.send("numbers", *[(key_of(n), n) for n in range(start, start + 100)])
        calls.hand.step(30, seconds=0.5)
    calls.hand.step(200, seconds=5.0)
    assert calls.done() >= Counter(n for n in range(4000) if n not in behind)
    assert calls.committed()[0] <= 300
    calls.gate.set()
    calls.hand.step(1000, seconds=30.0)
    assert calls.done() == Counter(range(4000))
    assert calls.committed() == (4000, "")
    assert all(values == sorted(values) for values in calls.begun.values())


@pytest.mark.parametrize("seed", range(6))
def test_another_concurrency_does_nothing_twice(made: list[Calls], seed: int) -> None:
    """What lanes had finished beyond the position is done, however the keys are divided afterwards, and again."""
    chance = random.Random(seed)
    calls = Calls(8, {3, 40, 41})
    made.append(calls)
    sent = 0
    for concurrency in [*chance.choices([1, 2, 5, 8, 60, LANES], k=5)]:
        calls.hand.send("numbers", *[(key_of(n), n) for n in range(sent, sent + 60)])
        sent += 60
        calls.hand.step(100)
        assert len(calls.committed()[1]) < METADATA_BYTES_MAX
        before = calls.done()
        calls.change(concurrency)
        assert calls.done() >= before
        assert max(calls.done().values()) == 1
    calls.gate.set()
    calls.hand.step(100)
    assert calls.done() == Counter(range(sent))
    assert calls.committed() == (sent, "")
    assert calls.driver.table("counts") == dict(Counter(key_of(n) for n in range(sent)))


def test_lane_without_events_is_not_woken(made: list[Calls]) -> None:
    """So an event costs the same with few lanes and with many."""
    calls = Calls(LANES, set())
    made.append(calls)
    moves = calls.driver.worker.engine.moves
    calls.hand.send("numbers", ("k1", 1), ("k1", 2))
    calls.hand.step(30)
    assert calls.done() == {1: 1, 2: 1}
    assert calls.committed() == (2, "")
    assert calls.driver.worker.engine.moves < moves + 10


SPLITS = st.lists(st.lists(st.integers(0, 2**40), min_size=1, max_size=20).map(tuple), min_size=1, max_size=3)


@settings(max_examples=200, derandomize=True)
@given(st.dictionaries(st.sampled_from(["one", "two", "three"]), SPLITS))
def test_metadata_comes_back(ahead: dict[str, list[tuple[int, ...]]]) -> None:
    """Of agents that are ahead at all."""
    found = ahead_of(metadata_of(ahead))
    assert found == {short_name(unit): splits for unit, splits in ahead.items() if any(map(any, splits))}


def test_metadata_has_room_for_what_is_allowed() -> None:
    """For the most lanes as far ahead as they may be, before and after another `concurrency=`."""
    furthest = (2 * OFFSETS_AHEAD_MAX - 1,) * LANES
    text = metadata_of({"one": [furthest, furthest]})
    assert len(text) <= chars_max(LANES) <= METADATA_BYTES_MAX
    assert len(metadata_of({"one": [(2**50,)]})) <= chars_max(1) + 8
    assert ahead_of(text)


@pytest.mark.parametrize(
    "value", ['[3, "AAAA=", 1]', '[3, "AAAA"]', "[3, 4]", '["a", "b"]', '[5, "AAAA"]', '[9999, ""]']
)
def test_odd_lanes_count_as_nothing(value: str) -> None:
    """Others may have written it."""
    assert ahead_of(f'{{"0123456789ab": {value}}}') == ({} if value != '[3, "AAAA"]' else {"0123456789ab": [(0, 0, 0)]})
