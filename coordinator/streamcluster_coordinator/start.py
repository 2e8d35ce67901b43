"""`streamcluster start`: the composition root. Probe, lock, connect, resolve, create, read the log, run to the end.

Everything up to the first worker happens in order and blocks, so an error is one message and Ctrl-C is plain.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamcluster.config.security import cluster_secret, loose_secrets
from streamcluster.errors import ConfigurationError, ExitCode
from streamcluster.protocol.messages import Description
from streamcluster.settings import Settings, bootstrap_servers, is_host_name
from streamcluster.topology import Problem, Topology

from .admin.brokers import Brokers, Cluster
from .admin.left import find_leftovers, find_taken
from .admin.rights import refuse_missing_rights
from .admin.watch import TopicsWatch
from .answers.peer_auth import Secret
from .checking import compare, describe, error_of
from .control.bus import StatusBus
from .control.effects import ClusterEffects
from .control.topics import control_topic_problems, control_topics
from .control.writer import Control
from .dropped import Dropped
from .leftovers import Leftover, refusal, taken, texts
from .machine.election import Identity
from .machine.events import EndAtOnce, RecordUnread, ReportHeard, SnapshotRead
from .machine.node import Node
from .machine.own_status import HostFacts, Snapshots
from .memory_words import memory_words
from .open_files import raise_file_limit, refuse_too_few_files
from .places import use_socket_directory
from .records.signatures import Signatures
from .records.snapshot import NAME_CHARS_MAX, Snapshot, control_topic, shape_of
from .rights import needed_of, neighbour_warning, neighbours, rights_of
from .shell.directory import app_directory, instance_lock
from .shell.fleet import Fleet
from .shell.inbox import Inbox
from .shell.loop import Coordination, Presenter

APP_VARIABLE = "STREAMCLUSTER_APP"
# As in the unit: what the app makes is its user's alone.
PRIVATE_UMASK = 0o077
# The CLI shares these names.
__all__ = ["Presenter", "check", "run"]


def run(
    app: str, overrides: dict[str, object], *, say: Presenter, fleet: Fleet | None = None, leave: bool = False
) -> int:
    """Run an app on this host until it ends; return the exit code.

    Args:
        app: "module:attribute".
        overrides: the operator's settings, which beat those of the code.
        say: shows lines and snapshots.
        fleet: starts the processes; another one in tests.
        leave: go on without what earlier versions of the app left behind.

    Raises:
        StreamclusterError: it cannot start; the error has the message and the exit code.
    """
    # Before the fork server starts, so that workers have it too. RocksDB lets the umask decide who may read tables.
    os.umask(PRIVATE_UMASK)
    raise_file_limit()
    with opened_fleet(app, fleet, overrides) as fleet:
        description = describe(fleet, app, overrides)
        settings = description.settings
        # Before anything is asked: a secret that cannot be read is the operator's mistake, and is said at once.
        secret = cluster_secret(settings)
        for text in (*description.notes, *loose_secrets(settings)):
            say.line("warning", text)
        with instance_lock(app_directory(settings)) as directory:
            brokers = Brokers(settings)
            say.line("info", memory_words(settings))
            say.line("info", description.native)
            host = _Host(app, description, brokers, secret, directory, fleet, say, leave)
            code: int | None = None
            on_term = signal.getsignal(signal.SIGTERM)
            while code is None:
                # Again when partitions were added that are to be read; the loop of the run before has let go of it.
                signal.signal(signal.SIGTERM, on_term)
                cluster = brokers.connect()
                topology = prepare_topics(description, brokers, cluster, say)
                refuse_missing_rights(brokers.admin, settings, rights_of(needed_of(description.declared, topology)))
                refuse_too_few_files(settings, topology)
                code = host.join(topology, cluster)
            return code


def check(
    app: str, overrides: dict[str, object], *, fleet: Fleet | None = None
) -> tuple[Description, Topology | list[Problem], list[str], list[Leftover]]:
    """Describe an app and compare it with the brokers. Changes nothing. Raises as `run`.

    Returns what it declares, how that is on the brokers, warnings, and what earlier versions of it left.
    """
    with opened_fleet(app, fleet, overrides) as fleet:
        description = describe(fleet, app, overrides)
    settings = description.settings
    brokers = Brokers(settings)
    brokers.connect()
    app_id = settings.app_id
    there = brokers.topics(())
    last = _last_snapshot(settings) if control_topic(app_id) in there else None
    found = compare(description, brokers, of_topics(last))
    warnings = [*description.notes, *(neighbour_warning(app_id, one) for one in neighbours(app_id, there))]
    left: list[Leftover] = []
    if isinstance(found, list):
        return description, found, warnings, left
    warnings += found.unread_texts()
    if others := find_taken(settings, found, last, lambda: last):
        return description, [Problem(text=taken(others, app_id))], warnings, left
    left = find_leftovers(settings, brokers, found, last)
    return description, found, warnings, left


def _last_snapshot(settings: Settings) -> Snapshot | None:
    """What the app did last, as far as it can be read: whoever starts it is told why it cannot."""
    secret = cluster_secret(settings)
    signatures = Signatures(
        Secret(secret.encode()) if secret is not None else None,
        settings.app_id,
        required=settings.cluster_signatures == "required",
    )
    control = Control(settings, signatures, Dropped(), lambda _: None, lambda: None, lambda _: None)
    try:
        return control.catch_up(time.monotonic() + settings.connect_timeout)
    finally:
        control.close()


@contextmanager
def opened_fleet(app: str, fleet: Fleet | None, overrides: Mapping[str, object]) -> Iterator[Fleet]:
    """A fork server, which imports the app that the environment names; ended at the end.

    Raises:
        ConfigurationError: there is no place for its socket.
    """
    os.environ[APP_VARIABLE] = app
    if fleet is None:
        state_dir = overrides.get("state_dir")
        use_socket_directory(str(state_dir) if state_dir else None)
        fleet = Fleet()
    try:
        # A signal that was kept waiting ends this call when the fork server is already there.
        fleet.open()
        yield fleet
    finally:
        fleet.close()


def prepare_topics(description: Description, brokers: Brokers, cluster: Cluster, say: Presenter) -> Topology:
    """Make what is missing, and return the topology as it is then.

    Raises:
        ConfigurationError, StateIncompatible: all problems at once.
    """
    own = control_topics(description.settings)
    # What the rows of a table are in, it cannot be seen by the topics when their settings have changed.
    asks = any(table.source for table in description.declared.tables)
    is_there = asks and control_topic(description.settings.app_id) in brokers.topics(())
    before = of_topics(_last_snapshot(description.settings) if is_there else None)
    topology = _resolved(description, brokers, before)
    missing = [topic for topic in topology.topics if topic.create]
    there = brokers.topics(own)
    if problems := control_topic_problems(description.settings, there):
        raise error_of(problems)
    missing += [topic for topic in own if topic.name not in there]
    if created := brokers.create(missing, cluster):
        say.line("info", f"created {'topic' if len(created) == 1 else 'topics'} {', '.join(created)}")
        # Their limits and settings are the brokers' defaults until asked for.
        topology = _resolved(description, brokers, before)
    for table in topology.tables:
        if table.feeder:
            say.line("info", f"table {table.name}: topic {table.changelog} is its changelog, since it is compacted")
    return topology


def of_topics(last: Snapshot | None) -> dict[str, tuple[str, int]]:
    """Of the app's last run, the tables whose changelog was the topic that they are made of, as `resolve` has them."""
    if last is None:
        return {}
    return {name: (log, group) for name, (log, group) in last.shape.tables.items() if log in last.shape.sources}


def _resolved(description: Description, brokers: Brokers, before: Mapping[str, tuple[str, int]]) -> Topology:
    found = compare(description, brokers, before)
    if isinstance(found, list):
        raise error_of(found)
    return found


class _Host(msgspec.Struct, frozen=True):
    """This host, which joins the cluster again when partitions were added.

    secret: what hosts sign with. leave: go on without what earlier versions of the app left.
    """

    app: str
    description: Description
    brokers: Brokers
    secret: str | None
    directory: Path
    fleet: Fleet
    say: Presenter
    leave: bool

    def join(self, topology: Topology, cluster: Cluster) -> int | None:
        """Read the control log, be a host of the cluster, and let go. None: do it again, partitions were added."""
        settings, inbox, dropped = self.description.settings, Inbox(), Dropped()
        held = Secret(self.secret.encode()) if self.secret is not None else None
        signatures = Signatures(held, settings.app_id, required=settings.cluster_signatures == "required")
        deadline = time.monotonic() + settings.connect_timeout
        control = _control(settings, signatures, dropped, inbox)
        bus = StatusBus(settings, signatures, dropped, lambda report: inbox.post_from_thread(ReportHeard(report)))
        leads = False
        cluster_effects: ClusterEffects | None = None
        try:
            identity = _identity(settings, topology, cluster.cluster_id, control.topic_id(deadline))
            # Before the first decision, so that a log without a leader is one in which nobody ever led.
            last = control.begin(deadline)
            if others := find_taken(settings, topology, last, lambda: _last_snapshot(settings)):
                raise ConfigurationError(taken(others, settings.app_id))
            left = _leave_behind(
                find_leftovers(settings, self.brokers, topology, last), settings.app_id, leave=self.leave, say=self.say
            )
            identity = replace(identity, left=left)
            slots = settings.workers or len(os.sched_getaffinity(0))
            node = Node.make(
                settings,
                identity,
                Snapshots(_facts(settings, topology, identity)),
                slots=slots,
                now=time.monotonic(),
                last=last,
            )
            cluster_effects = ClusterEffects(
                control=control,
                bus=bus,
                identity=identity,
                inbox=inbox,
                say=self.say.line,
                slots=lambda: tuple(int(slot) for slot in sorted(node.local.state.places)),
            )
            coordination = Coordination(
                app=self.app,
                settings=settings,
                topology=topology,
                directory=self.directory,
                fleet=self.fleet,
                node=node,
                cluster=cluster_effects,
                inbox=inbox,
                say=self.say,
                dropped=dropped,
                secret=held,
                watch=TopicsWatch(self.description, topology, self.say.line),
            )
            code = asyncio.run(coordination.run())
            leads = node.term is not None
            return None if coordination.begins_again(code) else code
        finally:
            if cluster_effects is not None:
                cluster_effects.close(leads=leads)
            else:
                bus.close()
                control.close()


def _control(settings: Settings, signatures: Signatures, dropped: Dropped, inbox: Inbox) -> Control:
    return Control(
        settings,
        signatures,
        dropped,
        lambda snapshot: inbox.post_from_thread(SnapshotRead(snapshot)),
        lambda: inbox.post_from_thread(RecordUnread()),
        lambda error: inbox.post_from_thread(EndAtOnce(int(ExitCode.STATE_INCOMPATIBLE), str(error))),
    )


def _leave_behind(found: list[Leftover], app_id: str, *, leave: bool, say: Presenter) -> tuple[str, ...]:
    """The topics of earlier versions that hold records, if the operator wants to go on without them.

    Raises:
        ConfigurationError: they were not said to be left (the operator).
    """
    for text in texts(found, app_id):
        say.line("warning" if leave else "error", f"left alone, as --leave says: {text}" if leave else text)
    if found and not leave:
        raise ConfigurationError(refusal(found, app_id))
    return tuple(one.topic for one in found)


def _identity(settings: Settings, topology: Topology, cluster_id: str, topic_id: str) -> Identity:
    machine = socket.gethostname()
    host = settings.host or machine
    if not is_host_name(host):
        raise ConfigurationError(f"this machine's name {host!r} cannot be a host's name: give one with --host NAME.")
    for setting, text in (("rack", settings.rack), ("advertise", settings.advertise)):
        if text is not None and len(text) > NAME_CHARS_MAX:
            # No host would read our reports.
            raise ConfigurationError(f"{setting} has {len(text)} characters, and at most {NAME_CHARS_MAX} are taken.")
    with_tables = {table.group for table in topology.tables}
    tasks = tuple(topology.tasks())
    return Identity(
        host=host,
        instance=uuid.uuid4().hex,
        pid=os.getpid(),
        machine=machine,
        cluster_id=cluster_id,
        topic_id=topic_id,
        control_topic=control_topic(settings.app_id),
        shape=shape_of(topology),
        tasks=tasks,
        stateless=frozenset(task for task in tasks if task.group not in with_tables),
        rack=settings.rack,
        peer=settings.advertise,
    )


def _facts(settings: Settings, topology: Topology, identity: Identity) -> HostFacts:
    return HostFacts(
        app=settings.app_id,
        host=identity.host,
        pid=identity.pid,
        broker=f"kafka://{bootstrap_servers(settings.broker)}",
        processing_guarantee=settings.processing_guarantee,
        topology_hash=topology.hash(),
        started_at=time.monotonic(),
    )
