"""Which rights an app needs: each by its name, none that reaches a neighbour, and who is a neighbour."""

from __future__ import annotations

import shlex

import pytest

from streamcluster.ids import SlotId
from streamcluster.topology import Declared, TopicSpec
from streamcluster_coordinator.records.snapshot import slot_transactional_id
from streamcluster_coordinator.rights import kafka_acls, neighbour_warning, neighbours, rights_of

DECLARED = Declared(
    app_id="orders",
    topics=(
        TopicSpec(name="payments", role="source"),
        TopicSpec(name="made-here", role="source", partitions=4, create=True),
        TopicSpec(name="large orders", role="output"),
        TopicSpec(name="orders-spent-changelog", role="changelog", create=True),
        TopicSpec(name="shop.count-payments-key-repartition", role="repartition", create=True),
        TopicSpec(name="orders-dead-letter", role="dead_letter", create=True),
    ),
    agents=(),
    tables=(),
)


def test_every_right_is_for_one_name_but_that_of_slots() -> None:
    """And no app whose id begins with this one's has a name that begins as those do."""
    rights = rights_of(DECLARED)
    assert [(right.resource, right.name) for right in rights if right.prefixed] == [
        ("transactional-id", "orders-slot-")
    ]
    assert slot_transactional_id("orders", SlotId("eu-1", 0)).startswith("orders-slot-")
    for name in (slot_transactional_id("orders-eu", SlotId("1", 0)), "orders-eu-ctl"):
        assert not name.startswith("orders-slot-")


def test_operations_are_those_that_the_role_needs() -> None:
    """What is only read is not written, and the other way round; only `reset` deletes state."""
    found = {right.name: set(right.operations) for right in rights_of(DECLARED) if right.resource == "topic"}
    assert found["payments"] == {"Read", "DescribeConfigs"}
    assert found["made-here"] == {"Read", "DescribeConfigs", "Create"}
    assert found["large orders"] == {"Write", "DescribeConfigs"}
    assert found["orders-dead-letter"] == {"Write", "Create", "DescribeConfigs"}
    assert "Delete" in found["shop.count-payments-key-repartition"]
    assert "Delete" not in found["orders-spent-changelog"]

    more = {(right.name, one) for right in rights_of(DECLARED, reset=True) for one in right.operations}
    less = {(right.name, one) for right in rights_of(DECLARED) for one in right.operations}
    assert more - less == {("orders-spent-changelog", "Delete"), ("orders", "Delete")}


def test_a_shell_reads_the_commands_back() -> None:
    """Names with blanks and quotes, and one command for each right."""
    rights = rights_of(DECLARED)
    lines = kafka_acls(rights, "User:o'neill", "a:1,b:2")
    assert len(lines) == len(rights)
    words = shlex.split(lines[2])
    assert words[words.index("--topic") + 1] == "large orders"
    assert words[words.index("--allow-principal") + 1] == "User:o'neill"
    assert "--resource-pattern-type prefixed" in lines[-1]


@pytest.mark.parametrize(
    ("app_id", "expected"),
    [("orders", ["orders-eu", "orders-slot-1"]), ("orders-eu", ["orders"]), ("order", []), ("eu", [])],
)
def test_neighbours_are_apps_whose_ids_begin_with_each_others(app_id: str, expected: list[str]) -> None:
    """As an ACL for a prefix with its dash would take them; an app has a control and a status topic."""
    apps = ("orders", "orders-eu", "orders-slot-1", "ordersx")
    there = [f"{app}-{topic}" for app in apps for topic in ("ctl", "status")]
    assert neighbours(app_id, [*there, "orders-us-ctl", "payments"]) == expected


def test_a_neighbour_that_even_names_do_not_keep_apart_is_told() -> None:
    """Its id begins as the slots of the other: only another id helps."""
    assert "rename it" in neighbour_warning("orders", "orders-slot-1")
    assert "rename it" in neighbour_warning("orders-slot-1", "orders")
    assert "rename it" not in neighbour_warning("orders", "orders-eu")
