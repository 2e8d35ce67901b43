"""Asks the brokers what waits in topics of earlier versions of the app: its positions, and records behind them.

It changes nothing. Who may not see a topic is not told of it; who may not read it is told how many offsets there are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, TopicPartition

from streamcluster.ids import TP
from streamcluster.kafka.config import asker_config
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.offsets import ask_offsets, read_committed_positions
from streamcluster.kafka.opening import open_client
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from ..leftovers import Leftover, agent_of, kind_of, suspects, unknown, unread
from ..records.snapshot import Snapshot, shape_of
from .brokers import Brokers

_ANSWER_SECONDS = 10.0
# Records are counted one by one, since transaction markers are none; up to so many, and for so long.
_COUNTED_MAX = 100_000
_COUNT_SECONDS = 5.0


def find_leftovers(settings: Settings, brokers: Brokers, topology: Topology, last: Snapshot | None) -> list[Leftover]:
    """What is left, and holds records. Blocks for as long as brokers take, and some seconds for counting.

    Raises:
        BrokerUnreachable, ConfigurationError: as `Brokers.topics` says.
    """
    if last is None or last.shape == shape_of(topology):
        return []
    there = {name: topic.partitions for name, topic in brokers.topics(()).items()}
    read, tables = suspects(topology, there.keys(), last)
    if not read and not tables:
        return []
    with contextlib.closing(open_reader(settings)) as consumer:
        waiting = _waiting(consumer, settings, {name: there[name] for name in sorted(read)})
        waiting |= _entries(consumer, {name: there[name] for name in sorted(tables)})
        counted = _count(consumer, waiting)
    found: list[Leftover] = []
    for topic in sorted({tp.topic for tp in waiting}):
        records = sum(counted.get(tp, end - at) for tp, (at, end) in waiting.items() if tp.topic == topic)
        exact = all(tp in counted for tp in waiting if tp.topic == topic)
        kind = "changelog" if topic in tables else kind_of(topic)
        name = topic.removeprefix(f"{settings.app_id}-") if settings.version > 1 else topic
        owner = tables.get(topic) or agent_of(name, [one.name for one in topology.topics if one.role == "source"])
        if records:
            found.append(Leftover(topic, kind, owner if kind != "source" else "", records, exact))
    return found


def find_taken(
    settings: Settings, topology: Topology, last: Snapshot | None, again: Callable[[], Snapshot | None]
) -> list[str]:
    """Topics of its own in which others have written, and where the app has no position. Blocks as `find_leftovers`.

    again: reads anew what the app did last. Another host may just have begun, and does so before its first record.
    """
    names = unknown(topology, last)
    if not names:
        return []
    counts = {topic.name: topic.partitions for topic in topology.topics if topic.name in names}
    tps = [TP(name, number) for name, count in counts.items() for number in range(count)]
    with contextlib.closing(open_reader(settings)) as consumer:
        written = {tp.topic for tp, (_, end) in ends_of(consumer, tps).items() if end > 0}
        asked = [tp for tp in tps if tp.topic in written]
        seconds = min(_ANSWER_SECONDS, settings.connect_timeout)
        committed = read_committed_positions(consumer, asked, seconds, settings.app_id) if asked else {}
    found = written - {tp.topic for tp in asked if committed[tp].offset is not None}
    return sorted(found.intersection(unknown(topology, again()))) if found else []


def open_reader(settings: Settings) -> Consumer:
    """Reads what is committed, without a group, and says where a partition ends."""
    config = {
        **asker_config(settings),
        "enable.partition.eof": True,
        # Records of aborted transactions are none, and a position that is being committed is waited for.
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
    }
    return open_client(Consumer, config, Connection(SILENT))


def _waiting(consumer: Consumer, settings: Settings, topics: Mapping[str, int]) -> dict[TP, tuple[int, int]]:
    """Where records wait behind the app's positions: partition -> (next offset to read, end)."""
    tps = [TP(topic, number) for topic, count in topics.items() for number in range(count)]
    seconds = min(_ANSWER_SECONDS, settings.connect_timeout)
    committed = read_committed_positions(consumer, tps, seconds, settings.app_id) if tps else {}
    # What was forwarded and never begun to be read is left over as well.
    asked = [tp for tp in tps if committed[tp].offset is not None or kind_of(tp.topic) == "repartition"]
    found: dict[TP, tuple[int, int]] = {}
    for tp, (begin, end) in ends_of(consumer, asked).items():
        is_ours = kind_of(tp.topic) == "repartition"
        if count := unread(committed[tp].offset, begin, end, is_ours=is_ours):
            found[tp] = (end - count, end)
    return found


def _entries(consumer: Consumer, changelogs: Mapping[str, int]) -> dict[TP, tuple[int, int]]:
    """Where changelogs have records: partition -> (begin, end)."""
    tps = [TP(topic, number) for topic, count in changelogs.items() for number in range(count)]
    return {tp: (begin, end) for tp, (begin, end) in ends_of(consumer, tps).items() if end > begin}


def ends_of(consumer: Consumer, tps: Sequence[TP]) -> dict[TP, tuple[int, int]]:
    """Begin and end of logs. One that is being deleted, or has no leader, is left out."""
    begins, ends = (_ask(consumer, tps, which) for which in (OFFSET_BEGINNING, OFFSET_END))
    return {tp: (begins[tp], ends[tp]) for tp in tps if tp in begins and tp in ends}


def _ask(consumer: Consumer, tps: Sequence[TP], which: int) -> dict[TP, int]:
    if not tps:
        return {}
    if found := ask_offsets(consumer, tps, which, _ANSWER_SECONDS).found:
        return found
    # One leader is silent, and keeps the answers of the others.
    alone = (ask_offsets(consumer, [tp], which, _ANSWER_SECONDS).found for tp in tps)
    return {tp: at for found in alone for tp, at in found.items()}


def _count(consumer: Consumer, waiting: Mapping[TP, tuple[int, int]]) -> dict[TP, int]:
    """Records in these ranges, of the partitions that were read to their end in time."""
    if not waiting or sum(end - at for at, end in waiting.values()) > _COUNTED_MAX:
        return {}
    consumer.assign([TopicPartition(tp.topic, tp.partition, at) for tp, (at, _) in waiting.items()])
    counts = dict.fromkeys(waiting, 0)
    left, deadline = set(waiting), time.monotonic() + _COUNT_SECONDS
    while left and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 0.1):
            tp, error = TP(message.topic() or "", message.partition() or 0), message.error()
            if error is None:
                counts[tp] += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(tp)
    return {tp: count for tp, count in counts.items() if tp not in left}
