"""When the leader plans anew: when what a plan depends on has changed, in a large cluster not more often than it can.

A plan of 10,000 tasks takes about half a second, and in a large cluster something changes all the time: hundreds of
tasks start, and each says so. What somebody waits for is planned at once all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..records.report import HostReport, HostRows
from ..records.status import TaskStatus
from .plan import standby_lag
from .view import View

# Plans of fewer tasks take milliseconds.
TASKS_AT_ONCE = 1_000
# Seconds between two plans for news of slots, per task; news of tasks may wait five times as long.
PAUSE_SECONDS_PER_TASK = 0.0001
ROWS_FACTOR = 5
# Changes of load and lag alone are looked at so often.
LOOK_SECONDS = 10.0
LOOK_SECONDS_PER_TASK = 0.01


class Outlook(msgspec.Struct, frozen=True):
    """What a plan depends on; loads and lags move all the time, so they count when they mean something else.

    urgent: epochs, hosts that are dead, fences, requests. slots: what hosts say of their slots. rows: of their tasks.
    """

    urgent: object
    slots: object
    rows: object


class Pace(msgspec.Struct):
    """Of one term. tasks: how many the app has."""

    tasks: int
    planned: Outlook | None = None
    planned_at: float = float("-inf")
    # host -> the rows that were looked at last, and what of them a plan depends on.
    standings: dict[str, tuple[HostRows, object]] = msgspec.field(default_factory=dict)

    def is_due(self, outlook: Outlook, now: float) -> bool:
        """Whether a plan from this would be another than the last one, and may be made now. True: it is made."""
        if not self._may_plan(outlook, now - self.planned_at):
            return False
        self.planned, self.planned_at = outlook, now
        return True

    def is_slow(self) -> bool:
        """Whether a plan takes so long that news had better be taken together."""
        return self.tasks > TASKS_AT_ONCE

    def _may_plan(self, outlook: Outlook, seconds: float) -> bool:
        if self.planned is None or outlook.urgent != self.planned.urgent:
            return True
        pause = PAUSE_SECONDS_PER_TASK * self.tasks if self.is_slow() else 0.0
        if outlook.slots != self.planned.slots:
            return seconds >= pause
        return seconds >= ROWS_FACTOR * pause and outlook.rows != self.planned.rows

    def outlook(
        self, view: View, urgent: object, reports: Mapping[str, HostReport], fenced: object, *, is_moving: bool
    ) -> Outlook:
        """Of what is heard.

        Args:
            view: of the leader.
            urgent: what is planned for at once.
            reports: that count.
            fenced: fences that are done, urgent ones among them.
            is_moving: somebody is to give tasks back, so it counts which epochs hosts have read.
        """
        slots = tuple(
            (one.host, one.instance, one.state, one.slots, one.roll_done, one.epoch_read if is_moving else 0)
            for one in reports.values()
        )
        rows = tuple(self._standing(view, host) for host in reports)
        self.standings = {host: self.standings[host] for host in reports if host in self.standings}
        look = int(view.now / max(LOOK_SECONDS, LOOK_SECONDS_PER_TASK * self.tasks))
        return Outlook(urgent, (fenced, slots), (rows, look))

    def _standing(self, view: View, host: str) -> object:
        rows = view.heard[host].rows()
        if rows is None:
            return None
        known = self.standings.get(host)
        if known is None or known[0] is not rows:
            lag_max = view.settings.standby_lag_max
            tasks = tuple((one.task, one.slot, one.state, _is_warm(one, lag_max)) for one in rows.tasks)
            standing: object = (tasks, tuple(rows.stored))
            # The same object, when it says the same: it is compared for each host, many times a second.
            known = self.standings[host] = (rows, known[1] if known and known[1] == standing else standing)
        return known[1]


def _is_warm(status: TaskStatus, lag_max: int) -> bool:
    lag = standby_lag(status)
    return lag is not None and lag <= lag_max
