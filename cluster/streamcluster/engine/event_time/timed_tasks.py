"""TimedTasks: the tasks of a worker in which something goes by event time, and when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from ...ids import TaskId
from ..clock import Clock
from .due import DueSource, finished_rows
from .due_room import DueRoom
from .task_time import TaskTime

# Tasks in which nothing happens are looked at so often: an input becomes idle, or time runs on with the wall clock.
LOOK_SECONDS = 0.1


class TimedTasks:
    """Of one worker. moved: called with a task that has something new for a commit."""

    __slots__ = ("_clock", "_last_all", "_last_moves", "_moved", "_room", "_waiting", "tasks")

    def __init__(self, clock: Clock, moved: Callable[[TaskId], None]) -> None:
        self.tasks: dict[TaskId, TaskTime] = {}
        self._clock = clock
        self._moved = moved
        self._last_all = clock.now()
        self._last_moves = -1
        self._room = DueRoom(
            lambda: sum([source.uncommitted for source in self._sources()]),
            lambda: sum(map(finished_rows, self._sources())),
            lambda: any([source.waits(source.operator.committed) for source in self._sources()]),  # noqa: C419 (faster)
        )
        # Those that had no room for what is due: they are the first at the next look.
        self._waiting: dict[TaskId, None] = {}

    def look(self, touched: Container[TaskId], moves: int) -> None:
        """Look at the tasks in which something has happened, and now and then at all. moves: as the engine has it."""
        now = self._clock.now()
        # Nothing happens: then there is time, and a simulated clock may stand still.
        if everything := (moves == self._last_moves or now >= self._last_all + LOOK_SECONDS):
            self._last_all = now
        self._last_moves = moves
        room, waiting = self._room, self._waiting
        self._waiting = {}
        room.begin()
        for task in [*waiting, *(task for task in self.tasks if task not in waiting)] if waiting else self.tasks:
            if (time := self.tasks.get(task)) is None or not (everything or task in touched or task in waiting):
                continue
            room.is_refused = False
            if time.look(room):
                self._moved(task)
            if room.is_refused:
                self._waiting[task] = None

    def _sources(self) -> Iterator[DueSource]:
        return (source for time in self.tasks.values() for source in time.sources.values())

    def must_commit(self) -> bool:
        """Rows that are due wait for a commit of those before them, or soon will; or these are the last of many."""
        return bool(self.tasks) and self._room.must_commit()

    def raise_to(self, watermark: int, but: Container[str] = ()) -> None:
        """Somebody who knows says that nothing earlier is to come, of no topic but these."""
        for task, time in self.tasks.items():
            for tp, partition in time.partitions.items():
                if tp.topic not in but:
                    partition.raise_to(watermark)
            self._moved(task)
