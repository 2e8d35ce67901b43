"""Programs of people who have read the guide once: tables in other modules, chains of windows, odd values."""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from streamcluster import App
from streamcluster.errors import StreamclusterError
from streamcluster.testing import Driver

from . import named_tables

Agent = Callable[[Any], Awaitable[None]]


class Pages:
    """An agent that is a method."""

    def __init__(self) -> None:
        self.views = named_tables.Tables.views
        self.kept = {"views": self.views}

    async def by_attribute(self, stream: Any) -> None:
        async for page, user in stream.items():
            self.views[page] += [user]

    async def by_name(self, stream: Any) -> None:
        async for page, user in stream.items():
            self.kept["views"][page].value().append(user)


async def by_module(stream: Any) -> None:
    async for page, user in stream.items():
        named_tables.views[page] += [user]  # type: ignore[attr-defined]


async def by_function_of_module(stream: Any) -> None:
    async for page, user in stream.items():
        named_tables.collect(page, user)


async def by_default(stream: Any, kept: Any = None) -> None:
    async for page, user in stream.items():
        kept[page] += [user]


def in_a_list() -> Agent:
    tables = [named_tables.Tables.views]

    async def agent(stream: Any) -> None:
        async for page, user in stream.items():
            tables[0][page].apply(lambda users, more: [*users, more], user)

    return agent


def in_a_default() -> Agent:
    kept = named_tables.Tables.views

    async def agent(stream: Any, kept: Any = kept) -> None:
        await by_default(stream, kept)

    return agent


MADE: dict[str, Callable[[], Agent]] = {
    "attribute": lambda: Pages().by_attribute,
    "dict": lambda: Pages().by_name,
    "module": lambda: by_module,
    "function of a module": lambda: by_function_of_module,
    "list": in_a_list,
    "default": in_a_default,
}


@pytest.mark.parametrize("how", MADE)
def test_tables_are_seen_however_they_are_named(how: str) -> None:
    """Their windows are closed, and what is appended to a value is kept."""
    named_tables.declared()
    closed: list[Any] = []
    named_tables.Tables.views.on_close(lambda page, window, users: closed.append((page, window.start, users)))
    named_tables.Tables.app.agent(named_tables.Tables.clicks, name="agent")(MADE[how]())
    with Driver(named_tables.Tables.app) as driver:
        for at, user in ((1, "ann"), (2, "bob"), (61, "eve")):
            driver.send("clicks", key="/", value=user, timestamp=at)
        assert closed == [("/", 0, ["ann", "bob"])]


@pytest.mark.parametrize("change", [lambda windows: windows.value().append(1), lambda windows: windows.apply(max, [1])])
def test_windows_that_nothing_would_close_are_refused(change: Callable[[Any], None]) -> None:
    """No code shows which table it is: to lose what is appended would be worse than to stop."""
    named_tables.declared()

    @named_tables.Tables.app.agent(named_tables.Tables.clicks)
    async def hide(stream: Any) -> None:
        async for page in stream:
            change(getattr(named_tables.Tables, "vi" + "ews")[page])

    refused = pytest.raises(StreamclusterError, match="not seen that its windows are written")
    with Driver(named_tables.Tables.app) as driver, refused:
        driver.send(named_tables.Tables.clicks, key="/", value="/", timestamp=1)


def test_a_part_of_windows_is_not_set() -> None:
    """The message has what was meant."""
    words: Any = App("parts").Table("words", key_type=str, default=dict).tumbling(60)
    for change in (partial(operator.setitem, words["a"], "x", 1), partial(operator.delitem, words["a"], "x")):
        with pytest.raises(TypeError, match=r"not a value to change a part of: read one with \.value\(\)"):
            change()


@pytest.mark.parametrize(
    ("default", "one"),
    [
        (Counter, Counter("a")),
        (Decimal, Decimal("0.1")),
        (Fraction, Fraction(1, 3)),
        (timedelta, timedelta(1)),
        (tuple, (1,)),
        (deque, deque([1])),
        (bytes, b"a"),
    ],
)
def test_sessions_of_these_values_are_merged(default: Any, one: Any) -> None:
    """By adding them up, without merge=."""
    app = App("sessions")
    events = app.topic("events", key_type=str, value_type=int)
    visits = app.Table("visits", key_type=str, default=default).session(10, grace=60)
    closed: list[Any] = []
    visits.on_close(lambda _key, window, value: closed.append((tuple(window), value)))

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, _ in stream.items():
            visits[key] += one

    with Driver(app) as driver:
        for at in (100, 115, 108):
            driver.send(events, key="a", value=1, timestamp=at)
        driver.time(1000)
    assert closed == [((100, 115), one + one + one)]
