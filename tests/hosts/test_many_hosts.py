"""Three hosts share an app and lose hosts, leaders, the network and brokers: exactly once, and back within seconds.

What was measured is printed at the end of the run; the bounds here are generous, because the machine does other things
too. What is lost or twice is found by the judge, so a zombie that commits is a duplicate. A step is what happens to a
cluster that is at work on three hosts and is so again afterwards; the short form tells several of them in one story.
"""

from __future__ import annotations

import time

import pytest

from streamcluster_coordinator.records.status import Status
from tests.hosts.brokers import NAMES
from tests.hosts.cluster import HOSTS, Cluster, leader_of, owners, standbys
from tests.hosts.conftest import LONG, Measured, Rack, StartApp, only_long
from tests.hosts.load import Load
from tests.process.waiting import pause

# A host that is silent for 3 s is taken for dead; twice that, doubled, and longer than a transaction may be open.
FREEZE_SECONDS = 12.0
CUT_SECONDS = 12.0
AWAY_SECONDS = 60.0 if LONG else 20.0
# Generous bounds.
FIRST_SECONDS = 30.0
CAUGHT_UP_SECONDS = 90.0
LEADER_SECONDS = 30.0
JOIN_SILENCE_SECONDS = 10.0
LEAVE_SILENCE_SECONDS = 10.0
SPREAD_SECONDS = 60.0

pytestmark = pytest.mark.timeout(300 + AWAY_SECONDS)


def have_standbys(status: Status) -> bool:
    """Whether every task has a copy on a host that is not its owner's, which is at work."""
    copies, its = standbys(status), owners(status)
    return all(copies[task] and its.get(task) not in copies[task] for task in copies)


def follower(cluster: Cluster) -> str:
    """A host that does not lead."""
    leader = cluster.leader()
    return next(name for name in cluster.alive if name != leader)


def three_with_standbys(load: StartApp) -> Load:
    """The app at work on three hosts, with a copy of each task's state."""
    one = load(*HOSTS)
    one.cluster.until(have_standbys, "every task has a standby", SPREAD_SECONDS)
    return one


def recovered(one: Load, fault: float, measured: Measured, step: str = "") -> None:
    """Wait until all is processed again, say how long that took since the fault, and hold it against the bounds."""
    caught_up = one.until_caught_up(fault, CAUGHT_UP_SECONDS)
    first = one.watch.first_after(fault)
    figures = f"first outputs of all partitions {first:.1f} s, caught up {caught_up:.1f} s after the fault"
    measured(f"{step}: {figures}" if step else figures)
    assert first <= FIRST_SECONDS


def until_whole(one: Load) -> None:
    """Wait until every task runs, every host has its share, and every task has a standby."""
    one.cluster.until_running(SPREAD_SECONDS)
    one.cluster.until(have_standbys, "every task has a standby", SPREAD_SECONDS)


def join_two(one: Load, measured: Measured) -> None:
    """Step: the second host joins under load, and the third."""
    begin = time.monotonic()
    one.cluster.start("b")
    one.cluster.until_running(SPREAD_SECONDS)
    joined = one.watch.longest(begin)
    measured(f"the second host joins: longest silence of a partition {joined:.2f} s")
    one.cluster.start("c")
    until_whole(one)
    assert joined <= JOIN_SILENCE_SECONDS


def freeze_the_leader(one: Load, rack: Rack, measured: Measured) -> None:
    """Step: the leader's host is frozen, and wakes when the others have its tasks and its transactions are over."""
    victim = one.cluster.leader()

    fault = time.monotonic()
    rack.network.freeze(victim)
    recovered(one, fault, measured, "the leader is frozen")
    one.cluster.until_running(SPREAD_SECONDS, but=(victim,))
    pause(max(0.0, fault + FREEZE_SECONDS - time.monotonic()))
    rack.network.thaw(victim)
    until_whole(one)


def kill_the_leader(one: Load, measured: Measured) -> None:
    """Step: kill -9 of the leader's host, which comes back when the others have its tasks."""
    victim = one.cluster.leader()

    fault = time.monotonic()
    one.cluster.kill(victim)
    one.cluster.until(lambda status: leader_of(status) in one.cluster.alive, "another host leads", LEADER_SECONDS)
    measured(f"the leader is killed: another one leads {time.monotonic() - fault:.1f} s after the fault")
    recovered(one, fault, measured, "the leader is killed")
    one.cluster.until_running(SPREAD_SECONDS)
    one.cluster.start(victim)
    until_whole(one)


def leave_two(one: Load, measured: Measured) -> None:
    """Step, the last one: a host that does not lead is asked to leave, and then the leader."""
    begin = time.monotonic()
    leaver = one.cluster.dismiss(follower(one.cluster))
    one.cluster.until_running(SPREAD_SECONDS)
    elsewhere = time.monotonic() - begin
    assert leaver.wait() == 0, leaver.log_end()
    left = one.watch.longest(begin)
    measured(f"a host leaves: its tasks run elsewhere after {elsewhere:.2f} s, longest silence {left:.2f} s")
    assert left <= LEAVE_SILENCE_SECONDS

    # Both are left that may lead; the one that does goes.
    begin = time.monotonic()
    leaver = one.cluster.dismiss(one.cluster.leader())
    one.cluster.until(lambda status: leader_of(status) in one.cluster.alive, "another host leads", LEADER_SECONDS)
    measured(f"the leader leaves: another one leads after {time.monotonic() - begin:.2f} s")
    assert leaver.wait() == 0, leaver.log_end()


@only_long
def test_a_host_that_is_killed_is_replaced_by_the_others(load: StartApp, measured: Measured) -> None:
    """kill -9 of coordinator and workers of a host that does not lead; then it comes back and takes its share."""
    one = three_with_standbys(load)
    victim = follower(one.cluster)

    fault = time.monotonic()
    assert one.cluster.kill(victim) < 0.1
    recovered(one, fault, measured)
    one.cluster.until_running(SPREAD_SECONDS)
    one.cluster.start(victim)
    one.cluster.until_running(SPREAD_SECONDS)

    assert one.finish() == []


@only_long
def test_a_host_without_standbys_is_replaced_by_restoring(load: StartApp, measured: Measured) -> None:
    """With no copy of the state anywhere the others read it from the changelogs."""
    one = load(*HOSTS, standby_replicas=0)

    fault = time.monotonic()
    one.cluster.kill(follower(one.cluster))
    recovered(one, fault, measured)

    assert one.finish() == []


@only_long
def test_the_leaders_host_may_be_killed(load: StartApp, measured: Measured) -> None:
    """Another one leads, and then the tasks move as well."""
    one = three_with_standbys(load)

    kill_the_leader(one, measured)

    assert one.finish() == []


@only_long
def test_all_coordinators_may_be_killed(load: StartApp, measured: Measured) -> None:
    """Workers do not outlive them; new ones on the same state directories go on."""
    one = load(*HOSTS)

    fault = time.monotonic()
    one.cluster.kill_coordinators()
    one.cluster.start(*HOSTS)
    recovered(one, fault, measured)
    one.cluster.until_running(SPREAD_SECONDS)

    assert one.finish() == []


@only_long
def test_a_frozen_host_commits_nothing_when_it_wakes(load: StartApp, rack: Rack, measured: Measured) -> None:
    """The others have its tasks when it goes on in the middle of what it did; then it takes part again."""
    one = three_with_standbys(load)

    freeze_the_leader(one, rack, measured)

    assert one.finish() == []


@only_long
@pytest.mark.parametrize("way", ["both", "to the brokers", "from the brokers"])
def test_a_host_that_is_cut_off_is_replaced(load: StartApp, rack: Rack, measured: Measured, way: str) -> None:
    """Its tasks are taken by the others while it runs and knows nothing; healed, it takes part again."""
    one = three_with_standbys(load)
    victim = follower(one.cluster)

    fault = time.monotonic()
    if way != "from the brokers":
        rack.faults.cut_from(victim, NAMES)
    if way != "to the brokers":
        rack.faults.cut_from(NAMES, victim)
    recovered(one, fault, measured)
    pause(max(0.0, fault + CUT_SECONDS - time.monotonic()))
    rack.faults.heal()
    one.cluster.until_running(SPREAD_SECONDS)

    assert one.finish() == []


@only_long
def test_the_leader_may_be_cut_off(load: StartApp, rack: Rack, measured: Measured) -> None:
    """It cannot lead without the brokers, whatever it believes; healed, it follows."""
    one = three_with_standbys(load)
    victim = one.cluster.leader()

    fault = time.monotonic()
    rack.faults.cut(victim, NAMES)
    recovered(one, fault, measured)
    pause(max(0.0, fault + CUT_SECONDS - time.monotonic()))
    rack.faults.heal()
    one.cluster.until_running(SPREAD_SECONDS)
    one.cluster.until(lambda status: leader_of(status) != victim, "the leader is another one")

    assert one.finish() == []


@only_long
@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_killed_broker_moves_nothing(load: StartApp, rack: Rack, measured: Measured, node: int) -> None:
    """Whichever it was, hosts do without it; transactions wait for its successors, as long as by default."""
    one = load(*HOSTS, transaction_timeout=60)

    fault = time.monotonic()
    rack.brokers.kill(node)
    recovered(one, fault, measured)
    rack.brokers.bring_back()

    assert one.finish() == []


@only_long
def test_hosts_wait_while_all_brokers_are_away(load: StartApp, rack: Rack, measured: Measured) -> None:
    """No host ends, and none takes the others for dead for longer than it takes to hear them again."""
    one = load(*HOSTS)

    rack.brokers.kill()
    pause(AWAY_SECONDS)
    rack.brokers.bring_back()
    back = time.monotonic()
    recovered(one, back, measured)
    one.cluster.until_running(SPREAD_SECONDS)

    assert one.finish() == []


@only_long
def test_from_one_host_to_three_and_back(load: StartApp, measured: Measured) -> None:
    """Hosts join under load and take their share, and leave again: no partition is silent for long."""
    one = load("a")

    join_two(one, measured)
    leave_two(one, measured)

    assert one.finish() == []


@pytest.mark.timeout(600)
def test_hosts_join_freeze_die_and_leave(load: StartApp, rack: Rack, measured: Measured) -> None:
    """The short form of the tests above: one cluster lives through it all, and is judged once."""
    one = load("a")

    join_two(one, measured)
    freeze_the_leader(one, rack, measured)
    kill_the_leader(one, measured)
    leave_two(one, measured)

    assert one.finish() == []
