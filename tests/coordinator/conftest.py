"""An app of its own for each test, with the topics of its coordinators, and members of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamcluster.settings import Settings
from streamcluster_coordinator.admin.brokers import Cluster
from tests.coordinator.controls import MakeMember, Member, make_app


@pytest.fixture
def app(broker_url: str, topic_prefix: str) -> tuple[Settings, Cluster]:
    """On the session's broker; files of tests that stop theirs have another one."""
    return make_app(broker_url, topic_prefix)


@pytest.fixture
def make_member(app: tuple[Settings, Cluster]) -> Iterator[MakeMember]:
    """Makes coordinators of that app, by name."""
    made: list[Member] = []

    def make(name: str) -> Member:
        made.append(Member(*app, name))
        return made[-1]

    yield make
    for member in made:
        member.control.close()
