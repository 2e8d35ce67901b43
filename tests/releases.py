"""Which release of Kafka the brokers run that tests kill."""

from __future__ import annotations

from streamcluster_coordinator.broker import KAFKA_VERSION

# A broker that starts takes a partition without a leader for a deleted one since Kafka 4.2 (KAFKA-20734), and one that
# is alone has only such while it registers: the ends of transactions that it had not written yet are lost, with commits
# that it has acknowledged (docs/hosts.md). That is no fault of what the tests judge, so a lone broker that they kill
# while an app commits is of the newest pinned release without it; where partitions have replicas, another broker leads
# them by then.
LONE_BROKER_KAFKA = "4.1.2"


def release_for(brokers: int) -> str:
    """The release of Kafka for a cluster of so many nodes whose nodes are killed."""
    return LONE_BROKER_KAFKA if brokers == 1 else KAFKA_VERSION
