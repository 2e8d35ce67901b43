"""What came from outside and was not used: counted, said at the first time and then once a minute, shown in the status.

From any thread. It decides nothing about what is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from streamcluster.printable import printable

from .records.status import DroppedStatus

logger = logging.getLogger("streamcluster.coordinator")
SAY_EVERY_SECONDS = 60.0
# Of what others wrote, in a line.
_DETAIL_CHARS_MAX = 500


class _Place(msgspec.Struct):
    count: int = 0
    unsaid: int = 0
    # time.monotonic() of the last line; None: there was none.
    said_at: float | None = None
    last: str = ""


class Dropped:
    """Of one coordinator. The places are ours to name, so there are few."""

    __slots__ = ("_clock", "_lock", "_places")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}

    def add(self, place: str, detail: str, *, traceback: BaseException | None = None) -> None:
        """One more. detail: which one, and why; traceback: of an error that is ours to mend."""
        with self._lock:
            one = self._places.setdefault(place, _Place())
            one.count += 1
            one.unsaid += 1
            one.last = printable(detail[:_DETAIL_CHARS_MAX])
            now = self._clock()
            if one.said_at is not None and now < one.said_at + SAY_EVERY_SECONDS:
                return
            unsaid, one.unsaid, one.said_at = one.unsaid, 0, now
            more = "" if unsaid == 1 else f", and {unsaid - 1} more since the last line"
            text = f"{place}: not used: {one.last}{more}"
        logger.warning("%s", text, exc_info=traceback)

    def count(self, place: str, detail: str) -> None:
        """One more, which somebody else says."""
        with self._lock:
            one = self._places.setdefault(place, _Place())
            one.count += 1
            one.last = printable(detail[:_DETAIL_CHARS_MAX])

    def shown(self) -> tuple[DroppedStatus, ...]:
        """For the status, in the order of the places' names."""
        with self._lock:
            places = sorted(self._places.items())
            return tuple(DroppedStatus(place=place, count=one.count, last=one.last) for place, one in places)
