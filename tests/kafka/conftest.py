"""What the one-worker tests share: the worker, and a reader of topics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from streamcluster.topology import BrokerTopic
from tests.conftest import MakeTopic
from tests.kafka.worker import OneWorker
from tests.process.records import Reader


class MakeWorker(Protocol):
    """Prepares the one worker of an app, with topics; the test starts it."""

    def __call__(self, app: str, *, topics: Sequence[BrokerTopic] = (), **settings: object) -> OneWorker: ...


@pytest.fixture
def one_worker(topic_prefix: str, broker_url: str, tmp_path: Path, make_topic: MakeTopic) -> Iterator[MakeWorker]:
    """Makes workers with the test's own names, and leaves none running."""
    made: list[OneWorker] = []

    def make(app: str, *, topics: Sequence[BrokerTopic] = (), **settings: object) -> OneWorker:
        made.append(OneWorker(app, topic_prefix, broker_url, tmp_path, make_topic, topics=topics, **settings))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def bootstrap(broker_url: str) -> str:
    """The session's broker as clients name it: host:port."""
    return broker_url.removeprefix("kafka://")


@pytest.fixture
def reader(bootstrap: str) -> Iterator[Reader]:
    """A reader of the session's broker."""
    one = Reader(bootstrap)
    yield one
    one.close()
