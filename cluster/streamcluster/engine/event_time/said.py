"""What is said of an operator's time: where it is, and which input holds it back, for who waits for a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from ...ids import TP
from ...times import NO_TIME
from .operator_time import InputState, OperatorTime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_of_time(milliseconds: int) -> str:
    """As people read it."""
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{milliseconds} ms"


# The producing task that an input waits for, with its T, where it is a repartition topic.
Slowest = Callable[[TP], tuple[str, int] | None]


def said_of(operator: OperatorTime, slowest: Slowest) -> str:
    """One line."""
    if operator.by_wall:
        return f"time of {operator.name}: that of the clock"
    states = {tp: state() for tp, state in operator.inputs.items()}
    time = "not known yet" if operator.finished == NO_TIME else text_of_time(operator.finished)
    return f"event time of {operator.name}: {time}; {_why(operator, states, slowest)}"


def _why(operator: OperatorTime, states: Mapping[TP, InputState], slowest: Slowest) -> str:
    live = {tp: state.mark.watermark for tp, state in states.items() if state.idle_since is None}
    if not live:
        if operator.idle_after is None:
            return "all inputs are at their ends: it goes on with the next record"
        after = f"{operator.idle_after / 1000:g} s after the last record, if that was no older when it was read"
        return f"all inputs are at their ends: it goes on with the next record, or with the clock {after}"
    waited = {tp: watermark for tp, watermark in live.items() if watermark >= operator.finished} or live
    tp = min(waited, key=lambda one: (waited[one], one))
    if (held := slowest(tp)) is not None:
        name, time = held
        if time == NO_TIME:
            return f"it waits for {tp}, where task {name}, which writes it, has not said yet how far it is"
        return f"it waits for {tp}, where task {name}, which writes it, is at {text_of_time(time)}"
    if waited[tp] == NO_TIME:
        return f"it waits for {tp}, of which no record is finished yet"
    return f"it waits for {tp}, which is at {text_of_time(waited[tp])}"
