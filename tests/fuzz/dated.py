"""The dated rows of a commit in C over hostile objects, which change what they are in whenever they are called.

python -m tests.fuzz.dated --seconds 60            as it is installed
python -m tests.fuzz.dated --seconds 60 --asan     built anew with sanitizers, for this run
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

_SOURCE = "cluster/native/rows.c"
_NAME = "streamcluster._rows"
# What a call may end with.
_ERRORS: tuple[type[Exception], ...] = (LookupError, OSError, RuntimeError, TypeError, ValueError)


class World:
    """What was written, and what is called while it is looked at. given: how many rows have come out."""

    def __init__(self, module: Any, seed: int) -> None:
        self.module = module
        self.source = random.Random(seed)
        self.dirty: dict[Any, Any] = {}
        self.dates: dict[Any, Any] = {}
        self.deleted: set[Any] = set()
        self.marker = object()
        self.given = 0

    def __hash__(self) -> int:
        # As of a key that is there, so that it is compared.
        return hash(b"e")

    def __eq__(self, _other: object) -> bool:
        self.harm()
        return self.source.random() < 0.5

    def key(self) -> Any:
        keys = [
            b"",
            b"a,[1,2]]",
            b"b,[1,2]]",
            b"c" * 50 + b",[3",
            b",[",
            b"e",
            *((self, "a", 1) if self.rarely() else ()),
        ]
        return self.source.choice(keys)

    def rarely(self) -> bool:
        return self.source.random() < 0.02

    def at(self) -> Any:
        return self.source.choice([0, 1, -5, 1_700_000_000_000, -(1 << 63), (1 << 63) - 1] * 3 + [1 << 70, None, True])

    def value(self) -> Any:
        return self.source.choice([0, 1, -1, (1 << 63) - 1, 1 << 64, True, "text", b"data", None, 1.5, self])

    def pair(self) -> Any:
        if self.rarely():
            return self.source.choice([(), (1,), [1, 2], None, self])
        return self.source.choice([(self.value(), self.at()), self.marker])

    def fill(self) -> None:
        self.dirty.update({self.key(): self.pair() for _ in range(self.source.randrange(8))})
        self.dates.update({self.key(): self.at() for _ in range(self.source.randrange(8))})
        self.deleted.add(self.key())

    def encode(self, value: Any) -> Any:
        self.harm()
        return self.source.choice(
            [b"", repr(type(value)).encode(), b"x" * 100, *((None, "text") if self.rarely() else ())]
        )

    def is_due(self, _tail: bytes) -> Any:
        self.harm()
        return self.source.choice([True, False, None, self])

    def harm(self) -> None:
        """Something that a caller does not expect."""
        chosen = self.source
        harms: list[Callable[[], Any]] = [
            self.dirty.clear,
            self.dates.clear,
            self.deleted.clear,
            lambda: self.dirty and self.dirty.popitem(),
            self.fill,
            gc.collect,
        ]
        if chosen.random() < 0.1:
            chosen.choice(harms)()
        if chosen.random() < 0.02:
            raise chosen.choice([OSError("hostile"), KeyError(1)])

    def step(self) -> None:
        """A call of each."""
        chosen = self.source
        if chosen.random() < 0.2:
            self.dirty.clear()
            self.dates.clear()
        self.fill()
        dirty = self.dates if self.rarely() else self.dirty
        changes = self.module.encoded(dirty, self.dates, self.encode, chosen.random() < 0.5, self.marker)
        self.module.note(self.dates, dirty, self.marker, self.deleted)
        if changes is None:
            changes = {self.key(): chosen.choice([None, b"", b"1234567", b"12345678", b"123456789", self])}
        times = [self.at() for _ in range(chosen.randrange(5))]
        self.module.running_max(tuple(times) if self.rarely() else times, self.at())
        due = self.module.due(dirty, self.is_due)
        assert len(self.module.without(dirty, due or [*dirty][:2])) <= len(dirty)
        self.module.forget(self.dates, [self.key() for _ in range(3)])
        rows: Any = chosen.choice([self.dirty, None, 1]) if self.rarely() else changes
        found = self.module.columns(rows)
        if found is not None:
            keys, values, times, gone, places = found
            assert len(keys) == len(values) == len(times) == len(rows)
            assert [keys[place] for place in places] == gone
            self.given += len(keys)


fuzz = partial(play, World, _ERRORS)


if __name__ == "__main__":
    sys.exit(sanitized.main("tests.fuzz.dated", __doc__, _SOURCE, _NAME, fuzz, "rows given"))
