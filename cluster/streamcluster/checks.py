"""Checks of what users declare, where they declare it: a wrong name, count or function is said with its place.

It knows no topic, table or agent; `what` in each function is how the declaration begins.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from .errors import AppError

# Kafka's rule; a longer name does not fit a directory of the broker.
TOPIC_NAME_CHARACTERS_MAX = 249
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]+")
Seconds = float | int | timedelta


def is_topic_name(name: object) -> bool:
    """Whether Kafka takes this as a topic's name."""
    return (
        isinstance(name, str)
        and len(name) <= TOPIC_NAME_CHARACTERS_MAX
        and _TOPIC_NAME.fullmatch(name) is not None
        and name not in (".", "..")
    )


def check_topic_name(what: str, name: object) -> None:
    """Raise AppError unless Kafka takes `name` as a topic's name."""
    if not is_topic_name(name):
        raise AppError(
            f"{what}: {name!r} cannot be a topic's name: use letters, digits, '.', '_' and '-', "
            f"at most {TOPIC_NAME_CHARACTERS_MAX}."
        )


def check_count(what: str, count: object, *, most: int | None = None) -> None:
    """Raise AppError unless `count` is None or a whole number from 1 to `most`."""
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 1 or (most is not None and count > most):
        raise AppError(f"{what}={count!r} must be a whole number, {f'1 to {most}' if most else 'at least 1'}.")


def seconds_of(what: str, value: object) -> float:
    """A duration in seconds. Raises AppError when it is none, or negative."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise AppError(f"{what}={value!r} is no duration: give a number of seconds, or a timedelta.")
    return float(seconds)


def check_callable(what: str, fun: object) -> None:
    """Raise AppError unless `fun` can be called, and does something then: a generator would not."""
    if not callable(fun):
        raise AppError(f"{what}: {fun!r} is not a function.")
    if inspect.isgeneratorfunction(fun) or inspect.isasyncgenfunction(fun):
        raise AppError(f"{what}: {fun!r} yields, and nobody takes that here: return it, or send it to a topic.")


def each(what: str, values: object) -> list[Any]:
    """The members of a list argument. Raises AppError for a single thing that was not put into a list."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise AppError(f"{what}={values!r} must be a list: write [{values!r}].")
    return list(values)


def check_parameters(what: str, fun: Callable[..., Any], *arguments: str) -> None:
    """Raise AppError unless `fun` can be called with one value for each of `arguments`."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return  # Written in C: nothing says what it takes.
    try:
        signature.bind(*arguments)
    except TypeError as error:
        expected = f"one argument, the {arguments[0]}" if arguments else "no argument"
        name = getattr(fun, "__name__", repr(fun))
        raise AppError(f"{what} is called with {expected}, and {name}{signature} does not take that.") from error


def check_migrate(table: str, fun: Callable[..., Any]) -> None:
    """Raise AppError unless `fun` can be called with an old row, and answers at once."""
    what = f"table {table!r}: migrate"
    check_callable(what, fun)
    if inspect.iscoroutinefunction(fun):
        raise AppError(f"{what}: {fun!r} is async: rows are read where nothing can be awaited.")
    check_parameters(what, fun, "row")


def check_task(what: str, fun: Callable[..., Any]) -> None:
    """Raise AppError unless `fun` can be called without an argument, or with the app."""
    check_callable(what, fun)
    try:
        takes_app = bool(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        return
    check_parameters(what, fun, *(["app"] if takes_app else []))
