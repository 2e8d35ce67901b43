"""Plays a case on the driver: its steps one by one, each with what it says compared."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

from streamcluster.batch import KafkaRecord
from streamcluster.ids import TP
from streamcluster.testing import Driver

from .adapter import Graph
from .folds import Row, made
from .offered import JOINED, TABLES, Case, inputs_of, window_kind
from .stores import MakeStore

# Of these nodes only joins count what comes late themselves.
_UNCOUNTED = frozenset({"table_join", "fk_join", "table_aggregate"})


class Play:
    """A case that is played. Close `driver` behind it."""

    def __init__(
        self, case: Case, make_store: MakeStore | None = None, *, merges: bool = False, crashes: bool = False
    ) -> None:
        """merges: hopping windows are made with merge=. crashes: all is lost but the topics, before each step."""
        self._case = case
        self._crashes = crashes
        self._graph = Graph(case, merges=merges, crashes=crashes)
        self._nodes = self._graph.nodes
        self.driver = Driver(self._graph.app, make_store=make_store(self._graph.app) if make_store else None)
        self._seen: Counter[str] = Counter()
        # node -> how much it had given out behind each step
        self._told: dict[str, list[int]] = {node: [] for node in self._graph.told}
        # topic -> the key and value of each record that was sent
        self._sent: dict[str, list[tuple[Any, Any]]] = {}

    def play(self) -> list[str]:
        """What is not as the case says."""
        wrong: list[str] = []
        for number, step in enumerate(self._case["steps"]):
            if self._crashes:
                self.driver.crash(lose_stores=True)
            if (found := self._step(step)) is not None:
                wrong.append(f"step {number} {step}: {found}")
            for node, told in self._told.items():
                told.append(len(self.driver.logs.logs.get(TP(f"out-{node}", 0), ())))
        wrong += [f"a dead letter: {one}" for one in self.driver.dead_letters()]
        return wrong

    def _step(self, step: list[Any]) -> str | None:
        match step:
            case ["in", topic, key, value, at]:
                self._send(topic, key, value, at)
            case ["in", topic, key, value, at, [start, end]]:
                self._send(topic, (key, start, end), value, at)
            case ["out", node, mode, rows]:
                return self._compare(node, mode, rows)
            case ["state", node, mode, rows]:
                held = [self._row(node, row) for row in self._graph.held(node)]
                return None if check("bag" if mode == "all" else "has", held, rows) else f"holds {held}"
            case ["asof", node, key, at, value, version]:
                table = self._graph.table(node)
                row = table.get(key) if at is None else table.as_of((at + self._graph.shift) / 1000).get(key)
                got = None if row is None else [row[0], row[1] - self._graph.shift]
                return None if got == (None if value is None else [value, version]) else f"is {got}"
            case ["late", node, count]:
                late = self.late(node)
                return None if late in (None, count) else f"{late} were late"
            case ["time", at]:
                self.driver.time((at + self._graph.shift) / 1000)
            case ["restart"]:
                self.driver.crash()
            case ["wall", _]:
                # Nothing of a case goes by the clock here.
                pass
            case _:
                raise ValueError(f"a step of no known kind: {step}")
        return None

    def _send(self, topic: str, key: Any, value: Any, at: int) -> None:
        """As it is: `Driver.send` gives no record the time 0."""
        if topic not in {node.get("topic") for node in self._nodes.values()}:
            return
        self._sent.setdefault(topic, []).append((key, value))
        coders, shifted = self._graph.topic(topic).coders, at + self._graph.shift
        given = [value, shifted] if topic in self._graph.dated and value is not None else value
        if value is None:
            self._graph.deleted[topic, key] = shifted
        encoded = None if key is None else coders.encode_key(key), None if given is None else coders.encode_value(given)
        log = self.driver.logs.logs.setdefault(TP(topic, 0), [])
        log.append(KafkaRecord(len(log), shifted, *encoded, None))
        self.driver.run(self.driver.worker.process(commit=True))

    # What came of it

    def _row(self, node: str, row: Row) -> Row:
        """With the times of the case."""
        key, value, at, *window = row
        shift = self._graph.shift
        return [key, value, None if at is None else at - shift, *([one - shift for one in its] for its in window)]

    def taken(self, node: str) -> list[tuple[int, Row]]:
        """What the node gave out since it was asked, each row with how many steps there were before it."""
        rows = [self._row(node, [one.key, *one.value]) for one in self.driver.output(f"out-{node}")]
        first, self._seen[node] = self._seen[node], len(rows)
        found = [(bisect_right(self._told[node], at), rows[at]) for at in range(first, len(rows))]
        # Where times begin later, windows are there that begin before them.
        if window_kind(self._nodes, node) == "hopping":
            return [(step, row) for step, row in found if row[3][0] >= 0]
        return found

    def _compare(self, node: str, mode: str, rows: list[Row]) -> str | None:
        taken = self.taken(node)
        if mode == "next":
            self._seen[node] -= max(0, len(taken) - len(rows))
            taken, mode = taken[: len(rows)], "seq"
        got = [row for _, row in taken]
        if self.is_twice(node):
            # Results of such chains converge, what is between is another one for each engine (rules.md, section 6).
            return None if check("last", got, last(rows)) else f"gave {got}"
        if self._nodes[node]["op"] in JOINED | TABLES:
            # Told once a commit.
            rows, got = once(rows), once(got)
            if window_kind(self._nodes, node) == "session":
                # A session that grows within its bounds is deleted and written anew.
                rows, got = settled(rows), settled(got)
        if mode == "seq" and self.closes(node):
            steps = [step for step, _ in taken]
            return None if same_by_step(steps, got, rows) else f"gave {got}"
        return None if check(mode, got, rows) else f"gave {got}"

    def closes(self, node: str) -> bool:
        """Whether rows of a record come together, of which each engine has its own order: here by end, then key.

        What comes out of a join alone comes with the commit: behind the pairs, and by when its time is over.
        """
        spec = self._nodes[node]
        return spec["op"] in ("suppress", "stream_join") or spec.get("emit") == "close"

    def is_twice(self, node: str) -> bool:
        """A topic is in this chain of joins of tables more than once."""
        topics = self._topics(node)
        return self._nodes[node]["op"] in JOINED and len(set(topics)) < len(topics)

    def _topics(self, node: str) -> list[str]:
        if "topic" in self._nodes[node]:
            return [self._nodes[node]["topic"]]
        return [topic for source in inputs_of(self._nodes[node]) for topic in self._topics(source)]

    def late(self, node: str) -> int | None:
        """How many records were not used; None: nobody knows."""
        spec = self._nodes[node]
        op = spec["op"]
        inner: bool = spec.get("how") == "inner"
        if op in _UNCOUNTED:
            return None
        if op == "deduplicate":
            return len(self._given(spec["from"])) - len(self.driver.output(f"out-{node}"))
        if op in TABLES:
            return self._counted(f"of-{node}") + sum(key is None for key, _ in self._given(node))
        if op == "stream_join":
            keeps = {"inner": "", "left": "left", "right": "right", "outer": "left right"}[spec["how"]]
            return self._counted(f"tell-{node}") + sum(
                value is None or (key is None and side not in keeps)
                for side in ("left", "right")
                for key, value in self._given(spec[side])
            )
        if op == "global_join":
            return sum(
                value is None or (inner and made(spec["key"], k=key, v=value) is None)
                for key, value in self._given(spec["left"])
            )
        if op == "stream_table_join":
            return sum(value is None or (key is None and inner) for key, value in self._given(spec["left"]))
        windows = self._graph.windows.get(node)
        late: int = 0 if windows is None else windows.late_total
        return self._graph.unused[node] + late

    def _given(self, node: str) -> list[tuple[Any, Any]]:
        """What came to a node that is a topic, or several."""
        if "topic" in self._nodes[node]:
            return self._sent.get(self._nodes[node]["topic"], [])
        return [one for source in inputs_of(self._nodes[node]) for one in self._given(source)]

    def _counted(self, start: str) -> int:
        """What operators of such a name have counted as late."""
        times = [task.time for task in self.driver.worker.engine.tasks.values() if task.time is not None]
        return sum(one.late_total for time in times for name, one in time.operators.items() if name.startswith(start))


def same_by_step(steps: list[int], got: list[Row], want: list[Row]) -> bool:
    """The same rows, those of each step in any order."""
    if len(got) != len(want):
        return False
    places = {step: [at for at, its in enumerate(steps) if its == step] for step in steps}
    return all(same_bag([got[at] for at in its], [want[at] for at in its]) for its in places.values())


def once(rows: list[Row]) -> list[Row]:
    """Without rows that say again what the one before has said."""
    return [row for at, row in enumerate(rows) if at == 0 or row != rows[at - 1]]


def settled(rows: list[Row]) -> list[Row]:
    """Without those behind which another one of the same key and window comes at once."""
    keys = [(row[0], row[3:]) for row in rows]
    return [row for at, row in enumerate(rows) if keys[at + 1 : at + 2] != [keys[at]]]


def last(rows: list[Row]) -> list[Row]:
    """The last row of each key."""
    return list({repr(row[0]): row for row in rows}.values())


# Comparing


def same(got: Row, want: Row) -> bool:
    """A timestamp of None is not looked at."""
    return len(got) == len(want) and all(
        (at == 2 and wanted is None) or found == wanted
        for at, (found, wanted) in enumerate(zip(got, want, strict=True))
    )


def same_bag(got: list[Row], want: list[Row]) -> bool:
    """In any order."""
    left = list(got)
    for row in want:
        found = next((one for one in left if same(one, row)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def last_of_each(rows: list[Row]) -> list[Row]:
    """The last row of each key and window."""
    return list({repr((row[0], row[3:])): row for row in rows}.values())


def distinct(rows: list[Row]) -> list[Row]:
    """Without repeats."""
    return list({repr(row): row for row in rows}.values())


def check(mode: str, got: list[Row], want: list[Row]) -> bool:
    """Whether these rows are those."""
    match mode:
        case "seq":
            return len(got) == len(want) and all(map(same, got, want))
        case "bag":
            return same_bag(got, want)
        case "set":
            return same_bag(distinct(got), distinct(want))
        case "last":
            return same_bag(last_of_each(got), want)
        case "ends":
            return check("has", last_of_each(got), want)
        case "has":
            return all(any(same(found, row) for found in got) for row in want)
    raise ValueError(mode)
