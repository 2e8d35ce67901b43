"""Units: what a worker runs, as values. A unit is one coroutine per task, and its kind says what its body does.

`declare.py` makes them of an app; the engine has a body for each kind. Rows of a table that come due by event time are
an input too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..agents import Agent
from ..app import TaskFunction
from ..operators import GroupBy, Operator
from ..policies import ErrorPolicy
from ..roads import Road
from ..streams import Stream
from ..tables import Table
from ..times import EXPIRES
from ..topics import Topic


@dataclass(frozen=True, slots=True)
class Due:
    """Rows of a table that come due: when the time of its operator has passed their places in one of its indexes.

    A place is 8 bytes (`times.place_of`). A row is due when place <= T - delay_ms; not is_inclusive: when it is less.
    """

    table: Table[Any, Any]
    index: str
    delay_ms: int = 0
    is_inclusive: bool = True
    # Of several with the same index: what they are for.
    purpose: str = ""
    # Nobody needs what the rows hold: each comes with its key in the place of that.
    is_by_keys: bool = False
    # Rows that are due are written by nobody any more, so that what the store has is what they hold.
    is_final: bool = False
    # Rows are events that wait in a join (stream_joins/joining.py), and these the topics that they came from, by roads.
    origins: tuple[Topic, ...] = ()
    # So much older than T may be what is given out of a row that has just come due.
    age_ms: int = 0
    # Each writes rows that come due so much later, so they come in steps of that; None: none does.
    step_ms: int | None = None
    # The label of those that these rows are written for. They come when they are committed, or else one that fails
    # could not be tried alone; and until the others are done with, more may come.
    after: str = ""
    # So much older than their places may the events be that its unit is at: the time of what that writes is held back
    # as far. None: it is not held.
    hold_ms: int | None = None

    @property
    def label(self) -> str:
        """The topic that due rows seem to come from, in positions and dead letters."""
        return f"{self.table.name}@{self.purpose or self.index}"


@dataclass(frozen=True, slots=True)
class Stage:
    """What keeps rows and does not end at a loop: what comes of it is sent to a topic (stages.py).

    roads: what is on them. sends_time: its time may go there too. hold_ms: how far behind that what it sends may be.
    gives_rows: rows that come due may be sent, so its time is no further than these.
    """

    roads: tuple[Road, ...]
    destination: Topic
    sends_time: bool
    hold_ms: int = 0
    gives_rows: bool = False


@dataclass(frozen=True, slots=True)
class AgentUnit:
    """An agent's body, one coroutine per task times `concurrency`.

    inputs: what it reads, one or more. tables: what it keeps that nobody has named: they are declared with it.
    roads: what each of the streams begins with that its own is combined with, and that itself (roads.py). timed: the
    operators whose time its inputs move. due: what comes to it, beside its inputs, by event time. step_ms: its inputs
    are taken in steps of time so long (engine/event_time/ordering.py). follows: tables of topics that it reads, so that
    it goes by time with their records (engine/event_time/following.py). versions: topics of tables of which its join
    keeps the versions: it reads them from their beginnings. stage: it is no agent of the user's, but what stands before
    a topic of another loop. is_plain: see `Source`. travels: see `ForwardUnit`.
    """

    name: str
    inputs: tuple[Topic, ...]
    policy: ErrorPolicy
    agent: Agent
    concurrency: int = 1
    tables: tuple[Table[Any, Any], ...] = ()
    roads: tuple[Topic, ...] = ()
    timed: tuple[str, ...] = ()
    due: Due | None = None
    step_ms: int = 1
    follows: tuple[Table[Any, Any], ...] = ()
    versions: tuple[Topic, ...] = ()
    stage: Stage | None = None
    is_plain: bool = False
    travels: str = ""


@dataclass(frozen=True, slots=True)
class ForwardUnit:
    """The sending half of a group_by or through: the operators up to it, and where it sends.

    timed: its own operator, when its time travels with what it sends (`timed.with_travelling_time`).
    """

    name: str
    inputs: tuple[Topic, ...]
    policy: ErrorPolicy
    operators: tuple[Operator, ...]
    group_by: GroupBy
    destination: Topic
    timed: tuple[str, ...] = ()
    concurrency: ClassVar[int] = 1
    tables: ClassVar[tuple[Table[Any, Any], ...]] = ()
    due: ClassVar[Due | None] = None
    step_ms: ClassVar[int] = 1

    @property
    def travels(self) -> str:
        """The operator whose time goes with what it sends; none: nobody asks."""
        return self.timed[0] if self.timed else ""


@dataclass(frozen=True, slots=True)
class CloseUnit:
    """What is done with rows of a table that come due: `handler(key, value)`, and then they are deleted.

    handler: sync or async, may send and write tables; None: they are only deleted. timed: as of an agent, for the
    tables that the handler writes. skipped: called with the key of a row that the handler has failed at for good.
    of_window: the handler of windows by their parts, where it takes them: `of_window(key, window, value)`. is_harmless:
    the handler is ours and calls no user code.
    """

    name: str
    due: Due
    policy: ErrorPolicy
    handler: Callable[[Any, Any], Any] | None = None
    deletes: bool = True
    timed: tuple[str, ...] = ()
    skipped: Callable[[Any], None] | None = None
    of_window: Callable[[Any, Any, Any], Any] | None = None
    is_harmless: bool = False
    inputs: ClassVar[tuple[Topic, ...]] = ()
    concurrency: ClassVar[int] = 1
    tables: ClassVar[tuple[Table[Any, Any], ...]] = ()
    step_ms: ClassVar[int] = 1

    def only_deletes(self, label: str) -> bool:
        """Rows under this label are deleted, and nothing else: nobody asks, or they were given out (see `left`)."""
        return self.handler is None or label != self.due.label

    @property
    def left(self) -> Due | None:
        """What may be left of an app in which another unit deleted, later, what this one had handled; None: nothing."""
        return replace(self.due, purpose=EXPIRES, is_by_keys=True) if self.deletes and not self.due.purpose else None


Unit = AgentUnit | ForwardUnit | CloseUnit


@dataclass(frozen=True, slots=True)
class SharedStream:
    """A stream declared with app.stream and read in an @app.task: one per worker, over all of its tasks.

    roads: what each of the streams begins with that are combined there.
    """

    name: str
    stream: Stream[Any]
    roads: tuple[Topic, ...]
    policy: ErrorPolicy

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What it reads."""
        return tuple(dict.fromkeys(self.roads))

    def reads(self, name: str) -> Topic | None:
        """As what it reads the topic of this name; None: it does not."""
        return next((topic for topic in self.roads if is_named(topic, name)), None)

    def describe(self) -> str:
        """For messages: its topics."""
        return ", ".join(topic.describe() for topic in self.topics)


@dataclass(frozen=True, slots=True)
class WrittenTopic:
    """A topic that units write. after: topics that these read. age_ms: so old its records come, beside others."""

    name: str
    after: tuple[str, ...]
    age_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs. tables: the app's, and those of the units. written: topics that units write."""

    units: tuple[Unit, ...]
    shared: tuple[SharedStream, ...]
    functions: tuple[TaskFunction, ...]
    tables: tuple[Table[Any, Any], ...]
    written: tuple[WrittenTopic, ...] = ()

    def topics(self) -> list[Topic]:
        """Every topic that is read, or written by a unit; some more than once."""
        return [*self.sources(), *self.destinations()]

    def destinations(self) -> list[Topic]:
        """Every topic that a unit brings events to."""
        return [topic for unit in self.units if (topic := destination_of(unit)) is not None]

    def timed(self) -> list[str]:
        """The operators that go by event time."""
        return sorted({name for unit in self.units for name in unit.timed})

    def sources(self) -> list[Topic]:
        """Every topic that is read; some more than once."""
        own = [topic for unit in self.units for topic in unit.inputs]
        return [*own, *(topic for shared in self.shared for topic in shared.topics)]


def destination_of(unit: Unit) -> Topic | None:
    """The topic that it brings all that it reads to."""
    if isinstance(unit, ForwardUnit):
        return unit.destination
    return unit.stage.destination if isinstance(unit, AgentUnit) and unit.stage is not None else None


def is_named(topic: Topic, name: str) -> bool:
    """Whether a topic declaration covers the topic of this name."""
    return topic.covers(name)


def input_named(unit: Unit, name: str) -> Topic | None:
    """As what the unit reads the topic of this name; None: it does not."""
    return next((topic for topic in unit.inputs if is_named(topic, name)), None)
