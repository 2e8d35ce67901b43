"""What is joined is checked at the start: partition counts and keys, with both names in what is said."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from streamcluster import App, Stream
from streamcluster.errors import AppError
from streamcluster.topology import BrokerTopic, Topology
from streamcluster.topology.declare import freeze
from streamcluster.topology.resolve import resolve

KINDS = ("stream", "table", "source", "as_of")


def joining(kind: str, left: Any = str, right: Any = str) -> App:
    """Clicks joined with users: a stream, a table that an agent writes, or that of a topic; with these key types."""
    app = App("shop")
    users = app.topic("users", key_type=right, value_type=int)
    clicks = app.topic("clicks", key_type=left, value_type=int)
    other: Any = users
    if kind == "table":
        other = app.Table("kept", key_type=right)

        @app.agent(users, name="keep")
        async def keep(stream: Stream[int]) -> None:
            async for key, value in stream.items():
                other[key] = value

    elif kind in ("source", "as_of"):
        other = app.Table("kept", source=users, history=60)
    options: dict[str, Any] = {"within": 5} if kind == "stream" else {"as_of": kind == "as_of"}

    @app.agent(clicks, name="who")
    async def who(stream: Stream[int]) -> None:
        async for _ in stream.join(other, **options):
            pass

    return app


def started(app: App, users: int, clicks: int) -> str:
    """The problems at the start, of brokers with so many partitions; "": none."""
    _, declared = asyncio.run(freeze(app))
    there = {name: BrokerTopic(name=name, partitions=count) for name, count in (("users", users), ("clicks", clicks))}
    found = resolve(declared, there, app.conf)
    return "" if isinstance(found, Topology) else " ".join(problem.text for problem in found)


@pytest.mark.parametrize("kind", KINDS)
def test_partition_counts_that_differ_are_refused(kind: str) -> None:
    """Both topics are named, with their counts."""
    assert started(joining(kind), 3, 3) == ""
    problems = started(joining(kind), 3, 2)
    assert "'users' has 3" in problems
    assert "'clicks' has 2" in problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("left", "right"), [(str, int), (bytes, int), (UUID, str), (float, int)])
def test_keys_that_never_match_are_refused(kind: str, left: Any, right: Any) -> None:
    """With the names of both."""
    with pytest.raises(AppError, match=r"'who' joins .*clicks.*(users|kept).*no key is ever the same"):
        started(joining(kind, left, right), 3, 3)
