"""What is kept of windows, joins, duplicates and entries does not grow while event time goes on: a short day."""

from __future__ import annotations

from dataclasses import replace

from tests.event_time.day import Look, growth, pass_day

# The first hours fill windows, caches and buffers.
HOURS, SETTLED = 9, 3
RATE = 0.06


def test_nothing_grows_while_event_time_passes() -> None:
    """Rows of each table in the store, internal ones too; rows in memory; bytes on the disk and of the process."""
    looks = [*pass_day(HOURS, RATE)]

    assert not [*growth(looks, SETTLED)], "\n".join(map(str, looks))
    # All of it happened: windows closed, pairs met, entries expired.
    assert all(look.sent > look.events for look in looks[1:]), "\n".join(map(str, looks))
    assert {"minutes", "overlapping", "visits", "tokens-ttl", "pair-join", "accept-deduplicate"} <= {*looks[0].rows}


def test_growth_is_told() -> None:
    """Of one internal table, and of what is no row at all."""
    flat = [Look(hour, {"pair-join": 100}, 1000, 9_000_000, 60_000_000, 5) for hour in range(1, 10)]
    assert [*growth(flat, SETTLED)] == []
    grown = [replace(look, rows={"pair-join": 100 + 40 * look.hour}) for look in flat]
    assert [*growth(grown, SETTLED)] == ["table pair-join grew from 340 to 460 rows"]
    full = [replace(look, disk_bytes=9_000_000 + 5_000_000 * look.hour) for look in flat]
    assert [*growth(full, SETTLED)] == ["bytes on the disk grew from 39,000,000 to 54,000,000"]
