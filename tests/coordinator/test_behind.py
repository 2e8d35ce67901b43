"""How Kafka's word on positions and ends becomes the status, whoever has the task."""

from __future__ import annotations

import asyncio

from streamcluster.ids import TP
from streamcluster.protocol.messages import TaskFigures
from streamcluster.settings import make_settings
from streamcluster_coordinator.admin import standings as topics_standings
from streamcluster_coordinator.admin.standings import StandingsReader
from streamcluster_coordinator.answers.behind import Standing, with_standings
from streamcluster_coordinator.records.status import Status, TaskStatus

TP0, TP1 = TP("in", 0), TP("in", 1)
SOURCES = {"2_0": (TP0,), "2_1": (TP1,)}


def status(*tasks: TaskStatus) -> Status:
    """A snapshot with these tasks."""
    return Status(
        app="shop",
        host="a",
        pid=1,
        state="running",
        broker="kafka://x",
        broker_state="up",
        processing_guarantee="exactly_once",
        epoch=1,
        uptime=1.0,
        workers=(),
        tasks=tasks,
        topology_hash="",
    )


def shown(task: TaskStatus, standing: Standing, *, from_begin: bool = True) -> tuple[dict[str, int], dict[str, int]]:
    """Positions and lag of the task's row."""
    tp = SOURCES[task.task][0]
    [found] = with_standings(status(task), SOURCES, {tp: standing}, from_begin=from_begin).tasks
    return found.figures.positions, found.figures.lag


def test_task_that_nobody_has_is_behind_by_what_there_is() -> None:
    """Its worker is gone, or it was never given to one."""
    unowned = TaskStatus(task="2_0", slot=None, state="unassigned")
    assert shown(unowned, Standing(5, 100, 40)) == ({"in": 40}, {"in": 60})
    assert shown(unowned, Standing(5, 100, None)) == ({"in": 5}, {"in": 95})
    assert shown(unowned, Standing(5, 100, None), from_begin=False) == ({"in": 100}, {"in": 0})


def test_kafkas_word_beats_the_workers() -> None:
    """What a paused consumer has seen last is old; where it began, only the worker knows before the first commit."""
    paused = TaskStatus(task="2_1", slot=0, state="running", figures=TaskFigures(positions={"in": 30}, lag={"in": 10}))
    assert shown(paused, Standing(0, 100, 30)) == ({"in": 30}, {"in": 70})
    assert shown(paused, Standing(0, 100, None)) == ({"in": 30}, {"in": 70})


def test_without_kafkas_word_the_workers_stays() -> None:
    """Of partitions that no answer came for."""
    row = TaskStatus(task="2_1", slot=0, state="running", figures=TaskFigures(positions={"in": 30}, lag={"in": 10}))
    assert with_standings(status(row), SOURCES, {TP0: Standing(0, 9, 9)}, from_begin=True).tasks == (row,)


def test_brokers_that_do_not_answer_hold_up_a_status_once() -> None:
    """Those who ask together wait together, and who asks right after does not wait."""
    settings = make_settings({"id": "shop", "broker": "kafka://127.0.0.1:1"})

    async def ask() -> None:
        reader = StandingsReader(settings, [TP0])
        clock = asyncio.get_running_loop().time
        began = clock()
        assert await asyncio.gather(*(reader.read() for _ in range(5))) == [{}] * 5
        assert clock() - began < 3 * topics_standings.ASK_SECONDS
        began = clock()
        assert await reader.read() == {}
        assert clock() - began < 0.5
        await reader.close()

    asyncio.run(ask())
