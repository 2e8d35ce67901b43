"""Sources: what streams read, before an app is started and once it runs."""

from __future__ import annotations

from typing import Any, Protocol

from .deduplication import Deduplicate
from .errors import AppError
from .iteration import Intake, Ways
from .operators import Chain, GroupBy, Merge, Operator, StreamJoin
from .roads import Road, deduplicating, is_join, keeps_state, roads_to_loop, ways_of, with_rows
from .stream_joins.loops import LiveJoin
from .tables import Table
from .topics import Topic


class Probed(BaseException):
    """Ends a probe at the moment that an agent asks for its first event (see declare.py)."""

    def __init__(self, stream: Any, *, takes: bool) -> None:
        super().__init__()
        self.stream = stream
        self.takes = takes


class Source:
    """What a chain of operators reads: Kafka topics or a local iterable; `intake` is there once it runs.

    roads: once it runs, what each of the merged streams reads, in their order. tables: what joins keep their rows in.
    is_plain: what keeps rows is before a topic, and what comes here is of that: for take(), and an @app.task. given:
    the roads themselves, of what is no loop of the user's. declared: the operators of an @app.task's stream that need
    something to be there before the start.
    """

    __slots__ = (
        "declared",
        "given",
        "intake",
        "is_plain",
        "is_probe",
        "iterable",
        "label",
        "roads",
        "tables",
        "topics",
    )

    def __init__(
        self, label: str, topics: tuple[Topic, ...] = (), iterable: Any = None, *, is_probe: bool = False
    ) -> None:
        self.label = label
        self.topics = topics
        self.iterable = iterable
        self.intake: Intake | None = None
        self.is_probe = is_probe
        self.roads: tuple[Topic, ...] = ()
        self.tables: tuple[Table[Any, Any], ...] = ()
        self.is_plain = False
        self.given: tuple[Road, ...] | None = None
        self.declared: tuple[Operator, ...] | None = None

    def bind(
        self,
        intake: Intake,
        roads: tuple[Topic, ...],
        tables: tuple[Table[Any, Any], ...],
        *,
        is_plain: bool = False,
        given: tuple[Road, ...] | None = None,
        declared: tuple[Operator, ...] | None = None,
    ) -> None:
        """It runs from now on."""
        self.intake, self.roads, self.tables = intake, roads, tables
        self.is_plain, self.given, self.declared = is_plain, given, declared


class Reading(Protocol):
    """A stream that is iterated: a `Chain` that knows its source."""

    source: Source
    operators: tuple[Operator, ...]

    @property
    def topic(self) -> Topic: ...


def bound(stream: Reading, *, takes: bool = False) -> tuple[Intake, Ways]:
    """The intake to read, and the operators behind the last repartition: those of all events, or by topic."""
    source = stream.source
    if source.is_probe:
        raise Probed(stream, takes=takes)
    if source.intake is None:
        text = (
            "it can be read in an @app.task, if it was declared before the start, or given to an agent. One that "
            "another stream is joined or combined with is read there: declare a second app.stream(...) beside that."
        )
        raise AppError(f"stream over {source.label}: {text}")
    if source.declared is not None and source.declared != declared_of(stream):
        raise AppError(
            f"stream over {source.label}: what joins, combines, deduplicates or repartitions is declared before the "
            "start: write it beside the app, `joined = app.stream(orders).join(...)`, and read that in the @app.task."
        )
    source.intake.begin()
    roads = [*source.given] if source.given is not None else roads_to_loop(stream, source.roads, plain=source.is_plain)
    if takes and keeps_state(roads):
        raise AppError(
            f"stream over {source.label}: it is read by take() and otherwise: one of them must be an agent of its own."
        )
    if deduplicating(roads):
        roads = with_rows(roads, source.tables[is_join(roads) :])
    if is_join(roads):
        return source.intake, LiveJoin(roads, source.tables[0])
    return source.intake, ways_of(roads)


def declared_of(stream: Chain) -> tuple[Operator, ...]:
    """Its operators that need topics or tables of their own."""
    return tuple([one for one in stream.operators if isinstance(one, (GroupBy, Merge, StreamJoin, Deduplicate))])
