"""Which workers have which tasks, as one host knows it at one moment: what reads of tables are planned on.

Values only. The coordinator makes one for each question, from its machine, the control log and the others' reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

import msgspec

from streamcluster.ids import Slot, SlotId, TaskId


class Peer(msgspec.Struct, frozen=True):
    """Another host. address: where it answers, None: it has no `advertise`. owned, followed: by its slots.

    away: why it is not asked at all, `has said nothing for 4 s`; None: it is.
    """

    host: str
    address: str | None
    owned: frozenset[TaskId] = frozenset()
    followed: frozenset[TaskId] = frozenset()
    away: str | None = None


class Ownership(msgspec.Struct, frozen=True):
    """What `host` knows.

    owned: task -> the slot here whose process it was granted to and not asked back from.
    followed: task -> the slot here whose process is its standby.
    """

    host: str
    owned: Mapping[TaskId, Slot] = msgspec.field(default_factory=dict)
    followed: Mapping[TaskId, Slot] = msgspec.field(default_factory=dict)
    peers: tuple[Peer, ...] = ()

    def slots(self, group: int, *, standby: bool) -> dict[Slot, frozenset[TaskId]]:
        """Slots here with tasks of a group, in order, and which."""
        found: dict[Slot, set[TaskId]] = {}
        for task, slot in (self.followed if standby else self.owned).items():
            if task.group == group:
                found.setdefault(slot, set()).add(task)
        return {slot: frozenset(found[slot]) for slot in sorted(found)}

    def tasks(self, group: int, *, standby: bool = False) -> frozenset[TaskId]:
        """Those of a group that this host has."""
        return of_group(self.followed if standby else self.owned, group)

    def unowned(self, group: int) -> frozenset[TaskId]:
        """Tasks of a group that nobody is known to have."""
        known = self.tasks(group).union(*(of_group(peer.owned, group) for peer in self.peers))
        return all_tasks(group) - known


def peers_of(
    host: str,
    *,
    owners: Mapping[str, str],
    standbys: Mapping[str, Sequence[str]],
    addresses: Mapping[str, str | None],
    away: Mapping[str, str],
) -> tuple[Peer, ...]:
    """The other hosts with tasks, as the control log has it. That may be late: each says itself what it looked at.

    Args:
        host: this one.
        owners, standbys: task -> slot, task -> slots, as in a Snapshot.
        addresses: host -> where it answers, out of the reports.
        away: host -> why it need not be asked.
    """
    owned: dict[str, set[TaskId]] = {}
    followed: dict[str, set[TaskId]] = {}
    for task, slot in owners.items():
        owned.setdefault(SlotId.parse(slot).host, set()).add(TaskId.parse(task))
    for task, slots in standbys.items():
        for slot in slots:
            followed.setdefault(SlotId.parse(slot).host, set()).add(TaskId.parse(task))
    return tuple(
        Peer(
            host=other,
            address=addresses.get(other),
            owned=frozenset(owned.get(other, ())),
            followed=frozenset(followed.get(other, ())),
            away=away.get(other),
        )
        for other in sorted({*owned, *followed} - {host})
    )


def all_tasks(group: int) -> frozenset[TaskId]:
    """Every task of a group."""
    return frozenset(TaskId(group, partition) for partition in range(group))


def of_group(tasks: Iterable[TaskId], group: int) -> frozenset[TaskId]:
    """Those of the group."""
    return frozenset(task for task in tasks if task.group == group)


def mark_of(places: Mapping[TaskId, object]) -> str:
    """Eight letters that change when a task does its place: rows that move between pages are missing, or twice."""
    text = " ".join(f"{task}={place}" for task, place in sorted(places.items()))
    return f"{crc32(text.encode()):08x}"


def named(tasks: Iterable[TaskId]) -> str:
    """`task 4_0`, or `tasks 4_0, 4_1`."""
    names = [str(task) for task in sorted(tasks)]
    return f"task{'s' if len(names) > 1 else ''} {', '.join(names)}"
