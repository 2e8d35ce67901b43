"""Instance: one running coroutine of a unit in one task, from start to cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Iterable
from itertools import repeat
from types import CoroutineType
from typing import Any

from ..agents import Agent
from ..boundary import failure_of, raise_or_say, running_task
from ..current import Cursor, KafkaRecord, Run, cursor_var, outbox_var, time_of
from ..errors import AppError, Skip, UnencodableEntry, UnsendableRecord, WillNotEnd
from ..events import Event
from ..headers import have_headers, headers_at, headers_of, headers_size
from ..ids import TaskId
from ..operators import GroupBy, Processor, apply
from ..output import BY_KEY, Pairs
from ..streams import Source, Stream
from ..topics import Topic
from ..topology.declare import Unit
from .clock import Clock, sleep
from .hand import Hand
from .intake import RunIntake
from .killers import Caution
from .outbox import Outbox
from .values import Failure

CANCEL_SECONDS_MAX = 10.0
RESTART_SECONDS_MAX = 30.0
# Of a repartition topic: where the records go whose new key is None, so that one task sees them all.
NO_KEY_PARTITION = 0


class Instance:
    """One coroutine. `down` while it waits to be started again after it failed outside of an event."""

    __slots__ = (
        "_clock",
        "_context",
        "_ending",
        "_fail",
        "_loop_task",
        "down",
        "failed",
        "hand",
        "intake",
        "name",
        "task",
        "unit",
    )

    def __init__(
        self,
        unit: Unit,
        name: str,
        task: TaskId,
        hand: Hand,
        clock: Clock,
        on_rest: Callable[[], None],
        fail: Callable[[Failure], None],
        caution: Caution,
    ) -> None:
        self.unit = unit
        self.name = name
        self.task = task
        self.hand = hand
        cursor = Cursor(unit.name, task)
        self.intake = RunIntake(cursor, clock, on_rest, self._settle, caution)
        self.intake.hand = hand
        self._clock = clock
        self._fail = fail
        self._loop_task: asyncio.Task[None] | None = None
        # What was cancelled, until it has ended.
        self._ending: asyncio.Task[None] | None = None
        self.down = False
        # It failed at an event and waits for its task to be rolled back.
        self.failed = False
        self._context = contextvars.copy_context()
        self._context.run(cursor_var.set, cursor)
        self._context.run(outbox_var.set, hand.outbox)

    @property
    def unit_name(self) -> str:
        """The agent's name."""
        return self.unit.name

    @property
    def resting(self) -> bool:
        """No event is half done."""
        return self.intake.resting or self.down

    @property
    def idle(self) -> bool:
        """Resting, with nothing queued."""
        return self.down or self.intake.idle

    def stop_taking(self) -> None:
        """Come to rest after the current event."""
        self.intake.hold("closing")

    def _settle(self) -> bool:
        """The event in hand is finished; False when what it wrote cannot be committed, which is its failure."""
        if self.intake.strict and not self.failed:
            try:
                self.hand.check()
            except UnencodableEntry as error:
                suspects = self.intake.suspects()
                self.failed = bool(suspects)
                self._fail(Failure(self.unit.name, self.unit.policy, self.task, suspects, error))
        if self.failed:
            return False
        self.hand.settle()
        return True

    def set_shard(self, variable: contextvars.ContextVar[Any], shard: Any) -> None:
        """Give the coroutine its shard of one table."""
        self._context.run(variable.set, shard)

    def start(self) -> None:
        """Run a fresh coroutine."""
        self.failed = self.down = False
        self.intake.is_ended = False
        self.intake.release(self)
        self._loop_task = asyncio.get_running_loop().create_task(self._main(), name=self.name, context=self._context)

    async def cancel(self) -> None:
        """End the coroutine and forget what it had in hand.

        Raises:
            WillNotEnd: it swallowed the cancellation; only the end of the process helps.
        """
        self.end()
        if self._ending is not None:
            done, _ = await asyncio.wait({self._ending}, timeout=CANCEL_SECONDS_MAX)
            if not done:
                raise WillNotEnd(
                    f"agent {self.unit.name!r} did not end within {CANCEL_SECONDS_MAX:.0f} s of its cancellation."
                )
            self._ending = None
        self.intake.queue.clear()
        self.intake.forget()

    def end(self) -> None:
        """Cancel the coroutine, without a wait for its end: who waits may be cancelled, and it must not go on."""
        self.intake.is_ended = True
        self.hand.shut()
        self.intake.hold(self)
        if self._loop_task is not None:
            self._ending, self._loop_task = self._loop_task, None
            self._ending.cancel()

    async def _main(self) -> None:
        attempt = 0
        while not self._is_ended():
            try:
                if attempt:
                    await sleep(self._clock, min(RESTART_SECONDS_MAX, 0.1 * 2**attempt))
                self.down = False
                before = dict(self.intake.done)
                await self._run_once()
                if self._is_ended():
                    return
                if self.intake.done == before and self.intake.cursor.index() is None:
                    raise AppError(f"agent {self.unit.name!r} returned without reading its stream.")
                self.intake.begin()
                attempt = 0
            except BaseException as error:  # noqa: BLE001 (the boundary to user code)
                if self._is_ended():
                    raise_or_say(self.unit.name, error)
                    return
                self.hand.shut()
                failure = await failure_of(error)
                suspects = self.intake.suspects()
                self.failed = bool(suspects)
                self.down = not suspects
                self._fail(Failure(self.unit.name, self.unit.policy, self.task, suspects, failure))
                if suspects:
                    return
                attempt += 1

    def _is_ended(self) -> bool:
        """We have ended this coroutine, or the interpreter does; what user code raises now is no failure."""
        return self._loop_task is None or self._loop_task is not running_task()

    async def _run_once(self) -> None:
        if self.unit.agent is None:
            await self._forward()
            return
        agent = self.unit.agent
        template = agent.stream
        source = Source(self.unit.topic.describe(), (self.unit.topic,))
        source.intake = self.intake
        result = agent.fun(Stream(source, template.operators if template is not None else ()))
        if hasattr(result, "__anext__"):
            cursor, outbox = self.intake.cursor, self.hand.outbox
            async for value in result:
                for sink in agent.sinks:
                    # The commonest sink costs no coroutine.
                    if type(sink) is Topic and type(value) is not Event and _has_no_headers(cursor):
                        if sink.append_to(outbox, None, value):
                            await outbox.room()
                    else:
                        await _give(sink, value, cursor)
        else:
            await result

    async def _forward(self) -> None:
        """The sending half of group_by and through: raw bytes under a new key, unless operators changed the value."""
        unit, intake = self.unit, self.intake
        assert unit.group_by is not None
        assert unit.destination is not None
        group_by, operators = unit.group_by, unit.operators
        as_it_is = group_by.through is None and not any(isinstance(op, Processor) for op in operators)
        in_one_go = as_it_is and not operators and group_by.key is not None
        # Whether a key must be awaited shows only when one was made, so the first events go one by one.
        keys_known = False
        while True:
            run = await intake.next_run()
            if run is None:
                continue
            if keys_known and in_one_go and _forward_run(run, group_by.key, unit.destination, self.hand.outbox):
                intake.cursor.iterator = iter(())
                continue
            awaited = await self._forward_each(run, unit.destination, as_it_is=as_it_is)
            in_one_go = in_one_go and not awaited
            keys_known = keys_known or bool(run.values)

    async def _forward_each(self, run: Run, destination: Topic, *, as_it_is: bool) -> bool:
        """One by one: for operators, awaited keys, and to find the event that fails; True when a key was awaited."""
        awaited = False
        assert self.unit.group_by is not None
        intake, operators, group_by = self.intake, self.unit.operators, self.unit.group_by
        coders = destination.coders
        for index, (record, value) in enumerate(zip(run.records, intake.cursor.iterator, strict=False)):
            if operators:
                try:
                    value = await apply(operators, value, (run, index))
                except Skip:
                    continue
            key = _key_of(group_by, run, index, value)
            if type(key) is CoroutineType:
                key = await key
                awaited = True
            part = "value"
            try:
                data = record.value() if as_it_is else coders.encode_value(value)
                part = "key"
                key_data = coders.encode_key(key)
            except Exception as error:
                raise UnsendableRecord(destination.name, part, key, value, error) from error
            headers = headers_of(record)
            size = len(key_data or b"") + len(data or b"") + headers_size(headers)
            coders.limits.check_size(destination.name, size)
            partition = _partition_of(key_data, group_by)
            timestamp = coders.carried.of(time_of(record))
            self.hand.outbox.append(destination.name, (key_data, data, partition, timestamp, headers or None))
        return awaited


def _key_of(group_by: GroupBy, run: Run, index: int, value: Any) -> Any:
    if group_by.key is None:
        return run.key(index)
    # A tombstone has no field.
    return None if value is None and group_by.is_field else group_by.key(value)


def _partition_of(key: bytes | None, group_by: GroupBy) -> int:
    """Where a record goes: of group_by all that have no key to the same place. Of through they go where they would."""
    return NO_KEY_PARTITION if key is None and group_by.key is not None else BY_KEY


def _forward_run(run: Run, key_of: Callable[[Any], Any] | None, destination: Topic, outbox: Outbox) -> bool:
    """Forward a whole run in comprehensions; False, with nothing done, when that is not possible."""
    assert key_of is not None
    coders = destination.coders
    encode_key = coders.encode_key
    records = run.records
    if not records:
        return True
    kind = type(records[0])
    try:
        keys = [encode_key(key_of(value)) for value in run.values]
        headers = _headers_of_run(records)
    except BaseException:  # noqa: BLE001 (user code, or somebody's headers; the offender is found one by one)
        return False
    # Of the class, as in `have_headers`: half the time of asking each record.
    values = [*map(kind.value, records)]
    largest = max(map(len, filter(None, values)), default=0) + max(map(len, filter(None, keys)), default=0)
    if headers is not None:
        largest += max(map(headers_size, filter(None, headers)), default=0)
    if largest > coders.limits.record_bytes_max:
        return False
    timestamps = coders.carried.of_run([milliseconds for _, milliseconds in map(kind.timestamp, records)])
    partitions: Iterable[int] = repeat(BY_KEY)
    if None in keys:
        partitions = [NO_KEY_PARTITION if key is None else BY_KEY for key in keys]
    outbox.records_of(destination.name).extend(
        zip(keys, values, partitions, timestamps, repeat(None) if headers is None else headers, strict=False)
    )
    return True


def _headers_of_run(records: list[KafkaRecord]) -> list[Pairs | None] | None:
    """The headers of each, None where there are none."""
    if not have_headers(records):
        return None
    return [headers_of(record) or None for record in records]


def _has_no_headers(cursor: Cursor) -> bool:
    """It is known that no event of the run in hand has any."""
    return cursor.run is not None and cursor.run.has_headers is False


async def _give(sink: Any, value: Any, cursor: Cursor) -> None:
    """Hand a yielded value to one sink.

    What a topic or an agent gets has the headers of the event that it came from; of a batch of take() it has none.
    """
    if isinstance(sink, (Topic, Agent)):
        topic = sink if isinstance(sink, Topic) else sink.topic
        if isinstance(value, Event):
            await value.forward(topic)
        else:
            run, index = cursor.run, cursor.index()
            headers = None
            if run is not None and index is not None and not cursor.kept.handed_out:
                headers = headers_at(run, index)
            await topic.give(topic.prepare(None, value, headers=headers))
    else:
        result = sink(value)
        if inspect.isawaitable(result):
            await result
