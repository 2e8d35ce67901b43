"""What the coordinator asks the brokers about topics: which are there, with which settings, and making the missing.

It decides replication, never partition counts (resolve does). Every wait has a deadline, every error says what to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster.kafka.config import coordinator_config
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.opening import TURN_SECONDS, error_of, first_answer, open_client
from streamcluster.kafka.verdicts import classify
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster.topology import BrokerTopic, ResolvedTopic, TopicSpec

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
# What passes: no answer, or nobody who can give one yet.
_PASSING = ("retriable", "unreachable")


class Cluster(msgspec.Struct, frozen=True):
    """What answered. brokers: how many there are now."""

    cluster_id: str
    brokers: int


class Brokers:
    """An admin client for one app."""

    __slots__ = ("_admin", "_connection", "_settings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(SILENT)
        self._admin = open_client(AdminClient, coordinator_config(settings), self._connection)

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
        found = first_answer(self._admin, self._connection, where, self._settings.connect_timeout)
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
                is_new = error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
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
        code = error_of(error).code()
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            # Another coordinator of the app was quicker; it asked for the same.
            del left[name]
        elif code == KafkaError.INVALID_CONFIG and _DISPENSABLE_CONFIG in (config := dict(left[name].config or {})):
            del config[_DISPENSABLE_CONFIG]
            left[name].config = config
        elif not _may_pass(error_of(error)) or time.monotonic() >= deadline:
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
        facts = error_of(error)
        if classify(facts) in _PASSING:
            return BrokerUnreachable(f"{what} at {self._settings.broker}: no broker answers ({facts.str()}).")
        return ConfigurationError(f"{what} at {self._settings.broker}: the brokers refuse it: {facts.str()}.")


def _may_pass(error: KafkaError) -> bool:
    """A cluster that is just starting refuses for a moment what it will grant: it has too few brokers yet."""
    return classify(error) in _PASSING or error.code() == KafkaError.INVALID_REPLICATION_FACTOR


def _has_leaders(partitions: Mapping[int, object]) -> bool:
    return bool(partitions) and all(getattr(partition, "leader", -1) >= 0 for partition in partitions.values())
