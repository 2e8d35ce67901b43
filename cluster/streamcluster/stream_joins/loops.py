"""The loop over a join of two streams: events of both come, and rows whose deadline has passed; pairs go out."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ..codecs.table_coding import make_table_coder
from ..current import Cursor, Run
from ..errors import AppError, Skip
from ..live_shards import LiveShard, LiveTime
from ..loops import is_in_c, pairs_of_run, values_of_runs
from ..operators import Echo, Filter, Operator, Side, apply
from ..roads import Road
from ..tables import Table
from ..windows.late import LateEvents
from .joining import LEFT, NOBODY, OFFSET_BITS, RIGHT, Arriving, Met, Out, Span, key_of_row

Pair = tuple[Any, Any]
_LATE_TEXT = (
    "to be kept for partners that come later; it meets those that are there. Such events are counted%s. grace= keeps "
    "events for longer"
)


class Brings:
    """What a run in hand brings to a join. found: what is left of it; pairs: what is left of the event in hand.

    A loop that is left by `break` leaves it to the next one: the event has not been handed out to its end.
    """

    __slots__ = ("are_many", "found", "index", "pairs", "run")

    def __init__(self, run: Run, found: Iterator[Any]) -> None:
        self.run = run
        self.found = found
        self.index = 0
        self.pairs: Iterator[tuple[int, Pair]] = iter(())
        self.are_many = False

    def enter(self, index: int, pairs: Sequence[tuple[int, Pair]]) -> None:
        """The event at this index brings these."""
        self.index, self.pairs, self.are_many = index, iter(pairs), len(pairs) > 1


class JoinIntake(Protocol):
    """What the loop takes its runs from. brings: of the run in hand, as long as that is not finished."""

    cursor: Cursor
    brings: Brings | None

    async def next_run(self) -> Run | None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """A road to a join: the operators before it, how values are kept (None: as the record has them), and behind it."""

    before: tuple[Operator, ...]
    side: bytes
    encode: Callable[[Any], bytes] | None
    number: int
    behind: tuple[Operator, ...]


class LiveJoin:
    """A join that runs in one coroutine. table: its rows."""

    def __init__(self, roads: list[Road], table: Table[bytes, bytes]) -> None:
        self.table = table
        self._decode: dict[bytes, Callable[[bytes], Any]] = {}
        self._roads: list[tuple[Road, Way]] = []
        counts = {side: sum(_side_of(road).side == side for road in roads) for side in (LEFT, RIGHT)}
        for number, road in enumerate(roads):
            at = _side_of(road)
            place = road.operators.index(at)
            before, behind = road.operators[:place], road.operators[place + 1 :]
            is_raw = counts[at.side] == 1 and all(isinstance(operator, (Filter, Echo)) for operator in before)
            encode, decode = make_table_coder(None, None, allow_pickle=False)
            self._decode[at.side] = road.topic.coders.decode_value if is_raw else decode
            way = Way(before, at.side, None if is_raw else encode, number << OFFSET_BITS, behind)
            self._roads.append((road, way))
            self.span: Arriving = at.span
            self.decode_key = road.topic.coders.decode_key
        late = next((at.late for road in roads if (at := _side_of(road)).late is not None), None)
        self.late = LateEvents(table.name, late)
        # Of those that lapse the cut tells.
        self.expects = self.span.lapsed is None
        # Nothing before it, and nothing behind it has to be awaited.
        self.is_bare = not any(way.before or way.behind for _, way in self._roads)
        self._ways: dict[str, list[Way]] = {}

    def ways(self, topic: str) -> list[Way]:
        """What events of this topic go through: in a join with itself both sides, the left one first."""
        found = self._ways.get(topic)
        if found is None:
            found = self._ways[topic] = [way for road, way in self._roads if road.topic.covers(topic)]
        return found

    def is_due(self, topic: str) -> bool:
        """These are its own rows, whose deadline has passed."""
        return topic.startswith(self.table.name) and not self.ways(topic)

    def pair(self, side: bytes, value: Any, partner: bytes | None) -> Pair:
        """Left and right; None has come of the other side."""
        met = None if partner is None else self.decode_partner(side)(partner)
        return (value, met) if side == LEFT else (met, value)

    def decode_partner(self, side: bytes) -> Callable[[bytes], Any]:
        """How values of the other side are read."""
        return self._decode[RIGHT if side == LEFT else LEFT]

    def due_pair(self, out: Out) -> Pair:
        """Of a row at its deadline."""
        return self.pair(out.side, self._decode[out.side](out.value), out.partner)

    def behind(self) -> tuple[Operator, ...]:
        """The operators that pairs go through."""
        return self._roads[0][1].behind


# The index of an event in its run, and (time, pair) of what it brings.
Brought = tuple[int, Sequence[tuple[int, Pair]] | None]
# Where events come: the join, its rows, the cursor, and the run in hand.
Place = tuple[LiveJoin, LiveShard, Cursor, Run]


def _side_of(road: Road) -> Side:
    return next(operator for operator in road.operators if isinstance(operator, Side))


def pairs_of(intake: JoinIntake, join: LiveJoin) -> AsyncIterator[Any]:
    """The pairs behind the operators, each at the event that brings it."""
    if join.is_bare:
        runs = BareRuns(intake, join)
        if (in_c := values_of_runs(runs.next_run, runs)) is not None:
            return in_c
    return _pairs_alone(intake, join)


async def _pairs_alone(intake: JoinIntake, join: LiveJoin) -> AsyncIterator[Any]:
    while join.is_bare:
        for pair in (await _next(intake, join)).found:
            yield pair
        intake.brings = None
    async for _, _, pair in pairs_through(intake, join):
        yield pair


class BareRuns:
    """Runs, and over what each brings an iterator, of a join that is bare."""

    def __init__(self, intake: JoinIntake, join: LiveJoin) -> None:
        self._intake = intake
        self._join = join
        self._brings: Brings | None = None
        self.iterator: Iterator[Pair] = iter(())

    async def next_run(self) -> Run | None:
        """The next one; first what is left of one that is in hand."""
        if self._brings is not None and self._brings is self._intake.brings:
            self._intake.brings = None
        brings = self._brings = await _next(self._intake, self._join)
        self.iterator = brings.found
        return brings.run


async def _next(intake: JoinIntake, join: LiveJoin) -> Brings:
    """What is left of the run in hand, or else the next run."""
    while intake.brings is None:
        if (run := await intake.next_run()) is not None:
            place = _place_of(join, intake, run)
            intake.brings = Brings(run, _bare(place) if join.is_bare else _found(place))
    return intake.brings


async def pairs_through(intake: JoinIntake, join: LiveJoin) -> AsyncIterator[tuple[Run, int, Any]]:
    """(run, index, pair behind the operators) for all that an event or a due row brings, at that event."""
    cursor, behind = intake.cursor, join.behind()
    while True:
        brings = await _next(intake, join)
        run = brings.run
        if join.is_bare:
            for pair in brings.found:
                yield run, cursor.consumed_count() - 1, pair
            intake.brings = None
            continue
        place = _place_of(join, intake, run)
        while True:
            for time, pair in brings.pairs:
                index = brings.index
                if time != run.batch.timestamps[run.start + index] or brings.are_many:
                    cursor.carry(time)
                if behind:
                    try:
                        pair = await apply(behind, pair, (run, index))
                    except Skip:
                        continue
                yield run, index, pair
            if (event := next(brings.found, None)) is None:
                break
            index, brought = event
            brings.enter(index, await _of_event(place, index, run.values[index]) if brought is None else brought)
        intake.brings = None


def _place_of(join: LiveJoin, intake: JoinIntake, run: Run) -> Place:
    return join, join.table.shard_var.get(), intake.cursor, run


def _found(place: Place) -> Iterator[Brought]:
    join, _, _, run = place
    return _of_due_run(place) if join.is_due(run.tp.topic) else _of_run(place, join.ways(run.tp.topic))


def _bare(place: Place) -> Iterator[Pair]:
    """The pairs of a run, of a join that is bare."""
    join, _, _, run = place
    ways = join.ways(run.tp.topic)
    usual = len(ways) == 1 and ways[0].encode is None and run.batch.watermarks is not None
    if usual and is_in_c() and type(join.span) is Span:
        return _in_c(place, ways[0], join.span)
    return _in_python(place, ways)


def _in_c(place: Place, way: Way, span: Span) -> Iterator[Pair]:
    join, shard, cursor, run = place
    known, side, records = span.known(shard), way.side, run.records()
    own, others = known.halves[side], known.halves[RIGHT if side == LEFT else LEFT]
    slow = partial(_of_way, place, way)
    return pairs_of_run(
        (cursor.iterator, records.keys, records.timestamps, records.offsets, records.values, records.watermarks),
        (own.fresh, others.fresh, others.old, known.counts),
        (side == LEFT, own.keeps, way.number, known.width, *span.apart(side), own.reach, others.reach),
        (_time_of(join, shard), run.tp, cursor.carry, slow, join.decode_partner(side)),
    )


def _in_python(place: Place, ways: Sequence[Way]) -> Iterator[Pair]:
    _, _, cursor, run = place
    for index, brought in _found(place):
        found = [_of_way(place, way, index, run.values[index]) for way in ways] if brought is None else [brought]
        pairs = found[0] if len(found) == 1 else [pair for pairs in found for pair in pairs]
        for time, pair in pairs:
            if time != run.batch.timestamps[run.start + index] or len(pairs) > 1:
                cursor.carry(time)
            yield pair


def _of_due_run(place: Place) -> Iterator[Brought]:
    """What comes out of rows at their deadlines."""
    join, shard, cursor, run = place
    run.read_keys(lambda data: join.decode_key(key_of_row(data)))
    keys, is_done = run.records().keys, join.span.is_done
    if not run.values and len(run.batch):
        # It was given up: its pair is in the dead letters.
        shard.discard(run.batch.keys[0])
    if not join.span.is_asked():
        deque(cursor.iterator, 0)
        shard.discard_all([*keys])
        return
    done: list[Any] = []
    for index, row in enumerate(cursor.iterator):
        if is_done(row):
            done.append(keys[index])
            continue
        shard.discard_all(done)
        done = []
        yield index, _of_due_row(join, shard, keys[index], row)
    shard.discard_all(done)


def _of_run(place: Place, ways: Sequence[Way]) -> Iterator[Brought]:
    """What its events bring that bring something; None: it has to be awaited."""
    join, shard, cursor, run = place
    if len(ways) != 1 or ways[0].before or run.batch.watermarks is None:
        for index, _ in enumerate(cursor.iterator):
            yield index, None
        return
    # The usual one: nothing before the join has to be awaited.
    way, live, records = ways[0], _time_of(join, shard), run.records()
    arrive, side, number, encode = join.span.arrive, way.side, way.number, way.encode
    finished, floor = live.bounds(run.tp)
    watermarks: Sequence[int] = records.watermarks or ()
    expects, is_left, decode = join.expects, side == LEFT, join.decode_partner(side)
    pairs: Sequence[tuple[int, Pair]]
    # The iterator first: at its end nothing is taken of the others.
    columns = cursor.iterator, records.keys, records.timestamps, records.offsets, records.values, watermarks
    for index, (value, key, time, offset, kept, mark) in enumerate(zip(*columns, strict=False)):
        if value is None or key is None:
            pairs = _of_way(place, way, index, value)
        else:
            now = mark if mark < floor else floor
            if now < finished:
                now = finished
            met = arrive(shard, side, key, time, number | offset, kept if encode is None else encode(value), now)
            if met is NOBODY and not expects:
                continue
            if met.is_late:
                _note_late(place, index, side, now)
            if expects or len(met.partners) != 1:
                pairs = _pairs_of(join, live, side, time, value, met)
            else:
                # The commonest, in place.
                then, partner = met.partners[0]
                pair = (value, decode(partner)) if is_left else (decode(partner), value)
                pairs = [(time if time > then else then, pair)]
        if pairs:
            yield index, pairs
            # It may have awaited.
            finished, floor = live.bounds(run.tp)


def _of_due_row(join: LiveJoin, shard: LiveShard, key: bytes | None, value: bytes) -> list[tuple[int, Pair]]:
    """What comes out of a row at its deadline."""
    assert key is not None
    out = join.span.due(shard, key, value)
    return [] if out is None else [(out.time, join.due_pair(out))]


async def _of_event(place: Place, index: int, value: Any) -> list[tuple[int, Pair]]:
    """(time, pair) of all that an event brings."""
    join, _, _, run = place
    found: list[tuple[int, Pair]] = []
    for way in join.ways(run.tp.topic):
        changed = value
        if way.before:
            try:
                changed = await apply(way.before, value, (place[-1], index))
            except Skip:
                continue
        found += _of_way(place, way, index, changed)
    return found


def _of_way(place: Place, way: Way, index: int, value: Any) -> Sequence[tuple[int, Pair]]:
    """(time, pair) of what an event brings that has come to the join on this way."""
    join, shard, cursor, run = place
    at = run.start + index
    key, time, side = run.batch.keys[at], run.batch.timestamps[at], way.side
    if value is None and not (key is not None and join.span.counts_null(side)):
        return ()
    if key is None:
        return [(time, join.pair(side, value, None))] if join.span.keeps(side) else ()
    data = run.batch.values[at] if way.encode is None or value is None else way.encode(value)
    live = _time_of(join, shard)
    number, now = way.number | run.batch.offsets[at], live.now(cursor)
    met = join.span.arrive(shard, side, key, time, number, data, now)
    if met.is_late:
        _note_late(place, index, side, now)
    return _pairs_of(join, live, side, time, value, met)


def _pairs_of(
    join: LiveJoin, live: LiveTime, side: bytes, time: int, value: Any, met: Met
) -> Sequence[tuple[int, Pair]]:
    """(time, pair) of what an event has met."""
    if join.expects and met.is_kept:
        live.expect(join.span.deadline(side, time))
    if met.alone:
        return [(time, join.pair(side, value, None))]
    return [(time if time > then else then, join.pair(side, value, partner)) for then, partner in met.partners]


def _note_late(place: Place, index: int, side: bytes, now: int) -> None:
    """The event at `index` is late."""
    join, shard, _, run = place
    _time_of(join, shard).count_late()
    if not join.expects:
        time = run.batch.timestamps[run.start + index]
        join.late.came((run, index), _LATE_TEXT, time, join.span.overdue(side, time), now)


def _time_of(join: LiveJoin, shard: LiveShard) -> LiveTime:
    if shard.time is None:
        raise AppError(f"the join {join.table.name!r} has no event time here.")
    return shard.time
