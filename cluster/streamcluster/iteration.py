"""Iteration: the asynchronous iterators behind `async for` over a stream, from runs of an intake to values.

Those that most agents have do nothing per event but hand it out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from .changelogs import HELD_MAX
from .checks import Seconds
from .current import Cursor, Kept, Run, current_outbox
from .errors import AppError, Skip
from .events import Event
from .operators import Echoed, GroupBy, Operator, TableJoin, apply
from .roads import Roads
from .stream_joins.loops import Brings, LiveJoin, pairs_of, pairs_through

# What an event goes through: the same operators for all of them, or by topic; or a join.
Ways = tuple[Operator, ...] | Roads | LiveJoin


class Intake(Protocol):
    """What a running stream takes its runs from.

    reader, leave: see leaving.py; leave is None when nobody asks for it. brings: see JoinIntake.
    """

    cursor: Cursor
    brings: Brings | None
    kept: Kept
    reader: object
    leave: Callable[[], None] | None

    def begin(self) -> None:
        """An iteration starts: what an earlier one left unfinished comes again."""
        ...

    async def next_run(self, timeout: float | None = None) -> Run | None:
        """The next run, with the cursor set on it. None: `timeout` seconds passed, or what is buffered is wanted."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...


async def iterate_local(iterable: Any, operators: tuple[Operator, ...]) -> AsyncIterator[Any]:
    """Values of an ordinary (sync or async) iterable; no Kafka behind it, nothing to commit."""
    if any(isinstance(operator, GroupBy) for operator in operators):
        raise AppError("app.stream(iterable): group_by and through need a topic as their source.")
    async for value in _as_async(iterable):
        try:
            yield await apply(operators, value, None)
        except Skip:
            continue


async def _as_async(iterable: Iterable[Any] | AsyncIterator[Any]) -> AsyncIterator[Any]:
    if hasattr(iterable, "__aiter__"):
        async for value in iterable:
            yield value
    else:
        for value in iterable:
            yield value


async def values(intake: Intake) -> AsyncIterator[Any]:
    """The hot path: one suspension a run, nothing at all per event. Only where it is not in C (loops.py)."""
    while True:
        if await intake.next_run() is not None:
            for value in intake.cursor.iterator:
                yield value


async def items(intake: Intake) -> AsyncIterator[tuple[Any, Any]]:
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        decode, iterator = run.decode_key, intake.cursor.iterator
        for data, value in zip(run.records().keys, iterator, strict=False):
            yield None if data is None else decode(data), value


async def values_with_table(intake: Intake, join: TableJoin) -> AsyncIterator[tuple[Any, Any]]:
    """`_values` of a join with a table, without a coroutine per event."""
    get, keeps = join.table.get, join.keeps
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        decode, iterator = run.decode_key, intake.cursor.iterator
        for data, value in zip(run.records().keys, iterator, strict=False):
            if value is not None:
                found = None if data is None else get(decode(data))
                if keeps or found is not None:
                    yield value, found


def _through(intake: Intake, operators: Ways) -> AsyncIterator[tuple[Run, int, Any]]:
    """(run, index, value behind the operators) of every event that is not dropped."""
    if isinstance(operators, LiveJoin):
        return pairs_through(intake, operators)
    return _through_operators(intake, operators)


async def _through_operators(
    intake: Intake, operators: tuple[Operator, ...] | Roads
) -> AsyncIterator[tuple[Run, int, Any]]:
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        ways = _ways(operators, run)
        for index, value in enumerate(intake.cursor.iterator):
            for way in ways:
                try:
                    changed = await apply(way, value, (run, index)) if way else value
                except Skip:
                    continue
                yield run, index, changed


async def numbered(values: AsyncIterator[Any], start: int) -> AsyncIterator[tuple[int, Any]]:
    number = start
    async for value in values:
        yield number, value
        number += 1


def values_through(intake: Intake, operators: Ways) -> AsyncIterator[Any]:
    if isinstance(operators, LiveJoin):
        return pairs_of(intake, operators)
    return _values_through(intake, operators)


async def _values_through(intake: Intake, operators: tuple[Operator, ...] | Roads) -> AsyncIterator[Any]:
    async for _, _, value in _through_operators(intake, operators):
        yield value


async def items_through(intake: Intake, operators: Ways) -> AsyncIterator[tuple[Any, Any]]:
    async for run, index, value in _through(intake, operators):
        yield run.key(index), value


async def events(intake: Intake, operators: Ways) -> AsyncIterator[Event]:
    async for run, index, value in _through(intake, operators):
        yield Event(run, index, value)


async def take(
    intake: Intake,
    operators: tuple[Operator, ...] | Roads,
    max_: int,
    within: Seconds | None,
    pick: Callable[[Event], Any],
) -> AsyncIterator[list[Any]]:
    """Lists of up to so many values, or of what came within so many seconds of the first."""
    seconds = within.total_seconds() if isinstance(within, timedelta) else within
    batch: list[Any] = []
    echoed: list[Echoed] = []  # Sent with the batch that the events are committed with.
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - intake.now())
        run = await intake.next_run(timeout)
        if run is not None:
            for index, value in enumerate(intake.cursor.iterator):
                for way in _ways(operators, run):
                    try:
                        kept = await apply(way, value, (run, index), echoed) if way else value
                    except Skip:
                        if not batch:
                            _send_echoed(echoed)
                        continue
                    if not batch and seconds is not None:
                        deadline = intake.now() + seconds
                    intake.kept.add(run, index)
                    batch.append(pick(Event(run, index, kept)))
                if len(batch) >= max_:
                    _send_echoed(echoed)
                    intake.kept.hand_out()
                    yield batch
                    batch, deadline = [], None
                    intake.kept.clear()
        elif batch:
            _send_echoed(echoed)
            intake.kept.hand_out()
            yield batch
            batch, deadline = [], None
            intake.kept.clear()


async def newest(intake: Intake, every: float, pick: Callable[[Event], Any]) -> AsyncIterator[Any]:
    """The newest event of each key, of what came in so many seconds: held back as `take` does, so nothing is lost."""
    async for batch in take(intake, (), HELD_MAX, every, lambda event: event):
        found: dict[bytes | None, Event] = {}
        for event in batch:
            key = event.message.key
            # In the order of what is given out.
            found.pop(key, None)
            found[key] = event
        for event in found.values():
            yield pick(event)


def _ways(operators: tuple[Operator, ...] | Roads, run: Run) -> Sequence[tuple[Operator, ...]]:
    """What the events of this run go through: more than one way, if their topic was merged with itself."""
    return operators.of(run.tp.topic) if isinstance(operators, Roads) else (operators,)


def _send_echoed(echoed: list[Echoed]) -> None:
    for topic, record in echoed:
        current_outbox().append(topic.name, record)
    echoed.clear()
