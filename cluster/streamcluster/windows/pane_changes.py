"""Changes of hopping windows with merge=: an event writes one pane, and which windows that changes is told here.

    panes' changelog -----+--> an agent, with the panes as it has read them --> NAME-changes, a record for each window
    the table's changelog +

What is over is a row of the table (panes.py): that is passed on as it is, with the deletion behind it. So a window that
is over is told of by nobody else, and no change comes behind its end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate
from operator import gt
from typing import Any

from ..agents import Agent
from ..changelogs import HELD_MAX, ChangelogRead
from ..codecs.table_coding import make_table_coder
from ..events import Event
from ..operators import Merge
from ..output import NOT_AT_COMMIT, OutputRecord
from ..settings import Settings
from ..sources import Source
from ..streams import Stream
from ..table_joins.sides import Kept, Side, time_of
from ..tables import bytes_table
from ..topics import Topic
from .keys import in_windows, prefix_of, row_of, rows_of, span_of
from .kinds import Span
from .panes import NOTHING, Part, latest_in, order_of
from .panes import Merge as MergeParts
from .ports import PLAIN
from .windowed import WindowedTable

_NO_MARK = b""


class PaneChanges:
    """Of one table. told: what comes of it; every: seconds for which changes are held back, if all readers want that.

    conf: the settings, when the app runs.
    """

    __slots__ = ("_conf", "_encode", "_kept", "_of", "_over", "_panes", "_read", "agent", "every", "readers", "told")

    def __init__(self, of: WindowedTable, conf: Callable[[], Settings]) -> None:
        assert of.panes is not None
        table, panes = of.table, of.panes
        self._of = of
        self._panes = panes
        self._conf = conf
        self.every: float | None = None
        self.readers: list[Topic] = []
        self.told = Topic((), key_serializer="raw", value_serializer="raw")
        self._over: Topic = table.changes()
        self._kept = bytes_table(f"{of.name}-changes-panes", help=f"the panes of {of.name}, as its changes have them")
        self._read = Side(panes.rows, panes.rows.changes(), _NO_MARK)
        self._encode: Callable[[Any], bytes] | None = None
        first, second = (Source(topic.describe(), (topic,)) for topic in (self._read.changes, self._over))
        self.agent = Agent(
            f"{of.name}-changes",
            self._body(),
            self._read.changes,
            Stream[Any](first, (Merge((Stream[Any](second),)),)),
            help=f"tells which windows of {of.name} change",
            keeps=(self._kept,),
        )

    def read_by(self, every: float | None) -> Topic:
        """What an agent reads of it, which wants changes held back so long."""
        is_first = not self.readers
        self.every = every if is_first or every is None or self.every is None else min(self.every, every)
        topic = Topic((), changelog=ChangelogRead(self._of.table, every, in_windows))
        self.readers.append(topic)
        return topic

    def _body(self) -> Callable[[Stream[Any]], Awaitable[None]]:
        async def run(stream: Stream[Any]) -> None:
            async for events in stream.take_events(HELD_MAX, self.every or 0):
                for record in self._records(events):
                    await self.told.give(record)

        return run

    def _records(self, events: Iterable[Event]) -> Iterable[OutputRecord]:
        """What is told of these changes."""
        # By what the rows of a key begin with: the windows, by where they begin, and the partition.
        changed: dict[bytes, tuple[set[int], int]] = {}
        over: list[Event] = []
        for event in events:
            message = event.message
            if message.key is None:
                continue
            if message.topic != self._read.changes.name:
                over.append(event)
            elif self._read.put(self._kept, message.key, time_of(message), message.value):
                starts, _ = changed.setdefault(prefix_of(message.key), (set(), message.partition))
                starts.update(self._panes.starts_in(span_of(message.key)))
        for prefix, (starts, partition) in changed.items():
            yield from self._updates(prefix, starts, partition)
        for event in over:
            message = event.message
            yield self._record(message.key, message.value, message.partition, time_of(message))

    def _updates(self, prefix: bytes, starts: Iterable[int], partition: int) -> Iterable[OutputRecord]:
        """What the windows of a key that begin there hold, but for those that are over."""
        shard = self._of.table.shard_var.get()
        size = self._panes.size
        closed = shard.time.committed - self._of.grace - size
        spans = [(start, start + size) for start in sorted(starts) if start > closed]
        if spans:
            parts = self._parts(prefix)
            found = sliding(parts, spans, self._panes.merge)
            for span, held in zip(spans, self._one_by_one(parts, spans) if found is None else found, strict=True):
                if held is not None:
                    value, date = held
                    yield self._record(row_of(prefix, *span), self._encoded(value), partition, date)

    def _one_by_one(self, parts: list[Part], spans: Iterable[Span]) -> Iterable[tuple[Any, int] | None]:
        for start, end in spans:
            value = self._panes.fold(parts, start, end)
            yield None if value is NOTHING else (value, latest_in(parts, start, end))

    def _parts(self, prefix: bytes) -> list[Part]:
        """The panes of a key."""
        rows: Any = self._kept.shard_var.get()
        decode = self._read.changes.coders.decode_value
        found = []
        for key, row in rows.scan(*rows_of(prefix)):
            time, data = Kept.decode(row)
            assert data is not None, "what was deleted is kept for nobody"
            found.append(Part(span_of(key), decode(data), time))
        return sorted(found, key=order_of)

    def _encoded(self, value: Any) -> bytes:
        if self._encode is None:
            table = self._of.table
            self._encode, _ = make_table_coder(table.value_type, table.value_serializer, **self._conf().codec_bounds)
        return self._encode(value)

    def _record(self, key: bytes | None, value: bytes | None, partition: int, time: int) -> OutputRecord:
        return self.told.prepare(key, value, partition=partition, carried=time or NOT_AT_COMMIT)


def sliding(parts: Sequence[Part], spans: Sequence[Span], merge: MergeParts) -> list[tuple[Any, int] | None] | None:
    """What each window holds, and its date: a part is merged twice, however many windows it is in.

    None: not so. Values that can be changed would have to be copied for each merge, and where an event came late for
    some windows, parts do not come and go in one order.
    """
    starts, ends = [part.span[0] for part in parts], [part.span[1] for part in parts]
    if any(type(part.value) not in PLAIN for part in parts) or any(map(gt, starts, starts[1:])):
        return None

    def merged(first: tuple[Any, int], second: tuple[Any, int]) -> tuple[Any, int]:
        return merge(first[0], second[0]), max(first[1], second[1])

    values = [(part.value, part.date) for part in parts]
    found: list[tuple[Any, int] | None] = []
    # before: what parts from `base` on, and so on, up to `pivot` make; ahead: those from there up to `upto`.
    base = pivot = upto = 0
    before: list[tuple[Any, int]] = []
    ahead: tuple[Any, int] | None = None
    for start, end in spans:
        first, last = bisect_left(ends, end), bisect_right(starts, start)
        if first >= last:
            found.append(None)
            continue
        if first >= pivot:
            base, pivot, upto, ahead = first, last, last, None
            before = list(accumulate(reversed(values[first:last]), lambda later, earlier: merged(earlier, later)))
            before.reverse()
        for value in values[upto:last]:
            ahead = value if ahead is None else merged(ahead, value)
        upto = max(upto, last)
        found.append(before[first - base] if ahead is None else merged(before[first - base], ahead))
    return found
