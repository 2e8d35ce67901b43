"""Opening: the event time of a task that begins, as its last commit has it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from ...errors import StateIncompatible
from ...expiry import times_name
from ...ids import TP, TaskId
from ...settings import Settings
from ...stores import StoreFailed
from ...times import EXPIRES, NO_TIME, place_of
from ...topics import Topic
from ...topology import Topology
from ...topology.timed import time_table_name, travelling
from ...topology.units import AgentUnit, CloseUnit, Due, ForwardUnit, Plan, destination_of, input_named
from ..clock import Clock
from ..definitions import REMEDY, Definition, words_of
from ..shards import CachedShard
from ..values import Committed
from .due import DueSource
from .lapsing import Lapsing
from .sending import Destination
from .task_time import OperatorPlan, TaskTime
from .time_row import ROW_KEY, TimeRow, decode_row
from .time_rules import TimeRules
from .watermarks import TimeBounds
from .written import Written


def open_time(
    plan: Plan,
    topology: Topology,
    settings: Settings,
    task: TaskId,
    shards: Mapping[str, CachedShard],
    clock: Clock,
) -> TaskTime | None:
    """What the task knows of time when it begins over a restored store; None: nothing in it goes by event time.

    Raises:
        StateIncompatible: a table has rows that were judged by another definition of its windows.
    """
    topics = topology.sources(task)
    here = [name for name in plan.timed() if time_table_name(name) in shards]
    if not here:
        return None
    rows = {name: _row(shards[time_table_name(name)]) for name in here}
    definitions = {table.name: table.definition for table in plan.tables}
    for name, row in rows.items():
        _refuse_change(name, {} if row is None else row.definition, definitions.get(name, {}))
    by_wall = {table.name for table in plan.tables if table.wall_clock}
    plans = [
        OperatorPlan(
            name,
            {} if name in by_wall else _inputs(plan, name, topics, task),
            rows[name],
            definitions.get(name, {}),
            _destination(plan, topology, name, task),
            by_wall=name in by_wall,
        )
        for name in here
    ]
    declared = {name: topic for name in topics for unit in plan.units if (topic := input_named(unit, name)) is not None}

    rules = TimeRules(
        bounds=lambda topic: bounds_of(settings, declared.get(topic)),
        producers=partial(_producers, plan, topology),
        ages={topic.name: topic.age_ms for topic in plan.written},
        idle_after=None if settings.close_idle_after is None else _ms(settings.close_idle_after),
        marks_interval=settings.watermark_interval,
    )
    time = TaskTime(plans, rules, clock)
    labels = {unit.due.label for unit in plan.units if unit.due is not None}
    for unit in plan.units:
        if unit.due is not None and unit.due.table.timed in here and unit.due.table.name in shards:
            row = rows[unit.due.table.timed]
            _add_source(time, unit.due, task, shards, row)
            if unit.due.hold_ms is not None:
                tp = TP(unit.due.label, task.partition)
                for name in set(unit.timed).intersection(here) - {unit.due.table.timed}:
                    time.operators[name].inputs[tp] = time.sources[tp].held
            left = unit.left if isinstance(unit, CloseUnit) else None
            if left is not None and row is not None and left.label in row.due.keys() - labels:
                time.left[unit.name] = left
                _add_source(time, left, task, shards, row, until=unit.due)
    for due in [unit.due for unit in plan.units if unit.due is not None]:
        if (source := time.sources.get(_tp(due.label, task))) is None:
            continue
        if due.after:
            source.after = time.sources[_tp(due.after, task)]
        if due.purpose == EXPIRES:
            # `on_close` is done with a window before that is gone.
            source.told_by = time.sources.get(_tp(replace(due, purpose="").label, task))
    _hold_back(time, plan, task)
    _expire_by_closing(time, plan, task)
    for table in plan.tables:
        for one in table.follows if table.timed in here else ():
            if one.operator in here and one.table.name in shards:
                time.follow(table.timed, one, task.partition, shards[one.table.name])
        if table.ttl_ms is not None and table.timed in here:
            time.expiring.append(Written(table.name, shards[times_name(table.name)], time.operators[table.timed]))
        if table.goes_by_events and table.timed in here and table.name in shards:
            time.stamping.append((shards[table.name], time.operators[table.timed]))
        # Who reads the changes is told of all.
        if table.lapsed is not None and not table.changes_read and table.timed in here and table.name in shards:
            sources = [source for source in time.sources.values() if source.table == table.name]
            time.lapsing.append(Lapsing(shards[table.name], table.lapsed, time.operators[table.timed], sources))
    return time


def _row(shard: CachedShard) -> TimeRow | None:
    data = None
    # The store has said so itself: the task is opened anew before anything of it is committed.
    with suppress(StoreFailed):
        data = shard.read_store(shard.store.get, ROW_KEY)
    return decode_row(data)


def _refuse_change(table: str, before: Definition, now: Definition) -> None:
    """What is closed and what is open was decided by `before`: by another one windows would close twice, or never."""
    if before and before != now:
        what, says = "events" if "join" in before else "windows", words_of(now) or "no windows"
        raise StateIncompatible(
            f"table {table!r} has {what} of {words_of(before)}, and now the app says {says}. {REMEDY}"
        )


def _inputs(plan: Plan, operator: str, topics: list[str], task: TaskId) -> dict[TP, frozenset[str]]:
    units = {
        topic: frozenset(unit.name for unit in plan.units if operator in unit.timed and input_named(unit, topic))
        for topic in topics
    }
    return {TP(topic, task.partition): names for topic, names in units.items() if names}


def _destination(plan: Plan, topology: Topology, operator: str, task: TaskId) -> Destination | None:
    """Where the operator's time goes to, if it does."""
    for unit in travelling(plan):
        sent_to = destination_of(unit)
        if unit.travels == operator and sent_to is not None:
            topic = next(topic for topic in topology.topics if topic.name == sent_to.name)
            hold_ms = unit.stage.hold_ms if isinstance(unit, AgentUnit) and unit.stage is not None else 0
            return Destination(topic.name, topic.partitions, _producer(unit, task), hold_ms)
    return None


def _hold_back(time: TaskTime, plan: Plan, task: TaskId) -> None:
    """Have the time that is sent on wait for rows of its unit that come due, and are sent then."""
    for unit in travelling(plan):
        if isinstance(unit, AgentUnit) and unit.stage is not None and unit.stage.gives_rows and unit.due is not None:
            tp = TP(unit.due.label, task.partition)
            if tp in time.sources and unit.travels in time.operators:
                time.hold_back(unit.travels, tp)


def _expire_by_closing(time: TaskTime, plan: Plan, task: TaskId) -> None:
    """Have tables whose entries expire go by what is over, too, where that is what writes them."""
    expiring = {table.timed for table in plan.tables if table.ttl_ms is not None and not table.wall_clock}
    for unit in plan.units:
        if isinstance(unit, CloseUnit) and (source := time.sources.get(_tp(unit.due.label, task))) is not None:
            for name in expiring.intersection(unit.timed, time.operators):
                time.operators[name].inputs[source.tp] = source.state


def _producers(plan: Plan, topology: Topology, topic: str) -> list[str]:
    """Who says in this topic how far he is: a name for each task of each unit that writes it."""
    return [
        _producer(unit, TaskId(group, partition))
        for unit in travelling(plan)
        if (sent_to := destination_of(unit)) is not None and sent_to.name == topic
        for group in {source.partitions for source in topology.topics if input_named(unit, source.name) is not None}
        for partition in range(group)
    ]


def _producer(unit: ForwardUnit | AgentUnit, task: TaskId) -> str:
    """A unit has another name where its topic is written by several."""
    _, _, number = unit.travels.rpartition("-repartition")
    return f"{task}{number}"


def _add_source(
    time: TaskTime,
    due: Due,
    task: TaskId,
    shards: Mapping[str, CachedShard],
    row: TimeRow | None,
    until: Due | None = None,
) -> None:
    """until: rows that are due for that one are not for this one, but for those that were."""
    tp = _tp(due.label, task)
    entry, end = (None if row is None or one is None else row.position(one.label)[1] for one in (due, until))
    if until is not None and end is None:
        end = place_of(NO_TIME)
    time.sources[tp] = DueSource(due, tp, shards[due.table.name], time.operators[due.table.timed], entry, end)
    time.positions[tp] = Committed(0) if row is None else row.position(due.label)[0]


def _tp(label: str, task: TaskId) -> TP:
    return TP(label, task.partition)


def due_topic(due: Due, shard: CachedShard, settings: Settings) -> Topic:
    """As what a unit reads its due rows: with the coders of their table."""
    topic = Topic((due.label,))
    topic.compile(settings)
    topic.coders.decode_key = shard.coder.decode_key
    # Of bytes `bytes` gives the same object.
    topic.coders.decode_value = bytes if due.is_by_keys else shard.coder.decode_value
    return topic


def bounds_of(settings: Settings, topic: Topic | None) -> TimeBounds:
    """How far a topic is trusted: as it says, or else as the settings do."""
    own = topic or Topic(())
    ahead = settings.max_ahead if own.max_ahead is None else own.max_ahead
    return TimeBounds(
        out_of_orderness=_ms(_first(own.max_out_of_orderness, settings.max_out_of_orderness)),
        ahead=None if ahead is None else _ms(ahead),
        idle=_ms(_first(own.idle_timeout, settings.idle_timeout)),
    )


def _first(own: float | None, common: float) -> float:
    return common if own is None else own


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
