"""Stream: a chain of operators over a source, and how it is iterated.

Before the start a stream is a description: `declare.py` reads its operators. In a running app it is bound to an intake
(the engine's queue of runs for one coroutine), and iterating it hands out events one by one while the intake's cursor
says which event is current.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from .checks import Seconds, check_callable, check_count
from .current import Cursor, Kept, Run, current_outbox
from .errors import AppError, NotOffered, Skip
from .events import Destination, Event, current_event
from .faust_names import STREAM, names_what_is_missing
from .leaving import LoopIterator
from .loops import values_of_runs
from .models import field_getter, field_name, field_owner
from .operators import Echo, Echoed, Filter, GroupBy, Operator, Processor, after_repartition, apply
from .topics import Topic, topic_of

T = TypeVar("T")


class Intake(Protocol):
    """What a running stream takes its runs from.

    reader, leave: see leaving.py; leave is None when nobody wants to know that the loop was left.
    """

    cursor: Cursor
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


class Probed(BaseException):
    """Ends a probe at the moment that an agent asks for its first event (see declare.py)."""

    def __init__(self, stream: Stream[Any]) -> None:
        super().__init__()
        self.stream = stream


class Source:
    """What a chain of operators reads: Kafka topics or a local iterable; `intake` is there once it runs."""

    __slots__ = ("intake", "is_probe", "iterable", "label", "topics")

    def __init__(
        self, label: str, topics: tuple[Topic, ...] = (), iterable: Any = None, *, is_probe: bool = False
    ) -> None:
        self.label = label
        self.topics = topics
        self.iterable = iterable
        self.intake: Intake | None = None
        self.is_probe = is_probe


@names_what_is_missing(STREAM, "stream")
class Stream(Generic[T]):
    """An asynchronous stream of values. Iterate it with `async for`; see docs/guide.md for the operators."""

    __slots__ = ("_on_derive", "operators", "source")

    def __init__(
        self,
        source: Source,
        operators: tuple[Operator, ...] = (),
        on_derive: Callable[[Stream[Any], Stream[Any]], None] | None = None,
    ) -> None:
        self.source = source
        self.operators = operators
        self._on_derive = on_derive

    def _derive(self, operator: Operator) -> Stream[Any]:
        derived: Stream[Any] = Stream(self.source, (*self.operators, operator), self._on_derive)
        if self._on_derive is not None:
            self._on_derive(self, derived)
        return derived

    # Operators

    def filter(self, fun: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Only the values for which `fun` (sync or async) is true."""
        check_callable("stream.filter()", fun)
        return self._derive(Filter(fun))

    def add_processor(self, fun: Callable[[T], Any]) -> None:
        """Map every value through `fun` (sync or async), in place; `Skip` drops the event."""
        check_callable("stream.add_processor()", fun)
        self.operators = (*self.operators, Processor(fun))

    def echo(self, *channels: Topic | Destination) -> Stream[T]:
        """Send every value to these topics and agents as well, with its key."""
        return self._derive(Echo(tuple(topic_of("stream.echo", channel) for channel in channels)))

    def group_by(
        self,
        key: Any,
        *,
        name: str | None = None,
        topic: Topic | None = None,
        partitions: int | None = None,
    ) -> Stream[T]:
        """Repartition by a new key, through an internal topic. Events whose key is None are all on one partition.

        Args:
            key: a field reference (`Order.account_id`), or a sync or async function of the value.
            name: part of the topic's name; a function's own name when left out, which a lambda does not have.
            topic: a topic to use in place of the internal one.
            partitions: its partition count; None: as many as the source has.

        Raises:
            AppError: `key` is neither a field nor callable, or a lambda without `name`.
        """
        return self._derive(_group_by(key, name, topic, partitions))

    def through(self, channel: Topic | str) -> Stream[T]:
        """Send every event to `channel` under its own key and go on reading from there."""
        topic = topic_of("stream.through", channel)
        return self._derive(GroupBy(label=topic.name, key=None, through=topic))

    # Iteration

    def __aiter__(self) -> AsyncIterator[T]:
        return self._told(self._values())

    def _values(self) -> AsyncIterator[T]:
        if self.source.iterable is not None:
            return _iterate_local(self.source.iterable, self.operators)
        intake, operators = self._bound()
        if operators:
            return _values_through(intake, operators)
        return values_of_runs(intake.next_run, intake.cursor) or _values(intake)

    def items(self) -> AsyncIterator[tuple[Any, T]]:
        """(key, value) pairs."""
        intake, operators = self._bound()
        return self._told(_items_through(intake, operators) if operators else _items(intake))

    def events(self) -> AsyncIterator[Event]:
        """Event objects: key, value, headers and the message behind them."""
        return self._told(_events(*self._bound()))

    def enumerate(self, start: int = 0) -> AsyncIterator[tuple[int, T]]:
        """(number, value) pairs, counted from `start` in this coroutine (so per partition in an agent)."""
        return self._told(_numbered(self._values(), start))

    def take(self, max: int, within: Seconds | None = None) -> AsyncIterator[Sequence[T]]:
        """Lists of up to `max` values, or of what came within `within` seconds of the first.

        A batch is finished when the body asks for the next one: tables may be written inside, and a crash before
        that delivers all of it again. Operators before it run when an event is buffered, so processors and filters
        there must not write tables or send: that would be committed before the batch. `echo` may stand there.
        """
        return self._told(_take(self, max, within, lambda event: event.value))

    def take_events(self, max: int, within: Seconds | None = None) -> AsyncIterator[Sequence[Event]]:
        """`take`, with Event objects."""
        return self._told(_take(self, max, within, lambda event: event))

    def _told(self, values: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Those values, of which the intake is told when their loop is left, if it wants to know."""
        intake = self.source.intake
        return values if intake is None or intake.leave is None else LoopIterator(values, intake)

    def _bound(self) -> tuple[Intake, tuple[Operator, ...]]:
        """The intake to read, and the operators behind the last repartition."""
        if self.source.is_probe:
            raise Probed(self)
        if self.source.intake is None:
            text = "it can be read in an @app.task, if it was declared before the start, or given to an agent."
            raise AppError(f"stream over {self.source.label}: {text}")
        self.source.intake.begin()
        return self.source.intake, after_repartition(self.operators)

    @property
    def current_event(self) -> Event | None:
        """The event that the running code is at, or None."""
        return current_event()

    def __and__(self, other: object) -> Stream[T]:
        raise NotOffered("stream & stream: give several topics to one app.topic(...) instead.")


def _group_by(key: Any, name: str | None, topic: Topic | None, partitions: int | None) -> GroupBy:
    check_count("stream.group_by(): partitions", partitions)
    topic = None if topic is None else topic_of("stream.group_by(topic=...)", topic)
    getter = field_getter(key)
    if getter is not None:
        label = name or f"{field_owner(key)}.{field_name(key)}"
        owner = key.__objclass__ if hasattr(key, "__objclass__") else None
        key_type = inspect.get_annotations(owner, eval_str=True).get(str(field_name(key))) if owner else None
        key_type = key_type if key_type in (str, bytes, int) else None
        return GroupBy(label, getter, key_type, partitions, topic, is_field=True)
    if not callable(key):
        raise AppError(f"group_by({key!r}): give a field of the record (Order.account_id) or a function of the value.")
    label = name or str(getattr(key, "__name__", ""))
    if not label or label == "<lambda>":
        raise AppError("group_by(<lambda>): a lambda has no name, and the repartition topic needs one: add name='...'.")
    return GroupBy(label, key, None, partitions, topic)


async def _iterate_local(iterable: Any, operators: tuple[Operator, ...]) -> AsyncIterator[Any]:
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


async def _values(intake: Intake) -> AsyncIterator[Any]:
    """The hot path: one suspension a run, nothing at all per event. Only where it is not in C."""
    while True:
        if await intake.next_run() is not None:
            for value in intake.cursor.iterator:
                yield value


async def _items(intake: Intake) -> AsyncIterator[tuple[Any, Any]]:
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        decode, iterator = run.decode_key, intake.cursor.iterator
        for data, value in zip(run.records().keys, iterator, strict=False):
            yield None if data is None else decode(data), value


async def _through(intake: Intake, operators: tuple[Operator, ...]) -> AsyncIterator[tuple[Run, int, Any]]:
    """(run, index, value behind the operators) of every event that is not dropped."""
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        for index, value in enumerate(intake.cursor.iterator):
            try:
                changed = await apply(operators, value, (run, index)) if operators else value
            except Skip:
                continue
            yield run, index, changed


async def _numbered(values: AsyncIterator[Any], start: int) -> AsyncIterator[tuple[int, Any]]:
    number = start
    async for value in values:
        yield number, value
        number += 1


async def _values_through(intake: Intake, operators: tuple[Operator, ...]) -> AsyncIterator[Any]:
    async for _, _, value in _through(intake, operators):
        yield value


async def _items_through(intake: Intake, operators: tuple[Operator, ...]) -> AsyncIterator[tuple[Any, Any]]:
    async for run, index, value in _through(intake, operators):
        yield run.key(index), value


async def _events(intake: Intake, operators: tuple[Operator, ...]) -> AsyncIterator[Event]:
    async for run, index, value in _through(intake, operators):
        yield Event(run, index, value)


async def _take(
    stream: Stream[Any], max_: int, within: Seconds | None, pick: Callable[[Event], Any]
) -> AsyncIterator[list[Any]]:
    if max_ < 1:
        raise AppError(f"take({max_}): at least 1.")
    intake, operators = stream._bound()
    seconds = within.total_seconds() if isinstance(within, timedelta) else within
    batch: list[Any] = []
    echoed: list[Echoed] = []  # Sent with the batch that the events are committed with.
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - intake.now())
        run = await intake.next_run(timeout)
        if run is not None:
            for index, value in enumerate(intake.cursor.iterator):
                try:
                    if operators:
                        value = await apply(operators, value, (run, index), echoed)
                except Skip:
                    if not batch:
                        _send_echoed(echoed)
                    continue
                if not batch and seconds is not None:
                    deadline = intake.now() + seconds
                intake.kept.add(run, index)
                batch.append(pick(Event(run, index, value)))
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


def _send_echoed(echoed: list[Echoed]) -> None:
    for topic, record in echoed:
        current_outbox().append(topic.name, record)
    echoed.clear()
