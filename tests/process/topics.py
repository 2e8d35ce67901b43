"""Topics of tests on a real broker, made from outside of the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.process.waiting import eventually

SECONDS = 60.0
# A broker counts only while its heartbeats come; on a busy machine they may be late.
_TOO_FEW_BROKERS = KafkaError.INVALID_REPLICATION_FACTOR


def create(
    bootstrap: str, names: Sequence[str], partitions: int, copies: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Create topics and wait until every broker knows their leaders: some hear of them later than others.

    Old records stay in them, unless `config` says otherwise.
    """
    settings = {"retention.ms": "-1", **(config or {})}

    def are_made() -> bool:
        admin = AdminClient({"bootstrap.servers": bootstrap})
        new = [NewTopic(name, partitions, copies, config=settings) for name in names if name not in made]
        for name, future in admin.create_topics(new, operation_timeout=SECONDS).items() if new else ():
            try:
                future.result(SECONDS)
            except KafkaException as error:
                if error.args[0].code() != _TOO_FEW_BROKERS:
                    raise
            else:
                made.add(name)
        asked = [admin, *_others(admin)] if made.issuperset(names) else []
        return bool(asked) and all(_has_leaders(one, name, partitions) for one in asked for name in names)

    made: set[str] = set()
    eventually(are_made, SECONDS, f"{', '.join(names)} are made and have leaders")


def _others(admin: AdminClient) -> list[AdminClient]:
    """A client for each broker of a cluster of several, which asks that one first."""
    brokers = admin.list_topics(timeout=SECONDS).brokers
    if len(brokers) == 1:
        return []
    return [AdminClient({"bootstrap.servers": f"{one.host}:{one.port}"}) for one in brokers.values()]


def _has_leaders(admin: AdminClient, name: str, count: int) -> bool:
    found = admin.list_topics(name, timeout=SECONDS).topics[name].partitions
    return len(found) == count and all(partition.leader >= 0 for partition in found.values())
