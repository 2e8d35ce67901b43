"""What is said of an operator's time: where it is, and which input holds it back, for who waits for a window."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from ...ids import TP
from ...times import NO_TIME
from .least import Awaited, awaited
from .operator_time import InputState, OperatorTime, is_live

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_of_time(milliseconds: int) -> str:
    """As people read it."""
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{milliseconds} ms"


# The producing task that lets an input go on which is a repartition topic, and has that watermark; None: it is another.
Producing = Callable[[TP, int], Awaited[str] | None]


def said_of(operator: OperatorTime, producing: Producing) -> str:
    """One line."""
    if operator.by_wall:
        return f"time of {operator.name}: that of the clock"
    time = "not known yet" if operator.finished == NO_TIME else text_of_time(operator.finished)
    return f"event time of {operator.name}: {time}; {_why(operator, producing)}"


def _or(operator: OperatorTime, states: Collection[InputState]) -> str:
    """What else time goes on with, or why it does not."""
    idle_after = operator.idle_after
    if idle_after is None or not any(state.mark.last != NO_TIME for state in states):
        return ""
    seconds = idle_after / 1000
    if not any(is_live(state, idle_after) for state in states):
        older = "was older than that when it was read, as of an upload of old data"
        return f", and not with the clock {seconds:g} s after the last one, which {older}"
    behind = max([state.age for state in states], default=0) / 1000
    late = f", {behind:g} s behind it, since so old records come of other windows or joins" if behind else ""
    return f", or {seconds:g} s after the last one with the clock{late}"


def _why(operator: OperatorTime, producing: Producing) -> str:
    states = {tp: operator.inputs[tp]() for tp in sorted(operator.inputs)}
    held = awaited(operator.finished, {tp: state.watermark(operator.finished) for tp, state in states.items()})
    if held is None:
        return f"all inputs are at their ends: it goes on with the next record{_or(operator, states.values())}"
    table, is_due, _ = held.name.topic.partition("@")
    if is_due:
        return f"it follows the time of {table}, of which something may still come"
    if states[held.name].is_read_again:
        return f"it waits for {held.name}, which is read again, since another agent is behind there"
    if (producer := producing(held.name, held.watermark)) is not None:
        where = f"{held.name}, where task {producer.name}, which writes it,"
        return _waits(f"{where} has not said yet how far it is", f"{where} is at", producer.watermark, producer.counts)
    unknown = f"{held.name}, of which no record is finished yet"
    return _waits(unknown, f"{held.name}, which is at", held.watermark, held.counts)


def _waits(unknown: str, known: str, watermark: int, counts: bool) -> str:
    text = unknown if watermark == NO_TIME else f"{known} {text_of_time(watermark)}"
    return f"it waits for {text}" if counts else f"it stands until one that was left out has caught up: {text}"
