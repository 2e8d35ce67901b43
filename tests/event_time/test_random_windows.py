"""Windows of random events, with crashes and commits anywhere: each closes once, with what a small model says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable

# Key, time in seconds, whether it is committed, and what is done behind it.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(1, 60),
        st.booleans(),
        st.sampled_from(["", "", "", "crash", "lose"]),
    ),
    max_size=25,
)
KINDS: dict[str, dict[str, int]] = {
    "tumbling": {"size": 10},
    "hopping": {"size": 10, "step": 4},
    "session": {"gap": 5},
}
# Behind all of them: what is open closes.
LAST = 1000


@dataclass
class Model:
    """Counts by the rules: the time is the largest one seen, also of events that are late."""

    kind: str
    grace: int
    time: int = 0
    open: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    late: int = 0

    def is_over(self, end: int) -> bool:
        if self.kind == "session":
            return end + KINDS["session"]["gap"] + self.grace < self.time
        return end + self.grace <= self.time

    def add(self, key: str, at: int) -> None:
        self.time = max(self.time, at)
        if self.kind == "session":
            self._add_session(key, at, KINDS["session"]["gap"])
            return
        size = KINDS[self.kind]["size"]
        step = KINDS[self.kind].get("step", size)
        spans = [(start, start + size) for start in range(0, at + 1, step) if start <= at < start + size]
        taken = [span for span in spans if not self.is_over(span[1])]
        self.late += not taken
        for start, end in taken:
            self.open[key, start, end] += 1

    def _add_session(self, key: str, at: int, gap: int) -> None:
        near = [one for one in self.open if one[0] == key and one[1] - gap <= at <= one[2] + gap]
        near = [one for one in near if not self.is_over(one[2])]
        start, end = min([at, *(one[1] for one in near)]), max([at, *(one[2] for one in near)])
        if self.is_over(end):
            self.late += 1
            return
        self.open[key, start, end] = 1 + sum(self.open.pop(one) for one in near)


def make_app(kind: str, grace: int) -> App:
    app = App("random")
    events = app.topic("events", key_type=str, value_type=int)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    table = app.Table("counts", key_type=str, default=int)
    counts: WindowedTable = getattr(table, kind)(**KINDS[kind], grace=grace, late=late)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @counts.on_close
    async def close(key: str, window: Window, number: int) -> None:
        await closed.send(key=key, value=[window.start, window.end, number])

    return app


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=40, deadline=None)
@given(events=EVENTS, grace=st.sampled_from([0, 3, 12]))
def test_each_window_closes_once_with_what_the_model_says(
    kind: str, events: list[tuple[str, int, bool, str]], grace: int
) -> None:
    """Whatever was committed when it crashed, and whether the store was lost with it."""
    model = Model(kind, grace)
    with Driver(make_app(kind, grace)) as driver:
        for key, at, is_committed, then in [*events, ("z", LAST, True, "")]:
            driver.send("events", key=key, value=1, timestamp=at, commit=is_committed)
            model.add(key, at)
            if then:
                driver.crash(lose_stores=then == "lose")
        got = [(one.key, *map(int, one.value)) for one in driver.output("closed")]
        want = [(*window, count) for window, count in model.open.items() if model.is_over(window[2])]
        assert sorted(got) == sorted(want)
        assert len(driver.output("late")) == model.late
