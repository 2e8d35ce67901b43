"""Following: agents that read a table of a topic take their events in the order of time with the topic's records.

    table's topic  --> {table}-source (writes the table) --.  each takes its next event only when nothing that is
    agent's topics --> agent (reads it) -------------------'  before it waits, or may come, for the other

Of equal timestamps the table's record is first, so an event finds what was there at its own time. Who waits is woken
when the other has finished a run, or is given one, and when a log's end is reached: never waited for is what is at its
end. What is least of all that waits can always be taken, so nobody waits for ever.

A table that is to be loaded first bounds its readers until its topic was read to the end that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...ids import TP
from ...table_sources import feeder_name
from ...times import FOREVER, NO_TIME
from ...topology.units import AgentUnit, Plan
from ..instance import Instance
from ..intake import RunIntake
from ..lanes import Reader
from ..partition import HELD_BACK, SourcePartition
from ..task import RunningTask
from .ordering import Ordering


@dataclass(frozen=True, slots=True)
class Input:
    """One log, and the coroutines of one agent that read it."""

    partition: SourcePartition
    readers: tuple[Reader, ...]

    def head(self) -> int | None:
        """The timestamp of its first event that is not finished; FOREVER: there is none; None: it is not known yet."""
        partition, tp = self.partition, self.partition.tp
        heads = [head for reader in self.readers if (head := _head(reader.intake, tp)) is not None]
        if heads:
            return min(heads)
        if partition.gate == HELD_BACK:
            return FOREVER
        if partition.gate is not None and (time := partition.gated.first_time()) is not None:
            return time
        return FOREVER if partition.is_at_end and not any(map(self._is_behind, self.readers)) else None

    def _is_behind(self, reader: Reader) -> bool:
        return reader.lags or reader.next_offset < self.partition.next_offset

    def is_loaded(self) -> bool:
        """It was read to the end that it had when the task began. While a trial holds it back, nobody waits for it."""
        end = self.partition.first_end
        if self.partition.gate == HELD_BACK:
            return True
        return end is not None and all(reader.done(self.partition.tp) >= end for reader in self.readers)


def _head(intake: RunIntake, tp: TP) -> int | None:
    """The timestamp of the first event of `tp` that is not finished there, but for those that a batch has kept."""
    cursor = intake.cursor
    run = cursor.run
    if run is not None and run.tp == tp and run.values:
        return run.batch.timestamps[run.start + max(0, cursor.consumed_count() - 1)]
    waiting = (run for run in intake.queue if run.tp == tp and run.values)
    return next((run.batch.timestamps[run.start] for run in waiting), None)


def bound_of(timed: Sequence[Input], first: Sequence[Input], step: int) -> Callable[[], int]:
    """What says before which time events may be taken now: the least head of these inputs and `step` ms.

    first: inputs that are loaded first.
    """

    def bound() -> int:
        least = FOREVER
        for one in timed:
            head = one.head()
            if head is None:
                return NO_TIME
            least = min(least, head + step)
        return least if all(one.is_loaded() for one in first) else NO_TIME

    return bound


def follow(task: RunningTask, plan: Plan) -> None:
    """Let those agents of the task that read tables of topics and those that feed these go by time."""
    units = [unit for unit in plan.units if type(unit) is AgentUnit and unit.follows]
    followers: dict[str, list[Input]] = {}
    feeders: dict[str, Input] = {}
    first: set[str] = set()
    for unit in units:
        own = _inputs(task, unit.name)
        fed: list[Input] = []
        loaded: list[Input] = []
        for table in unit.follows:
            name = feeder_name(table)
            for one in _inputs(task, name):
                feeders[name] = one
                followers.setdefault(name, []).extend(own)
                (loaded if table.loads_first else fed).append(one)
                if table.loads_first:
                    first.add(name)
        if own and (fed or loaded):
            _bind(task, unit.name, own, bound_of(fed, loaded, 0), [*fed, *loaded])
    for name, one in feeders.items():
        for other in followers[name]:
            task.beside.setdefault(one.partition.tp, set()).add(other.partition.tp)
            task.beside.setdefault(other.partition.tp, set()).add(one.partition.tp)
        bound = bound_of([] if name in first else followers[name], [], 1)
        _bind(task, name, [one], bound, followers[name])


def _inputs(task: RunningTask, unit: str) -> list[Input]:
    """The logs that the unit reads in the task."""
    found = [(one, tuple(reader for reader in one.readers if reader.unit == unit)) for one in task.logs.values()]
    return [Input(partition, readers) for partition, readers in found if readers]


def _bind(
    task: RunningTask, unit: str, inputs: Sequence[Input], bound: Callable[[], int], others: Sequence[Input]
) -> None:
    """Have the coroutines of the unit go by the bound, and wake those of the others."""
    woken = tuple({id(reader.intake): reader.intake for one in others for reader in one.readers}.values())
    tps = [one.partition.tp for one in inputs]
    for instance in task.instances:
        if instance.unit.name == unit:
            _order(instance, tps).bound = bound
            instance.intake.others = woken


def _order(instance: Instance, tps: list[TP]) -> Ordering:
    if instance.intake.order is None:
        # What else the agent reads is not waited for: nothing of it goes by time.
        instance.order_inputs(Ordering(tps, lambda tp: False, lambda: None))
    assert instance.intake.order is not None
    return instance.intake.order
