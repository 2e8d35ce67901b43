"""Where a partition begins, and what is said of records that are not read, or are read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.engine.values import Committed
from streamcluster.ids import TP
from streamcluster_worker.data.begin import Log, Past, Reset, begin_of

TP0 = TP("orders", 0)
NOTHING = Past({}, {})
KNOWN = Past(begun={"orders": 2}, read={"orders": 2})


@pytest.mark.parametrize(("reset", "at"), [("earliest", 3), ("latest", 9)])
def test_first_position_is_as_the_setting_says_and_is_to_be_committed(reset: Reset, at: int) -> None:
    """Nothing is said of it: nobody had read these records."""
    found = begin_of("shop", TP0, None, Log(3, 9), NOTHING, reset)

    assert (found.position, found.is_new, found.said, found.expired) == (Committed(at), True, None, False)


def test_what_the_app_writes_for_itself_is_read_from_its_beginning() -> None:
    """Under `latest` too: another task may have forwarded records there before this one was opened."""
    past = Past({}, {}, frozenset({"orders"}))

    assert begin_of("shop", TP0, None, Log(0, 9), past, "latest").position == Committed(0)


def test_partition_that_was_added_is_read_from_its_beginning() -> None:
    """Under `latest` too: all of it came after the app had begun, and that it is there is said."""
    found = begin_of("shop", TP("orders", 2), None, Log(0, 9), KNOWN, "latest")

    assert (found.position, found.is_new) == (Committed(0), True)
    assert found.said is not None
    assert "orders[2] was added to its topic, which had 2 partitions" in found.said


@pytest.mark.parametrize(
    ("reset", "at", "words"),
    [("latest", 9, "6 records, 3 to 8, are not read"), ("earliest", 3, "6 records, 3 to 8, are read, whether")],
)
def test_position_that_is_gone_is_said_with_what_it_means(reset: Reset, at: int, words: str) -> None:
    """The app had one in it, by the control topic: it expired or was deleted."""
    found = begin_of("shop", TP0, None, Log(3, 9), KNOWN, reset)

    assert (found.position, found.expired) == (Committed(at), True)
    assert found.said is not None
    assert found.said.startswith(f"orders[0]: {words}")


def test_records_that_retention_deleted_are_counted_and_passed_once() -> None:
    """Their number and offsets are said, and the new position is committed, so that it is not said again."""
    found = begin_of("shop", TP0, Committed(5), Log(8, 20), KNOWN, "latest")

    assert (found.position, found.is_new, found.lost) == (Committed(8), True, None)
    assert found.said is not None
    assert found.said.startswith("orders[0]: 3 records, 5 to 7, were deleted before shop had read them")


def test_position_behind_the_end_is_no_place_to_begin() -> None:
    """A topic that was made anew: neither jumped to its end nor read from its beginning."""
    found = begin_of("shop", TP0, Committed(50), Log(0, 20), KNOWN, "earliest")

    assert found.lost is not None
    assert "has committed 50, and the log ends at 20" in found.lost
    assert "--topic orders:0 --reset-offsets --to-earliest" in found.lost


def test_topic_that_is_made_anew_under_the_app_is_read_from_its_beginning() -> None:
    """Its log ends before what this process has committed, and Kafka deleted the position with the old topic."""
    found = begin_of("shop", TP0, None, Log(0, 5), NOTHING, "latest", 45)

    assert (found.position, found.is_new, found.expired, found.lost) == (Committed(0), True, True, None)
    assert found.said is not None
    assert found.said.startswith("orders[0]: the topic was deleted and made anew: shop had come to 45")


def test_position_that_the_group_has_forgotten_is_waited_for() -> None:
    """The log has what this process has committed, and the group's coordinator does not."""
    for committed in (None, Committed(3)):
        found = begin_of("shop", TP0, committed, Log(0, 50), KNOWN, "latest", 45)
        assert found.lost is not None
        assert "has committed 45, and its coordinator says now" in found.lost


offsets = st.integers(0, 20)


@given(
    committed=st.none() | offsets,
    begin=offsets,
    length=offsets,
    begun=st.integers(0, 2),
    read=st.integers(0, 2),
    internal=st.booleans(),
    reset=st.sampled_from(["earliest", "latest"]),
)
def test_nothing_is_passed_or_read_again_without_a_word(
    committed: int | None, begin: int, length: int, begun: int, read: int, *, internal: bool, reset: Reset
) -> None:
    """From where the app was it goes on; every other place is new, and said unless it never was in the partition."""
    past = Past(
        {"orders": begun} if begun else {}, {"orders": read}, frozenset({"orders"}) if internal else frozenset()
    )
    log = Log(begin, begin + length)
    position = None if committed is None else Committed(committed)
    found = begin_of("shop", TP0, position, log, past, reset)

    if found.lost is not None:
        assert committed is not None
        assert committed > log.end
        return
    assert log.begin <= found.position.next_offset <= log.end
    has_moved = committed is not None and found.position.next_offset != committed
    assert found.is_new == (committed is None or has_moved)
    assert (found.said is not None) == (has_moved or (committed is None and read > 0 and length > 0))
