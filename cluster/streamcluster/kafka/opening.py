"""What is asked of Kafka: clients, their errors, and positions in topics.

It knows no task, table or agent: topics, partitions, bytes and offsets only. Every call that can wait has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import TopicMetadata  # type: ignore[attr-defined]  # its stub forgets it

from ..errors import BrokerUnreachable
from ..ids import TP
from ..settings import Settings
from .config import (
    group_config,
    offsets_config,
)
from .verdicts import Verdict, classify, client_error, error_for

__all__ = [
    "OFFSET_BEGINNING",
    "OFFSET_END",
    "Committed",
    "Connection",
    "Consumer",
    "Detached",
    "KafkaError",
    "KafkaException",
    "Message",
    "Producer",
    "TopicPartition",
    "ask_about",
    "connect",
    "end_seen",
    "error_of",
    "find_group",
    "find_leaders",
    "is_answered",
    "is_missing",
    "missing_topics",
    "open_client",
    "open_group_consumer",
    "open_offsets_consumer",
    "read_committed_positions",
    "retry",
]

_T = TypeVar("_T")
_Client = TypeVar("_Client", Producer, Consumer)

_log = logging.getLogger("streamcluster.kafka")
# For the first answer; more each time, since a slow one is asked again from the start.
_CONNECT_SECONDS = 2.0
# Meanwhile the consumer is not read.
_LEADERS_SECONDS = 0.25
_AGAIN_SECONDS = 0.02
# A new client has found it after 0.1 s, and asks one that does not answer for as long as it is let.
_GROUP_SECONDS = 1.0
# A broker that is gone is tried many times a second; the log hears of it this often.
_REPEAT_SECONDS = 10.0
_MISSING_SECONDS = 25.0


class Connection:
    """What librdkafka's threads say about the brokers; given to every client, read for `status`."""

    __slots__ = ("_missing", "_missing_at", "_said_at", "down_since", "last_error")

    def __init__(self) -> None:
        # time.monotonic() when all brokers went away; None while at least one is there.
        self.down_since: float | None = None
        self.last_error: str | None = None
        # What librdkafka last said of a topic that is gone, and when: it says so at each look, every 10 s.
        self._missing: str | None = None
        self._missing_at = float("-inf")
        self._said_at = float("-inf")

    def error_cb(self, error: KafkaError) -> None:
        """librdkafka's error callback: it heals these itself, so this keeps the news and says it now and then."""
        now = time.monotonic()
        self.last_error = error.str()
        if error.name() == "_ALL_BROKERS_DOWN" and self.down_since is None:
            self.down_since = now
        text = error.str()
        if classify(error) == "missing":
            self._missing = text = f"{text}. Was the topic deleted? It must be made again, with the same partitions"
            self._missing_at = now
        if now - self._said_at >= _REPEAT_SECONDS:
            self._said_at = now
            _log.warning("Kafka: %s; trying again", text)

    def missing(self) -> str | None:
        """That a topic is gone, as long as librdkafka keeps saying so."""
        return self._missing if time.monotonic() - self._missing_at < _MISSING_SECONDS else None

    def answered(self) -> None:
        """A broker answered: to be called after a fetch with records or a commit."""
        self.down_since = None


class Committed(NamedTuple):
    """A position in group <app id>. offset: next to read; None: nothing was ever committed."""

    offset: int | None
    metadata: str


def connect(
    client: _Client, open_another: Callable[[], _Client], settings: Settings, timeout: float, what: str = "Connecting"
) -> _Client:
    """Have a connection before the first request that matters: one that finds none waits for 0.5 s.

    Returns `client`, or another one if that got no answer for a while: it may be deaf (see `security.QUIET_SECONDS`).

    Raises:
        BrokerUnreachable, ConfigurationError: as `error_for` says.
    """
    clients, tries = itertools.chain([client], iter(open_another, None)), itertools.count(1)

    def ask(left: float) -> _Client:
        asked = next(clients)
        asked.list_topics(settings.dead_letters, timeout=min(left, next(tries) * _CONNECT_SECONDS))
        return asked

    return retry(what, ask, time.monotonic() + timeout, ("retriable", "unreachable"))


def cluster_id_of(client: Producer, settings: Settings, timeout: float) -> str:
    """The id of the cluster that answers. Raises BrokerUnreachable: none does, and nothing may be taken for its id."""
    text = f"no broker at {settings.broker} said within {timeout:g} s which cluster it belongs to"
    try:
        # Some versions of the client have no answer, others raise.
        found = client.cluster_id(timeout)
    except KafkaException as error:
        raise BrokerUnreachable(f"{text} ({error_of(error).str()}).") from error
    if not found:
        raise BrokerUnreachable(f"{text}.")
    return found


def find_leaders(consumer: Consumer, topics: Iterable[str]) -> None:
    """Let `consumer` know who leads these topics before it is assigned partitions of them; 1 ms each.

    A running consumer asks about a topic that is new to it when a timer fires, once a second (librdkafka 2.16); so it
    does too for those of which nothing is heard here.
    """
    for _ in ask_about(consumer, topics, _LEADERS_SECONDS):
        pass


def open_group_consumer(settings: Settings, connection: Connection) -> Consumer:
    """A consumer for the committed offsets of the group, asked for and committed while another one reads.

    A consumer lets one thread in at a time, and the others wait (confluent-kafka 2.16): a loop that reads must not
    share its consumer with whoever waits for a broker.
    """
    return open_client(Consumer, group_config(settings), connection)


def open_offsets_consumer(settings: Settings, connection: Connection) -> Consumer:
    """A consumer that is asked where logs begin and end."""
    return open_client(Consumer, offsets_config(settings), connection)


def end_seen(consumer: Consumer, tp: TP) -> int | None:
    """The log's end as the consumer's last fetch saw it; None before the first."""
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), cached=True)
    except KafkaException:
        return None
    return high if high >= 0 else None


def read_committed_positions(consumer: Consumer, tps: Iterable[TP], timeout: float) -> dict[TP, Committed]:
    """The committed positions of `tps`; ask after the fence (H22).

    The consumer's isolation level decides: with read_committed, librdkafka asks for stable offsets (KIP-447) and asks
    again while a transaction has offsets pending, so what comes back is what was committed last.

    Raises:
        BrokerUnreachable, ConfigurationError, ResetNeeded: as `error_for` says.
    """
    asked = [TopicPartition(tp.topic, tp.partition) for tp in tps]
    if not asked:
        return {}
    what = f"Reading the committed offsets of {len(asked)} partitions"

    def ask(left: float) -> dict[TP, Committed]:
        answer = consumer.committed(asked, timeout=left)
        for entry in answer:
            if entry.error is not None:
                raise KafkaException(entry.error)
        return {
            TP(entry.topic, entry.partition): Committed(
                None if entry.offset == OFFSET_INVALID else entry.offset, entry.metadata or ""
            )
            for entry in answer
        }

    return retry(what, ask, time.monotonic() + timeout)


def error_of(error: KafkaException) -> KafkaError:
    """The error in an exception of the client."""
    facts = error.args[0]
    assert isinstance(facts, KafkaError)
    return facts


def retry(what: str, call: Callable[[float], _T], deadline: float, verdicts: Container[Verdict] = ("retriable",)) -> _T:
    """Make `call(seconds left)` again while its error has one of these verdicts and the deadline is not reached."""
    while True:
        left = max(0.001, deadline - time.monotonic())
        try:
            return call(left)
        except KafkaException as error:
            facts = error_of(error)
            if classify(facts) not in verdicts or time.monotonic() >= deadline:
                raise error_for(what, facts) from error
        # Some answers come at once as long as nothing has changed.
        time.sleep(_AGAIN_SECONDS)


def ask_about(client: Producer | Consumer, topics: Iterable[str], timeout: float) -> Iterator[TopicMetadata]:
    """What the brokers say of each topic, up to the first question that nobody answers within `timeout` seconds."""
    with contextlib.suppress(KafkaException):
        for name in topics:
            yield client.list_topics(name, timeout=timeout).topics[name]


def missing_topics(client: Producer, topics: Iterable[str], timeout: float) -> list[str]:
    """Those of `topics` that the brokers say they do not have; as `ask_about`."""
    return [str(topic.topic) for topic in ask_about(client, topics, timeout) if is_missing(topic)]


def is_answered(client: Producer | Consumer, topic: str, timeout: float) -> bool:
    """Whether a broker answers this client within `timeout` seconds; of one topic, since of all it may be much."""
    try:
        client.list_topics(topic, timeout=timeout)
    except KafkaException:
        return False
    return True


def is_missing(topic: TopicMetadata) -> bool:
    """Whether the brokers say that there is no such topic."""
    return topic.error is not None and topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


class Detached:
    """A call that may not keep its own time-out, in a thread that is left behind when it does not come back."""

    __slots__ = ("_raised", "_thread")

    def __init__(self, call: Callable[[], None]) -> None:
        self._raised: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 (it is raised in the thread that waits)
                self._raised.append(error)

        # Not a pool's thread: those are waited for when the process ends.
        self._thread = threading.Thread(target=run, name="detached", daemon=True)
        self._thread.start()

    def came_back(self, seconds: float) -> bool:
        """Wait at most so long for its end, and raise what it raised."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            return False
        if self._raised:
            raise self._raised.pop()
        return True


def find_group(settings: Settings, timeout: float) -> None:
    """Wait until the coordinator of the app's group answers a new client: others may go on asking one that is dead.

    Raises:
        BrokerUnreachable, ConfigurationError, ResetNeeded: as `error_for` says.
    """
    # No transaction has offsets of this one: those would be waited for.
    nothing = [TopicPartition(settings.dead_letters, 0)]

    def ask(left: float) -> None:
        with contextlib.closing(open_group_consumer(settings, Connection())) as consumer:
            consumer.committed(nothing, timeout=min(left, _GROUP_SECONDS))

    what = f"Waiting for the coordinator of group {settings.app_id}"
    retry(what, ask, time.monotonic() + timeout, ("retriable", "unreachable"))


def open_client(kind: type[_T], config: Mapping[str, object], connection: Connection) -> _T:
    """Make a client that logs to `streamcluster.kafka` and tells `connection` its errors."""
    try:
        return cast(Callable[..., _T], kind)({**config, "error_cb": connection.error_cb, "logger": _log})
    except KafkaException as error:
        raise client_error(error_of(error)) from error
