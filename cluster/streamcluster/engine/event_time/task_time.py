"""TaskTime: the event time of one task: of its partitions, its operators, and the rows that come due in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from ...ids import TP
from ...indexes import Passed
from ...operated import Followed
from ...times import NO_TIME
from ...topology.timed import time_table_name
from ...topology.units import Due, Unit
from ..clock import Clock
from ..outbox import Outputs, merge
from ..partition import SourcePartition
from ..rows import Changes
from ..shards import CachedShard
from ..values import Committed, TimeCommit
from .due import DueSource
from .due_room import DueRoom
from .lapsing import Lapsing
from .least import Awaited
from .operator_time import InputState, OperatorTime
from .ordering import Ordering
from .said import said_of
from .sending import Destination, Sending
from .table_time import Log, TableTime
from .time_row import ROW_KEY, TimeRow, encode_row, positions_in, row_of
from .time_rules import TimeRules, partition_time
from .watermarks import Mark, PartitionTime, TimeBounds
from .written import Written

# Rows that are open are counted so often.
COUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TimedCounts:
    """Of one operator in one task, as of the last commit, since its rows began.

    open: rows that have not come due, counted as far as was asked for; closed: that have; late: events that were;
    ahead: records too far in the future to move time, since the task was opened.
    """

    open: int
    closed: int
    late: int
    ahead: int


@dataclass(frozen=True, slots=True)
class OperatorPlan:
    """An operator in one task. inputs: partition -> the units that read it for the operator; row: what is committed.

    definition: of its table; destination: where its time goes to; by_wall: see `OperatorTime`.
    """

    name: str
    inputs: dict[TP, frozenset[str]]
    row: TimeRow | None
    definition: dict[str, int | str]
    destination: Destination | None = None
    by_wall: bool = False


@dataclass(slots=True)
class _Written:
    """What was last written of an operator, for which time a commit was asked for, and what is written each time."""

    row: TimeRow | None = None
    wanted: int = NO_TIME
    definition: dict[str, int | str] = field(default_factory=dict)


class TaskTime:
    """Made before the task's coroutines; `attach` is called with each of its partitions then."""

    __slots__ = (
        "_ages",
        "_attached",
        "_clock",
        "_counted",
        "_cuts",
        "_open",
        "_rows",
        "_sending",
        "_units",
        "_written",
        "expiring",
        "followed",
        "lapsing",
        "left",
        "operators",
        "partitions",
        "positions",
        "sources",
        "stamping",
    )

    def __init__(self, plans: Collection[OperatorPlan], rules: TimeRules, clock: Clock) -> None:
        self._clock = clock
        self._ages = rules.ages
        # How often the task was cut.
        self._cuts = 0
        # Of each operator, as the next cut has it.
        self._rows: dict[str, TimeRow] = {}
        self.partitions: dict[TP, PartitionTime] = {}
        self.operators: dict[str, OperatorTime] = {}
        # Of due rows, and where they begin.
        self.sources: dict[TP, DueSource] = {}
        # Unit -> what is due for it beside its own, of an app that was another one.
        self.left: dict[str, Due] = {}
        self.positions: dict[TP, Committed] = {}
        # Of tables whose entries expire: when they were written.
        self.expiring: list[Written] = []
        # The times of tables, where operators go by these.
        self.followed: list[TableTime] = []
        # Tables whose changes are of the time of events.
        self.stamping: list[tuple[CachedShard, OperatorTime]] = []
        # Tables whose rows are not needed any more at some time.
        self.lapsing: list[Lapsing] = []
        self._attached: dict[TP, SourcePartition] = {}
        self._units = {plan.name: plan.inputs for plan in plans}
        # Operator -> its open rows as of the last count, and when that was.
        self._open: dict[str, int] = {}
        self._counted: dict[str, float] = {}
        self._sending: list[Sending] = []
        self._written = {plan.name: _Written(plan.row, definition=plan.definition) for plan in plans}
        for plan in plans:
            for tp in plan.inputs:
                if tp not in self.partitions:
                    self.partitions[tp] = partition_time(tp.topic, rules, [one.row for one in plans], clock)
            operator = self.operators[plan.name] = OperatorTime(
                plan.name,
                {tp: partial(self._state, tp, units) for tp, units in plan.inputs.items()},
                partial(self._added, rules.bounds),
                # Who reads what is sent sees the clock for himself.
                rules.idle_after if plan.destination is None else None,
                NO_TIME if plan.row is None else plan.row.time,
                0 if plan.row is None else plan.row.late,
                0 if plan.row is None else plan.row.lapsed,
                by_wall=plan.by_wall,
            )
            if plan.destination is not None:
                self._sending.append(Sending(plan.destination, operator, rules.marks_interval))

    def dues(self, unit: Unit) -> list[Due]:
        """What comes to the unit by event time."""
        own = [] if unit.due is None else [unit.due]
        return [*own, self.left[unit.name]] if unit.name in self.left else own

    def attach(self, partition: SourcePartition) -> bool:
        """This is a partition of the task. Returns whether it is of rows that come due."""
        self._attached[partition.tp] = partition
        if (time := self.partitions.get(partition.tp)) is not None:
            partition.time, partition.receive = time, time.fed
        if (source := self.sources.get(partition.tp)) is not None:
            source.partition = partition
        return source is not None

    def order(self, unit: str, step_ms: int) -> Ordering | None:
        """In what order a coroutine of the unit takes its events; None: it has one input. step_ms: see `Ordering`."""
        inputs = {tp for units in self._units.values() for tp, names in units.items() if unit in names}
        return Ordering(inputs, self._may_come, self._move, step_ms) if len(inputs) > 1 else None

    def _may_come(self, tp: TP) -> bool:
        """Nobody knows that the log has no more, and nothing of it is held back."""
        partition = self._attached[tp]
        return partition.gate is None and not partition.is_at_end

    def _state(self, tp: TP, units: frozenset[str]) -> InputState:
        """How an input is now, for these units."""
        partition, time = self._attached[tp], self.partitions[tp]
        position = _position_of(partition, units)
        if position > partition.next_offset:
            return InputState(time.at(position), is_read_again=True)
        idle_since = time.idle_since() if position == partition.next_offset else None
        return InputState(time.at(position), idle_since, age=self._ages.get(tp.topic, 0))

    def _added(self, bounds: Callable[[str], TimeBounds], tp: TP) -> Callable[[], InputState]:
        """An input that nobody has declared: its watermark is known from the next batch on."""
        if tp in self.sources:
            return self.sources[tp].state
        partition = self._attached[tp]
        if partition.time is None:
            time = partition.time = self.partitions[tp] = PartitionTime(bounds(tp.topic), Mark(), self._clock)
            partition.receive = time.fed
        return partial(self._state, tp, frozenset(reader.unit for reader in partition.readers))

    def follow(self, operator: str, followed: Followed, partition: int, table: CachedShard) -> None:
        """Have this input of an operator, the changes of a table, be as far as that table's own time."""
        tp = TP(followed.changes.name, partition)
        inputs, units = self.operators[operator].inputs, self._units[operator][tp]
        of = self.operators[followed.operator]
        log = Log(lambda: self._attached[tp], lambda: _position_of(self._attached[tp], units), inputs[tp])
        age = max([self._ages.get(one.topic, 0) for one in of.inputs], default=0)
        found = TableTime(table, of, log, self._clock, followed.wait_ms, age)
        inputs[tp] = found.state
        self.followed.append(found)

    def hold_back(self, operator: str, tp: TP) -> None:
        """Have the time of an operator, which is sent on, not overtake rows that come due there and are sent then."""
        source, logs = self.sources[tp], [log for log in self.operators[operator].inputs if log != tp]

        def state() -> InputState:
            inputs = [self._attached[log] for log in logs]
            is_committed = all(one.position().next_offset == one.committed.next_offset for one in inputs)
            return source.sent(is_committed=is_committed)

        self.operators[operator].inputs[tp] = state

    # Steps

    def look(self, room: DueRoom) -> bool:
        """Events were finished, records came, time passed or a commit landed: have T move, and feed what is due.

        room: for what is fed.

        Returns:
            Whether a commit may have to carry something that is new.
        """
        self._move()
        moved = False
        for source in self.sources.values():
            if source.feed(room):
                moved = True
            written = self._written[source.operator.name]
            if source.operator.finished > written.wanted and source.waits(source.operator.finished):
                # Rows are due as soon as that is committed.
                written.wanted = source.operator.finished
                moved = True
        now = self._clock.now()
        for sending in self._sending:
            moved = sending.asks(now) or moved
        return moved

    def _move(self) -> None:
        now, wall = self._clock.now(), round(self._clock.wall() * 1000)
        for operator in self.operators.values():
            operator.look(now, wall)

    def said(self) -> tuple[str, ...]:
        """What `status` shows: a line for each operator."""
        return tuple([said_of(operator, partial(_producer, self.partitions)) for operator in self.operators.values()])

    def counts(self, open_max: int) -> dict[str, TimedCounts]:
        """What `status` adds up: of each operator. open_max: so many open rows are counted, and no more."""
        travelling = {sending.operator.name for sending in self._sending}
        return {
            name: self._counts(operator, open_max)
            for name, operator in self.operators.items()
            if name not in travelling
        }

    def _counts(self, operator: OperatorTime, open_max: int) -> TimedCounts:
        own = {tp: source for tp, source in self.sources.items() if source.operator is operator}
        closing = [tp for tp, source in own.items() if source.is_close] or list(own)
        self._count_open(operator, [own[tp] for tp in closing], open_max)
        return TimedCounts(
            open=self._open[operator.name],
            closed=sum([self._attached[tp].committed.next_offset for tp in closing]) + operator.lapsed_committed,
            late=operator.late_committed,
            ahead=sum([self.partitions[tp].ahead_total for tp in operator.inputs if tp in self.partitions]),
        )

    def _count_open(self, operator: OperatorTime, sources: list[DueSource], open_max: int) -> None:
        now = self._clock.now()
        if operator.name not in self._open or now >= self._counted[operator.name] + COUNT_SECONDS:
            self._counted[operator.name] = now
            self._open[operator.name] = sum([source.open_rows(open_max) for source in sources])

    # Commits

    def lapse(self) -> None:
        """Forget rows that nobody needs any more before they are written, by the time that is committed with the rest.

        What was written since the last cut comes due no sooner than that one's time: it was not late then. By now it
        may be due, and wait for that.
        """
        if not self.lapsing:
            return
        self._move()
        for lapsing in self.lapsing:
            if lapsing.shard.dirty:
                written = self._written[lapsing.operator.name]
                written.wanted = max(written.wanted, lapsing.operator.finished)
                lapsing.forget(NO_TIME if written.row is None else written.row.time)

    def changes(self, encoded: Mapping[str, Changes]) -> dict[str, Changes]:
        """The rows of the next cut, for the internal tables: behind what is finished now. encoded: those of others."""
        self._move()
        found: dict[str, Changes] = {}
        for written in self.expiring:
            if changes := encoded.get(written.table):
                found[written.times.name] = written.note(changes, round(self._clock.wall() * 1000))
        for shard, by in self.stamping:
            if shard.name in encoded and (latest := by.latest()) != NO_TIME:
                shard.stamps = dict.fromkeys((*shard.dirty, *shard.touched), latest) | shard.stamps
        for name, operator in self.operators.items():
            row = self._rows[name] = self._row(operator)
            before = self._written[name]
            is_wanted = before.row is None or before.wanted > before.row.time
            if before.row is None or is_wanted or positions_in(row) != positions_in(before.row):
                found[time_table_name(name)] = {ROW_KEY: encode_row(row)}
        return found

    def _row(self, operator: OperatorTime) -> TimeRow:
        marks = {tp: self.partitions[tp].at(self._position(tp)) for tp in operator.inputs if tp in self.partitions}
        own = {
            tp: self._due_position(tp)
            for tp, source in self.sources.items()
            if source.operator is operator and not source.is_over
        }
        said = {
            tp.topic: time.producers.times_at(self._position(tp))
            for tp in marks
            if (time := self.partitions[tp]).producers is not None
        }
        definition = self._written[operator.name].definition
        return row_of(operator.finished, marks, own, definition, operator.late_total, operator.lapsed_total, said)

    def _position(self, tp: TP) -> int:
        return self._attached[tp].position().next_offset

    def _due_position(self, tp: TP) -> tuple[Committed, bytes | None]:
        position = self._attached[tp].position()
        return position, self.sources[tp].entry_before(position.next_offset)

    def cut(self) -> TimeCommit:
        """What `changes` gave is in the open transaction now."""
        times: dict[str, tuple[int, int, int]] = {}
        for name, operator in self.operators.items():
            times[name] = operator.finished, operator.late_total, operator.lapsed_total
            self._written[name].row = self._rows[name]
        self._cuts += 1
        for source in self.sources.values():
            source.cut(self._cuts)
        return TimeCommit(times, {tp: self._due_position(tp) for tp in self.sources}, self._cuts)

    def passed(self) -> dict[str, list[Passed]]:
        """Of tables whose rows lie in the order in which they come due: what of that is finished since the last cut."""
        found: dict[str, list[Passed]] = {}
        for tp, source in self.sources.items():
            if (part := source.passed(self._attached[tp].position())) is not None:
                found.setdefault(source.table, []).append(part)
        return found

    def marks(self) -> Outputs:
        """What goes with the cut into repartition topics, behind all records: how far this task is."""
        now = self._clock.now()
        found: Outputs = {}
        for sending in self._sending:
            if (columns := sending.take(now)) is not None:
                merge(found, {sending.topic: columns})
        return found

    def committed(self, commit: TimeCommit, ends: Mapping[str, int]) -> None:
        """That is committed, and the positions of the task's partitions are up to date. ends: see `TaskCommit`."""
        for name, (time, late, lapsed) in commit.times.items():
            operator = self.operators[name]
            operator.committed = max(time, operator.committed)
            operator.late_committed, operator.lapsed_committed = late, lapsed
        for tp, (position, entry) in commit.due.items():
            self.sources[tp].committed(position, entry, commit.number)
        for tp, known in self.partitions.items():
            known.committed(self._attached[tp].committed.next_offset)
        for one in self.followed:
            one.committed(ends)

    def rewind(self) -> None:
        """Everything that is not committed is done again."""
        for operator in self.operators.values():
            operator.rewind()
        for time in self.partitions.values():
            time.rewind()
        for source in self.sources.values():
            source.rewind()
        for written in self._written.values():
            written.row, written.wanted = None, NO_TIME
        for sending in self._sending:
            sending.rewind()


def _position_of(partition: SourcePartition, units: frozenset[str]) -> int:
    """What is before it is finished, by all of these units."""
    return min([reader.position(partition.tp) for reader in partition.readers if reader.unit in units])


def _producer(partitions: Mapping[TP, PartitionTime], tp: TP, watermark: int) -> Awaited[str] | None:
    """The producing task that a repartition topic waits for, where all that has come of them is finished."""
    time = partitions.get(tp)
    if time is None or time.producers is None or watermark < time.producers.watermark:
        return None
    return time.producers.awaited()
