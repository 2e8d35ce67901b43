"""`views[key] += n` in C and in Python: the same rows, dates, errors and late events, and the same bytes of keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, loops
from streamcluster.engine import intake
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.windows import place

pytestmark = pytest.mark.skipif(not place.is_in_c(), reason="it was not built")

# With what JSON escapes, what is no ASCII, what is equal to another and has other bytes, and what C has no number for.
KEYS = ["a", "b", "", 'quote "', "back\\slash", "line\nbreak", "\x7f", "\x00", "é", "日本", "🦊", "1"]
KEYS_OF_ALL_KINDS = [*KEYS, 1, 0, -5, True, None, 1.5, (1, "a"), (1 << 63) - 1, -(1 << 63)]


def add(views: Any, key: Any, other: Any) -> None:
    views[key] += other


def subtract(views: Any, key: Any, other: Any) -> None:
    views[key] -= other


def multiply(views: Any, key: Any, other: Any) -> None:
    views[key] *= other


def divide(views: Any, key: Any, other: Any) -> None:
    views[key] /= other


def divide_down(views: Any, key: Any, other: Any) -> None:
    views[key] //= other


def remain(views: Any, key: Any, other: Any) -> None:
    views[key] %= other


def raise_to(views: Any, key: Any, other: Any) -> None:
    views[key] **= other


def shift_left(views: Any, key: Any, other: Any) -> None:
    views[key] <<= other


def shift_right(views: Any, key: Any, other: Any) -> None:
    views[key] >>= other


def both(views: Any, key: Any, other: Any) -> None:
    views[key] &= other


def one(views: Any, key: Any, other: Any) -> None:
    views[key] ^= other


def either(views: Any, key: Any, other: Any) -> None:
    views[key] |= other


def put(views: Any, key: Any, other: Any) -> None:
    views[key] = other


def take_out(views: Any, key: Any, _other: Any) -> None:
    del views[key]


def keep(views: Any, key: Any, other: Any) -> None:
    """The same object twice, and a look at it."""
    windows = views[key]
    windows += other
    windows += other
    assert windows.written[0][1] == windows.value()


DOES = [
    *(add, add, add, subtract, multiply, divide, divide_down, remain, raise_to, shift_left, shift_right, both, one),
    *(either, put, take_out, keep),
]
MANY: Any = [("a", add, 1, 0)] * 5
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KEYS_OF_ALL_KINDS),
        st.sampled_from(DOES),
        st.sampled_from([1, 2, 0, -1, 3, True, 1.5, None, "x", "%s", [1], 1 << 62]),
        # Mostly in order, some late, in few windows.
        st.integers(-3_000, 4_000),
    ),
    max_size=60,
)


def played(events: list[tuple[Any, Any, Any, int]], default: Any, key_type: Any, *, is_in_c: bool) -> Any:
    """What each of these events saw or raised, and what is left of them."""
    before, loops._in_c = (loops._in_c, intake.SINGLE_EVENTS), is_in_c
    # The first events of a coroutine come one by one, and C has something to do from the second of several on.
    intake.SINGLE_EVENTS = 0
    app = App("both")
    source = app.topic("events", key_type=str, value_type=int, partitions=1)
    views = app.Table("views", key_type=key_type, default=default).tumbling(10, grace=2)
    seen: list[Any] = []

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for number in stream:
            if number < len(events):
                key, do, other, _ = events[number]
                try:
                    do(views, key, other)
                    seen.append((views[key].value(), type(views[key].value())))
                except Exception as error:  # noqa: BLE001 (it is compared)
                    seen.append((type(error), str(error)))

    try:
        with Driver(app) as driver:
            at = 100_000
            for number, event in enumerate(events):
                at += event[3]
                driver.logs.append("events", {"key": b"k", "value": b"%d" % number, "timestamp": at}, 0.0)
            driver.send("events", key="k", value=len(events), timestamp=at / 1000)
            driver.send("events", key="k", value=len(events), timestamp=at / 1000 + 60)
            changelog = driver.logs.logs.get(TP("both-views-changelog", 0), [])
            rows = [(one.key, one.value, one.timestamp) for one in changelog]
            return seen, rows, views.late_total, views.table.name, len(driver.dead_letters())
    finally:
        loops._in_c, intake.SINGLE_EVENTS = before


@given(EVENTS, st.sampled_from([int, float, str, list, None]), st.sampled_from([None, str, int]))
@example([*MANY, ("a", take_out, 1, 0), ("a", add, 2, -1), ("b", add, "x", 1), ("b", add, 1, 0)], int, str)
@settings(max_examples=60, deadline=None)
def test_c_and_python_do_the_same(events: list[tuple[Any, Any, Any, int]], default: Any, key_type: Any) -> None:
    """Also with values that cannot be added, keys that are refused, and events that are late or out of order."""
    assert played(events, default, key_type, is_in_c=True) == played(events, default, key_type, is_in_c=False)


@pytest.mark.parametrize("key_type", [None, str, int])
def test_keys_are_the_same_bytes(key_type: Any) -> None:
    """Each key comes twice: C has it the second time, if it is one that C knows."""
    fitting = [key for key in KEYS_OF_ALL_KINDS if key_type is None or type(key) is key_type]
    events = [(key, add, 1, 0) for key in ["first", 7][key_type is int :] + fitting + fitting]
    in_c = played(events, int, key_type, is_in_c=True)
    assert in_c == played(events, int, key_type, is_in_c=False)
    # As many rows, written and deleted, as there are keys.
    assert len({key for key, _, _ in in_c[1]}) == len(fitting) + (1 if key_type else 2)


def test_what_c_was_given_wrongly_is_refused() -> None:
    """No place is made of it, and the one before stays."""
    from streamcluster import _place

    with pytest.raises(TypeError):
        _place.Place().set(1, 2, 3)  # type: ignore[call-arg, arg-type]
    with pytest.raises(RuntimeError, match="before"):
        _place.attach(App, App, lambda: None)


def test_time_that_another_event_moved_makes_an_event_late() -> None:
    """The window of the event before is over by then, though no event of the table's has said so."""

    def look_away(_views: Any, _key: Any, _other: Any) -> None:
        pass

    events = [*MANY, ("a", look_away, 1, 13_000), ("a", add, 1, -12_000), ("b", add, 1, 0)]
    in_c = played(events, int, str, is_in_c=True)
    assert in_c == played(events, int, str, is_in_c=False)
    assert in_c[2] == 2


@pytest.mark.parametrize("is_in_c", [True, False])
def test_each_coroutine_writes_to_its_own_shard(is_in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks take turns at each event, and the window of the event before is the other's."""
    monkeypatch.setattr(loops, "_in_c", is_in_c)
    monkeypatch.setattr(intake, "SINGLE_EVENTS", 0)
    app = App("both")
    source = app.topic("events", key_type=str, value_type=int, partitions=2)
    views = app.Table("views", key_type=str, default=int).tumbling(10, grace=2)

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for number in stream:
            await asyncio.sleep(0)
            for _ in range(number + 1):
                views["all"] += 1

    with Driver(app) as driver:
        for _ in range(10):
            for partition in (0, 1):
                record = {"partition": partition, "key": b"k", "value": b"%d" % (partition + 1), "timestamp": 100_000}
                driver.logs.append("events", record, 0.0)
        driver.send("events", key="k", value=0, timestamp=100)
        changelogs = [driver.logs.logs[TP("both-views-changelog", partition)] for partition in (0, 1)]
        counts = sorted([int(records[-1].value or b"0") for records in changelogs])
    # The last event is of one of the two.
    assert counts in ([20, 31], [21, 30])
