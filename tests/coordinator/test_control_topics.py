"""The two topics of coordinators: what is made passes the check, and what would lose or keep too much does not."""

from __future__ import annotations

import pytest

from streamcluster.settings import Settings, make_settings
from streamcluster.topology import BrokerTopic
from streamcluster_coordinator.admin.brokers import Brokers
from streamcluster_coordinator.control.topics import control_topic_problems, control_topics
from tests.coordinator.controls import make_app

SETTINGS = make_settings({"id": "app"})


def facts(settings: Settings) -> dict[str, BrokerTopic]:
    """The topics as they are specified."""
    return {
        topic.name: BrokerTopic(name=topic.name, partitions=topic.partitions, config=topic.config)
        for topic in control_topics(settings)
    }


def test_topics_as_they_are_made_are_fine(broker_url: str, topic_prefix: str) -> None:
    """By what the brokers say of them."""
    settings, _ = make_app(broker_url, topic_prefix)
    found = Brokers(settings).topics(control_topics(settings))

    assert control_topic_problems(settings, found) == []
    assert {name: found[name].config["cleanup.policy"] for name in facts(settings)} == {
        f"{settings.app_id}-ctl": "compact",
        f"{settings.app_id}-status": "delete",
    }
    assert found[f"{settings.app_id}-status"].config["retention.ms"] == "3600000"


def test_missing_topics_are_no_problem() -> None:
    """They are made."""
    assert control_topic_problems(SETTINGS, {}) == []


@pytest.mark.parametrize(
    ("name", "partitions", "config", "text"),
    [
        ("app-ctl", 2, {"cleanup.policy": "compact"}, "has 2 partitions and must have 1"),
        ("app-ctl", 1, {"cleanup.policy": "delete"}, "Set cleanup.policy=compact on it"),
        ("app-ctl", 1, {"cleanup.policy": "compact,delete"}, "Set cleanup.policy=compact on it"),
        ("app-status", 3, {"cleanup.policy": "delete"}, "has 3 partitions and must have 1"),
        ("app-status", 1, {"cleanup.policy": "compact"}, "grows for ever"),
        ("app-status", 1, {"cleanup.policy": "delete", "retention.ms": "-1"}, "grows for ever"),
    ],
)
def test_topics_that_would_lose_or_keep_too_much_are_named(
    name: str, partitions: int, config: dict[str, str], text: str
) -> None:
    """With what to do; none of it is about the state of an earlier run."""
    found = {**facts(SETTINGS), name: BrokerTopic(name=name, partitions=partitions, config=config)}

    (problem,) = control_topic_problems(SETTINGS, found)

    assert name in problem.text
    assert text in problem.text
    assert not problem.incompatible
