"""What the cases of the event-time suite aggregate with: see ../shared/event_time/README.md."""

from __future__ import annotations

import re
from typing import Any

from streamcluster.windows.kinds import Window

Row = list[Any]


def fill(template: str, **names: Any) -> str:
    """A template with its names replaced; null is printed as that."""
    return re.sub(r"\{(\w+)\}", lambda found: "null" if names[found[1]] is None else str(names[found[1]]), template)


def made(template: Any, **names: Any) -> Any:
    """What a template or a named function makes of these."""
    if not isinstance(template, dict):
        return fill(template, **names)
    if "const" in template:
        return template["const"]
    if "sum" in template:
        return sum(names[name] for name in template["sum"])
    if "list" in template:
        return [names[name] for name in template["list"]]
    parts = names[template.get("of", "v")].split(template["split"])
    part = parts[template["part"]] if len(parts) > template["part"] else None
    return None if part in template.get("null", ()) else part


class Fold:
    """One `agg` of a case. Aggregates begin as None."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    def add(self, before: Any, key: Any, value: Any, template: str | None = None) -> Any:
        """The aggregate with one more value."""
        match self.spec["fn"]:
            case "count":
                return (before or 0) + 1
            case "sum":
                return (before or 0) + value
            case "max":
                return value if before is None else max(before, value)
            case "min":
                return value if before is None else min(before, value)
            case "last":
                return value
            case "list":
                return [*(before or ()), value]
            case "reduce":
                return value if before is None else fill(self.spec["add"], a=before, v=value)
            case "fold":
                start = self.spec["init"] if before is None else before
                found = fill(template or self.spec["add"], a=start, v=value, k=key)
                return "".join(sorted(found)) if self.spec.get("sorted") else found
        raise ValueError(self.spec)

    def remove(self, before: Any, key: Any, value: Any) -> Any:
        """The aggregate without a value that was added."""
        match self.spec["fn"]:
            case "count":
                return before - 1
            case "sum":
                return before - value
        return fill(self.spec["sub"], a=before, v=value, k=key)

    def merge(self, first: Any, second: Any) -> Any:
        """The aggregate of two sessions, or of two parts of a window."""
        match self.spec["fn"]:
            case "count" | "sum" | "list":
                return first + second
            case "max":
                return max(first, second)
            case "min":
                return min(first, second)
            case "last":
                return second
            case "reduce":
                return fill(self.spec["add"], a=first, v=second)
            case "fold" if "merge" in self.spec:
                return fill(self.spec["merge"], a=first, b=second)
            case "fold":
                assert self.spec["add"].startswith("{a}"), "what is added comes behind"
                return first + second.removeprefix(self.spec["init"])
        raise ValueError(self.spec)


# Entries of tables: an aggregate and the largest timestamp in it


def no_value() -> Any:
    """An aggregate and the largest timestamp in it: none yet."""
    return (None, None)


def added(fold: Fold, template: str | None, before: Any, given: tuple[Any, Any, int]) -> Any:
    """The entry with one more event."""
    key, value, at = given
    total, latest = before
    return fold.add(total, key, value, template), at if latest is None else max(latest, at)


def merged(fold: Fold, first: Any, second: Any) -> Any:
    """The entry of two sessions, or of two parts of a window."""
    if no_value() in (first, second):
        return second if first == no_value() else first
    return fold.merge(first[0], second[0]), max(first[1], second[1])


def row_of(value: Any, window: Window | None) -> Row:
    """Value, timestamp and window of a row, in ms; a deletion is of the window's end."""
    bounds = None if window is None else [round(window.start * 1000), round(window.end * 1000)]
    total, at = (None, bounds and bounds[1]) if value is None else value
    return [total, at, bounds] if bounds else [total, at]
