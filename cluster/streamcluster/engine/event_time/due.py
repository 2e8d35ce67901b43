"""DueSource: rows of a table that come due, as a partition to read: closing is a source that lives in the store.

    index by time --- place <= T - delay ---> batch (offsets: how many were ever due) ---> SourcePartition ---> intake

So all that events have is there for them: retries, trials, dead letters, bounded work per commit, exactly once. Its
position is committed with the operator's time, and it goes on from there behind the entry that came last.

What is due goes by the *committed* time: a rollback takes back the events that moved T, and a row that failed must come
again, alone, before they do.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from ...batch import Batch, KafkaRecord
from ...dates import DATE_BYTES, dated, dates_of
from ...errors import UndecodableRow
from ...ids import TP
from ...indexes import Passed
from ...stores import StoreFailed
from ...stream_joins.joining import event_of_row
from ...times import FOREVER, NO_TIME, PLACE_BYTES, place_of, time_of
from ...topology.units import Due
from .. import row_dates
from ..partition import SourcePartition
from ..shards import CachedShard
from ..values import Committed
from .due_room import PAGE_ROWS, DueRoom
from .expected import Expected
from .operator_time import InputState, OperatorTime
from .watermarks import Mark

# The bytes of a page.
PAGE_BYTES = 1024 * 1024
# Values are read for so many of them: one may be as large as a record.
VALUES_ROWS = 100


class DueSource:
    """Of one `Due` in one task. partition: set when it is made."""

    __slots__ = (
        "_behind",
        "_committed",
        "_cut_to",
        "_entries",
        "_expected",
        "_held_at",
        "_shard",
        "_until",
        "after",
        "due",
        "operator",
        "partition",
        "told_by",
        "tp",
    )
    partition: SourcePartition

    def __init__(
        self,
        due: Due,
        tp: TP,
        shard: CachedShard,
        operator: OperatorTime,
        behind: bytes | None,
        until: bytes | None = None,
    ) -> None:
        """behind: the last entry of the index before the committed position. until: the last of all; None: no end."""
        self.tp = tp
        self.operator = operator
        self.due = due
        self._shard = shard
        self._committed = self._behind = behind
        # The first offset, the entries and the keys of each page that is not committed.
        self._entries: deque[tuple[int, list[bytes], list[bytes]]] = deque()
        self._expected = Expected(operator, is_told=until is None)
        # The first row that is in no cut; None: it is that of the committed position.
        self._cut_to: int | None = None
        self._until = None if until is None else (until[:PLACE_BYTES], until[PLACE_BYTES:])
        # What writes its rows, if a source does.
        self.after: DueSource | None = None
        # Who gives out rows before this one deletes them, and how far that was when some had to wait for it.
        self.told_by: DueSource | None = None
        self._held_at: bytes | None = None

    def _bound(self, time: int) -> int:
        """At this time rows are due before that place."""
        return time - self.due.delay_ms + self.due.is_inclusive

    def _time_of(self, entry: bytes) -> int:
        """What is made of a row is of its place; where that is an end that the row does not reach, of just before."""
        return time_of(entry) - self.due.is_inclusive

    @property
    def uncommitted(self) -> int:
        """How many rows were fed and are not committed."""
        return self.partition.next_offset - self.partition.committed.next_offset

    @property
    def _goes_by_order(self) -> bool:
        """Stores have the rows in the order in which they come due, and what they have then is what the rows hold."""
        order = self._shard.ranges.order
        return order is not None and order.name == self.due.index and self.due.is_final

    @property
    def table(self) -> str:
        """Whose rows they are."""
        return self._shard.name

    def waits(self, time: int, *, uncut: bool = False) -> bool:
        """There may be rows to feed at this time. uncut: of those that were written since the last cut."""
        return (self._expected.told if uncut else self._expected.earliest) < self._bound(time)

    def feed(self, room: DueRoom) -> int:
        """Hand a page of what is due to the unit, unless it has enough, or there is no room. Returns how many rows."""
        partition = self.partition
        if not self.waits(self.operator.committed) or partition.stopped:
            return 0
        if partition.next_offset - _position(partition) >= PAGE_ROWS:
            return 0
        if not room.has_any(self.uncommitted):
            return 0
        batch = Batch.nothing(self.tp)
        # The store has said so itself: its task is opened anew.
        with suppress(StoreFailed):
            while not len(batch) and self.waits(self.operator.committed) and not self._is_held_back():
                batch = self._page(self._bound(self.operator.committed))
        if len(batch):
            partition.feed(batch)
            room.take(len(batch))
        return len(batch)

    def _is_held_back(self) -> bool:
        """The next rows are not to be looked for yet."""
        if self.told_by is not None and self._held_at == _finished(self.told_by):
            return True
        if self.after is not None:
            return self._expected.uncommitted() <= self._expected.earliest
        return self.due.step_ms is not None and _position(self.partition) < self.partition.next_offset

    def _page(self, bound: int) -> Batch:
        """What is due of the next rows. Empty: all of them were deleted, or none is due."""
        uncommitted = self._expected.uncommitted()
        if self.after is not None:
            bound = min(bound, uncommitted)
        is_store_enough = uncommitted >= bound
        start = None if self._behind is None else self._behind + b"\0"
        if is_store_enough and self._goes_by_order and self._until is None:
            return self._stored_page(bound, start, uncommitted)
        # One more says when the next is due.
        rows, are_stored = self._shard.ranges.first_entries(
            self.due.index, start, PAGE_ROWS + 1, is_store_enough=is_store_enough
        )
        if rows and self.due.step_ms is not None:
            bound = min(bound, time_of(rows[0][0]) + self.due.step_ms)
        count = bisect_left(rows, (place_of(bound),), hi=min(len(rows), PAGE_ROWS))
        if (until := self._until) is not None:
            del rows[bisect_right(rows, until) :]
            count = min(count, len(rows))
        if self.told_by is not None:
            # A handler may be long at one, and a commit come in between.
            finished = _finished(self.told_by)
            told = bisect_right(rows, (finished[:PLACE_BYTES], finished[PLACE_BYTES:]), hi=count)
            self._held_at = finished if told < count else None
            count = told
        due, values, done = self._values(rows[:count], are_stored=are_stored)
        if done:
            self._behind = b"".join(rows[done - 1])
        next_place = time_of(rows[done][0]) if done < len(rows) else FOREVER
        self._expected.looked(min(uncommitted, next_place) if is_store_enough else next_place)
        entries, keys = [place + key for place, key in due], [key for _, key in due]
        return self._batch(entries, keys, values)

    def _stored_page(self, bound: int, start: bytes | None, uncommitted: int) -> Batch:
        """As `_page`, of rows that lie in this order: they are read with what they hold, and there is nothing else."""
        shard = self._shard
        rows = shard.read_store(shard.store.scan_order, start, None, rows_max=PAGE_ROWS + 1, bytes_max=PAGE_BYTES)
        count = bisect_left(rows, (place_of(bound),), hi=min(len(rows), PAGE_ROWS))
        if count:
            self._behind = rows[count - 1][0]
        if count < len(rows):
            next_place = time_of(rows[count][0])
        else:
            is_all = sum(map(len, chain.from_iterable(rows))) < PAGE_BYTES
            next_place = FOREVER if is_all else time_of(rows[-1][0])
        self._expected.looked(min(uncommitted, next_place))
        del rows[count:]
        entries = [entry for entry, _ in rows]
        keys = [entry[PLACE_BYTES:] for entry in entries]
        values = keys if self.due.is_by_keys else [value for _, value in rows]
        return self._batch(entries, keys, values)

    def _batch(self, entries: list[bytes], keys: list[bytes], values: list[bytes]) -> Batch:
        """What is due, as records; the entries are in their order."""
        first, count = self.partition.next_offset, len(entries)
        if count:
            self._entries.append((first, entries, keys))
        times = marks = _times_of(entries, self._time_of)
        if self.due.hold_ms is not None:
            marks = [mark - self.due.hold_ms for mark in marks]
        if self._shard.dated and not self.due.is_by_keys:
            # What is made of a row is of its date; the row itself is none before its place.
            times, values = dates_of(values), [row[DATE_BYTES:] for row in values]
        batch = Batch(self.tp, range(first, first + count), times, keys, values)
        batch.watermarks = marks
        return batch

    def _values(
        self, rows: list[tuple[bytes, bytes]], *, are_stored: bool
    ) -> tuple[list[tuple[bytes, bytes]], list[bytes], int]:
        """Those of these rows that there are, with what they hold, and how many were looked at until it was much."""
        if self.due.is_by_keys:
            return rows, [key for _, key in rows], len(rows)
        due: list[tuple[bytes, bytes]] = []
        values: list[bytes] = []
        shard, size, done = self._shard, 0, 0
        while done < len(rows) and size < PAGE_BYTES:
            some = rows[done : done + VALUES_ROWS]
            done += len(some)
            keys = [key for _, key in some]
            if are_stored and self.due.is_final:
                found = shard.read_store(shard.store.multi_get, keys)
            else:
                found = encoded_rows(shard, keys)
            if None in found:
                # They were deleted meanwhile.
                some = [row for row, value in zip(some, found, strict=True) if value is not None]
                found = [value for value in found if value is not None]
            due += some
            values += found
            size += sum(map(len, found)) + sum(map(len, keys))
        return due, values, done

    def assert_told(self) -> None:
        """Nobody has written a row and not said so with `expect`: it would be found only when another is looked for.

        It reads the index: for the test driver.
        """
        if self._until is not None:
            return
        start = None if self._behind is None else self._behind + b"\0"
        for place, _ in self._shard.read_store(self._shard.store.scan_index, self.due.index, start, rows_max=1):
            earliest = self._expected.earliest
            text = f"{self.tp.topic}: a row of {time_of(place)} was written without expect(); {earliest} is next"
            assert time_of(place) >= earliest, text

    def open_rows(self, rows_max: int) -> int:
        """How many committed rows are not closed, counted as far as that."""
        shard, start = self._shard, None if self._committed is None else self._committed + b"\0"
        # The store has said so itself: its task is opened anew.
        with suppress(StoreFailed):
            return len(shard.read_store(shard.store.scan_index, self.due.index, start, rows_max=rows_max))
        return 0

    # Positions

    def entry_before(self, offset: int) -> bytes | None:
        """The entry of the row before this offset."""
        for first, entries, _ in reversed(self._entries):
            if first < offset:
                return entries[offset - first - 1]
        return self._committed

    def state(self) -> InputState:
        """As an input of another operator, whose tables its handler writes."""
        position = _position(self.partition)
        if position < self.partition.next_offset or self.waits(self.operator.committed):
            entry = self.entry_before(position)
            own = InputState(Mark(NO_TIME if entry is None else self._time_of(entry)))
        else:
            own = InputState(Mark(self._bound(self.operator.committed) - 1), self.operator.idle_since)
        return own if self.after is None else min(self.after.state(), own, key=lambda state: state.mark.watermark)

    def held(self) -> InputState:
        """As an input of tables for which what comes due is older: an agent's behind its join, those of other windows.

        It is never idle, and holds T where it is ahead of it: any event may have to wait, and comes then.
        """
        time = self.operator.finished
        is_behind = _position(self.partition) < self.partition.next_offset or self.waits(time)
        # Of rows that others are still to write only these know.
        is_known = self.after is None and not is_behind
        watermark = self._bound(time) - 1 if is_known else self.state().mark.watermark
        hold = self.due.hold_ms or 0
        return InputState(Mark(max(NO_TIME, watermark - hold)), is_read_again=True, age=max(0, hold))

    def sent(self, *, is_committed: bool) -> InputState:
        """As an input of the time that travels with what is sent of these rows: it does not overtake them.

        is_committed: so are all events that may have written rows. Where rows may lapse, they are told of no sooner
        than at a cut, and one that waits may be the next to come: while there are any this is not idle.
        """
        operator, may_lapse = self.operator, self.due.table.lapsed is not None
        is_known = is_committed or not may_lapse
        if is_known and self._expected.earliest >= (FOREVER if may_lapse else self._bound(operator.finished)):
            return InputState(Mark(self._bound(operator.finished) - 1), operator.idle_since)
        # After a restart it may be behind T until its rows have been looked for: it holds T then, and is not left out.
        return InputState(self.state().mark, is_read_again=True)

    @property
    def is_close(self) -> bool:
        """What comes due is given out, and is not what was given out before."""
        return not self.due.purpose

    @property
    def is_over(self) -> bool:
        """All up to its end are done, and that is committed."""
        return self._until is not None and self._expected.earliest == FOREVER and not self._entries

    def cut(self, number: int) -> None:
        """The cut of this number has what was told of, unless an event may still change what it was handed."""
        if not any(view.dirty or view.touched for view in self._shard.views):
            self._expected.cut(number)

    def passed(self, position: Committed) -> Passed | None:
        """What was finished from the last cut to this position: it may go by the range, if rows lie in that order."""
        begin = self.partition.committed.next_offset if self._cut_to is None else self._cut_to
        end = self._cut_to = position.next_offset
        last = self.entry_before(end)
        if not self._goes_by_order or end <= begin or last is None:
            return None
        passed: list[bytes] = []
        for first, _, keys in self._entries:
            # The very objects that their deletions have as keys: their hashes are known.
            passed += keys[max(0, begin - first) : max(0, end - first)]
        return Passed(self.entry_before(begin), last, passed)

    def committed(self, position: Committed, entry: bytes | None, number: int) -> None:
        """The cuts up to this number are committed, with the position, and the entry before it."""
        self._committed = entry
        self._expected.committed(number)
        while self._entries and self._entries[0][0] + len(self._entries[0][1]) <= position.next_offset:
            self._entries.popleft()

    def rewind(self) -> None:
        """Go on from the committed position."""
        self._behind = self._committed
        self._cut_to = self._held_at = None
        self._entries.clear()
        self._expected.rewind()


def _finished(source: DueSource) -> bytes:
    """The entry of the last row that its unit is done with, perhaps not committed; empty: of none."""
    return source.entry_before(_position(source.partition)) or b""


def _times_of(entries: list[bytes], time_of_entry: Callable[[bytes], int]) -> list[int]:
    """The time of each; they are in their order."""
    if entries and entries[0][:PLACE_BYTES] == entries[-1][:PLACE_BYTES]:
        return [time_of_entry(entries[0])] * len(entries)
    # Most are of a few places.
    places = [entry[:PLACE_BYTES] for entry in entries]
    time_at = {place: time_of_entry(place) for place in {*places}}
    return [time_at[place] for place in places]


def as_came(due: Due, tp: TP, record: KafkaRecord) -> tuple[TP, KafkaRecord]:
    """A row as users know it: if it is an event that they have sent, where that is, and what is left of it."""
    if not due.origins or record.key is None or record.value is None:
        return tp, record
    event = event_of_row(record.key, record.value)
    topic = due.origins[event.road] if event.road < len(due.origins) else None
    if topic is None:
        # It came to the join as that was before.
        return tp, record
    came = KafkaRecord(event.offset, event.time, event.key, event.value, None)
    return TP(topic.describe(), tp.partition), came


def encoded_rows(shard: CachedShard, rows: Sequence[bytes]) -> list[bytes | None]:
    """These rows, as the store would have them; None: there is none. Brings nothing into the cache."""
    coder, values = shard.coder, shard.values
    found: list[bytes | None] = []
    unknown: list[int] = []
    for data in rows:
        encoded = None
        try:
            key = coder.identity_of_row(data)
            if key in values:
                encoded = _row_of(shard, key, values[key])
            elif shard.is_known(key, data):
                encoded = _row_of(shard, key, shard.stored(key))
            else:
                unknown.append(len(found))
        except UndecodableRow:
            unknown.append(len(found))
        except KeyError:
            encoded = None
        found.append(encoded)
    if unknown:
        stored = shard.read_store(shard.store.multi_get, [rows[at] for at in unknown])
        for at, encoded in zip(unknown, stored, strict=True):
            found[at] = encoded
    return found


def _row_of(shard: CachedShard, key: Any, value: Any) -> bytes:
    encoded = shard.coder.encode_of(key, value)
    return dated(encoded, row_dates.of(shard, key)) if shard.dated else encoded


def finished_rows(source: DueSource) -> int:
    """How many of its rows are finished and not committed."""
    return max(0, _position(source.partition) - source.partition.committed.next_offset)


def _position(partition: SourcePartition) -> int:
    """What is before it is finished."""
    return min([reader.position(partition.tp) for reader in partition.readers])
