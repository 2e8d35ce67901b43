"""What the process tests share: running apps that are ended in any case, and a reader of topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.process.records import Reader
from tests.process.running import Running


class StartApp(Protocol):
    """Describes a run of an app; the caller starts it. Several in one test have different `name`s."""

    def __call__(
        self, app: str, *, name: str = "one", broker_url: str | None = None, **settings: object
    ) -> Running: ...


@pytest.fixture
def running(topic_prefix: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartApp]:
    """Makes runs with the test's own names and directories, and leaves nothing running."""
    runs: list[Running] = []

    def make(app: str, *, name: str = "one", broker_url: str | None = None, **settings: object) -> Running:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        url = broker_url or request.getfixturevalue("broker_url")
        runs.append(Running(app, topic_prefix, str(url), directory, within=(), **settings))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


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
