"""Commits that Kafka refuses for a record in them: the event that it came from is found, and no other suffers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import pytest

from streamcluster import App, Stream
from streamcluster.engine.outbox import Outputs
from streamcluster.engine.pacing import Pacing
from streamcluster.engine.ports import Reads, Writes
from streamcluster.engine.pump import Pump
from streamcluster.engine.values import Commit
from streamcluster.errors import CommitRefused
from streamcluster.ids import TaskId
from streamcluster.settings import ErrorAction, ProcessingGuarantee
from streamcluster.stores import StoreFailed
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from streamcluster.testing.simulation import Simulation
from streamcluster.testing.topics import SimulatedLogs
from tests.engine.conftest import Drive

PARTITIONS = 3
EVENTS = 400


class Refused(Exception):
    """What the worker's clients say."""


@dataclass(slots=True)
class Picky:
    """Brokers that take no record larger than `bytes_max`, and say of none which it was."""

    bytes_max: int
    writes: SimulatedWrites
    refused: int = 0
    # At least once: what was sent since the last commit, and was refused.
    missed: bool = False

    @property
    def outputs_landed(self) -> bool:
        """Each call is done when it returns."""
        return False

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """Into the transaction; what is too large shows later."""
        if not self.writes.exactly_once and self._is_too_large([outputs]):
            self.missed = True
            return None
        return self.writes.produce(outputs)

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """All of it or nothing."""
        outputs = [self.writes.open, commit.outputs, *(cut.outputs for cut in commit.tasks)]
        if not (self.missed or self._is_too_large(outputs)):
            return self.writes.commit(commit)
        self.refused += 1
        self.missed = False
        self.writes.open = {}
        future: asyncio.Future[dict[TaskId, StoreFailed]] = asyncio.get_running_loop().create_future()
        future.set_exception(Refused("too large (MSG_SIZE_TOO_LARGE)"))
        return future

    def abort(self) -> asyncio.Future[None]:
        """Forget the open transaction."""
        return self.writes.abort()

    def _is_too_large(self, outputs: Iterable[Outputs]) -> bool:
        return any(
            len(value or b"") + sum(len(data or b"") for _, data in headers or ()) > self.bytes_max
            for one in outputs
            for records in one.values()
            for _, value, _, _, headers in records.records()
        )


@dataclass(slots=True)
class Broker:
    """Stands between a driver's worker and its logs."""

    bytes_max: int
    picky: list[Picky] = field(default_factory=list)

    def through(self, reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
        """The worker's ports."""
        self.picky.append(Picky(self.bytes_max, writes))
        return reads, self.picky[-1]


def start(drive: Drive, app: App, bytes_max: int) -> tuple[Driver, Broker]:
    """A driver whose broker is picky from now on."""
    driver, broker = drive(app, PARTITIONS), Broker(bytes_max)
    worker = driver.worker
    worker.through = broker.through
    driver.crash()
    process = worker.process

    async def process_or_reset(*, commit: bool) -> None:
        while True:
            try:
                await process(commit=commit)
            except Refused as error:
                worker.engine.refused(str(error))
                await reset(worker)
            else:
                return

    worker.process = process_or_reset  # type: ignore[method-assign]
    return driver, broker


async def reset(worker: Simulation) -> None:
    """What the worker's loop does when a commit failed: let every task go, and open them with new clients."""
    engine, app = worker.engine, worker.engine.app
    await worker.pump.end()
    engine.abandon()
    for task in list(engine.tasks):
        await engine.close_task(task)
    worker.reads = SimulatedReads(worker.logs)
    pacing = Pacing(msgspec.structs.replace(app.conf, commit_interval=0.0), engine.clock.now())
    worker.pump = Pump(engine, app.conf, *worker.through(worker.reads, worker.writes), pacing)
    for task in engine.topology.tasks():
        await worker.open_task(task)


def put(logs: SimulatedLogs, number: int, value: bytes) -> None:
    """One record, in turn to each partition."""
    logs.append("in", {"key": b"%d" % (number % PARTITIONS), "value": value, "partition": number % PARTITIONS}, 0.0)


def make_app(guarantee: ProcessingGuarantee, action: ErrorAction = "dead_letter") -> App:
    """`N` is counted and sent on, and so is as much more as N says; what is no number does not decode."""
    app = App("a", processing_guarantee=guarantee, error_action=action, producer_flush_records=50)
    out = app.topic("out", value_type=str, value_serializer="raw")
    seen = app.Table("seen", default=int)

    @app.agent(app.topic("in", key_type=str, value_type=int), name="send")
    async def send(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            seen[key] += 1
            await out.send(value="x" * value)

    return app


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("action", ["dead_letter", "skip"])
def test_the_event_whose_record_is_refused_is_found(
    drive: Drive, guarantee: ProcessingGuarantee, action: ErrorAction
) -> None:
    """Two of 400 events on three partitions: found by halves, put aside, and all others are done once."""
    driver, broker = start(drive, make_app(guarantee, action), 100_000)
    bad = {123, 350}
    for number in range(EVENTS):
        put(driver.logs, number, b"%d" % (200_000 + number if number in bad else number % 7))
    driver.advance(0.0)

    good = EVENTS - len(bad)
    outputs = [len(output.value) for output in driver.output("out")]
    if guarantee == "exactly_once":
        assert sorted(outputs) == sorted(number % 7 for number in range(EVENTS) if number not in bad)
    assert len(outputs) >= good
    assert sum(driver.table("seen").values()) == good
    letters = driver.dead_letters()
    expected = sorted(b"%d" % (200_000 + number) for number in bad) if action == "dead_letter" else []
    assert sorted(letter.value for letter in letters) == expected
    assert all(b"MSG_SIZE_TOO_LARGE" in letter.headers["dead-letter-error"] for letter in letters)
    assert sum(picky.refused for picky in broker.picky) < 60
    assert not driver.worker.engine.recovery.trials


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_dead_letter_that_is_refused_is_made_again_without_the_record(
    drive: Drive, guarantee: ProcessingGuarantee
) -> None:
    """It says what it lacks, and there is one."""
    driver, _ = start(drive, make_app(guarantee), 20_000)
    for number in range(EVENTS):
        put(driver.logs, number, b"?" * 50_000 if number == 77 else b"1")
    driver.advance(0.0)
    (letter,) = driver.dead_letters()
    assert (letter.key, letter.value) == (None, None)
    assert b"value (50000 bytes)" in letter.headers["dead-letter-left-out"]
    assert letter.headers["dead-letter-offset"] == b"25"
    assert sum(driver.table("seen").values()) == EVENTS - 1
    assert driver.worker.engine.recovery.dead_letters_total == 1


def test_a_dead_letter_that_nobody_takes_stops_the_app(drive: Drive) -> None:
    """Nothing is lost silently: the position stays before the event."""
    driver, _ = start(drive, make_app("exactly_once"), 100)
    put(driver.logs, 0, b"1")
    put(driver.logs, 0, b"?")
    with pytest.raises(CommitRefused):
        driver.advance(0.0)
    assert {at for tp, at in driver.positions().items() if tp.partition == 0} == {1}


def test_policy_stop_stops_at_the_event_whose_record_is_refused(drive: Drive) -> None:
    """As at any event that fails."""
    driver, _ = start(drive, make_app("exactly_once", "stop"), 1_000)
    for number, value in enumerate((b"1", b"1", b"1", b"1", b"5000", b"1")):
        put(driver.logs, 0 * number, value)
    with pytest.raises(CommitRefused):
        driver.advance(0.0)
    assert {at for tp, at in driver.positions().items() if tp.partition == 0} == {4}
    assert len(driver.output("out")) == 4


@pytest.mark.parametrize("act", [lambda app: app.task, lambda app: app.timer(1.0)])
def test_what_a_function_sends_is_dropped_when_it_is_refused(
    drive: Drive, act: Callable[[App], Callable[[object], object]]
) -> None:
    """No event is to blame, and none is put aside."""
    app = make_app("exactly_once")
    large = app.topic("large", value_type=str, value_serializer="raw")

    @act(app)
    async def send_much() -> None:
        """Once."""
        if not sent:
            sent.append(True)
            await large.send(value="x" * 5_000)

    sent = [True]
    driver, _ = start(drive, app, 1_000)
    sent.clear()
    driver.crash()
    for number in range(10):
        put(driver.logs, number, b"1")
    driver.advance(2.0)
    driver.advance(2.0)
    assert (len(driver.output("out")), driver.dead_letters()) == (10, [])
