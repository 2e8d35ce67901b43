"""Records that kill the process: found by trying events alone after two deaths, and given up by their policy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Codec, Stream
from streamcluster.errors import KilledWorker
from streamcluster.ids import TP
from streamcluster.testing import Driver
from tests.engine.dying import DEATH, DEATHS_MAX, Died, Lives, death_is_nobodys_failure, end_process

__all__ = ["death_is_nobodys_failure"]

KILLER = 13


def die_at(*killers: int) -> Callable[[int], None]:
    """What user code does with a value."""

    def meet(value: int) -> None:
        if value in killers:
            raise Died

    return meet


def reasons(driver: Driver) -> list[tuple[Any, bytes, bytes]]:
    """What was given up, where, and why."""
    return [
        (letter.value, letter.headers["dead-letter-agent"], letter.headers["dead-letter-error"])
        for letter in driver.dead_letters()
    ]


def append_all(driver: Driver, topic: str, values: range, partitions: int = 1) -> None:
    """Records that are there before anybody reads."""
    for value in values:
        message = {"key": b"k", "value": b"%d" % value, "partition": value % partitions}
        driver.logs.append(topic, message, driver.worker.time())


def process(driver: Driver) -> Callable[[], None]:
    """Process what is there."""
    return lambda: driver.run(driver.worker.process(commit=True))


@pytest.fixture
def app() -> App:
    """An app with a topic of numbers."""
    return App("killed", error_retries=0)


def test_a_killer_is_given_up_and_all_others_are_done_once(app: App) -> None:
    """It dies twice with all in hand, twice with the killer alone, and then goes on. Other agents get the event."""
    numbers, out, copies = (app.topic(name, value_type=int) for name in ("numbers", "out", "copies"))
    sums = app.Table("sums", default=int)
    meet = die_at(KILLER)

    @app.agent(numbers)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            sums["all"] += 1
            await out.send(value=value)
            meet(value)

    @app.agent(numbers)
    async def robust(stream: Stream[int]) -> None:
        async for value in stream:
            await copies.send(value=value)

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30))
        lives.go_through(process(driver))

        assert lives.deaths == 4
        assert sorted(one.value for one in driver.output(out)) == [value for value in range(30) if value != KILLER]
        assert sorted(one.value for one in driver.output(copies)) == list(range(30))
        assert driver.table("sums") == {"all": 29}
        ((value, agent, reason),) = reasons(driver)
        assert (value, agent.rpartition(b".")[2]) == (b"13", b"fragile")
        assert b"killed the worker twice: killed by signal 11 (segmentation fault)" in reason
        # Nothing is left of it: the next ones go as fast as ever.
        append_all(driver, "numbers", range(30, 40))
        lives.go_through(process(driver))
        assert not driver.worker.engine.caution.suspects
        assert lives.deaths == 4


def test_who_is_in_hand_when_something_else_kills_the_process_is_given_up_by_nobody(app: App) -> None:
    """Another kill -9 while suspects are tried alone has one of them in hand, too: each time another one."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    kills = [KILLER, KILLER, 2, 5, KILLER]

    @app.agent(numbers)
    async def fine(stream: Stream[int]) -> None:
        async for value in stream:
            if kills and value == kills[0]:
                del kills[0]
                raise Died
            await out.send(value=value)

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30))
        lives.go_through(process(driver))

        assert lives.deaths == 5
        assert sorted(one.value for one in driver.output(out)) == list(range(30))
        assert driver.dead_letters() == []


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_a_killer_is_skipped_or_stops_the_app_by_its_agents_policy(app: App, policy: str) -> None:
    """As an event that fails does."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    meet = die_at(KILLER)

    @app.agent(numbers, on_error=policy)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            meet(value)
            await out.send(value=value)

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30))
        if policy == "stop":
            with pytest.raises(KilledWorker, match="twice: killed by signal 11"):
                lives.go_through(process(driver))
            assert driver.positions() == {TP("numbers", 0): KILLER}
            expected = list(range(KILLER))
        else:
            lives.go_through(process(driver))
            expected = [value for value in range(30) if value != KILLER]
        assert sorted(one.value for one in driver.output(out)) == expected
        assert driver.dead_letters() == []


def test_of_many_events_in_hand_only_the_killer_is_given_up(app: App) -> None:
    """Agents that await have one each; the one that kills does so after a while."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    meet = die_at(KILLER)

    @app.agent(numbers, concurrency=2)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            for _ in range(3):
                await asyncio.sleep(0)
            meet(value)
            await out.send(value=value)

    with Driver(app, partitions=4) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(40), 4)
        lives.go_through(process(driver))

        assert sorted(one.value for one in driver.output(out)) == [value for value in range(40) if value != KILLER]
        assert [value for value, _, _ in reasons(driver)] == [b"13"]


def test_events_of_a_batch_are_tried_alone(app: App) -> None:
    """The batch is in hand, and not its last event only."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    meet = die_at(KILLER)

    @app.agent(numbers)
    async def fragile(stream: Stream[int]) -> None:
        async for batch in stream.take(7, within=1000):
            for value in batch:
                meet(value)
            for value in batch:
                await out.send(value=value)

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(28))
        lives.go_through(process(driver))
        driver.advance(1001)

        assert sorted(one.value for one in driver.output(out)) == [value for value in range(28) if value != KILLER]
        assert [value for value, _, _ in reasons(driver)] == [b"13"]


def test_an_event_of_a_shared_stream_that_kills_is_given_up(app: App) -> None:
    """It goes over all partitions of the worker."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    stream = app.stream(numbers)
    meet = die_at(KILLER)

    @app.task
    async def fragile() -> None:
        async for value in stream:
            meet(value)
            await out.send(value=value)

    with Driver(app, partitions=3) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30), 3)
        lives.go_through(process(driver))

        assert sorted(one.value for one in driver.output(out)) == [value for value in range(30) if value != KILLER]
        assert [value for value, _, _ in reasons(driver)] == [b"13"]


def brittle(where: str) -> Codec:
    """A codec of numbers that one of them kills, where it is told to."""
    meet = die_at(KILLER)

    def loads(data: bytes) -> Any:
        if where == "loads":
            meet(int(data))
        return int(data)

    def dumps(value: Any) -> bytes:
        if where == "dumps":
            meet(value)
        return b"%d" % value

    return Codec(dumps=dumps, loads=loads)


def test_a_record_that_kills_its_codec_is_given_up_for_all(app: App) -> None:
    """No agent of the topic can have it."""
    numbers = app.topic("numbers", value_serializer=brittle("loads"))
    out = app.topic("out", value_type=int)

    @app.agent(numbers, concurrency=2)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value=value)

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30))
        lives.go_through(process(driver))

        assert sorted(one.value for one in driver.output(out)) == [value for value in range(30) if value != KILLER]
        assert [value for value, _, _ in reasons(driver)] == [b"13"]


def test_an_event_whose_table_entry_kills_at_the_commit_is_given_up(app: App) -> None:
    """What it wrote is encoded while it is the one in hand."""
    numbers = app.topic("numbers", value_type=int)
    last = app.Table("last", value_serializer=brittle("dumps"))

    @app.agent(numbers)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            last[value] = value

    with Driver(app) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(30))
        lives.go_through(process(driver))

        assert sorted(driver.table("last").values()) == [value for value in range(30) if value != KILLER]
        assert [value for value, _, _ in reasons(driver)] == [b"13"]


def test_a_suspect_that_never_ends_does_not_hold_up_the_others_for_long(app: App) -> None:
    """After a while all go on together; nobody is given up for it."""
    numbers, out = (app.topic(name, value_type=int) for name in ("numbers", "out"))
    deaths_left = [Died(), Died()]

    @app.agent(numbers)
    async def fragile(stream: Stream[int]) -> None:
        async for value in stream:
            if value % 2 and deaths_left:
                raise deaths_left.pop()
            if value == 1:
                await asyncio.Event().wait()
            await out.send(value=value)

    with Driver(app, partitions=2) as driver:
        lives = Lives(driver)
        append_all(driver, "numbers", range(20), 2)

        async def turn() -> None:
            for _ in range(200):
                await driver.worker.pump.step()
                await asyncio.sleep(0)

        def begin() -> None:
            driver.run(driver.worker.stop())
            driver.run(driver.worker.open())
            driver.run(turn())

        for _ in range(2):
            with pytest.raises(Died):
                begin()
            lives._begin(DEATH)
            end_process(driver)
        append_all(driver, "numbers", range(20, 40, 2), 2)
        begin()
        assert len(driver.output(out)) == 10
        driver.worker.move_clock(11)
        driver.run(turn())

        assert sorted(one.value for one in driver.output(out)) == list(range(0, 40, 2))
        assert driver.dead_letters() == []


@pytest.mark.parametrize("seed", range(30))
def test_killers_anywhere_cost_only_themselves(seed: int) -> None:
    """Two agents, a shared stream and failing events over two topics: each is done once, or given up by who dies of it.

    Replay: pytest "tests/engine/test_killers.py::test_killers_anywhere_cost_only_themselves[SEED]"
    """
    chance = random.Random(seed)
    app = App("anywhere", error_retries=0, error_backoff=0.0)
    numbers, others = (app.topic(name, value_type=int) for name in ("numbers", "others"))
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    bad = {name: set(chance.sample(range(60), 2)) for name in ("plain", "slow", "batches")}
    # Two units that one event kills give it up for all of its topic's, which the tests of the notes have.
    plain_killer, slow_killer = chance.sample([-1, *range(60)], 2)
    killers = {"plain": plain_killer, "slow": slow_killer, "batches": chance.choice([-1, *range(60)])}

    async def meet(name: str, value: int) -> None:
        die_at(killers[name])(value)
        if value in bad[name]:
            raise ValueError(f"{name} fails at {value}")
        await out.send(key=name, value=value)

    @app.agent(numbers, name="plain")
    async def plain(stream: Stream[int]) -> None:
        async for value in stream:
            await meet("plain", value)

    @app.agent(numbers, name="slow", concurrency=2)
    async def slow(stream: Stream[int]) -> None:
        async for value in stream:
            await asyncio.sleep(0)
            await meet("slow", value)

    @app.agent(others, name="batches")
    async def batches(stream: Stream[int]) -> None:
        async for batch in stream.take(3, within=5):
            for value in batch:
                await meet("batches", value)

    with Driver(app, partitions=3) as driver:
        lives = Lives(driver)
        for start in (0, 30):
            append_all(driver, "numbers", range(start, start + 30), 3)
            append_all(driver, "others", range(start, start + 30), 3)
            lives.go_through(process(driver))
            # A process that dies meanwhile begins to wait for its last batches anew.
            for _ in range(DEATHS_MAX):
                lives.go_through(lambda: driver.advance(20))

        # Two at one position and two alone, and one more where a commit came between the first two.
        assert lives.deaths <= 5 * len([value for value in killers.values() if value >= 0])
        for name in ("plain", "slow", "batches"):
            given_up = {*bad[name], killers[name]} - {-1}
            done = sorted(one.value for one in driver.output(out) if one.key == name)
            assert done == sorted(set(range(60)) - given_up), name
        count = sum(len({*bad[name], killers[name]} - {-1}) for name in killers)
        assert len(driver.dead_letters()) == count
