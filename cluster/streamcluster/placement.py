"""Where tasks go: balanced first, then as few moves as possible, then the same answer everywhere.

Pure and exact. Balanced: the task counts of two slots differ by at most one, over all tasks and within each group.
It must not know processes, epochs or who is alive: it gets the slots that may have tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ids import Slot, TaskId


def place(tasks: Sequence[TaskId], slots: Sequence[Slot], owners: Mapping[TaskId, Slot]) -> dict[TaskId, Slot]:
    """Give every task a slot.

    Args:
        tasks: all tasks, in any order.
        slots: the slots that may have tasks; at least one.
        owners: where tasks are now; tasks and slots that are not known any more are ignored.

    Returns:
        task -> slot, in task order.

    Cost: about groups * slots^2 steps besides one pass over the tasks.
    """
    assert slots, "there is no slot to place tasks on"
    order = sorted(set(slots))
    groups: dict[int, list[TaskId]] = {}
    for task in sorted(set(tasks)):
        groups.setdefault(task.group, []).append(task)
    owned: dict[tuple[int, Slot], list[TaskId]] = {(group, slot): [] for group in groups for slot in order}
    for group, members in groups.items():
        for task in members:
            if (cell := owned.get((group, owners.get(task, Slot(-1))))) is not None:
                cell.append(task)
    extras = _choose_extras(groups, order, owned)
    placed: dict[TaskId, Slot] = {}
    for group, members in groups.items():
        quotas = {slot: len(members) // len(order) + ((group, slot) in extras) for slot in order}
        kept = {task: slot for slot in order for task in owned[group, slot][: quotas[slot]]}
        rooms = [slot for slot in order for _ in range(quotas[slot] - min(quotas[slot], len(owned[group, slot])))]
        homeless = [task for task in members if task not in kept]
        placed.update(kept | dict(zip(homeless, rooms, strict=True)))
    return {task: placed[task] for task in sorted(placed)}


def _choose_extras(
    groups: Mapping[int, Sequence[TaskId]], slots: Sequence[Slot], owned: Mapping[tuple[int, Slot], Sequence[TaskId]]
) -> set[tuple[int, Slot]]:
    """Which slots get one task more than the others in a group, where a group's size is no multiple of the slots.

    A group of n tasks gives each slot n // slots, and one more to n % slots of them. Who gets the extras decides both
    the balance over all groups and how many tasks may stay: a minimum-cost flow from groups to slots.
    """
    remainders = {group: len(members) % len(slots) for group, members in groups.items()}
    total = sum(remainders.values())
    network = _Network()
    source, sink = "source", "sink"
    for group, remainder in remainders.items():
        network.add(source, group, capacity=remainder, cost=0)
        for slot in slots:
            stays = len(owned[group, slot]) > len(groups[group]) // len(slots)
            network.add(group, ("slot", slot), capacity=1, cost=-1 if stays else 0)
    # Filling every slot to the common level is worth more than all the moves that it may cost.
    worth = 2 * total + 1
    for slot in slots:
        network.add(("slot", slot), sink, capacity=total // len(slots), cost=-worth)
        network.add(("slot", slot), sink, capacity=1, cost=0)
    network.fill(source, sink)
    return {(group, slot) for group in groups for slot in slots if network.flow(group, ("slot", slot)) == 1}


_Node = object


@dataclass(slots=True)
class _Edge:
    """One direction of an edge; the edge at the index ^ 1 is its reverse. room: capacity left."""

    start: _Node
    end: _Node
    room: int
    cost: int


class _Network:
    """A flow network, filled at minimum cost by shortest augmenting paths. Edges keep the order they were added in."""

    __slots__ = ("_edges", "_from", "_index")

    def __init__(self) -> None:
        self._edges: list[_Edge] = []
        self._from: dict[_Node, list[int]] = {}
        self._index: dict[tuple[_Node, _Node], int] = {}

    def add(self, start: _Node, end: _Node, *, capacity: int, cost: int) -> None:
        """Add an edge. Of two between the same nodes, `flow` reports the first."""
        self._index.setdefault((start, end), len(self._edges))
        for edge in (_Edge(start, end, capacity, cost), _Edge(end, start, 0, -cost)):
            self._from.setdefault(edge.start, []).append(len(self._edges))
            self._edges.append(edge)

    def flow(self, start: _Node, end: _Node) -> int:
        """How much flows on that edge now."""
        return self._edges[self._index[start, end] ^ 1].room

    def fill(self, source: _Node, sink: _Node) -> None:
        """Send as much as fits at the least cost. Ends: each path takes at least one unit of room out of the source."""
        while path := self._cheapest_path(source, sink):
            room = min(self._edges[index].room for index in path)
            for index in path:
                self._edges[index].room -= room
                self._edges[index ^ 1].room += room

    def _cheapest_path(self, source: _Node, sink: _Node) -> list[int]:
        """Bellman-Ford with a queue; it ends because a residual network of a cheapest flow has no negative cycle."""
        costs: dict[_Node, int] = {source: 0}
        came_by: dict[_Node, int] = {}
        waiting: deque[_Node] = deque([source])
        while waiting:
            node = waiting.popleft()
            for index in self._from.get(node, ()):
                edge = self._edges[index]
                cost = costs[node] + edge.cost
                if edge.room > 0 and (edge.end not in costs or cost < costs[edge.end]):
                    costs[edge.end] = cost
                    came_by[edge.end] = index
                    if edge.end not in waiting:
                        waiting.append(edge.end)
        path: list[int] = []
        node = sink
        while node in came_by and node != source:
            path.append(came_by[node])
            node = self._edges[came_by[node]].start
        return path
