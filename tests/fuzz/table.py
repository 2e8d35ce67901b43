"""The items of tables in C over hostile objects, which change what they are in whenever they are called.

python -m tests.fuzz.table --seconds 60            as it is installed
python -m tests.fuzz.table --seconds 60 --asan     built anew with sanitizers, for this run
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from . import sanitized
from .worlds import play

_SOURCE = "cluster/native/table.c"
_NAME = "streamcluster._table"
# What a call may end with.
_ERRORS: tuple[type[Exception], ...] = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class Shard:
    """A shard of a table. It may have something else in each of its places, or nothing."""

    __slots__ = ("dirty", "plain")
    dirty: Any
    plain: Any


class Resting:
    """What it becomes between two events."""

    __slots__ = Shard.__slots__


class Table:
    """A table of a world; what it does in Python is noted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.live_shard: Any = world.live_shard

    def __getitem__(self, key: Any) -> Any:
        self.world.harm()
        return "in Python", key

    def __missing__(self, key: Any) -> Any:
        self.world.harm()
        return "nothing", key

    def __setitem__(self, key: Any, value: Any) -> None:
        self.world.harm()
        self.world.in_python += 1


class World:
    """Tables, a shard, and what is called while it is looked at. given: how many values have come out of it."""

    def __init__(self, module: Any, seed: int) -> None:
        self.module = module
        self.source = random.Random(seed)
        self.shard: Any = Shard()
        self.tables = [Table(self), Table(self)]
        self.given = self.in_python = 0
        self.fill()

    def __hash__(self) -> int:
        # As of a key that is there, so that it is compared.
        return hash("a")

    def __eq__(self, _other: object) -> bool:
        self.harm()
        return self.source.random() < 0.5

    def rarely(self) -> bool:
        return self.source.random() < 0.05

    def fill(self) -> None:
        values = {self: 1} if self.rarely() else {}
        places: list[Any] = [values, {self: 1} if self.rarely() else {}, {"z"} if self.rarely() else set()]
        places.append({"a", "b", 1, *((self,) if self.rarely() else ())})
        self.shard.plain = tuple(places)
        self.shard.dirty = {}
        if self.rarely():
            self.shard.plain = self.source.choice(
                [None, (), (values,), places, (values, 1, set(), set()), ({}, {}, {})]
            )
        if self.rarely():
            self.shard.dirty = self.source.choice([None, [], self])

    def live_shard(self) -> Any:
        self.harm()
        return self.source.choice([None, self, 1]) if self.rarely() else self.shard

    def plain(self) -> Any:
        return getattr(self.shard, "plain", None)

    def key(self) -> Any:
        return self.source.choice(["a", "b", "", 1, 0, 1 << 70, *((b"a", None, [1], self) if self.rarely() else ())])

    def value(self) -> Any:
        return self.source.choice([0, 1, "x", b"x", None, 1.5, True, 2j, *(([], self) if self.rarely() else ())])

    def gone(self) -> None:
        """An attribute is not there any more."""
        for name in ("plain", "dirty"):
            if hasattr(self.shard, name) and self.rarely():
                delattr(self.shard, name)

    def rest(self) -> None:
        self.shard.__class__ = Resting if type(self.shard) is Shard else Shard

    def other_table(self) -> None:
        self.tables[self.source.randrange(2)] = Table(self)

    def harm(self) -> None:
        """Something that a caller does not expect."""
        chosen = self.source
        harms: list[Callable[[], Any]] = [
            self.fill,
            self.gone,
            self.rest,
            self.other_table,
            self.module.detach,
            self.attach,
            # Not all generations: in a large process that takes a second.
            partial(gc.collect, 0),
            lambda: self.tables[0][self.key()],
        ]
        if chosen.random() < 0.1:
            chosen.choice(harms)()
        if chosen.random() < 0.02:
            raise chosen.choice([OSError("hostile"), KeyError(1)])

    def attach(self) -> None:
        self.module.attach(Table, Shard)

    def step(self) -> None:
        """Entries are written and read, and what was written is there."""
        chosen = self.source
        if self.rarely():
            self.shard = Shard()
            self.fill()
        self.attach()
        try:
            for _ in range(5):
                table, key, value = chosen.choice(self.tables), self.key(), self.value()
                before = self.in_python
                plain = self.plain()
                table[key] = value
                if self.in_python == before and self.plain() is plain:
                    # One that is equal to some keys at times may be found in their place.
                    assert plain[0][key] is value or any(one is self for one in plain[0])
                    self.given += 1
                table[self.key()]
        finally:
            self.module.detach()


fuzz = partial(play, World, _ERRORS)


if __name__ == "__main__":
    sys.exit(sanitized.main("tests.fuzz.table", __doc__, _SOURCE, _NAME, fuzz, "values written"))
