"""The schedule of faults: the same for the same seed, complete, and within its bounds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster_coordinator.broker import KAFKA_VERSION, pinned_versions
from tests.ledger.broker_faults import ends_skipped
from tests.ledger.faults import (
    BROKER_FAULTS,
    EVENT_AND_STORE_FAULTS,
    GAP_MAX,
    GAP_MIN,
    WORKER_AND_HOST_FAULTS,
    schedule,
)
from tests.releases import release_for


@given(seed=st.integers(), seconds=st.floats(0, 2_000), mean_gap=st.floats(0.5, 60))
def test_the_same_seed_gives_the_same_faults(seed: int, seconds: float, mean_gap: float) -> None:
    """In order of their times, all within the run, with gaps around the mean."""
    faults = schedule(seed, seconds, mean_gap, with_brokers=True)

    assert faults == schedule(seed, seconds, mean_gap, with_brokers=True)
    times = [0.0, *(fault.at for fault in faults)]
    assert all(fault.at < seconds + 0.001 for fault in faults)
    for before, after in pairwise(times):
        assert GAP_MIN * mean_gap - 0.01 <= after - before <= GAP_MAX * mean_gap + 0.01


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    """So a failure late in a run is played again with all that was before it."""
    short = schedule(7, 100, 5, with_brokers=True)

    assert schedule(7, 500, 5, with_brokers=True)[: len(short)] == short


def test_every_kind_comes_before_any_comes_again_out_of_turn() -> None:
    """One deck has all kinds; without own brokers none of theirs."""
    ours = {**WORKER_AND_HOST_FAULTS, **EVENT_AND_STORE_FAULTS}
    offered = {**ours, **BROKER_FAULTS}
    cards = sum(count for count, _ in offered.values())

    first = schedule(3, 10_000, 5, with_brokers=True)[:cards]

    assert {fault.kind for fault in first} == {*offered}
    assert {fault.kind for fault in schedule(3, 10_000, 5, with_brokers=False)} == {*ours}


def test_only_kinds_that_a_run_has_can_be_asked_for() -> None:
    """A broker's fault makes no sense on somebody else's broker."""
    assert {fault.kind for fault in schedule(3, 500, 5, with_brokers=True, kinds=["kill host"])} == {"kill host"}
    with pytest.raises(ValueError, match="kill broker"):
        schedule(3, 500, 5, with_brokers=False, kinds=["kill broker"])


def test_a_lone_broker_is_of_a_release_that_can_be_run() -> None:
    """And several are of the one that runs by default."""
    assert release_for(1) in pinned_versions()
    assert release_for(3) == KAFKA_VERSION


def test_what_brokers_skip_is_counted_from_all_their_logs(tmp_path: Path) -> None:
    """In the words of Kafka 4.4.0, also in logs that were rolled."""
    said = (
        "[2026-11-28 16:35:16,395] INFO [Transaction Marker Channel Manager 1]: Couldn't find leader endpoint for "
        "partitions Set(t-5, __consumer_offsets-3) while trying to send transaction markers for s0, these partitions "
        "are likely deleted already and hence can be skipped (TransactionMarkerChannelManager)\n"
    )
    for node, name, text in ((1, "server.log", f"up\n{said}"), (1, "server.log.1", said), (2, "server.log", "up\n")):
        (tmp_path / f"node-{node}").mkdir(exist_ok=True)
        (tmp_path / f"node-{node}" / name).write_text(text)

    assert ends_skipped(tmp_path) == 2
