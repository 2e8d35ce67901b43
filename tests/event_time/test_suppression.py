"""table.suppress: what is let through when, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, AppError, Table
from streamcluster.errors import NotOffered
from streamcluster.testing import Driver

# Key, what it is set to (0: it is deleted), its time in seconds, and what is done behind it.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 40), st.sampled_from(["", "", "", "crash", "lose"])
    ),
    max_size=15,
)
LAST = 1000


def make_app(wait: float, *, feeds: bool = False, **bounds: Any) -> App:
    """A table that is set by key, and what is let through of it, which goes to "told".

    feeds: an agent writes it; else it is the table of the topic.
    """
    app = App("suppressing", max_ahead=None)
    events = app.topic("events", key_type=str, value_type=int)
    told = app.topic("told", key_type=str, value_type=int, partitions=1)
    values: Table[str, int] = app.Table("values", key_type=str, value_type=int, source=None if feeds else events)
    calm = values.suppress(wait, **bounds)

    if feeds:

        @app.agent(events)
        async def put(stream: Any) -> None:
            async for key, value in stream.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value

    @app.agent(calm.changes())
    async def tell(stream: Any) -> None:
        async for key, value in stream.items():
            await told.send(key=key, value=value)

    return app


def send(driver: Driver, key: str, value: int, at: float) -> None:
    """An event; 0 deletes."""
    driver.send("events", key=key, value=value or None, timestamp=at)


def told(driver: Driver) -> list[Any]:
    """What was let through, with its times."""
    return [(one.key, one.value, one.timestamp) for one in driver.output("told")]


@pytest.mark.parametrize("feeds", [False, True])
def test_the_newest_of_what_came_in_that_time_is_let_through(drive: Any, feeds: bool) -> None:
    """Counted from the first change, with the time of the newest; rows that agents write have that of their events."""
    driver = drive(make_app(10, feeds=feeds))
    for key, value, at in [("a", 1, 11), ("a", 2, 12), ("b", 1, 15), ("a", 3, 20)]:
        send(driver, key, value, at)
    assert told(driver) == []
    driver.crash(lose_stores=True)
    send(driver, "a", 4, 21)
    assert told(driver) == [("a", 4, 21.0)]
    send(driver, "b", 0, 24)
    send(driver, "c", 1, 25)
    # What has come and gone in that time is nothing.
    assert told(driver) == [("a", 4, 21.0)]
    send(driver, "a", 0, 26)
    send(driver, "z", 1, 40)
    assert told(driver) == [("a", 4, 21.0), ("c", 1, 25.0), ("a", None, 26.0)]
    assert driver.table("values-suppressed") == {"c": 1}


def test_a_quiet_topic_holds_nothing_back_for_ever(drive: Any) -> None:
    """Time runs on with the clock there, as it does for windows."""
    driver = drive(make_app(10))
    send(driver, "a", 1, 11)
    driver.advance(59)
    assert told(driver) == []
    driver.advance(2)
    assert told(driver) == [("a", 1, 11.0)]


def test_a_change_that_comes_late_is_let_through_at_once(drive: Any) -> None:
    """Nobody would look for it any more."""
    driver = drive(make_app(10))
    for key, at in [("a", 100), ("b", 90), ("c", 91)]:
        send(driver, key, 1, at)
    assert told(driver) == [("b", 1, 90.0)]


@pytest.mark.parametrize(
    ("bounds", "early"),
    [({"max_records": 2}, ["a"]), ({"max_records": 1}, ["a", "b"]), ({"max_bytes": 40}, ["a", "b"])],
)
def test_what_is_held_longest_goes_early_when_too_much_is_held(
    drive: Any, bounds: dict[str, Any], early: list[str]
) -> None:
    """By number or by bytes, also of what was held before a crash."""
    driver = drive(make_app(1000, **bounds))
    for number, key in enumerate("abc"):
        send(driver, key, 1, 10 + number)
        # A newer change of the same key takes no more room.
        send(driver, key, 2, 10 + number)
        driver.crash(lose_stores=True)
    assert [key for key, _, _ in told(driver)] == early


def test_a_bound_that_comes_later_counts_what_is_held_already() -> None:
    """All that is too much goes at once, and `wait` may change too: what is held goes when it was to go, or before."""
    with Driver(make_app(1000)) as before, Driver(make_app(5, max_records=2)) as after:
        for number, key in enumerate("abcd"):
            send(before, key, 1, 10 + number)
        after.logs.logs.update(before.logs.logs)
        after.worker.committed.update(before.worker.committed)
        after.crash(lose_stores=True)
        send(after, "e", 1, 20)
        assert [key for key, _, _ in told(after)] == ["e", "a", "b"]
        send(after, "f", 1, 1500)
        assert [key for key, _, _ in told(after)] == ["e", "a", "b", "c", "d"]


def model(events: list[tuple[str, int, int, str]], wait: int, records_max: int | None) -> list[Any]:
    """What is let through, by a simple rule: a list of what is held."""
    held: dict[str, tuple[int, int, int]] = {}
    there: dict[str, int] = {}
    found: list[Any] = []
    time = 0

    def let_through(key: str, value: int, at: int) -> None:
        if value or key in there:
            found.append((key, value or None, float(at)))
        if value:
            there[key] = value
        else:
            there.pop(key, None)

    source: dict[str, int] = {}
    for key, value, at, _ in [*events, ("z", 1, LAST, "")]:
        # A deletion of what is not there is no change, and moves no time.
        if value or key in source:
            time = max(time, at)
            source[key] = value
            if not value:
                del source[key]
            if key not in held and at + wait <= time:
                let_through(key, value, at)
            else:
                held[key] = (held[key][0] if key in held else at + wait, value, at)
        while records_max is not None and len(held) > records_max:
            oldest = min(held, key=lambda one: (held[one][0], one))
            let_through(oldest, *held.pop(oldest)[1:])
        for one in sorted([one for one in held if held[one][0] <= time], key=lambda one: (held[one][0], one)):
            let_through(one, *held.pop(one)[1:])
    return found


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, wait=st.sampled_from([0, 1, 7]), records_max=st.sampled_from([None, 1, 2]))
def test_random_changes_are_let_through_as_a_simple_rule_says(
    events: list[tuple[str, int, int, str]], wait: int, records_max: int | None
) -> None:
    """Over crashes and late changes too."""
    with Driver(make_app(wait, max_records=records_max)) as driver:
        for key, value, at, then in [*events, ("z", 1, LAST, "")]:
            send(driver, key, value, at)
            if then:
                driver.crash(lose_stores=then == "lose")
        assert not driver.dead_letters()
        assert told(driver) == model(events, wait, records_max)


def test_what_is_let_through_can_be_joined_and_held_back_again(drive: Any) -> None:
    """It is a table as others."""
    app = App("chained")
    left = app.Table("left", source=app.topic("left", key_type=str, value_type=int))
    right = app.Table("right", source=app.topic("right", key_type=str, value_type=int))
    both = left.suppress(5).suppress(5, name="calmer").join(right, name="both")
    driver = drive(app)
    driver.send("right", key="a", value=7, timestamp=1)
    for at in (10, 14, 16):
        driver.send("left", key="a", value=at, timestamp=at)
        assert driver.table("both") == {}
    driver.send("left", key="b", value=1, timestamp=30)
    driver.send("left", key="c", value=1, timestamp=40)
    driver.send("left", key="d", value=1, timestamp=50)
    assert driver.table("both") == {"a": (16, 7)}
    assert both.name == "both"


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda table: table.suppress(-1), "is no duration"),
        (lambda table: table.suppress(1, max_records=0), "must be a whole number"),
        (lambda table: table.suppress(1, max_bytes=1.5), "must be a whole number"),
        (lambda table: (table.suppress(1), table.suppress(2)), "give one of them another name="),
        (lambda table: table.suppress(1, name="a/b"), "use letters"),
    ],
)
def test_what_cannot_be_is_refused(use: Callable[[Any], Any], says: str) -> None:
    """With what to write."""
    app = App("refused")
    with pytest.raises(AppError, match=says):
        use(app.Table("values", key_type=str, value_type=int))


def test_windows_have_on_close() -> None:
    """Their results are final there."""
    windows: Any = App("windows").Table("sums", default=int).tumbling(10, grace=0)
    with pytest.raises(NotOffered, match="on_close"):
        windows.suppress(10)
    with pytest.raises(AppError, match="on_close"):
        windows.table.suppress(10)
