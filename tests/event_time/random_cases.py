"""Random cases in the format of the event-time suite, with the answers of its model.

    python -m tests.event_time.random_cases REFERENCE FIRST LAST [--rocks] [--only KIND]
    python -m tests.event_time.random_cases REFERENCE FIRST LAST --write FILE

plays cases and says what differs, or writes them down. REFERENCE is the path of the suite's `reference.py`. A case is
that of its seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from functools import partialmethod
from pathlib import Path
from typing import Any

from .offered import JOINED, Case
from .playing import Play
from .random_graphs import KINDS, Maker, Step
from .stores import MakeStore, make_rocks


def answered(reference: Any, seed: int, kind: str | None = None) -> Case:
    """The case of this seed, with what the model says."""
    make = Maker(seed, kind)
    steps = make.steps()
    case: Case = {"id": f"random {make.kind} {seed}", "level": "policy", "rules": ["ideal"], "nodes": make.nodes}
    if make.kind.startswith("time"):
        case["clock"] = "watermark"
    engine = reference.Engine(make.nodes, "ideal", case.get("clock", "records"))
    told: list[Step] = []
    ends: dict[Any, Any] = {}
    for step in steps:
        match step:
            case ["in", topic, key, value, at]:
                engine.send(topic, key, value, at)
                told.append(step)
            case ["out", name]:
                rows = [reference.plain(row) for row in engine.take(name)]
                if make.nodes[name]["op"] in JOINED:
                    rows = news(rows, ends)
                if make.kind == "table_chains":
                    # A row of a join is as old as its last change, also when that has left one side of it.
                    rows = [[key, value, None] for key, value, *_ in rows]
                in_order = not make.at_end and make.kind != "window_joins"
                told.append([*step, "seq" if in_order else "bag", rows])
            case ["state", name]:
                told.append([*step, "all", [reference.plain(row) for row in engine.state(name)]])
            case ["late", name]:
                told.append([*step, len(engine.nodes[name].late)])
            case ["time", at]:
                engine.advance(at)
                told.append(step)
            case ["restart"]:
                engine.restart()
                told.append(step)
            case ["asof", name, key, at]:
                table, of = engine.nodes[name], reference.Key(key)
                found = table.get(of) if at is None else table.get_as_of(of, at)
                told.append([*step, *(found or (None, None))])
    case["steps"] = told
    return case


def news(rows: list[Any], ends: dict[Any, Any]) -> list[Any]:
    """Without those that say what the row before of the key has said: something was deleted that was not there."""
    found = []
    for row in rows:
        of = row[0], str(row[3:])
        if row[1] != ends.get(of):
            found.append(row)
        ends[of] = row[1]
    return found


def load(path: str) -> Any:
    """The model."""
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    _follow_the_rules(module)
    return module


def _follow_the_rules(module: Any) -> None:
    """Where the model has what is Kafka Streams' and the rules (rules.md) have something else.

    Time is that of the partition: also records that an operator does not use move it (section 1). What waits is over
    when its time is. How old a version may be is said by the time of the join.
    """
    arrive, window, unique = module.StreamJoin.arrive, module.Window.process, module.Deduplicate.process
    table_join = module.StreamTableJoin.process

    def arrive_and_look(self: Any, side: str, row: Any) -> None:
        arrive(self, side, row)
        self.let_go()

    def process_window(self: Any, row: Any, source: str, process: Any = window) -> None:
        self.see(row.ts)
        process(self, row, source)
        self.on_time()

    def process_unique(self: Any, row: Any, source: str) -> None:
        unique(self, row, source)
        for child in self.children:
            child.see(row.ts)
            child.on_time()

    def process_table_join(self: Any, row: Any, source: str) -> None:
        table_join(self, row, source)
        table = self.engine.nodes[self.spec["right"]]
        if table.versioned:
            table.store_time = max(table.store_time, self.time)

    source = module.Source.process

    def process_source(self: Any, row: Any, name: str) -> None:
        source(self, row, name)
        self.store_time = max(self.store_time, row.ts)

    module.Source.process = process_source
    module.StreamJoin.arrive = arrive_and_look
    for kind in (module.TimeWindow, module.SessionWindow):
        kind.process = process_window
    module.SlidingWindow.process = partialmethod(process_window, process=module.SlidingWindow.process)
    module.Deduplicate.process = process_unique
    module.StreamTableJoin.process = process_table_join


def played(case: Case, make_store: MakeStore | None = None) -> list[str]:
    """What is not as the case says."""
    play = Play(case, make_store)
    with play.driver:
        return play.play()


def main(arguments: list[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reference")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--rocks", action="store_true")
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    reference, failures, kept = load(options.reference), 0, []
    for seed in range(options.first, options.last):
        case = answered(reference, seed, options.only)
        if options.write:
            kept.append(json.dumps(case))
            continue
        with tempfile.TemporaryDirectory() as directory:
            wrong = played(case, make_rocks(Path(directory)) if options.rocks else None)
        if wrong:
            failures += 1
            print(case["id"], json.dumps(case["nodes"]), *wrong[:3], sep="\n    ", flush=True)
    if options.write:
        options.write.write_text('{"format": 1, "cases": [\n' + ",\n".join(kept) + "\n]}\n")
    print(f"{options.last - options.first} cases, {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
