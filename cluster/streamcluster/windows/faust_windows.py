"""Windows as values, as Faust has them: `app.Table(..., window=TumblingWindow(60))`, `table.using_window(...)`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from ..checks import Seconds
from ..faust_names import WINDOW, names_what_is_missing
from ..topics import Topic
from .durations import milliseconds
from .kinds import Hopping, Window, window_of


@names_what_is_missing(WINDOW, "window")
@dataclass(frozen=True)
class TumblingWindow:
    """Windows of `size` that follow each other; the arguments are those of `table.tumbling`."""

    size: Seconds
    expires: Seconds | None = None
    _: KW_ONLY
    grace: Seconds | None = None
    late: Topic | None = None
    offset: Seconds | None = None

    def ranges(self, timestamp: float) -> list[Window]:
        """The window of a time, in seconds since 1970."""
        return ranges_of(self, self.size, timestamp)

    def current(self, timestamp: float) -> Window:
        """The same."""
        return self.ranges(timestamp)[-1]

    def delta(self, timestamp: float, d: Seconds) -> Window:
        """The window of so long before."""
        return self.current(timestamp - milliseconds("window: d", d) / 1000)


@names_what_is_missing(WINDOW, "window")
@dataclass(frozen=True)
class HoppingWindow:
    """Windows of `size` that begin each `step`; the arguments are those of `table.hopping`."""

    size: Seconds
    step: Seconds
    expires: Seconds | None = None
    _: KW_ONLY
    grace: Seconds | None = None
    late: Topic | None = None
    offset: Seconds | None = None

    def ranges(self, timestamp: float) -> list[Window]:
        """The windows of a time, in seconds since 1970, oldest first."""
        return ranges_of(self, self.step, timestamp)

    def current(self, timestamp: float) -> Window:
        """The newest of them."""
        return self.ranges(timestamp)[-1]

    def earliest(self, timestamp: float) -> Window:
        """The oldest of them."""
        return self.ranges(timestamp)[0]

    def delta(self, timestamp: float, d: Seconds) -> Window:
        """The newest window of so long before."""
        return self.current(timestamp - milliseconds("window: d", d) / 1000)


FaustWindow = TumblingWindow | HoppingWindow


def ranges_of(window: TumblingWindow | HoppingWindow, step: Seconds, timestamp: float) -> list[Window]:
    """The windows of a time, oldest first."""
    offset = milliseconds("window: offset", window.offset) if window.offset else 0
    kind = Hopping(milliseconds("window: size", window.size), milliseconds("window: step", step), offset)
    return [window_of(span) for span in kind.spans(round(timestamp * 1000))]
