"""The slow twin of streamcluster.placement.flow: every task has a price on every slot, all are looked at.

A flow of minimum cost, by shortest augmenting paths.

Pure and exact, over plain numbers. A group's tasks go through a cell per slot, cells go into slots, slots into one
sink; the price of a cell and of a slot rises with each task in it, so that nothing is cheaper than a balance. It starts
from where tasks are and only mends what is too full or too empty, so that the work is about that of the moves.
It must not know what tasks, slots and costs stand for.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import sub

NOWHERE = -1
SINK = 0


@dataclass(slots=True)
class _Flow:
    """The state of the flow. Nodes by number: the sink is 0, slot s is 1 + s, then come the cells, group by group.

    Of nodes that are as near the lowest is looked at first, so a search does not wander about when the sink is there.

    Of every group a cell is to have `level` tasks, and of all groups a slot is to have the sum of these; what is left
    over costs `price` for the first task more, three times that for the second, and so on: the squares are cheapest.
    """

    costs: Sequence[Sequence[int]]
    slots: int
    # Above what all tasks together can cost, so that no task's wish is worth an imbalance.
    price: int
    # group -> the tasks that each of its cells passes on to its slot at first, and that it is to have at least.
    levels: list[int]
    # node -> tasks in a cell that may leave it, in order of arrival; and how many it passes on, beyond its level.
    members: list[list[int]]
    through: list[int]
    # node -> how many tasks a slot passes on to the sink, beyond the sum of the levels.
    above: list[int]
    # Tasks in a cell that it does not pass on to its slot; below zero: that it lacks. The sink lacks what is left over.
    surplus: list[int]
    # What keeps every edge's reduced cost from being negative.
    potentials: list[int]
    # cell -> per slot, the cheapest task to send there and what that costs; None: to be looked for.
    leaving: list[list[tuple[int, int]] | None]
    # node -> the node before it, on the paths of the last search.
    came_from: dict[int, int] = field(default_factory=dict)

    def best_leaving(self, cell: int) -> list[tuple[int, int]]:
        """Per slot (cost, task): the cheapest task to send from a cell to that slot's cell of the same group."""
        found = self.leaving[cell]
        if found is None:
            # The last to come is the first to leave, of equals.
            members, here = self.members[cell][::-1], (cell - 1) % self.slots
            rows = [self.costs[task] for task in members]
            prices = [row[here] for row in rows]
            found = []
            for column in zip(*rows, strict=True):
                steps = list(map(sub, column, prices))
                least = min(steps)
                found.append((least, members[steps.index(least)]))
            self.leaving[cell] = found
        return found

    def edges(self, node: int) -> Iterable[tuple[int, int]]:
        """Where one task more can go from a node: (node, cost)."""
        slots, price = self.slots, self.price
        if node > slots:
            here = (node - 1) % slots
            yield 1 + here, price * (2 * self.through[node] + 1)
            if self.members[node]:
                first = node - here
                for to, (cost, _) in enumerate(self.best_leaving(node)):
                    if to != here:
                        yield first + to, cost
        elif node != SINK:
            yield SINK, price * (2 * self.above[node] + 1)
            for group, level in enumerate(self.levels):
                cell = node + (group + 1) * slots
                if level + self.through[cell] > 0:
                    yield cell, price * (1 - 2 * self.through[cell])
        else:
            level = sum(self.levels)
            for slot in range(1, slots + 1):
                if level + self.above[slot] > 0:
                    yield slot, price * (1 - 2 * self.above[slot])

    def search(self, starts: Sequence[tuple[int, int]]) -> int:
        """Dijkstra from (distance, node) to the nearest node that lacks a task; returns it, having mended potentials.

        There is one: what is too much in one place is lacking in another, and the sink takes from every slot.
        """
        potentials, surplus = self.potentials, self.surplus
        # Of nodes that are as near, those that lack a task come first, so that a search does not wander about.
        waiting = [(distance - potentials[node], surplus[node] >= 0, node) for distance, node in starts]
        distances = {node: distance for distance, _, node in waiting}
        heapq.heapify(waiting)
        self.came_from = {}
        settled: list[int] = []
        # Nothing that is not nearer than the nearest such node seen so far is worth a look.
        nearest = min((distance for distance, filled, _ in waiting if not filled), default=None)
        while waiting:
            distance, _, node = heapq.heappop(waiting)
            if distance > distances[node]:
                continue
            if surplus[node] < 0:
                for passed in settled:
                    potentials[passed] += distances[passed] - distance
                return node
            settled.append(node)
            offset = distance + potentials[node]
            for end, cost in self.edges(node):
                reached = offset + cost - potentials[end]
                if (nearest is None or reached < nearest) and (end not in distances or reached < distances[end]):
                    distances[end] = reached
                    self.came_from[end] = node
                    heapq.heappush(waiting, (reached, surplus[end] >= 0, end))
                    if surplus[end] < 0:
                        nearest = reached
        raise AssertionError("what is too much in one place is lacking in another")

    def push(self, end: int) -> int:
        """Send one task along the last search's path to `end`; returns the node that the path starts at."""
        self.surplus[end] += 1
        while (start := self.came_from.get(end)) is not None:
            if min(start, end) > self.slots:
                task = self.best_leaving(start)[(end - 1) % self.slots][1]
                self.members[start].remove(task)
                self.leaving[start] = None
                self.join(task, end)
            elif start > self.slots:
                self.through[start] += 1
            elif end > self.slots:
                self.through[end] -= 1
            elif end == SINK:
                self.above[start] += 1
            else:
                self.above[end] -= 1
            end = start
        return end

    def join(self, task: int, cell: int) -> None:
        """Put a task into a cell."""
        self.members[cell].append(task)
        self.leaving[cell] = None


def balance(
    groups: Sequence[Sequence[int]],
    costs: Sequence[Sequence[int]],
    starts: Sequence[int],
    fixed: Collection[int] = frozenset(),
) -> list[int]:
    """Put every task on a slot.

    Args:
        groups: the tasks of each group, by number from 0 on; each task in one group.
        costs: task -> what it costs on each slot, at least 0; all rows as long as there are slots, at least one.
        starts: task -> the slot it is on, which none may beat in cost for this task; NOWHERE for none.
        fixed: tasks that stay where they start, whatever that does to the balance.

    Returns:
        task -> slot, such that (1) the sum of squares of the tasks per slot and per group and slot is the least, so
        counts differ by at most one where nothing is fixed, and (2) of these the sum of the costs is.

    Cost: about a shortest path, of groups * slots^2 steps at worst, for each task that is not where it started.
    """
    flow = _start(groups, costs, starts, fixed)
    for cell in range(flow.slots + 1, len(flow.surplus)):
        for _ in range(flow.surplus[cell]):
            flow.push(flow.search([(0, cell)]))
            flow.surplus[cell] -= 1
    for group, tasks in enumerate(groups):
        first = 1 + (group + 1) * flow.slots
        for task in tasks:
            if starts[task] == NOWHERE:
                end = flow.search([(cost, first + slot) for slot, cost in enumerate(costs[task])])
                flow.join(task, flow.push(end))
    placed = list(starts)
    for node, members in enumerate(flow.members):
        for task in members:
            placed[task] = (node - 1) % flow.slots
    return placed


def _start(
    groups: Sequence[Sequence[int]], costs: Sequence[Sequence[int]], starts: Sequence[int], fixed: Collection[int]
) -> _Flow:
    slots = len(costs[0]) if costs else 1
    levels = [len(tasks) // slots for tasks in groups]
    nodes = 1 + slots + len(groups) * slots
    members: list[list[int]] = [[] for _ in range(nodes)]
    left_over = sum(len(tasks) % slots for tasks in groups)
    surplus = [-left_over] + [0] * slots + [-level for level in levels for _ in range(slots)]
    for group, tasks in enumerate(groups):
        for task in tasks:
            if starts[task] != NOWHERE:
                cell = 1 + (group + 1) * slots + starts[task]
                surplus[cell] += 1
                if task not in fixed:
                    members[cell].append(task)
    return _Flow(
        costs=costs,
        slots=slots,
        price=sum(map(max, costs)) + 1,
        members=members,
        through=[0] * nodes,
        above=[0] * (slots + 1),
        levels=levels,
        surplus=surplus,
        potentials=[0] * nodes,
        leaving=[None] * nodes,
    )
