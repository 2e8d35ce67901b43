"""What the cases of the event-time suite aggregate with: see ../shared/event_time/README.md."""

from __future__ import annotations

import re
from typing import Any


def fill(template: str, **names: Any) -> str:
    """A template with its names replaced; null is printed as that."""
    return re.sub(r"\{(\w+)\}", lambda found: "null" if names[found[1]] is None else str(names[found[1]]), template)


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
