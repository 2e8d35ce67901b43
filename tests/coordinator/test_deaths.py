"""Which ends of a worker may be an event's doing: the next process is told of those, and is careful."""

from __future__ import annotations

import pytest

from streamcluster.errors import ExitCode
from streamcluster.ids import Slot
from streamcluster_coordinator.machine.ends import _may_be_killed_by_event
from streamcluster_coordinator.machine.events import WorkerFailed, WorkerGone
from streamcluster_coordinator.machine.slots import SlotProcess

SLOT = Slot(0)
FAILED = WorkerFailed(SLOT, 1, "NameError: orders")


@pytest.mark.parametrize(
    ("place", "code", "expected"),
    [
        (SlotProcess(SLOT), -11, True),
        (SlotProcess(SLOT), 3, True),
        # The fork server may be late to tell on a busy machine; a killer must be found out there, too.
        (SlotProcess(SLOT), None, True),
        (SlotProcess(SLOT), ExitCode.FENCED, False),
        (SlotProcess(SLOT), ExitCode.BROKER_UNREACHABLE, False),
        (SlotProcess(SLOT, failure=FAILED), 1, False),
        (SlotProcess(SLOT, cause="it did not drain in time"), -9, False),
        (SlotProcess(SLOT, cause="its loop stood for 60 s", hung=True), -9, True),
    ],
)
def test_what_may_be_an_events_doing(place: SlotProcess, code: int | None, expected: bool) -> None:
    """Not what says why it ends, nor what we end on purpose, unless it hung."""
    assert _may_be_killed_by_event(place, WorkerGone(SLOT, 7, code)) is expected
