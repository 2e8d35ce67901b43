"""Joins that are new to an app which reads the logs of their tables already.

They are joins of tables, which read the changelogs, and joins of a stream with a table as it was, which read the
table's topic. The group has one position in a log, for all that read it. A join that has never written a row begins at
the log's beginning all the same: the position goes back there, and its metadata says of the others how far they are
ahead (streamcluster.ahead), so that they are given nothing twice. Pure, but for the ends that it asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import msgspec

from streamcluster.ahead import moved_back
from streamcluster.engine.values import Committed
from streamcluster.ids import TP
from streamcluster.topology import Topology
from streamcluster.topology.units import AgentUnit, Plan, is_named

from .begin import Begin

logger = logging.getLogger("streamcluster")


class JoinedChanges(msgspec.Struct, frozen=True):
    """A log of a table that a join reads.

    kept: join's agent -> the changelog of the rows that it has read. others: who else reads it -> concurrency.
    """

    kept: Mapping[str, str]
    others: Mapping[str, int]


def joined_changes(plan: Plan, topology: Topology) -> dict[str, JoinedChanges]:
    """The logs of tables that joins read from their beginnings, by name."""
    changelogs = {table.name: table.changelog for table in topology.tables}
    joins = {unit.name: logs for unit in plan.units if isinstance(unit, AgentUnit) and (logs := _logs_of(unit))}
    found: dict[str, JoinedChanges] = {}
    for name in {name for logs in joins.values() for name in logs}:
        readers = [unit for unit in plan.units if any(is_named(topic, name) for topic in unit.inputs)]
        kept = {join: changelogs[logs[name]] for join, logs in joins.items() if name in logs}
        others = {unit.name: unit.concurrency for unit in readers if unit.name not in kept}
        others |= {shared.name: 1 for shared in plan.shared if shared.reads(name) is not None}
        found[name] = JoinedChanges(kept, others)
    return found


def _logs_of(unit: AgentUnit) -> dict[str, str]:
    """The logs that it reads from their beginnings, and the table in which it keeps what it has read."""
    if unit.agent.keeps:
        changes = [topic for topic in unit.inputs if topic.changelog is not None]
        return {name: unit.agent.keeps[0].name for topic in changes for name in topic.names}
    return {name: unit.tables[0].name for topic in unit.versions for name in topic.names}


def with_late_joins(
    found: Mapping[TP, Begin],
    begins: Mapping[TP, int],
    changes: Mapping[str, JoinedChanges],
    ends: Callable[[Iterable[TP]], Mapping[TP, int]],
) -> dict[TP, Begin]:
    """Where those partitions begin that joins have to read from their beginnings, of those that were found.

    begins: the first offset of each log. ends: asks for the ends of logs.
    """
    able = {
        tp: changes[tp.topic]
        for tp, begin in found.items()
        if tp.topic in changes and not (begin.lost or begin.expired) and begin.position.next_offset > begins[tp]
    }
    asked = {TP(kept, tp.partition) for tp, read in able.items() for kept in read.kept.values()}
    ends_found = ends(sorted(asked)) if asked else {}
    moved: dict[TP, Begin] = {}
    late: set[str] = set()
    for tp, read in able.items():
        new = {join for join, kept in read.kept.items() if not ends_found[TP(kept, tp.partition)]}
        if not new:
            continue
        late |= new
        position = found[tp].position
        old = {join: 1 for join in read.kept if join not in new}
        metadata = moved_back(position.metadata, position.next_offset - begins[tp], {**read.others, **old})
        moved[tp] = msgspec.structs.replace(found[tp], position=Committed(begins[tp], metadata), is_new=True)
    if moved:
        logger.info(
            "%s is new: it reads the logs of its tables from their beginnings (%d partitions); others that read them "
            "go on where they are",
            ", ".join(sorted(late)),
            len(moved),
        )
    return moved
