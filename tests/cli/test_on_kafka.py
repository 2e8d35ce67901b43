"""Commands that talk to Kafka and need no running app: check, send, reset."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamcluster.kafka.config import client_config
from streamcluster.settings import Settings
from streamcluster_coordinator.admin.client import create_topic, partition_count, reach
from tests.cli.conftest import SHOP, Run
from tests.conftest import SharedBroker

SECONDS = 20.0


@pytest.fixture
def app_id(tmp_path: Path, run: Run) -> str:
    """A shop of its own, so that tests do not meet on the broker."""
    name = f"shop-{uuid.uuid4().hex[:8]}"
    text = SHOP.replace('"shop"', f'"{name}"').replace('"orders"', f'"{name}-orders"')
    (tmp_path / "shop.py").write_text(text, encoding="utf-8")
    return name


def test_check_says_what_is_missing_then_shows_the_topology(run: Run, app_id: str, broker: SharedBroker) -> None:
    """A missing source topic is a problem (exit code 78); with it, the topology is shown, and nothing is created."""
    on_broker = ("-A", "shop:app", "--broker", broker.url)
    missing = run("check", *on_broker, "--json")
    assert missing.returncode == 78
    assert f"{app_id}-orders" in json.loads(missing.stdout)["problems"][0]["text"]
    assert f"{app_id}-orders" in missing.stderr

    admin = reach(client_config(Settings(id="x", broker=broker.url)), SECONDS)
    create_topic(admin, f"{app_id}-orders", 3, {}, SECONDS)
    found = json.loads(run("check", *on_broker, "--json").stdout)
    text = run("check", *on_broker).stdout
    off = run("check", *on_broker, STREAMCLUSTER_NATIVE="false").stdout

    assert found["problems"] == []
    assert found["native"] in text
    assert off.endswith(
        "records go to the client from Python, which takes more CPU than in C: the setting native is off.\n"
    )
    assert {table["name"]: table["group"] for table in found["topology"]["tables"]} == {"totals": 3}
    assert text.startswith(f"{app_id} can start on {broker.url}: 3 tasks, exactly once.")
    assert partition_count(admin, f"{app_id}-totals-changelog", SECONDS) is None


def test_check_samples_names_the_topic_of_another_partitioner(
    run: Run, app_id: str, broker: SharedBroker, tmp_path: Path
) -> None:
    """As librdkafka's default puts keys, by librdkafka itself; and only with the option."""
    topic = f"{app_id}-orders"
    on_broker = ("-A", "shop:app", "--broker", broker.url)
    config = client_config(Settings(id="x", broker=broker.url))
    create_topic(reach(config, SECONDS), topic, 3, {}, SECONDS)
    producer = Producer({**config, "partitioner": "consistent_random"})
    for number in range(30):
        producer.produce(topic, json.dumps({"user": "a", "amount": 1}), f"key-{number}")
    assert producer.flush(SECONDS) == 0
    found = json.loads(run("check", *on_broker, "--samples", "--json").stdout)["warnings"]
    assert [text for text in found if topic in text and "all are where crc32 does" in text]
    assert not [text for text in json.loads(run("check", *on_broker, "--json").stdout)["warnings"] if "crc32" in text]


def test_send_waits_for_the_broker_and_prints_the_place(run: Run, app_id: str, broker: SharedBroker) -> None:
    """Topic, partition and offset; an agent stands for its topic; a missing topic and partition are refused."""
    on_broker = ("-A", "shop:app", "--broker", broker.url)
    topic = f"{app_id}-orders"
    missing = run("send", *on_broker, topic, "1")
    assert (missing.returncode, missing.stdout) == (78, "")
    assert f"topic '{topic}' does not exist" in missing.stderr

    create_topic(reach(client_config(Settings(id="x", broker=broker.url)), SECONDS), topic, 2, {}, SECONDS)
    first = run("send", *on_broker, topic, "1", "-k", "a", "--partition", "1")
    second = run("send", *on_broker, "@add_up", "2", "--partition", "1", "--json")
    outside = run("send", *on_broker, topic, "1", "--partition", "2")

    assert first.stdout == f"{topic}[1]@0\n"
    assert json.loads(second.stdout) == {"topic": topic, "partition": 1, "offset": 1}
    assert outside.returncode == 78
    assert "has partitions 0 to 1" in outside.stderr


def test_reset_deletes_internal_topics_and_leaves_the_others(run: Run, app_id: str, broker: SharedBroker) -> None:
    """--topics deletes the changelog, says so, and the user's topic stays."""
    admin = reach(client_config(Settings(id="x", broker=broker.url)), SECONDS)
    for name in (f"{app_id}-orders", f"{app_id}-totals-changelog"):
        create_topic(admin, name, 1, {}, SECONDS)

    done = run("reset", "-A", "shop:app", "--broker", broker.url, "--topics", "--offsets", "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"state": [], "offsets": [], "topics": [f"{app_id}-totals-changelog"]}
    assert partition_count(admin, f"{app_id}-orders", SECONDS) == 1
