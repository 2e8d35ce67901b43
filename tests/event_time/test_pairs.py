"""Joins of two streams in C and in Python: the same comes out, in the same order, and the same is kept."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Stream, loops
from streamcluster.codecs.ordered_keys import ordered_key
from streamcluster.stream_joins import rows as join_rows
from streamcluster.stream_joins.joining import AsOf, Span, buffer_table
from streamcluster.testing import Driver
from streamcluster.times import place_of

LEFT, RIGHT = "left", "right"
# The first events of a coroutine come alone: runs are whole behind so many.
SINGLE_EVENTS = 1000
Record = tuple[str, bytes | None, bytes | None, int]
# What came out: pairs, late events, and the rows of the changelog that are there in the end.
Out = tuple[list[Any], list[Any], dict[bytes, bytes]]


def app_of(how: str, behind: str) -> App:
    """A join within 2 s, a second of grace. behind: how the agent takes the pairs."""
    app = App("pairs")
    left, right = (app.topic(side, key_type=bytes, value_type=bytes, value_serializer="raw") for side in (LEFT, RIGHT))
    pairs = app.topic("pairs", partitions=1, value_serializer="json")
    late = app.topic("late", partitions=1, value_type=bytes, value_serializer="raw")

    def shown(pair: tuple[bytes | None, bytes | None]) -> list[str | None]:
        return [None if one is None else one.decode() for one in pair]

    @app.agent(left, name="join", sink=[pairs])
    async def join(stream: Stream[bytes]) -> Any:
        method = {"inner": stream.join, "left": stream.left_join, "outer": stream.outer_join}[how]
        joined = method(right, before=2, after=1, grace=1, late=late)
        if behind == "values":
            async for pair in joined:
                yield shown(pair)
        else:
            async for event in joined.events():
                yield shown(event.value)

    return app


def records(seed: int) -> list[Record]:
    """Two streams with late events, several of one key and time, keys with zero bytes, and none; values of none."""
    chosen = random.Random(seed)
    keys = [b"", b"\0", b"\0\xff", b"a\0b", b"ab", *(b"k%d" % number for number in range(40)), *[None] * 2]
    found: list[Record] = []
    for number in range(4000):
        time = 1_000_000 + number * 15 - chosen.choice([0, 0, 0, chosen.randint(0, 5000)])
        value = None if chosen.random() < 0.02 else b"%d" % number
        found.append((chosen.choice([LEFT, RIGHT]), chosen.choice(keys), value, time // 10 * 10))
    return found


def play(app: App, sent: list[Record], commit_at: Callable[[int], bool], crash_at: int | None = None) -> Out:
    """What comes of it. commit_at: behind which records there is a commit."""
    with Driver(app) as driver:
        for number, (side, key, value, time) in enumerate(sent):
            message = {"key": key, "value": value, "timestamp": time, "partition": 0}
            driver.logs.append(side, message, driver.worker.time())
            if commit_at(number):
                driver.run(driver.worker.process(commit=True))
            if number == crash_at:
                driver.crash(lose_stores=True)
        driver.run(driver.worker.process(commit=True))
        assert not driver.dead_letters()
        pairs = [(one.value, round(one.timestamp * 1000)) for one in driver.output("pairs")]
        late = [(one.value, one.timestamp) for one in driver.output("late")]
        (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("join-join-changelog"))
        return pairs, late, {one.key or b"": one.value for one in log if one.value is not None}


def in_python(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Out:
    """The same without C."""
    with monkeypatch.context() as patched:
        patched.setattr(loops, "_in_c", False)
        return play(*arguments)


@pytest.mark.skipif(not loops.is_in_c(), reason="it was not built")
@pytest.mark.parametrize("behind", ["values", "events"])
@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_both_ways_give_the_same(how: str, behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs, late events and rows, with commits and a crash between them that loses the store."""
    sent = records(7)
    arguments = sent, lambda number: number % 700 == 0 or number == 3000, 3000
    in_c = play(app_of(how, behind), *arguments)
    assert in_c == in_python(monkeypatch, app_of(how, behind), *arguments)
    pairs, late, rows = in_c
    assert len(pairs) > SINGLE_EVENTS
    assert len(late) > 100
    assert len(rows) > 50
    assert (how == "inner") == all(None not in pair for pair, _ in pairs)


@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("is_in_c", [True, False])
def test_what_memory_has_no_room_for_is_found_in_the_table(
    how: str, is_in_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows are forgotten all the time, the same pairs come."""
    sent = records(8)
    expected = play(app_of(how, "values"), sent, lambda number: number % 700 == 0)
    monkeypatch.setattr(join_rows, "KNOWN_MAX", 60)
    monkeypatch.setattr(loops, "_in_c", is_in_c and loops.is_in_c())
    assert play(app_of(how, "values"), sent, lambda number: number % 700 == 0) == expected


@pytest.mark.parametrize("is_in_c", [True, False])
def test_what_has_lapsed_before_a_commit_is_never_written(is_in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But what waits to come out alone is."""
    monkeypatch.setattr(loops, "_in_c", is_in_c and loops.is_in_c())
    sent: list[Record] = [((LEFT, RIGHT)[at % 2], b"%d" % at, b"v", 1_000_000 + 10 * at) for at in range(3000)]
    for how, most in (("inner", 260), ("outer", 3000)):
        with Driver(app_of(how, "values")) as driver:
            for side, key, value, time in sent:
                message = {"key": key, "value": value, "timestamp": time, "partition": 0}
                driver.logs.append(side, message, driver.worker.time())
            driver.run(driver.worker.process(commit=True))
            (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("join-join-changelog"))
            assert most * 0.9 < sum(one.value is not None for one in log) <= most


def test_places_of_rows_are_the_same_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of bytes that are no rows, and of times that nobody has."""
    chosen = random.Random(3)
    keys = [ordered_key(side + b"k", time, 7) for side in (b"0", b"1") for time in (-(1 << 63), -5, 0, (1 << 63) - 1)]
    keys += [bytes(chosen.choices(range(256), k=size)) for size in range(40)]
    for span in (Span(-3, 10, 7), AsOf(1 << 62)):
        (index,) = buffer_table("rows", span).indexes
        assert index.places is not None
        found = index.places(keys)
        assert found == [index.place(key, b"") for key in keys]
        monkeypatch.setattr(loops, "_in_c", False)
        assert found == index.places(keys)
        monkeypatch.undo()
    (index,) = buffer_table("rows", Span(1, 2, 3)).indexes
    assert index.place(ordered_key(b"1k", 10), b"") == place_of(15)


def test_time_is_committed_by_which_rows_were_given_up() -> None:
    """Though no row is written with it: after a crash nobody is waited for who was late before it."""
    with Driver(app_of("inner", "values")) as driver:

        def append(side: str, key: bytes | None, value: bytes, time: int) -> None:
            driver.logs.append(side, {"key": key, "value": value, "timestamp": time, "partition": 0}, 0.0)

        # Runs are whole from here on, and no row is looked for at any time.
        for number in range(SINGLE_EVENTS):
            append((LEFT, RIGHT)[number % 2], None, b"0", 600_000)
        driver.run(driver.worker.process(commit=True))
        append(LEFT, b"k", b"1", 1_000_000)
        for side in (LEFT, RIGHT):
            append(side, None, b"0", 1_100_000)
        driver.run(driver.worker.process(commit=True))
        driver.crash(lose_stores=True)
        driver.send(RIGHT, key=b"k", value=b"2", timestamp=1000)
        assert [one.value for one in driver.output("late")] == [b"2"]
        assert not driver.output("pairs")
