"""Repeated log lines: of one kind at one place a few a minute, and then how many more there were.

A topic full of records that fail, or brokers that come and go, must not fill a disk, nor hide the line that matters. A
kind is a line's text in the code, and its place what that is first about: an agent, a task, a partition.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

# So many say what goes wrong, with examples; what comes after them says it again.
LINES_MAX = 5
SECONDS = 60.0
# Of places that are told apart: more than an app has of agents, tasks and partitions that fail within a minute.
PLACES_MAX = 1_000
_PLACE_CHARS_MAX = 200
_Key = tuple[str, int, str, str]


@dataclass(slots=True)
class _Seen:
    """Of one kind and place. since: when its minute began; last: the newest line that was left out."""

    since: float
    lines: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


@dataclass(slots=True)
class Repeats:
    """A filter for a handler. loggers: whose lines are limited, with those below them; users say what they like.

    emit: takes the lines that tell of what was left out; the handler itself, which asks here again.
    """

    loggers: Collection[str]
    emit: Callable[[logging.LogRecord], object]
    now: Callable[[], float] = time.monotonic
    _seen: dict[_Key, _Seen] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # Tells of them when a minute is over and nothing else is said.
    _timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be shown. What is no trouble always is."""
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in self.loggers:
            return True
        self._tell(SECONDS if len(self._seen) < PLACES_MAX else 0.0)
        key, now = _key_of(record), self.now()
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or now - seen.since >= SECONDS:
                seen = self._seen[key] = _Seen(now)
            seen.lines += 1
            if seen.lines <= LINES_MAX:
                return True
            seen.left_out += 1
            seen.last = record
            if self._timer is None:
                self._timer = threading.Timer(SECONDS, self._alarm)
                self._timer.daemon = True
                self._timer.start()
            return False

    def _alarm(self) -> None:
        with self._lock:
            self._timer = None
        self._tell(SECONDS)

    def tell_all(self) -> None:
        """Tell of all that was left out, also in the minute that is not over: the process ends."""
        self._tell(0.0)

    def _tell(self, seconds: float) -> None:
        """Tell of what was left out in minutes that began so long ago, and forget them."""
        now = self.now()
        with self._lock:
            over = [key for key, seen in self._seen.items() if now - seen.since >= seconds]
            found = [self._seen.pop(key) for key in over]
        for seen in found:
            if seen.last is not None:
                self.emit(_summary(seen.last, seen.left_out, now - seen.since))


def _key_of(record: logging.LogRecord) -> _Key:
    args = record.args
    first = args[0] if isinstance(args, tuple) and args else ""
    return record.name, record.levelno, str(record.msg), str(first)[:_PLACE_CHARS_MAX]


def _summary(last: logging.LogRecord, count: int, seconds: float) -> logging.LogRecord:
    """One line for many."""
    more = "1 more line" if count == 1 else f"{count:,} more lines"
    text = f"{more} like this in {max(1, round(seconds))} s, the last: {last.getMessage()}"
    return logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, "%s", (text,), None)
