"""Worlds: hostile objects that a module in C is called with. Each is thrown away, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import gc
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_STEPS = 200
# In any case: in a large process each collection may take a second.
_WORLDS_MIN = 4


class World(Protocol):
    """given: how much the module has given there."""

    given: int

    def step(self) -> None:
        """Something happens."""
        ...


def play(
    make: Callable[[Any, int], World],
    errors: tuple[type[BaseException], ...],
    module: Any,
    seed: int,
    seconds: float,
) -> tuple[int, int]:
    """How many worlds there were, and how much was given in all of them.

    make: called with the module and a seed. errors: what a step may end with.
    """
    given = worlds = 0
    end = time.monotonic() + seconds
    while worlds < _WORLDS_MIN or time.monotonic() < end:
        world = make(module, seed * 1_000_003 + worlds)
        for _ in range(_STEPS):
            with contextlib.suppress(*errors):
                world.step()
        given += world.given
        left = weakref.ref(world)
        del world
        gc.collect()
        assert left() is None, f"seed {seed}, world {worlds}: something of it is kept"
        worlds += 1
    return worlds, given
