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
