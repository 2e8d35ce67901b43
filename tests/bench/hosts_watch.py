"""Looks at commits, ends and the control log all the time, in a thread. Decides nothing, computes nothing.

It asks the broker alone, so the hosts that are measured have no work with it.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streamcluster_coordinator.records.snapshot import control_topic, decode_snapshot

from .hosts_timeline import Look, Timeline
from .topics import Group

# Between two looks; each takes some milliseconds itself.
LOOK_SECONDS = 0.02
END_SECONDS = 60.0


class HostsWatch:
    """What the group of an app has committed in one source, from now on, until it is closed."""

    def __init__(self, bootstrap: str, app_id: str, source: str) -> None:
        self._source = source
        self._group = Group(bootstrap, app_id)
        self._topic = control_topic(app_id)
        self._control = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{app_id}-bench",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._control.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._timeline = Timeline()
        self._enough = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def timeline(self) -> Timeline:
        """What was seen so far. It grows. Raises RuntimeError when nobody looks any more."""
        if self._failure is not None:
            raise RuntimeError(f"the commits of {self._source} are not watched any more: {self._failure}")
        return self._timeline

    def close(self) -> None:
        """End the thread."""
        self._enough.set()
        self._thread.join(END_SECONDS)
        self._control.close()
        self._group.close()

    def _run(self) -> None:
        try:
            while not self._enough.is_set():
                self._read_control()
                self._look()
        except Exception as error:  # noqa: BLE001
            # The thread's boundary: whoever asks next is told.
            self._failure = error

    def _read_control(self) -> None:
        """Wait for the next look, or for records, all of which are noted when they come."""
        message = self._control.poll(LOOK_SECONDS)
        while message is not None:
            value = message.value() if message.error() is None else None
            if value is not None:
                self._timeline.records.append((time.monotonic(), decode_snapshot(value)))
            message = self._control.poll(0)

    def _look(self) -> None:
        began = time.monotonic()
        committed = self._group.committed([self._source])
        ends = self._group.ends([self._source])
        at = time.monotonic()
        self._timeline.looks.append(
            Look(began, at, {place[1]: n for place, n in committed.items()}, {place[1]: n for place, n in ends.items()})
        )
