"""`streamcluster start`: the composition root. Probe, lock, connect, resolve, create, take over, then run to the end.

Everything up to the first worker happens in order and blocks, so an error is one message and Ctrl-C is plain.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from pathlib import Path

from streamcluster.errors import ExitCode
from streamcluster.messages import Description
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster.topology import Problem, Topology

from .checking import compare, describe, error_of
from .control import Control, control_topic_spec
from .coordination import Coordination, Presenter
from .fleet import Fleet
from .instance import app_directory, instance_lock
from .machine import Machine
from .machine_events import FencedByAnother
from .machine_status import Facts, Snapshots
from .topics import Brokers, Cluster

logger = logging.getLogger("streamcluster.coordinator")
APP_VARIABLE = "STREAMCLUSTER_APP"
# The CLI shares these names.
__all__ = ["Presenter", "check", "run"]


def run(app: str, overrides: dict[str, object], *, say: Presenter, fleet: Fleet | None = None) -> int:
    """Run an app on this host until it ends; return the exit code.

    Args:
        app: "module:attribute".
        overrides: the operator's settings, which beat those of the code.
        say: shows lines and snapshots.
        fleet: starts the processes; another one in tests.

    Raises:
        StreamclusterError: it cannot start; the error has the message and the exit code.
    """
    fleet = open_fleet(app, fleet)
    description = describe(fleet, app, overrides)
    settings = description.settings
    with instance_lock(app_directory(settings)) as directory:
        brokers = Brokers(settings)
        cluster = brokers.connect()
        topology = prepare_topics(description, brokers, cluster, say)
        return _lead(app, settings, topology, cluster, directory=directory, fleet=fleet, say=say)


def check(
    app: str, overrides: dict[str, object], *, fleet: Fleet | None = None
) -> tuple[Description, Topology | list[Problem]]:
    """Describe an app and compare it with the brokers. Changes nothing. Raises as `run`."""
    description = describe(open_fleet(app, fleet), app, overrides)
    brokers = Brokers(description.settings)
    brokers.connect()
    return description, compare(description, brokers)


def open_fleet(app: str, fleet: Fleet | None) -> Fleet:
    """Start the fork server, which imports the app that the environment names."""
    os.environ[APP_VARIABLE] = app
    fleet = fleet or Fleet()
    fleet.open()
    return fleet


def prepare_topics(description: Description, brokers: Brokers, cluster: Cluster, say: Presenter) -> Topology:
    """Make what is missing, and return the topology as it is then.

    Raises:
        ConfigurationError, StateIncompatible: all problems at once.
    """
    topology = _resolved(description, brokers)
    missing = [topic for topic in topology.topics if topic.create]
    control = control_topic_spec(description.settings.app_id)
    if control.name not in brokers.topics(()):
        missing.append(control)
    if created := brokers.create(missing, cluster):
        say.line("info", f"created {'topic' if len(created) == 1 else 'topics'} {', '.join(created)}")
        # Their limits and settings are the brokers' defaults until asked for.
        topology = _resolved(description, brokers)
    return topology


def _resolved(description: Description, brokers: Brokers) -> Topology:
    found = compare(description, brokers)
    if isinstance(found, list):
        raise error_of(found)
    return found


def _lead(
    app: str, settings: Settings, topology: Topology, cluster: Cluster, *, directory: Path, fleet: Fleet, say: Presenter
) -> int:
    """Take over, run, and let go."""
    slots = settings.workers or len(os.sched_getaffinity(0))
    facts = Facts(
        app=settings.app_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        broker=f"kafka://{bootstrap_servers(settings.broker)}",
        processing_guarantee=settings.processing_guarantee,
        topology_hash=topology.hash(),
        started_at=time.monotonic(),
    )
    control = Control(settings)
    code = int(ExitCode.FENCED)
    try:
        record = control.take_over(cluster_id=cluster.cluster_id, slots=slots, topology_hash=topology.hash())
        logger.debug("leading with %s", record)
        coordination = Coordination(
            app=app,
            settings=settings,
            topology=topology,
            directory=directory,
            fleet=fleet,
            control=control,
            machine=Machine(settings, topology.tasks(), slots=slots, epoch=record.epoch),
            snapshots=Snapshots(facts),
            say=say,
        )
        code = asyncio.run(_until_the_end(coordination, control))
        return code
    finally:
        control.close(drained=code == ExitCode.DRAINED)


async def _until_the_end(coordination: Coordination, control: Control) -> int:
    """Run, and hear of a takeover as soon as the control log says so."""
    loop = asyncio.get_running_loop()

    def taken(text: str) -> None:
        loop.call_soon_threadsafe(coordination.post, FencedByAnother(text))

    control.listen(taken)
    try:
        return await coordination.run()
    finally:
        control.listen(None)
