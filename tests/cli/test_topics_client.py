"""The command line's own Kafka calls, on a real broker."""

from __future__ import annotations

import uuid

import pytest

from streamcluster.errors import BrokerUnreachable, ConfigurationError, StreamclusterError
from streamcluster_coordinator.admin.client import (
    ClientConfig,
    count_records,
    create_topic,
    delete_group,
    delete_topics,
    load_records,
    partition_count,
    reach,
    send_record,
)
from tests.conftest import MakeTopic, SharedBroker
from tests.process.waiting import eventually

SECONDS = 20.0


@pytest.fixture
def config(broker: SharedBroker) -> ClientConfig:
    """How to reach the session's broker."""
    return {"bootstrap.servers": broker.bootstrap}


@pytest.fixture
def topic(make_topic: MakeTopic, topic_prefix: str) -> str:
    """A fresh topic of three partitions."""
    return make_topic(f"{topic_prefix}client", 3)


def test_a_sent_record_is_acknowledged_with_its_place(config: ClientConfig, topic: str) -> None:
    """Partition and offset are the broker's; the same key lands on the same partition."""
    first = send_record(config, topic, b"key", b"value", partition=None, timeout=SECONDS)
    second = send_record(config, topic, b"key", None, partition=None, timeout=SECONDS)
    third = send_record(config, topic, None, b"value", partition=2, timeout=SECONDS)

    assert first[1] == 0
    assert second == (first[0], 1)
    assert third[0] == 2


def test_loaded_records_are_all_there(config: ClientConfig, topic: str) -> None:
    """As many as were given are counted, over all partitions."""
    records = [(str(number % 7).encode(), b"x" * 10) for number in range(12_345)]

    assert load_records(config, topic, records, SECONDS) == 12_345
    assert count_records(config, topic, SECONDS) == 12_345


def test_an_empty_topic_counts_zero(config: ClientConfig, topic: str) -> None:
    """The count ends at the end of an empty topic too."""
    assert count_records(config, topic, SECONDS) == 0


def test_a_missing_topic_is_said(config: ClientConfig) -> None:
    """Counting a topic that is not there names it."""
    name = f"absent-{uuid.uuid4().hex[:8]}"

    assert partition_count(reach(config, SECONDS), name, SECONDS) is None
    with pytest.raises(StreamclusterError, match=name):
        count_records(config, name, SECONDS)


def test_a_topic_is_created_once(config: ClientConfig, topic_prefix: str) -> None:
    """A second creation gives the broker's reason."""
    admin, topic = reach(config, SECONDS), f"{topic_prefix}new"

    create_topic(admin, topic, 3, {"retention.ms": "-1"}, SECONDS)

    # The broker knows of it a moment after it was made.
    eventually(lambda: partition_count(admin, topic, SECONDS) == 3, SECONDS, "it has three partitions")
    with pytest.raises(ConfigurationError, match=f"{topic}.*already exists"):
        create_topic(admin, topic, 3, {}, SECONDS)


def test_deletion_reports_what_was_there(config: ClientConfig, topic: str) -> None:
    """Missing topics and groups are no error, and are not in the answer."""
    admin = reach(config, SECONDS)

    assert delete_topics(admin, [topic, f"{topic}-absent"], SECONDS) == [topic]
    assert delete_topics(admin, [], SECONDS) == []
    assert delete_group(admin, f"{topic}-no-such-group", SECONDS) is False


def test_nobody_there_is_said_with_what_to_do() -> None:
    """An address without a broker ends within the time-out, with the address and the remedy."""
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 within 1 s.*streamcluster broker"):
        reach({"bootstrap.servers": "127.0.0.1:1"}, 1.0)
