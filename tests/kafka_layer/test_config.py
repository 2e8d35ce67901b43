"""What librdkafka is told, as data."""

from __future__ import annotations

import pytest

from streamcluster.kafka import config as kafka_settings
from streamcluster.settings import make_settings


@pytest.mark.parametrize(
    ("guarantee", "of_sources"), [("exactly_once", "read_committed"), ("at_least_once", "read_uncommitted")]
)
def test_positions_and_changelogs_are_read_when_they_are_committed(guarantee: str, of_sources: str) -> None:
    """Under both guarantees: whoever lost a slot may have left some in a transaction. Sources are read as they come."""
    settings = make_settings({"id": "shop", "processing_guarantee": guarantee})
    level = "isolation.level"
    assert kafka_settings.group_config(settings)[level] == "read_committed"
    assert kafka_settings.changelog_consumer_config(settings)[level] == "read_committed"
    assert kafka_settings.follower_config(settings)[level] == "read_committed"
    assert kafka_settings.offsets_config(settings)[level] == "read_uncommitted"
    assert kafka_settings.consumer_config(settings)[level] == of_sources


def test_the_options_of_the_data_do_not_touch_what_leadership_rests_on() -> None:
    """A coordinator that took its log's beginning for its end, or read what is not committed, would decide on it."""
    options: dict[str, str | int | float | bool] = {
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "transactional.id": "mine",
        "group.id": "mine",
    }
    settings = make_settings({"id": "shop", "broker_options": options})
    reader, fence = kafka_settings.log_reader_config(settings, "shop-ctl"), kafka_settings.fence_config(settings, "x")
    assert (reader["group.id"], reader["enable.auto.commit"], fence["transactional.id"]) == ("shop-ctl", False, "x")
    assert kafka_settings.asker_config(settings)["group.id"] == "shop"
