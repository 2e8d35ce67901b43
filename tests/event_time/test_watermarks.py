"""The watermark of a partition is a matter of its log alone, wherever commits, rollbacks and restarts fall."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.batch import Batch, RecordHeaders
from streamcluster.engine.event_time.marks import ProducerMark, records_of
from streamcluster.engine.event_time.producers import Producers
from streamcluster.engine.event_time.watermarks import Mark, PartitionTime, TimeBounds
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.testing.topics import SimulatedClock
from streamcluster.times import NO_TIME

INPUT = TP("in", 0)


DOINGS = st.lists(
    st.tuples(st.sampled_from(["feed", "commit", "again", "rewind", "restart"]), st.integers(0, 6)), max_size=40
)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), DOINGS)
@example([1, 9, 2, 3], [("feed", 3), ("again", 3), ("feed", 1), ("again", 0), ("feed", 1)])
def test_it_is_the_largest_timestamp_up_to_an_offset(times: list[int], doings: list[tuple[str, int]]) -> None:
    """However the log is fed, and from whatever position it is fed again."""
    clock = SimulatedClock()
    known = PartitionTime(TimeBounds(), Mark(), clock)
    committed = fed = front = 0
    for doing, count in doings:
        match doing:
            case "feed":
                some = range(fed, min(fed + count, len(times)))
                if some:
                    batch = Batch(INPUT, some, [times[at] for at in some], [None] * len(some), [b""] * len(some))
                    known.fed(batch)
                    assert batch.watermarks == [max(times[: at + 1]) for at in some]
                    fed = some[-1] + 1
                    front = max(front, fed)
            case "commit":
                committed = min(committed + count, fed)
                known.committed(committed)
            case "again":
                # For a reader that was left behind, or from where those are that are beyond that.
                fed = max(committed, fed - count) if fed == front else front
            case "rewind":
                known.rewind()
                fed = front = committed
            case _:
                # What a commit has of it is all that another worker knows.
                known = PartitionTime(TimeBounds(), known.at(committed), clock)
                fed = front = committed
        for position in range(max(committed, 1), front + 1):
            assert known.at(position).watermark == max(times[:position])
            assert known.at(position).last == times[position - 1]


@given(
    st.lists(st.none() | st.tuples(st.sampled_from("ab"), st.integers(0, 100)), min_size=1, max_size=30),
    st.lists(st.tuples(st.sampled_from(["feed", "commit", "again", "rewind"]), st.integers(0, 6)), max_size=40),
)
@example([("a", 5), ("b", 9), None, None], [("feed", 3), ("again", 3), ("feed", 1), ("again", 0), ("feed", 1)])
def test_it_is_what_the_marks_up_to_an_offset_say(
    log: list[tuple[str, int] | None], doings: list[tuple[str, int]]
) -> None:
    """In a repartition topic, where a mark that comes again is no news."""
    clock = SimulatedClock()
    known = PartitionTime(TimeBounds(), Mark(), clock, Producers("ab", NO_TIME, {}, clock))
    committed = fed = front = 0

    def watermark(position: int) -> int:
        before = [mark for mark in log[:position] if mark is not None]
        return min(max([time for name, time in before if name == one], default=NO_TIME) for one in "ab")

    for doing, count in doings:
        match doing:
            case "feed" if some := range(fed, min(fed + count, len(log))):
                batch = Batch(INPUT, some, [0 for _ in some], [None] * len(some), [None] * len(some))
                batch.headers = [headers_of(log[at]) for at in some]
                kept = known.fed(batch)
                assert [*kept.offsets] == [at for at in some if log[at] is None]
                assert kept.watermarks == [watermark(at) for at in kept.offsets]
                fed = some[-1] + 1
                front = max(front, fed)
            case "commit":
                committed = min(committed + count, fed)
                known.committed(committed)
            case "again":
                fed = max(committed, fed - count) if fed == front else front
            case "rewind":
                known.rewind()
                fed = front = committed
        for position in range(committed, front + 1):
            assert known.at(position).watermark == watermark(position)


def headers_of(mark: tuple[str, int] | None) -> RecordHeaders:
    """Those of a mark's record."""
    columns = None if mark is None else records_of(ProducerMark(*mark, None), 1).headers
    return None if columns is None else columns[0]


def counting() -> App:
    """Windows of 10 s over two topics, of which neither is ever left out."""
    app = App("two", close_idle_after=None)
    topics = [
        app.topic(name, key_type=str, value_type=int, partitions=1, idle_timeout=1e6) for name in ("left", "right")
    ]
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).tumbling(10, grace=0, late=late)

    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            counts[key] += value

    for topic in topics:
        app.agent(topic, name=f"count-{topic.names[0]}")(count)

    @counts.on_close
    async def close(key: str, window: tuple[float, float], value: int) -> None:
        await closed.send(key=key, value=value)

    return app


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 6)), st.booleans())
def test_an_input_counts_after_a_restart_as_before_it(crashes: set[int], loses: bool) -> None:
    """It is not forgotten how far the one that was ahead had come, nor taken for further than what is committed."""
    events = [
        ("left", 100),
        ("right", 50),
        ("right", 150),
        # The time is 100: the left input holds it back.
        ("left", 120),
        ("right", 155),
        ("left", 131),
        ("left", 126),
    ]
    with Driver(counting()) as driver:
        for number, (topic, at) in enumerate(events):
            driver.send(topic, key="a", value=1, timestamp=at)
            if number in crashes:
                driver.crash(lose_stores=loses)
        assert [record.value for record in driver.output("late")] == [1]
        assert [record.value for record in driver.output("closed")] == [1, 1, 1]
        assert sorted(driver.table("counts")) == [("a", (130, 140)), ("a", (150, 160))]
