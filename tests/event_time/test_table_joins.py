"""Joins of tables: what comes of them, where it can be used, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, AppError, Record, Table, Topic
from streamcluster.errors import StateIncompatible
from streamcluster.testing import Driver

from .test_random_table_joins import HeldReads


class Owner(Record):
    """A row of the right table."""

    city: str


class Account(Record):
    """A row of the left table."""

    name: str
    owner_id: str | None = None


Join = Callable[[Any, Any], Any]


def shop(join: Join, *, owner_keys: Any = str, **owner_topic: Any) -> App:
    """Tables of two topics, and what `join` makes of them; its changes go to "told"."""
    app = App("shop")
    accounts = app.Table("accounts", source=app.topic("accounts", key_type=str, value_type=Account))
    owners = app.Table("owners", source=app.topic("owners", key_type=owner_keys, value_type=Owner, **owner_topic))
    changes: Topic = join(accounts, owners).changes()
    told = app.topic("told", key_type=str, value_type=list, partitions=3)

    @app.agent(changes, name="tell")
    async def tell(stream: Any) -> None:
        async for key, pair in stream.items():
            value = pair and [pair[0] and pair[0].name, pair[1] and pair[1].city]
            await told.send(key=key, value=value)

    return app


def by_owner(accounts: Any, owners: Any) -> Any:
    """The join that most of these are about."""
    return accounts.left_join(owners, on=Account.owner_id, name="enriched")


def told(driver: Driver) -> list[Any]:
    """Key, name and city, and the time."""
    return [(one.key, one.value, one.timestamp) for one in driver.output("told")]


def test_rows_meet_by_a_foreign_key_wherever_they_are() -> None:
    """Changes of both sides change the result, with the later of the two times; it is a table as others."""
    with Driver(shop(by_owner), partitions=3) as driver:
        for number in range(6):
            driver.send("accounts", key=f"a{number}", value=Account(f"n{number}", "o1"), timestamp=10)
        driver.send("owners", key="o1", value=Owner("Rome"), timestamp=7)
        met = [row for row in told(driver) if row[1][1] is not None]
        assert sorted(met) == [(f"a{number}", [f"n{number}", "Rome"], 7.0) for number in range(6)]
        driver.send("accounts", key="a3", value=Account("n3", "o2"), timestamp=11)
        driver.send("accounts", key="a4", value=Account("n4"), timestamp=12)
        driver.send("accounts", key="a5", value=None, timestamp=13)
        driver.crash(lose_stores=True)
        rows = driver.table("enriched")
        assert rows.pop("a3") == (Account("n3", "o2"), None)
        assert rows.pop("a4") == (Account("n4"), None)
        assert rows == {f"a{number}": (Account(f"n{number}", "o1"), Owner("Rome")) for number in range(3)}
        driver.send("accounts", key="a3", value=Account("n3", "o1"), timestamp=6)
        assert [row for row in told(driver) if row[0] == "a3"][-1] == ("a3", ["n3", "Rome"], 7.0)


def test_an_answer_that_is_overtaken_by_a_change_is_dropped() -> None:
    """The old owner's answer comes when the account has another one already."""
    held: set[str] = set()
    with Driver(shop(by_owner)) as driver:
        driver.worker.through = lambda reads, writes: (HeldReads(reads, held), writes)
        driver.crash()
        driver.send("owners", key="o1", value=Owner("Rome"))
        held.add("shop-enriched-answers")
        driver.send("accounts", key="a", value=Account("n", "o1"))
        held.add("shop-enriched-subscriptions")
        driver.send("accounts", key="a", value=Account("n", "o2"))
        held.remove("shop-enriched-answers")
        driver.advance(0)
        assert told(driver) == []
        held.clear()
        driver.advance(0)
        assert [row[:2] for row in told(driver)] == [("a", ["n", None])]


def test_the_result_can_be_read_and_joined_on() -> None:
    """By get() in an agent, by stream.join, and as a side of another join."""
    app = App("shop")
    accounts = app.Table("accounts", source=app.topic("accounts", key_type=str, value_type=Account))
    owners = app.Table("owners", source=app.topic("owners", key_type=str, value_type=Owner))
    limits = app.Table("limits", source=app.topic("limits", key_type=str, value_type=int))
    enriched = by_owner(accounts, owners)
    full: Table[str, Any] = enriched.join(limits, name="full")
    orders, out = app.topic("orders", key_type=str, value_type=int), app.topic("out", key_type=str, value_type=list)

    @app.agent(orders)
    async def order(stream: Any) -> None:
        async for number, (account, owner) in stream.join(enriched):
            pair = full.get(account.name)
            await out.send(value=[number, account.name, owner and owner.city, None if pair is None else pair[1]])

    with Driver(app, partitions=2) as driver:
        driver.send("accounts", key="n", value=Account("n", "o1"))
        driver.send("orders", key="n", value=1)
        driver.send("owners", key="o1", value=Owner("Rome"))
        driver.send("orders", key="n", value=2)
        driver.send("limits", key="n", value=70)
        driver.send("orders", key="n", value=3)
        driver.send("orders", key="nobody", value=4)
        assert [one.value for one in driver.output("out")] == [
            [1, "n", None, None],
            [2, "n", "Rome", None],
            [3, "n", "Rome", 70],
        ]
        assert driver.table("full") == {"n": ((Account("n", "o1"), Owner("Rome")), 70)}


def test_a_table_may_name_its_own_rows() -> None:
    """Everybody and their boss."""
    app = App("staff")
    people = app.Table("people", source=app.topic("people", key_type=str, value_type=dict))
    people.join(people, on=lambda person: person.get("boss"), name="bosses")
    with Driver(app, partitions=2) as driver:
        driver.send("people", key="ann", value={"at": "HQ"})
        driver.send("people", key="bob", value={"at": "lab", "boss": "ann"})
        driver.send("people", key="cid", value={"at": "lab", "boss": "bob"})
        driver.send("people", key="ann", value={"at": "home"})
        driver.send("people", key="bob", value=None)
        assert driver.table("bosses") == {}
        driver.send("people", key="bob", value={"boss": "ann"})
        assert driver.table("bosses") == {
            "bob": ({"boss": "ann"}, {"at": "home"}),
            "cid": ({"at": "lab", "boss": "bob"}, {"boss": "ann"}),
        }


def test_a_join_that_comes_later_has_what_was_there_before() -> None:
    """The tables have rows when the app gets the join."""
    before = App("shop")
    before.Table("accounts", source=before.topic("accounts", key_type=str, value_type=Account))
    before.Table("owners", source=before.topic("owners", key_type=str, value_type=Owner))
    with Driver(before, partitions=2) as driver:
        driver.send("accounts", key="a", value=Account("n", "o"), timestamp=5)
        driver.send("owners", key="o", value=Owner("Rome"), timestamp=6)
        logs, committed = driver.logs.logs, driver.worker.committed
        with Driver(shop(by_owner), partitions=2) as later:
            later.logs.logs.update(logs)
            later.worker.committed.update(committed)
            later.crash(lose_stores=True)
            assert later.table("enriched") == {"a": (Account("n", "o"), Owner("Rome"))}


def test_a_row_whose_key_cannot_be_found_is_dead_lettered() -> None:
    """And the others go on."""
    app = App("staff")
    people = app.Table("people", source=app.topic("people", key_type=str, value_type=dict))
    teams = app.Table("teams", source=app.topic("teams", key_type=str, value_type=str))
    people.join(teams, on=lambda person: person["team"], name="members")
    with Driver(app) as driver:
        driver.send("teams", key="t", value="Tigers")
        driver.send("people", key="a", value={})
        driver.send("people", key="b", value={"team": 7})
        driver.send("people", key="c", value={"team": "t"})
        assert driver.table("members") == {"c": ({"team": "t"}, "Tigers")}
        errors = [letter.headers["dead-letter-error"].decode() for letter in driver.dead_letters()]
        assert len(errors) == 2
        assert "'team'" in errors[0]
        assert "int" in errors[1]


def test_what_can_never_meet_is_refused() -> None:
    """With both names, and what to do."""

    def refused(join: Join, **owner: Any) -> str:
        with pytest.raises(AppError) as error:
            Driver(shop(join, **owner)).close()
        return str(error.value)

    for join in (by_owner, lambda accounts, owners: accounts.outer_join(owners)):
        text = refused(join, owner_keys=int)
        assert "'accounts'" in text
        assert "'owners'" in text
        assert "no key is ever the same" in text
    text = refused(lambda accounts, owners: accounts.join(owners), key_serializer="json")
    assert "'accounts' (of accounts, whose keys are raw)" in text
    assert "'owners' (of owners, whose keys are str as json)" in text
    assert "give a field of the record" in refused(lambda accounts, owners: accounts.join(owners, on="owner_id"))
    assert "each row of a table meets itself" in refused(lambda accounts, owners: accounts.join(accounts))
    assert "is of another app" in refused(lambda accounts, owners: accounts.join(App("b").Table("b")))

    def twice(accounts: Any, owners: Any) -> Any:
        accounts.join(owners)
        return accounts.join(owners, on=Account.owner_id)

    assert "give one of them another name=" in refused(twice)

    def windowed(accounts: Any, owners: Any) -> Any:
        owners.tumbling(10)
        return accounts.join(owners)

    assert "has windows" in refused(windowed)


@pytest.mark.parametrize("how", ["join", "inner_join", "left_join", "outer_join"])
def test_what_is_no_table_is_refused_with_what_to_write(how: str) -> None:
    """A topic and a stream by their names; nothing is shown as Python has it."""
    app = App("shop")
    topic = app.topic("owners", key_type=str)
    accounts = app.Table("accounts", source=app.topic("accounts", key_type=str))
    for other, parts in (
        (topic, ("owners is a topic", "app.Table(..., source=topic)", "app.stream(topic).join(table)")),
        (app.stream(topic), ("the stream over owners is no table", "stream.join(table)", "'accounts'")),
        (app.Table("hits", default=int).tumbling(60), ("table 'hits' has windows", "a plain table in on_close")),
        (5, ("give a table of the same app",)),
    ):
        with pytest.raises(AppError) as error:
            getattr(accounts, how)(other)
        assert str(error.value).startswith("table 'accounts': ")
        assert all(part in str(error.value) for part in parts)
        assert "Topic(" not in str(error.value)


def test_joins_that_are_not_offered_say_what_to_write() -> None:
    """Instead of that there is no such attribute, or argument."""
    app = App("shop")
    accounts: Any = app.Table("accounts", key_type=str)
    owners = app.Table("owners", key_type=str)
    windowed: Any = app.Table("hits", default=int).tumbling(60)
    stream: Any = app.stream(app.topic("clicks"))
    wrongs: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: accounts.right_join(owners), "other.left_join"),
        (lambda: accounts.outer_join(owners, on=Account.owner_id), "left_join.on=...."),
        (lambda: windowed.join(owners), "a plain table in on_close"),
        (lambda: windowed.left_join(owners), "a plain table in on_close"),
        (lambda: stream.join(windowed), "'hits' has windows"),
        (lambda: stream.right_join(accounts), "a table has no events"),
    )
    for wrong, message in wrongs:
        with pytest.raises(AppError, match=message):
            wrong()


def test_other_partition_counts_are_refused() -> None:
    """By equal keys; a foreign key brings them together."""

    def app(join: Join) -> App:
        found = App("shop")
        accounts = found.topic("accounts", key_type=str, value_type=Account, partitions=2)
        owners = found.topic("owners", key_type=str, value_type=Owner, partitions=3)
        join(found.Table("accounts", source=accounts), found.Table("owners", source=owners))
        return found

    with pytest.raises(AppError) as error:
        Driver(app(lambda accounts, owners: accounts.join(owners)))
    assert "'shop-accounts-changelog' has 2 partitions, 'shop-owners-changelog' has 3 partitions" in str(error.value)
    with Driver(app(by_owner)) as driver:
        for number in range(9):
            driver.send("owners", key=f"o{number}", value=Owner(f"c{number}"))
            driver.send("accounts", key=f"a{number}", value=Account("n", f"o{number}"))
        assert driver.table("enriched") == {
            f"a{number}": (Account("n", f"o{number}"), Owner(f"c{number}")) for number in range(9)
        }


def test_nobody_writes_the_right_table() -> None:
    """Then nobody can say where its rows are."""
    app = App("shop")
    accounts = app.Table("accounts", source=app.topic("accounts", key_type=str, value_type=Account))
    accounts.join(app.Table("owners", key_type=str), on=Account.owner_id)
    with pytest.raises(AppError, match="'accounts' with 'owners', which no agent is seen to write"):
        Driver(app)


def test_topics_without_types_have_bytes_as_keys() -> None:
    """So text never meets them: refused where that is declared, else by the event."""

    def app(on: Any) -> App:
        found = App("shop")
        accounts = found.Table("accounts", source=found.topic("accounts", key_type=str, value_type=Account))
        owners = found.Table("owners", source=found.topic("owners"))
        accounts.left_join(owners, name="enriched", **({} if on is None else {"on": on}))
        return found

    for on in (None, Account.owner_id):
        with pytest.raises(AppError, match="with 'owners', whose keys are bytes: no key is ever the same"):
            Driver(app(on))
    with Driver(app(lambda account: account.owner_id)) as driver:
        driver.send("accounts", key="a", value=Account("n", "o"))
        [letter] = driver.dead_letters()
        assert b"on= gives a str, and keys of the other table are bytes" in letter.headers["dead-letter-error"]
    with Driver(app(lambda account: account.owner_id.encode())) as driver:
        driver.send("owners", key=b"o", value={"city": "Rome"})
        driver.send("accounts", key="a", value=Account("n", "o"))
        assert driver.table("enriched") == {"a": (Account("n", "o"), {"city": "Rome"})}


def test_odd_rows_come_out_as_they_are() -> None:
    """Keys that are tuples and numbers, sets, and rows that are changed in place."""
    app = App("odd")
    marks = app.topic("marks", key_type=int, value_type=str)
    tags: Any = app.Table("tags", key_type=tuple, default=set)
    sizes: Any = app.Table("sizes", key_type=tuple, default=float)
    tags.outer_join(sizes, name="both")

    @app.agent(marks)
    async def mark(stream: Any) -> None:
        async for number, text in stream.items():
            tags["of", number].add(text)
            sizes["of", number % 2] += 0.5

    with Driver(app, partitions=1) as driver:
        for number, text in enumerate("abca"):
            driver.send("marks", key=number % 3, value=text)
        assert driver.table("both") == {
            ("of", 0): ({"a"}, 1.5),
            ("of", 1): ({"b"}, 0.5),
            ("of", 2): ({"c"}, None),
        }
        assert not driver.dead_letters()


def named(how: str, **options: Any) -> Join:
    """A join under a name that stays."""
    return lambda accounts, owners: getattr(accounts, how)(owners, name="enriched", **options)


def owner_of(account: Account) -> str | None:
    """As a function."""
    return account.owner_id


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (by_owner, by_owner, None),
        (by_owner, named("join", on=Account.owner_id), "now the app says join='join'"),
        (by_owner, named("left_join", on=Account.name), "on='name'"),
        (by_owner, named("left_join", on=owner_of), "on='owner_of'"),
        (by_owner, named("left_join"), "on='the key'"),
        (named("join"), named("join"), None),
        (named("join"), named("outer_join"), "is of join='join', left='accounts', right='owners', on='the key'"),
        (named("join"), named("join", on=Account.owner_id), "on='owner_id'"),
        (named("join"), lambda accounts, owners: owners.join(accounts, name="enriched"), "left='owners'"),
    ],
)
@pytest.mark.parametrize("lose_stores", [False, True])
def test_another_join_over_rows_that_are_there_is_refused(
    before: Join, after: Join, says: str | None, *, lose_stores: bool
) -> None:
    """At the start, with what to do: the rows of the one before would stay, and be told nobody."""
    with Driver(shop(before), partitions=2) as first:
        first.send("accounts", key="a", value=Account("n", "o1"), partition=0)
        first.send("owners", key="a", value=Owner("Rome"), partition=0)
        with Driver(shop(after), partitions=2) as second:
            second.logs.logs.update(first.logs.logs)
            second.worker.committed.update(first.worker.committed)
            if says is not None:
                with pytest.raises(StateIncompatible) as refused:
                    second.crash(lose_stores=True)
                assert "table 'enriched-sides'" in str(refused.value)
                assert says in str(refused.value)
                assert "give the table or the join another name" in str(refused.value)
                return
            second.crash(lose_stores=True)
            second.crash(lose_stores=lose_stores)
            second.send("owners", key="o1", value=Owner("Oslo"), partition=0)
            second.send("accounts", key="b", value=Account("m", "o1"), partition=0)
            assert {"a", "b"} >= second.table("enriched").keys() >= {"a"}
