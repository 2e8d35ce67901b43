"""What a host believes of others: who is alive, by its own clock, and what it forgets."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.settings import make_settings
from streamcluster_coordinator.machine.view import HOSTS_MAX, STRIKE_SECONDS, STRIKES_MAX, View
from streamcluster_coordinator.records.report import HostReport, HostRows, encode_rows
from streamcluster_coordinator.records.snapshot import HostEntry, Shape, Snapshot

SETTINGS = make_settings({"id": "shop"})


def report(host: str, sequence: int = 1, instance: str | None = None) -> HostReport:
    """A sign of life."""
    return HostReport(
        host=host,
        instance=instance or f"{host}1",
        pid=1,
        machine=host,
        sequence=sequence,
        epoch_read=1,
        state="member",
        shape=None,
        slots=(),
    )


def view_of(*names: str) -> View:
    """That of host a, in a cluster of these."""
    view = View(SETTINGS, "a", "a1", now=100.0, started_at=100.0, echo_at=100.0, leader_at=100.0)
    hosts = {name: HostEntry(instance=f"{name}1", slots=(0,), superseded=(f"{name}0",)) for name in names}
    view.read(Snapshot(epoch=1, term=1, leader=None, cluster_id="", topic_id="", shape=Shape(), hosts=hosts))
    for name in names:
        view.hear(report(name))
    return view


def test_a_superseded_coordinator_is_not_listened_to() -> None:
    """It may go on for a moment; what it says counts as nothing."""
    view = view_of("a", "b")
    view.tick(100.5)
    view.hear(report("b", 99, instance="b0"))

    assert view.heard["b"].report.instance == "b1"
    assert view.silence("b") > 0


def test_a_report_that_was_heard_already_is_no_sign_of_life() -> None:
    """The status topic may say a thing twice."""
    view = view_of("a", "b")
    view.tick(100.5)
    view.hear(report("b", 1))

    assert view.silence("b") == 0.5


def test_each_mistake_doubles_the_patience_up_to_a_bound_and_is_forgotten() -> None:
    """Patience grows with mistakes in a row, and is as before after a quiet while (H21)."""
    view = view_of("a", "b")
    found = [view.patience("b")]
    for _ in range(STRIKES_MAX + 2):
        view.strike("b")
        found.append(view.patience("b"))
    assert found == [3.0, 6.0, 12.0, 24.0, 24.0, 24.0]

    view.now += STRIKE_SECONDS
    assert view.patience("b") == 3.0


def test_hosts_that_never_come_again_are_forgotten() -> None:
    """Names of containers are new with each start; registered hosts are kept, for the log has them."""
    view = view_of("a", "b")
    for number in range(1000):
        view.tick(view.now + 1.0)
        view.hear(report("a", number + 2))
        view.hear(report(f"pod{number}"))

    assert len(view.heard) <= STRIKE_SECONDS + 3
    assert "b" in view.heard


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-5.0, 5.0)), max_size=40))
def test_nobody_is_dead_who_was_heard_within_the_time(steps: list[tuple[str, float]]) -> None:
    """Whatever the clock does, ahead or back (H19)."""
    view = view_of("a", "b", "c")
    for number, (name, seconds) in enumerate(steps, 2):
        view.tick(view.now + seconds)
        view.hear(report(name, number))

        assert name not in view.dead(["a", "b", "c"])
        assert "a" not in view.dead(["a", "b", "c"])


def test_a_forged_sequence_silences_a_host_for_two_reports_only() -> None:
    """Reports that come twice, in disorder, are still passed over."""
    view = View(make_settings({"id": "shop"}), "a", "a1", now=100.0)
    for sequence in (5, 1 << 50, 6):
        view.hear(report("b", sequence))
    assert view.heard["b"].report.sequence == 1 << 50

    view.hear(report("b", 7))
    assert view.heard["b"].report.sequence == 7
    view.hear(report("b", 7))
    view.hear(report("b", 5))
    assert view.heard["b"].report.sequence == 7


def test_rows_that_cannot_be_read_leave_the_ones_before_and_are_named() -> None:
    """The rest of the report counts."""
    view = View(make_settings({"id": "shop"}), "a", "a1", now=100.0)
    good = msgspec.structs.replace(report("b", 1), rows=encode_rows(HostRows(stored={"2_0": 5})))
    view.hear(good)
    assert view.heard["b"].rows() == HostRows(stored={"2_0": 5})
    view.hear(msgspec.structs.replace(good, sequence=2, rows=msgspec.Raw(b'{"stored":{"nonsense":5}}')))

    assert view.heard["b"].rows() == HostRows(stored={"2_0": 5})
    assert "$.stored" in (view.heard["b"].trouble or "")
    view.hear(msgspec.structs.replace(good, sequence=3))
    assert view.heard["b"].rows() == HostRows(stored={"2_0": 5})
    assert view.heard["b"].trouble is None


def test_hosts_that_are_made_up_do_not_fill_the_memory() -> None:
    """Those that the log has are heard all the same."""
    view = View(make_settings({"id": "shop"}), "a", "a1", now=100.0)
    for number in range(HOSTS_MAX + 10):
        view.hear(report(f"x{number}"))
    assert len(view.heard) == HOSTS_MAX
