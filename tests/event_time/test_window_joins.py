"""Joins of windowed tables: by key and window, until the window is over for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, AppError, Topic
from streamcluster.errors import UnencodableEntry
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window

from .test_random_table_joins import HeldReads

SIZE, GRACE = 10, 5


def joining(how: str = "join", *, make: Callable[..., Any] | None = None, more: bool = False, **right: Any) -> App:
    """Two tables that count by windows; -1 deletes, and 0 counts nothing. Changes of what comes of both go to "told".

    make: gives a table its windows; right: other arguments of those of the right one; more: an agent of another topic
    counts in the left one too.
    """
    app = App("joining", max_ahead=None)
    tables = []
    for name, options in (("left", {}), ("right", right)):
        table: Any = app.Table(name, key_type=str, default=int)
        windows = table.tumbling(SIZE, grace=GRACE, **options) if make is None else make(table)
        tables.append(windows)
        topics = [app.topic(f"{name}s", key_type=str, value_type=int)]
        if more and name == "left":
            topics.append(app.topic("more", key_type=str, value_type=int))
        for topic in topics:
            app.agent(topic, name=f"count-{topic.name}")(counting(windows))
    told = app.topic("told", key_type=str, value_type=list, partitions=1)

    changes: Topic = getattr(tables[0], how)(tables[1], name="joined").changes()

    @app.agent(changes)
    async def tell(stream: Any) -> None:
        async for (key, window), pair in stream.items():
            await told.send(key=key, value=[window.start, pair and list(pair)])

    return app


def counting(windows: Any) -> Callable[[Any], Any]:
    """What counts in a table."""

    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            if number < 0:
                del windows[key]
            else:
                windows[key] += number

    return count


def told(driver: Driver) -> list[Any]:
    """Key, begin of the window, pair, and the time."""
    return [(one.key, *one.value, one.timestamp) for one in driver.output("told")]


def kept(driver: Driver, table: str = "joined-sides") -> int:
    """How many rows an internal table has, over all partitions."""
    shards = [task.shards[table] for task in driver.worker.engine.tasks.values() if table in task.shards]
    return sum(1 for shard in shards for _ in shard.rows())


def test_rows_are_of_key_and_window(drive: Any) -> None:
    """They can be read by these, and are told with the later time of both."""
    driver = drive(joining())
    driver.send("lefts", key="a", value=1, timestamp=101)
    driver.send("lefts", key="b", value=1, timestamp=101)
    driver.send("rights", key="a", value=10, timestamp=102)
    driver.send("lefts", key="a", value=1, timestamp=111)
    driver.send("lefts", key="a", value=2, timestamp=109)
    joined = driver.app.tables["joined"]
    assert driver.table("joined") == {("a", Window(100, 110)): (3, 10)}
    assert joined["a", (100, 110)] == joined.get(("a", Window(100, 110))) == (3, 10)
    assert [*joined.items()] == [(("a", Window(100, 110)), (3, 10))]
    assert joined.get(("a", (110, 120))) is None
    assert ("b", (100, 110)) not in joined
    with pytest.raises(UnencodableEntry, match=r"give \(key, \(start, end\)\), in seconds"):
        joined.get("a")
    assert told(driver) == [("a", 100, [1, 10], 102.0), ("a", 100, [3, 10], 109.0)]


def test_a_row_goes_when_both_tables_are_beyond_its_window(drive: Any) -> None:
    """However far one of them is ahead, and over crashes: until then changes of the other meet what was there."""
    driver = drive(joining())
    driver.send("lefts", key="a", value=1, timestamp=101)
    driver.send("rights", key="a", value=10, timestamp=102)
    driver.send("lefts", key="a", value=1, timestamp=9000)
    assert driver.table("left") == {("a", Window(9000, 9010)): 1}
    driver.crash(lose_stores=True)
    driver.send("rights", key="a", value=7, timestamp=109)
    driver.send("rights", key="b", value=7, timestamp=114.999)
    assert driver.table("joined") == {("a", Window(100, 110)): (1, 17)}
    driver.crash()
    driver.send("rights", key="b", value=7, timestamp=115)
    assert driver.table("joined") == {}
    assert told(driver)[-1] == ("a", 100, None, 110.0)
    # The new windows: a side, and when it goes.
    assert kept(driver) == 4


def test_what_finds_no_partner_goes_when_the_other_table_is_beyond_its_window(drive: Any) -> None:
    """And from an outer join, which has told it."""
    driver = drive(joining("outer_join"))
    for key in "abc":
        driver.send("lefts", key=key, value=1, timestamp=101)
    driver.send("lefts", key="a", value=1, timestamp=200)
    assert kept(driver) == 8
    assert len(driver.table("joined")) == 4
    driver.send("rights", key="z", value=1, timestamp=201)
    assert driver.table("joined") == {("a", Window(200, 210)): (1, None), ("z", Window(200, 210)): (None, 1)}
    assert kept(driver) == 4
    assert sum(pair is None for _, _, pair, _ in told(driver)) == 3


def test_a_table_to_which_nothing_comes_is_waited_for_as_long_as_windows_are_kept(drive: Any) -> None:
    """By the clock: what the other one has is not kept for ever."""
    driver = drive(joining())
    driver.send("lefts", key="a", value=1, timestamp=101)
    driver.send("lefts", key="a", value=1, timestamp=200)
    driver.advance(SIZE + GRACE - 1)
    assert kept(driver) == 4
    driver.advance(2)
    assert kept(driver) == 2


def test_windows_of_quiet_topics_go(drive: Any) -> None:
    """With the clock, as those of the tables do."""
    driver = drive(joining("outer_join"))
    for topic in ("lefts", "rights"):
        driver.send(topic, key="a", value=1, timestamp=101)
    driver.send("lefts", key="b", value=1, timestamp=102)
    driver.advance(59)
    assert len(driver.table("joined")) == 2
    driver.advance(2)
    assert driver.table("left") == driver.table("right") == driver.table("joined") == {}
    assert kept(driver) == 0


def test_a_table_keeps_windows_for_longer_than_the_other(drive: Any) -> None:
    """The rows are there as long as those of that one."""
    driver = drive(joining(expires=100))
    driver.send("lefts", key="a", value=1, timestamp=101)
    driver.send("rights", key="a", value=10, timestamp=102)
    for topic in ("lefts", "rights"):
        driver.send(topic, key="z", value=1, timestamp=209)
    assert driver.table("joined")["a", Window(100, 110)] == (1, 10)
    for topic in ("lefts", "rights"):
        driver.send(topic, key="z", value=1, timestamp=210)
    assert ("a", Window(100, 110)) not in driver.table("joined")


@pytest.mark.parametrize(("how", "left"), [("join", None), ("left_join", None), ("outer_join", [None, 10])])
def test_a_window_that_is_deleted_while_it_is_open_goes_at_once(drive: Any, how: str, left: Any) -> None:
    """And comes again when it is written again, also in one commit with that."""
    driver = drive(joining(how))
    driver.send("lefts", key="a", value=1, timestamp=101)
    driver.send("rights", key="a", value=10, timestamp=102)
    driver.send("lefts", key="a", value=-1, timestamp=109.999)
    assert driver.table("joined") == ({} if left is None else {("a", Window(100, 110)): tuple(left)})
    assert told(driver)[-1] == ("a", 100, left, 109.999)
    driver.send("lefts", key="a", value=2, timestamp=103)
    driver.send("lefts", key="a", value=-1, timestamp=104, commit=False)
    driver.send("lefts", key="a", value=3, timestamp=105)
    assert driver.table("joined") == {("a", Window(100, 110)): (3, 10)}
    driver.crash(lose_stores=True)
    for topic in ("lefts", "rights"):
        driver.send(topic, key="z", value=1, timestamp=200)
    assert [key for key, _ in driver.table("joined")] == ["z"]


def test_an_input_of_a_table_that_is_behind_the_other_is_waited_for() -> None:
    """The changelog has been far ahead already, when it brings what is in time for its table."""
    held: set[str] = set()
    with Driver(joining(more=True)) as driver:
        driver.worker.through = lambda reads, writes: (HeldReads(reads, held), writes)
        driver.crash()
        driver.send("more", key="a", value=1, timestamp=101)
        driver.send("rights", key="a", value=10, timestamp=102)
        driver.send("rights", key="z", value=10, timestamp=3000)
        held.update(("lefts", "more"))
        driver.send("lefts", key="z", value=1, timestamp=3000)
        driver.send("more", key="a", value=1, timestamp=103)
        driver.send("more", key="z", value=1, timestamp=3001)
        held.clear()
        driver.advance(0)
        assert ("a", 100, [2, 10], 103.0) in told(driver)
        assert [key for key, _ in driver.table("joined")] == ["z"]


def test_sessions_that_become_one_are_joined_as_that() -> None:
    """The two are gone, from the result too."""
    with Driver(joining(make=lambda table: table.session(5, grace=50))) as driver:
        for topic in ("lefts", "rights"):
            for at in (101, 108):
                driver.send(topic, key="a", value=1, timestamp=at)
        assert len(driver.table("joined")) == 2
        for topic in ("lefts", "rights"):
            driver.send(topic, key="a", value=1, timestamp=104)
        assert driver.table("joined") == {("a", Window(101, 108)): (3, 3)}
        for topic in ("lefts", "rights"):
            driver.send(topic, key="z", value=1, timestamp=163.001)
        assert [key for key, _ in driver.table("joined")] == ["z"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["lefts", "rights"]), st.sampled_from("ab"), st.integers(100, 160), st.booleans()),
        st.tuples(st.sampled_from(["crash", "lose", "move"]), st.none(), st.none(), st.none()),
        st.tuples(
            st.sampled_from(["hold", "release"]),
            st.sampled_from(["left-changelog", "right-changelog", "lefts", "rights"]),
            st.none(),
            st.none(),
        ),
    ),
    max_size=25,
)


@pytest.mark.parametrize("how", ["join", "left_join", "outer_join"])
@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_a_join_of_windows_ends_where_the_model_does(how: str, steps: list[Any]) -> None:
    """Whatever is held up or crashes: each window is told as its tables had it last, and nothing is left of it."""
    held: set[str] = set()
    with Driver(joining(how), partitions=2) as driver:
        driver.worker.through = lambda reads, writes: (HeldReads(reads, held), writes)
        driver.crash()
        for what, key, at, commits in steps:
            match what:
                case "lefts" | "rights":
                    driver.send(what, key=key, value=1, timestamp=at, commit=commits)
                case "crash" | "lose":
                    driver.crash(lose_stores=what == "lose")
                case "move":
                    driver.rebalance()
                case "hold":
                    held.add(key if key.endswith("s") else f"joining-{key}")
                case "release":
                    held.discard(key if key.endswith("s") else f"joining-{key}")
                    driver.advance(0)
        held.clear()
        driver.advance(0)
        driver.crash(lose_stores=True)
        want = expected(how, last_of(driver, "left"), last_of(driver, "right"))
        assert {(key, start): pair for (key, start), pair in last_told(driver)} == want
        for topic in ("lefts", "rights"):
            for partition in range(2):
                driver.send(topic, key=f"z{partition}", value=1, timestamp=9000, partition=partition)
        assert {key for key, _ in driver.table("joined")} <= {"z0", "z1"}
        assert kept(driver) == 6
        assert not driver.dead_letters()


def last_of(driver: Driver, table: str) -> dict[tuple[str, float], int]:
    """What each window of a table has held last, before it was over, by its changelog."""
    found: dict[tuple[str, float], int] = {}
    changes = next(one for one in driver.app.tables[table].changes_read)
    for one in driver.output(changes):
        if one.value is not None:
            found[one.key[0], one.key[1].start] = one.value
    return found


def last_told(driver: Driver) -> Iterator[tuple[tuple[str, float], Any]]:
    """The last pair that was told of each window."""
    for key, start, pair, _ in told(driver):
        if pair is not None:
            yield (key, start), tuple(pair)


def expected(how: str, left: dict[Any, int], right: dict[Any, int]) -> dict[Any, Any]:
    """What is told last of these."""
    pairs = {key: (left.get(key), right.get(key)) for key in left.keys() | right.keys()}
    needs_left, needs_right = how != "outer_join", how == "join"
    return {
        key: pair
        for key, pair in pairs.items()
        if not (needs_left and pair[0] is None) and not (needs_right and pair[1] is None)
    }


def test_windows_that_are_never_the_same_are_refused() -> None:
    """With both names, and what to do."""
    app = App("refusing")
    number = iter(range(100))

    def table(make: Callable[[Any], Any], **options: Any) -> Any:
        return make(app.Table(f"t{next(number)}", default=int, **options))

    def plain(one: Any) -> Any:
        return one

    minutes = table(lambda one: one.tumbling(60, grace=10))
    wrongs: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (table(lambda one: one.tumbling(30)), {}, r"windows of 't0' are size=60 s, .*those of 't1' size=30 s"),
        (
            table(lambda one: one.hopping(60, 30)),
            {},
            "step=30 s, offset=0 s: no window of one is ever one of the other",
        ),
        (table(lambda one: one.tumbling(60, offset=1)), {}, "offset=1 s"),
        (table(lambda one: one.tumbling(86400, tz="Europe/Berlin")), {}, "tz='Europe/Berlin'"),
        (table(lambda one: one.session(60)), {}, "gap=60 s"),
        (table(lambda one: one.sliding(60)), {}, "sliding=60 s"),
        (table(lambda one: one.tumbling(60), key_type=bytes), {}, "give both the same key_type="),
        (table(plain), {}, r"'t0' has windows, and 't8' has none: .*a plain table in on_close"),
        (table(lambda one: one.tumbling(60)), {"on": len}, "they are joined by key and window. Leave on= out"),
        (minutes, {}, "each row of a table meets itself"),
        (App("other").Table("theirs", default=int).tumbling(60), {}, "'theirs' is of another app"),
        (app.topic("views"), {}, "views is a topic"),
    )
    for other, options, message in wrongs:
        with pytest.raises(AppError, match=message):
            minutes.left_join(other, **options)
    merged = table(lambda one: one.hopping(60, 30, merge=max))
    with pytest.raises(AppError, match=r"has merge=, so .*: leave merge= out, or write its results"):
        merged.join(table(lambda one: one.hopping(60, 30)))
    with pytest.raises(AppError, match="give one of them another name="):
        minutes.join(table(lambda one: one.tumbling(60)), name="t1")
    joined = minutes.join(table(lambda one: one.tumbling(60)), name="joined")
    with pytest.raises(AppError, match="'joined' has windows, and 't8' has none"):
        joined.join(app.tables["t8"])
    with pytest.raises(AppError, match=r"with @table\.on_close of the tables that are joined"):
        joined.suppress(5)
    with pytest.raises(AppError, match="table 'joined' has windows"):
        app.stream(app.topic("clicks")).join(joined)
