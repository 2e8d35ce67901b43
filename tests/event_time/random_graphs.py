"""Random graphs of operators, with random records for them: what random_cases.py plays."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Node = dict[str, Any]
Nodes = dict[str, Node]
Step = list[Any]

RECORDS_MAX = 25


class Maker:
    """One random case: its nodes, and steps without answers."""

    def __init__(self, seed: int, kind: str | None = None) -> None:
        self.rnd = random.Random(seed)
        self.kind = kind or self.rnd.choice(list(KINDS))
        self.nodes: Nodes = {}
        # topic -> what makes a value of a record of it
        self.values: dict[str, Callable[[], Any]] = {}
        self.null_keys = True
        self.deletes = 0.1
        self.delays: tuple[int, ...] = (0, 0, 0, 1, 2, 3, 6)
        self.paces: tuple[int, ...] = (0, 1, 1, 2, 4)
        self.reads: list[str] = []
        # Nodes of which it is looked at, at last, what they hold.
        self.held: list[str] = []
        # Whether they are compared behind all records only, in any order: what is behind a join or in a suppress
        # comes when the time is over of what is before it.
        self.at_end = False
        self.keys: Any = self.rnd.choice(["ab", "abc", [1, 2]])
        self._number = 0
        KINDS[self.kind](self)

    # Parts

    def pick(self, *among: Any) -> Any:
        """One of these."""
        return self.rnd.choice(among)

    def text(self) -> str:
        """A value that no other record has."""
        self._number += 1
        return f"v{self._number}"

    def number(self) -> int:
        """A small number."""
        return self.rnd.randint(-2, 9)

    def stream(self, name: str, value: Callable[[], Any] | None = None) -> str:
        """A stream of a topic of its name."""
        self.nodes[name] = {"op": "stream", "topic": name}
        self.values[name] = value or self.text
        return name

    def table(self, name: str, value: Callable[[], Any] | None = None, *, history: int | None = None) -> str:
        """A table of a topic of its name."""
        self.nodes[name] = {"op": "table", "topic": name} | ({} if history is None else {"history": history})
        self.values[name] = value or self.text
        self.deletes = 0.25
        return name

    def streams(self) -> str:
        """A stream, or several that are merged, maybe without duplicates."""
        name = self.stream("in")
        if self.pick(False, False, False, True):
            self.stream("more")
            self.nodes["merged"] = {"op": "merge", "from": ["in", "more"]}
            name = "merged"
        if self.pick(False, False, False, True):
            self.nodes["unique"] = {"op": "deduplicate", "from": name, "within": self.pick(0, 1, 3)}
            name = "unique"
        return name

    def aggregate(self, *, merges: bool = False) -> Node:
        """An `agg`; sets what the values are."""
        fn = self.pick("count", "sum", "max", "min", "list", "last", "reduce", "fold", "fold")
        if fn in ("sum", "max", "min"):
            self.values = dict.fromkeys(self.values, self.number)
        if fn not in ("count", "list", "fold"):
            self.deletes = 0
        if fn == "reduce":
            return {"fn": fn, "add": "{a}+{v}"}
        if fn == "fold":
            spec = {"fn": fn, "init": "0", "add": "{a}+{v}"}
            if merges:
                spec |= {"init": "", "merge": "{a}{b}"}
            return spec
        return {"fn": fn}

    def window(self, source: str, name: str = "window", *, emit: str | None = None) -> Node:
        """A windowed aggregate."""
        kind = self.pick("tumbling", "hopping", "sliding", "session")
        size = self.pick(1, 3, 5, 8)
        node: Node = {"op": "window", "from": source, "window": kind, "grace": self.pick(0, 0, 1, 3, 6)}
        node |= {
            "tumbling": {"size": size},
            "hopping": {"size": size, "advance": self.rnd.randint(1, size)},
            "sliding": {"difference": self.pick(0, 1, 2, 5)},
            "session": {"gap": self.pick(1, 2, 5)},
        }[kind]
        node |= {"agg": self.aggregate(merges=kind == "session"), "emit": emit or self.pick("update", "close")}
        self.nodes[name] = node
        return node

    def joined(self, left: str, right: str, name: str = "join", how: str | None = None) -> str:
        """A join of two streams."""
        bounds = {bound: self.pick(0, 0, 1, 2, 5) for bound in ("before", "after", "grace")}
        if self.pick(True, False):
            bounds["before"] = bounds["after"]
        how = how or self.pick("inner", "left", "right", "outer")
        self.nodes[name] = {"op": "stream_join", "how": how, "left": left, "right": right, **bounds, "value": "{l}+{r}"}
        return name

    # Steps

    def steps(self) -> list[Step]:
        """Records, restarts, and what is asked in between."""
        rnd = self.rnd
        by_steps = self.kind.startswith("time")
        start = self.pick(0, 0, 0, 1, 7, 1_700_000_000_000)
        time, told, found = start, start, list[Step]()
        for _ in range(rnd.randint(2, RECORDS_MAX)):
            time += rnd.choice(self.paces)
            if rnd.random() < 0.02:
                time += 1000
            if rnd.random() < 0.1:
                found.append(["restart"])
            if by_steps and rnd.random() < 0.25:
                told = max(told, time - rnd.choice([0, 1, 4]))
                found.append(["time", told])
                found += self._read()
            topic = rnd.choice(list(self.values))
            key = None if self.null_keys and rnd.random() < 0.04 else rnd.choice(self.keys)
            value = None if rnd.random() < self.deletes else self.values[topic]()
            found.append(["in", topic, key, value, max(0, time - rnd.choice(self.delays))])
            found += self._read()
            found += self.asked(time)
        if by_steps:
            found.append(["time", time + 10_000])
        elif self.at_end or rnd.random() < 0.7:
            for topic in self.values if self.at_end else [rnd.choice(list(self.values))]:
                found.append(["in", topic, self.keys[0], self.values[topic](), time + 10_000])
            found += self._read()
        found += [["state", name] for name in self.held]
        if self.at_end:
            return [*found, *[["out", name] for name in self.reads]]
        return found + [["late", name] for name in self.reads]

    def _read(self) -> list[Step]:
        return [] if self.at_end else [["out", name] for name in self.reads]

    def asked(self, time: int) -> list[Step]:
        """Reads of versions."""
        tables = [name for name, node in self.nodes.items() if "history" in node]
        if self.kind != "versions" or self.rnd.random() < 0.5:
            return []
        at = self.pick(None, max(0, time - self.rnd.randint(0, 12)))
        return [["asof", self.rnd.choice(tables), self.rnd.choice(self.keys), at]]


# Kinds of cases


def windows(make: Maker) -> None:
    """A windowed aggregate, of one stream or several, and maybe its final results."""
    if make.kind == "time_windows":
        # Of watermarks the model's suppress and deduplicate know nothing.
        make.window(make.stream("in"))
        make.reads = ["window"]
        return
    node = make.window(make.streams())
    make.reads = ["window"]
    make.held = make.pick([], ["window"])
    if node["emit"] == "update" and make.pick(True, False):
        make.nodes["final"] = {"op": "suppress", "from": "window", "until": "close"}
        make.reads = ["final"]
        make.at_end = True


def cogroups(make: Maker) -> None:
    """Several streams, each with its way to add."""
    make.stream("one")
    make.stream("two")
    adders = [["one", "{a}+{v}"], ["two", "{a}-{v}"]]
    node: Node = {"op": "cogroup", "from": adders, "agg": {"fn": "fold", "init": "0", "merge": "{a}{b}"}}
    if make.pick(True, True, False):
        made = dict(make.window("one", "cogroup"))
        node = made | {"op": "cogroup", "from": adders, "agg": node["agg"]}
        make.values = {"one": make.text, "two": make.text}
        if node["window"] == "session":
            node["agg"]["init"] = ""
    make.nodes["cogroup"] = node
    make.reads = ["cogroup"]
    make.held = make.pick([], ["cogroup"])


def joins(make: Maker) -> None:
    """Two streams."""
    make.stream("left")
    make.stream("right")
    make.joined("left", "right")
    make.reads = ["join"]


def self_joins(make: Maker) -> None:
    """A stream with itself."""
    make.stream("left")
    make.joined("left", "left")
    make.reads = ["join"]


def join_chains(make: Maker) -> None:
    """Three streams; or windows, an aggregate or a deduplication behind a join."""
    for name in ("left", "right", "third"):
        make.stream(name)
    make.null_keys, make.at_end = False, True
    # Nothing is late behind the first join.
    make.joined("left", "right", "first")
    what = make.pick("join", "window", "aggregate", "deduplicate", "merge")
    if what == "join":
        make.joined("first", "third")
        make.nodes["join"]["grace"] = 5000
        make.reads = ["join"]
        return
    del make.nodes["third"], make.values["third"]
    if what == "window":
        node = make.window("first")
        node |= {"agg": {"fn": "count"}, "grace": 5000}
        make.values = {"left": make.text, "right": make.text}
        make.reads = ["window"]
    elif what == "aggregate":
        # What comes out alone comes behind the pairs of its commit.
        make.nodes["first"]["how"] = "inner"
        make.nodes["total"] = {"op": "aggregate", "from": "first", "agg": {"fn": "list"}}
        make.reads = make.held = ["total"]
    elif what == "deduplicate":
        make.nodes["first"]["how"] = "inner"
        make.nodes["unique"] = {"op": "deduplicate", "from": "first", "within": 10**6}
        make.reads = ["unique"]
    else:
        make.stream("third")
        make.nodes["merged"] = {"op": "merge", "from": ["first", "third"]}
        make.reads = ["merged"]


def with_tables(make: Maker) -> None:
    """A stream and a table of whatever is a table."""
    make.stream("events")
    what = make.pick("table", "table", "history", "history", "to_table", "aggregate", "table_join", "fk_join")
    if make.kind == "time_tables":
        what = "history"
    history = make.pick(3, 10, 1000)
    if what in ("table", "history"):
        make.table("rows", history=history if what == "history" else None)
    elif what == "to_table":
        make.stream("facts")
        make.nodes["rows"] = {"op": "to_table", "from": "facts"}
    elif what == "aggregate":
        make.stream("facts")
        make.nodes["rows"] = {"op": "aggregate", "from": "facts", "agg": {"fn": "list"}}
    else:
        two_tables(make)
        make.nodes["rows"] = make.nodes.pop("join")
    how = make.pick("inner", "left")
    node: Node = {"op": "stream_table_join", "how": how, "left": "events", "right": "rows", "value": "{l}+{r}"}
    if what == "history" and (make.kind == "time_tables" or make.pick(True, False)):
        node["grace"] = make.pick(0, 1, 3, 6)
        # What has waited meets its version, however long ago it is by then.
        make.nodes["rows"]["history"] = 10**6
        make.null_keys = False
    make.nodes["join"] = node
    make.reads = ["join"]


def any_rows(make: Maker) -> None:
    """A stream and a table by another key than that of the events."""
    make.table("rows")
    make.nodes["rows"]["op"] = "global_table"
    make.stream("events", lambda: f"{make.pick(*make.keys, 'none')}-{make.text()}")
    make.keys = [str(key) for key in make.keys]
    key = {"split": "-", "part": 0, "of": "v", "null": ["none"]}
    node = {"op": "global_join", "how": make.pick("inner", "left"), "left": "events", "right": "rows", "key": key}
    make.nodes["join"] = node | {"value": "{l}+{r}"}
    make.reads = ["join"]


def two_tables(make: Maker) -> None:
    """A join of two tables, by their keys or by a foreign one."""
    make.keys = make.pick("ab", "abc")
    for name in ("left", "right"):
        make.table(name, history=make.pick(None, None, None, 5, 1000))
    make.nodes["join"] = {"op": "table_join", "how": make.pick("inner", "left", "right", "outer")}
    if make.pick(True, False):
        make.values["left"] = lambda: f"{make.pick(*make.keys, 'none')}-{make.text()}"
        fk = {"split": "-", "part": 0, "of": "v", "null": ["none"]}
        make.nodes["join"] = {"op": "fk_join", "how": make.pick("inner", "left"), "fk": fk}
    make.nodes["join"] |= {"left": "left", "right": "right", "value": "{l}+{r}"}
    make.reads = ["join"]


def window_joins(make: Maker) -> None:
    """Two windowed aggregates with the same windows, or final results of these."""
    make.null_keys = False
    node = make.window(make.stream("one"), "left", emit="update")
    make.stream("two")
    # What is told again as it was is no news.
    node["agg"] = {"fn": make.pick("count", "list")}
    make.values["one"] = make.text
    make.nodes["right"] = node | {"from": "two", "grace": make.pick(node["grace"], 0, 6)}
    sides = ["left", "right"]
    if make.pick(False, False, True):
        for side in sides:
            make.nodes[f"{side}-final"] = {"op": "suppress", "from": side, "until": "close"}
        sides = [f"{side}-final" for side in sides]
        make.at_end = True
    make.nodes["join"] = {"op": "table_join", "how": make.pick("inner", "left", "right", "outer"), "value": "{l}/{r}"}
    make.nodes["join"] |= {"left": sides[0], "right": sides[1]}
    make.reads = ["join"]


def table_chains(make: Maker) -> None:
    """Three tables; or one that is written by an agent; or a regrouped one."""
    what = make.pick("three", "three", "aggregate", "to_table", "regrouped")
    if what == "regrouped":
        make.table("rows", lambda: f"{make.pick('x', 'y')}-{make.number()}")
        make.nodes["groups"] = {
            "op": "table_aggregate",
            "from": "rows",
            "key": {"split": "-", "part": 0, "of": "v"},
            "value": "{v}",
            "agg": {"fn": "count"},
        }
        if make.pick(True, False):
            make.nodes["groups"]["agg"] = {"fn": "fold", "init": "", "add": "{a}+{v}", "sub": "{a}-{v}"}
        make.reads = make.held = ["groups"]
        return
    two_tables(make)
    make.nodes["first"] = make.nodes.pop("join")
    make.null_keys = False
    if what == "three":
        make.table("third")
    else:
        make.stream("facts")
        op: Node = {"op": "aggregate", "agg": {"fn": "list"}} if what == "aggregate" else {"op": "to_table"}
        make.nodes["third"] = op | {"from": "facts"}
    sides = make.pick(["first", "third"], ["third", "first"])
    make.nodes["join"] = {"op": "table_join", "how": make.pick("inner", "left", "right", "outer"), "value": "{l}/{r}"}
    make.nodes["join"] |= {"left": sides[0], "right": sides[1]}


def versions(make: Maker) -> None:
    """Tables that keep versions."""
    make.table("rows", history=make.pick(0, 2, 5, 20))
    make.reads = []


def as_of_joins(make: Maker) -> None:
    """Two streams; the newest that is not later."""
    make.stream("left")
    make.stream("right")
    make.null_keys = False
    make.deletes = 0
    make.nodes["join"] = {"op": "asof_join", "how": make.pick("inner", "left"), "left": "left", "right": "right"}
    make.nodes["join"] |= {"value": "{l}+{r}"}
    make.reads = ["join"]


def duplicates(make: Maker) -> None:
    """Events of the same key, or of the same id."""
    make.stream("in", lambda: make.pick("x", "y"))
    make.nodes["unique"] = {"op": "deduplicate", "from": "in", "within": make.pick(0, 1, 3, 6)}
    if make.pick(True, False):
        # Of an event without a value nobody makes an id.
        make.deletes = 0
        make.nodes["unique"]["id"] = make.pick("{v}", "{k}/{v}", {"const": None}, {"const": 1})
    make.reads = ["unique"]


KINDS: dict[str, Callable[[Maker], None]] = {
    "windows": windows,
    "cogroups": cogroups,
    "joins": joins,
    "self_joins": self_joins,
    "join_chains": join_chains,
    "with_tables": with_tables,
    "any_rows": any_rows,
    "two_tables": two_tables,
    "table_chains": table_chains,
    "window_joins": window_joins,
    "versions": versions,
    "as_of_joins": as_of_joins,
    "duplicates": duplicates,
    "time_windows": windows,
    "time_joins": joins,
    "time_tables": with_tables,
}
