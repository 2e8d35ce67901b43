"""Joins of tables under random changes, crashes, and topics that are held back: they end where a small model does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, Topic
from streamcluster.batch import Batch
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads

KEYS = st.sampled_from("ab")
CHANGES = ("left", "right", "no left", "no right")
STEPS = st.lists(
    st.one_of(
        # A left row and the key that it names, or none; a right row; deletions; what is not committed at once.
        st.tuples(st.just("left"), KEYS, st.sampled_from(["a", "b", None]), st.booleans()),
        st.tuples(st.just("right"), KEYS, st.none(), st.booleans()),
        st.tuples(st.sampled_from(["no left", "no right"]), KEYS, st.none(), st.booleans()),
        st.tuples(st.sampled_from(["crash", "lose", "move"]), st.none(), st.none(), st.none()),
        st.tuples(
            st.sampled_from(["hold", "release"]),
            st.sampled_from(
                ["left-changelog", "joined-subscriptions", "joined-subscriptions", "joined-answers", "joined-answers"]
            ),
            st.none(),
            st.none(),
        ),
    ),
    max_size=30,
)

# A partner is read together with its deletion, when what there was without it has been told.
COMES_AND_GOES = [
    ("right", "a", None, False),
    ("hold", "left-changelog", None, None),
    ("left", "a", "a", False),
    ("crash", None, None, None),
    ("no left", "a", None, True),
]


class HeldReads:
    """A consumer to which nothing comes of the topics in `held`."""

    def __init__(self, reads: SimulatedReads, held: set[str]) -> None:
        self._reads = reads
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    def poll(self, room: Callable[[int], int]) -> list[Batch]:
        """Of the others."""
        positions = self._reads.positions
        held = {tp: positions.pop(tp) for tp in list(positions) if tp.topic in self._held}
        batches = self._reads.poll(room)
        positions |= held
        return batches


def joining(how: str, *, foreign: bool) -> App:
    """A table of a topic, and one that an agent writes; every change of what comes of both goes to "told"."""
    app = App("joining")
    lefts = app.topic("lefts", key_type=str, value_type=list)
    rights = app.topic("rights", key_type=str, value_type=list)
    left = app.Table("left", source=lefts)
    right = app.Table("right", key_type=str, value_type=list)

    @app.agent(rights)
    async def keep(stream: Any) -> None:
        async for key, value in stream.items():
            if value is None:
                right.pop(key, None)
            else:
                right[key] = value

    named = {"on": lambda value: value[1]} if foreign else {}
    joined = getattr(left, how)(right, name="joined", **named)
    changes: Topic = joined.changes()
    told = app.topic("told", key_type=str, value_type=list, partitions=2)

    @app.agent(changes)
    async def tell(stream: Any) -> None:
        async for key, pair in stream.items():
            await told.send(key=key, value=None if pair is None else list(pair))

    return app


def expected(how: str, lefts: dict[str, Any], rights: dict[str, Any], *, foreign: bool) -> dict[str, Any]:
    """What the result holds of these rows."""
    if foreign:
        pairs = {key: (left, rights.get(left[1])) for key, left in lefts.items()}
    else:
        pairs = {key: (lefts.get(key), rights.get(key)) for key in lefts.keys() | rights.keys()}
    needs_left, needs_right = how != "outer_join", how == "join"
    return {
        key: pair
        for key, pair in pairs.items()
        if not (needs_left and pair[0] is None) and not (needs_right and pair[1] is None)
    }


@pytest.mark.parametrize(
    ("how", "foreign"),
    [("join", False), ("left_join", False), ("outer_join", False), ("join", True), ("left_join", True)],
    ids=lambda given: "foreign" if given is True else given or "equal",
)
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
@example(steps=COMES_AND_GOES)
def test_a_join_ends_where_the_model_does(how: str, foreign: bool, steps: list[Any]) -> None:
    """And tells each change once."""
    held: set[str] = set()
    rows: dict[str, dict[str, Any]] = {"left": {}, "right": {}}
    changed: Counter[str] = Counter(key for what, key, _, _ in steps if what in CHANGES)
    with Driver(joining(how, foreign=foreign), partitions=2) as driver:
        driver.worker.through = lambda reads, writes: (HeldReads(reads, held), writes)
        driver.crash()
        for number, (what, key, other, commits) in enumerate(steps):
            match what:
                case "left" | "right":
                    rows[what][key] = [number, other if what == "left" else key]
                    driver.send(what + "s", key=key, value=rows[what][key], commit=commits)
                case "no left" | "no right":
                    rows[what[3:]].pop(key, None)
                    driver.send(what[3:] + "s", key=key, value=None, commit=commits)
                case "crash" | "lose":
                    driver.crash(lose_stores=what == "lose")
                case "move":
                    driver.rebalance()
                case "hold":
                    held.add("joining-" + key)
                case "release":
                    held.discard("joining-" + key)
                    driver.advance(0)
        held.clear()
        driver.advance(0)
        driver.crash(lose_stores=True)
        want = expected(how, rows["left"], rows["right"], foreign=foreign)
        assert driver.table("joined") == want
        _check_told(driver, want, changed, foreign=foreign)
        assert not driver.dead_letters()


def _check_told(driver: Driver, want: dict[str, Any], changed: Counter[str], *, foreign: bool) -> None:
    told = defaultdict[str, list[Any]](list)
    for one in driver.output("told"):
        told[one.key].append(one.value)
        if foreign and one.value is not None and one.value[1] is not None:
            assert one.value[0][1] == one.value[1][1], "rows that are no partners"
    for key, values in told.items():
        # What comes and goes in one commit is told as it was before, so the same may come again: once for each change.
        assert len(values) <= (changed.total() if foreign else changed[key]), (key, values)
        assert values[-1] == (None if key not in want else list(want[key]))
    assert want.keys() <= told.keys()
