"""What the coordinator asks the brokers about topics: which are there, with which settings, and making the missing.

It decides replication, never partition counts (resolve does). Every wait has a deadline, every error says what to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from streamcluster.config.security import connection_config
from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster.topology import BrokerTopic, ResolvedTopic, TopicSpec

from .connect import TURN_SECONDS, News, first_answer, make_admin

_POLL_SECONDS = 0.05
_KEPT_CONFIGS = (
    "cleanup.policy",
    "max.message.bytes",
    "min.insync.replicas",
    "retention.ms",
    "message.timestamp.type",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
)
# Brokers before Kafka 3.6 do not know it, and take timestamps of any time.
_DISPENSABLE_CONFIG = "message.timestamp.after.max.ms"
_NO_ANSWER = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    # The client forgot a broker that had left the cluster, with what it was asked.
    KafkaError._DESTROY_BROKER,
)
# A cluster that is just starting refuses for a moment what it will grant.
_PASSING = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.BROKER_NOT_AVAILABLE,
)

Config = dict[str, object]


def _silent_logger() -> logging.Logger:
    """For the client's own lines: it calls it fatal that a leader is fenced, and says so on stderr at any log_level."""
    logger = logging.getLogger("streamcluster.coordinator.client")
    logger.disabled = True
    return logger


def client_config(settings: Settings) -> Config:
    """How to reach the brokers and who we are, without librdkafka's own lines on stderr."""
    return {
        **connection_config(settings),
        "client.id": f"{settings.app_id}-coordinator",
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "log_level": 0,
        "logger": _silent_logger(),
        "error_cb": lambda _error: None,
        **settings.broker_options,
    }


@dataclass(frozen=True, slots=True)
class Cluster:
    """What answered. brokers: how many there are now."""

    cluster_id: str
    brokers: int


class Brokers:
    """An admin client for one app."""

    __slots__ = ("_admin", "_news", "_settings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._news = News()
        self._admin = make_admin(client_config(settings), self._news)

    @property
    def admin(self) -> AdminClient:
        """The client itself, for other questions."""
        return self._admin

    def connect(self) -> Cluster:
        """Wait until a broker answers.

        Raises:
            BrokerUnreachable: none did within connect_timeout (the operator).
            ConfigurationError: they do not let us in.
        """
        where = bootstrap_servers(self._settings.broker)
        found = first_answer(self._admin, self._news, where, self._settings.connect_timeout)
        return Cluster(str(found.cluster_id), len(found.brokers))

    def topics(self, specs: Sequence[TopicSpec | ResolvedTopic]) -> dict[str, BrokerTopic]:
        """All topics of the cluster by name, with the configuration of those that `specs` name.

        Raises:
            BrokerUnreachable, ConfigurationError: as `_error` says.
        """
        deadline = time.monotonic() + self._settings.connect_timeout
        while True:
            try:
                return self._look_at_topics(specs)
            except KafkaException as error:
                # Another host has just made it, and one broker knows it before the other; or it was just deleted.
                is_new = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
                if not is_new or time.monotonic() >= deadline:
                    raise self._error("reading the topics", error) from error
                time.sleep(_POLL_SECONDS)

    def _look_at_topics(self, specs: Sequence[TopicSpec | ResolvedTopic]) -> dict[str, BrokerTopic]:
        found = self._admin.list_topics(timeout=self._settings.connect_timeout).topics
        counts = {name: len(topic.partitions) for name, topic in found.items() if topic.partitions}
        configs = self._configs([spec.name for spec in specs if spec.name in counts])
        return {
            name: BrokerTopic(name=name, partitions=count, config=configs.get(name, {}))
            for name, count in counts.items()
        }

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in sorted(names)]
        answers = self._admin.describe_configs(asked, request_timeout=self._settings.connect_timeout)
        return {
            resource.name: {key: str(entry.value) for key, entry in future.result().items() if key in _KEPT_CONFIGS}
            for resource, future in answers.items()
        }

    def create(self, topics: Iterable[ResolvedTopic], cluster: Cluster) -> list[str]:
        """Make the topics that are marked `create`, wait until they can be used, and return their names.

        Raises:
            ConfigurationError: the brokers refuse one, with their reason (the operator).
            BrokerUnreachable: they stopped answering.
        """
        missing = {topic.name: self._new_topic(topic, cluster) for topic in topics if topic.create}
        deadline = time.monotonic() + self._settings.connect_timeout
        left = dict(missing)
        while left:
            for name, future in self._admin.create_topics(list(left.values()), operation_timeout=10.0).items():
                try:
                    future.result()
                    del left[name]
                except KafkaException as error:
                    self._refused(name, error, left, deadline)
            time.sleep(_POLL_SECONDS if left else 0)
        self._wait_until_usable(set(missing), deadline)
        return sorted(missing)

    def _refused(self, name: str, error: KafkaException, left: dict[str, NewTopic], deadline: float) -> None:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            # Another coordinator of the app was quicker; it asked for the same.
            del left[name]
        elif code == KafkaError.INVALID_CONFIG and (config := left[name].config or {}).pop(_DISPENSABLE_CONFIG, None):
            left[name].config = config
        elif code not in _PASSING or time.monotonic() >= deadline:
            raise self._error(f"creating topic {name!r}", error) from error

    def _new_topic(self, topic: ResolvedTopic, cluster: Cluster) -> NewTopic:
        settings = self._settings
        replication = topic.replicas or settings.topic_replication_factor or min(3, cluster.brokers)
        in_sync = min(replication, settings.topic_min_insync_replicas or (2 if replication >= 3 else 1))
        return NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=replication,
            config={"min.insync.replicas": str(in_sync), **topic.config},
        )

    def _wait_until_usable(self, names: set[str], deadline: float) -> None:
        while names:
            try:
                found = self._admin.list_topics(timeout=TURN_SECONDS).topics
            except KafkaException as error:
                if time.monotonic() >= deadline:
                    raise self._error("waiting for new topics", error) from error
                continue
            for name in names - found.keys():
                self._refuse_hidden(name)
            names = {name for name in names if name not in found or not _has_leaders(found[name].partitions)}
            if names and time.monotonic() >= deadline:
                listed = ", ".join(sorted(names))
                raise BrokerUnreachable(f"topics were created, but have no leader yet: {listed}. Are all brokers up?")
            time.sleep(_POLL_SECONDS if names else 0)

    def _refuse_hidden(self, name: str) -> None:
        """A topic that we may make and not see would be waited for in vain."""
        try:
            error = self._admin.list_topics(name, timeout=TURN_SECONDS).topics[name].error
        except KafkaException:
            return
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise ConfigurationError(
                f"topic {name!r} was created at {self._settings.broker}, and is not for "
                f"{self._settings.sasl_username or 'this client'} to read or write: `streamcluster rights` prints what "
                "the app needs."
            )

    def _error(self, what: str, error: KafkaException) -> ConfigurationError | BrokerUnreachable:
        facts = error.args[0]
        if facts.code() in _NO_ANSWER or facts.retriable():
            return BrokerUnreachable(f"{what} at {self._settings.broker}: no broker answers ({facts.str()}).")
        return ConfigurationError(f"{what} at {self._settings.broker}: the brokers refuse it: {facts.str()}.")


def _has_leaders(partitions: Mapping[int, object]) -> bool:
    return bool(partitions) and all(getattr(partition, "leader", -1) >= 0 for partition in partitions.values())
