"""What earlier versions of an app left behind: which topics are looked at, and what is said of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster_coordinator.leftovers import Leftover, agent_of, suspects, texts, unknown, unread
from streamcluster_coordinator.records.snapshot import Shape, Snapshot

REPARTITION = "shop.total-orders-account-repartition"
TOPOLOGY = Topology(
    app_id="shop",
    topics=(
        ResolvedTopic(name="orders", role="source", partitions=2),
        ResolvedTopic(name="out", role="output", partitions=2),
        ResolvedTopic(name="shop-sums-changelog", role="changelog", partitions=2),
    ),
    agents=(),
    tables=(ResolvedTable(name="sums", changelog="shop-sums-changelog", group=2),),
)


def last(**changes: object) -> Snapshot:
    """The newest snapshot of a version that read more, and had another table."""
    shape = Shape(
        sources={"orders": 2, "out": 2, "clicks": 1, REPARTITION: 2},
        tables={"sums": ("shop-sums-changelog", 2), "totals": ("shop-totals-changelog", 2)},
    )
    return Snapshot(epoch=1, term=1, leader=None, cluster_id="", topic_id="", shape=shape, **changes)  # type: ignore[arg-type]


THERE = {"orders", "out", "clicks", REPARTITION, "shop-sums-changelog", "shop-totals-changelog", "others"}


def test_what_the_last_version_read_and_this_one_does_not_is_looked_at() -> None:
    """Also a topic that is only written now; not what others have there, nor what is deleted."""
    assert suspects(TOPOLOGY, THERE, last()) == (
        {"clicks", "out", REPARTITION},
        {"shop-totals-changelog": "totals"},
    )
    assert suspects(TOPOLOGY, THERE - {"clicks", "shop-totals-changelog"}, last()) == ({"out", REPARTITION}, {})
    assert suspects(TOPOLOGY, THERE, None) == (set(), {})


def test_what_was_left_with_a_word_is_not_asked_for_again() -> None:
    """The control topic remembers it."""
    left = last(left=("clicks", "out", "shop-totals-changelog"))

    assert suspects(TOPOLOGY, THERE, left) == ({REPARTITION}, {})


def test_topics_of_its_own_are_unknown_until_a_version_has_had_them() -> None:
    """Those that a user names may have been written by others."""
    made = replace(
        TOPOLOGY,
        topics=(
            *TOPOLOGY.topics,
            ResolvedTopic(name=REPARTITION, role="repartition", partitions=2, purge=True),
            ResolvedTopic(name="named", role="repartition", partitions=2),
        ),
    )

    assert unknown(made, None) == [REPARTITION]
    assert unknown(made, last()) == []
    assert unknown(made, last(left=(REPARTITION,))) == []
    assert unknown(TOPOLOGY, None) == []


@pytest.mark.parametrize(
    ("topic", "agent"),
    [
        (REPARTITION, "shop.total"),
        ("shop.total-orders-2-account-repartition", "shop.total"),
        ("orders-orders-account-repartition", "orders"),
        ("something", ""),
        ("-orders-account-repartition", ""),
    ],
)
def test_agent_of_a_repartition_topic_is_in_its_name(topic: str, agent: str) -> None:
    """It is what `name=` must be."""
    assert agent_of(topic, ["orders", "orders-2"]) == agent


def test_each_line_says_where_how_many_and_what_to_do() -> None:
    """For an agent, a table and a topic that is not read any more."""
    found = [
        Leftover(REPARTITION, "repartition", "shop.total", 708),
        Leftover("shop-totals-changelog", "changelog", "totals", 1, exact=False),
        Leftover("clicks", "source", "", 5000),
    ]
    one, two, three = texts(found, "shop")

    assert one.startswith(f"topic '{REPARTITION}' has 708 records")
    assert "name='shop.total'" in one
    assert "has up to 1 record of table 'totals'" in two
    assert "app.Table('totals')" in two
    assert "'clicks' has 5,000 records behind the position of shop" in three


@pytest.mark.parametrize(
    ("table", "of"), [("counts-time", "counts"), ("tokens-ttl", "tokens"), ("shop.pay-join-2", "shop.pay")]
)
def test_nobody_is_told_to_declare_a_table_that_the_app_makes(table: str, of: str) -> None:
    """Of windows, joins and ttl= that are gone, or whose agent is."""
    (text,) = texts([Leftover(f"shop-{table}-changelog", "changelog", table, 7)], "shop")
    assert f"kept for {of!r}" in text
    assert "app.Table" not in text


@pytest.mark.parametrize(
    ("position", "is_ours", "count"), [(None, False, 0), (None, True, 7), (5, True, 5), (1, True, 7), (12, False, 0)]
)
def test_unread_offsets_begin_where_the_app_was(position: int | None, is_ours: bool, count: int) -> None:
    """Of a topic that others write, nothing is the app's without a position; what retention deleted is not there."""
    assert unread(position, 3, 10, is_ours=is_ours) == count
