"""What one event, task or disk does to all others: nothing. The pump is turned by hand, so an event may hang for ever.

The names in brackets are those of the review's findings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import msgspec
import pytest

from streamcluster import App, Stream
from streamcluster.engine.pacing import Pacing
from streamcluster.engine.ports import Reads, Writes
from streamcluster.errors import WillNotEnd
from streamcluster.ids import TaskId
from streamcluster.stores import StoreFailed, TaskStore
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from tests.engine.hostile import BrittleStore
from tests.engine.turning import FIRST, SECOND, Hand, Make, Shared, Slow, SlowWrites


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a driven app; a store may go bad."""
    made: list[Hand] = []

    def drive(app: App, partitions: int = 2, stores: list[BrittleStore] | None = None, room: int = sys.maxsize) -> Hand:
        def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
            store = BrittleStore(tables)
            if stores is not None:
                stores.append(store)
            return store

        driver = Driver(app, partitions=partitions, make_store=make_store)
        driver.worker.outbox_records_max = room
        driver.crash()
        made.append(Hand(driver))
        return made[-1]

    yield drive
    for one in made:
        one.driver.close()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("writes_first", [False, True])
def test_event_that_never_ends_holds_no_other_task(make: Make, guarantee: str, writes_first: bool) -> None:
    """[C2] The other task's events are committed, its output is not; it is done once, however long it takes."""
    slow = Slow(writes_first=writes_first, processing_guarantee=guarantee, transaction_timeout=10.0)
    hand = make(slow.app)
    hand.send("numbers", (FIRST, 0), *[(SECOND, n) for n in range(1, 30)])
    hand.step(seconds=100.0)
    assert hand.position("numbers", 1) == 29
    assert hand.position("numbers", 0) == 0
    assert hand.out("out") == [(SECOND, n) for n in range(1, 30)]
    slow.gate[0].set()
    hand.step()
    assert hand.out("out")[29:] == [(FIRST, 0)]
    assert hand.driver.table("counts") == {FIRST: 1, SECOND: 29}
    assert len(slow.gate) == 1
    assert hand.worker.engine.recovery.rollbacks_total == 0


def test_events_before_one_that_hangs_are_committed(make: Make) -> None:
    """[C2] What a task has finished does not wait for what it has not, once it is known to await."""
    slow = Slow()
    hand = make(slow.app, partitions=1)
    hand.send("numbers", ("a", 0))
    hand.step()
    hand.send("numbers", ("a", 1), ("a", 2), ("a", 3), ("a", 0))
    slow.gate[0].set()
    hand.step()
    assert hand.position("numbers", 0) == 4
    assert hand.out("out") == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]
    assert len(slow.gate) == 2


def test_sender_without_room_is_waited_for_and_then_kept(make: Make) -> None:
    """[C2] An event that sends more than there is room for holds commits for half of transaction_timeout at most."""
    slow = Slow(sends=10, transaction_timeout=10.0)
    hand = make(slow.app, room=3)
    hand.send("numbers", (FIRST, 0))
    hand.step(seconds=0.0)
    hand.send("numbers", (SECOND, 100))
    hand.step(seconds=4.0)
    assert hand.out("out") == []
    hand.step(seconds=4.0)
    hand.step(seconds=100.0)
    assert hand.out("out") == [(SECOND, 100)]
    # It was begun again once, and now waits with everything that it sent in memory.
    assert len(slow.gate) == 2
    slow.gate[1].set()
    hand.step()
    assert sorted(hand.out("out")) == sorted([(SECOND, 100), *[(FIRST, n) for n in range(10)]])
    assert hand.driver.table("counts") == {FIRST: 1, SECOND: 1}


@pytest.mark.parametrize("writes_first", [False, True])
def test_slow_agent_holds_no_other_agent_of_its_task(make: Make, writes_first: bool) -> None:
    """[C6b] An event that has written nothing is left out of the cut; one that has is waited for by its own task."""
    slow = Slow(writes_first=writes_first)
    busy = slow.app.topic("numbers", key_type=str, value_type=int)
    fast = slow.app.topic("fast", key_type=str, value_type=int, partitions=1)
    seen = slow.app.Table("seen", default=int)

    @slow.app.agent(busy, name="busy")
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            seen[key] += 1
            await fast.send(key=key, value=value)

    hand = make(slow.app, partitions=1)
    hand.send("numbers", ("a", 0), *[("a", n) for n in range(1, 20)])
    hand.step()
    assert hand.out("fast") == ([] if writes_first else [("a", n) for n in range(20)])
    slow.gate[0].set()
    hand.step()
    assert hand.out("fast") == [("a", n) for n in range(20)]
    assert hand.driver.table("counts") == hand.driver.table("seen") == {"a": 20}
    assert hand.position("numbers", 0) == 20


def test_output_of_an_event_that_cannot_be_committed_is_not(make: Make) -> None:
    """[C1] Output that was handed over is committed with its offset, or not at all: nothing comes twice."""
    app = App("a", producer_flush_records=5)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    odd = app.Table("odd")

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="odd")
    async def send(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            await out.send(key=key, value=value)
            odd[str(value)] = object() if value == 9 else value

    hand = make(app)
    hand.send("numbers", *[(FIRST, n) for n in range(20)], (SECOND, 100))
    hand.step(200)
    assert sorted(hand.out("out")) == sorted([*[(FIRST, n) for n in range(20) if n != 9], (SECOND, 100)])
    assert [one.value for one in hand.driver.dead_letters()] == [b"9"]
    assert hand.driver.table("odd") == {str(n): n for n in [*range(20), 100] if n != 9}


def test_value_that_cannot_be_encoded_costs_few_commits(make: Make) -> None:
    """[C7] 3,000 uncommitted events, then one value: that event fails itself, and no other becomes a suspect."""
    app = App("a")
    odd = app.Table("odd", value_type=object)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="odd")
    async def write(stream: Stream[int]) -> None:
        async for _, value in stream.items():
            odd[str(value)] = object() if value == 2999 else value

    hand = make(app, partitions=1)
    hand.send("numbers", *[("a", n) for n in range(3001)])
    hand.step(60)
    assert len(hand.driver.table("odd")) == 3000
    assert [one.value for one in hand.driver.dead_letters()] == [b"2999"]
    assert b"'2999'" in hand.driver.dead_letters()[0].headers["dead-letter-error"]
    assert hand.worker.pump.commits_total < 100


def test_events_that_are_looked_at_one_by_one_are_committed_meanwhile(make: Make) -> None:
    """[C7] A long way to the bad value holds up neither the loop nor the commits on that way."""
    app = App("a")
    odd = app.Table("odd", value_type=object)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="odd")
    async def write(stream: Stream[int]) -> None:
        async for _, value in stream.items():
            odd[str(value)] = object() if value == 2999 else value

    hand = make(app, partitions=1)
    hand.send("numbers", *[("a", n) for n in range(3000)])
    hand.step(4)
    positions = []
    for _ in range(60):
        hand.step(1)
        positions.append(hand.position("numbers", 0))
    assert len([position for position in set(positions) if 0 < position < 2999]) > 5
    assert positions[-1] == 3000


def test_in_place_change_that_cannot_be_encoded_is_found(make: Make) -> None:
    """[C7] The same for a list that grew in place: nobody wrote the table, and the event is found."""
    app = App("a")
    lists = app.Table("lists", default=list)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="lists")
    async def grow(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            lists[key].append(object() if value == 7 else value)

    hand = make(app, partitions=1)
    hand.send("numbers", *[("a", n) for n in range(20)])
    hand.step(60)
    assert hand.driver.table("lists") == {"a": [n for n in range(20) if n != 7]}
    assert [one.value for one in hand.driver.dead_letters()] == [b"7"]


def test_slow_function_holds_no_other_task(make: Make) -> None:
    """[C3] A function that awaits in the middle of an event keeps only that event's task from being cut."""
    shared = Shared()
    hand = make(shared.app)
    hand.send("shared", (FIRST, 0))
    hand.send("numbers", (SECOND, 1), (SECOND, 2))
    hand.step()
    hand.send("numbers", (SECOND, 3), (FIRST, 4))
    hand.step()
    assert hand.out("out") == [(SECOND, 1), (SECOND, 2), (SECOND, 3)]
    shared.gate[0].set()
    hand.step()
    assert sorted(hand.out("out")) == sorted([(SECOND, 1), (SECOND, 2), (SECOND, 3), (FIRST, 4), (FIRST, 0)])
    assert hand.driver.table("counts") == {FIRST: 101, SECOND: 3}


def test_leaving_the_loop_finishes_the_event(make: Make) -> None:
    """[C6] After `break` the event is committed, and what is sent then goes out though the event's task has moved."""
    shared = Shared()
    hand = make(shared.app)
    hand.send("shared", (FIRST, 7), (FIRST, -1))
    hand.step()
    assert hand.out("out") == [(FIRST, 7), (FIRST, -1)]
    assert hand.position("shared", 0) == 2
    task = next(task for task in hand.worker.engine.tasks if task.partition == 0)

    async def move() -> None:
        closing = asyncio.get_running_loop().create_task(hand.worker.pump.close_tasks([task], 1.0))
        while not closing.done():
            await hand.worker.pump.step()
        assert closing.result()

    hand.driver.run(move())
    shared.after[0].set()
    hand.step()
    assert hand.out("out")[2:] == [("x", 1000)]
    assert hand.worker.engine.recovery.crash is None


def test_leaving_the_loop_by_an_exception_fails_the_event(make: Make) -> None:
    """[C6] An exception is no `break`: what the event did is dropped, and it goes to the dead letters."""
    shared = Shared()
    hand = make(shared.app)
    hand.send("shared", (FIRST, 7), (FIRST, -2), (FIRST, 8))
    hand.step(100, seconds=10.0)
    assert hand.out("out") == [(FIRST, 7), (FIRST, 8)]
    assert [one.value for one in hand.driver.dead_letters()] == [b"-2"]


def test_closing_a_task_waits_for_no_other(make: Make) -> None:
    """[C4] An idle task is released at once beside one whose event hangs; the other goes on."""
    slow = Slow(writes_first=True)
    hand = make(slow.app)
    hand.send("numbers", (FIRST, 0), (SECOND, 1))
    hand.step()
    idle = next(task for task in hand.worker.engine.tasks if task.partition == 1)

    async def close() -> int:
        closing = asyncio.get_running_loop().create_task(hand.worker.pump.close_tasks([idle], 30.0))
        for steps in range(20):
            if closing.done():
                assert closing.result()
                return steps
            await hand.worker.pump.step()
        raise AssertionError("the idle task is not released")

    assert hand.driver.run(close()) < 10
    assert hand.position("numbers", 1) == 1
    slow.gate[0].set()
    hand.step()
    assert hand.position("numbers", 0) == 1


@pytest.mark.parametrize("broken", ["get", "write", "all"])
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_bad_disk_costs_a_restore_and_no_event(make: Make, guarantee: str, broken: str) -> None:
    """[C5] A store that cannot be read or written is restored, also when user code swallows the error."""
    app = App("a", processing_guarantee=guarantee)
    counts = app.Table("counts", default=int)
    swallowed: list[StoreFailed] = []

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, _ in stream.items():
            try:
                counts[key] += 1
            except StoreFailed as error:
                swallowed.append(error)

    stores: list[BrittleStore] = []
    hand = make(app, partitions=1, stores=stores)
    hand.send("numbers", *[(str(n % 5), n) for n in range(20)])
    hand.step()
    hand.driver.crash()
    stores[-1].broken = broken
    before = len(stores)
    hand.send("numbers", *[(str(n % 5), n) for n in range(20)])
    hand.step()
    assert hand.driver.table("counts") == {str(n): 8 for n in range(5)}
    assert hand.driver.dead_letters() == []
    assert len(stores) > before
    assert bool(swallowed) == (broken != "write")


def test_event_is_committed_though_the_next_of_its_run_never_ends(make: Make) -> None:
    """[C2] It was in progress when a commit was due, so it counts alone and not with the run that it came in."""
    slow = Slow()
    hand = make(slow.app, partitions=1)
    hand.send("numbers", ("a", 0), ("a", 0))
    hand.step(seconds=1.0)
    slow.gate[0].set()
    hand.step(seconds=1.0)
    assert len(slow.gate) == 2
    assert hand.out("out") == [("a", 0)]
    assert hand.position("numbers", 0) == 1


def test_coroutine_that_does_not_end_keeps_its_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """[C8] The operator reads an error that names the agent, not a group of exceptions."""
    monkeypatch.setattr("streamcluster.engine.instance.CANCEL_SECONDS_MAX", 0.05)
    app = App("a")
    ended = asyncio.Event()

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="stubborn")
    async def stubborn(stream: Stream[int]) -> None:
        async for _ in stream:
            while not ended.is_set():
                try:
                    await asyncio.sleep(0.001)
                except asyncio.CancelledError:
                    continue

    hand = make(app, partitions=1)
    hand.send("numbers", ("a", 1))
    hand.step(5)
    (task,) = hand.worker.engine.tasks

    async def close() -> None:
        try:
            await hand.worker.engine.close_task(task)
        finally:
            ended.set()

    with pytest.raises(WillNotEnd, match=r"agent 'stubborn' did not end within 0 s of its cancellation"):
        hand.driver.run(close())
    hand.driver.run(asyncio.sleep(0.05))


def test_producer_without_room_holds_no_turn(make: Make) -> None:
    """[C9] While output waits for the producer, records are read and handled; the commit follows when there is room."""
    slow = Slow()
    hand = make(slow.app, partitions=1)
    made: list[SlowWrites] = []

    def through(reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
        made.append(SlowWrites(writes))
        return reads, made[-1]

    hand.worker.through = through
    hand.driver.crash()
    writes = made[-1]
    # What is due commits before anything is handed over: so much comes while a commit is not due yet.
    hand.worker.pump._pacing = Pacing(
        msgspec.structs.replace(hand.worker.engine.app.conf, commit_interval=0.001), hand.worker.engine.clock.now()
    )
    hand.send("numbers", *[("a", n) for n in range(1, 20)])
    hand.step(2)
    assert len(writes.room) == 1
    hand.send("numbers", *[("a", n) for n in range(20, 40)])
    hand.step(20, seconds=60.0)
    assert [p.next_offset for task in hand.worker.engine.tasks.values() for p in task.partitions.values()] == [39]
    assert hand.worker.engine.events_total == 0
    assert writes.commits == 0
    writes.room[0].set_result(None)
    hand.step(20, seconds=1.0)
    assert hand.out("out") == [("a", n) for n in range(1, 40)]
