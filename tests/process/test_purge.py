"""Topics that group_by makes do not grow for ever, and lose nothing that is not committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.purging import HOLD
from tests.process.records import Reader, send
from tests.process.waiting import eventually

PARTITIONS, SECONDS = 2, 30.0
WORDS = [f"{letter}{number}" for number in range(100) for letter in "abcdef"]


class Looker:
    """Asks where logs begin and end, and what the app's group has committed."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})

    def begins(self, topic: str) -> list[int]:
        """Of each partition."""
        return [self._watermarks(topic, number)[0] for number in range(PARTITIONS)]

    def ends(self, topic: str) -> list[int]:
        """Of each partition."""
        return [self._watermarks(topic, number)[1] for number in range(PARTITIONS)]

    def committed(self, topic: str) -> list[int]:
        """Of each partition; 0 where nothing is."""
        asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return [max(0, found.offset) for found in self._consumer.committed(asked, SECONDS)]

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), SECONDS)
        return low, high

    def close(self) -> None:
        """End."""
        self._consumer.close()


@pytest.fixture
def looker(bootstrap: str, topic_prefix: str) -> Iterator[Looker]:
    """Of the app purging."""
    one = Looker(bootstrap, f"{topic_prefix}purging")
    yield one
    one.close()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_what_is_committed_leaves_the_topics_that_the_app_made_and_no_other(
    running: StartApp,
    make_topic: MakeTopic,
    topic_prefix: str,
    bootstrap: str,
    looker: Looker,
    reader: Reader,
    guarantee: str,
) -> None:
    """Logs begin at the committed position, also while an event waits; the user's topics keep all they have."""
    for name in ("in", "given", "passed"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    made = f"{topic_prefix}own-{topic_prefix}in-letter-repartition"
    run = running("tests.process.purging:purging", processing_guarantee=guarantee, repartition_purge_interval=0.2)
    run.start()
    run.until_running()

    send(bootstrap, f"{topic_prefix}in", [Row(word, word.encode()) for word in WORDS])
    run.until_caught_up()
    eventually(lambda: looker.begins(made) == looker.committed(made), SECONDS, "all of it is purged", run.log_end)
    assert sum(looker.begins(made)) >= len(WORDS)

    # One waits; what is behind it is there and not done.
    waiting = [Row(word, word.encode()) for word in [HOLD, *(f"{HOLD[0]}{number}" for number in range(50))]]
    send(bootstrap, f"{topic_prefix}in", waiting, partition=0)
    eventually(lambda: looker.ends(made) != looker.committed(made), SECONDS, "an event waits", run.log_end)

    def is_purged_to_the_commit() -> bool:
        begins, committed, ends = looker.begins(made), looker.committed(made), looker.ends(made)
        assert all(begin <= at for begin, at in zip(begins, looker.committed(made), strict=True))
        return begins == committed != ends

    eventually(is_purged_to_the_commit, SECONDS, "it is purged up to the event that waits", run.log_end)
    (run.directory / "go on").touch()
    run.until_caught_up()
    assert run.table("counts") == dict(Counter(word[0] for word in [*WORDS, *(row.key for row in waiting)]))

    for name in ("given", "passed"):
        assert looker.begins(f"{topic_prefix}{name}") == [0] * PARTITIONS
        assert reader.count(f"{topic_prefix}{name}") == len(WORDS) + len(waiting)
    assert run.drain() == 0
    assert "stay in repartition topics" not in run.log()
