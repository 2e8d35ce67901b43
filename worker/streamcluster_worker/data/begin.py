"""Where one partition begins to be read, and what is said about it. Pure: others ask the brokers.

It is decided once: what is decided here (`is_new`) is committed before the first record is read, so that nobody decides
again after a crash or a move, when the log's end is somewhere else (I11).
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import ERROR, WARNING
from typing import Literal

import msgspec

from streamcluster.ahead import ahead_of
from streamcluster.engine.values import Committed
from streamcluster.ids import TP

Reset = Literal["earliest", "latest"]


class Past(msgspec.Struct, frozen=True):
    """What the app knows of its earlier days.

    begun: topic -> partitions that it had when the app began to read it: later ones were added. read: topic ->
    partitions in which the app had a position once. internal: topics that the app writes for itself.
    """

    begun: Mapping[str, int]
    read: Mapping[str, int]
    internal: frozenset[str] = frozenset()

    def is_added(self, tp: TP) -> bool:
        """Whether the partition is newer than the app's reading of its topic."""
        return tp.partition >= self.begun.get(tp.topic, tp.partition + 1)

    def had_position(self, tp: TP) -> bool:
        """Whether the app had committed a position in it."""
        return tp.partition < self.read.get(tp.topic, 0)


class Log(msgspec.Struct, frozen=True):
    """begin: the first offset that the log still has; end: the offset behind its last record."""

    begin: int
    end: int


class Begin(msgspec.Struct, frozen=True):
    """Where a partition begins.

    is_new: it was decided now, and is to be committed before anything is read. said: what became of records, for
    people; level: of that line. expired: there was a committed position, and it is gone. lost: why nobody knows where
    to begin.
    """

    position: Committed
    is_new: bool = False
    said: str | None = None
    level: int = ERROR
    expired: bool = False
    lost: str | None = None


def begin_of(
    app_id: str,
    tp: TP,
    committed: Committed | None,
    log: Log,
    past: Past,
    reset: Reset,
    confirmed: int | None = None,
) -> Begin:
    """Where to begin.

    Args:
        app_id: the group.
        tp: the partition.
        committed: the group's position in it; None: it has none.
        log: what there is to read.
        past: what the app knows of its earlier days.
        reset: where to begin in what was there before the app.
        confirmed: the last position that this process has committed, which no later owner can have gone behind.
    """
    # A log that ends before what was confirmed is another one than it was.
    if confirmed is not None and confirmed <= log.end and (committed is None or committed.next_offset < confirmed):
        return Begin(committed or Committed(confirmed), lost=_forgotten(app_id, tp, committed, confirmed))
    if committed is not None:
        return _go_on(app_id, tp, committed, log)
    if confirmed is not None:
        return _anew(app_id, tp, log, confirmed)
    if past.had_position(tp):
        return _expired(app_id, tp, log, reset)
    if tp.topic in past.internal:
        # What another task of the app has sent here already is not to be missed.
        return Begin(Committed(log.begin), is_new=True)
    if past.is_added(tp):
        text = (
            f"{tp} was added to its topic, which had {past.begun[tp.topic]} partitions when {app_id} began to read it: "
            f"read from its beginning at {log.begin}, {log.end - log.begin:,} records so far"
        )
        return Begin(Committed(log.begin), is_new=True, said=text, level=WARNING)
    return Begin(Committed(log.end if reset == "latest" else log.begin), is_new=True)


def _go_on(app_id: str, tp: TP, committed: Committed, log: Log) -> Begin:
    at = committed.next_offset
    if at > log.end:
        return Begin(committed, lost=_lost(app_id, tp, at, log))
    if at < log.begin:
        text = (
            f"{tp}: {log.begin - at:,} records, {at} to {log.begin - 1}, were deleted before {app_id} had read them, "
            f"by the topic's retention or by hand; going on at {log.begin}"
        )
        return Begin(Committed(log.begin), is_new=True, said=text)
    if any(at + max(split) > log.end for splits in ahead_of(committed.metadata).values() for split in splits):
        # Not ours, whatever it looks like: readers would wait for records up to there.
        return Begin(Committed(at))
    return Begin(committed)


def _forgotten(app_id: str, tp: TP, committed: Committed | None, confirmed: int) -> str:
    return (
        f"{tp}: group {app_id} has committed {confirmed}, and its coordinator says now "
        f"{committed.next_offset if committed is not None else 'nothing'}. Kafka 4 may forget commits when a killed "
        "broker is up again within its session time-out; it reads them again when the broker that coordinates the "
        "group is restarted. If you have set the position back: stop the app and start it"
    )


def _lost(app_id: str, tp: TP, at: int, log: Log) -> str:
    return (
        f"{tp}: group {app_id} has committed {at}, and the log ends at {log.end}: was the topic made anew, or the "
        f"offset committed by something else? If it was made anew, none of the {log.end - log.begin:,} records in it "
        "is read: stop the app, and commit the offset that belongs to its state; without state, its beginning: "
        f"`kafka-consumer-groups --bootstrap-server BROKER --group {app_id} --topic {tp.topic}:{tp.partition} "
        "--reset-offsets --to-earliest --execute`"
    )


def _anew(app_id: str, tp: TP, log: Log, confirmed: int) -> Begin:
    """All that is in the log came after the app had begun, whatever the setting says."""
    text = (
        f"{tp}: the topic was deleted and made anew: {app_id} had come to {confirmed}, and what followed is gone; "
        f"the new one is read from its beginning at {log.begin}, {log.end - log.begin:,} records so far"
    )
    return Begin(Committed(log.begin), is_new=True, said=text, expired=True)


def _expired(app_id: str, tp: TP, log: Log, reset: Reset) -> Begin:
    at = log.end if reset == "latest" else log.begin
    if log.begin == log.end:
        return Begin(Committed(at), is_new=True, expired=True)
    then = "are not read" if reset == "latest" else "are read, whether they had been or not"
    text = (
        f"{tp}: {log.end - log.begin:,} records, {log.begin} to {log.end - 1}, {then}: the position that {app_id} had "
        "is gone (it expired after the brokers' offsets.retention.minutes, somebody deleted it, or the topic was made "
        f"anew), so reading begins at {at}, as consumer_auto_offset_reset={reset} says"
    )
    return Begin(Committed(at), is_new=True, said=text, expired=True)
