"""What a host's snapshot makes of its workers' reports, and of what it hears of the cluster."""

from __future__ import annotations

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import Report, TaskFigures, TaskReport
from streamcluster.settings import make_settings
from streamcluster_coordinator.machine.cluster_status import cluster_status
from streamcluster_coordinator.machine.own_status import LOAD_SECONDS, HostFacts, Snapshots
from streamcluster_coordinator.machine.slots import SlotProcess, State
from streamcluster_coordinator.machine.view import View
from streamcluster_coordinator.records.snapshot import Shape, Snapshot

TASK = TaskId(2, 0)
SLOT = Slot(0)


def rates_of(*reports: TaskReport) -> list[float | None]:
    """The task's events per second after each of these reports, half of LOAD_SECONDS apart."""
    snapshots = Snapshots(HostFacts("shop", "here", 1, "", "exactly_once", "", 0.0))
    state = State(make_settings({"id": "shop"}), places={SLOT: SlotProcess(SLOT)}, held={TASK: SLOT})
    found = []
    for now, report in enumerate(reports, 1):
        state.now = now * LOAD_SECONDS / 2
        state.places[SLOT].report = Report(slot=SLOT, tasks=(report,))
        found.append(snapshots.take(state).tasks[0].events_per_second)
    return found


def running(position: int) -> TaskReport:
    """A report of a task that runs."""
    return TaskReport(task=TASK, state="running", figures=TaskFigures(positions={"in": position}))


def test_events_per_second_is_how_fast_the_positions_move() -> None:
    """Over the last LOAD_SECONDS, and unknown before: a task that began later must not look idle beside others."""
    assert rates_of(running(0), running(3_000), running(6_000), running(6_000)) == [None, None, 200.0, 100.0]


def test_where_a_task_begins_after_a_restore_is_no_progress() -> None:
    """Else every restore would look like a load of millions a second, and tasks would change places for it."""
    restoring = TaskReport(task=TASK, state="restoring", figures=TaskFigures(restored=5, restore_total=10))
    rates = rates_of(restoring, running(1_000_000), running(1_000_000), running(1_000_300))
    assert rates == [None, None, None, 10.0]


def test_catching_up_after_a_stop_is_no_load() -> None:
    """What came in while it was restored is what it would have had to do anyway."""
    restoring = TaskReport(task=TASK, state="restoring", figures=TaskFigures(restored=5, restore_total=10))
    assert rates_of(running(0), running(1_500), restoring, running(4_500))[-1] == 100.0


def test_a_broker_that_takes_no_reports_is_down_though_no_worker_notices() -> None:
    """Workers with nothing to commit ask nothing of it."""
    state = State(make_settings({"id": "shop"}), registered=True)
    own = Snapshots(HostFacts("shop", "here", 1, "", "exactly_once", "", 0.0)).take(state)
    view = View(state.settings, "here", "here1", now=100.0, echo_at=99.5)
    view.read(Snapshot(epoch=1, term=1, leader=None, cluster_id="", topic_id="", shape=Shape()))
    assert cluster_status(own, view, ()).broker_state == "up"

    view.now = 103.0
    assert cluster_status(own, view, ()).broker_state == "down"
