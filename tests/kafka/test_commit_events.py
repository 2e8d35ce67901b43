"""commit_events_max counts events: also those that send and store nothing."""

from __future__ import annotations

from streamcluster.protocol.messages import Grant
from tests.kafka.conftest import MakeWorker
from tests.process.checker import Row
from tests.process.records import Reader, send
from tests.process.waiting import eventually

EVENTS_MAX = 100


def test_a_commit_takes_place_after_so_many_events(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """An agent that only reads is committed by the count, an hour before its time."""
    worker = one_worker(
        "taking", commit_interval=3600, commit_events_max=EVENTS_MAX, consumer_batch_records_max=EVENTS_MAX
    )
    sent = 10 * EVENTS_MAX
    send(bootstrap, f"{topic_prefix}in", [Row(f"k{number % 5}", b"v") for number in range(sent)])
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))

    def committed() -> int:
        return sum(reader.committed(worker.settings.app_id, f"{topic_prefix}in").values())

    # What is left is less than calls for a commit.
    eventually(lambda: committed() > sent - EVENTS_MAX, 20, "the events are committed", link.log_end)
