"""The pairs of a join in C over hostile objects, which do to their tables what they like whenever they are called.

python -m tests.fuzz.pairs --seconds 60            as it is installed
python -m tests.fuzz.pairs --seconds 60 --asan     built anew with sanitizers, for this run
"""

from __future__ import annotations

import gc
import random
import sys
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

from streamcluster.ids import TP
from streamcluster.stream_joins.rows import entry_of

from . import sanitized
from .worlds import play

_SOURCE = "cluster/native/pairs.c"
_NAME = "streamcluster._pairs"
# What a call may end with.
_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    BufferError,
    LookupError,
    OSError,
    RuntimeError,
    StopIteration,
    SystemError,
    TypeError,
    ValueError,
)
# Events of a run.
_EVENTS = 30
_WIDTH = 10
Half = dict[Any, Any]


class World:
    """Tables of rows, and what is called while they are looked at. given: how much has come out."""

    def __init__(self, module: Any, seed: int) -> None:
        self.module = module
        self.source = random.Random(seed)
        self.halves: list[Half] = [self.half() for _ in range(3)]
        self.counts = array("q", [self.source.choice([0, 5, 1000]), self.source.choice([-100, -100, 20]), 0])
        self.looks: Any = 0
        self.open: list[Any] = []
        self.given = 0

    def key(self) -> Any:
        return self.source.choice([b"", b"\0", b"a", b"b", b"c\0d", b"a" * 50])

    def entry(self) -> Any:
        one = entry_of(self.source.randrange(-20, 60), self.source.randrange(100), self.source.choice([b"mv", b"wv"]))
        return self.source.choice([one, one, one, one, [one, one], [one, b"short"], b"short", None, self])

    def half(self) -> Half:
        chosen = self.source
        return {number: {self.key(): self.entry() for _ in range(chosen.randrange(4))} for number in range(-2, 7)}

    def bounds(self, _tp: Any) -> Any:
        self.harm()
        return self.source.choice([(-50, 1 << 62), (-50, 1 << 62), (40, 50), (1,), None, (1 << 70, 0), "ab"])

    def carry(self, _time: Any) -> None:
        self.harm()

    def decode(self, data: bytes) -> Any:
        self.harm()
        return data

    def slow(self, index: Any, _value: Any) -> Any:
        self.harm()
        return self.source.choice([(), (), [(1, "pair")], [(1, "pair"), (2, "pair")], [1], None, [(1,)], "ab", index])

    def harm(self) -> None:
        """Something that a caller does not expect."""
        chosen = self.source
        self.looks += chosen.random() < 0.5
        harms: list[Callable[[], Any]] = [
            chosen.choice(self.halves).clear,
            lambda: [one.popitem() for one in chosen.choice(self.halves).values() if type(one) is dict and one],
            lambda: chosen.choice(self.halves).update(self.half()),
            lambda: chosen.choice(self.halves).update({chosen.randrange(-2, 7): chosen.choice([None, [], self])}),
            lambda: self.counts.__setitem__(chosen.randrange(3), chosen.choice([0, 100, -(1 << 62)])),
            lambda: next(chosen.choice(self.open)),
            gc.collect,
        ]
        if chosen.random() < 0.3:
            chosen.choice(harms)()
        if chosen.random() < 0.05:
            raise chosen.choice([OSError("hostile"), StopIteration(1), KeyError(1)])

    def column(self, values: Callable[[], Any]) -> Any:
        """What has so many of them, or too few, or something else among them."""
        count = self.source.choice([_EVENTS] * 8 + [3])
        found = [values() for _ in range(count)]
        if self.source.random() < 0.1:
            found[self.source.randrange(count)] = self.source.choice([None, "text", 1 << 80, self])
        return self.source.choice([found, found, tuple(found)])

    def arguments(self) -> list[Any]:
        chosen = self.source
        times = self.column(lambda: chosen.randrange(-20, 60))
        values = [chosen.choice([b"v", b"v", None, "text"]) for _ in range(_EVENTS)]
        columns = (
            iter(values),
            self.column(self.key),
            times,
            self.column(lambda: chosen.randrange(1 << 40)),
            self.column(lambda: b"value"),
            self.column(lambda: chosen.randrange(60)),
        )
        known = (*self.halves, self.counts)
        numbers = (chosen.random() < 0.5, chosen.random() < 0.5, 1 << 48, _WIDTH, chosen.choice([5, -3]), 5, 30, 30)
        parts: list[Any] = [columns, known, numbers, (self, TP("left", 0), self.carry, self.slow, self.decode)]
        if chosen.random() < 0.1:
            at = chosen.randrange(4)
            wrong = list(parts[at])
            wrong[chosen.randrange(len(wrong))] = chosen.choice([None, 0, b"", self, array("q", [1])])
            parts[at] = chosen.choice([tuple(wrong), parts[at][1:], wrong])
        return parts

    def step(self) -> None:
        """One call."""
        if not self.open or self.source.random() < 0.2:
            self.open.append(self.module.Pairs(*self.arguments()))
        elif self.source.random() < 0.1:
            rows: tuple[Any, Any, Any] = ({}, {}, self.source.choice([set(), {b"x"}, None]))
            side, bound = self.source.choice([b"0", b"1", b"", None]), self.source.choice([0, 30, None])
            buckets = [*self.source.choice(self.halves).values()]
            self.module.written(side, self.source.choice([*buckets, None]), bound, *rows)
            self.module.places(self.source.choice([[b"1" * 19], [b"", b"0" * 30], [self], None]), 1 << 62, 1)
        else:
            next(self.source.choice(self.open))
            self.given += 1


fuzz = partial(play, World, _ERRORS)


if __name__ == "__main__":
    sys.exit(sanitized.main("tests.fuzz.pairs", __doc__, _SOURCE, _NAME, fuzz, "pairs given"))
