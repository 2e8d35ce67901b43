"""What librdkafka is told: plain dictionaries made from the settings, and the reason for each value.

It imports no Kafka client, so that what is asked of the brokers can be read and tested as data. Where the brokers
are and who we are is `connection_config`'s, which reads secrets from their files.
`settings.broker_options` come last and beat what a worker's clients have.
"""

from __future__ import annotations

from ..config.security import ConnectionConfig, connection_config
from ..memory import shares_of
from ..settings import Settings
from ..topology.limits import DEAD_LETTER_BYTES_MAX

Config = ConnectionConfig

# The producer's queue in librdkafka has twice what `Sender` fills (so many records, and memory.py's bytes), so that
# "queue full" cannot break up a batch: one of which a middle record is refused would lose its order.
PRODUCER_QUEUE_RECORDS = 500_000
# A record in it has a structure of its own, which `Sender` counts and the client does not.
PRODUCED_OVERHEAD_BYTES = 350
# librdkafka's default, a little below the brokers' default limit of 1,048,588 bytes.
BATCH_BYTES_MAX = 1_000_000
# A fetch may bring so much of what may wait, and comes on top of it; from each broker one may be under way. With
# librdkafka's default (50 MB) one answer was more than the whole queue. One record comes however large it is.
FETCH_PART = 8
# A fetched record has a structure of its own in the client, which it does not count; 5 MB of short records were 40 MB
# (measured with mallinfo2). So their number is bounded with their bytes.
FETCHED_OVERHEAD_BYTES = 450
FETCH_BYTES_LEAST = 1024 * 1024
# More has no use: a worker takes 4,000 at a time.
QUEUED_RECORDS_MAX = 100_000
# A broker that freezes with its connections open is given up after this; the default of 60 s would leave the host deaf
# for so long, though the partition's new leader is there after 10 s.
SILENT_MS = 6_000
# A leader that dies in the middle of a write leaves it open for so long, unless a successor comes.
FENCE_TRANSACTION_MS = 10_000
# A restore reads beside the sources, and so does a follower, which is in no hurry.
CHANGELOG_PART = 2
FOLLOWER_PART = 4


def client_config(settings: Settings, client_id: str | None = None) -> Config:
    """What every client has: where the brokers are, who we are, how quickly a lost connection is tried again.

    client_id: what brokers call it in their logs and quotas; None: the app's id.
    """
    return {
        **connection_config(settings),
        "client.id": client_id or settings.app_id,
        # A restarted broker is back within a second or two; the default waits up to 10 s.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        # A transaction that begins right after another is told CONCURRENT_TRANSACTIONS until the last markers are
        # written, a few ms later. Back-to-back commits of 20 records take 8 ms with a back-off from 5 to 50 ms, and
        # 3.6 ms with this one; with librdkafka's defaults (100 ms to 1 s) some stall for 120 ms (measured, Kafka 4.1).
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 20,
        # Lost connections are told to `Connection`, which says them once; librdkafka would log each attempt.
        "log_level": 2,
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        "allow.auto.create.topics": False,
        **settings.broker_options,
    }


def coordinator_config(settings: Settings) -> Config:
    """What every client of a coordinator has."""
    return client_config(settings, f"{settings.app_id}-coordinator")


def log_reader_config(settings: Settings, topic: str) -> Config:
    """The configuration of a coordinator's consumer of the one partition of a topic that coordinators share.

    What it rests on is no matter of `broker_options`: those are for the data.
    """
    return {
        **coordinator_config(settings),
        # Only because a consumer must name one: nothing joins it, nothing is committed.
        "group.id": topic,
        "enable.auto.commit": False,
        "socket.timeout.ms": SILENT_MS,
    }


def asker_config(settings: Settings) -> Config:
    """The configuration of a coordinator's consumer that asks for positions and ends. It never joins the group.

    A log's end is its own then, open transactions included, as kafka-consumer-groups has it; a position that is being
    committed is not waited for.
    """
    return {
        **coordinator_config(settings),
        "group.id": settings.app_id,
        "enable.auto.commit": False,
        "isolation.level": "read_uncommitted",
    }


def fence_config(settings: Settings, transactional_id: str) -> Config:
    """The configuration of a producer that fences, and may write a snapshot of who owns what."""
    return {
        **coordinator_config(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": FENCE_TRANSACTION_MS,
        "message.timeout.ms": FENCE_TRANSACTION_MS,
        "linger.ms": 0,
        "compression.type": "lz4",
    }


def group_config(settings: Settings) -> Config:
    """The configuration of a consumer that asks for the group's offsets and commits them; it never joins the group."""
    return {
        **client_config(settings),
        "group.id": settings.app_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Offsets are committed in transactions, whatever the guarantee: one that is pending is waited for.
        "isolation.level": "read_committed",
        **settings.broker_options,
    }


def offsets_config(settings: Settings) -> Config:
    """The configuration of a consumer that is asked where logs end, with what is not decided yet (I4)."""
    return {**group_config(settings), "isolation.level": "read_uncommitted"}


def consumer_config(settings: Settings) -> Config:
    """The configuration of a consumer of sources, that is assigned by us."""
    return {
        **_assigned_config(settings, 1),
        "isolation.level": "read_committed" if settings.exactly_once else "read_uncommitted",
        **settings.broker_options,
    }


def _assigned_config(settings: Settings, part: int) -> Config:
    """part: what is fetched ahead of the share for that, as 1 / part."""
    prefetch = max(FETCH_BYTES_LEAST, shares_of(settings).prefetch // part)
    # librdkafka refuses a fetch below the largest message, which the options may set.
    largest = settings.broker_options.get("message.max.bytes", 0)
    fetch = max(FETCH_BYTES_LEAST, prefetch // FETCH_PART, int(largest) if str(largest).isdecimal() else 0)
    return {
        **group_config(settings),
        # Positions are always ours to choose (H9): an offset out of range is an error that is said, not a jump.
        "auto.offset.reset": "error",
        # The end of a log is often a transaction marker, which is no record: only this event tells that it was passed.
        "enable.partition.eof": True,
        # A fetch that waits at the broker for data keeps newly assigned partitions waiting too.
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 50,
        # By default a fetcher that finds its queue full looks again after 1 s, and a fast consumer starves.
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": min(QUEUED_RECORDS_MAX, prefetch // FETCHED_OVERHEAD_BYTES),
        # Of all partitions together: their queues are one, which the consumer polls.
        "queued.max.messages.kbytes": prefetch // 1024,
        "fetch.max.bytes": fetch,
        **settings.broker_options,
    }


def changelog_consumer_config(settings: Settings) -> Config:
    """The configuration of a consumer that reads changelogs to their end and says when it is there."""
    return {
        **_assigned_config(settings, CHANGELOG_PART),
        # The event of the end takes one more fetch, which should not wait at the broker.
        "fetch.wait.max.ms": 10,
        **settings.broker_options,
    }


def follower_config(settings: Settings) -> Config:
    """The configuration of a consumer that stays at the end of changelogs: in no hurry, and cheap while idle."""
    return {
        **_assigned_config(settings, FOLLOWER_PART),
        # A fetch at the end of a log waits at the broker until there is something, so this is no delay.
        "fetch.wait.max.ms": 500,
        **settings.broker_options,
    }


def producer_queue_bytes(settings: Settings) -> int:
    """What `Sender` gives to the producer before it waits; the largest record fits in any case."""
    largest = settings.producer_max_request_size + DEAD_LETTER_BYTES_MAX
    return max(shares_of(settings).producer_queue, largest)


def producer_config(
    settings: Settings, transactional_id: str | None, *, batch_bytes_max: int = BATCH_BYTES_MAX
) -> Config:
    """The configuration of a worker's producer.

    Args:
        settings: the app's settings.
        transactional_id: the slot's id; None: idempotent only (outputs at least once).
        batch_bytes_max: the least max.message.bytes of the topics written to: brokers refuse larger batches whole.
    """
    timeout_ms = int(settings.transaction_timeout * 1000)
    config: Config = {
        **client_config(settings),
        "enable.idempotence": True,
        # As Java's default partitioner for records with keys, so that topics are shared with other clients.
        "partitioner": "murmur2_random",
        "compression.type": settings.producer_compression_type,
        # Topic.send holds values to the setting; dead letters carry headers on top of a record of any size.
        "message.max.bytes": settings.producer_max_request_size + DEAD_LETTER_BYTES_MAX,
        "message.timeout.ms": timeout_ms,
        "batch.size": min(batch_bytes_max, BATCH_BYTES_MAX),
        # Lets batches fill while the engine runs. A transaction's flush() does not wait for it, and at least once
        # records are handed over with every turn of the loop, which has filled batches already under load.
        "linger.ms": 5 if transactional_id is not None else 0.5,
        "queue.buffering.max.messages": 2 * PRODUCER_QUEUE_RECORDS,
        "queue.buffering.max.kbytes": 2 * producer_queue_bytes(settings) // 1024,
    }
    if transactional_id is not None:
        config["transactional.id"] = transactional_id
        config["transaction.timeout.ms"] = timeout_ms
    return {**config, **settings.broker_options}
