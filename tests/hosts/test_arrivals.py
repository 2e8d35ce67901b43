"""What is measured is right: silences and first outputs of partitions, on times that are made up."""

from __future__ import annotations

from tests.hosts.arrivals import Arrivals

NOW = 30.0


def arrivals(**times: list[float]) -> Arrivals:
    """Arrivals on the partitions p0, p1, ... of one topic."""
    return Arrivals({("t", int(name[1:])): found for name, found in times.items()})


def every_tenth(begin: float, end: float) -> list[float]:
    """Ten arrivals a second."""
    return [tenth / 10 for tenth in range(int(begin * 10), int(end * 10) + 1)]


def test_first_outputs_are_those_of_the_partition_that_was_silent_longest() -> None:
    """A partition that a fault at 10 s spares does not count, one back at 14 s does."""
    seen = arrivals(p0=every_tenth(0, 30), p1=every_tenth(0, 10) + every_tenth(14, 30))

    assert seen.first_after(10.0, NOW) == 4.0
    assert seen.longest(10.0, NOW) == 4.0


def test_what_was_committed_before_the_fault_may_arrive_after_it() -> None:
    """The silence begins with the last of it."""
    seen = arrivals(p0=[*every_tenth(0, 10), 10.2, *every_tenth(15, 30)])

    assert seen.first_after(10.0, NOW) == 5.0


def test_a_later_silence_is_not_the_faults() -> None:
    """It counts for the longest one only."""
    seen = arrivals(p0=every_tenth(0, 20) + every_tenth(26, 30))

    assert seen.first_after(10.0, NOW) <= 1.2
    assert seen.longest(10.0, NOW) == 6.0


def test_a_silence_that_goes_on_counts_up_to_now() -> None:
    """Otherwise a partition that never came back would look well."""
    seen = arrivals(p0=every_tenth(0, 10))

    assert seen.first_after(10.0, NOW) == 20.0
    assert seen.longest(10.0, NOW) == 20.0


def test_partitions_without_records_are_silent_and_not_measured() -> None:
    """A key may have no partition of its own, but one that is waited for must have come."""
    seen = arrivals(p0=every_tenth(0, 30))

    assert seen.silent("t", 2, 10.0) == [1]
    assert seen.silent("t", 1, NOW) == [0]
    assert seen.longest(10.0, NOW) < 0.2
