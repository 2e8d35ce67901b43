"""The loops in C over hostile objects, which do to the loops what they like whenever they are called.

python -m tests.fuzz.loop --seconds 60            as it is installed
python -m tests.fuzz.loop --seconds 60 --asan     built anew with sanitizers, for this run; also its own tests
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import gc
import random
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import sanitized
from .hostile import Event, World

_SOURCE = "cluster/native/loop.c"
_NAME = "streamcluster._loop"
_TESTS = ("engine/test_loops.py", "engine/test_loops_misused.py", "engine/test_sinks.py", "fuzz/test_loop.py")

# A sanitizer keeps what was freed for a while: memory grows.
_NOT_SANITIZED = "tests/engine/test_loops_misused.py::test_nothing_is_kept_of_what_passes"


def _values(world: World) -> None:
    arguments: list[Any] = [world.next_run, world.cursor]
    world.loops.append(world.module.Values(*world.damaged(arguments, 0.1)))


def _gathered(world: World) -> None:
    values: list[Any] = [world.agent(), world.agent(), world.iterator()]
    values += [one for one in world.loops if world.source.random() < 0.1]
    limit = world.source.choice((0, 10, 10, 2**40))
    arguments = [world.source.choice(values), world.cursor, world.encode, Event, limit]
    world.loops.append(world.module.Gathered(*world.damaged(arguments, 0.05)))


def _with_names(world: World) -> None:
    with pytest.raises(TypeError):
        world.module.Values(world.next_run, world.cursor, cursor=world.cursor)
    with pytest.raises(TypeError):
        world.module.Gathered(world.agent(), world.cursor, world.encode, Event, 10, odd=1)


def _keep(world: World) -> None:
    world.loop().keep(*world.keep_arguments())


def _next(world: World) -> None:
    loop = world.loop()
    loop.__anext__()
    for _ in range(world.source.choice((1, 10))):
        try:
            next(loop)
        except StopIteration:
            world.given += 1


def _send(world: World) -> None:
    world.loop().send(world.source.choice((None, None, *world.odd())))


def _throw(world: World) -> None:
    error = world.error()
    three = (type(error), error, None)
    wrong = (world.source.choice(world.odd()),)
    world.loop().throw(*world.source.choice([(error,), (error,), (type(error),), three, wrong, ()]))


def _close(world: World) -> None:
    world.loop().close()


def _read(world: World) -> None:
    async def read(loop: Any) -> None:
        async for _ in loop:
            world.given += 1
            world.act()

    world.readers.append(read(world.loop()))


def _drive(world: World) -> None:
    reader = world.source.choice(world.readers)
    way = world.source.randrange(8)
    if way == 0:
        reader.close()
    elif way < 3:
        reader.throw(world.error())
    else:
        reader.send(None)


def _forget(world: World) -> None:
    one_of = world.source.choice([world.loops, world.readers])
    del one_of[world.source.randrange(len(one_of))]


def _change(world: World) -> None:
    column = world.source.choice(world.lists)
    way = world.source.randrange(3)
    if way == 0:
        column.clear()
    elif way == 1:
        column[:] = world.odd()
    else:
        column += [*range(1000, 1020)]


def _look(world: World) -> None:
    loop = world.loop()
    assert "object at" in repr(loop)
    assert loop.__await__() is loop
    with pytest.raises(TypeError):
        copy.copy(loop)
    with pytest.raises(TypeError):
        type("Derived", (type(loop),), {})


def _collect(_world: World) -> None:
    gc.collect()


ACTS: list[Callable[[World], None]] = [_values, _gathered, _gathered, _with_names, *[_keep] * 4, *[_next] * 6, _send]
ACTS += [*[_throw] * 2, _close, *[_read] * 2, *[_drive] * 4, _forget, _change, _look, _collect]


def _in_tasks(world: World) -> None:
    """Tasks over the loops, which are cancelled at any moment."""

    async def read(loop: Any) -> None:
        async for _ in loop:
            world.given += 1

    async def all_of_them() -> None:
        # A generator that will not be closed is told of; here that is usual.
        asyncio.get_running_loop().set_exception_handler(lambda _, told: world.saw(told.get("exception")))
        tasks = [asyncio.ensure_future(read(loop)) for loop in world.loops if hasattr(loop, "__aiter__")]
        for _ in range(world.source.randrange(10)):
            await asyncio.sleep(0)
            for task in tasks:
                if world.source.random() < 0.2:
                    task.cancel()
        # Who swallows that goes on until nothing more is allowed.
        while not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        for task in tasks:
            if not task.cancelled():
                world.saw(task.exception())

    asyncio.run(all_of_them())


def live(module: Any, source: random.Random) -> tuple[weakref.ref[World], int, int]:
    """One world until it is left; how many values the loops gave, and how many they kept."""
    world = World(module, source, ACTS)
    gc.set_threshold(source.choice((700, 700, 50, 1)))
    world.loops += [module.Values(world.next_run, world.cursor)]
    world.loops += [module.Gathered(world.agent(), world.cursor, world.encode, Event, 40)]
    while world.is_alive():
        world.act()
    if source.random() < 0.2:
        world.again()
        _in_tasks(world)
    assert world.wrong == []
    return weakref.ref(world), world.given, world.kept()


@contextlib.contextmanager
def _quietly() -> Iterator[list[Any]]:
    """Without a word about coroutines that nobody awaits; what is said of an error that nobody gets is looked at."""
    wrong: list[Any] = []

    def look(told: Any) -> None:
        if isinstance(told.exc_value, SystemError):
            wrong.append(told.exc_value)

    hook, threshold = sys.unraisablehook, gc.get_threshold()
    sys.unraisablehook = look
    gc.collect()
    gc.freeze()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield wrong
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
        sys.unraisablehook = hook


def fuzz(module: Any, seed: int, seconds: float) -> tuple[int, int, int]:
    """Live for so long; returns how many worlds there were, how many values were given, and how many were kept.

    Raises AssertionError when a loop ended with what it may not, or when something is held that nobody has.
    """
    source = random.Random(seed)
    worlds = given = kept = 0
    end = time.monotonic() + seconds
    with _quietly() as wrong:
        while time.monotonic() < end:
            left = []
            for _ in range(20):
                world, more_given, more_kept = live(module, source)
                left.append(world)
                worlds, given, kept = worlds + 1, given + more_given, kept + more_kept
            gc.collect()
            assert [world() for world in left if world() is not None] == [], f"held, after {worlds} worlds"
            assert wrong == []
    return worlds, given, kept


def run(options: argparse.Namespace) -> int:
    """Run, and say how much there was."""
    if options.asan:
        own = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        return sanitized.run("tests.fuzz.loop", _SOURCE, own)
    if options.module is not None:
        # Whoever imports it from now on gets this one.
        sys.modules[_NAME] = sanitized.load(_NAME, options.module)
    from streamcluster import _loop as module
    from streamcluster import loops

    assert type(loops.values_of_runs(None, None)) is module.Values  # type: ignore[arg-type]
    worlds, given, kept = fuzz(module, options.seed, options.seconds)
    sys.stdout.write(f"{worlds} worlds, {given} values given, {kept} kept, ok (seed {options.seed})\n")
    sys.stdout.flush()
    if options.module is None:
        return 0
    tests = [f"tests/{name}" for name in _TESTS]
    return int(pytest.main(["-q", "-n", "0", "--deselect", _NOT_SANITIZED, *tests]))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.loop", description=__doc__)
    sanitized.add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
