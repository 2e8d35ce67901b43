"""What is not used is counted and shown, and said once a minute."""

from __future__ import annotations

import logging

import pytest

from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import DroppedStatus


def test_all_are_counted_and_one_a_minute_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Place by place, in characters that no terminal acts on."""
    now = [100.0]
    dropped = Dropped(lambda: now[0])
    with caplog.at_level(logging.WARNING, "streamcluster.coordinator"):
        for number in range(5):
            dropped.add("topic x", f"record {number}: \x1b]0;x\x07")
        dropped.add("the control socket", "no")
        now[0] += 60.0
        dropped.add("topic x", "record 5")

    assert [record.getMessage() for record in caplog.records] == [
        r"topic x: not used: record 0: \x1b]0;x\x07",
        "the control socket: not used: no",
        "topic x: not used: record 5, and 4 more since the last line",
    ]
    assert dropped.shown() == (
        DroppedStatus(place="the control socket", count=1, last="no"),
        DroppedStatus(place="topic x", count=6, last="record 5"),
    )
