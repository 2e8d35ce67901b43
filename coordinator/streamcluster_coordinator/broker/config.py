"""The configuration of the development broker's nodes, as text, from what was asked for. Pure.

Nodes run in their own directory, so no path is in here; files, ports and processes are others' business.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .jars import as_numbers
from .secured import LISTENER, Secured

HOST = "127.0.0.1"
DATA = "data"
SERVER_LOG = "server.log"


class NodePlan(msgspec.Struct, frozen=True):
    """One node: its id (from 1 on), the port that clients use, that of its controller, and the secured one if any.

    host: the address of all of its listeners.
    """

    id: int
    port: int
    controller_port: int
    secured_port: int | None = None
    host: str = HOST


def bootstrap(nodes: Sequence[NodePlan]) -> str:
    """What clients connect to: `127.0.0.1:9092,...`."""
    return ",".join(f"{node.host}:{node.port}" for node in nodes)


def secured_bootstrap(nodes: Sequence[NodePlan]) -> str:
    """What clients of the secured listener connect to; empty without one."""
    return ",".join(f"{node.host}:{node.secured_port}" for node in nodes if node.secured_port is not None)


def server_properties(node: NodePlan, nodes: Sequence[NodePlan], secured: Secured | None = None) -> str:
    """The `server.properties` of `node`, which is broker and controller at once, in the cluster of `nodes`."""
    copies, in_sync = min(3, len(nodes)), min(2, len(nodes))
    clients, protocols = f"PLAINTEXT://{node.host}:{node.port}", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    if secured is not None:
        clients += f",{LISTENER}://{node.host}:{node.secured_port}"
        protocols += f",{LISTENER}:SASL_SSL"
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{one.id}@{one.host}:{one.controller_port}" for one in nodes),
        "listeners": f"{clients},CONTROLLER://{node.host}:{node.controller_port}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": protocols,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": DATA,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    return _as_properties(settings | _DEVELOPMENT | (secured.properties() if secured is not None else {}))


_DEVELOPMENT: dict[str, object] = {
    # A topic that nobody declared is a mistake to hear about, as on most real clusters.
    "auto.create.topics.enable": "false",
    # Records carry their own times, often years old; by default the broker would delete them within minutes.
    "log.retention.ms": -1,
    "num.partitions": 1,
    # Groups and transactions answer at once, and few internal partitions start and recover quickly.
    "group.initial.rebalance.delay.ms": 0,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.num.partitions": 4,
    # A transaction left open by a killed process ends about when its time-out says, not up to ten seconds later.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # A dead node is noticed in seconds, and a killed one may register again as soon.
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 3000,
    "replica.lag.time.max.ms": 10000,
    # What a quorum writes while nothing happens, twice a second by default: a third of what an idle broker takes (3 %).
    "metadata.max.idle.interval.ms": 5000,
    # The machine is shared with the workers, often on two cores.
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "num.recovery.threads.per.data.dir": 2,
    # Commits of a group pile up until a segment is full: small ones are compacted soon, and a broker that was killed
    # has read them again in an instant (100 MB take 10 s). The group coordinator of Kafka 4 forgets commits when its
    # broker becomes leader, is fenced and becomes leader again before it has read them once, as after kill -9.
    "offsets.topic.segment.bytes": 1024 * 1024,
    "transaction.state.log.segment.bytes": 1024 * 1024,
    # The default, 128 MB, is a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
}

# Chosen for throughput, because benches run on this broker too: both compilers stay on (stopping at the first tier
# would start half a second sooner and serve more slowly for ever), and the serial collector, since a heap this small
# is collected in milliseconds and parallel collectors would take the cores that the workers need. Of 24 MB for what is
# new, a collection stops everything for 10 ms of CPU; of a third of the heap, Java's default, for 29 ms, which was the
# slowest percent of transactions at 10,000 records/s. At full load that costs 1% of the broker's CPU.
JAVA_FLAGS = (
    "-Xms256m",
    "-Xmx512m",
    "-Xmn24m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)


class Logging(msgspec.Struct, frozen=True):
    """How Kafka is told where to log: a file in the node's directory, and the flag for Java that names it."""

    file: str
    text: str
    java_flag: str


def logging_of(kafka: str) -> Logging:
    """The same log by either log4j: Kafka 4 has the second, Kafka 3 the first."""
    return _LOG4J_2 if as_numbers(kafka) >= (4,) else _LOG4J_1


# Bounded, unlike a redirected standard output: at most four files of 10 MB.
_LOG4J_2_TEXT = f"""\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {SERVER_LOG}
appender.file.filePattern = {SERVER_LOG}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c{{1}})%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""
_LOG4J_1_TEXT = f"""\
log4j.rootLogger=INFO, file
log4j.appender.file=org.apache.log4j.RollingFileAppender
log4j.appender.file.File={SERVER_LOG}
log4j.appender.file.MaxFileSize=10MB
log4j.appender.file.MaxBackupIndex=3
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=[%d] %p %m (%c{{1}})%n
"""
_LOG4J_2 = Logging("log4j2.properties", _LOG4J_2_TEXT, "-Dlog4j2.configurationFile=log4j2.properties")
_LOG4J_1 = Logging("log4j.properties", _LOG4J_1_TEXT, "-Dlog4j.configuration=file:log4j.properties")


def _as_properties(settings: dict[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
