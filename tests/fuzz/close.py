"""Windows that close in C over hostile objects, which do to their rows what they like whenever they are called.

python -m tests.fuzz.close --seconds 60            as it is installed
python -m tests.fuzz.close --seconds 60 --asan     built anew with sanitizers, for this run
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from functools import partial
from typing import Any

from . import sanitized
from .worlds import play

_SOURCE = "cluster/native/close.c"
_NAME = "streamcluster._close"
# What a call may end with.
_ERRORS: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError, GeneratorExit)
_ROWS = 30
_TAILS = (b",[0.0,10.0]]", b",[10.0,20.0]]", b",[10.0,20.0]]", b"]", b"", b",[")
_HEADS = (b'["a"', b'["\xc3\xa9"', b'["\xff"', b'["\\n"', b"[1", b"[", b"", b'["', b'["a', b"x")


class View:
    """A shard as a coroutine has it."""

    def __init__(self, world: World) -> None:
        self.dirty: Any = {}
        self._world = world

    def discard(self, row: Any) -> None:
        """What is called where there is more to do than usual."""
        self._world.act()
        self.dirty[row] = "slow"


class Resting:
    """What a view is while its coroutine is at no event."""

    discard = View.discard


class World:
    """Rows that come due, and what is called while they do. given: how many were handled."""

    def __init__(self, module: Any, seed: int) -> None:
        self.module = module
        self.source = random.Random(seed)
        self.given = 0
        self.view = View(self)
        self.columns: tuple[Any, ...] = ({}, {}, {}, {}, {}, {}, set())
        self.rows: list[list[Any]] = []
        self.open: list[Any] = []

    def row(self) -> Any:
        """A row's key, mostly."""
        odd = self.source.choice([None, 5, "text", bytearray(b'["a"]')])
        return odd if self.source.random() < 0.01 else self.source.choice(_HEADS) + self.source.choice(_TAILS)

    def act(self) -> None:
        """What any of them does when it is called."""
        way, values = self.source.randrange(100), self.source.choice(self.columns)
        if way == 0:
            values.clear()
        elif way == 1 and isinstance(values, dict):
            values.update({self.row(): way for _ in range(10)})
        elif way == 2:
            self.view.__class__ = self.source.choice([View, Resting, View])
        elif way == 3:
            self.view.dirty = self.source.choice([{}, {}, {}, None])
        elif way == 4 and self.rows:
            rows = self.source.choice(self.rows)
            del rows[self.source.randrange(len(rows) + 1) :]
        elif way == 5 and self.open:
            self.drive()
        elif way == 6 and self.open:
            del self.open[self.source.randrange(len(self.open))]
        elif way == 7:
            gc.collect(0)
        elif way == 8:
            raise self.source.choice([ValueError("act"), asyncio.CancelledError(), StopIteration(5), KeyError("act")])

    async def wait(self) -> Any:
        """A handler that waits."""
        for _ in range(self.source.randrange(3)):
            await asyncio.sleep(0)
            self.act()
        return self.row()

    def handle(self, _key: Any, _window: Any, _value: Any) -> Any:
        """A handler."""
        self.given += 1
        self.act()
        result: Any = self.wait() if self.source.random() < 0.1 else self.source.choice([*[None] * 9, 5])
        return result

    def decode(self, row: bytes) -> Any:
        """What decodes a row's key."""
        self.act()
        return self.source.choice([*[(row, 0, 10), (row, 10, 20)] * 20, (row, 0, 10, 20), [row, 0, 1], None])

    def window_of(self, start: Any, end: Any) -> Any:
        """A window."""
        self.act()
        return (start, end)

    def wait_for(self, result: Any) -> Any:
        """What is no coroutine."""
        self.act()
        if self.source.random() < 0.5:
            return self.wait()
        return self.source.choice([None, None, None, iter([1, 2]), result])

    def begin(self) -> None:
        """Rows come due."""
        rows = [self.row() for _ in range(_ROWS)]
        self.rows.append(rows)
        for row in rows:
            if self.source.random() < 0.5:
                self.columns[self.source.choice([0, 0, 0, 1, 2])][row] = 1
        awake = self.source.choice([View, View, View, None])
        arguments: list[Any] = [self.handle, rows, iter(range(self.source.choice([_ROWS, _ROWS, 40])))]
        arguments += [self.source.random() < 0.7, self.decode, self.window_of, self.wait_for, self.view, awake]
        arguments += [self.columns, "gone"]
        if self.source.random() < 0.1:
            arguments[self.source.randrange(len(arguments))] = self.source.choice([None, 5, "x", (), [], {}])
        self.open.append(self.module.Closed(*arguments))

    def drive(self) -> None:
        """One of them goes on, or is ended."""
        closed, way = self.source.choice(self.open), self.source.randrange(20)
        if way == 0:
            closed.close()
        elif way < 3:
            closed.throw(self.source.choice([ValueError("thrown"), asyncio.CancelledError()]))
        elif way < 8:
            next(closed)
        elif way == 8:
            self.module.Closed(*[None] * self.source.randrange(13))
        else:
            closed.__await__().send(None)

    def step(self) -> None:
        """Something happens."""
        if not self.open or self.source.random() < 0.1:
            self.begin()
        else:
            self.drive()


fuzz = partial(play, World, _ERRORS)


if __name__ == "__main__":
    sys.exit(sanitized.main("tests.fuzz.close", __doc__, _SOURCE, _NAME, fuzz, "rows handled"))
