"""When a host reports and what: changes at once, and rows of tasks as often as the cluster can bear."""

from __future__ import annotations

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import Report, TaskFigures, TaskReport
from streamcluster.settings import make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.report import ROWS_SECONDS_MAX, rows_seconds_of
from streamcluster_coordinator.records.report import UNCHANGED, HostReport, decode_rows

from .fake_cluster import FakeCluster, FakeHost

LARGE = 10_000
TASK = TaskId(2, 0)


def alone(tasks: int) -> tuple[FakeCluster, FakeHost]:
    """A host that runs two tasks, and reports as in a cluster of so many."""
    cluster = FakeCluster()
    host = cluster.start("a")
    host.node.reporter.rows_seconds = rows_seconds_of(cluster.settings, tasks)
    cluster.advance(15)
    return cluster, host


def told(cluster: FakeCluster, seconds: float) -> list[HostReport]:
    """Reports of the next seconds."""
    start = len(cluster.brokers.status)
    cluster.advance(seconds)
    return cluster.brokers.status[start:]


def tell_positions(cluster: FakeCluster, host: FakeHost, state: str, position: int) -> None:
    """A heartbeat of the worker."""
    rows = (TaskReport(task=TASK, state=state, figures=TaskFigures(positions={"t": position}, stored=position)),)  # type: ignore[arg-type]
    cluster.tell(host, ev.WorkerReport(Slot(0), Report(slot=0, tasks=rows)))


def test_a_small_cluster_has_all_rows_in_each_report() -> None:
    """Up to 1,000 tasks nobody needs to wait."""
    cluster, _ = alone(1_000)

    found = told(cluster, 5)

    assert len(found) >= 5
    assert all(report.rows != UNCHANGED for report in found)


def test_a_large_cluster_repeats_rows_every_ten_seconds() -> None:
    """10,000 tasks whose counts move all the time: the signs of life between say nothing of them."""
    cluster, _ = alone(LARGE)

    found = told(cluster, 20)

    assert len(found) == 20
    assert sum(report.rows != UNCHANGED for report in found) == 2


def test_rows_that_mean_something_new_come_with_the_next_sign_of_life() -> None:
    """A task that fails is told within a second, in a large cluster too."""
    cluster, host = alone(LARGE)
    while told(cluster, 1)[-1].rows == UNCHANGED:
        pass
    cluster.advance(0.5)
    host.stopped = True
    tell_positions(cluster, host, "failing", 7)

    (report,) = told(cluster, 1)

    assert [row.state for row in decode_rows(report.rows).tasks if row.task == str(TASK)] == ["failing"]


def test_rows_come_anew_in_each_term() -> None:
    """A leader that has just started knows no standby but from rows."""
    cluster, host = alone(LARGE)
    while told(cluster, 1)[-1].rows == UNCHANGED:
        pass
    other = cluster.start("b")
    other.node.reporter.rows_seconds = host.node.reporter.rows_seconds
    cluster.advance(3)
    host.crash()
    start = len(cluster.brokers.status)
    cluster.advance(6)
    term = cluster.log[-1].term

    assert term == 2
    assert any(report.rows != UNCHANGED for report in cluster.brokers.status[start:])


def test_how_often_rows_are_told_is_bounded() -> None:
    """However many tasks there are, a status is not older than half a minute."""
    settings = make_settings({"id": "shop"})

    assert rows_seconds_of(settings, 10) == settings.host_heartbeat
    assert rows_seconds_of(settings, 10_000) == 10.0
    assert rows_seconds_of(settings, 10_000_000) == ROWS_SECONDS_MAX
