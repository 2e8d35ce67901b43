"""Resolving: partition counts follow sources, and every problem is said at once, with what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster import App, Stream
from streamcluster.errors import ConfigurationError
from streamcluster.ids import TP, TaskId
from streamcluster.settings import make_settings
from streamcluster.topology import AgentSpec, BrokerTopic, Declared, Problem, TableSpec, TopicSpec, Topology
from streamcluster.topology.declare import freeze
from streamcluster.topology.limits import CarriedTime, limits_of
from streamcluster.topology.resolve import resolve

SETTINGS = make_settings({"id": "shop", "topic_partitions": 8})
Role = Literal["source", "repartition", "changelog", "output", "dead_letter"]


def topic(
    name: str,
    role: Role = "source",
    *,
    partitions: int | None = None,
    create: bool = False,
    like: tuple[str, ...] = (),
    used_by: tuple[str, ...] = (),
) -> TopicSpec:
    """A topic as the code declares it."""
    return TopicSpec(name=name, role=role, partitions=partitions, create=create, like=like, used_by=used_by)


def changelog(*sources: str) -> TopicSpec:
    """The changelog of table `counts`."""
    return topic("counts-changelog", "changelog", create=True, like=sources)


def counts(*sources: str, partitions: int | None = None) -> TableSpec:
    """Table `counts`."""
    return TableSpec(name="counts", changelog="counts-changelog", sources=sources, partitions=partitions)


def declared(*topics: TopicSpec, tables: tuple[TableSpec, ...] = (), agents: tuple[AgentSpec, ...] = ()) -> Declared:
    """A declaration."""
    return Declared(app_id="shop", topics=topics, agents=agents, tables=tables)


def brokers(*, cleanup: str = "compact", **partitions: int) -> dict[str, BrokerTopic]:
    """Existing topics; an underscore in a name stands for a dash."""
    return topics_there(partitions, cleanup)


def topics_there(partitions: Mapping[str, int], cleanup: str = "compact") -> dict[str, BrokerTopic]:
    """The same of a mapping."""
    names = {name.replace("_", "-"): count for name, count in partitions.items()}
    return {
        name: BrokerTopic(name=name, partitions=count, config={"cleanup.policy": cleanup, "max.message.bytes": "1000"})
        for name, count in names.items()
    }


def good(found: Topology | list[Problem]) -> Topology:
    """The topology, when there is one."""
    assert isinstance(found, Topology), found
    return found


def bad(found: Topology | list[Problem]) -> list[Problem]:
    """The problems, when there are some."""
    assert isinstance(found, list), found
    return found


def test_internal_topics_follow_their_sources() -> None:
    """A repartition topic takes its source's count, and a changelog that of the topic that feeds its table."""
    app = declared(
        topic("orders"),
        topic("by-account", "repartition", create=True, like=("orders",)),
        changelog("by-account"),
        tables=(counts("by-account"),),
    )

    topology = good(resolve(app, brokers(orders=5), SETTINGS))

    assert {one.name: (one.partitions, one.create) for one in topology.topics} == {
        "orders": (5, False),
        "by-account": (5, True),
        "counts-changelog": (5, True),
    }
    assert topology.tables[0].group == 5
    assert topology.tasks() == [TaskId(5, number) for number in range(5)]


def test_limit_of_a_topic_is_the_brokers() -> None:
    """An existing topic's own limit reaches the workers."""
    topology = good(resolve(declared(topic("orders")), brokers(orders=1), SETTINGS))

    assert topology.topics[0].message_bytes_max == 1000


def test_a_time_bound_of_292_million_years_is_none() -> None:
    """So brokers say that they have none. Records of a topic without one ask for no clock, each time they are sent."""
    config = {"message.timestamp.after.max.ms": "3600000", "message.timestamp.before.max.ms": str(2**63 - 1)}
    there = {"orders": BrokerTopic(name="orders", partitions=1, config=config)}
    [found] = good(resolve(declared(topic("orders")), there, SETTINGS)).topics
    assert (found.ahead_ms_max, found.behind_ms_max) == (3_600_000, None)

    carried = CarriedTime("orders", limits_of(SETTINGS, found))
    now = int(time.time() * 1000)
    assert carried.of(now) == now
    assert carried.sure > now


def test_missing_topic_is_named_with_its_agent_and_the_nearest_name() -> None:
    """Who needs it, how to make it, and what it may have been meant to be."""
    app = declared(topic("ordesr", used_by=("count_orders",)))

    [problem] = bad(resolve(app, brokers(orders=3), SETTINGS))

    assert problem.text == (
        "topic 'ordesr' does not exist (needed by agent count_orders): create it with 8 partitions, or declare "
        "app.topic('ordesr', partitions=8, internal=True). Did you mean 'orders'?"
    )
    assert not problem.incompatible


def test_missing_topic_is_created_when_declared_so() -> None:
    """With create, the declared count decides, or the setting; dead letters keep their order in one partition."""
    app = declared(
        topic("a", create=True, partitions=3), topic("b", create=True), topic("dead", "dead_letter", create=True)
    )

    topology = good(resolve(app, {}, SETTINGS))

    assert [(one.name, one.partitions) for one in topology.topics] == [("a", 3), ("b", 8), ("dead", 1)]


def test_declared_count_that_differs_is_a_problem() -> None:
    """partitions= must be what is there."""
    [problem] = bad(resolve(declared(topic("orders", partitions=8)), brokers(orders=3), SETTINGS))

    assert "has 3 partitions, but the app declares partitions=8" in problem.text
    assert not problem.incompatible


def test_table_used_from_topics_of_different_counts_names_both() -> None:
    """A key could be in two shards, so it is refused, with names and counts."""
    app = declared(
        topic("orders"), topic("clicks"), changelog("orders", "clicks"), tables=(counts("orders", "clicks"),)
    )

    [problem] = bad(resolve(app, brokers(orders=4, clicks=6), SETTINGS))

    assert "table 'counts'" in problem.text
    assert "'clicks' has 6 partitions, 'orders' has 4 partitions" in problem.text


def test_topics_of_different_counts_are_said_once_of_what_they_feed() -> None:
    """A join of two such topics is one problem, not one for each table that it keeps; other tables have their own."""
    app = App("shop")
    orders, clicks = (app.topic(name, key_type=str, value_type=int) for name in ("orders", "clicks"))
    views = app.Table("views", default=int).tumbling(60, grace=0)

    @app.agent(orders, name="meet")
    async def meet(stream: Stream[int]) -> None:
        async for key, _ in stream.join(clicks, within=5).items():
            views[key] += 1

    found = bad(resolve(asyncio.run(freeze(app))[1], brokers(orders=4, clicks=6), SETTINGS))

    assert sorted(problem.text.split("'")[1] for problem in found) == ["meet-join", "views"]


def test_internal_topic_of_another_count_is_incompatible_state() -> None:
    """An earlier run's topic does not fit what is declared: exit 65, with ways out that Kafka has."""
    app = declared(
        topic("orders"),
        topic("by-account", "repartition", create=True, partitions=4),
        changelog("orders"),
        tables=(counts("orders"),),
    )

    problems = bad(resolve(app, brokers(orders=4, by_account=2, counts_changelog=6), SETTINGS))

    assert all(problem.incompatible for problem in problems)
    assert [problem.text.split("'")[1] for problem in problems] == ["by-account", "counts-changelog"]
    assert all("streamcluster reset --offsets --topics" in problem.text for problem in problems)
    assert "declare partitions=2" in problems[0].text
    assert "add partitions to 'orders' until there are 6" in problems[1].text


def test_partitions_added_to_a_topic_are_read_where_there_is_no_state() -> None:
    """The count is the brokers', also when it was declared; a repartition topic of an earlier run stays as it is."""
    app = declared(
        topic("orders", partitions=2),
        topic("by-account", "repartition", create=True, like=("orders",)),
        changelog("by-account"),
        tables=(counts("by-account"),),
    )

    topology = good(resolve(app, brokers(orders=5, by_account=2, counts_changelog=2), SETTINGS))

    assert {one.name: (one.partitions, one.added) for one in topology.topics} == {
        "orders": (5, 0),
        "by-account": (2, 0),
        "counts-changelog": (2, 0),
    }
    assert topology.unread() == []
    assert len(topology.tasks()) == 7


def test_partitions_added_to_a_topic_that_feeds_a_table_are_not_read() -> None:
    """The table keeps its shards; what is not read is known and said, with what can be done in Kafka."""
    app = declared(topic("orders"), topic("clicks"), changelog("orders"), tables=(counts("orders"),))

    topology = good(resolve(app, brokers(orders=5, clicks=7, counts_changelog=2), SETTINGS))

    assert topology.unread() == [TP("orders", 2), TP("orders", 3), TP("orders", 4)]
    assert topology.tables[0].group == 2
    assert topology.tasks() == [*(TaskId(2, n) for n in range(2)), *(TaskId(7, n) for n in range(7))]
    [text] = topology.unread_texts()
    assert text.startswith("topic 'orders' has 5 partitions now, and partitions 2 to 4 are not read")
    assert "tables (counts) were made with 2 shards" in text


def test_table_that_no_agent_is_seen_to_use_keeps_its_shards() -> None:
    """Its group was the only one."""
    app = declared(topic("orders"), topic("clicks"), changelog(), tables=(counts(),))

    topology = good(resolve(app, brokers(orders=3, clicks=3, counts_changelog=2), SETTINGS))

    assert topology.unread() == [TP("clicks", 2), TP("orders", 2)]
    assert topology.tables[0].group == 2


def test_changelog_that_is_not_compacted_is_a_problem() -> None:
    """The broker would delete table entries with time."""
    app = declared(topic("orders"), changelog("orders"), tables=(counts("orders"),))

    [problem] = bad(resolve(app, brokers(cleanup="delete", orders=4, counts_changelog=4), SETTINGS))

    assert "cleanup.policy=delete" in problem.text


def test_pattern_stands_for_what_it_matches() -> None:
    """Internal topics are not matched, and a pattern that matches nothing is a problem."""
    app = declared(topic("^.*", used_by=("all",)), changelog("^.*"), tables=(counts("^.*"),))

    topology = good(resolve(app, brokers(a=2, b=2, counts_changelog=2, shop_ctl=1), SETTINGS))
    [problem, *_] = bad(resolve(app, {}, SETTINGS))

    assert [one.name for one in topology.topics if one.role == "source"] == ["a", "b"]
    assert topology.tables[0].group == 2
    assert "no topic matches the pattern '.*'" in problem.text


def test_table_without_visible_agents_takes_the_only_group() -> None:
    """When code does not show who uses a table, one group needs no help and two need partitions=."""
    one = declared(topic("orders"), changelog(), tables=(counts(),))
    two = declared(topic("orders"), topic("clicks"), changelog(), tables=(counts(),))
    helped = declared(topic("orders"), topic("clicks"), changelog(), tables=(counts(partitions=6),))
    existing = brokers(orders=4, clicks=6)

    assert good(resolve(one, existing, SETTINGS)).tables[0].group == 4
    assert "Declare it with partitions=" in bad(resolve(two, existing, SETTINGS))[0].text
    assert good(resolve(helped, existing, SETTINGS)).tables[0].group == 6


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), max_size=6),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=6, unique_by=lambda one: one[0]),
)
def test_resolving_gives_a_whole_topology_or_names_each_missing_topic(
    existing: dict[str, int], wanted: list[tuple[str, bool]]
) -> None:
    """Either every topic has a count, or there is one problem for each that is missing and may not be made."""
    sources = [topic(name, create=create) for name, create in wanted]
    repartitions = [topic(f"{name}-r", "repartition", create=True, like=(name,)) for name, _ in wanted]

    found = resolve(declared(*sources, *repartitions), topics_there(existing), SETTINGS)

    missing = sorted(name for name, create in wanted if name not in existing and not create)
    if missing:
        assert [problem.text.split("'")[1] for problem in bad(found)] == missing
    else:
        by_name = {one.name: one.partitions for one in good(found).topics}
        assert all(by_name[f"{name}-r"] == by_name[name] == existing.get(name, 8) for name, _ in wanted)


def test_copies_that_the_app_asks_for_reach_the_topic_that_is_created() -> None:
    """app.topic(replicas=N) is what the topic is created with; without it the settings decide."""
    app = App("shop")
    app.topic("kept", partitions=2, replicas=5)
    app.topic("plain", partitions=2)
    _, described = asyncio.run(freeze(app))

    resolved = resolve(described, {}, SETTINGS)

    assert isinstance(resolved, Topology)
    copies = {spec.name: spec.replicas for spec in resolved.topics if spec.role == "output"}
    assert copies == {"kept": 5, "plain": None}


def test_more_replicas_in_sync_than_copies_are_refused() -> None:
    """No write to such a topic would ever be acknowledged."""
    with pytest.raises(
        ConfigurationError, match=r"topic_min_insync_replicas=3 is more than topic_replication_factor=2"
    ):
        make_settings({"id": "shop", "topic_replication_factor": 2, "topic_min_insync_replicas": 3})


USERS = TableSpec(name="users", changelog="users-changelog", sources=("users",), source="users", feeder="users-source")


def users_app(**changes: object) -> Declared:
    """Table `users` of the topic of that name."""
    log = topic("users-changelog", "changelog", create=True, like=("users",))
    return declared(topic("users"), log, tables=(replace(USERS, **changes),))


def test_a_compacted_topic_is_the_changelog_of_its_table() -> None:
    """No changelog is made; one that is there is used, and so is one beside a topic that loses rows."""
    topology = good(resolve(users_app(), brokers(users=3), SETTINGS))
    assert [one.name for one in topology.topics] == ["users"]
    assert [(one.changelog, one.group, one.feeder) for one in topology.tables] == [("users", 3, "users-source")]

    for there, app in (
        (brokers(users=3, users_changelog=3), users_app()),
        (brokers(cleanup="delete", users=3), users_app()),
        (brokers(cleanup="compact,delete", users=3), users_app()),
        (brokers(users=3), users_app(keeps="ttl= deletes")),
        (brokers(users=3), users_app(source="", feeder="")),
    ):
        topology = good(resolve(app, there, SETTINGS))
        assert [(one.changelog, one.group, one.feeder) for one in topology.tables] == [("users-changelog", 3, "")]


@pytest.mark.parametrize(
    ("cleanup", "changes", "said"),
    [
        ("delete", {}, "has cleanup.policy=delete now"),
        ("compact,delete", {}, "Set cleanup.policy=compact on 'users'"),
        ("compact", {"keeps": "ttl= deletes rows"}, "it needs a changelog of its own now: ttl= deletes rows"),
        ("compact", {"source": "people"}, "it is made of 'people' now"),
        ("compact", {"source": ""}, "it is made of no topic now"),
    ],
)
def test_rows_that_are_in_the_topic_are_not_left_there(cleanup: str, changes: dict[str, object], said: str) -> None:
    """Whatever would make an empty changelog of a table that has its rows in the topic."""
    before = {"users": ("users", 3)}
    [problem] = bad(resolve(users_app(**changes), brokers(cleanup=cleanup, users=3), SETTINGS, before))
    assert problem.incompatible
    assert said in problem.text


def test_a_topic_that_is_a_changelog_goes_on_as_it_was() -> None:
    """Also beside a topic with the name of a changelog; partitions that were added are not read."""
    before = {"users": ("users", 3)}
    topology = good(resolve(users_app(), brokers(users=5, users_changelog=5), SETTINGS, before))
    assert [(one.changelog, one.group, one.feeder) for one in topology.tables] == [("users", 3, "users-source")]
    assert [(one.name, one.partitions, one.added) for one in topology.topics] == [("users", 3, 2)]
    assert "were added after tables (users) were made with 3 shards" in topology.unread_texts()[0]
