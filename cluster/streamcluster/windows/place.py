"""LastPlace: the window of the event before, and who handles the events that are in it, too: C where it was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import loops
from ..current import Cursor, Run, cursor_var
from .keys import HEAD, tail_of
from .kinds import Span
from .panes import NOTHING
from .ports import PLAIN, Shard, Time

_in_c = True
try:
    from .._place import Place, attach
except ImportError:
    _in_c = False

# So many keys of rows are remembered, of the window in hand: what they take is in no budget.
KNOWN_MAX = 10_000


def is_in_c() -> bool:
    """Whether it was built: the setting native counts beside this."""
    return _in_c


def do_in_c(table: type, windows: type) -> None:
    """Have what is usual of these two classes done in C, and the rest as before."""
    if _in_c:
        attach(table, windows, cursor_var.get)


class LastPlace:
    """The window of the event before, for windows of which an event is in one: the next is mostly in that, too.

    run: of that event, with the times and watermarks of its batch; None: nothing of this is known. until: when the
    window is over. shard, time: of the coroutine that has the run. encode, tail: what the keys of its rows are made of;
    known: those that were. nothing: the value of a new window, of tables whose default is plain, else no value.
    in_c: the same for C.
    """

    __slots__ = (
        "encode",
        "end",
        "in_c",
        "known",
        "marks",
        "nothing",
        "run",
        "shard",
        "span",
        "start",
        "tail",
        "time",
        "times",
        "until",
    )
    shard: Shard
    time: Time
    encode: Callable[[Any], bytes]
    tail: bytes

    def __init__(self) -> None:
        self.run: Run | None = None
        self.times: list[int] = []
        self.marks: list[int] = []
        self.span: Span = (0, 0)
        self.known: dict[Any, bytes] = {}
        self.start = self.end = self.until = 0
        self.nothing: Any = NOTHING
        self.in_c = Place() if _in_c else None

    def set(self, cursor: Cursor, shard: Shard, span: Span, until: int, default: Callable[[], Any] | None) -> None:
        """An event of the run in hand was in this window, by the time of its record."""
        run = cursor.run
        self.run = None
        if (
            run is not None
            and run.batch.watermarks is not None
            and not cursor.kept.handed_out
            and shard.time is not None
            and shard.part is not None
        ):
            self.run, self.times, self.marks = run, cursor.timestamps(run.batch), run.batch.watermarks
            self.shard, self.time = shard, shard.time
            if span != self.span:
                self.known = {}
            self.encode, self.tail = shard.part.encode, tail_of(*span)
            self.span, self.until = span, until
            self.start, self.end = span
            self.nothing = default() if isinstance(default, type) and default in PLAIN else NOTHING
            if self.in_c is not None and shard.part.as_json and loops.is_in_c():
                self._set_in_c(self.in_c, cursor, run)

    def _set_in_c(self, place: Place, cursor: Cursor, run: Run) -> None:
        shard = self.shard
        as_json = frozenset[type]() if shard.part is None else shard.part.as_json
        place.set(
            str in as_json,
            int in as_json,
            cursor.iterator,
            run.values,
            run.start,
            cursor.kept,
            self.times,
            self.marks,
            self.time,
            shard,
            shard.values,
            shard.latest,
            shard.deleted,
            self.tail,
            self.span,
            self.until,
            None if self.nothing is NOTHING else self.nothing,
        )

    def identity(self, shard: Shard, key: Any, span: Span) -> Any:
        """That of a window, which for the window of the event before may be known."""
        if span != self.span or type(key) is not str:
            return shard.identity((key, *span))
        found = self.known.get(key)
        if found is None:
            found = self._keep(key, shard.identity((key, *span)))
        return found

    def learn(self, key: Any) -> bytes:
        """That of a window of this place, which is not known."""
        return self._keep(key, HEAD + self.encode(key) + self.tail)

    def _keep(self, key: Any, identity: bytes) -> bytes:
        if len(self.known) >= KNOWN_MAX:
            self.known.clear()
        self.known[key] = identity
        return identity
