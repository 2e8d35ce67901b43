"""The cheapest of all balanced ways to put tasks on slots: a flow of minimum cost, by shortest augmenting paths.

Pure and exact, over plain numbers. A group's tasks go through a cell per slot, cells go into slots, slots into one
sink; the price of a cell and of a slot rises with each task in it, so that nothing is cheaper than a balance. It starts
from where tasks are and only mends what is too full or too empty, so that the work is about that of the moves.
It must not know what tasks, slots and costs stand for.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

NOWHERE = -1
SINK = 0


class _Flow(msgspec.Struct):
    """The state of the flow. Nodes by number: the sink is 0, slot s is 1 + s, then come cells and hubs, by groups.

    A hub stands for an area, for one group: from it a task goes on to the cell of any slot of the area at no cost.

    Of every group a cell is to have `level` tasks or one more, and of all groups a slot the like; each task beyond that
    costs twice `price` more than the one before it, and so does each that is lacking: the squares are cheapest.
    """

    rows: Sequence[Mapping[int, int]]
    slots: int
    areas: int
    # The numbers of the first cell and of the first hub.
    cells: int
    hubs: int
    # Above what all tasks together can cost, so that no task's wish is worth an imbalance.
    price: int
    # node -> tasks that a cell or slot is to have at least, and how many it passes on to its slot or to the sink.
    levels: list[int]
    passed: list[int]
    # cell -> tasks in it that may leave it, in order of arrival.
    members: dict[int, list[int]]
    # task -> what it costs where it is.
    paid: list[int]
    # Tasks in a node that it does not pass on; below zero: that it lacks.
    surplus: list[int]
    # What keeps every edge's reduced cost from being negative. They only ever fall.
    potentials: list[int]
    # hub -> a heap of its cells, the nearest first; what has changed since is found out when it is at the top. Of as
    # near ones those that lack a task come first, in order: so the tasks of a slot that fills up are neighbours, and
    # their standbys, which are dealt out task by task, are on many hosts. Of others the one comes first whose turn was
    # longest ago, so that no search passes by all that the ones before have filled.
    ranks: dict[int, list[tuple[int, bool, int, int]]]
    turn: int = 0
    # cell -> per hub that tasks may go to from it, what that costs at least, and for which task.
    leaving: dict[int, dict[int, tuple[int, int]]] = msgspec.field(default_factory=dict)

    def best_leaving(self, cell: int) -> dict[int, tuple[int, int]]:
        """Per hub (cost, task): the cheapest task to send there from a cell."""
        found = self.leaving.get(cell)
        if found is None:
            found = self.leaving[cell] = {}
            first = self.hubs + (cell - self.cells) // self.slots * self.areas
            # The last to come is the first to leave, of equals.
            for task in reversed(self.members[cell]):
                paid = self.paid[task]
                for area, cost in self.rows[task].items():
                    best = found.get(first + area)
                    if best is None or cost - paid < best[0]:
                        found[first + area] = (cost - paid, task)
        return found

    def edges(self, node: int) -> Iterable[tuple[int, int]]:
        """Where one task more can go from a node that is no hub: (node, cost)."""
        if node >= self.cells:
            for end, (cost, _) in self.best_leaving(node).items():
                yield end, cost
            yield 1 + (node - self.cells) % self.slots, self._price_of_one_more(node)
        elif node != SINK:
            for cell in range(self.cells + node - 1, self.hubs, self.slots):
                if self.passed[cell]:
                    yield cell, self._price_of_one_less(cell)
            yield SINK, self._price_of_one_more(node)
        else:
            for slot in range(1, self.slots + 1):
                if self.passed[slot]:
                    yield slot, self._price_of_one_less(slot)

    def _price_of_one_more(self, node: int) -> int:
        return 2 * self.price * (self.passed[node] - self.levels[node])

    def _price_of_one_less(self, node: int) -> int:
        return 2 * self.price * (self.levels[node] + 1 - self.passed[node])

    def nearest_of(self, hub: int) -> int | None:
        """The nearest cell of a hub, of those in its heap; None: there is none."""
        rank = self.ranks[hub]
        while rank:
            fall, is_filled, turn, cell = rank[0]
            now = (-self.potentials[cell], self.surplus[cell] >= 0)
            if now == (fall, is_filled):
                return cell
            # Both only ever grow, so what comes to the top instead is not farther than it was.
            heapq.heapreplace(rank, (*now, turn, cell))
        return None

    def put_back(self, hub: int, cell: int) -> None:
        """Let a hub find a cell again: one that lacks nothing after others that are as near."""
        turn, is_filled = cell, self.surplus[cell] >= 0
        if is_filled:
            self.turn += 1
            turn = self.turn
        heapq.heappush(self.ranks[hub], (-self.potentials[cell], is_filled, turn, cell))

    def push(self, path: Sequence[int]) -> None:
        """Send one task along a path, from what has one too many to what lacks one: several may have to move for it."""
        for at in range(len(path) - 2, -1, -1):
            before, node = path[at : at + 2]
            if before >= self.hubs:
                continue
            if node >= self.hubs:
                task = self.best_leaving(before)[node][1]
                self.members[before].remove(task)
                self.leaving.pop(before, None)
                self.join(task, node, path[at + 2])
            elif node < before:
                self.passed[before] += 1
            else:
                self.passed[node] -= 1
        self.surplus[path[-1]] += 1

    def join(self, task: int, hub: int, cell: int) -> None:
        """Put a task into a cell of an area."""
        self.members[cell].append(task)
        self.paid[task] = self.rows[task][(hub - self.hubs) % self.areas]
        self.leaving.pop(cell, None)


class _Search(msgspec.Struct):
    """Dijkstra's, to the nearest node that lacks a task.

    There is one: what is too much in one place is lacking in another, and every node can be reached from each.
    """

    flow: _Flow
    # node -> how far it is and the node before it, of those found; NOWHERE: none. Those whose distance is final.
    distances: dict[int, int] = msgspec.field(default_factory=dict)
    came_from: dict[int, int] = msgspec.field(default_factory=dict)
    settled: set[int] = msgspec.field(default_factory=set)
    # (distance, not lacking, order, node, hub that it was taken from, or 0). Of nodes that are as near, those that lack
    # a task come first, then the last to be found, so that a search does not wander about.
    waiting: list[tuple[int, bool, int, int, int]] = msgspec.field(default_factory=list)
    order: int = 0
    # Hub and cell: what hubs have given out.
    taken: list[tuple[int, int]] = msgspec.field(default_factory=list)
    # How far the nearest node is that lacks a task, of those found: nothing that is not nearer is worth a look.
    nearest: int | None = None

    def run(self, starts: Iterable[tuple[int, int]]) -> list[int]:
        """Search from (node, distance) on; returns the path, having mended the flow's potentials."""
        flow = self.flow
        potentials = flow.potentials
        for node, start in starts:
            self._reach(node, start - potentials[node], NOWHERE)
        while self.waiting:
            distance, is_filled, _, node, hub = heapq.heappop(self.waiting)
            if not is_filled:
                return self._end(node, distance)
            if hub:
                self._reach_next(hub)
            if node in self.settled or distance > self.distances[node]:
                continue
            self.settled.add(node)
            if node >= flow.hubs:
                self._reach_next(node)
                continue
            offset = distance + potentials[node]
            for end, cost in flow.edges(node):
                self._reach(end, offset + cost - potentials[end], node)
        raise AssertionError("what is too much in one place is lacking in another")

    def _reach(self, node: int, distance: int, before: int, hub: int = 0) -> None:
        flow, nearest = self.flow, self.nearest
        is_filled = flow.surplus[node] >= 0
        if nearest is not None and (distance > nearest or (is_filled and distance == nearest)):
            return
        if node not in self.distances or distance < self.distances[node]:
            self.distances[node], self.came_from[node] = distance, before
            if not is_filled:
                self.nearest = distance
            elif node >= flow.hubs and (cell := flow.nearest_of(node)) is not None and flow.surplus[cell] < 0:
                ahead = distance + flow.potentials[node] - flow.potentials[cell]
                self.nearest = ahead if nearest is None else min(ahead, nearest)
        elif not hub:
            return
        self.order -= 1
        heapq.heappush(self.waiting, (distance, is_filled, self.order, node, hub))

    def _reach_next(self, hub: int) -> None:
        """Go on from a hub to its nearest cell that was not reached from it yet."""
        cell = self.flow.nearest_of(hub)
        if cell is not None:
            heapq.heappop(self.flow.ranks[hub])
            self.taken.append((hub, cell))
            offset = self.distances[hub] + self.flow.potentials[hub]
            self._reach(cell, offset - self.flow.potentials[cell], hub, hub)

    def _end(self, node: int, distance: int) -> list[int]:
        for passed in self.settled:
            self.flow.potentials[passed] += self.distances[passed] - distance
        for hub, cell in self.taken:
            self.flow.put_back(hub, cell)
        path = [node]
        while (node := self.came_from[node]) != NOWHERE:
            path.append(node)
        return path[::-1]


def balance(
    groups: Sequence[Sequence[int]],
    rows: Sequence[Mapping[int, int]],
    areas: Sequence[Sequence[int]],
    slots: int,
    starts: Sequence[int],
    fixed: Collection[int] = frozenset(),
) -> list[int]:
    """Put every task on a slot.

    Args:
        groups: the tasks of each group, by number from 0 on; each task in one group.
        rows: task -> area -> what it costs there, at least 0: on a slot, the least that any area with the slot says.
            The areas of each task that is not fixed have all slots.
        areas: area -> its slots.
        slots: how many there are, at least one.
        starts: task -> the slot it is on, where it costs 0; NOWHERE for none.
        fixed: tasks that stay where they start, whatever that does to the balance.

    Returns:
        task -> slot, such that (1) the sum of squares of the tasks per slot and per group and slot is the least, so
        counts differ by at most one where nothing is fixed, and (2) of these the sum of the costs is.

    Cost: a shortest path for each task that has to move or is nowhere. Most paths are short; the longest may visit each
    cell, and each area that a task in it names.
    """
    flow = _start(groups, rows, areas, slots, starts, fixed)
    for node in range(flow.hubs):
        for _ in range(flow.surplus[node]):
            flow.push(_Search(flow).run([(node, 0)]))
            flow.surplus[node] -= 1
    for group, tasks in enumerate(groups):
        first = flow.hubs + group * flow.areas
        for task in tasks:
            if starts[task] == NOWHERE:
                path = _Search(flow).run((first + area, cost) for area, cost in rows[task].items())
                flow.push(path)
                flow.join(task, *path[:2])
    placed = list(starts)
    for cell, members in flow.members.items():
        for task in members:
            placed[task] = (cell - flow.cells) % slots
    return placed


def _start(
    groups: Sequence[Sequence[int]],
    rows: Sequence[Mapping[int, int]],
    areas: Sequence[Sequence[int]],
    slots: int,
    starts: Sequence[int],
    fixed: Collection[int],
) -> _Flow:
    """Tasks where they are, each node passing on what is cheapest for it alone: so it is too full or lacks some."""
    cells = 1 + slots
    hubs = cells + len(groups) * slots
    nodes = hubs + len(groups) * len(areas)
    members: dict[int, list[int]] = {cell: [] for cell in range(cells, hubs)}
    levels, passed, surplus = [0] * nodes, [0] * nodes, [0] * nodes
    # A task can only leave a cell for so much, which is known before any search: it need not find it out cell by cell.
    least = _least_move(rows, areas, starts, fixed)
    potentials = [-least] * hubs + [0] * (nodes - hubs)
    ranks: dict[int, list[tuple[int, bool, int, int]]] = {}
    for group, tasks in enumerate(groups):
        first, level = cells + group * slots, len(tasks) // slots
        for task in tasks:
            if starts[task] != NOWHERE:
                surplus[first + starts[task]] += 1
                if task not in fixed:
                    members[first + starts[task]].append(task)
        for cell in range(first, first + slots):
            levels[cell] = level
            _pass_on(cell, 1 + cell - first, levels, passed, surplus)
            if surplus[cell] < 0:
                potentials[cell] = 0
        for hub, area in enumerate(areas, hubs + group * len(areas)):
            found = [first + slot for slot in area]
            potentials[hub] = max((potentials[cell] for cell in found), default=0)
            ranks[hub] = sorted((-potentials[cell], surplus[cell] >= 0, cell, cell) for cell in found)
    for slot in range(1, 1 + slots):
        levels[slot] = len(starts) // slots
        _pass_on(slot, SINK, levels, passed, surplus)
    surplus[SINK] -= len(starts)
    return _Flow(
        rows=rows,
        slots=slots,
        areas=len(areas),
        cells=cells,
        hubs=hubs,
        price=sum(max(row.values(), default=0) for row in rows) + 1,
        levels=levels,
        passed=passed,
        members=members,
        paid=[0] * len(starts),
        surplus=surplus,
        potentials=potentials,
        ranks=ranks,
        turn=nodes,
    )


def _least_move(
    rows: Sequence[Mapping[int, int]], areas: Sequence[Sequence[int]], starts: Sequence[int], fixed: Collection[int]
) -> int:
    """What any task costs at least elsewhere than where it starts."""
    only = [area[0] if len(area) == 1 else NOWHERE for area in areas]
    return min(
        (
            min((cost for area, cost in rows[task].items() if only[area] != start), default=0)
            for task, start in enumerate(starts)
            if start != NOWHERE and task not in fixed
        ),
        default=0,
    )


def _pass_on(node: int, end: int, levels: list[int], passed: list[int], surplus: list[int]) -> None:
    """Pass on what a node has, but no less than its level and no more than one beyond: that is the cheapest for it."""
    passed[node] = min(max(surplus[node], levels[node]), levels[node] + 1)
    surplus[node] -= passed[node]
    surplus[end] += passed[node]
