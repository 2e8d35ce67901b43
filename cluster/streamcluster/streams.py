"""Stream: a chain of operators over a source, and how it is iterated.

Before the start a stream is a description: `declare.py` reads its operators. In a running app it is bound to an intake
(the engine's queue of runs for one coroutine), and iterating it hands out events one by one while the intake's cursor
says which event is current.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from .checks import Seconds, check_callable, seconds_of
from .deduplication import Deduplicate
from .errors import AppError
from .events import Destination, Event, current_event
from .faust_names import STREAM, names_what_is_missing
from .grouping import grouping, grouping_on
from .iteration import (
    Intake,
    events,
    items,
    items_through,
    iterate_local,
    newest,
    numbered,
    take,
    values,
    values_through,
    values_with_table,
)
from .leaving import LoopIterator
from .loops import values_of_runs
from .models import field_getter, field_name
from .operators import Echo, Filter, GroupBy, Merge, Operator, Processor, StreamJoin, TableJoin
from .sources import Source, bound
from .stream_joins.bounds import Bounds, as_of_bounds, span_of
from .stream_joins.loops import LiveJoin
from .tables import Table
from .topics import Topic, topic_of
from .windows.windowed import WindowedTable

T = TypeVar("T")


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
        _refuse_field(self, "group_by", key)
        return self._derive(grouping(key, name, topic, partitions))

    def through(self, channel: Topic | str) -> Stream[T]:
        """Send every event to `channel` under its own key and go on reading from there."""
        topic = topic_of("stream.through", channel)
        return self._derive(GroupBy(label=topic.name, key=None, through=topic))

    def deduplicate(self, *, by: Any = None, within: Seconds) -> Stream[T]:
        """Only the first event of each key and id, and of what comes again those that are further apart in time.

        An event is dropped when one with the same key and id went on whose timestamp is up to `within` seconds earlier
        or later, and event time is no more than that beyond it. Events without a key or an id all go on. What went on
        is kept until then in a table of the agent, which is committed with its events.

        Args:
            by: the id: a field reference (`Order.id`), or a sync or async function of the value; None: the key is.
            within: in seconds.
        """
        _refuse_field(self, "deduplicate: by=", by)
        getter = None if by is None else field_getter(by) or by
        if getter is not None:
            check_callable("stream.deduplicate(): by", getter)
        return self._derive(Deduplicate(getter, round(seconds_of("stream.deduplicate(): within", within) * 1000)))

    # Other streams, and tables

    @property
    def topic(self) -> Topic:
        """What its chain begins with."""
        return self.source.topics[0]

    def combine(self, *others: Topic | Stream[Any]) -> Stream[Any]:
        """The events of all these streams, those of each in their order."""
        return self._derive(Merge(tuple(_chain_of("stream.combine, or &", other) for other in others)))

    __and__ = combine

    def join(
        self,
        other: Table[Any, Any] | Topic | Stream[Any],
        *,
        on: Any = None,
        as_of: bool = False,
        within: Seconds | None = None,
        before: Seconds | None = None,
        after: Seconds | None = None,
        grace: Seconds | None = None,
        late: Topic | None = None,
    ) -> Stream[Any]:
        """Pairs of each event's value and what `other` has for its key.

        With a table: the entry that it has when the event is processed; events without one are dropped. With a stream:
        each event of it with the same key that is from `before` seconds earlier to `after` seconds later by the
        records' timestamps, both included. Events without a value are dropped.

        Args:
            other: a table of the app, written by agents that read topics with as many partitions; or another stream.
            on: the entry's key, as `group_by` takes it, if that is not the event's own: it repartitions.
            as_of: of a table with source= and history=: the entry as it was at the event's time. The event waits until
                all of the table's topic up to then has come.
            within: before and after, both.
            before, after: may be 0, or negative.
            grace: how much later than its time an event of either stream, or of a table's topic with as_of=True, may
                come, in seconds; 0 when left out.
            late: a topic for events that come later than that; they meet partners that are there, and are not kept.

        Raises:
            AppError: the arguments do not go together.
        """
        return self._join("join", other, on, Bounds(within, before, after, grace, late), as_of=as_of)

    inner_join = join

    def left_join(
        self,
        other: Table[Any, Any] | Topic | Stream[Any],
        *,
        on: Any = None,
        as_of: bool = False,
        within: Seconds | None = None,
        before: Seconds | None = None,
        after: Seconds | None = None,
        grace: Seconds | None = None,
        late: Topic | None = None,
    ) -> Stream[Any]:
        """As `join`, also for events that find nothing: with None.

        With a stream that is final: it comes once, when no partner can come any more. So `grace` must be said.
        """
        bounds = Bounds(within, before, after, grace, late)
        return self._join("left_join", other, on, bounds, keeps_left=True, as_of=as_of)

    def right_join(
        self,
        other: Topic | Stream[Any],
        *,
        on: Any = None,
        within: Seconds | None = None,
        before: Seconds | None = None,
        after: Seconds | None = None,
        grace: Seconds | None = None,
        late: Topic | None = None,
    ) -> Stream[Any]:
        """As `join`, also for events of the other stream that find nothing: (None, event), once and final."""
        return self._join("right_join", other, on, Bounds(within, before, after, grace, late), keeps_right=True)

    def outer_join(
        self,
        other: Topic | Stream[Any],
        *,
        on: Any = None,
        within: Seconds | None = None,
        before: Seconds | None = None,
        after: Seconds | None = None,
        grace: Seconds | None = None,
        late: Topic | None = None,
    ) -> Stream[Any]:
        """As `left_join`, also for events of the other stream that find nothing."""
        bounds = Bounds(within, before, after, grace, late)
        return self._join("outer_join", other, on, bounds, keeps_left=True, keeps_right=True)

    def _join(
        self,
        name: str,
        other: Any,
        on: Any,
        bounds: Bounds,
        *,
        keeps_left: bool = False,
        keeps_right: bool = False,
        as_of: bool = False,
    ) -> Stream[Any]:
        _refuse_field(self, f"{name}: on=", on)
        keyed = self if on is None else self._derive(grouping_on(f"stream.{name}", on, _label_of(other)))
        _refuse_windows(f"stream.{name}", other)
        if as_of:
            if not isinstance(other, Table):
                raise AppError(f"stream.{name}({other!r}, as_of=True): that is for tables.")
            topic, versions = as_of_bounds(f"stream.{name}", other, bounds, keeps_left)
            return keyed._derive(StreamJoin(_chain_of(f"stream.{name}", topic), versions))
        if isinstance(other, Table):
            if bounds != Bounds() or keeps_right:
                raise AppError(f"stream.{name}(table): it takes no bounds in time, and a table has no events.")
            return keyed._derive(TableJoin(other, keeps_left))
        partner = _chain_of(f"stream.{name}", other)
        span = span_of(f"stream.{name}", bounds, keeps_left, keeps_right)
        return keyed._derive(StreamJoin(partner, span, bounds.late))

    # Iteration

    def __aiter__(self) -> AsyncIterator[T]:
        return _told(self.source.intake, self._values())

    def _values(self) -> AsyncIterator[Any]:
        if self.source.iterable is not None:
            return iterate_local(self.source.iterable, self.operators)
        every = _every(self)
        intake, operators = bound(self)
        if every is not None:
            return newest(intake, every, lambda event: event.value)
        if not operators:
            return values_of_runs(intake.next_run, intake.cursor) or values(intake)
        if type(operators) is tuple and len(operators) == 1 and isinstance(operators[0], TableJoin):
            return values_with_table(intake, operators[0])
        return values_through(intake, operators)

    def items(self) -> AsyncIterator[tuple[Any, T]]:
        """(key, value) pairs."""
        every = _every(self)
        intake, operators = bound(self)
        if every is not None:
            return _told(self.source.intake, newest(intake, every, lambda event: (event.key, event.value)))
        return _told(self.source.intake, items_through(intake, operators) if operators else items(intake))

    def events(self) -> AsyncIterator[Event]:
        """Event objects: key, value, headers and the message behind them."""
        every = _every(self)
        intake, operators = bound(self)
        if every is not None:
            return _told(self.source.intake, newest(intake, every, lambda event: event))
        return _told(self.source.intake, events(intake, operators))

    def enumerate(self, start: int = 0) -> AsyncIterator[tuple[int, T]]:
        """(number, value) pairs, counted from `start` in this coroutine (so per partition in an agent)."""
        return _told(self.source.intake, numbered(self._values(), start))

    def take(self, max: int, within: Seconds | None = None) -> AsyncIterator[Sequence[T]]:
        """Lists of up to `max` values, or of what came within `within` seconds of the first.

        A batch is finished when the body asks for the next one: tables may be written inside, and a crash before
        that delivers all of it again. Operators before it run when an event is buffered, so processors and filters
        there must not write tables or send: that would be committed before the batch. `echo` may stand there.
        """
        return _told(self.source.intake, self._batches(max, within, lambda event: event.value))

    def take_events(self, max: int, within: Seconds | None = None) -> AsyncIterator[Sequence[Event]]:
        """`take`, with Event objects."""
        return _told(self.source.intake, self._batches(max, within, lambda event: event))

    def _batches(self, max: int, within: Seconds | None, pick: Callable[[Event], Any]) -> AsyncIterator[Sequence[Any]]:
        if max < 1:
            raise AppError(f"take({max}): at least 1.")
        if _every(self) is not None:
            raise AppError("take() of changes that are held back by every=: leave one of the two out.")
        intake, operators = bound(self, takes=True)
        assert not isinstance(operators, LiveJoin)
        return take(intake, operators, max, within, pick)

    async def aclose(self) -> None:
        """For `contextlib.aclosing(stream)`. There is nothing to close: a loop over it is left by leaving it."""

    @property
    def current_event(self) -> Event | None:
        """The event that the running code is at, or None."""
        return current_event()


def _told(intake: Intake | None, found: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Those values, of which the intake is told when their loop is left, if it wants to know."""
    return found if intake is None or intake.leave is None else LoopIterator(found, intake)


def _every(stream: Stream[Any]) -> float | None:
    """For how long changes of a table are held back."""
    changelog = stream.source.topics[0].changelog if stream.source.topics else None
    every = None if changelog is None else changelog.every
    if every is not None and stream.operators:
        raise AppError(f"{stream.source.label} with every=: no operators may follow: write them in the loop.")
    return every


def _refuse_field(stream: Stream[Any], what: str, key: Any) -> None:
    """Of what a join gives: it has no fields."""
    kinds = [type(one) for one in reversed(stream.operators) if isinstance(one, (TableJoin, StreamJoin, Processor))]
    if field_getter(key) is not None and kinds and kinds[0] is not Processor:
        name = field_name(key)
        raise AppError(
            f"stream.{what}: behind a join values are pairs, which have no field {name!r}: give a function of the "
            f"pair: lambda pair: pair[0].{name} (and name= where it is asked for)."
        )


def _label_of(partner: Any) -> str:
    """Of what is joined, as a part of a topic's name."""
    if isinstance(partner, Table):
        return partner.name
    return str(partner.source.label if isinstance(partner, Stream) else getattr(partner, "name", ""))


def _refuse_windows(what: str, other: Any) -> None:
    """Refuse a table with windows, or of joins of such."""
    if isinstance(other, WindowedTable) or (isinstance(other, Table) and other.windows is not None):
        raise AppError(
            f"{what}: table {other.name!r} has windows: read them in the loop (table[key].now(), .windows(...)); or "
            "let an agent of table.changes() write what you need of them to a table without windows, and join that."
        )


def _chain_of(what: str, other: Any) -> Stream[Any]:
    """The stream that another one is combined with."""
    found = Stream[Any](Source(other.describe(), (other,))) if isinstance(other, Topic) else other
    if isinstance(found, Stream) and found.source.topics:
        if _every(found) is not None:
            raise AppError(f"{what}: {found.source.label} with every= are read by an agent of their own.")
        return found
    _refuse_windows(what, other)
    raise AppError(f"{what}: {other!r} is neither a topic nor a stream over one, nor a table.")
