"""What is asked of the leader: a few questions at a time, which its reports carry."""

from __future__ import annotations

import asyncio

from streamcluster.ids import TP
from streamcluster_coordinator.answers.answers import Answers
from streamcluster_coordinator.answers.behind import Standing
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.report import REQUESTS_MAX
from streamcluster_coordinator.records.status import Ask, Asked, Status
from streamcluster_coordinator.shell.inbox import Inbox
from tests.coordinator.fake_cluster import FakeCluster
from tests.coordinator.fake_hosts import TOPOLOGY


def answers(dropped: Dropped) -> Answers:
    """Of a host whose leader answers nothing."""
    node = FakeCluster().start("a").node
    return Answers(TOPOLOGY, node, Inbox(), None, lambda *_: False, dropped, no_standings)


async def no_standings() -> dict[TP, Standing]:
    """What Kafka says when it does not answer."""
    return {}


def test_too_many_open_requests_are_refused() -> None:
    """Each would be in every report of this host; when one is given up, there is room again."""

    async def talk() -> None:
        ours = answers(Dropped())
        waiting = [asyncio.create_task(ours.answer(Ask(kind="restart"))) for _ in range(REQUESTS_MAX)]
        await asyncio.wait(waiting, timeout=0)
        assert len(ours.waiting) == REQUESTS_MAX
        refused = await ours.answer(Ask(kind="restart"))
        assert isinstance(refused, Asked)
        assert refused.error == "16 requests of this host wait for the leader already: try again later"
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        assert ours.waiting == {}

    asyncio.run(talk())


def test_the_status_has_what_was_dropped() -> None:
    """With the place, the number and the last reason."""

    async def ask() -> Status:
        dropped = Dropped()
        dropped.add("topic x", "the record at offset 5 is no report")
        return answers(dropped).status()

    [shown] = asyncio.run(ask()).dropped
    assert (shown.place, shown.count, shown.last) == ("topic x", 1, "the record at offset 5 is no report")
