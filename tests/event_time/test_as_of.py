"""stream.join(table, as_of=True): each event with the version of its time, whatever comes when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.errors import AppError, StateIncompatible
from streamcluster.testing import Driver

EVENT, VERSION = "clicks", "users"
Step = tuple[str, str, int, bool]
HISTORY = 20


def as_of_app(*, keeps: bool, event: str = EVENT) -> App:
    """Clicks with the user of their time, sent to `pairs`."""
    app = App("as-of")
    users = app.Table(
        "users", source=app.topic(VERSION, key_type=str, value_type=int, partitions=1), history=HISTORY / 1000
    )
    clicks = app.topic(event, key_type=str, value_type=int, partitions=1)
    pairs = app.topic("pairs", key_type=str, value_type=list, partitions=1)

    @app.agent(clicks, name="who")
    async def who(stream: Stream[int]) -> None:
        joined = stream.left_join(users, as_of=True) if keeps else stream.join(users, as_of=True)
        async for event in joined.events():
            await pairs.send(key=event.key, value=[*event.value])

    return app


def found_by_model(steps: list[Step], *, keeps: bool) -> list[tuple[str, tuple[int, int | None], int]]:
    """Inputs are idle as soon as they are read, so each event is joined at once, with all that has come."""
    now = 0
    versions: dict[str, list[tuple[int, int, int | None]]] = {}
    found: list[tuple[str, tuple[int, int | None], int]] = []
    for number, (topic, key, time, is_there) in enumerate(steps):
        now = max(now, time)
        own = versions.setdefault(key, [])
        if topic == VERSION:
            if time + HISTORY >= now:
                own.append((time, number, number if is_there else None))
            continue
        known = own if time + HISTORY >= now else sorted(own)[-1:]
        seen = [version for version in known if version[0] <= time]
        value = max(seen)[2] if seen else None
        if keeps or value is not None:
            found.append((key, (number, value), time))
    return found


_steps = st.lists(
    st.tuples(st.sampled_from([EVENT, VERSION]), st.sampled_from("ab"), st.integers(1, 70), st.booleans()), max_size=14
)


@settings(max_examples=60, deadline=None)
@given(_steps, st.booleans(), st.sets(st.integers(0, 13)), st.sets(st.integers(0, 13)))
def test_random_events_meet_the_versions_of_the_model(
    steps: list[Step], keeps: bool, uncommitted: set[int], crashes: set[int]
) -> None:
    """Out of order, with deletions, through commits, crashes and lost stores: the newest not later than the event.

    What is not committed at a crash may meet more afterwards, so here all is.
    """
    with Driver(as_of_app(keeps=keeps)) as driver:
        for number, (topic, key, time, is_there) in enumerate(steps):
            value = number if is_there or topic == EVENT else None
            driver.send(
                topic,
                key=key,
                value=value,
                timestamp=time / 1000,
                commit=number in crashes or number not in uncommitted,
            )
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        driver.advance(0)
        found = [(one.key, tuple(one.value), round(one.timestamp * 1000)) for one in driver.output("pairs")]
        assert sorted(found, key=repr) == sorted(found_by_model(steps, keeps=keeps), key=repr)
        assert not driver.dead_letters()


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 60), max_size=12), st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_events_wait_for_the_versions_of_their_time(versions: set[int], clicks: list[int], clicks_first: bool) -> None:
    """All is there at the start: which of the topics is read first makes no difference."""
    event = "clicks" if clicks_first else "z-clicks"
    with Driver(as_of_app(keeps=True, event=event)) as driver:
        topics = {VERSION: sorted(versions), event: sorted(clicks)}
        for topic in topics:
            for time in topics[topic]:
                record = {"key": b"a", "value": b"%d" % time, "timestamp": 10 * time, "partition": 0}
                driver.logs.append(topic, record, driver.worker.time())
        driver.run(driver.worker.process(commit=True))
        found = sorted(tuple(one.value) for one in driver.output("pairs"))
        versions_then = [(time, max([one for one in versions if one <= time], default=None)) for time in clicks]
        assert found == sorted(versions_then)


def test_an_event_that_need_not_wait_is_not_late() -> None:
    """The table's topic is at its end, or ahead; only what is older than what has been read of both is late."""
    with Driver(as_of_app(keeps=True)) as driver:
        driver.send(VERSION, key="a", value=1, timestamp=1)
        for second in (1, 2, 3):
            driver.send(EVENT, key="a", value=second, timestamp=second)
        driver.send(VERSION, key="a", value=2, timestamp=9)
        (time,) = driver.worker.engine.times.tasks.values()
        join = time.operators["who-join"]
        assert join.late_total == 0
        driver.send(EVENT, key="a", value=4, timestamp=8.99)
        assert join.late_total == 1
        assert [one.value for one in driver.output("pairs")] == [[1, 1], [2, 1], [3, 1], [4, 1]]


def test_an_event_older_than_the_history_meets_no_version_that_is_newer() -> None:
    """It may meet the newest, which is kept for ever, if that is not later than the event."""
    with Driver(as_of_app(keeps=True)) as driver:
        for number, at in ((1, 0.01), (2, 0.03)):
            driver.send(VERSION, key="a", value=number, timestamp=at)
        driver.send(EVENT, key="b", value=3, timestamp=5)
        for number, at in ((4, 0.02), (5, 0.04)):
            driver.send(EVENT, key="a", value=number, timestamp=at)
        assert [one.value for one in driver.output("pairs")] == [[3, None], [4, None], [5, 2]]


def test_versions_that_nobody_can_ask_for_are_deleted() -> None:
    """The newest of a key stays, however old."""
    with Driver(as_of_app(keeps=True)) as driver:
        for number in range(1, 100):
            driver.send(VERSION, key="a", value=number, timestamp=number / 1000)
        driver.send(VERSION, key="b", value=5, timestamp=0.1)
        driver.send(VERSION, key="c", value=5, timestamp=50)
        (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("who-join-changelog"))
        rows = {record.key: record.value for record in log}
        assert sum(value is not None for value in rows.values()) == 3
        driver.send(EVENT, key="a", value=7, timestamp=60)
        assert [one.value for one in driver.output("pairs")] == [[7, 99]]


def test_what_keeps_no_versions_is_refused() -> None:
    """With what to declare."""
    app = App("refused")
    topic = app.topic("users", key_type=str)
    stream: Any = app.stream(app.topic("clicks", key_type=str))
    with pytest.raises(AppError, match="keeps no versions: declare it with source="):
        stream.join(app.Table("plain", source=topic), as_of=True)
    with pytest.raises(AppError, match="that is for tables"):
        stream.left_join(topic, as_of=True)
    with pytest.raises(AppError, match="no bounds in time"):
        stream.left_join(app.Table("kept", source=topic, history=5), as_of=True, within=3)
    with pytest.raises(AppError, match="with source="):
        stream.join(app.Table("own", history=5), as_of=True)
    for grace in (-1, 6):
        with pytest.raises(AppError, match="can wait no longer than"):
            stream.join(app.tables["kept"], as_of=True, grace=grace)


def test_a_click_that_fails_when_its_user_is_known_is_itself_the_dead_letter() -> None:
    """It waited in a row of the join, behind a processor: what is told is where it came from."""
    app = App("failing", max_ahead=None)
    names, clicks = (app.topic(name, key_type=str, value_type=int, idle_timeout=1e6) for name in ("names", "clicks"))
    users = app.Table("users", source=names, history=1000)

    @app.agent(clicks, name="who", on_error="dead_letter")
    async def who(stream: Stream[int]) -> None:
        stream.add_processor(lambda number: number + 1)
        async for click, _ in stream.join(users, as_of=True):
            raise ValueError(click)

    with Driver(app) as driver:
        driver.send("names", key="a", value=7, timestamp=5)
        driver.send("clicks", key="b", value=1, timestamp=6)
        driver.send("clicks", key="a", value=2, timestamp=8)
        driver.send("names", key="a", value=8, timestamp=20)
        [letter] = driver.dead_letters()
    # The value as the join had it.
    assert (letter.key, letter.value) == (b"a", b"3")
    where = [letter.headers[f"dead-letter-{name}"] for name in ("topic", "partition", "offset", "timestamp")]
    assert where == [b"clicks", b"0", b"1", b"8000"]
    assert b"ValueError: 3" in letter.headers["dead-letter-error"]


def test_another_kind_of_join_over_events_that_are_kept_is_refused() -> None:
    """At the start: events that have met their partners would come out once more, and versions would be no versions."""

    def app(*, as_of: bool) -> App:
        app = App("changing", max_ahead=None)
        clicks, names = (
            app.topic(name, key_type=str, value_type=int, idle_timeout=1e6) for name in ("clicks", "names")
        )
        users: Any = app.Table("users", source=names, history=1000) if as_of else None
        pairs = app.topic("pairs", key_type=str, value_type=list, partitions=1)

        @app.agent(clicks, name="who")
        async def who(stream: Stream[int]) -> None:
            async for click, user in stream.join(users, as_of=True) if as_of else stream.join(names, within=100):
                await pairs.send(value=[click, user])

        return app

    with Driver(app(as_of=False)) as before:
        before.send("clicks", key="a", value=1, timestamp=5)
        before.send("names", key="a", value=2, timestamp=5)
        assert [one.value for one in before.output("pairs")] == [[1, 2]]
        for as_of in (False, True):
            with Driver(app(as_of=as_of)) as after:
                after.logs.logs.update(before.logs.logs)
                after.worker.committed.update(before.worker.committed)
                if as_of:
                    with pytest.raises(StateIncompatible, match="'who-join' has events of join='by time', and now"):
                        after.crash(lose_stores=True)
                else:
                    after.crash(lose_stores=True)
                    after.send("names", key="a", value=3, timestamp=6)
                    assert [one.value for one in after.output("pairs")] == [[1, 2], [1, 3]]
