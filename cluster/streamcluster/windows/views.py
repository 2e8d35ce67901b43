"""WindowedView: what `.items()`, `.keys()` and `.values()` of a windowed table are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from ..checks import Seconds
from ..events import Event
from .kinds import Session, Span, Window, window_of
from .panes import Panes, windows_in

T = TypeVar("T")
# A key, its window and its value.
Row = tuple[Any, Window, Any]


class Rows(Protocol):
    """What a view needs of its table."""

    table: Any
    kind: Any
    panes: Panes | None

    def at(self) -> int:
        """The time of the event in hand, in ms."""
        ...

    def wall(self) -> int:
        """The time of day, in ms."""
        ...


class WindowedView(Generic[T]):
    """All windows, or with a method, as in Faust, those of one time. all_of, one_of: what is given of a row."""

    __slots__ = ("_all_of", "_of", "_one_of")

    def __init__(self, of: Rows, all_of: Callable[[Row], T], one_of: Callable[[Row], Any]) -> None:
        self._of = of
        self._all_of = all_of
        self._one_of = one_of

    def __iter__(self) -> Iterator[T]:
        for (key, start, end), value in windows_in(self._of):
            yield self._all_of((key, window_of((start, end)), value))

    def __len__(self) -> int:
        return sum(1 for _ in windows_in(self._of))

    def now(self) -> Iterator[Any]:
        """Of the windows of this moment, by the wall clock: keys without windows."""
        return self._at(self._of.wall())

    def current(self, event: Event | None = None) -> Iterator[Any]:
        """Of the windows of the event in hand, or of another one; of several the newest."""
        return self._at(self._time(event))

    def delta(self, d: Seconds, event: Event | None = None) -> Iterator[Any]:
        """As `current`, of so long before."""
        seconds = d if isinstance(d, (int, float)) else d.total_seconds()
        return self._at(self._time(event) - round(seconds * 1000))

    def _time(self, event: Event | None) -> int:
        return self._of.at() if event is None else round(event.message.timestamp * 1000)

    def _at(self, at: int) -> Iterator[Any]:
        kind = self._of.kind
        wanted: Span | None = None if isinstance(kind, Session) else kind.current(at)
        for (key, start, end), value in windows_in(self._of):
            if (start - kind.gap <= at <= end + kind.gap) if wanted is None else (start, end) == wanted:
                yield self._one_of((key, window_of((start, end)), value))


def items_of(table: Rows) -> WindowedView[tuple[tuple[Any, Window], Any]]:
    """((key, window), value) of each."""
    return WindowedView(table, lambda row: ((row[0], row[1]), row[2]), lambda row: (row[0], row[2]))


def keys_of(table: Rows) -> WindowedView[tuple[Any, Window]]:
    """(key, window) of each."""
    return WindowedView(table, lambda row: (row[0], row[1]), lambda row: row[0])


def values_of(table: Rows) -> WindowedView[Any]:
    """The value of each."""
    return WindowedView(table, lambda row: row[2], lambda row: row[2])
