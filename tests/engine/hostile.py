"""A hostile shell around the pump: records come when they like, what is asked of Kafka ends late, badly, or unknown.

Everything that may happen to a worker happens here between any two turns of its loop, as a seeded choice: see
`Shell.step`. It drives the product's own pump and engine; only Kafka and the disk are played.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from streamcluster.batch import Batch
from streamcluster.engine.outbox import Outputs
from streamcluster.engine.ports import Reads, Writes
from streamcluster.engine.values import Commit
from streamcluster.errors import Fenced
from streamcluster.ids import TP, TaskId
from streamcluster.stores import NO_INDEXES, NOT_PASSED, AllPassed, Indexes, MemoryStore, Shard, StoreFailed, TaskStore
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from streamcluster.testing.simulation import Simulation

QUIET_STEPS = 20


class Unknown(Exception):
    """Nobody knows whether a transaction was committed."""


class ScheduledReads:
    """Records come in pieces of any size, and at times none."""

    def __init__(self, reads: SimulatedReads, chance: random.Random, share: Callable[[int], int] | None = None) -> None:
        """share: how many of so many records come at once; any number when None."""
        self._reads = reads
        self._chance = chance
        self._share = share or (lambda count: chance.randrange(count + 1))
        self.ended = reads.ended
        self.calm = False

    def poll(self, room: Callable[[int], int]) -> list[Batch]:
        """Some of what is there."""
        batches = self._reads.poll(room)
        if self.calm or not batches:
            return batches
        left = self._share(sum(map(len, batches)))
        given: list[Batch] = []
        for batch in batches:
            # As a client may: what is consecutive comes in one batch or in several.
            count = min(left, len(batch))
            middle = self._chance.randrange(count + 1)
            given += [part for part in (batch.part(0, middle), batch.part(middle, count)) if len(part)]
            left -= count
            if count < len(batch):
                self._reads.assign({batch.tp: batch.offsets[count]})
        return given

    def is_all(self, tp: TP, offset: int) -> bool:
        """No transaction is open here."""
        return True

    def poll_when_idle(self) -> None:
        """Who drives this knows when there are records."""

    def is_full(self, record_count: int) -> bool:
        """At any time."""
        return self._chance.random() < 0.3

    def assign(self, positions: dict[TP, int]) -> None:
        """Read from there."""
        self._reads.assign(positions)

    def unassign(self, tps: Iterable[TP]) -> None:
        """Read no more."""
        self._reads.unassign(tps)

    def pause_only(self, full: set[TP]) -> None:
        """Read nothing of these."""
        self._reads.pause_only(full)


class ScheduledWrites:
    """What is asked for ends when `play` says so, and how."""

    def __init__(self, writes: SimulatedWrites, chance: random.Random) -> None:
        self._writes = writes
        self._chance = chance
        self.waiting: tuple[asyncio.Future[object], Callable[[], object]] | None = None
        self.calm = False
        self._is_commit = False

    @property
    def outputs_landed(self) -> bool:
        """At any moment of a commit, at least once."""
        return self.waiting is not None and self._is_commit and not self._writes.exactly_once

    def _later(self, do: Callable[[], object]) -> asyncio.Future[object]:
        assert self.waiting is None, "one thing at a time is asked of Writes"
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.waiting = (future, do)
        if self.calm:
            self.play(0.0)
        return future

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """At once, or later."""
        if self.outputs_landed:
            return self._writes.produce(outputs)
        assert self.waiting is None, "one thing at a time is asked of Writes"
        self._is_commit = False
        if self.calm or self._chance.random() < 0.5:
            return self._writes.produce(outputs)
        return self._later(lambda: self._writes.produce(outputs))  # type: ignore[return-value]

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """Later."""
        self._is_commit = True
        return self._later(lambda: self._writes.apply(commit))  # type: ignore[return-value]

    def abort(self) -> asyncio.Future[None]:
        """Later."""
        self._is_commit = False
        return self._later(self._forget)  # type: ignore[return-value]

    def _forget(self) -> None:
        self._writes.open = {}

    def play(self, fault_chance: float) -> None:
        """End what is under way: well, or with an outcome that the worker does not know."""
        if self.waiting is None:
            return
        (future, do), self.waiting = self.waiting, None
        if self._chance.random() >= fault_chance:
            future.set_result(do())
        elif self._chance.random() < 0.5:
            do()
            future.set_exception(Unknown())
        else:
            future.set_exception(Fenced("somebody else has the slot"))


class BrittleShard:
    """A shard of a store that cannot be read when `store.broken` says so."""

    def __init__(self, shard: Shard, store: BrittleStore) -> None:
        self._shard = shard
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        """The value, or a disk's error."""
        self._store.fail_if_broken("get")
        return self._shard.get(key)

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, or a disk's error."""
        self._store.fail_if_broken("get")
        return self._shard.multi_get(keys)

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows, or a disk's error."""
        self._store.fail_if_broken("scan")
        return self._shard.scan(start, end, reverse=reverse, rows_max=rows_max, bytes_max=bytes_max)

    def behind(self, key: bytes) -> bytes:
        """Where a scan goes on."""
        return self._shard.behind(key)

    def scan_order(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows in the order that they lie in, or a disk's error."""
        self._store.fail_if_broken("scan")
        return self._shard.scan_order(start, end, reverse=reverse, rows_max=rows_max, bytes_max=bytes_max)

    def scan_index(
        self,
        name: str,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
    ) -> list[tuple[bytes, bytes]]:
        """Entries, or a disk's error."""
        self._store.fail_if_broken("scan")
        return self._shard.scan_index(name, start, end, reverse=reverse, rows_max=rows_max)


class BrittleStore:
    """A store on a disk that may go bad at any time: `broken` says at what, and stays so until it is replaced."""

    def __init__(self, tables: Sequence[str], indexes: Indexes = NO_INDEXES) -> None:
        self._store = MemoryStore(tables, indexes)
        self._shards = {table: BrittleShard(self._store.shard(table), self) for table in tables}
        self.broken: str | None = None

    def fail_if_broken(self, what: str) -> None:
        """Raise if it is this that does not work."""
        if self.broken in (what, "all"):
            raise StoreFailed(f"{what}: block checksum mismatch")

    def shard(self, table: str) -> Shard:
        """The shard of a table."""
        return self._shards[table]

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        changelog_next_offsets: Mapping[str, int],
        passed: AllPassed = NOT_PASSED,
    ) -> None:
        """A commit, or a disk's error."""
        self.fail_if_broken("write")
        self._store.write(changes, changelog_next_offsets, passed)

    def changelog_next_offset(self, table: str) -> int | None:
        """Where a restore begins."""
        return self._store.changelog_next_offset(table)

    def restore(self, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """From the changelog."""
        self._store.restore(table, records, next_offset)

    def forget(self, table: str) -> None:
        """Empty it."""
        self._store.forget(table)

    def reading(self) -> AbstractContextManager[None]:
        """Nobody reads it from another thread."""
        return self._store.reading()

    def close(self) -> None:
        """Nothing to release."""
        self._store.close()


class Shell:
    """Drives a simulated worker through what a seed says. hang: each is set while events wait for it to end."""

    def __init__(self, worker: Simulation, chance: random.Random, stores: list[TaskStore], hang: list[bool]) -> None:
        self._worker = worker
        self._chance = chance
        self._stores = stores
        self._hang = hang
        self._closing: dict[TaskId, asyncio.Task[bool]] = {}
        self.faults = 0
        self.fault_chance = chance.choice([0.0, 0.05, 0.2])
        self.reads: ScheduledReads
        self.writes: ScheduledWrites
        worker.through = self.through

    def through(self, reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
        """Stand between the pump and the logs."""
        self.reads, self.writes = ScheduledReads(reads, self._chance), ScheduledWrites(writes, self._chance)
        return self.reads, self.writes

    async def step(self) -> None:
        """One step of the pump, and whatever else happens meanwhile."""
        chance = self._chance
        worker = self._worker
        for at, is_set in enumerate(self._hang):
            if chance.random() < 0.3:
                self._hang[at] = not is_set
        if chance.random() < 0.2:
            worker.move_clock(chance.choice([0.01, 0.2, 2.0, 40.0]))
        if chance.random() < 0.05:
            self._damage()
        if chance.random() < 0.08:
            self._move_a_task()
        try:
            await worker.pump.step(commits=chance.random() < 0.7)
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            if chance.random() < 0.6:
                self.writes.play(self.fault_chance)
            await self._after_step()
        except (Unknown, Fenced):
            await self.restart()
        if chance.random() < 0.02:
            await self.restart()

    async def _after_step(self) -> None:
        """What the worker's shell does between steps."""
        for task, closing in list(self._closing.items()):
            if closing.done():
                del self._closing[task]
                closing.result()
                self._worker.close_store(task)
                await self._worker.open_task(task)
        if not self._closing:
            await self._worker.reopen_failed()

    def _damage(self) -> None:
        store = self._chance.choice(self._stores)
        assert isinstance(store, BrittleStore)
        store.broken = self._chance.choice(["get", "write", "all"])

    def _move_a_task(self) -> None:
        """Give a task away, with or without patience, and take it back once it is released."""
        worker = self._worker
        tasks = [t.id for t in worker.engine.tasks.values() if t.id not in self._closing and t.store_error is None]
        if tasks:
            task = self._chance.choice(sorted(tasks))
            patience = self._chance.choice([0.0, 1.0, 30.0])
            self._closing[task] = asyncio.get_running_loop().create_task(worker.pump.close_tasks([task], patience))

    async def restart(self) -> None:
        """Die and come back, with the stores or without them."""
        self.faults += 1
        for closing in self._closing.values():
            closing.cancel()
        if self._closing:
            await asyncio.wait(self._closing.values())
        self._closing.clear()
        await self._worker.stop()
        if self._chance.random() < 0.5:
            self._worker.lose_stores()
        await self._worker.open()

    async def calm_down(self) -> None:
        """Nothing bad happens any more: let everything come to its end."""
        self._hang[:] = [False] * len(self._hang)
        self.fault_chance = 0.0
        quiet = 0
        steps = 0
        while quiet < QUIET_STEPS:
            steps += 1
            assert steps < 3000, "the worker does not come to rest"
            self.reads.calm = self.writes.calm = True
            self._worker.move_clock(0.2)
            before = self._worker.state()
            try:
                self.writes.play(0.0)
                fed = await self._worker.pump.step()
                for _ in range(10):
                    await asyncio.sleep(0)
                await self._after_step()
            except (Unknown, Fenced):
                await self.restart()
                continue
            stopped = any(task.stopped for task in self._worker.engine.tasks.values())
            busy = fed or stopped or self._closing or self._worker.pump.is_busy() or not self._worker.engine.idle()
            quiet = 0 if busy or before != self._worker.state() else quiet + 1


def play_each(seeds: Iterable[int], play: Callable[[int], tuple[Driver, Any]], module: str) -> None:
    """Play the schedules of these seeds; what fails says by which command it is played again."""
    for seed in seeds:
        try:
            driver, _ = play(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}: python -m {module} {seed} {seed + 1}")
            raise
        driver.close()


def play_as_told(play: Callable[[int], tuple[Driver, Any]]) -> None:
    """The command of a module of schedules: play the seeds from its first argument up to the second."""
    logging.disable(logging.CRITICAL)
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            driver, _ = play(seed)
            driver.close()
        except BaseException:
            print(f"seed {seed} fails", flush=True)
            raise
    print(f"{sys.argv[2]} seeds: no violation")
