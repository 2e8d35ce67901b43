"""When outputs of each partition arrived, and what that says of a fault: first outputs after it, longest silence. Pure.

A partition is what one task writes to, so its silence is that the task stands still. Times are those of one clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

Place = tuple[str, int]
# A worker that dies may have committed a moment before, which its reader sees a moment later.
_BEGUN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which a partition got nothing."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.begin


@dataclass(slots=True)
class Arrivals:
    """Times of arrival by topic and partition, oldest first."""

    times: dict[Place, list[float]] = field(default_factory=dict)

    def note(self, place: Place, at: float) -> None:
        """Something arrived."""
        self.times.setdefault(place, []).append(at)

    def first_after(self, fault: float, now: float) -> float:
        """Seconds from a fault until every partition that it silenced had a new record, or until now."""
        found = [0.0]
        for spans in self._silences(fault, now).values():
            # What began later is another story, for example of a short pause to commit.
            begun = [span for span in spans if span.begin <= fault + _BEGUN_SECONDS]
            found.append(_longest(begun).end - fault)
        return max(found)

    def longest(self, since: float, now: float) -> float:
        """The longest silence of any partition, in seconds; one that goes on counts up to now."""
        return max((_longest(spans).seconds for spans in self._silences(since, now).values()), default=0.0)

    def silent(self, topic: str, partitions: int, since: float) -> list[int]:
        """The partitions of a topic that got nothing after `since`."""
        lasts = [self.times.get((topic, number), [])[-1:] for number in range(partitions)]
        return [number for number, last in enumerate(lasts) if not last or last[0] <= since]

    def _silences(self, since: float, now: float) -> Mapping[Place, list[Silence]]:
        """The silences of each partition from `since` to now; those that never had a record are left out."""
        found: dict[Place, list[Silence]] = {}
        # Copies, because a thread may note more meanwhile.
        for place, times in list(self.times.items()):
            spans = [since, *(at for at in list(times) if at > since), now]
            found[place] = [Silence(begin, end) for begin, end in pairwise(spans)]
        return found


def _longest(spans: Iterable[Silence]) -> Silence:
    return max(spans, key=lambda span: span.seconds)
