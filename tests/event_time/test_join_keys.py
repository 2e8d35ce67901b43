"""Keys of joins: whatever gives them, an event is where its partner is, or the app is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Record
from streamcluster.errors import AppError
from streamcluster.testing import Driver

PARTITIONS = 5


class Account(Record):
    name: str
    owner: str | None = None


def owner_of(account: Account) -> Any:
    return account.owner


async def owner_of_later(account: Account) -> Any:
    return account.owner


@pytest.mark.parametrize("on", [Account.owner, owner_of, owner_of_later, lambda account: account.owner])
@pytest.mark.parametrize("kind", ["table", "versions", "stream", "written"])
def test_on_finds_partners_in_all_partitions(on: Any, kind: str) -> None:
    """A field that may be None, a function and a lambda give keys as the partner has them, in whatever partition."""
    app = App("shop")
    owners = app.topic("owners", key_type=str, value_type=str)
    accounts = app.topic("accounts", key_type=str, value_type=Account)
    told = app.topic("told", key_type=str)
    table = app.Table("known", source=owners)
    versions = app.Table("versions", source=owners, history=100)
    written = app.Table("written", key_type=str, value_type=str)

    @app.agent(owners)
    async def write(stream: Any) -> None:
        async for owner, value in stream.items():
            written[owner] = value

    joins: dict[str, Callable[[Any], Any]] = {
        "table": lambda stream: stream.left_join(table, on=on),
        "versions": lambda stream: stream.left_join(versions, on=on, as_of=True),
        "stream": lambda stream: stream.left_join(owners, on=on, within=100, grace=0),
        "written": lambda stream: stream.left_join(written, on=on),
    }

    @app.agent(accounts)
    async def tell(stream: Any) -> None:
        async for account, owner in joins[kind](stream):
            await told.send(key=account.name, value=owner)

    with Driver(app, partitions=PARTITIONS) as driver:
        for name in "uvwxyz":
            driver.send(owners, key=name, value=name * 2, timestamp=2)
        for name in "uvwxyz":
            driver.send(accounts, key="1", value=Account(name=name, owner=name), timestamp=3)
        driver.send(accounts, key="1", value=Account(name="nobody"), timestamp=3)
        driver.time(1000)
        found = {output.key: output.value for output in driver.output(told)}
        assert found == {**{name: name * 2 for name in "uvwxyz"}, "nobody": None}
        assert driver.dead_letters() == []


def test_a_stream_with_other_keys_than_what_feeds_the_table_is_refused() -> None:
    """JSON and text of one key are in different partitions, so that no event would find its entry."""
    app = App("shop")
    table = app.Table("known", source=app.topic("owners", key_type=str, value_type=str))
    accounts = app.topic("accounts", key_type=str, key_serializer="json", value_type=Account)

    @app.agent(accounts)
    async def tell(stream: Any) -> None:
        async for _ in stream.join(table):
            pass

    with pytest.raises(AppError, match=r"as str as json, with table 'known', which is fed by owners, .* as raw"):
        Driver(app)


@pytest.mark.parametrize("on", [None, Account.owner])
def test_a_table_of_a_topic_without_key_type_is_refused_where_keys_are_text(on: Any) -> None:
    """Its keys are bytes, which no text is, so that a left join would give None for all."""
    app = App("shop")
    table = app.Table("known", source=app.topic("owners", value_type=str))
    accounts = app.topic("accounts", key_type=str, value_type=Account)

    @app.agent(accounts)
    async def tell(stream: Any) -> None:
        async for _ in stream.left_join(table, on=on):
            pass

    with pytest.raises(AppError, match=r"owners, whose keys are bytes: .* give owners key_type="):
        Driver(app)


class Visit(Record):
    number: int


@pytest.mark.parametrize("keyed", [lambda stream: stream.group_by(Visit.number), None])
def test_whole_numbers_meet_those_of_a_topic(keyed: Callable[[Any], Any] | None) -> None:
    """They are the same bytes as text, as topics have them, and as JSON, as a field behind group_by has them."""
    app = App("shop")
    visits = app.topic("visits", key_type=str, value_type=Visit)
    prices = app.topic("prices", key_type=int, value_type=int)
    told = app.topic("told", key_type=int)

    @app.agent(visits)
    async def tell(stream: Any) -> None:
        left, on = (stream, Visit.number) if keyed is None else (keyed(stream), None)
        async for visit, price in left.join(prices, on=on, within=100):
            await told.send(key=visit.number, value=price)

    with Driver(app, partitions=PARTITIONS) as driver:
        for number in (0, -7, 12, 10**30):
            driver.send(visits, key="v", value=Visit(number=number), timestamp=2)
            driver.send(prices, key=number, value=number * 2, timestamp=3)
        assert {output.key: output.value for output in driver.output(told)} == {
            number: number * 2 for number in (0, -7, 12, 10**30)
        }
        assert driver.dead_letters() == []
