"""What the ledger does by event time: its bounds, in ms, and what its topics say. No rule.

Everything that decides what a result must be is in the log of an input and in the timestamps of its records: no input
is ever left out as idle, and time does not run on with the clock.
"""

from __future__ import annotations

import msgspec

# Windows of 5 s, in `spans`; sessions of one account, in `visits`.
SPAN, SPAN_GRACE = 5_000, 1_000
GAP, GAP_GRACE = 1_000, 1_000
# A movement meets the payments of its account from so long before to so long after it.
BEFORE, AFTER, JOIN_GRACE = 500, 2_000, 1_000
# A payment that is sent again counts as the same for so long.
WITHIN = 3_000
# A profile's version is found for so long after the next one has come.
HISTORY = 5_000
# The counts in `marks` begin anew when nothing came for so long.
TTL = 3_000
# By how much some records are older than those before them, and a few of those very much.
LAG_SHARE, LAG_MAX = 0.2, 2_500
LATE_SHARE, LATE_MIN, LATE_MAX = 0.01, 20_000, 40_000
# The last records are from so far ahead that everything before them is over.
END_AHEAD = 120_000
# What agents send of event time: of windows that are over, of sessions that are, of what came too late for either, of
# joins, of what was no duplicate, and of entries that expire.
TIMED_OUTPUTS = ("closed", "gone", "late", "late visits", "pairs", "known", "once", "marked")
# Tables of users with their keys as JSON, and of the engine.
TIMED_TABLES = ("spans", "visits", "marks")
INTERNAL_TABLES = (
    "users",
    "spans-time",
    "visits-time",
    "marks-time",
    "marks-ttl",
    "settle-join",
    "settle-join-time",
    "recall-join",
    "recall-join-time",
    "accept-deduplicate",
    "accept-deduplicate-time",
)
# What agents keep is in tables that are named after them.
AGENTS_WITH_TABLES = ("settle-", "recall-", "accept-")
# Their rows may have the largest timestamp in them before what the changelog has.
WINDOWED_TABLES = ("spans", "visits")


class Payment(msgspec.Struct, frozen=True):
    """A record of `paid`. id: the same when it is sent again; number: unique in the run; ts: its timestamp."""

    id: int
    number: int
    ts: int


class Closed(msgspec.Struct, frozen=True):
    """A window or session that is over, in ms, with the movements that it had."""

    start: int
    end: int
    ids: list[int]


class Pair(msgspec.Struct, frozen=True):
    """A movement and the number of a payment; -1: it had none."""

    id: int
    other: int
