"""Backlog: a worker's buffer is bounded in records and bytes, its fullest partitions pause, and none starves."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.engine.backlog import FIRST_RECORDS, Backlog, PartitionBacklog
from streamcluster.ids import TP

UNBOUNDED = 10**12


def waiting(records: int, size: int = 0) -> PartitionBacklog:
    """A partition of which so many records wait."""
    one = PartitionBacklog()
    if records:
        one.add(0, records, records, size)
    one.settle(0, 0)
    return one


def tp(number: int) -> TP:
    """A partition."""
    return TP("t", number)


@given(
    runs=st.lists(st.integers(1, 600), min_size=1, max_size=20),
    moves=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=5),
)
def test_what_waits_and_what_is_done_add_up(runs: list[int], moves: list[tuple[float, float]]) -> None:
    """Without gaps in the offsets the counts are those of a list of all records, to within the rounding."""
    backlog = PartitionBacklog()
    end = 0
    for records in runs:
        backlog.add(end, end + records, records, 10 * records)
        end += records
    committed = done = 0
    for part_done, part_committed in [*moves, (1.0, 1.0)]:
        done += int((end - done) * part_done)
        committed += int((done - committed) * part_committed)
        backlog.settle(done, committed)
        assert abs(backlog.waiting_records - (end - done)) <= 1
        assert abs(backlog.waiting_bytes - 10 * (end - done)) <= 10
        assert abs(backlog.done_records - (done - committed)) <= 2
    assert backlog.is_empty()


def test_gaps_between_offsets_are_no_records() -> None:
    """A compacted topic: ten records over a million offsets are ten records, and nothing once they are committed."""
    backlog = PartitionBacklog()
    backlog.add(0, 1_000_000, 10, 1000)
    backlog.settle(500_000, 0)
    assert (backlog.waiting_records, backlog.waiting_bytes, backlog.done_records) == (5, 500, 5)
    backlog.settle(1_000_000, 1_000_000)
    assert backlog.is_empty()


def test_a_partition_that_is_read_again_starts_afresh() -> None:
    """After a rollback nothing is counted twice."""
    backlog = waiting(100)
    backlog.settle(60, 20)
    backlog.clear()
    assert backlog.is_empty()
    backlog.add(20, 100, 80, 0)
    backlog.settle(20, 20)
    assert (backlog.waiting_records, backlog.done_records) == (80, 0)


def test_one_partition_alone_may_have_half_of_the_buffer() -> None:
    """What the one leaves free is for those that come later."""
    backlog = Backlog(1000, UNBOUNDED, UNBOUNDED)
    assert backlog.look({tp(0): waiting(500)}, 1) == frozenset()
    assert backlog.look({tp(0): waiting(501)}, 1) == {tp(0)}


def test_the_fullest_pause_and_the_others_go_on() -> None:
    """As the worker's buffer fills, partitions pause from the fullest on."""
    held = {tp(0): waiting(250), tp(1): waiting(200), tp(2): waiting(20), tp(3): waiting(1)}
    assert Backlog(1000, UNBOUNDED, UNBOUNDED).look(held, 100) == {tp(0), tp(1)}
    held = {tp(0): waiting(250), tp(1): waiting(100), tp(2): waiting(20), tp(3): waiting(1)}
    assert Backlog(1000, UNBOUNDED, UNBOUNDED).look(held, 100) == {tp(0)}
    held = {tp(0): waiting(150), tp(1): waiting(150), tp(2): waiting(20), tp(3): waiting(1)}
    assert Backlog(1000, UNBOUNDED, UNBOUNDED).look(held, 100) == frozenset()


def test_a_paused_partition_resumes_well_below_where_it_paused() -> None:
    """Each resume fetches again what the client had, so partitions do not flap at the bound."""
    backlog = Backlog(1000, UNBOUNDED, UNBOUNDED)
    assert backlog.look({tp(0): waiting(600)}, 1) == {tp(0)}
    assert backlog.look({tp(0): waiting(400)}, 1) == {tp(0)}
    assert backlog.look({tp(0): waiting(330)}, 1) == frozenset()
    assert backlog.look({tp(0): waiting(400)}, 1) == frozenset()


def test_bytes_are_bounded_too() -> None:
    """A few large records fill the buffer as many small ones do, and then less is consumed at once."""
    backlog = Backlog(1000, 64_000, UNBOUNDED)
    # Nobody knows yet how large they are.
    assert backlog.room(10_000) == FIRST_RECORDS
    backlog.fed(16, 16)
    assert backlog.room(10_000) == 242
    assert backlog.look({tp(0): waiting(10, 33_000)}, 1) == {tp(0)}
    assert backlog.room(10_000) == 16_000 // 3300
    assert backlog.look({tp(0): waiting(1, 100_000), tp(1): waiting(0)}, 200) == {tp(0)}
    assert backlog.room(10_000) == 1


def test_done_and_uncommitted_records_pause_nothing() -> None:
    """They are counted, for the commit; a partition that waits for nothing but a commit goes on."""
    part = PartitionBacklog()
    part.add(0, 5000, 5000, 0)
    part.settle(5000, 1000)
    backlog = Backlog(1000, UNBOUNDED, UNBOUNDED)
    assert backlog.look({tp(0): part}, 1) == frozenset()
    assert (backlog.records, backlog.done) == (0, 4000)


def test_a_look_is_due_when_something_may_have_to_be_done() -> None:
    """At a sixteenth of the buffer, in records or bytes, when the commit may be due, and while something is paused."""
    backlog = Backlog(1600, 16_000, 1000)
    backlog.fed(100, 1000)
    assert not backlog.must_look()
    backlog.fed(1, 0)
    assert backlog.must_look()
    backlog.look({}, 1)
    assert not backlog.must_look()
    backlog.fed(0, 1001)
    assert backlog.must_look()
    part = PartitionBacklog()
    part.add(0, 950, 950, 0)
    part.settle(950, 0)
    backlog.look({tp(0): part}, 1)
    assert not backlog.must_look()
    backlog.fed(50, 0)
    assert backlog.must_look()
    assert backlog.look({tp(0): waiting(1000)}, 1) == {tp(0)}
    assert backlog.must_look()


@pytest.mark.parametrize("seed", range(12))
def test_two_hundred_partitions_stay_within_the_bounds_and_none_starves(seed: int) -> None:
    """Whatever part of the partitions hangs: the buffer is bounded, and all that do not hang get everything done."""
    rnd = random.Random(seed)
    count, size = 200, 100
    records_max, bytes_max = [(1, UNBOUNDED), (1000, UNBOUNDED), (20_000, UNBOUNDED), (20_000, 400_000)][seed % 4]
    hanging = set(rnd.sample(range(count), rnd.choice([1, 50, 190, 199])))
    # Those that hang may be the first, so that they find all of the buffer free.
    first = rnd.random() < 0.5
    total = 20 if records_max <= 1000 else 60
    backlog = Backlog(records_max, bytes_max, UNBOUNDED)
    # How large records are is known from those before; the first ones may be as much as one poll brings.
    backlog.look({tp(0): waiting(1, size)}, count)
    parts = [PartitionBacklog() for _ in range(count)]
    fed, done = [0] * count, [0] * count
    others = [number for number in range(count) if number not in hanging]
    turn = 0
    while any(done[number] < total for number in others):
        turn += 1
        assert turn < (total + 50) * count, "somebody starves"
        for number, part in enumerate(parts):
            part.settle(done[number], done[number])
        assert sum(part.waiting_records for part in parts) <= max(records_max, count)
        assert sum(part.waiting_bytes for part in parts) <= max(bytes_max, count * size)
        if backlog.must_look():
            backlog.look({tp(n): part for n, part in enumerate(parts) if not part.is_empty()}, count)
        room = backlog.room(10_000)
        # What hangs leaves each of the others as much as is kept for it.
        assert room >= min(records_max, bytes_max // size) // (4 * count)
        ready = deque(n for n in range(count) if tp(n) not in backlog.paused and fed[n] < total)
        ready.rotate(0 if first else rnd.randrange(count))
        if first:
            ready = deque(sorted(ready, key=lambda n: n not in hanging))
        while room and ready:
            number = ready.popleft()
            records = min(room, total - fed[number], rnd.choice([1, 10, 500]))
            parts[number].add(fed[number], fed[number] + records, records, records * size)
            backlog.fed(records, records * size)
            fed[number] += records
            room -= records
        for number in others:
            if rnd.random() < 0.5:
                done[number] += rnd.randint(0, fed[number] - done[number])
