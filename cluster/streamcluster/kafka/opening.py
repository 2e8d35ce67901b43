"""Opens clients, and asks again what is not answered at once.

It knows no task, table or agent: topics, partitions, bytes and offsets only. Every call that can wait has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TypeVar, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AdminClient,
    ClusterMetadata,
    TopicMetadata,
)

from ..errors import BrokerUnreachable
from ..ids import TP
from ..settings import Settings
from .config import group_config, offsets_config
from .hearing import REFUSED_SECONDS, Connection, is_answered
from .verdicts import ResetNeeded, Verdict, classify, client_error, error_for

__all__ = [
    "OFFSET_BEGINNING",
    "OFFSET_END",
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
    "first_answer",
    "give_up_if_deaf",
    "is_missing",
    "missing_topics",
    "open_client",
    "open_group_consumer",
    "open_offsets_consumer",
    "retry",
]

_T = TypeVar("_T")
_Client = TypeVar("_Client", Producer, Consumer)

# For the first answer; more each time, since a slow one is asked again from the start.
_CONNECT_SECONDS = 2.0
# One question to a broker; a call in C cannot be interrupted by Ctrl-C, so it is asked in short turns.
TURN_SECONDS = 1.0
# Meanwhile the consumer is not read.
_LEADERS_SECONDS = 0.25
_AGAIN_SECONDS = 0.02
# A new client has found it after 0.1 s, and asks one that does not answer for as long as it is let.
_GROUP_SECONDS = 1.0
# Whether anybody answers the client that had no answer; and what it gets to hear brokers again that have come back: it
# looks for them once a second.
_DEAF_SECONDS, _AGAIN_HEARD_SECONDS = 2.0, 5.0


def connect(
    client: _Client, open_another: Callable[[], _Client], settings: Settings, timeout: float, what: str = "Connecting"
) -> _Client:
    """Have a connection before the first request that matters: one that finds none waits for 0.5 s.

    Returns `client`, or another one if that got no answer for a while: it may be deaf (see hearing.py).

    Raises:
        BrokerUnreachable, ConfigurationError: as `error_for` says.
    """
    clients, tries = itertools.chain([client], iter(open_another, None)), itertools.count(1)

    def ask(left: float) -> _Client:
        asked = next(clients)
        asked.list_topics(settings.dead_letters, timeout=min(left, next(tries) * _CONNECT_SECONDS))
        return asked

    return retry(what, ask, time.monotonic() + timeout, ("retriable", "unreachable"))


def first_answer(admin: AdminClient, connection: Connection, where: str, seconds: float) -> ClusterMetadata:
    """Wait until a broker answers; return what it says of the cluster.

    Whoever is refused (a wrong password, an unknown CA) must not read "no broker answered".

    Args:
        admin: a new client.
        connection: that it was opened with.
        where: the brokers' addresses, for people.
        seconds: to wait at most.

    Raises:
        BrokerUnreachable: none did within `seconds` (the operator).
        ConfigurationError: they do not let us in.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            found: ClusterMetadata = admin.list_topics(
                timeout=max(0.05, min(TURN_SECONDS, deadline - time.monotonic()))
            )
        except KafkaException as error:
            # Its callbacks run here.
            admin.poll(0)
            over = time.monotonic() >= deadline
            refusal = connection.refusal(where, 0.0 if over else REFUSED_SECONDS)
            if refusal is not None:
                raise refusal from error
            if over:
                raise connection.unreachable(where, seconds, error_of(error)) from error
        else:
            connection.answered()
            return found


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


def give_up_if_deaf(settings: Settings, what: str, producer: Producer, seconds: float) -> None:
    """Raise if the producer hears no broker, and a new client does, within so many seconds.

    Raises:
        ResetNeeded: it may be so for good (see hearing.py).
        BrokerUnreachable, ConfigurationError: as `find_group`.
    """
    if is_answered(producer, settings.dead_letters, _DEAF_SECONDS):
        return
    find_group(settings, seconds)
    if not is_answered(producer, settings.dead_letters, _AGAIN_HEARD_SECONDS):
        raise ResetNeeded(what, "reset", "brokers answer a new client, and do not answer this one")


def open_client(kind: type[_T], config: Mapping[str, object], connection: Connection) -> _T:
    """Make a client that logs to the connection's logger and tells it its errors. (Its stub knows no callbacks.)

    Raises:
        ConfigurationError: librdkafka does not take the configuration, or the machine gives too little.
    """
    try:
        whole = {**config, "error_cb": connection.error_cb, "logger": connection.logger}
        if connection.logger.disabled:
            whole["log_level"] = 0
        return cast(Callable[..., _T], kind)(whole)
    except KafkaException as error:
        raise client_error(error_of(error)) from error
