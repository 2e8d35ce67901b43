"""What the command line does with topics itself: send a record, load many, count, delete. No records of a running app.

Every wait has a deadline, and every error says which broker and topic. It knows no command and prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster.errors import ConfigurationError, StreamclusterError
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.opening import error_of, first_answer, open_client
from streamcluster.kafka.verdicts import classify

ClientConfig = Mapping[str, str | int | float | bool]
# Records between two looks at the delivery reports while loading; librdkafka's queue takes 100,000.
_POLL_EVERY_RECORDS = 5_000
_RETRY_SECONDS = 0.2


def reach(config: ClientConfig, timeout: float) -> AdminClient:
    """An admin client that has an answer from a broker. timeout: seconds.

    Raises:
        BrokerUnreachable: nobody answered.
        ConfigurationError: the brokers do not let us in.
    """
    connection = Connection(SILENT)
    admin = open_client(AdminClient, config, connection)
    first_answer(admin, connection, str(config["bootstrap.servers"]), timeout)
    return admin


def partition_count(admin: AdminClient, topic: str, timeout: float) -> int | None:
    """How many partitions `topic` has; None: there is no such topic."""
    found = admin.list_topics(timeout=timeout).topics.get(topic)
    return len(found.partitions) if found is not None and found.partitions else None


def create_topic(admin: AdminClient, name: str, partitions: int, config: dict[str, str], timeout: float) -> None:
    """Create one topic. Raises ConfigurationError with the broker's reason."""
    new = NewTopic(name, num_partitions=partitions, config=config)
    try:
        admin.create_topics([new], request_timeout=timeout)[name].result()
    except KafkaException as error:
        raise ConfigurationError(f"topic {name!r} cannot be created: {error_of(error).str()}.") from error


def send_record(
    config: ClientConfig, topic: str, key: bytes | None, value: bytes | None, *, partition: int | None, timeout: float
) -> tuple[int, int]:
    """Send one record and wait until the broker has it; return its partition and offset.

    Raises:
        StreamclusterError: it was not delivered within `timeout` seconds, with the broker's reason.
    """
    delivered: list[tuple[KafkaError | None, Message]] = []
    timed = {**config, "enable.idempotence": True, "message.timeout.ms": int(timeout * 1000), **_JAVA_PARTITIONER}
    producer = open_client(Producer, timed, Connection(SILENT))

    def report(error: KafkaError | None, message: Message) -> None:
        delivered.append((error, message))

    # -1 is librdkafka's word for "the partitioner decides".
    place = -1 if partition is None else partition
    producer.produce(topic, key=key, value=value, partition=place, on_delivery=report)
    producer.flush(timeout + 1)
    if not delivered:
        raise StreamclusterError(f"no broker took the record for topic {topic!r} within {timeout:g} s.")
    error, message = delivered[0]
    if error is not None:
        raise StreamclusterError(f"the record for topic {topic!r} was not delivered: {error.str()}.")
    found_partition, offset = message.partition(), message.offset()
    assert found_partition is not None, "a delivered record has a partition"
    assert offset is not None, "a delivered record has an offset"
    return found_partition, offset


# The partitioner of the Java clients, so that keys land where the other producers of a topic put them.
_JAVA_PARTITIONER = {"partitioner": "murmur2_random"}


def load_records(config: ClientConfig, topic: str, records: Iterable[tuple[bytes, bytes]], timeout: float) -> int:
    """Send many records in order and wait for all of them; return how many. timeout: seconds for the last ones."""
    errors: list[KafkaError] = []
    filled = {**config, "enable.idempotence": True, "linger.ms": 20, **_JAVA_PARTITIONER}
    producer = open_client(Producer, filled, Connection(SILENT))

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    sent = 0
    for key, value in records:
        while True:
            try:
                producer.produce(topic, key=key, value=value, on_delivery=report)
                break
            except BufferError:
                # The queue is full: it empties as the broker takes records, or errors arrive and end the loop below.
                producer.poll(0.1)
        sent += 1
        if sent % _POLL_EVERY_RECORDS == 0:
            producer.poll(0)
            if errors:
                break
    left = producer.flush(timeout)
    if errors:
        raise StreamclusterError(f"loading topic {topic!r} stopped: {errors[0].str()}.")
    if left:
        raise StreamclusterError(
            f"the broker did not take the last {left} records of topic {topic!r} in {timeout:g} s."
        )
    return sent


def count_records(config: ClientConfig, topic: str, timeout: float) -> int:
    """How many committed records `topic` holds now. Reads them all; timeout: seconds without any progress."""
    counting = {
        **config,
        "group.id": "streamcluster-count",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
    consumer = open_client(Consumer, counting, Connection(SILENT))
    try:
        found = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if found.error is not None:
            raise StreamclusterError(f"topic {topic!r} cannot be read: {found.error.str()}.")
        consumer.assign([TopicPartition(topic, number, 0) for number in found.partitions])
        return _count_until_ends(consumer, topic, len(found.partitions), timeout)
    finally:
        consumer.close()


def _count_until_ends(consumer: Consumer, topic: str, partitions: int, timeout: float) -> int:
    ended: set[int] = set()
    count = 0
    deadline = time.monotonic() + timeout
    while len(ended) < partitions:
        messages = consumer.consume(10_000, timeout=0.2)
        if messages:
            deadline = time.monotonic() + timeout
        elif time.monotonic() > deadline:
            raise StreamclusterError(f"topic {topic!r} sent nothing for {timeout:g} s while it was counted.")
        for message in messages:
            error = message.error()
            if error is None:
                count += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                partition = message.partition()
                assert partition is not None, "the end of a partition has its number"
                ended.add(partition)
            else:
                raise StreamclusterError(f"topic {topic!r} cannot be read: {error.str()}.")
    return count


def delete_topics(admin: AdminClient, names: Sequence[str], timeout: float) -> list[str]:
    """Delete those of `names` that exist and return them. Raises StreamclusterError with the broker's reason."""
    deleted = []
    futures = admin.delete_topics(list(names), request_timeout=timeout) if names else {}
    for name, future in sorted(futures.items()):
        error = _error_of(future)
        if error is None:
            deleted.append(name)
        elif error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise StreamclusterError(f"topic {name!r} cannot be deleted: {error.str()}.")
    return deleted


def delete_group(admin: AdminClient, group: str, timeout: float) -> bool:
    """Delete the committed offsets of `group`; False: there were none.

    Raises:
        StreamclusterError: with the broker's reason, at once or after `timeout` seconds of passing ones.
    """
    deadline = time.monotonic() + timeout
    while True:
        error = _error_of(admin.delete_consumer_groups([group], request_timeout=timeout)[group])
        if error is None:
            return True
        if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return False
        # A broker that just started is still loading the offsets of its groups.
        if classify(error) not in ("retriable", "unreachable") or time.monotonic() > deadline:
            raise StreamclusterError(f"the offsets of group {group!r} cannot be deleted: {error.str()}.")
        time.sleep(_RETRY_SECONDS)


def _error_of(future: Future[None]) -> KafkaError | None:
    """Why an admin request did not succeed. The client itself ends it after its request time-out."""
    try:
        future.result()
    except KafkaException as error:
        return error_of(error)
    return None
