"""The arithmetic behind the figures of several hosts: whose commit it was, how long nothing came, when lag was back."""

from __future__ import annotations

import pytest

from streamcluster_coordinator.records.snapshot import Leader, Shape, Snapshot

from .hosts_timeline import Look, Timeline, all_known, partition_of


def timeline(committed: list[int], ends: list[int] | None = None) -> Timeline:
    """One look a second at partition 0, each of which takes a tenth."""
    reached = ends if ends is not None else committed
    looks = [Look(at, at + 0.1, {0: n}, {0: end}) for at, (n, end) in enumerate(zip(committed, reached, strict=True))]
    return Timeline(looks=looks)


def snapshot(epoch: int, owner: str | None, leader: str = "a", *, revoking: bool = False) -> Snapshot:
    """Who has the one task, and who leads."""
    return Snapshot(
        epoch=epoch,
        term=1,
        leader=Leader(host=leader, instance=leader),
        cluster_id="",
        topic_id="",
        shape=Shape(),
        owners={"t_0": owner} if owner is not None else {},
        revoking={"t_0": epoch} if revoking else {},
    )


def test_what_was_committed_before_is_no_first_commit() -> None:
    """The commit that had landed by the first look does not count, the next one does."""
    seen = timeline([5, 7, 7, 7, 9])

    assert seen.first_commit(0, 0.5) == pytest.approx(4.1)
    assert seen.first_commit(0, 3.5) is None


def test_longest_gap_counts_from_the_commit_before() -> None:
    """A silence that began before the time looked at is as long as it was, and one that goes on ends with the time."""
    seen = timeline([1, 2, 2, 2, 3, 4, 4, 4])

    assert seen.longest_gap(0, 2.5, 5.5) == pytest.approx(3)
    assert seen.longest_gap(0, 4.5, 20) == pytest.approx(20 - 5.1)
    assert seen.longest_gap(0, 0.5, 1.2) == pytest.approx(3)


def test_lag_is_back_when_it_is_no_more_than_it_was() -> None:
    """The largest lag before is what counts afterwards."""
    seen = timeline([10, 20, 20, 20, 45, 58], [12, 24, 34, 44, 54, 60])

    usual = seen.lag_max([0], 0, 1.5)
    assert usual == 4
    assert seen.caught_up([0], 2, usual) == pytest.approx(5.1)
    assert seen.caught_up([0], 2, 1) is None


def test_a_look_counts_from_its_beginning() -> None:
    """One that had begun before is none of afterwards."""
    seen = timeline([1, 2, 3])

    assert seen.looked(0.95) == pytest.approx(1.1)
    assert seen.looked(2.05) is None


def test_owner_is_told_by_the_control_log() -> None:
    """A task that is asked back is still its owner's; it is given when another host has it."""
    seen = Timeline(
        records=[
            (1, snapshot(1, "a/0")),
            (2, snapshot(2, "a/0", revoking=True)),
            (3, snapshot(3, None)),
            (4, snapshot(4, "b/1", "b")),
        ]
    )

    assert seen.reached(3) == 3
    assert seen.reached(5) is None
    assert seen.asked_back("t_0", 0) == 2
    assert seen.given("t_0", 0, "a") == 4
    assert seen.led(0, "a") == 4
    assert seen.led(4.5, "a") is None


def test_handover_lasts_from_the_question_to_the_first_commit() -> None:
    """The time in the control log, and that from there to a commit of the new owner."""
    seen = timeline([1, 2, 3, 3, 3, 3, 4, 5])
    seen.records = [
        (0.5, snapshot(1, "a/0")),
        (2.5, snapshot(2, "a/0", revoking=True)),
        (3, snapshot(3, None)),
        (3.5, snapshot(4, "b/1")),
        (5, snapshot(5, "b/1")),
    ]

    [found] = seen.handovers(1, 10)
    assert (found.task, found.moving) == ("t_0", 1)
    assert found.committing == pytest.approx(6.1 - 3.5)
    assert seen.handovers(4, 10) == []


def test_all_are_known_only_when_each_is() -> None:
    """The last of several times; none while one has not come."""
    assert all_known([1.0, 3.0, 2.0]) == 3.0
    assert all_known([1.0, None]) is None
    assert all_known([]) is None


def test_a_task_ends_with_its_partition() -> None:
    """Group and partition, with an underscore between them."""
    assert partition_of("4_11") == 11
