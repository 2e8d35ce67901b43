"""While a commit is under way the pump leaves the few records that come to one look, and no longer than it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streamcluster import App, Stream
from streamcluster.engine.outbox import Outputs
from streamcluster.engine.ports import Reads, Writes
from streamcluster.engine.pump import BUSY_RECORDS, GATHER_SECONDS
from streamcluster.engine.values import Commit
from streamcluster.ids import TaskId
from streamcluster.stores import StoreFailed
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from tests.engine.turning import Hand


class HeldWrites:
    """Writes whose commits end when they are let go."""

    def __init__(self, writes: SimulatedWrites) -> None:
        self._writes = writes
        self.outputs_landed = False
        self.held: list[asyncio.Future[dict[TaskId, StoreFailed]]] = []

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """At once."""
        return self._writes.produce(outputs)

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """It is in the logs at once, and nobody knows."""
        self._writes.commit(commit)
        self.held.append(asyncio.get_running_loop().create_future())
        return self.held[-1]

    def abort(self) -> asyncio.Future[None]:
        """At once."""
        return self._writes.abort()


class Held:
    """A driven app that counts what it is given, and its pump, which turns by itself."""

    def __init__(self, guarantee: str) -> None:
        app = App("a", processing_guarantee=guarantee)
        self.seen: list[int] = []
        self.gate = asyncio.Event()
        self.made: list[HeldWrites] = []

        @app.agent(app.topic("numbers", key_type=str, value_type=int), name="see")
        async def see(stream: Stream[int]) -> None:
            async for value in stream:
                self.seen.append(value)
                if value < 0:
                    await self.gate.wait()

        self.driver = Driver(app, partitions=1)
        self.driver.worker.through = self._through
        self.driver.crash()
        self.hand = Hand(self.driver)

    def _through(self, reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
        self.made.append(HeldWrites(writes))
        return reads, self.made[-1]

    @property
    def commits(self) -> list[asyncio.Future[dict[TaskId, StoreFailed]]]:
        """Those that were begun, in order."""
        return self.made[-1].held

    async def turns(self) -> asyncio.Task[None]:
        """A turn, and some time for it to end."""
        turn = asyncio.create_task(self.hand.worker.pump.turn())
        await rounds()
        return turn

    async def begin_commit(self) -> asyncio.Task[None]:
        """Give it a record and have it commit; the turn that does it."""
        self.hand.send("numbers", ("a", 0))
        turn = await self.turns()
        assert (self.seen, len(self.commits)) == ([0], 1)
        return turn


async def rounds() -> None:
    """What may run does."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def held() -> Iterator[Held]:
    """At exactly once."""
    made = Held("exactly_once")
    yield made
    for commit in made.commits:
        if not commit.done():
            commit.set_result({})
    made.driver.close()


def test_records_that_come_during_a_commit_wait_for_its_end(held: Held) -> None:
    """Then all are taken in one look, and committed at once."""

    async def run() -> None:
        turn = await held.begin_commit()
        for number in range(1, 4):
            held.hand.send("numbers", ("a", number))
            await rounds()
        assert not turn.done()
        held.commits[0].set_result({})
        await rounds()
        assert turn.done()
        await held.turns()
        assert (held.seen, len(held.commits)) == ([0, 1, 2, 3], 2)

    held.driver.run(run())


def test_records_wait_no_longer_than_that_for_a_commit_that_takes_long(held: Held) -> None:
    """Agents go on meanwhile."""

    async def run() -> None:
        turn = await held.begin_commit()
        held.hand.send("numbers", ("a", 1))
        held.hand.worker.move_clock(GATHER_SECONDS * 0.9)
        await rounds()
        assert not turn.done()
        held.hand.worker.move_clock(GATHER_SECONDS * 0.2)
        await rounds()
        assert turn.done()
        assert not (await held.turns()).done()
        assert (held.seen, len(held.commits)) == ([0, 1], 1)

    held.driver.run(run())


def test_an_event_that_ends_during_a_commit_ends_the_wait(held: Held) -> None:
    """Its lane is free: there may be more to do."""

    async def run() -> None:
        turn = await held.begin_commit()
        held.hand.worker.move_clock(GATHER_SECONDS * 1.1)
        await rounds()
        assert turn.done()
        held.hand.send("numbers", ("a", -1))
        turn = await held.turns()
        assert held.seen == [0, -1]
        assert not turn.done()
        held.gate.set()
        await rounds()
        assert turn.done()

    held.driver.run(run())


def test_many_records_do_not_wait(held: Held) -> None:
    """There is enough to do, and it may be done beside the commit."""

    async def run() -> None:
        turn = await held.begin_commit()
        held.hand.send("numbers", *[("a", number) for number in range(1, BUSY_RECORDS + 1)])
        held.hand.worker.move_clock(GATHER_SECONDS * 1.1)
        await rounds()
        assert turn.done()
        assert (await held.turns()).done()
        assert len(held.seen) == BUSY_RECORDS + 1

    held.driver.run(run())


def test_nothing_waits_at_least_once() -> None:
    """What records lead to is sent at once there."""
    held = Held("at_least_once")

    async def run() -> None:
        assert (await held.begin_commit()).done()
        held.commits[0].set_result({})
        await rounds()

    held.driver.run(run())
    held.driver.close()
