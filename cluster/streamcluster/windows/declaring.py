"""How tables get windows: `app.Table(...).tumbling(60)`, `.hopping(60, 10)`, `.session(30)`, `.sliding(60)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..checks import Seconds
from ..errors import AppError
from ..topics import Topic
from .durations import at_least_zero, from_zero, milliseconds
from .faust_windows import FaustWindow, HoppingWindow, TumblingWindow
from .kinds import DAY_MS, Days, Hopping, Kind, Session, Sliding
from .ports import KeepingTable
from .windowed import WindowedTable


class Windowing:
    """The methods of a table that give it windows. Common arguments:

    grace: how long, in event time, a window takes events after its end; 0 when left out. expires: how long after its
    end it can be read, if that is longer. late: a topic for events that come when all their windows are closed.
    """

    name: str

    def tumbling(
        self,
        size: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: Topic | None = None,
        offset: Seconds | None = None,
        tz: str | ZoneInfo | None = None,
    ) -> WindowedTable:
        """Windows of `size` that follow each other.

        Args:
            size: seconds, of any fraction down to a millisecond, or a timedelta.
            expires, grace, late: see the class. key_index: not needed, `.items()` works.
            offset: windows begin so long after multiples of `size` since 1970-01-01 UTC.
            tz: a time zone ("Europe/Berlin"): days begin at its midnight, and have 23 or 25 hours when it says so.
        """
        del key_index
        what = f"table {self.name!r}"
        size_ms, offset_ms = milliseconds(f"{what}: size", size), at_least_zero(f"{what}: offset", offset)
        kind: Kind = Hopping(size_ms, size_ms, offset_ms)
        if tz is not None:
            kind = _days(what, size_ms, offset_ms, tz)
        return self._windowed(kind, grace=grace, expires=expires, late=late)

    def hopping(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: Topic | None = None,
        offset: Seconds | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
    ) -> WindowedTable:
        """Windows of `size` that begin each `step`: an event is in several. Arguments as of `tumbling`.

        Each event writes all of its windows, size / step of them. With `merge` it writes one row.

        Args:
            size, step, expires, grace, late, offset: as of `tumbling`.
            merge: the value of what two parts of a window hold, the older first: what came for one is kept apart from
                the others', and merged where a window is read or given out. `merge=operator.add` for what `+=` counts.
        """
        del key_index
        what = f"table {self.name!r}"
        size_ms, step_ms = milliseconds(f"{what}: size", size), milliseconds(f"{what}: step", step)
        if step_ms > size_ms:
            raise AppError(f"{what}: step={step!r} is longer than size={size!r}: events between windows were in none.")
        kind = Hopping(size_ms, step_ms, at_least_zero(f"{what}: offset", offset))
        return self._windowed(kind, grace=grace, expires=expires, late=late, merge=merge)

    def session(
        self,
        gap: Seconds,
        expires: Seconds | None = None,
        *,
        grace: Seconds | None = None,
        late: Topic | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
    ) -> WindowedTable:
        """Windows of the events of a key that are no more than `gap` apart, from the first event to the last.

        Args:
            gap: seconds, or a timedelta.
            expires, grace, late: see the class.
            merge: the value of two sessions, oldest first, that an event between them joins; of default=int, float,
                str, list, dict and set it is known.
        """
        kind = Session(milliseconds(f"table {self.name!r}: gap", gap))
        return self._windowed(kind, grace=grace, expires=expires, late=late, merge=merge)

    def using_window(self, window: FaustWindow, key_index: bool = False) -> WindowedTable:
        """Windows as one of Faust's classes says: `table.using_window(HoppingWindow(60, 10))`."""
        del key_index
        match window:
            case TumblingWindow(size, expires, grace=grace, late=late, offset=offset):
                return self.tumbling(size, expires, grace=grace, late=late, offset=offset)
            case HoppingWindow(size, step, expires, grace=grace, late=late, offset=offset):
                return self.hopping(size, step, expires, grace=grace, late=late, offset=offset)
        raise AppError(
            f"table {self.name!r}: window={window!r} is none: give TumblingWindow(60) or HoppingWindow(60, 10), or "
            "call .session(30)."
        )

    def sliding(
        self,
        size: Seconds,
        expires: Seconds | None = None,
        *,
        grace: Seconds | None = None,
        late: Topic | None = None,
    ) -> WindowedTable:
        """A window for each set of events of a key that are no more than `size` apart, as Kafka Streams has them.

        `table[key].value()` is what came within `size` up to the event in hand. Each event writes all windows that it
        is in: about as many as its key had events in the last `size`.

        Args:
            size: seconds, or a timedelta; with 0 what has one time is together.
            expires, grace, late: see the class.
        """
        kind = Sliding(from_zero(f"table {self.name!r}: size", size))
        return self._windowed(kind, grace=grace, expires=expires, late=late)

    def beside(self, suffix: str, help: str) -> Any:
        """An internal table of the same keys and values, for what the operator keeps of it."""
        own, kind = cast(Any, self), cast(Any, type(self))
        found = kind(
            f"{self.name}-{suffix}",
            default=own.default,
            key_type=own.key_type,
            value_type=own.value_type,
            key_serializer=own.key_serializer,
            value_serializer=own.value_serializer,
            partitions=own.partitions,
            migrate=own.migrate,
            help=f"{help}: of {self.name}",
        )
        found.code_keys(own.key_coding, own.key_decoding)
        own.besides.append(found)
        return found

    def _windowed(self, kind: Kind, **options: Any) -> WindowedTable:
        return WindowedTable(cast(KeepingTable, self), kind, **options)


def _days(what: str, size: int, offset: int, tz: str | ZoneInfo) -> Days:
    if size % DAY_MS:
        raise AppError(f"{what}: tz= is for windows of whole days; shorter ones begin at the same time in all zones.")
    if offset >= DAY_MS:
        raise AppError(f"{what}: offset= with tz= is a time of day: less than 24 hours.")
    try:
        return Days(size // DAY_MS, ZoneInfo(tz) if isinstance(tz, str) else tz, offset)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise AppError(f"{what}: tz={tz!r} is no time zone that this machine knows.") from error
