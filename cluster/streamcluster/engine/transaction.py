"""Transaction: what is in the open transaction, and who must rest before it can be committed (I9).

    task  --- cut: finished events, encoded ---> part --- seal: all parts ---> in flight ---> committed
                                                  |
                                                  +--- output goes to Kafka early, when there is much

A part is consistent: the task's positions, table changes and output up to one moment between events. So whatever a task
does after its cut (it hangs, it fails, its next value cannot be encoded), the transaction can be committed without
asking it. One thing alone binds a transaction to an event that is not finished: output of a sender that waits for room.
Then nothing is committed until that event ends; when it is overdue, the transaction is aborted and all in it roll back.

It knows no Kafka and no clock: `pump.py` decides when.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from ..ids import TP, TaskId
from .coroutine import holds_back
from .outbox import Outbox, Outputs, merge
from .shared import SharedSource
from .task import Encoded, RunningTask
from .values import Commit, Committed, TaskCommit

logger = logging.getLogger("streamcluster")


class Transaction:
    """The open transaction of one worker, and the commit in flight before it.

    Args:
        tasks: those of the worker, now and later.
        outbox: of the worker's own functions.
        cut_failed: called with a task whose tables hold something that cannot be encoded.
        entries_max: when a task that cannot be cut has so many output records and table entries, it rests altogether.
        exactly_once: otherwise output leaves as soon as its event is finished, and a part holds the rest.
    """

    __slots__ = (
        "_cut_failed",
        "_entries_max",
        "_outbox",
        "_shared",
        "_tasks",
        "exactly_once",
        "first",
        "in_flight",
        "late",
        "parts",
        "sender_waits",
        "touched",
        "unfinished",
    )

    def __init__(
        self,
        tasks: dict[TaskId, RunningTask],
        shared: list[SharedSource],
        outbox: Outbox,
        cut_failed: Callable[[RunningTask, BaseException], None],
        *,
        entries_max: int,
        exactly_once: bool,
    ) -> None:
        self._tasks = tasks
        self._shared = shared
        self._outbox = outbox
        self._cut_failed = cut_failed
        self._entries_max = entries_max
        self.exactly_once = exactly_once
        # The tasks that may have something to cut: of 200, most have not at most moments.
        self.touched: dict[TaskId, RunningTask] = {}
        # A sender has begun to wait for room since it was last looked at.
        self.sender_waits = False
        # Who has taken part since the last seal, and what with.
        self.parts: dict[TaskId, TaskCommit] = {}
        # Tasks whose output in it goes beyond their part: an event that is not finished sent it.
        self.unfinished: set[TaskId] = set()
        # Tasks that could not be cut: those of their coroutines that are in the middle of an event rest after it.
        self.late: set[TaskId] = set()
        self.in_flight: Commit | None = None
        # Tasks that are being opened: where they begin, to be committed before they read, and who waits for that.
        self.first: dict[TaskId, tuple[dict[TP, Committed], Callable[[], None]]] = {}

    # Asking

    def has(self, task: TaskId) -> bool:
        """Something of the task is on its way to Kafka."""
        flying = self.in_flight is not None and any(cut.task == task for cut in self.in_flight.tasks)
        return flying or task in self.parts or task in self.unfinished

    def is_awaited(self) -> bool:
        """Somebody waits for a commit that is possible: those that rest in a task that was late, or a task to begin."""
        return bool(self.first) or any(task in self._tasks and self._tasks[task].is_cuttable() for task in self.late)

    def ready_count(self) -> int:
        """Output records and table entries that the next commit can take."""
        tasks = [task for task in self.touched.values() if task.id not in self.late and not task.stopped]
        return self._outbox.count() + sum(task.uncommitted_count() for task in tasks)

    def output_count(self) -> int:
        """Records that finished events have sent and that Kafka has not been given."""
        staged = sum(sum(map(len, part.outputs.values())) for part in self.parts.values())
        return staged + sum(task.output_count() for task in self.touched.values() if not task.stopped)

    def senders_wait(self) -> bool:
        """A sender waits for room that a hand-over may give."""
        if not self.sender_waits:
            return False
        full = [
            task
            for task in self._tasks.values()
            if any([coroutine.hand.outbox.is_full() for coroutine in task.coroutines])  # noqa: C419 (faster)
        ]
        self.sender_waits = bool(full)
        return any(map(self._waits, full))

    def _waits(self, task: RunningTask) -> bool:
        """A sender of this task waits for room, and nothing but its own event is in the way of a cut."""
        waiting = [coroutine for coroutine in task.coroutines if coroutine.hand.outbox.is_full()]
        if not waiting or task.stopped or task.failed():
            return False
        return not any(holds_back(coroutine) and coroutine not in waiting for coroutine in task.coroutines)

    # Cutting

    def begin_at(self, task: TaskId, positions: dict[TP, Committed], done: Callable[[], None]) -> None:
        """Commit where a task begins that is not open yet, with what comes next; then call `done`."""
        self.first[task] = (positions, done)

    def touch(self, task: RunningTask) -> None:
        """Something has happened in this task that a commit may have to carry."""
        self.touched[task.id] = task

    def _take(self, tasks: Collection[RunningTask], *, all_offsets: bool = False) -> None:
        """Cut every one of these tasks that can be cut: first all are encoded, then all are cut."""
        encoded: dict[TaskId, Encoded] = {}
        for task in tasks:
            if task.stopped or task.failed():
                continue
            for coroutine in task.coroutines:
                if not coroutine.resting:
                    coroutine.intake.one_at_a_time()
            if not task.is_cuttable():
                self._wait_for(task)
                continue
            try:
                encoded[task.id] = task.encode()
            except BaseException as error:  # noqa: BLE001 (codecs of tables are user code)
                self._cut_failed(task, error)
        able = self._unbound(set(encoded))
        for task_id in able:
            self._add(self._tasks[task_id].cut(encoded[task_id], all_offsets=all_offsets))
            self.touched.pop(task_id, None)
            self.unfinished.discard(task_id)
            if task_id in self.late:
                self.late.discard(task_id)
                self._tasks[task_id].release()
        for source in self._shared:
            source.intake.kept.bonds = [bond for bond in source.intake.kept.bonds if not bond.issubset(able)]

    def _wait_for(self, task: RunningTask) -> None:
        """Have the coroutines rest whose half done events keep the task from being cut, each after that event."""
        self.late.add(task.id)
        if task.uncommitted_count() > self._entries_max:
            task.hold()
        for coroutine in task.coroutines:
            if holds_back(coroutine):
                coroutine.intake.hold(task.id)

    def _unbound(self, able: set[TaskId]) -> list[TaskId]:
        """Without the tasks that count only together with one that cannot be cut: they share a finished batch."""
        bonds = [bond & self._tasks.keys() for source in self._shared for bond in source.intake.kept.bonds]
        while out := {task for bond in bonds if not bond <= able for task in bond & able}:
            able = able - out
        return sorted(able)

    def _add(self, cut: TaskCommit) -> None:
        part = self.parts.get(cut.task)
        if part is None:
            self.parts[cut.task] = cut
            return
        for tp, position in cut.offsets.items():
            before = part.offsets.get(tp)
            assert before is None or position.next_offset >= before.next_offset, f"{tp} goes back in a transaction"
        part.offsets.update(cut.offsets)
        part.time = cut.time
        for table, passed in cut.passed.items():
            part.passed.setdefault(table, []).extend(passed)
        merge(part.outputs, cut.outputs)

    # What the pump calls

    def hand_over(self) -> Outputs:
        """Take out output that may go to Kafka before the commit. What is finished first; then what has no room."""
        outputs: Outputs = {}
        if self.exactly_once:
            self._take(list(self.touched.values()))
            for part in self.parts.values():
                merge(outputs, part.outputs)
                part.outputs = {}
        else:
            for task in self.touched.values():
                if not task.stopped and not task.failed():
                    task.settle()
                    merge(outputs, task.take_outputs())
        if self.senders_wait():
            for task in self._tasks.values():
                self._relieve(task, outputs)
        return outputs

    def _relieve(self, task: RunningTask, outputs: Outputs) -> None:
        """Take out what events sent that wait for room, and all that the task sent before."""
        if not self._waits(task):
            return
        if self.exactly_once:
            self.unfinished.add(task.id)
        merge(outputs, task.take_outputs())
        for coroutine in task.coroutines:
            if coroutine.hand.outbox.is_full():
                merge(outputs, coroutine.hand.give_early(binds=self.exactly_once))
        self._wait_for(task)

    def seal(self, *, everything: bool = False, all_offsets: bool = False) -> Commit:
        """Cut what can be cut and take everything out, to be committed. Empty while an event binds the transaction.

        Args:
            everything: look at tasks too in which nothing is known to have happened.
            all_offsets: also positions that did not move.
        """
        assert self.in_flight is None, "one commit at a time"
        tasks = self._tasks if everything or all_offsets else self.touched
        self._take(list(tasks.values()), all_offsets=all_offsets)
        if self.unfinished:
            return Commit()
        parts, self.parts = self.parts, {}
        for task_id, part in parts.items():
            if task_id in self._tasks:
                self._tasks[task_id].seal(part)
        for task_id, (positions, _) in self.first.items():
            assert task_id not in parts, f"task {task_id} begins, and runs already"
            parts[task_id] = TaskCommit(task_id, positions, {}, {})
        commit = Commit(tasks=[part for part in parts.values() if not part.is_empty()], outputs=self._outbox.swap())
        if not commit.is_empty():
            self.in_flight = commit
        return commit

    def committed(self) -> Commit:
        """The commit in flight is in Kafka and in the stores."""
        commit, self.in_flight = self.in_flight, None
        assert commit is not None
        for cut in commit.tasks:
            if cut.task in self._tasks:
                self._tasks[cut.task].committed(cut)
            elif (begun := self.first.pop(cut.task, None)) is not None:
                begun[1]()
        return commit

    def abort(self) -> set[TaskId]:
        """The open transaction is aborted. Returns whose output was in it: they must roll back."""
        members = self.parts.keys() | self.unfinished
        self.parts = {}
        self.unfinished = set()
        return {task for task in members if task in self._tasks}

    def leave(self, task: TaskId) -> None:
        """The task is closed, or rolled back: what was late in it is no more."""
        self.late.discard(task)
        self.unfinished.discard(task)
        self.touched.pop(task, None)
