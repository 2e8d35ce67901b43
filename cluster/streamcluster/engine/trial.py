"""Trial: how a failing event is found out about, alone, after its task was rolled back.

    replay   records before the suspect go through and are committed; the suspect and all behind it wait
    waiting  the suspect has failed alone and is tried again after the policy's back-off
    alone    the suspect is processed with nothing else uncommitted, so a failure is its own, and then committed
    stopped  its policy says stop: the task stays where it is

When a commit was refused nobody knows whose record it was: then groups of events are tried in place of one, and a group
that fails is halved, down to the event. That goes on where it was when the task is closed and opened anew in between.

When it succeeds, or its policy gives it up (dead letter, skip), the next suspect follows, and then the stream goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..batch import KafkaRecord
from ..ids import TP
from .clock import Clock
from .coroutine import Coroutine, holds_back
from .partition import HELD_BACK, SourcePartition
from .task import RunningTask
from .values import Failure

Suspect = tuple[TP, int]
GiveUp = Callable[[RunningTask, TP, KafkaRecord, Failure], bool]


@dataclass(slots=True)
class Search:
    """Every event before these positions is suspected. group: how many are tried next; 0: that is not known yet."""

    until: dict[TP, int]
    group: int = 0


class Trial:
    """The trial of one task's suspects, oldest first."""

    __slots__ = (
        "_attempts",
        "_clock",
        "_give_up",
        "_pause",
        "_units",
        "_wake",
        "count",
        "phase",
        "search",
        "suspects",
        "task",
    )

    def __init__(
        self,
        task: RunningTask,
        clock: Clock,
        give_up: GiveUp,
        wake: Callable[[], None],
        search: Search | None = None,
    ) -> None:
        """wake: has `step` called soon. search: one to go on with."""
        self.task = task
        self._wake = wake
        # Oldest first, and whose they are.
        self.suspects: deque[Suspect] = deque()
        self._units: dict[Suspect, set[str]] = {}
        self.phase: Literal["replay", "alone", "waiting", "stopped"] = "replay"
        self._attempts: dict[tuple[TP, int, str], int] = {}
        self._clock = clock
        self._give_up = give_up
        # Seconds to wait before the suspect is tried again.
        self._pause = 0.0
        self.search = search or Search({})
        # How many of `suspects`, from the first on, are tried together.
        self.count = 1

    def add(self, unit: str, suspects: Iterable[Suspect]) -> None:
        """More suspects of this unit: an earlier event failed while the records before a suspect were replayed."""
        if self.search.until:
            for tp, offset in suspects:
                self.search.until[tp] = max(offset + 1, self.search.until.get(tp, 0))
            self.halve()
            return
        for suspect in suspects:
            self._units.setdefault(suspect, set()).add(unit)
        self.suspects = deque(sorted({*self.suspects, *suspects}))

    def suspect_all(self, until: Mapping[TP, int]) -> None:
        """Every event before these positions is a suspect: a commit with them was refused."""
        for tp, offset in [*until.items(), *((tp, offset + 1) for tp, offset in self.suspects)]:
            self.search.until[tp] = max(offset, self.search.until.get(tp, 0))

    def halve(self) -> None:
        """The group that was tried failed, by an event that is not known."""
        self.search.group = max(1, self.count // 2)

    def begin(self) -> None:
        """(Re)start with the replay of what comes before the first suspect, after a rollback."""
        if self.phase != "stopped":
            self.phase = "replay"
        if self.search.until:
            # They are picked from what comes again.
            self.suspects.clear()
        self._take_all()
        self._set_gates()
        self.task.set_flush(True)

    def failed_alone(self, failure: Failure) -> None:
        """The suspect failed with nothing else uncommitted: it is tried again after a rollback, or given up."""
        tp, offset = self.suspects[0]
        attempt = self._attempts[tp, offset, failure.unit] = self._attempts.get((tp, offset, failure.unit), 0) + 1
        if attempt < max(1, failure.policy.retries):
            self._pause = failure.policy.delay(attempt + 1)
        elif failure.policy.action == "stop":
            self.phase = "stopped"
        else:
            # The unit gets no event next time; at its place the dead letter is written, and one commit carries both.
            self.task.partitions[tp].skips.setdefault(offset, {})[failure.unit] = partial(self._put_aside, tp, failure)

    def _put_aside(self, tp: TP, failure: Failure, record: KafkaRecord) -> bool:
        return self._give_up(self.task, tp, record, failure)

    def _set_gates(self) -> None:
        """Let pass what is before the current suspect; hold back the other partitions of the task."""
        if self.search.until:
            for partition in self.task.partitions.values():
                partition.gate = HELD_BACK
            return
        suspect_tp, offset = self.suspects[0]
        beside = self._beside()
        # Of what has come due, all that is there by now.
        gates = {tp: self.task.partitions[tp].next_offset for tp in self._due()} | {suspect_tp: offset}
        for tp, partition in self.task.partitions.items():
            if tp in beside:
                partition.open_gate()
                continue
            partition.gate = gates.get(tp, HELD_BACK)
            for batch in partition.gated.take_before(partition.gate):
                partition.dispatch(batch)

    def _beside(self) -> set[TP]:
        """What is read in the order of time with the suspect's partition: what is before it there passes too."""
        tps = {tp for tp, _ in self.suspects}
        return self.task.beside.get(next(iter(tps)), set()) if len(tps) == 1 else set()

    def _due(self) -> Collection[TP]:
        """What comes due as time moves: it goes before the next suspect, as it would without a trial."""
        return () if self.task.time is None else self.task.time.sources

    def _wake_beside(self) -> None:
        """A suspect that was given up is waited for no longer, and has woken nobody."""
        for tp in self._beside():
            for reader in self.task.partitions[tp].readers:
                intake = reader.intake
                if intake.order is not None and not intake.held and intake.order.first(intake.queue) is not None:
                    intake.wake()

    def _is_next(self, partition: SourcePartition) -> bool:
        """Nothing is before the suspect, of all that is read in the order of time with it."""
        time = partition.gated.first_time()
        orders = [reader.intake.order for reader in partition.readers]
        waits = any(reader.waiting_count(partition.tp) for reader in partition.readers)
        return time is None or not (waits or any(order is not None and not order.lets(time) for order in orders))

    def step(self, *, is_clean: bool, may_try: bool = True) -> bool:
        """Go on if the current phase is over.

        Args:
            is_clean: the task has nothing uncommitted and nothing in flight.
            may_try: no other suspect is tried now.

        Returns:
            True when the trial is over and the task has gone back to normal.
        """
        self._wake_beside()
        if not is_clean or not self._may_go_on():
            return False
        if self.phase == "replay" and self.search.until and not self._pick():
            return False
        if self.phase == "replay" and self.suspects:
            tp, offset = self.suspects[0]
            partition = self.task.partitions[tp]
            waiting = partition.gated
            if not waiting and partition.end_behind_gate <= offset:
                return False
            if waiting.first_offset() == offset:
                if self._beside() and not self._is_next(partition):
                    return False
                if may_try and not any(map(_buffers, self.task.coroutines)):
                    self._try_after_pause()
                return False
        return self._next_suspect()

    def _may_go_on(self) -> bool:
        """The current phase is over, but for the commit of what was done in it."""
        if self.phase in ("waiting", "stopped") or self.task.failed() or self.task.stopped or self.task.closing:
            return False
        return all(map(self._lets_go_on, self.task.coroutines))

    def waits_for_commit(self) -> bool:
        """Only a commit is missing for the trial to go on, and all that is behind the suspect waits for it."""
        return self._may_go_on() and not self.task.is_clean()

    def _lets_go_on(self, coroutine: Coroutine) -> bool:
        """The coroutine has done what came before the suspect, or the suspect; others may be at an event, and wait."""
        if not self.suspects or coroutine.unit_name in self._units.get(self.suspects[0], ()):
            return coroutine.idle
        return coroutine.idle or (not coroutine.resting and not holds_back(coroutine))

    def _pick(self) -> bool:
        """Make the next group of events the suspects, none when all are through; False: they are still to come."""
        due = self._due()
        self.search.until |= {tp: self.task.partitions[tp].next_offset for tp in due if self.task.partitions[tp].gated}
        for tp in sorted(self.search.until, key=lambda tp: (tp not in due, tp)):
            partition, end = self.task.partitions[tp], self.search.until[tp]
            if found := partition.gated.offsets_before(end):
                self.search.group = self.search.group or max(1, len(found) // 2)
                self.suspects = deque([(tp, offset) for offset in found[: self.search.group]])
                self.count = len(self.suspects)
                self._units = {self.suspects[0]: {reader.unit for reader in partition.readers}}
                return True
            if not partition.gated and max(partition.next_offset, partition.end_behind_gate) < end:
                return False
            del self.search.until[tp]
        return True

    def _try_after_pause(self) -> None:
        if self._pause:
            self.phase = "waiting"
            self._clock.call_later(self._pause, self._end_pause)
            self._pause = 0.0
        else:
            self._try()

    def _end_pause(self) -> None:
        # A rollback for another reason, or the task's end, may have come in between.
        if self.phase == "waiting":
            self.phase = "replay"
            self._wake()

    def _try(self) -> None:
        """Hand out the suspect, or the group."""
        partition = self.task.partitions[self.suspects[0][0]]
        self.phase = "alone"
        for tp in self._beside():
            self.task.partitions[tp].gate = HELD_BACK
        self._take_only_own()
        for batch in partition.gated.take(self.count):
            partition.dispatch(batch)

    def _take_only_own(self) -> None:
        """Have streams that go over several tasks take nothing else meanwhile."""
        for coroutine in self.task.coroutines:
            coroutine.intake.take_only(self.task.id)

    def _take_all(self) -> None:
        for coroutine in self.task.coroutines:
            if coroutine.intake.only == self.task.id:
                coroutine.intake.take_only(None)

    def end(self) -> None:
        """The task is closed."""
        self.phase = "stopped"
        self._take_all()

    def _next_suspect(self) -> bool:
        for _ in range(min(self.count, len(self.suspects))):
            self._units.pop(self.suspects.popleft(), None)
        self.count = 1
        self.phase = "replay"
        self._take_all()
        if self.search.until:
            self.search.group *= 2
            self._wake()
            return False
        if self.suspects:
            self._set_gates()
            return False
        self.task.set_flush(False)
        for partition in self.task.partitions.values():
            partition.open_gate()
        return True


def _buffers(coroutine: Coroutine) -> bool:
    """take() has events in its buffer, that the next one would be in a batch with."""
    return bool(coroutine.intake.kept.events) and not coroutine.intake.kept.handed_out
